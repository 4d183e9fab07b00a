//! The file with the id of the running process in the data directory, for `offhook reload` and
//! `offhook upgrade`.
//!
//! The process has a lock of POSIX on the file, so the system itself says which process uses the data
//! directory, and in this one's numbering of processes. The id in the file may be that of another
//! process: after a crash, or outside of a container.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// The file's name.
const NAME: &str = "offhook.pid";
/// A file beside it tells how the last upgrade ended. The file with the id contains nothing else, for
/// `kill $(cat offhook.pid)`.
const UPGRADE: &str = "offhook.upgrade";

/// The file, locked as long as the process runs, and removed at its end.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    locked: File,
}

/// What the file of a running process says.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The process's id.
    pub(crate) id: rustix::process::Pid,
    /// How the last upgrade ended; empty if there was none.
    pub(crate) upgrade: String,
}

impl PidFile {
    /// Writes this process's id into a data directory.
    pub(crate) fn write(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        let locked = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            lock(&file)?;
            // The process that had it may have removed it meanwhile.
            if is_still(&file, &path)? {
                break file;
            }
        };
        let mut file = Self { path, locked };
        file.forget_upgrade();
        file.locked.rewind()?;
        file.locked.set_len(0)?;
        writeln!(file.locked, "{}", std::process::id())?;
        Ok(file)
    }

    /// Notes how an upgrade has ended. An error is only logged: the server works without the file.
    pub(crate) fn note(&mut self, upgrade: &str) {
        let line = upgrade.replace('\n', " ");
        if let Err(error) = fs::write(self.path.with_file_name(UPGRADE), line) {
            tracing::warn!(%error, "how the upgrade ended cannot be written to {UPGRADE}");
        }
    }

    fn forget_upgrade(&self) {
        // Usually there is none. One that cannot be removed is overwritten by the next upgrade.
        let _ = fs::remove_file(self.path.with_file_name(UPGRADE));
    }

    /// What the file of the process that uses a data directory says; none if no process does. A
    /// process that was killed leaves its file behind, but not the lock on it.
    ///
    /// # Errors
    /// The system's error, or the process cannot be signalled from here.
    #[cfg(unix)]
    pub(crate) fn read(data: &Path) -> io::Result<Option<Found>> {
        use rustix::process::{Flock, FlockType, fcntl_getlk};

        let path = data.join(NAME);
        let error = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(error(&cause.to_string())),
        };
        let Some(held) = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock))? else {
            return Ok(None);
        };
        // The system gives no id for a process of another PID namespace.
        let Some(id) = held.pid.filter(|id| id.as_raw_nonzero().get() > 0) else {
            return Err(error(
                "it is locked by a process that cannot be signalled from here, probably in a \
                 container or on another machine; run the command there",
            ));
        };
        let upgrade = match fs::read_to_string(data.join(UPGRADE)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            upgrade => upgrade.unwrap_or_default(),
        };
        Ok(Some(Found { id, upgrade }))
    }
}

/// Waits for the lock. It ends with the process, or when any of its descriptors of the file is closed:
/// the server opens it only once.
#[cfg(unix)]
fn lock(file: &File) -> io::Result<()> {
    use rustix::{fs, io::retry_on_intr};

    Ok(retry_on_intr(|| {
        fs::fcntl_lock(file, fs::FlockOperation::LockExclusive)
    })?)
}

#[cfg(not(unix))]
fn lock(file: &File) -> io::Result<()> {
    file.lock()
}

/// Whether the path leads to this file.
#[cfg(unix)]
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_still(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

impl Drop for PidFile {
    fn drop(&mut self) {
        self.forget_upgrade();
        // A file that cannot be removed is overwritten at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

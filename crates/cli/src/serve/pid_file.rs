//! The file with the id of the running process in the data directory, for `offhook reload` and
//! `offhook upgrade`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// The file's name.
const NAME: &str = "offhook.pid";

/// The file, locked as long as the process runs, and removed at its end. Its first line is the id of
/// the process; the second tells how the last upgrade ended.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    locked: File,
}

/// What the file of a running process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The process's id.
    pub(crate) id: u32,
    /// How the last upgrade ended; empty if there was none.
    pub(crate) upgrade: String,
}

impl PidFile {
    /// Writes this process's id into a data directory.
    pub(crate) fn write(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        let locked = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        locked.lock()?;
        let mut file = Self { path, locked };
        file.fill("")?;
        Ok(file)
    }

    /// Notes how an upgrade has ended. An error is only logged: the server works without the file.
    pub(crate) fn note(&mut self, upgrade: &str) {
        let line = upgrade.replace('\n', " ");
        if let Err(error) = self.fill(&line) {
            tracing::warn!(%error, "the file with the process id cannot be written");
        }
    }

    fn fill(&mut self, upgrade: &str) -> io::Result<()> {
        let text = format!("{}\n{upgrade}\n", std::process::id());
        self.locked.rewind()?;
        self.locked.set_len(0)?;
        self.locked.write_all(text.as_bytes())
    }

    /// What the file of the process that uses a data directory says; none if no process does. A
    /// process that was killed leaves its file behind, but not the lock on it.
    pub(crate) fn read(data: &Path) -> io::Result<Option<Found>> {
        let path = data.join(NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(found(&fs::read_to_string(&path)?)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn found(text: &str) -> Option<Found> {
    let mut lines = text.lines();
    let id = lines.next()?.trim().parse().ok()?;
    let upgrade = lines.next().unwrap_or_default().to_owned();
    Some(Found { id, upgrade })
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that cannot be removed is overwritten at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

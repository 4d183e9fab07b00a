//! A consistent snapshot of a log, even while a server writes to it: for backups, and for commands
//! that inspect a log without changing it.
//!
//! A process that wants one creates a directory below `snapshots/` in the log's directory, with a
//! file `request` on which it holds a lock. The log's writer finds it with its next tick and,
//! between two batches, links the files that never change and copies the rest: the newest journal,
//! 64 MiB at most. Then it writes `ready`, or `failed` with the reason. If no process uses the log,
//! the requester makes the snapshot itself. Snapshots on which no process holds a lock are removed.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    OpenError,
    copy_forward::{copy_bytes, copy_file},
    inventory::{KEYSPACES, OWNER, journals, store_of},
    manifest, opening, private, witness,
};

const SNAPSHOTS: &str = "snapshots";
const REQUEST: &str = "request";
const READY: &str = "ready";
const FAILED: &str = "failed";

/// How often a requester checks for the answer.
const LOOK: Duration = Duration::from_millis(20);
/// How often linking a keyspace is started again if it changes in the meantime.
const TRIES: usize = 100;

/// A snapshot of a log, removed on drop.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Its lock says that the snapshot is still needed.
    _request: File,
}

/// Why a snapshot could not be made.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// This directory contains no log.
    NoLog(PathBuf),
    /// The server that uses the log does not answer.
    NoAnswer(PathBuf),
    /// It could not be made, for this reason.
    Failed(PathBuf, String),
    /// The log cannot be used.
    Log(OpenError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog(path) => write!(
                f,
                "{}: there is no log here; name a data directory, or a backup",
                path.display()
            ),
            Self::NoAnswer(path) => write!(
                f,
                "{}: the process that uses the log gave no answer; is it stopped, or of a version \
                 that makes no snapshots? Stop it, and try again",
                path.display()
            ),
            Self::Failed(path, why) => write!(
                f,
                "{}: the log cannot be copied: {why}; check permissions and free space",
                path.display()
            ),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Snapshot {
    /// Makes a snapshot of the log in this directory. A server that uses the log has this long to
    /// answer.
    ///
    /// # Errors
    /// Why it could not be made.
    pub fn take(log: &Path, patience: Duration) -> Result<Self, SnapshotError> {
        if !log.join(manifest::FILE).is_file() {
            return Err(SnapshotError::NoLog(log.to_owned()));
        }
        let failed = |error: io::Error| SnapshotError::Failed(log.to_owned(), error.to_string());
        let snapshot = Self::ask(log).map_err(failed)?;
        let end = Instant::now() + patience;
        loop {
            if snapshot.path.join(READY).exists() {
                break;
            }
            if let Ok(why) = fs::read_to_string(snapshot.path.join(FAILED)) {
                return Err(SnapshotError::Failed(log.to_owned(), why));
            }
            match opening::lock(log) {
                // Nobody else can answer: if the disk is full, there is no room for an answer.
                Ok(_lock) => {
                    make(log, &snapshot.path).map_err(failed)?;
                    break;
                }
                Err(OpenError::InUse { .. }) => {}
                Err(error) => return Err(SnapshotError::Log(error)),
            }
            if Instant::now() > end {
                return Err(SnapshotError::NoAnswer(log.to_owned()));
            }
            thread::sleep(LOOK);
        }
        copy_links(&snapshot.path).map_err(failed)?;
        Ok(snapshot)
    }

    fn ask(log: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = log
            .join(SNAPSHOTS)
            .join(format!("{}-{number}", process::id()));
        private::private_directory(&path)?;
        // Locked before the writer can find it.
        let unfinished = path.join("asking");
        let request = private::options().truncate(true).open(&unfinished)?;
        request.lock()?;
        fs::rename(&unfinished, path.join(REQUEST))?;
        Ok(Self {
            path,
            _request: request,
        })
    }

    /// The snapshot's directory, which can be opened like the log's.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies it into a new or empty directory. The copy is durable when this returns, and is not a
    /// valid log before. Returns the number of bytes copied.
    ///
    /// # Errors
    /// The system's error with the name of the file, or `AlreadyExists` if the directory is not empty.
    pub fn copy_to(&self, directory: &Path) -> io::Result<u64> {
        copy_log(&self.path, directory)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // The request first: otherwise the log's writer could answer it again while the rest is removed.
        drop(fs::remove_file(self.path.join(REQUEST)));
        // What remains is removed by the next process that opens the log.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Copies a log that no process uses into a new or empty directory.
fn copy_log(from: &Path, to: &Path) -> io::Result<u64> {
    private::private_directory(to)?;
    if fs::read_dir(to)?.next().is_some() {
        let what = "the directory is not empty; name an empty or new one";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let copy = Copy { from, to };
    let mut bytes = copy.directory(&store_of(Path::new("")))?;
    // Without its manifest it is not a valid log.
    for file in [witness::FILE, manifest::FILE] {
        bytes += copy.file(Path::new(file))?;
        private::sync_directory(to)?;
    }
    Ok(bytes)
}

/// A log that is being copied. Errors name the file by its place in the log.
struct Copy<'a> {
    from: &'a Path,
    to: &'a Path,
}

impl Copy<'_> {
    fn directory(&self, name: &Path) -> io::Result<u64> {
        let (from, to) = (self.from.join(name), self.to.join(name));
        let mut bytes = 0;
        private::private_directory(&to).map_err(|error| naming(name, &error))?;
        for entry in fs::read_dir(from).map_err(|error| naming(name, &error))? {
            let entry = entry.map_err(|error| naming(name, &error))?;
            let name = name.join(entry.file_name());
            bytes += if entry.file_type()?.is_dir() {
                self.directory(&name)?
            } else {
                self.file(&name)?
            };
        }
        private::sync_directory(&to)?;
        Ok(bytes)
    }

    fn file(&self, name: &Path) -> io::Result<u64> {
        let (from, to) = (self.from.join(name), self.to.join(name));
        copy_file(&from, &to).map_err(|error| naming(name, &error))?;
        // Journals end with zeros that take no space.
        Ok(fs::metadata(to)?.blocks() * 512)
    }
}

/// An error of the system with the name of the file.
fn naming(name: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", name.display()))
}

/// Answers requests for a snapshot, and removes snapshots that are no longer needed. Called only
/// between two batches, by the process that has the log's lock.
pub(super) fn answer_requests(log: &Path) {
    let Ok(snapshots) = fs::read_dir(log.join(SNAPSHOTS)) else {
        return;
    };
    for snapshot in snapshots.flatten() {
        let path = snapshot.path();
        let Ok(request) = File::open(path.join(REQUEST)) else {
            continue;
        };
        match request.try_lock() {
            Ok(()) => drop(fs::remove_dir_all(&path)),
            Err(TryLockError::WouldBlock) if path.join(READY).exists() => {}
            Err(TryLockError::WouldBlock) if path.join(FAILED).exists() => {}
            // It is being removed.
            Err(TryLockError::WouldBlock) if !path.join(REQUEST).exists() => {}
            Err(TryLockError::WouldBlock) => answer(log, &path),
            Err(TryLockError::Error(_)) => {}
        }
    }
}

fn answer(log: &Path, snapshot: &Path) {
    let (name, text) = match make(log, snapshot) {
        Ok(()) => (READY, String::new()),
        Err(error) => (FAILED, error.to_string()),
    };
    // The requester is gone, or the disk is full: then it gets no answer.
    let unfinished = snapshot.join("answer");
    if fs::write(&unfinished, text).is_ok() {
        drop(fs::rename(&unfinished, snapshot.join(name)));
    }
}

fn make(log: &Path, snapshot: &Path) -> io::Result<()> {
    let (from, to) = (store_of(log), store_of(snapshot));
    // What an attempt before has linked belongs to the log, too: it must not be written to.
    match fs::remove_dir_all(&to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    private::make_directory(&to)?;
    // Journals first: data flushed in the meantime is then in both places, and not in neither.
    let journals = journals(log).map_err(|error| naming(&from, &error))?;
    for number in &journals {
        let journal = from.join(format!("{number}.jnl"));
        if Some(number) == journals.last() {
            copy(&journal, &to.join(format!("{number}.jnl")))?;
        } else {
            link(&journal, &to.join(format!("{number}.link")))?;
        }
    }
    for keyspace in read_directory(&from.join(KEYSPACES))? {
        let keyspace = keyspace?;
        let name = Path::new(KEYSPACES).join(keyspace.file_name());
        if keyspace.file_type()?.is_dir() {
            link_keyspace(&keyspace.path(), &to.join(name))?;
        }
    }
    copy(&from.join("version"), &to.join("version"))?;
    for file in [witness::FILE, manifest::FILE] {
        copy(&log.join(file), &snapshot.join(file))?;
    }
    Ok(())
}

/// Compactions continue in the meantime: the tables of a version exist as long as it is the current
/// one.
fn link_keyspace(from: &Path, to: &Path) -> io::Result<()> {
    let mut missing = None;
    for _ in 0..TRIES {
        match try_link_keyspace(from, to) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing = Some(error),
            Err(error) => return Err(error),
        }
        fs::remove_dir_all(to)?;
    }
    Err(io::Error::other(match missing {
        Some(missing) => format!("{missing}, or the log changes too fast"),
        None => "the log changes too fast".to_owned(),
    }))
}

fn try_link_keyspace(from: &Path, to: &Path) -> io::Result<bool> {
    let current = read(&from.join("current"))?;
    let (tables, links) = (from.join("tables"), to.join("tables"));
    private::make_directory(&links)?;
    let version = current.first_chunk().copied().map(u64::from_le_bytes);
    let version = version.ok_or_else(|| {
        let found = io::Error::new(io::ErrorKind::InvalidData, "it is too short");
        naming(&from.join("current"), &found)
    })?;
    let version = format!("v{version}");
    link(&from.join(&version), &to.join(&version))?;
    for table in read_directory(&tables)? {
        let name = table?.file_name();
        link(&tables.join(&name), &links.join(&name))?;
    }
    if read(&from.join("current"))? != current {
        return Ok(false);
    }
    for name in ["current", OWNER] {
        copy(&from.join(name), &to.join(name))?;
    }
    Ok(true)
}

/// Makes another name for a file that never changes; a copy if the file system does not support
/// links.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(naming(from, &error)),
        // It may be a link to the same file, and to write into it would destroy both.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => copy_bytes(from, to).map(drop),
        Ok(()) => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let copied = copy_bytes(from, to);
    copied.map(drop).map_err(|error| naming(from, &error))
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    fs::read(file).map_err(|error| naming(file, &error))
}

fn read_directory(directory: &Path) -> io::Result<fs::ReadDir> {
    fs::read_dir(directory).map_err(|error| naming(directory, &error))
}

/// Copies journals that are only linked, because opening a log truncates them.
fn copy_links(snapshot: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store_of(snapshot))? {
        let link = entry?.path();
        if link
            .extension()
            .is_some_and(|extension| extension == "link")
        {
            copy_file(&link, &link.with_extension("jnl"))?;
            fs::remove_file(&link)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

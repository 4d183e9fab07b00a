//! A consistent picture of a log, also while a server writes it: for backups, and for commands
//! that look into a log without touching it.
//!
//! Whoever wants one makes a directory below `snapshots/` in the log's, with a file `request` that
//! it holds a lock on. The log's own writer finds it with its next tick and, between two batches,
//! links what never changes and copies the rest: the newest journal, some 64 MiB at most. Then it
//! writes `ready`, or `failed` with the reason. Of a log that nobody uses the asker makes the
//! picture itself. What nobody holds a lock on any longer is removed.

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

/// How often an asker looks for the answer.
const LOOK: Duration = Duration::from_millis(20);
/// A keyspace that changes while it is linked is begun again so often.
const TRIES: usize = 100;

/// A picture of a log, removed when dropped.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Says that somebody still wants it.
    _request: File,
}

/// Why there is no snapshot.
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no log in this directory.
    NoLog(PathBuf),
    /// The server that has the log does not answer.
    NoAnswer(PathBuf),
    /// It could not be made, and why.
    Failed(PathBuf, String),
    /// The log can't be used.
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
                "{}: the log can't be copied: {why}; check permissions and free space",
                path.display()
            ),
            Self::Log(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

impl Snapshot {
    /// Takes a picture of the log in this directory. A server that uses it has so long to answer.
    ///
    /// # Errors
    /// Says why there is none.
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
                Ok(_lock) => {
                    answer(log, &snapshot.path);
                    continue;
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
        // Locked before anybody finds it.
        let unfinished = path.join("asking");
        let request = private::options().truncate(true).open(&unfinished)?;
        request.lock()?;
        fs::rename(&unfinished, path.join(REQUEST))?;
        Ok(Self {
            path,
            _request: request,
        })
    }

    /// Where it lies: a directory that can be opened like the log's.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies it into a directory that is empty or not there yet; durable when this returns, and
    /// not a log before. Says how many bytes it copied.
    ///
    /// # Errors
    /// The system's, or `AlreadyExists` when there is something in the directory.
    pub fn copy_to(&self, directory: &Path) -> io::Result<u64> {
        copy_log(&self.path, directory)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        // What stays is removed by the next process that opens the log.
        drop(fs::remove_dir_all(&self.path));
    }
}

/// Copies a log that nobody uses into a directory that is empty or not there yet.
fn copy_log(from: &Path, to: &Path) -> io::Result<u64> {
    private::private_directory(to)?;
    if fs::read_dir(to)?.next().is_some() {
        let what = "there is something in the directory; name one that is empty, or none";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    let mut bytes = copy_directory(&store_of(from), &store_of(to))?;
    // Without its manifest it is no log.
    for file in [witness::FILE, manifest::FILE] {
        bytes += copy_one(&from.join(file), &to.join(file))?;
        private::sync_directory(to)?;
    }
    Ok(bytes)
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    private::private_directory(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (here, there) = (entry.path(), to.join(entry.file_name()));
        bytes += if entry.file_type()?.is_dir() {
            copy_directory(&here, &there)?
        } else {
            copy_one(&here, &there)?
        };
    }
    private::sync_directory(to)?;
    Ok(bytes)
}

fn copy_one(from: &Path, to: &Path) -> io::Result<u64> {
    copy_file(from, to)?;
    // Journals end with zeros that take no place.
    Ok(fs::metadata(to)?.blocks() * 512)
}

/// Answers who asks for a snapshot, and removes those that nobody wants any longer. Only between
/// two batches, by whoever has the log's lock.
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
    // An asker that is gone, or a disk that is full: then it hears nothing.
    let unfinished = snapshot.join("answer");
    if fs::write(&unfinished, text).is_ok() {
        drop(fs::rename(&unfinished, snapshot.join(name)));
    }
}

fn make(log: &Path, snapshot: &Path) -> io::Result<()> {
    let (from, to) = (store_of(log), store_of(snapshot));
    private::make_directory(&to)?;
    // Journals first: what is flushed meanwhile is then in both, and not in neither.
    let journals = journals(log)?;
    for number in &journals {
        let journal = from.join(format!("{number}.jnl"));
        if Some(number) == journals.last() {
            copy_bytes(&journal, &to.join(format!("{number}.jnl")))?;
        } else {
            link(&journal, &to.join(format!("{number}.link")))?;
        }
    }
    for keyspace in fs::read_dir(from.join(KEYSPACES))? {
        let keyspace = keyspace?;
        let name = Path::new(KEYSPACES).join(keyspace.file_name());
        if keyspace.file_type()?.is_dir() {
            link_keyspace(&keyspace.path(), &to.join(name))?;
        }
    }
    copy_bytes(&from.join("version"), &to.join("version"))?;
    for file in [witness::FILE, manifest::FILE] {
        copy_bytes(&log.join(file), &snapshot.join(file))?;
    }
    Ok(())
}

/// Compactions go on meanwhile: the tables of a version are there as long as it is the current one.
fn link_keyspace(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..TRIES {
        match try_link_keyspace(from, to) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::remove_dir_all(to)?;
    }
    Err(io::Error::other("the log changes too fast"))
}

fn try_link_keyspace(from: &Path, to: &Path) -> io::Result<bool> {
    let current = fs::read(from.join("current"))?;
    let (tables, links) = (from.join("tables"), to.join("tables"));
    private::make_directory(&links)?;
    let version = current.first_chunk().copied().map(u64::from_le_bytes);
    let version = version.ok_or(io::ErrorKind::InvalidData)?;
    let version = format!("v{version}");
    link(&from.join(&version), &to.join(&version))?;
    for table in fs::read_dir(&tables)? {
        let name = table?.file_name();
        link(&tables.join(&name), &links.join(&name))?;
    }
    if fs::read(from.join("current"))? != current {
        return Ok(false);
    }
    for name in ["current", OWNER] {
        copy_bytes(&from.join(name), &to.join(name))?;
    }
    Ok(true)
}

/// Another name of a file that never changes; a copy where the file system knows no such thing.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => copy_bytes(from, to).map(drop),
        Ok(()) => Ok(()),
    }
}

/// Journals that are only linked are copied: whoever opens a log shortens them.
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

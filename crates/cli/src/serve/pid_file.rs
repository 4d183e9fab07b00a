//! The file with the id of the running process in the data directory, for `offhook reload`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The file's name.
const NAME: &str = "offhook.pid";

/// The file, locked as long as the process runs, and removed at its end.
#[derive(Debug)]
pub(crate) struct PidFile {
    path: PathBuf,
    _locked: File,
}

impl PidFile {
    /// Writes this process's id into a data directory.
    pub(crate) fn write(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.lock()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self {
            path,
            _locked: file,
        })
    }

    /// The id of the process that uses a data directory; none if no process does. A process that
    /// was killed leaves its file behind, but not the lock on it.
    pub(crate) fn read(data: &Path) -> io::Result<Option<u32>> {
        let path = data.join(NAME);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(fs::read_to_string(&path)?.trim().parse().ok()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that cannot be removed is overwritten at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

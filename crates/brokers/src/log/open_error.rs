//! Why a log can't be opened, and what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use offhook_engine::BrokerFailure;

/// Why a log can't be opened. Its text says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory or a file in it can't be read or written.
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// What is there can't be read.
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The newest acknowledged publications are not there.
    LostAcknowledged {
        /// The directory.
        path: PathBuf,
    },
}

impl OpenError {
    pub(super) fn of(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::InUse { path },
            fjall::Error::Io(error) => Self::Io { path, error },
            other => Self::Corrupt {
                path,
                found: other.to_string(),
            },
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(
                f,
                "{}: another process uses this log; stop it, or give this one a directory of its own",
                path.display()
            ),
            Self::Io { path, error } => write!(
                f,
                "{}: the log can't be opened: {error}; check permissions and free space",
                path.display()
            ),
            Self::Corrupt { path, found } => write!(
                f,
                "{}: the log is damaged ({found}); restore the directory from a backup, or move \
                 it away to begin an empty log",
                path.display()
            ),
            Self::LostAcknowledged { path } => write!(
                f,
                "{}: the newest acknowledged publications are missing, the disk lost writes; \
                 restore the directory from a backup, or accept the loss and start under new \
                 epochs, so that every subscriber is told of a gap",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::InUse { .. } | Self::Corrupt { .. } | Self::LostAcknowledged { .. } => None,
        }
    }
}

/// What a failed read or write is to those who asked.
pub(super) fn failure_of(error: &fjall::Error) -> BrokerFailure {
    let io = match error {
        fjall::Error::Io(error) => Some(error),
        fjall::Error::Storage(error) => return failure_of_storage(&error.to_string()),
        _ => None,
    };
    match io.map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            BrokerFailure::StorageFull
        }
        Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            BrokerFailure::StorageCorrupt
        }
        Some(_) => BrokerFailure::StorageFailed,
        None => match error {
            fjall::Error::Poisoned | fjall::Error::Locked => BrokerFailure::StorageFailed,
            _ => BrokerFailure::StorageCorrupt,
        },
    }
}

/// The tree below fjall has its own errors, whose type fjall does not hand on: by their text.
fn failure_of_storage(text: &str) -> BrokerFailure {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["StorageFull", "QuotaExceeded"]) {
        BrokerFailure::StorageFull
    } else if says(&["Io("]) && !says(&["InvalidData", "UnexpectedEof"]) {
        BrokerFailure::StorageFailed
    } else {
        BrokerFailure::StorageCorrupt
    }
}

//! Why a log cannot be opened, and what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use offhook_engine::BrokerFailure;

/// Why a log cannot be opened. Its text says what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process is using it.
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory or a file in it cannot be read or written.
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The files cannot be read.
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// The found value.
        found: String,
    },
    /// A part of the log is missing.
    Missing {
        /// The directory.
        path: PathBuf,
        /// The missing file.
        file: String,
    },
    /// Files of another log, or from another time, are among those of this one.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The found value.
        found: String,
    },
    /// Acknowledged publications are missing.
    LostAcknowledged {
        /// The directory.
        path: PathBuf,
        /// The evidence.
        found: String,
    },
}

impl OpenError {
    pub(super) fn missing(path: &Path, file: impl fmt::Display) -> Self {
        Self::Missing {
            path: path.to_owned(),
            file: file.to_string(),
        }
    }

    pub(super) fn foreign(path: &Path, found: String) -> Self {
        Self::Foreign {
            path: path.to_owned(),
            found,
        }
    }

    /// The same error, about this directory: of a copy, the user knows only the original.
    #[must_use]
    pub fn about(mut self, directory: &Path) -> Self {
        let (Self::InUse { path }
        | Self::Io { path, .. }
        | Self::Corrupt { path, .. }
        | Self::Missing { path, .. }
        | Self::Foreign { path, .. }
        | Self::LostAcknowledged { path, .. }) = &mut self;
        directory.clone_into(path);
        self
    }

    pub(super) fn of(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        if let fjall::Error::Io(error) = error {
            return Self::Io { path, error };
        }
        if matches!(error, fjall::Error::Locked) {
            return Self::InUse { path };
        }
        Self::Corrupt {
            path,
            found: error.to_string(),
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
                "{}: the log cannot be opened: {error}; {}",
                path.display(),
                what_to_do(error.kind())
            ),
            Self::Corrupt { path, found } => write!(
                f,
                "{}: the log is damaged ({found}); restore the directory from a backup, or move \
                 it away to start an empty log",
                path.display()
            ),
            Self::Missing { path, file } => write!(
                f,
                "{}: the log is incomplete: {file} is missing; put it back, restore the \
                 directory from a backup, or move it away to start an empty log",
                path.display()
            ),
            Self::Foreign { path, found } => write!(
                f,
                "{}: the files here do not belong together: {found}; restore the directory from \
                 a backup, or move it away to start an empty log",
                path.display()
            ),
            Self::LostAcknowledged { path, found } => write!(
                f,
                "{}: acknowledged publications are missing ({found}); restore the directory from \
                 a backup, or accept the loss with storage.accept_loss = true, and every \
                 subscriber is told of a gap",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::InUse { .. }
            | Self::Corrupt { .. }
            | Self::Missing { .. }
            | Self::Foreign { .. }
            | Self::LostAcknowledged { .. } => None,
        }
    }
}

/// What an operator can do about a system error.
fn what_to_do(kind: io::ErrorKind) -> &'static str {
    if is_full(kind) {
        return "the disk is full: free some space";
    }
    if kind == io::ErrorKind::PermissionDenied {
        return "give this user permission to read and write it";
    }
    "check the directory and the disk"
}

fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The failure to report for a failed read or write.
pub(super) fn failure_of(error: &fjall::Error) -> BrokerFailure {
    if let fjall::Error::Io(error) = error {
        return failure_of_io(error.kind());
    }
    if matches!(error, fjall::Error::Poisoned | fjall::Error::Locked) {
        return BrokerFailure::StorageFailed;
    }
    // The tree below fjall has its own error type, which wraps those of the system.
    let source = std::error::Error::source(error);
    let inner = source.and_then(|error| error.source()).or(source);
    match inner.and_then(|error| error.downcast_ref::<io::Error>()) {
        Some(error) => failure_of_io(error.kind()),
        None => BrokerFailure::StorageCorrupt,
    }
}

fn failure_of_io(kind: io::ErrorKind) -> BrokerFailure {
    if is_full(kind) {
        BrokerFailure::StorageFull
    } else if matches!(
        kind,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    ) {
        BrokerFailure::StorageCorrupt
    } else {
        BrokerFailure::StorageFailed
    }
}

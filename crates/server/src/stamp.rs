//! Stamps of files, which show that a file has changed without reading it.

use std::{fs, path::Path, time::SystemTime};

/// A file's stamp. A file that is replaced by another, also through a symbolic link as Kubernetes
/// does it, has another inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl Stamp {
    /// The file's current stamp; none if its metadata cannot be read.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            inode,
        })
    }
}

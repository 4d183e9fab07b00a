//! Files of the log: readable only by the owner, and durable.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Permissions of the group and of others.
const OTHERS: u32 = 0o077;

/// Creates this directory and its parents, if missing, for the owner only, and removes the
/// permissions of others from an existing one. Returns whether they had any.
///
/// # Errors
/// The system's error, if the directory cannot be created or its permissions cannot be changed.
pub fn private_directory(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return withdraw(path);
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        private_directory(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    sync_directory(parent.unwrap_or(Path::new(".")))?;
    Ok(false)
}

/// Creates this directory and its parents for the owner only, not durably.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
}

/// Removes the permissions of others from everything in this directory. Returns how many files and
/// directories were changed.
pub(super) fn withdraw_all(directory: &Path) -> io::Result<usize> {
    let mut changed = usize::from(withdraw(directory)?);
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            changed += withdraw_all(&entry.path())?;
        } else if kind.is_file() {
            changed += usize::from(withdraw(&entry.path())?);
        }
    }
    Ok(changed)
}

fn withdraw(path: &Path) -> io::Result<bool> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(false);
    }
    fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS))?;
    Ok(true)
}

/// How files of the log are opened for writing: created for the owner only.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Replaces a file atomically: after a power failure, it has either the old or the new content.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = options().truncate(true).open(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes a directory's entries durable: files created, renamed or removed.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

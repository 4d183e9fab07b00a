//! Files of the log: readable by the owner only, and there after a power cut.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// What a group or strangers may do with a file.
const OTHERS: u32 = 0o077;

/// Makes this directory and its parents if they are missing, for the owner only, and takes away
/// the rights that others have to one that exists. Says whether they had any.
///
/// # Errors
/// The system's, when the directory can't be made or its rights can't be changed.
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

/// Makes this directory and its parents for the owner only, not durably.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
}

/// Takes away what others may do with everything in this directory. Says how many files and
/// directories it changed.
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

/// How files of the log are opened for writing: made for the owner only.
pub(super) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Puts a whole file in the place of another: after a power cut either is there.
pub(super) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = options().truncate(true).open(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Makes durable which files a directory has: what was created, renamed or removed.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

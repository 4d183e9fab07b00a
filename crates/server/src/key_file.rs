//! The key that seals resume tokens, stored with the data, so that tokens survive a restart.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use offhook_brokers::private_directory;

use crate::{config::ResumeKey, start_error::StartError, tokens};

/// The file's name in the data directory.
const NAME: &str = "resume.key";

/// Reads the key in this directory, or creates one that only this user can read.
pub(crate) fn read_or_make(directory: &Path) -> Result<ResumeKey, StartError> {
    let path = directory.join(NAME);
    let unusable = |source| StartError::File {
        path: path.clone(),
        source,
    };
    if !directory.is_dir() {
        private_directory(directory).map_err(unusable)?;
    }
    match fs::read(&path) {
        Ok(bytes) => match <[u8; 32]>::try_from(&*bytes) {
            Ok(key) => Ok(ResumeKey(key)),
            Err(_) => Err(StartError::ResumeKey {
                path,
                found: bytes.len(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = tokens::fresh_key().map_err(StartError::System)?;
            write(&path, &key.0).map_err(unusable)?;
            Ok(key)
        }
        Err(error) => Err(unusable(error)),
    }
}

/// Renamed only when it is complete: a process that dies while writing leaves no partial key.
fn write(path: &Path, key: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(key)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    // The name is made durable, too: without the key every token is worthless.
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;

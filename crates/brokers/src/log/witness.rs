//! The witness: the number of the newest acknowledged batch, outside the store's journal.
//!
//! ```text
//! offhookW:8  log:16  epoch:8  batch:8  checksum:8
//! ```
//! It is written after a batch is durable and before anything is acknowledged, without an fsync of
//! its own. It is therefore never ahead of the store, and after a power failure at most behind it.
//! It is made durable when a log is opened, so that it is never older than the newest epoch.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::{
    manifest::{LogId, checksum},
    private,
};

pub(super) const FILE: &str = "witness";
const TITLE: &[u8; 8] = b"offhookW";
const LENGTH: usize = 48;

/// The content of a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Testimony {
    pub(super) log: [u8; 16],
    pub(super) epoch: u64,
    /// The newest batch that was acknowledged.
    pub(super) batch: u64,
}

#[derive(Debug)]
pub(super) struct Witness {
    file: File,
    log: LogId,
    epoch: u64,
}

impl Witness {
    /// Reads the witness in this directory; none if it is invalid.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Testimony>> {
        let file = match OpenOptions::new().read(true).open(directory.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = [0; LENGTH];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates one, durable with the newest batch of an epoch.
    pub(super) fn begin(directory: &Path, log: LogId, epoch: u64, batch: u64) -> io::Result<Self> {
        let file = private::options()
            .truncate(false)
            .open(directory.join(FILE))?;
        let witness = Self { file, log, epoch };
        witness.write(batch)?;
        witness.file.set_len(LENGTH as u64)?;
        witness.file.sync_all()?;
        private::sync_directory(directory)?;
        Ok(witness)
    }

    pub(super) fn write(&self, batch: u64) -> io::Result<()> {
        let mut bytes = [0; LENGTH];
        let mut parts = bytes.chunks_exact_mut(8);
        let log = self.log.to_bytes();
        let (head, tail) = log.split_at(8);
        let (epoch, batch) = (self.epoch.to_be_bytes(), batch.to_be_bytes());
        for (part, value) in parts
            .by_ref()
            .zip([TITLE.as_slice(), head, tail, &epoch, &batch])
        {
            part.copy_from_slice(value);
        }
        let check = checksum(bytes.split_at(LENGTH - 8).0).to_be_bytes();
        bytes.split_at_mut(LENGTH - 8).1.copy_from_slice(&check);
        self.file.write_all_at(&bytes, 0)
    }
}

fn parse(bytes: &[u8; LENGTH]) -> Option<Testimony> {
    let (body, check) = bytes.split_at(LENGTH - 8);
    if check != checksum(body).to_be_bytes() {
        return None;
    }
    let (title, rest) = body.split_at(8);
    let (log, rest) = rest.split_at(16);
    let (epoch, batch) = rest.split_at(8);
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    Some(Testimony {
        log: log.try_into().ok().filter(|_| title == TITLE)?,
        epoch: number(epoch)?,
        batch: number(batch)?,
    })
}

#[cfg(test)]
mod tests;

//! The witness: the number of the newest acknowledged batch, outside the store's journal.
//!
//! It is written after a batch is durable and before anyone is told, without an fsync of its own:
//! so it is never ahead of the truth, and after a power cut at most behind it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

const FILE: &str = "witness";

#[derive(Debug)]
pub(super) struct Witness(File);

impl Witness {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false);
        file.open(directory.join(FILE)).map(Self)
    }

    /// The newest batch it saw; none when it saw none or can't be read.
    pub(super) fn read(&self) -> Option<u64> {
        let mut bytes = [0; 16];
        self.0.read_exact_at(&mut bytes, 0).ok()?;
        let (batch, check) = bytes.split_at(8);
        let batch = u64::from_be_bytes(batch.try_into().ok()?);
        (check == (!batch).to_be_bytes()).then_some(batch)
    }

    pub(super) fn write(&self, batch: u64) -> io::Result<()> {
        let mut bytes = [0; 16];
        let (head, tail) = bytes.split_at_mut(8);
        head.copy_from_slice(&batch.to_be_bytes());
        tail.copy_from_slice(&(!batch).to_be_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}

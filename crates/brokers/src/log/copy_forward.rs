//! After a failed fsync it is unknown which parts of a file are on the disk: the system may have
//! forgotten that its pages were never written, still shows them to readers, and lets the next
//! fsync succeed. Only bytes that are written again are known to be written. Before such a journal
//! is trusted, it is therefore copied into a new file, which is made durable.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::{
    inventory::{journals, store_of},
    private,
};

/// How many bytes are copied at once; journals end with megabytes of zeros, which are skipped.
const CHUNK: usize = 64 << 10;

/// Copies every journal of this log. The store must be closed.
pub(super) fn copy_journals(directory: &Path) -> io::Result<()> {
    let store = store_of(directory);
    for number in journals(directory)? {
        let journal = store.join(format!("{number}.jnl"));
        let copy = store.join(format!("{number}.copy"));
        copy_file(&journal, &copy)?;
        fs::rename(&copy, &journal)?;
    }
    private::sync_directory(&store)
}

/// Copies a file and makes the copy durable.
pub(super) fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    copy_bytes(from, to)?.sync_all()
}

/// Reads and writes, because `std::fs::copy` might let both files share blocks on the disk.
pub(super) fn copy_bytes(from: &Path, to: &Path) -> io::Result<File> {
    let mut from = File::open(from)?;
    let mut to = private::options().truncate(true).open(to)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        let bytes = chunk.split_at(length).0;
        if bytes.is_empty() {
            break;
        }
        if bytes.iter().all(|byte| *byte == 0) {
            to.seek(SeekFrom::Current(length as i64))?;
        } else {
            to.write_all(bytes)?;
        }
    }
    let length = to.stream_position()?;
    to.set_len(length)?;
    Ok(to)
}

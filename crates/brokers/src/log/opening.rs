//! Opening a log: the files are compared with what is expected before the log is used.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use offhook_engine::Now;

use super::{
    Durability, LogOptions, OpenError, copy_forward,
    inventory::{self, Inventory, store_of},
    manifest::{self, Manifest, State},
    older, private, snapshot,
    store::Store,
    witness::{self, Testimony, Witness},
};
use crate::lineage::Epochs;

/// Held while a log is in use.
const LOCK: &str = "lock";

/// A log that was found good.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) epochs: Epochs,
    pub(super) witness: Witness,
    pub(super) inventory: Inventory,
    /// Prevents other processes from opening it.
    pub(super) lock: File,
    /// Warnings for an operator.
    pub(super) warnings: Vec<String>,
}

/// How long to wait for a log that is in use. 1 s: a process that is stopping, or that only checks
/// the files, may need a moment to release it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the log in this directory, or creates one, with a new epoch.
pub(super) fn open(options: &LogOptions, now: Now) -> Result<Opened, OpenError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match open_now(options, now) {
            Err(OpenError::InUse { .. }) if Instant::now() < until => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
}

fn open_now(options: &LogOptions, now: Now) -> Result<Opened, OpenError> {
    let directory = &options.path;
    let io = |error| OpenError::Io {
        path: directory.clone(),
        error,
    };
    private::private_directory(directory).map_err(io)?;
    let lock = lock(directory)?;
    snapshot::answer_requests(directory);
    let mut warnings = Vec::new();
    if private::withdraw_all(directory).map_err(io)? > 0 {
        warnings.push(format!(
            "{}: others could read the log; now only its owner can",
            directory.display()
        ));
    }
    let accept_loss = options.accept_loss || options.durability == Durability::Os;
    if Manifest::read(directory).map_err(io)?.is_none()
        && let Some((manifest, testimony)) = older::take_over(options)?
    {
        warnings.push(format!(
            "{}: a log of an earlier version was found whole and taken over",
            directory.display()
        ));
        let testimony = Some(testimony);
        let found = Found {
            store: open_store(options, testimony)?,
            manifest,
            testimony,
        };
        return settle(options, now, found, lock, warnings);
    }
    let Some(manifest) = read_manifest(directory)? else {
        return begin(options, now, lock, warnings);
    };
    inventory::check_files(directory, &manifest, accept_loss)?;
    let testimony = read_witness(directory, &manifest, accept_loss)?;
    if inventory::has_lost_journals(directory, &manifest).map_err(io)? {
        // Not even a flush is allowed before it is known that nothing is missing: restored files
        // would be taken for older ones than the flushed data.
        let store =
            Store::open_quietly(options).map_err(|error| OpenError::of(directory, error))?;
        inventory::check_store(directory, &manifest, &store, accept_loss)?;
    }
    let store = open_store(options, testimony)?;
    inventory::check_store(directory, &manifest, &store, accept_loss)?;
    settle(
        options,
        now,
        Found {
            manifest,
            testimony,
            store,
        },
        lock,
        warnings,
    )
}

/// What was on the disk.
struct Found {
    manifest: Manifest,
    testimony: Option<Testimony>,
    store: Store,
}

/// Takes the lock of this log.
pub(super) fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.to_owned();
    let file = private::options()
        .truncate(false)
        .open(directory.join(LOCK));
    let file = match file {
        Ok(file) => file,
        Err(error) => return Err(OpenError::Io { path, error }),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(error)) => Err(OpenError::Io { path, error }),
    }
}

/// The manifest of a log that was used before; none if there is nothing of value.
pub(super) fn read_manifest(directory: &Path) -> Result<Option<Manifest>, OpenError> {
    let io = |error| OpenError::Io {
        path: directory.to_owned(),
        error,
    };
    match Manifest::read(directory).map_err(io)? {
        Some(Ok(manifest)) if manifest.state == State::Complete => Ok(Some(manifest)),
        Some(Ok(_)) => {
            // The process died while creating it: nothing was acknowledged.
            remove(&store_of(directory)).map_err(io)?;
            Ok(None)
        }
        Some(Err(what)) => Err(OpenError::Corrupt {
            path: directory.to_owned(),
            found: format!("{}: {what}", manifest::FILE),
        }),
        None if store_of(directory).exists() || directory.join(witness::FILE).exists() => {
            Err(OpenError::missing(directory, manifest::FILE))
        }
        None => Ok(None),
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Creates an empty log. Until it is complete, its manifest says so.
fn begin(
    options: &LogOptions,
    now: Now,
    lock: File,
    warnings: Vec<String>,
) -> Result<Opened, OpenError> {
    let directory = &options.path;
    let manifest = Manifest::beginning();
    manifest.write(directory).map_err(|error| OpenError::Io {
        path: directory.clone(),
        error,
    })?;
    let store = Store::open(options).map_err(|error| OpenError::of(directory, error))?;
    let found = Found {
        manifest,
        testimony: None,
        store,
    };
    settle(options, now, found, lock, warnings)
}

/// Starts an epoch, and writes the manifest.
fn settle(
    options: &LogOptions,
    now: Now,
    found: Found,
    lock: File,
    warnings: Vec<String>,
) -> Result<Opened, OpenError> {
    let directory = &options.path;
    let failed = |error| OpenError::of(directory, error);
    let Found {
        mut manifest,
        testimony,
        store,
    } = found;
    let accept_loss = options.accept_loss || options.durability == Durability::Os;
    let batch = check_batch(directory, &store, testimony, accept_loss)? + 1;
    store.own(manifest.id).map_err(failed)?;
    let numbers = store.numbers(accept_loss).map_err(|error| {
        let found = format!("the number of channels cannot be read: {error}");
        OpenError::LostAcknowledged {
            path: directory.clone(),
            found,
        }
    })?;
    let epochs = store.begin_epoch(now, batch, numbers).map_err(failed)?;
    let epoch = epochs.current();
    manifest.state = State::Complete;
    manifest.epoch = epoch.0;
    manifest.batch = batch;
    let io = |error| OpenError::Io {
        path: directory.clone(),
        error,
    };
    let witness = Witness::begin(directory, manifest.id, epoch.0, batch).map_err(io)?;
    let inventory = Inventory::begin(directory, manifest, &store).map_err(io)?;
    Ok(Opened {
        store,
        epochs,
        witness,
        inventory,
        lock,
        warnings,
    })
}

/// The newest batch that was acknowledged or is in the store: the latter, if nothing is missing.
pub(super) fn check_batch(
    directory: &Path,
    store: &Store,
    testimony: Option<Testimony>,
    accept_loss: bool,
) -> Result<u64, OpenError> {
    let newest = store.newest();
    let batch = newest
        .map_err(|error| OpenError::of(directory, error))?
        .batch;
    let confirmed = testimony.map_or(0, |testimony| testimony.batch);
    if confirmed > batch && !accept_loss {
        return Err(OpenError::LostAcknowledged {
            path: directory.to_owned(),
            found: format!("the store ends with batch {batch}, acknowledged was {confirmed}"),
        });
    }
    Ok(batch.max(confirmed))
}

/// The content of this log's witness, unless it is an older one.
pub(super) fn read_witness(
    directory: &Path,
    manifest: &Manifest,
    accept_loss: bool,
) -> Result<Option<Testimony>, OpenError> {
    let testimony = Witness::read(directory).map_err(|error| OpenError::Io {
        path: directory.to_owned(),
        error,
    })?;
    let Some(testimony) = testimony else {
        if accept_loss {
            return Ok(None);
        }
        return Err(OpenError::LostAcknowledged {
            path: directory.to_owned(),
            found: "the file `witness` is missing or cannot be read".to_owned(),
        });
    };
    if testimony.log != manifest.id.to_bytes() {
        let found = "the file `witness` is that of another log".to_owned();
        return Err(OpenError::foreign(directory, found));
    }
    if testimony.batch < manifest.batch && !accept_loss {
        let found = "the file `witness` is older than the rest".to_owned();
        return Err(OpenError::foreign(directory, found));
    }
    Ok(Some(testimony))
}

/// Opens the store. Data that no witness confirms may exist only in this machine's memory, after an
/// fsync that failed: it is made durable first.
fn open_store(options: &LogOptions, testimony: Option<Testimony>) -> Result<Store, OpenError> {
    let directory = &options.path;
    let failed = |error| OpenError::of(directory, error);
    let store = Store::open(options).map_err(failed)?;
    let confirmed = testimony.map_or(0, |testimony| testimony.batch);
    if store.newest().map_err(failed)?.batch <= confirmed {
        return Ok(store);
    }
    drop(store);
    copy_forward::copy_journals(directory).map_err(|error| failed(error.into()))?;
    Store::open(options).map_err(failed)
}

#[cfg(test)]
mod tests;

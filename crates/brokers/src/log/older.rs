//! Logs of versions without a manifest: accepted if all present files are consistent.
//!
//! Such a log has the same store and a witness of 16 bytes: the newest acknowledged batch, and the
//! same with every bit inverted. It does not list its files, so other facts are checked: all
//! keyspaces exist with the versions that they name, journals are numbered consecutively, the store
//! contains the batch in the witness, and the channels' entries agree with the channels' count and
//! with what is retained.

use std::{fs, io, path::Path};

use super::{
    LogOptions, OpenError, inventory,
    manifest::Manifest,
    retained::Retained,
    store::Store,
    witness::{self, Testimony},
};
use crate::lineage::Epochs;

/// Channels whose names are read at once.
const NAMES: usize = 256;

/// The batch in the witness of such a log; none if there is no such witness.
fn older_witness(directory: &Path) -> io::Result<Option<u64>> {
    let bytes = match fs::read(directory.join(witness::FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Ok(bytes): Result<[u8; 16], _> = bytes.try_into() else {
        return Ok(None);
    };
    let (batch, check) = bytes.split_at(8);
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
    let batch = number(batch);
    Ok((number(check) == !batch).then_some(batch))
}

/// The manifest and the testimony of a log of an earlier version; none if this is something else.
///
/// # Errors
/// What does not fit together.
pub(super) fn take_over(options: &LogOptions) -> Result<Option<(Manifest, Testimony)>, OpenError> {
    let directory = &options.path;
    let io = |error| OpenError::Io {
        path: directory.clone(),
        error,
    };
    let Some(batch) = older_witness(directory).map_err(io)? else {
        return Ok(None);
    };
    inventory::check_older_files(directory)?;
    let failed = |error| OpenError::of(directory, error);
    let unfit = |found: String| OpenError::foreign(directory, found);
    let store = Store::open_quietly(options).map_err(failed)?;
    if store.has_owner().map_err(failed)? {
        return Err(unfit(
            "the store is of this version, the file `witness` of an earlier one".to_owned(),
        ));
    }
    let newest = store.newest().map_err(failed)?.batch;
    if newest < batch {
        return Err(OpenError::LostAcknowledged {
            path: directory.clone(),
            found: format!("the store ends with batch {newest}, acknowledged was {batch}"),
        });
    }
    let epochs = store.epochs().map_err(failed)?;
    let Some(epochs) = epochs.filter(|_| newest > 0) else {
        return Err(unfit(
            "the store is empty, the file `witness` is not".to_owned(),
        ));
    };
    let channels = check_channels(&store, &epochs).map_err(unfit)?;
    let numbered = store.channel_count().map_err(failed)?;
    if channels != numbered {
        let found = format!("the store has {channels} channels and gave numbers to {numbered}");
        return Err(unfit(found));
    }
    let manifest = Manifest::beginning();
    let testimony = Testimony {
        log: manifest.id.to_bytes(),
        epoch: 0,
        batch,
    };
    Ok(Some((manifest, testimony)))
}

/// Counts the channels whose entries agree with their retained publications.
fn check_channels(store: &Store, epochs: &Epochs) -> Result<u32, String> {
    let (mut count, mut after) = (0, String::new());
    loop {
        let names = store.channels_after(&after, NAMES);
        let names = names.map_err(|error| format!("the list of channels: {error}"))?;
        let Some(last) = names.last().cloned() else {
            return Ok(count);
        };
        for name in names {
            count += 1;
            let entry = offhook_engine::ChannelName::new(&name).ok();
            let entry = entry.and_then(|name| store.channel(&name).ok().flatten());
            let retained = entry.and_then(|bytes| Retained::decode(&bytes, epochs.origin().epoch));
            let retained =
                retained.ok_or_else(|| format!("the entry of channel {name} can't be read"))?;
            let newest = store.last_offset(retained.id).ok().flatten();
            if retained.head >= retained.first() && newest < Some(retained.head) {
                let head = retained.head;
                return Err(format!(
                    "channel {name} has no publication {head}, its newest"
                ));
            }
        }
        after = last;
    }
}

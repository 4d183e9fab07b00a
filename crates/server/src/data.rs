//! The data directory: the log, the key of resume tokens, and who may read them.

use std::{fs, io, path::Path, sync::Arc};

use offhook_brokers::{Broker, Budget, Log, LogOptions, Memory, private_directory};
use offhook_engine::RuleBook;

use crate::{
    config::{Config, ResumeKey},
    key_file,
    start_error::StartError,
    tokens, worker,
};

/// The log's subdirectory in the data directory.
const LOG: &str = "log";

/// What a server has in its data directory.
const OWN_FILES: [&str; 7] = [
    LOG,
    "dev-tls",
    // Left by a restore of a backup that was killed.
    "log.restoring",
    "offhook.pid",
    "offhook.upgrade",
    "resume.key",
    "resume.unfinished",
];

/// The key that seals resume tokens, followed by those that only open them.
pub(crate) fn resume_keys(config: &Config) -> Result<Vec<ResumeKey>, StartError> {
    let key = match &config.resume.key {
        Some(key) => key.clone(),
        // Sessions end with the process, so their tokens may, too.
        None if config.in_memory => tokens::fresh_key().map_err(StartError::System)?,
        None => key_file::read_or_make(&config.data)?,
    };
    Ok([&[key][..], &config.resume.older_keys].concat())
}

pub(crate) fn open_broker(
    config: &Config,
    rules: &Arc<RuleBook>,
) -> Result<Arc<dyn Broker>, StartError> {
    let (rules, now) = (Arc::clone(rules), worker::now());
    let budget = Budget {
        // The other half is for connections.
        memory_bytes: config.memory.bytes / 2,
        channels: config.storage.channels,
        disk_bytes: config.storage.disk_bytes,
    };
    if config.in_memory {
        return Ok(Arc::new(Memory::within(budget, rules, now)));
    }
    keep_private(&config.data)?;
    let options = LogOptions {
        durability: config.durability,
        accept_loss: config.storage.accept_loss,
        queue_count: config.storage.queue_count,
        queue_bytes: config.storage.queue_bytes,
        cache_bytes: config.storage.cache_bytes,
        budget,
        ..LogOptions::new(config.data.join(LOG))
    };
    let log = Log::open(options, rules, now).map_err(StartError::Log)?;
    for warning in log.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(log))
}

/// The data directory contains messages and the key of resume tokens, so no other user may read it.
/// Creates the data directory for its owner only, or takes the permissions of others from an
/// existing one. A directory that belongs to another user, or that contains other files, is not
/// changed: the files that the server creates in it are private.
fn keep_private(directory: &Path) -> Result<(), StartError> {
    let unusable = |source| StartError::File {
        path: directory.to_owned(),
        source,
    };
    let shown = directory.display();
    if directory.is_dir() && has_other_things(directory).map_err(unusable)? {
        return Ok(());
    }
    match private_directory(directory) {
        Ok(true) => {
            tracing::warn!(directory = %shown, "others could read the data directory; now only its owner can");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && directory.is_dir() => {
            tracing::warn!(directory = %shown, "the data directory belongs to another user, who decides who can read it");
            Ok(())
        }
        Err(error) => Err(unusable(error)),
    }
}

fn has_other_things(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !OWN_FILES.iter().any(|own| *own == name) {
            return Ok(true);
        }
    }
    Ok(false)
}

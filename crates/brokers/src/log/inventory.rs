//! Checks that the directory of a log contains what it must.
//!
//! The underlying store assumes that a missing keyspace, journal or version file never existed,
//! deletes files it has no reference to, and starts. The files it would read are therefore compared
//! with the manifest before the store may change anything, and what it loaded is compared
//! afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    OpenError,
    manifest::{LogId, Manifest, Marks},
    private, snapshot,
    store::Store,
};

/// Names of files and directories that the store creates.
const STORE: &str = "store";
pub(super) const KEYSPACES: &str = "keyspaces";
const VERSION: &[u8] = b"FJL\x03";
/// `current` names a version of a keyspace: its number and checksum.
const CURRENT_LENGTH: usize = 25;
/// Our own file in a keyspace's directory, which says to which log it belongs.
pub(super) const OWNER: &str = "owner";

pub(super) fn store_of(directory: &Path) -> PathBuf {
    directory.join(STORE)
}

/// Compares files with the manifest, before the store is opened.
pub(super) fn check_files(
    directory: &Path,
    manifest: &Manifest,
    accept_loss: bool,
) -> Result<(), OpenError> {
    let check = Check {
        directory,
        manifest,
    };
    check.version()?;
    // The store's own lock, which contains nothing.
    let lock = store_of(directory).join("lock");
    private::options()
        .truncate(false)
        .open(lock)
        .map_err(|error| check.io(error))?;
    check.keyspace(0, "meta")?;
    for (number, name) in &manifest.keyspaces {
        check.keyspace(*number, name)?;
    }
    check.strangers()?;
    if accept_loss {
        return Ok(());
    }
    check.journals()
}

/// Keyspaces of a log of the versions before the manifest: the store's own, and ours.
const OLDER_KEYSPACES: u64 = 5;

/// Checks that all files of a log of an earlier version are present, before the store is opened.
pub(super) fn check_older_files(directory: &Path) -> Result<(), OpenError> {
    let check = Check {
        directory,
        manifest: &Manifest::beginning(),
    };
    check.version()?;
    for number in 0..=OLDER_KEYSPACES {
        check.keyspace_files(number)?;
    }
    check.strangers()?;
    check.journals()
}

struct Check<'a> {
    directory: &'a Path,
    manifest: &'a Manifest,
}

impl Check<'_> {
    fn io(&self, error: io::Error) -> OpenError {
        OpenError::Io {
            path: self.directory.to_owned(),
            error,
        }
    }

    /// The bytes of a required file.
    fn read(&self, name: &Path) -> Result<Vec<u8>, OpenError> {
        match fs::read(self.directory.join(name)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(OpenError::missing(self.directory, name.display()))
            }
            Err(error) => Err(self.io(error)),
        }
    }

    fn corrupt(&self, found: String) -> OpenError {
        OpenError::Corrupt {
            path: self.directory.to_owned(),
            found,
        }
    }

    fn version(&self) -> Result<(), OpenError> {
        let name = Path::new(STORE).join("version");
        if self.read(&name)? == VERSION {
            return Ok(());
        }
        let found = format!("{} is not of this store's version", name.display());
        Err(self.corrupt(found))
    }

    /// The folder of a keyspace whose version file is present.
    fn keyspace_files(&self, number: u64) -> Result<PathBuf, OpenError> {
        let folder = Path::new(STORE).join(KEYSPACES).join(number.to_string());
        let current = folder.join("current");
        let bytes = self.read(&current)?;
        let version = bytes.first_chunk().copied().map(u64::from_le_bytes);
        let Some(version) = version.filter(|_| bytes.len() == CURRENT_LENGTH) else {
            let found = format!(
                "{} has {} bytes instead of {CURRENT_LENGTH}",
                current.display(),
                bytes.len()
            );
            return Err(self.corrupt(found));
        };
        self.read(&folder.join(format!("v{version}")))?;
        Ok(folder)
    }

    fn keyspace(&self, number: u64, name: &str) -> Result<(), OpenError> {
        let folder = self.keyspace_files(number)?;
        let owner = folder.join(OWNER);
        let found = self.read(&owner)?;
        let expected = owner_line(self.manifest.id, name);
        if found != expected.as_bytes() {
            let found = format!(
                "{} says {:?}, not {:?}",
                owner.display(),
                String::from_utf8_lossy(&found).trim_end(),
                expected.trim_end()
            );
            return Err(OpenError::foreign(self.directory, found));
        }
        Ok(())
    }

    /// Unknown directories next to the keyspaces, which would make the store fail.
    fn strangers(&self) -> Result<(), OpenError> {
        let folder = store_of(self.directory).join(KEYSPACES);
        for entry in fs::read_dir(folder).map_err(|error| self.io(error))? {
            let name = entry.map_err(|error| self.io(error))?.file_name();
            let name = name.to_string_lossy();
            if name.parse::<u64>().is_err() {
                let found = format!("{STORE}/{KEYSPACES}/{name} is not a part of the log");
                return Err(OpenError::foreign(self.directory, found));
            }
        }
        Ok(())
    }

    /// Journals are numbered consecutively, and those no longer needed are removed from the oldest
    /// on.
    fn journals(&self) -> Result<(), OpenError> {
        let found = journals(self.directory).map_err(|error| self.io(error))?;
        let oldest = found.first().copied().unwrap_or(self.manifest.journal);
        let newest = found.last().copied().unwrap_or(0);
        for journal in oldest..=newest.max(self.manifest.journal) {
            if !found.contains(&journal) {
                return Err(missing_journal(self.directory, journal));
            }
        }
        Ok(())
    }
}

fn missing_journal(directory: &Path, journal: u64) -> OpenError {
    OpenError::LostAcknowledged {
        path: directory.to_owned(),
        found: format!("{STORE}/{journal}.jnl is missing"),
    }
}

fn owner_line(id: LogId, name: &str) -> String {
    format!("{} {name}\n", id.to_text())
}

/// The numbers of the journals on disk.
pub(super) fn journals(directory: &Path) -> io::Result<BTreeSet<u64>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(store_of(directory))? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jnl"));
        found.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(found)
}

/// Whether a journal that existed when the manifest was written is gone: it was no longer needed,
/// or someone removed it.
pub(super) fn has_lost_journals(directory: &Path, manifest: &Manifest) -> io::Result<bool> {
    let on_disk = journals(directory)?;
    Ok(manifest
        .sealed
        .keys()
        .any(|journal| !on_disk.contains(journal)))
}

/// Compares what the store loaded with the manifest.
pub(super) fn check_store(
    directory: &Path,
    manifest: &Manifest,
    store: &Store,
    accept_loss: bool,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::of(directory, error);
    let found = keyspaces_of(store);
    for (number, name) in &manifest.keyspaces {
        if found.get(number) != Some(name) {
            let found = format!("the store has no keyspace {number} called {name}");
            return Err(OpenError::foreign(directory, found));
        }
    }
    let on_disk = journals(directory).map_err(|error| failed(error.into()))?;
    for (journal, needed) in &manifest.sealed {
        let gone = !on_disk.contains(journal);
        if gone && !accept_loss && !is_flushed(store, needed) {
            return Err(missing_journal(directory, *journal));
        }
    }
    let known = |name: &str| manifest.keyspaces.values().any(|known| known == name);
    let stranger = store.of_another_log(manifest.id, known).map_err(failed)?;
    if let Some(what) = stranger {
        return Err(OpenError::foreign(directory, what));
    }
    Ok(())
}

/// Whether everything up to these entries is in tables, so that no journal is needed for it.
fn is_flushed(store: &Store, needed: &Marks) -> bool {
    let flushed = store.flushed();
    let reached = |(keyspace, entry): (&u64, &u64)| flushed.get(keyspace) >= Some(entry);
    needed.iter().all(reached)
}

fn keyspaces_of(store: &Store) -> BTreeMap<u64, String> {
    let named = store.keyspaces().into_iter();
    named
        .map(|keyspace| (keyspace.id(), keyspace.name().to_string()))
        .collect()
}

/// Tracks which files the running store creates and deletes, and keeps the manifest up to date.
#[derive(Debug)]
pub(super) struct Inventory {
    directory: PathBuf,
    manifest: Manifest,
    /// The newest entries at the last check: they are in journals up to `manifest.journal`.
    newest: Marks,
    /// Whether the manifest on disk is an older one, because it could not be written.
    is_outdated: bool,
}

impl Inventory {
    /// For a store that was found good, or is new: writes the manifest.
    pub(super) fn begin(
        directory: &Path,
        mut manifest: Manifest,
        store: &Store,
    ) -> io::Result<Self> {
        manifest.keyspaces = keyspaces_of(store);
        let meta = (0, "meta".to_owned());
        for (number, name) in manifest.keyspaces.clone().into_iter().chain([meta]) {
            let folder = store_of(directory).join(KEYSPACES).join(number.to_string());
            let owner = folder.join(OWNER);
            let line = owner_line(manifest.id, &name);
            if fs::read(&owner).ok().as_deref() != Some(line.as_bytes()) {
                private::replace(&owner, line.as_bytes())?;
            }
        }
        let on_disk = journals(directory)?;
        manifest
            .sealed
            .retain(|journal, _| on_disk.contains(journal));
        manifest.journal = on_disk.last().copied().unwrap_or(0);
        manifest.write(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            newest: store.newest_entries(),
            is_outdated: false,
        })
    }

    /// Checks the journals, about once a second and between two batches, and answers requests for a
    /// snapshot.
    ///
    /// # Errors
    /// A file that is needed is missing, or the system's error.
    pub(super) fn look(&mut self, store: &Store) -> Result<(), String> {
        snapshot::answer_requests(&self.directory);
        let on_disk = journals(&self.directory).map_err(|error| error.to_string())?;
        let before = self.manifest.clone();
        let newest = on_disk.last().copied().unwrap_or(0);
        if newest > self.manifest.journal {
            // As of the last check: for later entries it is unknown in which journal they are.
            let marks = std::mem::take(&mut self.newest);
            self.manifest.sealed.insert(self.manifest.journal, marks);
            self.manifest.journal = newest;
        }
        self.newest = store.newest_entries();
        let mut missing = None;
        self.manifest.sealed.retain(|journal, needed| {
            if on_disk.contains(journal) {
                return true;
            }
            let lost = !is_flushed(store, needed);
            if lost {
                missing = Some(*journal);
            }
            lost
        });
        if newest < self.manifest.journal {
            missing = Some(self.manifest.journal);
        }
        self.is_outdated |= self.manifest != before;
        if self.is_outdated {
            let written = self.manifest.write(&self.directory);
            written.map_err(|error| format!("the manifest cannot be written: {error}"))?;
            self.is_outdated = false;
        }
        match missing {
            Some(journal) => Err(format!(
                "{STORE}/{journal}.jnl was removed while the log is in use; back it up now \
                 with `offhook log read`, then restore it"
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

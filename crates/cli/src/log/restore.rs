//! `offhook log restore`.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use clap::Args;
use offhook_brokers::{CheckReport, LogView, Snapshot, private_directory};

use super::{NAME, PATIENCE, Which, check, log_in, open};
use crate::{failure::Failure, screen};

/// Restore a log from a backup.
///
/// The data directory must not contain a log: stop the server, and move a damaged log away first.
/// The copy is made next to its place, checked, and renamed; if the command fails, it leaves nothing
/// behind. The server then starts a new epoch: a client with messages that the backup does not have
/// is told of a gap from exactly there, and never receives another message under a position it
/// already has.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A backup, made by `offhook log backup`; or another server's data directory
    backup: PathBuf,
    /// Restore it also if some of its messages cannot be read: their readers are told of a gap
    #[arg(long)]
    accept_damage: bool,
    #[command(flatten)]
    which: Which,
}

impl Restore {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let data = self.which.directory()?;
        let log = data.join(NAME);
        is_free(&log)?;
        let backup = log_in(&self.backup);
        let failed = |error: &dyn std::error::Error| Failure::failed(error);
        let snapshot = Snapshot::take(&backup, PATIENCE).map_err(|error| failed(&error))?;
        // A backup that cannot be opened is not worth copying.
        drop(open(&snapshot, &backup)?);

        let new = Unfinished::begin(&data)?;
        let bytes = snapshot.copy_to(&new.path).map_err(|error| {
            let (backup, log) = (backup.display(), log.display());
            Failure::Failed(format!("{backup} cannot be copied to {log}: {error}"))
        })?;
        drop(snapshot);
        let view = LogView::open(&new.path).map_err(|error| failed(&error.about(&backup)))?;
        let report = view.check();
        drop(view);
        if !report.is_good() && !self.accept_damage {
            return Err(damaged(&backup, &report));
        }
        new.rename(&log)?;
        let (place, summary) = (log.display(), check::summary(&report));
        Ok(screen::print(&format!(
            "{place}: {bytes} bytes restored; {summary}\n"
        ))?)
    }
}

/// Nothing is at the log's place, or an empty directory.
fn is_free(log: &Path) -> Result<(), Failure> {
    let place = log.display();
    match fs::read_dir(log).map(|mut found| found.next().is_none()) {
        Ok(true) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(false) => {
            let hint = format!("stop the server, and move it away: mv {place} {place}.old");
            Err(Failure::Failed(format!("{place}: a log already exists")).hint(hint))
        }
        Err(error) => {
            let what = format!("{place}: the log cannot be restored here: {error}");
            Err(Failure::Failed(what))
        }
    }
}

fn damaged(backup: &Path, report: &CheckReport) -> Failure {
    let (backup, summary) = (backup.display(), check::summary(report));
    let what = format!("{backup}: the backup is damaged, and nothing was restored: {summary}");
    Failure::Failed(what).hint(format!(
        "`offhook log check --data {backup}` says what is damaged; use an older backup, or restore \
         what can be read with --accept-damage"
    ))
}

/// The copy before it is in its place, removed on drop.
struct Unfinished {
    path: PathBuf,
    /// The data directory, if it did not exist before.
    created: Option<PathBuf>,
    /// Another restore into the same data directory finds it locked.
    _locked: File,
}

impl Unfinished {
    fn begin(data: &Path) -> Result<Self, Failure> {
        let path = data.join(format!("{NAME}.restoring"));
        let place = path.display();
        let failed = |error: io::Error| Failure::Failed(format!("{place}: {error}"));
        let created = (!data.exists()).then(|| data.to_owned());
        private_directory(&path).map_err(failed)?;
        let locked = File::open(&path).map_err(failed)?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("{place}: another process restores a backup here; wait for it");
                return Err(Failure::Failed(what));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let new = Self {
            path: path.clone(),
            created,
            _locked: locked,
        };
        // What a killed process has left.
        for entry in fs::read_dir(&path).map_err(failed)?.flatten() {
            let left = entry.path();
            let removed = if left.is_dir() {
                fs::remove_dir_all(left)
            } else {
                fs::remove_file(left)
            };
            removed.map_err(failed)?;
        }
        Ok(new)
    }

    /// Puts the copy into its place, durably.
    fn rename(self, log: &Path) -> Result<(), Failure> {
        let parent = log.parent().unwrap_or(Path::new("."));
        let renamed = fs::rename(&self.path, log).and_then(|()| File::open(parent)?.sync_all());
        renamed.map_err(|error| {
            let log = log.display();
            Failure::Failed(format!(
                "{log}: the copy cannot be put into its place: {error}"
            ))
        })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Nothing is there after the rename. What remains otherwise is removed by the next restore.
        drop(fs::remove_dir_all(&self.path));
        if let Some(data) = &self.created {
            // Fails with a log in it, as it must.
            drop(fs::remove_dir(data));
        }
    }
}

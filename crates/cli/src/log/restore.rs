//! `offhook log restore`.

use std::{fs, path::PathBuf};

use clap::Args;
use offhook_brokers::{LogView, Snapshot};

use super::{NAME, PATIENCE, Which, check, log_in};
use crate::{failure::Failure, screen};

/// Restore a log from a backup.
///
/// The data directory must not contain a log: stop the server, and move a damaged log away first.
/// The copy is checked. The server then starts a new epoch: a client with messages that the backup
/// does not have is told of a gap from exactly there, and never receives another message under a
/// position it already has.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A backup, made by `offhook log backup`; or another server's data directory
    backup: PathBuf,
    #[command(flatten)]
    which: Which,
}

impl Restore {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let log = self.which.directory()?.join(NAME);
        let is_empty = fs::read_dir(&log).map_or(true, |mut found| found.next().is_none());
        if !is_empty {
            let hint = format!(
                "stop the server, and move it away: mv {0} {0}.old",
                log.display()
            );
            let what = format!("{}: a log already exists", log.display());
            return Err(Failure::Failed(what).hint(hint));
        }
        let backup = log_in(&self.backup);
        let failed = |error: &dyn std::error::Error| Failure::failed(error);
        let snapshot = Snapshot::take(&backup, PATIENCE).map_err(|error| failed(&error))?;
        let bytes = snapshot.copy_to(&log).map_err(|error| failed(&error))?;
        drop(snapshot);
        let view = LogView::open(&log).map_err(|error| failed(&error))?;
        let report = view.check();
        let (place, summary) = (log.display(), check::summary(&report));
        screen::print(&format!("{place}: {bytes} bytes restored; {summary}\n"))?;
        check::verdict(&report)
    }
}

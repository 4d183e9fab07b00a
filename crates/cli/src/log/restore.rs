//! `offhook log restore`.

use std::{fs, path::PathBuf};

use clap::Args;
use offhook_brokers::{LogView, Snapshot};

use super::{NAME, PATIENCE, Which, check, log_in};
use crate::{failure::Failure, screen};

/// Put a backup in the place of a log that is gone.
///
/// The data directory must have no log: move a damaged one away first, and stop the server. The copy
/// is checked. The server then starts a new epoch: a client that has messages which the backup does
/// not have is told of a gap from exactly there, and never gets another message under a position that
/// it knows.
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
            let what = format!("{}: there is a log already", log.display());
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

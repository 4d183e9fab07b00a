//! `offhook log backup`.

use std::path::PathBuf;

use clap::Args;
use offhook_brokers::LogView;

use super::{Which, check};
use crate::{failure::Failure, screen};

/// Copy the log, also while the server runs, and check the copy.
///
/// The copy contains everything acknowledged before the command started, and perhaps some later
/// messages. It is a log like the original: pass it to any command as `--data`. When the command is
/// done, the copy is durable; an interrupted copy is rejected as incomplete.
#[derive(Debug, Args)]
#[command(after_help = "\
The key of resume tokens, `resume.key` in the data directory, is not part of it: it is a secret. Without it
clients that come back after a restore go on by position instead of by token, and lose nothing.")]
pub(crate) struct Backup {
    /// An empty or new directory
    destination: PathBuf,
    #[command(flatten)]
    which: Which,
}

impl Backup {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let snapshot = self.which.snapshot()?;
        let copied = snapshot.copy_to(&self.destination);
        let bytes = copied.map_err(|error| {
            let failure = Failure::failed(&error);
            failure.hint(format!(
                "{} is not a complete backup",
                self.destination.display()
            ))
        })?;
        drop(snapshot);
        let view = LogView::open(&self.destination).map_err(|error| Failure::failed(&error))?;
        let report = view.check();
        let summary = check::summary(&report);
        let place = self.destination.display();
        screen::print(&format!("{place}: {bytes} bytes copied; {summary}\n"))?;
        check::verdict(&report)
    }
}

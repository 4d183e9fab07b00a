//! `offhook log`: inspects a log, backs it up while it is in use, and restores backups.

mod backup;
mod channels;
mod check;
mod read;
mod restore;

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use offhook_brokers::{LogView, Snapshot};
use offhook_server::config::{Sources, load};

use crate::failure::Failure;

/// Back up, restore, check and read the log of a server.
///
/// Every command except `restore` works while the server runs, and changes nothing: it takes a
/// snapshot, for which the server links and copies files between two batches, within about a
/// second.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Log {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  offhook log backup /mnt/backups/monday      copy the log while the server runs, and check the copy
  offhook log check                           read everything, and say what is damaged
  offhook log channels                        which channels there are, and how long
  offhook log read chat > chat.jsonl          the retained messages of a channel, one object per line
  offhook log restore /mnt/backups/monday     restore a copy where a log was lost

Exit codes: 0 done, and everything is intact; 1 failed, or something is damaged; 2 invalid
flags.";

#[derive(Debug, Subcommand)]
enum Command {
    Backup(backup::Backup),
    Restore(restore::Restore),
    Check(check::Check),
    Channels(channels::Channels),
    Read(read::Read),
}

impl Log {
    pub(crate) fn run(self) -> Result<(), Failure> {
        // Copies are accessible only to their owner, like the log.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        match self.command {
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Check(check) => check.run(),
            Command::Channels(channels) => channels.run(),
            Command::Read(read) => read.run(),
        }
    }
}

/// How long to wait for a running server: it checks once a second, and may be busy with its disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the log in a data directory.
const NAME: &str = "log";

/// The log to use.
#[derive(Debug, Args)]
struct Which {
    /// A data directory, or a backup [default: the data directory of the configuration]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file that names the data directory [default: ./offhook.toml, if it exists]
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
}

impl Which {
    /// The data directory or the backup.
    fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        let sources = Sources {
            file: self.config.clone(),
            environment: env::vars_os().collect(),
            ..Sources::default()
        };
        let loaded = load(&sources).map_err(Failure::usage)?;
        Ok(loaded.config.data)
    }

    /// The directory of the log itself.
    fn log(&self) -> Result<PathBuf, Failure> {
        Ok(log_in(&self.directory()?))
    }

    fn snapshot(&self) -> Result<Snapshot, Failure> {
        Snapshot::take(&self.log()?, PATIENCE).map_err(|error| Failure::failed(&error))
    }

    /// A snapshot, opened.
    fn view(&self) -> Result<(Snapshot, LogView), Failure> {
        let snapshot = self.snapshot()?;
        let view = open(&snapshot, &self.log()?)?;
        Ok((snapshot, view))
    }
}

/// Opens a snapshot. Errors name the log it was taken of: the snapshot is removed with this command.
fn open(snapshot: &Snapshot, log: &Path) -> Result<LogView, Failure> {
    LogView::open(snapshot.path()).map_err(|error| Failure::failed(&error.about(log)))
}

/// A data directory contains a log; a backup is one.
fn log_in(directory: &Path) -> PathBuf {
    if directory.join("manifest").is_file() {
        directory.to_owned()
    } else {
        directory.join(NAME)
    }
}

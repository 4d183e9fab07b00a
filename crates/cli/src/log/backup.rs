//! `offhook log backup`.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
};

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
        let log = self.which.log()?;
        if is_within(&self.destination, &log) {
            let what = format!(
                "{}: this is inside the log itself, {}",
                self.destination.display(),
                log.display()
            );
            return Err(Failure::usage(what).hint("name a directory outside of it"));
        }
        let snapshot = self.which.snapshot()?;
        let was_empty =
            fs::read_dir(&self.destination).map_or(true, |mut all| all.next().is_none());
        let copied = snapshot.copy_to(&self.destination);
        let bytes = copied.map_err(|error| {
            let place = self.destination.display();
            let failure = Failure::Failed(format!("{place}: the backup failed: {error}"));
            match was_empty {
                true => failure.hint(format!("{place} is not a complete backup")),
                // What was there is another backup, perhaps, and was not changed.
                false => failure,
            }
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

/// Whether a path, which need not exist, leads into this directory.
fn is_within(path: &Path, directory: &Path) -> bool {
    let directory = directory.canonicalize();
    matches!((resolved(path), directory), (Ok(path), Ok(directory)) if path.starts_with(&directory))
}

/// The path without links and dots: of the part that exists, as the system resolves it.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut missing: Vec<&OsStr> = Vec::new();
    let mut exists = path;
    loop {
        match exists.canonicalize() {
            Ok(mut found) => {
                found.extend(missing.iter().rev());
                return Ok(found);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        match exists.components().next_back() {
            Some(Component::Normal(name)) => missing.push(name),
            // `x/..` of an `x` that does not exist: it cannot be created either.
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        let parent = exists.parent().unwrap_or(Path::new(""));
        exists = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
    }
}

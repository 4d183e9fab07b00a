//! `offhook upgrade`: hands a running server over to a new process.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    failure::Failure,
    screen,
    serve::{Found, PidFile, UPGRADE_FAILED},
    settings::Flags,
};

/// How often the outcome is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// How long to wait for it. 150 s: longer than the two processes wait for each other.
const WITHIN: Duration = Duration::from_secs(150);

/// Hand the running server over to a new process of the installed program.
///
/// Replace the program's file first. The running server starts it with the arguments it was started
/// with itself, and passes it the listening sockets. When the new process has read its configuration,
/// the old one closes the log and its connections, each with a time to reconnect, and the new one
/// opens the log. No connection is refused, and nothing acknowledged is lost; new connections wait
/// for some hundred milliseconds. If the new process cannot start, the old one continues.
///
/// Use the same --config and --data as for the server, or the same variables. Not for containers,
/// which end with their first process.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  offhook upgrade                              the server that uses ./offhook-data
  offhook upgrade --config /etc/offhook.toml   the one with this configuration
  kill -USR2 4711                              the same for any server, without waiting for the end

Exit codes: 0 the new process serves, 1 it does not, and the old one continues; 2 mistakes in the
configuration.";

impl Upgrade {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.flags.load()?.config;
        if config.in_memory {
            return Err(Failure::usage(
                "a server with in_memory has no data directory by which it is found; send SIGUSR2 to its process",
            ));
        }
        let data = &config.data;
        let before = PidFile::read(data).map_err(|error| Failure::failed(&error))?;
        let Some(before) = before else {
            let data = data.display();
            return Err(Failure::Failed(format!(
                "no running server uses {data}; give its --config or --data"
            )));
        };
        kill_process(before.id, Signal::USR2).map_err(|error| {
            let id = before.id.as_raw_nonzero();
            Failure::Failed(format!("process {id} cannot be signalled: {error}"))
        })?;
        let now = outcome(data, before.id, &before.upgrade)?;
        Ok(screen::print(&format!(
            "process {} has taken over from process {}; {}\n",
            now.id.as_raw_nonzero(),
            before.id.as_raw_nonzero(),
            now.upgrade
        ))?)
    }
}

/// The process that serves now, and what its file says.
fn outcome(data: &Path, id: Pid, note: &str) -> Result<Found, Failure> {
    let end = Instant::now() + WITHIN;
    while Instant::now() < end {
        let found = PidFile::read(data).map_err(|error| Failure::failed(&error))?;
        // While neither has the log, there is no file.
        if let Some(found) = found {
            // The note is written after the id.
            if found.id != id && !found.upgrade.is_empty() {
                return Ok(found);
            }
            if found.upgrade != note
                && let Some(reason) = found.upgrade.strip_prefix(UPGRADE_FAILED)
            {
                let (_, reason) = reason.split_once(": ").unwrap_or(("", reason));
                let id = id.as_raw_nonzero();
                return Err(Failure::Failed(format!(
                    "the upgrade has failed, and process {id} continues: {reason}"
                )));
            }
        }
        thread::sleep(LOOK);
    }
    let seconds = WITHIN.as_secs();
    Err(Failure::Failed(format!(
        "the upgrade has not ended within {seconds} s; the server's log says what happens"
    )))
}

//! `offhook reload`: lets a running server read its configuration again.

use std::path::Path;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::{failure::Failure, screen, serve::PidFile, settings::Flags};

/// Let the running server read its configuration again.
///
/// Checks the configuration first; if it has a mistake, the server is not signalled. The server
/// applies changes to rules of channels, keys, origins, certificates, limits and the log level
/// without closing a connection, and logs every changed setting. All other changes take effect at
/// the next start.
///
/// Use the same --config and --data as for the server, or the same variables.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Reload {
    /// The server's process id [default: the process that uses the data directory]
    #[arg(long, value_name = "PID")]
    pid: Option<i32>,
    #[command(flatten)]
    flags: Flags,
}

const EXAMPLES: &str = "\
Examples:
  offhook reload                              the server that uses ./offhook-data
  offhook reload --config /etc/offhook.toml   the one with this configuration
  kill -HUP 4711                              the same for any server, without the check

Exit codes: 0 the server was told, 1 no server was found, 2 mistakes in the configuration.";

impl Reload {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.flags.load()?.config;
        let pid = match self.pid {
            Some(pid) if pid <= 0 => None,
            Some(pid) => Pid::from_raw(pid),
            None if config.in_memory => {
                return Err(Failure::usage(
                    "a server with in_memory has no data directory; give its process id with --pid",
                ));
            }
            None => Some(running(&config.data)?),
        };
        let pid = pid.ok_or_else(|| Failure::usage("--pid: expected a number above 0"))?;
        kill_process(pid, Signal::HUP).map_err(|error| {
            Failure::Failed(format!(
                "process {} cannot be signalled: {error}",
                pid.as_raw_nonzero()
            ))
        })?;
        let pid = pid.as_raw_nonzero();
        Ok(screen::print(&format!(
            "process {pid} was told to read its configuration again; its log says what has changed, \
             or why nothing was applied\n"
        ))?)
    }
}

fn running(data: &Path) -> Result<Pid, Failure> {
    let found = PidFile::read(data).map_err(|error| Failure::failed(&error))?;
    found.map(|found| found.id).ok_or_else(|| {
        let data = data.display();
        Failure::Failed(format!(
            "no running server uses {data}; give its --config or --data, or its --pid"
        ))
    })
}

//! Child processes: their environment, and signals.

use std::env;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Removes settings from the environment, and proxies for loopback addresses.
pub(crate) fn without_surroundings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        if upper.starts_with("OFFHOOK_") || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
}

/// Sends a signal, if the process is running.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id.and_then(Pid::from_raw) {
        // A process that has ended needs no signal.
        let _gone = kill_process(id, signal);
    }
}

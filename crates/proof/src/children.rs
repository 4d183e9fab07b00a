//! Child processes: what they see, and signals.

use std::env;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// Neither settings from outside, nor a proxy on the way to loopback.
pub(crate) fn without_surroundings(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let upper = name.to_string_lossy().to_uppercase();
        if upper.starts_with("OFFHOOK_") || upper.ends_with("_PROXY") {
            command.env_remove(name);
        }
    }
}

/// Sends a signal, if it runs.
pub(crate) fn signal(child: &Child, signal: Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(id) = id.and_then(Pid::from_raw) {
        // A process that has ended has been told enough.
        let _gone = kill_process(id, signal);
    }
}

//! A network namespace of its own, in which packets can be lost without touching the network of the machine.

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use clap::ValueEnum;

/// What the process in the namespace does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Inside {
    /// Tries whether a device can be created.
    Check,
    /// Measures.
    Run,
}

/// What is needed to lose packets.
pub(super) const NEEDED: &str = "losing packets needs Linux, `unshare` (util-linux), `ip` (iproute2), /dev/net/tun that this \
     user may open, and root or unprivileged user namespaces";

/// Ways into a namespace: as root; or with a user namespace, in which this user is root.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// The first way that works, as flags of `unshare`; or why none does.
pub(super) fn find() -> Result<Vec<&'static str>, String> {
    if !cfg!(target_os = "linux") {
        return Err("TUN devices and namespaces need Linux".to_owned());
    }
    let mut reasons = Vec::new();
    for way in WAYS {
        let mut command = unshare(way, Inside::Check).map_err(|error| error.to_string())?;
        let tried = command.stdin(Stdio::null()).output();
        match tried {
            Ok(output) if output.status.success() => return Ok(way.to_vec()),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                reasons.push(why.trim().replace('\n', "; "));
            }
            Err(error) => return Err(format!("unshare: {error}")),
        }
    }
    reasons.dedup();
    Err(reasons.join("; "))
}

/// Runs this command again in a namespace, with the same input and output.
pub(super) fn run_inside(way: &[&str]) -> io::Result<ExitStatus> {
    unshare(way, Inside::Run)?.status()
}

fn unshare(way: &[&str], inside: Inside) -> io::Result<Command> {
    let what = match inside {
        Inside::Check => "--inside=check",
        Inside::Run => "--inside=run",
    };
    let ours: Vec<OsString> = env::args_os().skip(1).collect();
    let mut command = Command::new("unshare");
    command
        .args(way)
        .arg("--")
        .arg(env::current_exe()?)
        .args(ours)
        .arg(what);
    Ok(command)
}

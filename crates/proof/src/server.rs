//! The server under proof: the real program, killed and started again.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::children;
use crate::plan::Plan;

/// Longer than any start, also one that reads a log back.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than an orderly stop takes, which is 10 s at most.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// Several workers, so that a session resumes on another one; leases and grace that a frozen server
/// outlives, so that presence has to heal.
const SETTINGS: [&str; 3] = [
    "--workers=3",
    "--limits-presence-lease=3s",
    "--limits-presence-grace=2s",
];

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// Kept open while the server may write to it.
    _stdout: StdoutLines,
}

type StdoutLines = Lines<BufReader<ChildStdout>>;

impl Server {
    /// Starts it on the log in this directory; returns when it listens.
    pub(crate) async fn start(plan: &Plan, directory: &Path) -> io::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("server.log"))?;
        let mut command = Command::new(&plan.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(SETTINGS)
            .arg("--data")
            .arg(directory.join("data"))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        if let Some(config) = &plan.config {
            command.arg("--config").arg(config);
        }
        children::without_surroundings(&mut command);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| io::Error::other("stdout is not piped"))?;
        let mut said = BufReader::new(stdout).lines();
        let address = timeout(STARTED_WITHIN, address(&mut said)).await;
        let address = address.map_err(|_| io::Error::other("it does not begin to listen"))??;
        Ok(Self {
            child,
            address,
            _stdout: said,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL: the server finishes nothing and tells nobody.
    pub(crate) async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        children::signal(&self.child, Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        children::signal(&self.child, Signal::CONT);
    }

    /// SIGTERM, as an operator does it: clients are told when to come back.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        children::signal(&self.child, Signal::TERM);
        match timeout(STOPPED_WITHIN, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(io::Error::other("it does not stop when it is told to")),
        }
    }
}

/// Where it listens, as it tells on stdout.
async fn address(said: &mut StdoutLines) -> io::Result<SocketAddr> {
    while let Some(line) = said.next_line().await? {
        let Some((_, url)) = line.split_once("ws://") else {
            continue;
        };
        let address = url.split('/').next().unwrap_or_default();
        return address.parse().map_err(io::Error::other);
    }
    Err(io::Error::other(
        "it ended without listening; its log says why",
    ))
}

/// Deletes the key that seals resume tokens: nobody can resume by token.
pub(crate) fn delete_resume_key(directory: &Path) -> io::Result<()> {
    match std::fs::remove_file(directory.join("data").join("resume.key")) {
        // A server that keeps everything in memory has none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// `offhook log backup` or `restore` of the log in this directory. An error if it fails.
pub(crate) async fn copy_log(
    plan: &Plan,
    directory: &Path,
    command: &str,
    backup: &Path,
) -> io::Result<()> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("server.log"))?;
    let mut program = Command::new(&plan.program);
    program
        .args(["log", command])
        .arg(backup)
        .arg("--data")
        .arg(directory.join("data"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true);
    children::without_surroundings(&mut program);
    if program.status().await?.success() {
        return Ok(());
    }
    let what = format!("offhook log {command} failed; the server's log says why");
    Err(io::Error::other(what))
}

//! Runs this program again, under callgrind.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::peer::Traffic;
use crate::servers::Server;

/// The first argument of the program whose instructions are counted.
pub const SERVE: &str = "serve";

/// Counts the instructions of servers.
pub struct Counter {
    dir: TempDir,
}

impl Counter {
    /// `None` where valgrind is not installed.
    pub fn new() -> Result<Option<Self>> {
        let version = Command::new("valgrind").arg("--version").output();
        if version.is_err() {
            return Ok(None);
        }
        let dir = tempfile::tempdir()?;
        Ok(Some(Self { dir }))
    }

    /// The instructions that one more message costs the server's thread. The count of a run of half
    /// the length is subtracted, so that starting and ending do not contribute.
    pub fn per_message(&self, server: Server, scenario: usize, traffic: Traffic) -> Result<f64> {
        let short = self.count(server, scenario, traffic.turns)?;
        let long = self.count(server, scenario, traffic.turns * 2)?;
        let messages = (traffic.turns * traffic.in_flight) as f64;
        Ok((long as f64 - short as f64) / messages)
    }

    fn count(&self, server: Server, scenario: usize, turns: usize) -> Result<u64> {
        let out = self.dir.path().join("out");
        let status = Command::new("valgrind")
            .args(["--tool=callgrind", "--separate-threads=yes", "--quiet"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(std::env::current_exe()?)
            .args([
                SERVE,
                server.name(),
                &scenario.to_string(),
                &turns.to_string(),
            ])
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "{} failed: {status}", server.name());
        // The server runs on the first thread, the client on another.
        let profile = fs::read_to_string(out.with_file_name("out-01"))?;
        let totals = profile
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        Ok(totals
            .context("callgrind wrote no totals")?
            .trim()
            .parse()?)
    }
}

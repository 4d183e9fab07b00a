//! One round: a fresh server on its core, the load generator on another.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use load::report::Report;

use crate::scenarios::{Load, Needs, Scenario};
use crate::servers::{Certificate, Server};

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// What all rounds of a run have in common.
pub(crate) struct Setting {
    /// The load generator's program.
    pub(crate) load: PathBuf,
    /// Where servers' stderr goes.
    pub(crate) scratch: PathBuf,
    /// What TLS servers are given.
    pub(crate) certificate: Certificate,
    /// The server's core and the load generator's.
    pub(crate) cores: [usize; 2],
    /// Seconds of a measurement.
    pub(crate) seconds: f64,
    /// Seconds before it.
    pub(crate) warm_up: f64,
    /// How many quiet connections.
    pub(crate) idle_connections: usize,
}

/// A server that is killed when this goes out of scope.
struct Running {
    child: Child,
    port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both only fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Setting {
    /// Measures `server` once; nothing where it cannot do what the scenario needs.
    pub(crate) fn measure(&self, server: &Server, scenario: &Scenario) -> Option<Report> {
        let port = free_port().ok()?;
        let line = server.command(port, scenario.needs, &self.certificate)?;
        let report = self
            .start(server, &line, port)
            .and_then(|running| self.run_load(&running, scenario))
            .unwrap_or_else(|error| Report::Failed {
                error: format!("{error:#}"),
            });
        Some(report)
    }

    fn start(&self, server: &Server, line: &[OsString], port: u16) -> Result<Running> {
        let log = self.scratch.join(format!("{}.log", server.name));
        let child = pinned(self.cores[0], line)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("setpriv and taskset (util-linux) are needed")?;
        let mut running = Running { child, port };
        running
            .wait()
            .with_context(|| format!("{} (see {})", server.name, log.display()))?;
        Ok(running)
    }

    fn run_load(&self, running: &Running, scenario: &Scenario) -> Result<Report> {
        let mut line = vec![self.load.clone().into_os_string()];
        line.extend(self.load_arguments(scenario, running));
        let output = pinned(self.cores[1], &line).stdin(Stdio::null()).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            format!("the load generator: {errors}")
        })
    }

    fn load_arguments(&self, scenario: &Scenario, running: &Running) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut put = |words: &[&dyn AsRef<OsStr>]| {
            line.extend(words.iter().map(|word| word.as_ref().to_owned()));
        };
        let mode = match scenario.load {
            Load::Echo { .. } => "echo",
            Load::Handshakes => "handshakes",
            Load::Idle => "idle",
        };
        put(&[&mode, &format!("127.0.0.1:{}", running.port)]);
        put(&[&"--pid", &running.child.id().to_string()]);
        if !matches!(scenario.load, Load::Idle) {
            put(&[&"--seconds", &self.seconds.to_string()]);
            put(&[&"--warm-up", &self.warm_up.to_string()]);
        }
        match scenario.load {
            Load::Echo {
                connections,
                size,
                in_flight,
            } => {
                put(&[&"--connections", &connections.to_string()]);
                put(&[&"--size", &size.to_string()]);
                put(&[&"--in-flight", &in_flight.to_string()]);
                if scenario.needs == Needs::Deflate {
                    put(&[&"--json"]);
                }
            }
            Load::Idle => put(&[&"--connections", &self.idle_connections.to_string()]),
            Load::Handshakes => {}
        }
        match scenario.needs {
            Needs::Deflate => put(&[&"--deflate"]),
            Needs::Tls => put(&[&"--ca", &self.certificate.cert]),
            Needs::Plain => {}
        }
        line
    }
}

impl Running {
    /// Until it accepts connections.
    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended before it listened: {status}");
            }
            if Instant::now() > deadline {
                bail!("does not listen after {} s", START.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// On one core, and killed by the kernel if the runner dies: both tools replace themselves by the
/// program, so that the child's id is the program's.
fn pinned(core: usize, line: &[OsString]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--pdeathsig",
            "KILL",
            "taskset",
            "--cpu-list",
            &core.to_string(),
        ])
        .args(line);
    command
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

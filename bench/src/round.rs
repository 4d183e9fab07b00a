//! One round: a fresh server on its core, the load generator on another.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use load::report::Report;

use crate::running::{self, Running, free_port};
use crate::scenarios::{Load, Needs, Scenario};
use crate::servers::{Certificate, Server};

/// What all rounds of a run share.
pub(crate) struct Setting {
    /// The load generator's program.
    pub(crate) load: PathBuf,
    /// The directory for servers' stderr.
    pub(crate) scratch: PathBuf,
    /// The certificate and key for TLS servers.
    pub(crate) certificate: Certificate,
    /// The server's core and the load generator's core.
    pub(crate) cores: [usize; 2],
    /// Seconds of a measurement.
    pub(crate) seconds: f64,
    /// Seconds of warm-up before it.
    pub(crate) warm_up: f64,
    /// The number of idle connections.
    pub(crate) idle_connections: usize,
}

impl Setting {
    /// Measures `server` once; `None` if it does not support the scenario.
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
        Running::start(self.cores[0], line, port, &log).with_context(|| server.name.clone())
    }

    fn run_load(&self, running: &Running, scenario: &Scenario) -> Result<Report> {
        let mut line = vec![self.load.clone().into_os_string()];
        line.extend(self.load_arguments(scenario, running));
        running::load(self.cores[1], &line)
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
        put(&[&"--pid", &running.id().to_string()]);
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

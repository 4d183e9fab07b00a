//! Runs a server process on one core, and the load generator on another.

use std::ffi::OsString;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use load::report::Report;

/// How long a server may take to listen; `RabbitMQ` needs ten seconds on an idle machine.
const START: Duration = Duration::from_secs(60);

/// A server process, killed on drop.
pub(crate) struct Running {
    child: Child,
    /// Its port on loopback.
    pub(crate) port: u16,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts a server and waits until it accepts connections. Its stderr goes to `log`.
    pub(crate) fn start(core: usize, line: &[OsString], port: u16, log: &Path) -> Result<Self> {
        let child = pinned(core, line)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .context("setpriv and taskset (util-linux) are needed")?;
        let mut running = Self { child, port };
        running
            .wait()
            .with_context(|| format!("see {}", log.display()))?;
        Ok(running)
    }

    /// The process id of the server, which is that of the tools that started it: they replaced
    /// themselves with it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

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

/// Runs the load generator on its core and reads its report.
pub(crate) fn load(core: usize, line: &[OsString]) -> Result<Report> {
    let output = pinned(core, line).stdin(Stdio::null()).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        format!("the load generator: {errors}")
    })
}

/// A command on one core, killed by the kernel if the runner dies. Both tools replace themselves
/// with the program, so the child's id is the program's.
pub(crate) fn pinned(core: usize, line: &[OsString]) -> Command {
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

/// Moves this process, which measures, away from the server's core.
pub(crate) fn move_to(core: usize) -> Result<()> {
    let [core, id] = [core.to_string(), std::process::id().to_string()];
    let output = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid", &core, &id])
        .output()
        .context("taskset (util-linux) is needed")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "taskset: {}", errors.trim());
    Ok(())
}

/// A free port on loopback.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The words of a command line.
#[macro_export]
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$(std::ffi::OsString::from($word)),*] };
}

//! The server under proof: the real program, killed and started again.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::children;
use crate::network::Listening;
use crate::plan::Plan;
use crate::system::FaultySystem;

/// Longer than any start, also one that reads a log back.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// Longer than an orderly stop takes, which is 10 s at most.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// Clients of Socket.IO are pinged often enough for both ends to notice a frozen one. Several workers, so that a session resumes on another one. Leases and grace are shorter than the
/// server is frozen, so that presence has to recover. The budget for memory is small enough for all
/// clients together to exceed it when they reconnect.
const SETTINGS: [&str; 6] = [
    "--workers=3",
    "--limits-presence-lease=3s",
    "--limits-presence-grace=2s",
    "--memory-bytes=8MiB",
    "--socketio-ping-interval=1s",
    "--socketio-ping-timeout=3s",
];

/// Rates that a publisher normally stays below, and exceeds when it publishes what it could not
/// publish for a while.
fn rates(plan: &Plan) -> [String; 2] {
    let (burst, rate) = (
        plan.rate.ceil().max(5.0),
        (4.0 * plan.rate).ceil().max(10.0),
    );
    [
        format!("--limits-publish-burst={burst}"),
        format!("--limits-publishes-per-second={rate}"),
    ]
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    listening: Listening,
    /// Kept open while the server may write to it.
    _stdout: StdoutLines,
}

type StdoutLines = Lines<BufReader<ChildStdout>>;

impl Server {
    /// Starts it on the log in this directory, on a system that can fail; returns when it listens.
    pub(crate) async fn start(
        plan: &Plan,
        directory: &Path,
        system: Option<&FaultySystem>,
    ) -> io::Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(directory.join("server.log"))?;
        let mut command = Command::new(&plan.program);
        command
            .args(["serve", "--listen", "127.0.0.1:0 plain"])
            .args(SETTINGS)
            .args(rates(plan))
            .arg("--data")
            .arg(directory.join("data"))
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let with_http3 = plan.transport.needs_http3();
        if with_http3 {
            // HTTP/3 has the numbers of the listeners with TLS.
            command
                .args(["--listen", "127.0.0.1:0 tls", "--http3-enabled=true"])
                .arg("--tls-cert")
                .arg(directory.join(CERTIFICATE))
                .arg("--tls-key")
                .arg(directory.join(KEY));
        }
        if let Some(config) = &plan.config {
            command.arg("--config").arg(config);
        }
        children::without_surroundings(&mut command);
        if let Some(system) = system {
            system.below(&mut command);
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| io::Error::other("stdout is not piped"))?;
        let mut said = BufReader::new(stdout).lines();
        let listening = timeout(STARTED_WITHIN, listening(&mut said, with_http3)).await;
        let listening =
            listening.map_err(|_| io::Error::other("it does not begin to listen"))??;
        Ok(Self {
            child,
            listening,
            _stdout: said,
        })
    }

    pub(crate) fn listening(&self) -> Listening {
        self.listening
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.tcp
    }

    /// Bytes of memory that its process takes, where the system says so.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// SIGKILL: the server finishes nothing and notifies nobody.
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

    /// SIGTERM, as from an operator: clients are told when to reconnect.
    pub(crate) async fn stop(mut self) -> io::Result<()> {
        children::signal(&self.child, Signal::TERM);
        match timeout(STOPPED_WITHIN, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(io::Error::other("it does not stop when it is told to")),
        }
    }
}

/// The addresses that the server prints on stdout.
async fn listening(said: &mut StdoutLines, with_http3: bool) -> io::Result<Listening> {
    let (mut plain, mut secure) = (None, None);
    while let Some(line) = said.next_line().await? {
        if let Some(address) = address(&line, "ws://") {
            plain = Some(address?);
        }
        if let Some(address) = address(&line, "wss://") {
            secure = Some(address?);
        }
        if let Some(tcp) = plain
            && secure.is_some() == with_http3
        {
            return Ok(Listening { tcp, udp: secure });
        }
    }
    Err(io::Error::other(
        "it ended without listening; its log says why",
    ))
}

/// The address of the URL with this scheme in a line.
fn address(line: &str, scheme: &str) -> Option<io::Result<SocketAddr>> {
    let (_, url) = line.split_once(scheme)?;
    let address = url.split('/').next().unwrap_or_default();
    Some(address.parse().map_err(io::Error::other))
}

/// The files of the server's certificate and of its key.
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Creates the certificate with which the server speaks HTTP/3, and returns it in PEM.
pub(crate) fn create_certificate(directory: &Path) -> io::Result<String> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let own = own.map_err(io::Error::other)?;
    let certificate = own.cert.pem();
    fs::write(directory.join(CERTIFICATE), &certificate)?;
    fs::write(directory.join(KEY), own.signing_key.serialize_pem())?;
    Ok(certificate)
}

/// Bytes that a server holds for its connections: unsent output and incomplete messages.
pub(crate) async fn held(address: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let health: serde_json::Value = serde_json::from_str(body).map_err(io::Error::other)?;
    let bytes = |name: &str| health.get(name).and_then(serde_json::Value::as_u64);
    let held = bytes("unsent_bytes").zip(bytes("unfinished_bytes"));
    let (unsent, unfinished) = held.ok_or_else(|| io::Error::other("/healthz says no bytes"))?;
    Ok(unsent + unfinished)
}

/// Deletes the key that seals resume tokens, so that no client can resume by token.
pub(crate) fn delete_resume_key(directory: &Path) -> io::Result<()> {
    match fs::remove_file(directory.join("data").join("resume.key")) {
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

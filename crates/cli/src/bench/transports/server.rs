//! The server that is measured: this program's own `serve`.

use std::env;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path as FilePath, PathBuf};
use std::process::{self, Stdio};
use std::time::Duration;

use offhook::Tls;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a start may take. 20 s: on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// One worker, so that its processor time is that of the work. The publisher stands for a backend, which has
/// no limits.
const SETTINGS: [&str; 10] = [
    "serve",
    "--in-memory",
    "--workers=1",
    "--talk=false",
    "--messages-deflate=true",
    "--http3-enabled=true",
    "--limits-publishes-per-second=1000000",
    "--limits-publish-burst=1000000",
    "--limits-commands-per-second=1000000",
    "--limits-command-burst=1000000",
];

/// A directory with the server's certificate, removed at the end.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    trust: Tls,
}

impl Place {
    pub(super) fn create() -> io::Result<Self> {
        let directory = env::temp_dir().join(format!("offhook-bench-{}", process::id()));
        fs::create_dir_all(&directory)?;
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let own = own.map_err(io::Error::other)?;
        fs::write(directory.join("cert.pem"), own.cert.pem())?;
        fs::write(directory.join("key.pem"), own.signing_key.serialize_pem())?;
        let trust = Tls::builder().pinned_pem(own.cert.pem());
        let trust = trust.and_then(offhook::TlsBuilder::build);
        Ok(Self {
            directory,
            trust: trust.map_err(io::Error::other)?,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left of a directory for temporary files does no harm.
        let _left = fs::remove_dir_all(&self.directory);
    }
}

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// For the publisher, which is on the server's machine.
    pub(super) direct: SocketAddr,
    pub(super) plain: SocketAddr,
    /// TLS, and HTTP/3 at the UDP port with the same number.
    pub(super) tls: SocketAddr,
    pub(super) trust: Tls,
    /// Kept open while the server may write to it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Server {
    /// Starts one that clients reach at this address.
    pub(super) async fn start(place: &Place, at: Ipv4Addr) -> io::Result<Self> {
        let directory = &place.directory;
        let log = File::create(directory.join("server.log"))?;
        let mut command = Command::new(env::current_exe()?);
        command
            .args(SETTINGS)
            .args(["--listen", "127.0.0.1:0 plain"])
            .args(["--listen", &format!("{at}:0 plain")])
            .args(["--listen", &format!("{at}:0 tls")])
            .args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        for (name, _) in env::vars_os() {
            if name
                .to_string_lossy()
                .to_uppercase()
                .starts_with("OFFHOOK_")
            {
                command.env_remove(name);
            }
        }
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| io::Error::other("stdout is not piped"))?;
        let mut said = BufReader::new(stdout).lines();
        let addresses = timeout(STARTED_WITHIN, addresses(&mut said)).await;
        let addresses = addresses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let [direct, plain, tls] = addresses.map_err(|error| why(&error, directory))?;
        Ok(Self {
            child,
            direct,
            plain,
            tls,
            trust: place.trust.clone(),
            _stdout: said,
        })
    }

    /// The processor time of its process, where the system says so.
    pub(super) fn processor(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()?)).ok()?;
        let mut total = Duration::ZERO;
        for task in tasks {
            let statistics = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            let nanoseconds = statistics.split_whitespace().next()?.parse().ok()?;
            total += Duration::from_nanos(nanoseconds);
        }
        Some(total)
    }
}

/// The addresses of the listeners, in the order in which they are configured.
async fn addresses(said: &mut Lines<BufReader<ChildStdout>>) -> io::Result<[SocketAddr; 3]> {
    let (mut plain, mut tls) = (Vec::new(), Vec::new());
    while let Some(line) = said.next_line().await? {
        plain.extend(address(&line, "ws://")?);
        tls.extend(address(&line, "wss://")?);
        if let ([direct, plain], [tls]) = (&*plain, &*tls) {
            return Ok([*direct, *plain, *tls]);
        }
    }
    Err(io::Error::other("it ended without listening"))
}

fn address(line: &str, scheme: &str) -> io::Result<Option<SocketAddr>> {
    let Some((_, url)) = line.split_once(scheme) else {
        return Ok(None);
    };
    let address = url.split('/').next().unwrap_or_default();
    address.parse().map(Some).map_err(io::Error::other)
}

/// The error of a start, with the end of the server's log.
fn why(error: &io::Error, directory: &FilePath) -> io::Error {
    let log = fs::read_to_string(directory.join("server.log")).unwrap_or_default();
    let mut last: Vec<_> = log.lines().rev().take(5).collect();
    last.reverse();
    let text = format!("the server did not start: {error}\n{}", last.join("\n"));
    io::Error::new(error.kind(), text)
}

//! `offhook serve`: runs the server until it is stopped.

#[cfg(unix)]
mod called;
mod dev_tls;
#[cfg(unix)]
mod hand_over;
mod logs;
#[cfg(unix)]
mod passed;
mod pid_file;
mod reloading;
mod supervisor;
#[cfg(unix)]
mod upgrading;
mod welcome;

use std::{
    io,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use clap::Args;
use offhook::OriginPolicy;
use offhook_auth::{ApiKey, new_api_key};
use offhook_server::config::{Config, Loaded, LogFormat};
use offhook_server::{Running, Server, Sockets, StartError};
use tokio::{runtime::Builder, time::sleep};

use crate::{
    failure::Failure,
    open_files, screen,
    settings::Flags,
    signals::{Requests, Signals},
};
use dev_tls::DevTls;
use logs::Logs;
#[cfg(unix)]
pub(crate) use pid_file::Found;
pub(crate) use pid_file::PidFile;
#[cfg(unix)]
pub(crate) use upgrading::FAILED as UPGRADE_FAILED;
#[cfg(unix)]
use {hand_over::Predecessor, rustix::process::Signal, upgrading::Upgraded};

/// Run the server.
///
/// Everything has a default: without flags, it listens on 127.0.0.1:8000 and stores its data in
/// ./offhook-data. Each setting is a key in offhook.toml, an OFFHOOK_ environment variable and a
/// flag; `offhook config` shows the effective values and their sources.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,

    /// For development: enables the HTTP API with a new key, which is printed once, and allows
    /// pages of this machine to connect from any port.
    #[arg(long)]
    dev: bool,

    /// For development: serves TLS with a certificate for localhost that is signed by the server
    /// itself, valid for 13 days and kept in the data directory, and prints its hash, which
    /// WebTransport takes instead of an authority.
    #[arg(long)]
    dev_tls: bool,

    /// For processes that `offhook upgrade` starts.
    #[arg(long, hide = true)]
    take_over: bool,
}

const EXAMPLES: &str = "\
Examples:
  offhook serve --listen :8000                     reached from other machines too
  offhook serve --in-memory --listen 0             nothing on disk, any free port
  offhook serve --tls-cert cert.pem --tls-key key.pem --listen :443
  offhook serve --origins https://example.com      pages of this site may connect
  OFFHOOK_WORKERS=4 offhook serve                  every flag has a variable
  offhook serve --dev                              with a key for the HTTP API
  offhook serve --dev --dev-tls                    over TLS and WebTransport too

Ctrl-C stops it gracefully: clients are told when to connect again. A second one stops it at once;
what was acknowledged is on disk all the same. SIGHUP, or `offhook reload`, lets it read its
configuration again; SIGUSR2, or `offhook upgrade`, hands it over to a new version. Exit codes: 0 stopped, 1 could not run, 2 mistakes in flags or configuration.";

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let start = Start::new(self.take_over)?;
        let mut loaded = self.flags.load()?;
        // Files in the data directory are accessible only to their owner.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let dev = Dev::of(&self, &loaded.config)?;
        dev.apply(&mut loaded.config);
        let logs = Logs::write(&loaded.config.log);
        let descriptors = open_files::raise();
        tracing::debug!(?descriptors, "the limit of this process");
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let is_json = loaded.config.log.format == LogFormat::Json;
        let served = runtime.block_on(serve(loaded, &self.flags, &dev, &logs, start));
        // With the format JSON, every line must be an object, including this error.
        match served {
            Err(failure) if is_json => Err(failure.logged()),
            served => served,
        }
    }
}

/// What `--dev` and `--dev-tls` add to the configuration.
#[derive(Debug)]
struct Dev {
    /// With `--dev`, a key with every scope, which is valid as long as this process runs.
    key: Option<String>,
    /// With `--dev-tls`.
    tls: Option<DevTls>,
}

impl Dev {
    fn of(serve: &Serve, config: &Config) -> Result<Self, Failure> {
        let missing = || Failure::usage("the system cannot provide random bytes");
        let key = serve.dev.then(|| new_api_key().ok_or_else(missing));
        let tls = serve.dev_tls.then(|| DevTls::prepare(config));
        Ok(Self {
            key: key.transpose()?,
            tls: tls.transpose()?,
        })
    }

    fn apply(&self, config: &mut Config) {
        if let Some(key) = &self.key {
            allow_local_pages(config);
            config.api.keys.push(ApiKey::of_everything(key));
        }
        if let Some(tls) = &self.tls {
            tls.apply(config);
        }
    }

    /// The hash of the certificate of `--dev-tls`.
    fn hash(&self) -> Option<&str> {
        self.tls.as_ref().map(DevTls::hash)
    }
}

/// Where development servers serve their pages.
const LOCAL_PAGES: [&str; 8] = [
    "http://localhost:*",
    "https://localhost:*",
    "http://*.localhost:*",
    "https://*.localhost:*",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://[::1]:*",
    "https://[::1]:*",
];

/// Allows pages of this machine to connect, in addition to those of the configuration.
fn allow_local_pages(config: &mut Config) {
    let own = match &config.origins {
        OriginPolicy::Any => return,
        OriginPolicy::SameOrigin => vec!["same".to_owned()],
        OriginPolicy::AllowList(list) => list.iter().map(ToString::to_string).collect(),
    };
    let all = own.iter().map(String::as_str).chain(LOCAL_PAGES);
    config.origins = OriginPolicy::allow_list(all).expect("each is a pattern");
}

/// What was there before this process.
struct Start {
    /// This program's file, as it was called when the process started: it may be a symbolic link. Both
    /// may be replaced.
    program: Option<PathBuf>,
    /// Sockets of systemd, or of an earlier process.
    sockets: Sockets,
    /// The process that is to be replaced by this one.
    #[cfg(unix)]
    predecessor: Option<Predecessor>,
}

impl Start {
    #[cfg(unix)]
    fn new(takes_over: bool) -> Result<Self, Failure> {
        let program = called::program();
        let (predecessor, sockets) = if takes_over {
            let (predecessor, sockets) = Predecessor::meet()?;
            (Some(predecessor), sockets)
        } else {
            (None, passed::sockets()?)
        };
        Ok(Self {
            program,
            sockets,
            predecessor,
        })
    }

    #[cfg(not(unix))]
    fn new(_takes_over: bool) -> Result<Self, Failure> {
        Ok(Self {
            program: None,
            sockets: Sockets::default(),
        })
    }
}

async fn serve(
    loaded: Loaded,
    flags: &Flags,
    dev: &Dev,
    logs: &Logs,
    start: Start,
) -> Result<(), Failure> {
    let (mut signals, mut reloads) = (Signals::listen()?, Requests::to_reload()?);
    #[cfg(unix)]
    let mut upgrades = Requests::to_upgrade()?;
    let program = start.program.clone();
    let started = tokio::select! {
        started = begin(&loaded, dev, start) => started?,
        // No client was served yet.
        () = signals.next() => return Ok(()),
    };
    let (mut running, mut file) = started;
    loop {
        #[cfg(unix)]
        let upgrade = upgrades.next();
        #[cfg(not(unix))]
        let upgrade = std::future::pending::<()>();
        tokio::select! {
            () = signals.next() => break,
            () = reloads.next() => reloading::reload(&running, logs, flags, dev).await,
            () = upgrade => {
                let program = program.as_deref();
                match Box::pin(upgraded(running, program, &mut signals, &mut file)).await? {
                    Continued::Ended(next) => {
                        #[cfg(unix)]
                        if let Some(next) = next {
                            pass_on_requests(next, &mut reloads, &mut upgrades).await;
                        }
                        #[cfg(not(unix))]
                        let _nobody = next;
                        return Ok(());
                    }
                    Continued::Serving(same) => running = same,
                    Continued::Stopping(same) => {
                        running = same;
                        break;
                    }
                }
            }
        }
    }
    supervisor::tell("STOPPING=1");
    stop(running, signals, &loaded.config).await;
    Ok(())
}

/// What this process does after an upgrade.
enum Continued {
    /// It ends. The process with this id serves, if any.
    Ended(Option<u32>),
    Serving(Running),
    Stopping(Running),
}

#[cfg(unix)]
async fn upgraded(
    running: Running,
    program: Option<&Path>,
    signals: &mut Signals,
    file: &mut Option<PidFile>,
) -> Result<Continued, Failure> {
    Ok(
        match upgrading::upgrade(running, program, signals, file).await? {
            Upgraded::Done(next) => Continued::Ended(next),
            Upgraded::Failed(running) => Continued::Serving(running),
            Upgraded::Stopped(running) => Continued::Stopping(running),
        },
    )
}

/// Passes on what was requested while the server was handed over: the new process may have read its
/// configuration, and may be of a version, from before.
#[cfg(unix)]
async fn pass_on_requests(next: u32, reloads: &mut Requests, upgrades: &mut Requests) {
    if reloads.is_pending().await {
        upgrading::pass_on(next, Signal::HUP);
    }
    if upgrades.is_pending().await {
        upgrading::pass_on(next, Signal::USR2);
    }
}

#[cfg(not(unix))]
async fn upgraded(
    running: Running,
    _program: Option<&Path>,
    _signals: &mut Signals,
    _file: &mut Option<PidFile>,
) -> Result<Continued, Failure> {
    Ok(Continued::Serving(running))
}

/// Starts the server, after an earlier process has handed it over, if there is one.
async fn begin(
    loaded: &Loaded,
    dev: &Dev,
    start: Start,
) -> Result<(Running, Option<PidFile>), Failure> {
    let config = loaded.config.clone();
    let prepared = Server::prepare(config, start.sockets).await;
    let prepared = prepared.map_err(|error| advise(&error))?;
    #[cfg(unix)]
    let since = match &start.predecessor {
        Some(predecessor) => Some(predecessor.wait().await?),
        None => None,
    };
    let running = prepared.start().await.map_err(|error| advise(&error))?;
    let data = (!loaded.config.in_memory).then_some(&loaded.config.data);
    let file = data.and_then(|data| pid_file(data));
    #[cfg(unix)]
    if let (Some(predecessor), Some(since)) = (start.predecessor, since) {
        return Ok(taken_over(predecessor, since, running, file));
    }
    match loaded.config.log.format {
        LogFormat::Text => screen::print(&welcome::text(loaded, &running, dev))?,
        LogFormat::Json => welcome::log(loaded, &running, dev),
    }
    supervisor::tell("READY=1");
    Ok((running, file))
}

/// Tells everyone that this process has taken over.
#[cfg(unix)]
fn taken_over(
    predecessor: Predecessor,
    since: u64,
    running: Running,
    mut file: Option<PidFile>,
) -> (Running, Option<PidFile>) {
    let pause = hand_over::common_ms().saturating_sub(since);
    if let Some(file) = &mut file {
        file.note(&format!("new connections waited for {pause} ms"));
    }
    tracing::info!(
        pause_ms = pause,
        "this process has taken over; new connections have waited for it"
    );
    // The supervisor, which is told by the earlier process, knows that the server is ready.
    predecessor.end();
    (running, file)
}

/// Writes the file by which `offhook reload` finds this process.
fn pid_file(data: &Path) -> Option<PidFile> {
    match PidFile::write(data) {
        Ok(file) => Some(file),
        Err(error) => {
            tracing::warn!(%error, "the process id cannot be written to the data directory; `offhook reload` needs --pid");
            None
        }
    }
}

/// How long a repeated SIGTERM is ignored. 1 s: some supervisors send it twice.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

async fn stop(running: Running, mut signals: Signals, config: &Config) {
    let seconds = config.drain.as_secs_f32();
    let say = |text: &str| match config.log.format {
        LogFormat::Text => screen::tell(text),
        LogFormat::Json => tracing::info!("{text}"),
    };
    say(&format!(
        "stopping: clients have up to {seconds} s to disconnect; Ctrl-C again stops at once"
    ));
    let twice = async {
        let first = sleep(SAME_SIGNAL);
        tokio::pin!(first);
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => return BY_INTERRUPT,
                _ = signals.terminate.recv() => {
                    if first.is_elapsed() {
                        return BY_TERMINATION;
                    }
                }
                () = first.as_mut(), if !first.is_elapsed() => {}
            }
        }
    };
    tokio::select! {
        () = running.stop() => say("stopped"),
        code = twice => {
            say("stopped immediately; acknowledged messages are on disk");
            process::exit(code);
        }
    }
}

/// The exit codes with which a shell reports a process ended by Ctrl-C, and by SIGTERM.
const BY_INTERRUPT: i32 = 130;
const BY_TERMINATION: i32 = 143;

/// Hints for a server that does not start.
fn advise(error: &StartError) -> Failure {
    let failure = Failure::failed(error);
    let StartError::Listen { address, source } = error else {
        return failure;
    };
    let kind = source.kind();
    if kind == io::ErrorKind::AddrInUse {
        let next = address.port().saturating_add(1);
        return failure.hint(format!(
            "--listen {next} uses another port, --listen 0 any free one"
        ));
    }
    if kind == io::ErrorKind::PermissionDenied {
        return failure.hint("ports below 1024 require root; --listen 8000 uses another");
    }
    failure
}

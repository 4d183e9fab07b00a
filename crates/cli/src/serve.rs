//! `offhook serve`: runs the server until it is stopped.

mod dev_tls;
mod logs;
mod pid_file;
mod reloading;
mod supervisor;
mod welcome;

use std::{io, process, time::Duration};

use clap::Args;
use offhook::OriginPolicy;
use offhook_auth::{ApiKey, new_api_key};
use offhook_server::config::{Config, Loaded, LogFormat};
use offhook_server::{Running, Server, StartError};
use tokio::{runtime::Builder, time::sleep};

use crate::{
    failure::Failure,
    open_files, screen,
    settings::Flags,
    signals::{Hangups, Signals},
};
use dev_tls::DevTls;
use logs::Logs;
pub(crate) use pid_file::PidFile;

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
configuration again. Exit codes: 0 stopped, 1 could not run, 2 mistakes in flags or configuration.";

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
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
        let served = runtime.block_on(serve(loaded, &self.flags, &dev, &logs));
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

async fn serve(loaded: Loaded, flags: &Flags, dev: &Dev, logs: &Logs) -> Result<(), Failure> {
    let (mut signals, mut hangups) = (Signals::listen()?, Hangups::listen()?);
    let config = loaded.config.clone();
    let started = tokio::select! {
        started = Server::start(config) => started,
        // No client was served yet.
        () = signals.next() => return Ok(()),
    };
    let running = started.map_err(|error| advise(&error))?;
    let _pid_file = pid_file(&loaded.config);
    match loaded.config.log.format {
        LogFormat::Text => screen::print(&welcome::text(&loaded, &running, dev))?,
        LogFormat::Json => welcome::log(&loaded, &running, dev),
    }
    supervisor::tell("READY=1");
    loop {
        tokio::select! {
            () = signals.next() => break,
            () = hangups.next() => reloading::reload(&running, logs, flags, dev).await,
        }
    }
    supervisor::tell("STOPPING=1");
    stop(running, signals, &loaded.config).await;
    Ok(())
}

/// Writes the file by which `offhook reload` finds this process.
fn pid_file(config: &Config) -> Option<PidFile> {
    if config.in_memory {
        return None;
    }
    match PidFile::write(&config.data) {
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

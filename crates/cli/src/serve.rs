//! `offhook serve`: runs the server until it is stopped.

mod logs;
mod welcome;

use std::{io, process};

use clap::Args;
use offhook::OriginPolicy;
use offhook_auth::{ApiKey, new_api_key};
use offhook_server::config::{Config, Loaded};
use offhook_server::{Running, Server, StartError};
use tokio::runtime::Builder;

use crate::{failure::Failure, open_files, screen, settings::Flags, signals::Signals};

/// Run the server.
///
/// Everything has a default: without flags it listens on 127.0.0.1:8000 and keeps its data in
/// ./offhook-data. Each setting is a key in offhook.toml, an OFFHOOK_ environment variable and a
/// flag; `offhook config` shows the effective values and their sources.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    #[command(flatten)]
    flags: Flags,

    /// For development: opens the HTTP API with a key that is printed once, made anew each time, and
    /// lets pages of this machine connect, whatever their port.
    #[arg(long)]
    dev: bool,
}

const EXAMPLES: &str = "\
Examples:
  offhook serve --listen :8000                     reached from other machines too
  offhook serve --in-memory --listen 0             nothing on disk, any free port
  offhook serve --tls-cert cert.pem --tls-key key.pem --listen :443
  offhook serve --origins https://example.com      pages of this site may connect
  OFFHOOK_WORKERS=4 offhook serve                  every flag has a variable
  offhook serve --dev                              with a key for the HTTP API

Ctrl-C stops it gracefully: clients are told when to connect again. A second one stops it at once;
what was acknowledged is on disk all the same. Exit codes: 0 stopped, 1 could not run, 2 mistakes in flags or
configuration.";

impl Serve {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut loaded = self.flags.load()?;
        let dev_key = if self.dev {
            allow_local_pages(&mut loaded.config);
            Some(dev_key(&mut loaded)?)
        } else {
            None
        };
        logs::write(&loaded.config.log);
        // Files in the data directory are accessible only to their owner.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let descriptors = open_files::raise();
        tracing::debug!(?descriptors, "the limit of this process");
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve(loaded, dev_key))
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

/// Lets pages of this machine connect, in addition to those of the configuration.
fn allow_local_pages(config: &mut Config) {
    let own = match &config.origins {
        OriginPolicy::Any => return,
        OriginPolicy::SameOrigin => vec!["same".to_owned()],
        OriginPolicy::AllowList(list) => list.iter().map(ToString::to_string).collect(),
    };
    let all = own.iter().map(String::as_str).chain(LOCAL_PAGES);
    config.origins = OriginPolicy::allow_list(all).expect("each is a pattern");
}

/// A key with every scope, which is valid as long as this process runs.
fn dev_key(loaded: &mut Loaded) -> Result<String, Failure> {
    let missing = || Failure::usage("the system cannot provide random bytes");
    let key = new_api_key().ok_or_else(missing)?;
    loaded.config.api.keys.push(ApiKey::of_everything(&key));
    Ok(key)
}

async fn serve(loaded: Loaded, dev_key: Option<String>) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let config = loaded.config.clone();
    let started = tokio::select! {
        started = Server::start(config) => started,
        // No client was served yet.
        () = signals.next() => return Ok(()),
    };
    let running = started.map_err(|error| advise(&error))?;
    let dev_key = dev_key.as_deref();
    screen::print(&welcome::text(
        &loaded,
        running.addresses(),
        running.mqtt_addresses(),
        dev_key,
    ))?;
    signals.next().await;
    stop(running, signals, &loaded).await;
    Ok(())
}

async fn stop(running: Running, mut signals: Signals, loaded: &Loaded) {
    let seconds = loaded.config.drain.as_secs_f32();
    screen::tell(&format!(
        "stopping: clients have up to {seconds} s to disconnect; Ctrl-C again stops at once"
    ));
    tokio::select! {
        () = running.stop() => screen::tell("stopped"),
        // Only for the keyboard: some supervisors send their signal twice.
        _ = signals.interrupt.recv() => {
            screen::tell("stopped immediately; acknowledged messages are on disk");
            process::exit(AT_ONCE);
        }
    }
}

/// The exit code with which a shell reports a process ended by Ctrl-C.
const AT_ONCE: i32 = 130;

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

//! Starting a server, and stopping it.

use std::{
    fs, io, mem,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use offhook_auth::ApiKey;
use offhook_brokers::{Broker, Budget, Log, LogOptions, Memory, private_directory};
use offhook_engine::RuleBook;
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    auth::{self, Authenticator},
    backend,
    config::{Api, Auth, Config, ResumeKey},
    door::{self, Admission, Certificates, Door, Routes, Streamed},
    http3::{self, QuicThread},
    key_file,
    metrics::Metrics,
    sessions::Sessions,
    start_error::StartError,
    tokens::{self, Sealer},
    worker::{self, Orders, Phase, Shared},
};

/// How often the broker's time is advanced.
const TICK: Duration = Duration::from_secs(1);

/// The log's subdirectory in the data directory.
const LOG: &str = "log";

/// What a server has in its data directory.
const OWN_FILES: [&str; 5] = [
    LOG,
    "dev-tls",
    "offhook.pid",
    "resume.key",
    "resume.unfinished",
];

/// Starts servers.
#[derive(Clone, Copy, Debug)]
pub struct Server;

impl Server {
    /// Opens the log, listens, and starts the workers. The server is running when this returns.
    ///
    /// Must be called within a tokio runtime; the workers have their own.
    ///
    /// # Errors
    /// [`StartError`], which says what is wrong and what to do.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let started = spawn_blocking(|| start(config)).await;
        started.map_err(|panic| StartError::System(io::Error::other(panic)))?
    }
}

/// A running server. Dropping it stops it without notifying clients.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    mqtt_addresses: Vec<SocketAddr>,
    stomp_addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    drain: Duration,
    phase: watch::Sender<Phase>,
    sealer: Arc<Sealer>,
    auth: Arc<Authenticator>,
    sessions: Sessions,
    /// The configuration that was applied last.
    pub(crate) config: AsyncMutex<Config>,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) orders: Arc<Orders>,
    pub(crate) metrics: Arc<Metrics>,
    threads: Threads,
}

/// Running threads, in the order in which they end.
#[derive(Debug, Default)]
struct Threads {
    workers: Vec<JoinHandle<()>>,
    /// Dropping it ends the clock thread.
    clock_runs: Option<SyncSender<()>>,
    clock: Option<JoinHandle<()>>,
    /// Fetches the keys that verify tokens, if they come from a URL.
    keys: Option<JoinHandle<()>>,
    /// Dropping it ends the thread that reads files with keys again.
    rereading_runs: Option<SyncSender<()>>,
    rereading: Option<JoinHandle<()>>,
    /// Receives the packets of QUIC, if HTTP/3 is enabled.
    quic: Option<QuicThread>,
    /// Asks the backend, if there is one.
    backend: Option<backend::Running>,
    /// Dropping the last reference completes what the log has queued.
    broker: Option<Arc<dyn Broker>>,
}

impl Running {
    /// The addresses it listens on: as configured, with the port chosen by the system for port 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses at which it speaks MQTT without HTTP: those over TCP, then those over TLS.
    #[must_use]
    pub fn mqtt_addresses(&self) -> &[SocketAddr] {
        &self.mqtt_addresses
    }

    /// The addresses at which it speaks STOMP without HTTP: those over TCP, then those over TLS.
    #[must_use]
    pub fn stomp_addresses(&self) -> &[SocketAddr] {
        &self.stomp_addresses
    }

    /// The addresses for operators.
    #[must_use]
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Replaces the keys of resume tokens: the first one seals from now on, all of them open.
    /// Tokens of other keys are refused with `bad_token`.
    pub fn set_resume_keys(&self, keys: &[ResumeKey]) {
        self.sealer.set_keys(keys);
    }

    /// Reads the keys of tokens and of the HTTP API again, from these settings and from the files
    /// that they name. Requests and connections that begin from now on need one of these keys; open
    /// connections stay open. If a file cannot be used, nothing changes.
    ///
    /// Files that change are read again without it, every `auth.key_files_check`. Call it when the
    /// settings themselves have changed. Blocks while files are read.
    ///
    /// # Errors
    /// [`StartError`] names the file, or says that the change needs a restart.
    pub fn reload_keys(&self, auth: &Auth, api: &Api) -> Result<(), StartError> {
        self.auth.reread(auth, api)
    }

    /// Replaces the keys of the HTTP API: requests that begin from now on need one of these. Keys in
    /// files do not count any more.
    pub fn set_api_keys(&self, keys: Vec<ApiKey>) {
        self.auth.set_api_keys(keys);
    }

    pub(crate) fn broker(&self) -> Option<&Arc<dyn Broker>> {
        self.threads.broker.as_ref()
    }

    /// The server-side actions on sessions.
    #[must_use]
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Stops the server: accepts no more connections, tells every client when to reconnect, each at
    /// its own time, and closes its connection with 1012. Connections still open after `drain` are
    /// cut off. When this returns, everything acknowledged is on disk and the addresses are free.
    pub async fn stop(mut self) {
        self.phase.send_replace(Phase::Draining);
        // Every worker holds a receiver until it has ended.
        if timeout(self.drain, self.phase.closed()).await.is_err() {
            tracing::warn!("some clients did not disconnect in time and are cut off");
        }
        self.phase.send_replace(Phase::Cut);
        let mut threads = mem::take(&mut self.threads);
        let ended = spawn_blocking(move || threads.end()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "a thread ended with an error");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Cut);
        self.threads.end();
    }
}

impl Threads {
    fn end(&mut self) {
        self.clock_runs = None;
        self.rereading_runs = None;
        let helpers = self.clock.take().into_iter().chain(self.keys.take());
        let helpers = helpers.chain(self.rereading.take());
        for thread in self.workers.drain(..).chain(helpers) {
            if thread.join().is_err() {
                tracing::error!("a thread of the server has panicked");
            }
        }
        // After the workers, which tell their clients how connections end.
        if let Some(mut quic) = self.quic.take() {
            quic.end();
        }
        // After the workers, because they report the ends of their connections.
        if let Some(backend) = self.backend.take() {
            backend.end();
        }
        self.broker = None;
    }
}

fn start(config: Config) -> Result<Running, StartError> {
    start_with(config, |routes| routes)
}

/// Starts a server with routes other than the configured ones.
pub(crate) fn start_with(
    config: Config,
    routes: impl FnOnce(Routes) -> Routes,
) -> Result<Running, StartError> {
    if config.listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    let rules = Arc::new(config.rule_book());
    let certificates = config.tls.as_ref().map(Certificates::open).transpose()?;
    let http2 = config.http2.enabled;
    let tls = certificates.as_ref().map(|known| known.acceptor(http2));
    let tls = tls.transpose()?;
    if tls.is_none() {
        need_no_certificate(&config)?;
    }
    let keys = resume_keys(&config)?;
    let auth = Arc::new(Authenticator::open(&config)?);
    auth::first_fetch(&auth).map_err(StartError::System)?;
    let listeners = listen(&config)?;
    let addresses = addresses(&listeners)?;
    let broker = open_broker(&config, &rules)?;
    let drain = config.drain;
    let routes = routes(Routes::new(&config));
    let sealer = Arc::new(Sealer::new(&keys, config.resume.expiry));
    let orders = Arc::new(Orders::new(config.workers.get()));
    let started = backend::start(&config, &rules, Arc::clone(&orders))?;
    let (backend, link) = match started {
        Some(started) => {
            broker.observe(started.changes);
            (Some(started.running), Some(started.link))
        }
        None => (None, None),
    };
    let (phase, serving) = watch::channel(Phase::Open);
    let ours = of(&addresses, &|door| door == Door::Http);
    let quic = http3::start(&config, certificates.as_ref(), &ours, &serving)?;
    let (quic, quic_thread) = quic.unzip();
    let shared = Arc::new(Shared::new(
        config.clone(),
        Arc::clone(&broker),
        Arc::clone(&sealer),
        Arc::clone(&auth),
        Arc::clone(&orders),
        link,
        tls,
        quic,
        routes,
    ));
    let sessions = Sessions::new(Arc::clone(&shared.directory), Arc::clone(&shared.orders));
    let mut threads = Threads {
        quic: quic_thread,
        backend,
        broker: Some(Arc::clone(&broker)),
        ..Threads::default()
    };
    for (number, listeners) in listeners.into_iter().enumerate() {
        let number = u16::try_from(number).expect("the configuration allows 1,024 workers");
        let (shared, rules) = (Arc::clone(&shared), Arc::clone(&rules));
        let worker = worker::spawn(number, shared, rules, listeners, serving.clone());
        threads.workers.push(worker.map_err(StartError::System)?);
    }
    let clock = keep_time(broker, certificates.clone());
    let (clock_runs, clock) = clock.map_err(StartError::System)?;
    threads.clock_runs = Some(clock_runs);
    threads.clock = Some(clock);
    let rereading = auth::keep_rereading(Arc::clone(&auth)).map_err(StartError::System)?;
    (threads.rereading_runs, threads.rereading) = rereading.unzip();
    threads.keys = auth::keep_fetching(Arc::clone(&auth), serving).map_err(StartError::System)?;
    tracing::info!(?addresses, workers = threads.workers.len(), "serving");
    Ok(Running {
        addresses: of(&addresses, &|door| door == Door::Http),
        mqtt_addresses: of(&addresses, &|door| is_streamed(door, Streamed::Mqtt)),
        stomp_addresses: of(&addresses, &|door| is_streamed(door, Streamed::Stomp)),
        admin_addresses: of(&addresses, &|door| door == Door::Admin),
        drain,
        phase,
        sealer,
        auth,
        sessions,
        config: AsyncMutex::new(config),
        certificates,
        admission: Arc::clone(&shared.admission),
        orders,
        metrics: Arc::clone(&shared.metrics),
        threads,
    })
}

/// The addresses of these listeners.
fn of(addresses: &[(Door, SocketAddr)], wanted: &dyn Fn(Door) -> bool) -> Vec<SocketAddr> {
    let ours = addresses.iter().filter(|(door, _)| wanted(*door));
    ours.map(|(_, address)| *address).collect()
}

fn is_streamed(door: Door, dialect: Streamed) -> bool {
    door == Door::Tcp(dialect) || door == Door::Tls(dialect)
}

/// Checks that no listener needs a certificate.
fn need_no_certificate(config: &Config) -> Result<(), StartError> {
    for (setting, addresses) in [
        ("mqtt.tls_listen", &config.mqtt.tls_listen),
        ("stomp.tls_listen", &config.stomp.tls_listen),
    ] {
        if !addresses.is_empty() {
            return Err(StartError::NoCertificate { setting });
        }
    }
    if config.http3.enabled {
        let setting = "http3.enabled";
        return Err(StartError::NoCertificate { setting });
    }
    Ok(())
}

/// A worker's listeners, one for every address.
type Listeners = Vec<(Door, std::net::TcpListener)>;

/// The listeners of each worker.
fn listen(config: &Config) -> Result<Vec<Listeners>, StartError> {
    let mut workers: Vec<_> = (0..config.workers.get()).map(|_| Vec::new()).collect();
    let all = [
        (Door::Http, &config.listen),
        (Door::Tcp(Streamed::Mqtt), &config.mqtt.listen),
        (Door::Tls(Streamed::Mqtt), &config.mqtt.tls_listen),
        (Door::Tcp(Streamed::Stomp), &config.stomp.listen),
        (Door::Tls(Streamed::Stomp), &config.stomp.tls_listen),
        (Door::Admin, &config.admin.listen),
    ];
    for (door, addresses) in all {
        for address in addresses {
            listen_at(config, door, *address, &mut workers)?;
        }
    }
    Ok(workers)
}

fn listen_at(
    config: &Config,
    door: Door,
    mut address: SocketAddr,
    workers: &mut [Listeners],
) -> Result<(), StartError> {
    let failed = |address, source| StartError::Listen { address, source };
    if !config.share_port {
        door::ensure_free(address).map_err(|source| failed(address, source))?;
    }
    for worker in workers {
        let listener =
            door::listen(address, &config.connections).map_err(|source| failed(address, source))?;
        // For port 0, the system chooses once, and all listeners use that port.
        address = listener
            .local_addr()
            .map_err(|source| failed(address, source))?;
        worker.push((door, listener));
    }
    Ok(())
}

fn addresses(listeners: &[Listeners]) -> Result<Vec<(Door, SocketAddr)>, StartError> {
    let ours = listeners.first().into_iter().flatten();
    ours.map(|(door, listener)| {
        let address = listener.local_addr().map_err(StartError::System)?;
        Ok((*door, address))
    })
    .collect()
}

/// The key that seals resume tokens, followed by those that only open them.
fn resume_keys(config: &Config) -> Result<Vec<ResumeKey>, StartError> {
    let key = match &config.resume.key {
        Some(key) => key.clone(),
        // Sessions end with the process, so their tokens may, too.
        None if config.in_memory => tokens::fresh_key().map_err(StartError::System)?,
        None => key_file::read_or_make(&config.data)?,
    };
    Ok([&[key][..], &config.resume.older_keys].concat())
}

fn open_broker(config: &Config, rules: &Arc<RuleBook>) -> Result<Arc<dyn Broker>, StartError> {
    let (rules, now) = (Arc::clone(rules), worker::now());
    let budget = Budget {
        // The other half is for connections.
        memory_bytes: config.memory.bytes / 2,
        channels: config.storage.channels,
        disk_bytes: config.storage.disk_bytes,
    };
    if config.in_memory {
        return Ok(Arc::new(Memory::within(budget, rules, now)));
    }
    keep_private(&config.data)?;
    let options = LogOptions {
        durability: config.durability,
        accept_loss: config.storage.accept_loss,
        queue_count: config.storage.queue_count,
        queue_bytes: config.storage.queue_bytes,
        cache_bytes: config.storage.cache_bytes,
        budget,
        ..LogOptions::new(config.data.join(LOG))
    };
    let log = Log::open(options, rules, now).map_err(StartError::Log)?;
    for warning in log.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(log))
}

/// The data directory contains messages and the key of resume tokens, so no other user may read it.
/// Creates the data directory for its owner only, or takes the permissions of others from an
/// existing one. A directory that belongs to another user, or that contains other files, is not
/// changed: the files that the server creates in it are private.
fn keep_private(directory: &Path) -> Result<(), StartError> {
    let unusable = |source| StartError::File {
        path: directory.to_owned(),
        source,
    };
    let shown = directory.display();
    if directory.is_dir() && has_other_things(directory).map_err(unusable)? {
        return Ok(());
    }
    match private_directory(directory) {
        Ok(true) => {
            tracing::warn!(directory = %shown, "others could read the data directory; now only its owner can");
            Ok(())
        }
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && directory.is_dir() => {
            tracing::warn!(directory = %shown, "the data directory belongs to another user, who decides who can read it");
            Ok(())
        }
        Err(error) => Err(unusable(error)),
    }
}

fn has_other_things(directory: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !OWN_FILES.iter().any(|own| *own == name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Advances the broker's time, and checks certificates for changes, until the sender is dropped.
fn keep_time(
    broker: Arc<dyn Broker>,
    certificates: Option<Arc<Certificates>>,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (runs, ends) = sync_channel(0);
    let clock = move || {
        let mut was_good = true;
        while ends.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            broker.tick(worker::now());
            if let Some(certificates) = &certificates {
                certificates.reread_changed();
            }
            let health = broker.health();
            let is_good = health.is_good();
            match (was_good, is_good) {
                (true, false) => tracing::error!(?health, "the log fails"),
                (false, true) => tracing::info!("the log works again"),
                (true, true) | (false, false) => {}
            }
            was_good = is_good;
        }
    };
    let thread = std::thread::Builder::new()
        .name("offhook-clock".to_owned())
        .spawn(clock)?;
    Ok((runs, thread))
}

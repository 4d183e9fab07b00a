//! Starting a server, and stopping it.

use std::{
    io, mem,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use offhook_auth::ApiKey;
use offhook_brokers::Broker;
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
    data,
    door::{Admission, Certificates, OverEngineIo, Routes, SocketFile},
    http3::{self, QuicThread},
    listeners::{self, Listening, Opened, Served},
    metrics::Metrics,
    paused::Paused,
    sessions::Sessions,
    sockets::Sockets,
    start_error::StartError,
    tokens::Sealer,
    worker::{self, Orders, Phase, Shared},
};

/// How often the broker's time is advanced.
const TICK: Duration = Duration::from_secs(1);

/// How long open connections have to end when the server is handed over. 500 ms: the Close of each has
/// been written, and several round trips on most networks suffice for the answers. Meanwhile, new
/// connections wait.
const YIELD: Duration = Duration::from_millis(500);

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
        let prepared = Self::prepare(config, Sockets::default()).await?;
        prepared.start().await
    }

    /// The same, but connections over Engine.IO, at the path of Socket.IO, speak another dialect. For
    /// a program with a protocol of its own over Engine.IO.
    ///
    /// # Errors
    /// [`StartError`], which says what is wrong and what to do.
    pub async fn start_over_engine_io(
        config: Config,
        dialect: OverEngineIo,
    ) -> Result<Running, StartError> {
        let prepared = Self::prepare(config, Sockets::default()).await?;
        let routes = prepared.routes.with_engine_io(dialect);
        Prepared { routes, ..prepared }.start().await
    }

    /// Does everything that can be done while another process still uses the data directory: checks
    /// the configuration, reads certificates and keys, and listens. Connections wait in the queues
    /// of the sockets until [`Prepared::start`].
    ///
    /// Sockets of systemd and of an earlier process are used instead of new ones.
    ///
    /// # Errors
    /// [`StartError`], which says what is wrong and what to do.
    pub async fn prepare(config: Config, sockets: Sockets) -> Result<Prepared, StartError> {
        blocking(|| prepare(config, sockets)).await
    }
}

/// A server that listens and does not serve yet.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    rules: Arc<RuleBook>,
    certificates: Option<Arc<Certificates>>,
    auth: Arc<Authenticator>,
    opened: Opened,
    routes: Routes,
}

impl Prepared {
    /// Opens the log and starts the workers. The server is running when this returns.
    ///
    /// Must be called within a tokio runtime; the workers have their own.
    ///
    /// # Errors
    /// [`StartError`], which says what is wrong and what to do.
    pub async fn start(self) -> Result<Running, StartError> {
        blocking(|| start(self)).await
    }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = spawn_blocking(work).await;
    done.map_err(|panic| StartError::System(io::Error::other(panic)))?
}

/// A running server. Dropping it stops it without notifying clients.
#[derive(Debug)]
pub struct Running {
    listening: Vec<Listening>,
    /// Every listening socket, to hand it over.
    sockets: Sockets,
    files: Vec<SocketFile>,
    drain: Duration,
    phase: watch::Sender<Phase>,
    sealer: Arc<Sealer>,
    auth: Arc<Authenticator>,
    sessions: Sessions,
    /// The configuration that is in effect: that of the start, with the live settings of the one that
    /// was applied last.
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
    /// Dropping it ends the thread that checks certificates.
    certificates_run: Option<SyncSender<()>>,
    certificates: Option<JoinHandle<()>>,
    /// Receives the packets of QUIC, if HTTP/3 is enabled.
    quic: Option<QuicThread>,
    /// Send requests to the backend, if there is one.
    backend: Vec<backend::Running>,
    /// Dropping the last reference completes what the log has queued.
    broker: Option<Arc<dyn Broker>>,
}

impl Running {
    /// Every listener: where it listens, and what is served there.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// The addresses with HTTP and WebSockets: as configured, with the port chosen by the system for
    /// port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Served::Http)
    }

    /// The addresses at which it speaks MQTT without HTTP: those over TCP, then those over TLS.
    #[must_use]
    pub fn mqtt_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Served::Mqtt)
    }

    /// The addresses at which it speaks STOMP without HTTP: those over TCP, then those over TLS.
    #[must_use]
    pub fn stomp_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Served::Stomp)
    }

    /// The addresses for operators.
    #[must_use]
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Served::Admin)
    }

    fn addresses_of(&self, served: Served) -> Vec<SocketAddr> {
        let ours = self.listening.iter().filter(|one| one.served == served);
        ours.filter_map(Listening::address).collect()
    }

    /// The configuration that is in effect.
    pub async fn config(&self) -> Config {
        self.config.lock().await.clone()
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
        // Otherwise connections would still be queued by the system.
        self.sockets = Sockets::default();
        self.files.clear();
        let drain = self.drain;
        self.end(Phase::Draining, drain).await;
    }

    /// Stops the server for another process that serves the same data, and returns the listening
    /// sockets for it. They stay open, so no connection is refused: new ones wait in the queues of
    /// the sockets until the other process accepts them.
    ///
    /// Every client is told when to reconnect, each at its own time, and all connections are closed
    /// with 1012 at once. Those that are still open after half a second are cut off. When this
    /// returns, everything acknowledged is on disk, and another process may open the log.
    ///
    /// Pass the sockets to [`Server::prepare`], in this process or in another one. To be able to serve
    /// again if the other process fails, use [`pause`](Self::pause).
    pub async fn hand_over(self) -> Sockets {
        self.pause().await.into_sockets()
    }

    /// The same, but this server can be [resumed](Paused::resume).
    pub async fn pause(mut self) -> Paused {
        let sockets = mem::take(&mut self.sockets);
        let files = mem::take(&mut self.files);
        self.end(Phase::Yielding, YIELD).await;
        Paused {
            config: self.config.lock().await.clone(),
            certificates: self.certificates.clone(),
            auth: Arc::clone(&self.auth),
            sockets,
            files,
        }
    }

    /// The sockets that [`hand_over`](Self::hand_over) will return, for a process that prepares
    /// itself before.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn sockets(&self) -> io::Result<Sockets> {
        self.sockets.try_clone()
    }

    async fn end(&mut self, phase: Phase, within: Duration) {
        self.phase.send_replace(phase);
        // Every worker holds a receiver until it has ended.
        if timeout(within, self.phase.closed()).await.is_err() {
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
        self.certificates_run = None;
        let helpers = self.clock.take().into_iter().chain(self.keys.take());
        let helpers = helpers.chain(self.rereading.take());
        let helpers = helpers.chain(self.certificates.take());
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
        backend::Running::end(mem::take(&mut self.backend));
        self.broker = None;
    }
}

fn prepare(config: Config, sockets: Sockets) -> Result<Prepared, StartError> {
    if config.listen.is_empty() {
        return Err(StartError::NoAddress);
    }
    let certificates = config.tls.as_ref().map(Certificates::open).transpose()?;
    let auth = Arc::new(Authenticator::open(&config)?);
    auth::first_fetch(&auth).map_err(StartError::System)?;
    prepare_with(config, certificates, auth, sockets)
}

/// The same with certificates and keys that have been read already.
pub(crate) fn prepare_with(
    config: Config,
    certificates: Option<Arc<Certificates>>,
    auth: Arc<Authenticator>,
    sockets: Sockets,
) -> Result<Prepared, StartError> {
    let opened = listeners::open(&config, certificates.as_ref(), sockets)?;
    Ok(Prepared {
        rules: Arc::new(config.rule_book()),
        routes: Routes::new(&config),
        config,
        certificates,
        auth,
        opened,
    })
}

/// Starts a server with routes other than the configured ones.
#[cfg(test)]
pub(crate) fn start_with(
    config: Config,
    routes: impl FnOnce(Routes) -> Routes,
) -> Result<Running, StartError> {
    let prepared = prepare(config, Sockets::default())?;
    start(Prepared {
        routes: routes(prepared.routes),
        ..prepared
    })
}

pub(crate) fn start(prepared: Prepared) -> Result<Running, StartError> {
    let Prepared {
        config,
        rules,
        certificates,
        auth,
        opened,
        routes,
    } = prepared;
    let keys = data::resume_keys(&config)?;
    let broker = data::open_broker(&config, &rules)?;
    let sealer = Arc::new(Sealer::new(&keys, config.resume.expiry));
    let orders = Arc::new(Orders::new(config.workers.get()));
    let (backend, links) = backend::start(&config, &rules, &orders, &broker)?;
    let (phase, serving) = watch::channel(Phase::Open);
    let quic = http3::start(
        &config,
        certificates.as_ref(),
        &opened.listening,
        &keys[0],
        &serving,
    )?;
    let (quic, quic_thread) = quic.unzip();
    let shared = Arc::new(Shared::new(
        config.clone(),
        Arc::clone(&broker),
        Arc::clone(&sealer),
        Arc::clone(&auth),
        Arc::clone(&orders),
        links,
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
    for (number, listeners) in opened.workers.into_iter().enumerate() {
        let number = u16::try_from(number).expect("the configuration allows 1,024 workers");
        let (shared, rules) = (Arc::clone(&shared), Arc::clone(&rules));
        let worker = worker::spawn(number, shared, rules, listeners, serving.clone());
        threads.workers.push(worker.map_err(StartError::System)?);
    }
    let clock = keep_time(broker);
    let (clock_runs, clock) = clock.map_err(StartError::System)?;
    threads.clock_runs = Some(clock_runs);
    threads.clock = Some(clock);
    let checking = certificates
        .clone()
        .map(Certificates::keep_rereading)
        .transpose();
    (threads.certificates_run, threads.certificates) =
        checking.map_err(StartError::System)?.unzip();
    let rereading = auth::keep_rereading(Arc::clone(&auth)).map_err(StartError::System)?;
    (threads.rereading_runs, threads.rereading) = rereading.unzip();
    threads.keys = auth::keep_fetching(Arc::clone(&auth), serving).map_err(StartError::System)?;
    let mut files = opened.files;
    let passed = opened.passed_files.iter();
    files.extend(passed.filter_map(|path| SocketFile::of(path)));
    let running = Running {
        listening: opened.listening,
        sockets: opened.sockets,
        files,
        drain: config.drain,
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
    };
    let addresses = running.addresses();
    tracing::info!(
        ?addresses,
        workers = running.threads.workers.len(),
        "serving"
    );
    Ok(running)
}

/// Advances the broker's time until the sender is dropped.
fn keep_time(broker: Arc<dyn Broker>) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (runs, ends) = sync_channel(0);
    let clock = move || {
        let mut was_good = true;
        while ends.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            broker.tick(worker::now());
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

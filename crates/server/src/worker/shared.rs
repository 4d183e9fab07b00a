//! State shared by all workers of a server.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use offhook_brokers::Broker;
use offhook_dialects::socketio::Rooms;

use crate::{
    auth::Authenticator,
    backend::{self, BackendLink, PusherLink},
    config::Config,
    directory::Directory,
    door::{Admission, Apps, Routes, rooms},
    http3::Quic,
    metrics::Metrics,
    tokens::Sealer,
    worker::{DelayedWills, Memory, Orders},
};

/// State shared by all workers of a server.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) orders: Arc<Orders>,
    /// The backend that is asked, if there is one.
    pub(crate) backend: Option<Arc<BackendLink>>,
    /// Webhooks in the form of Pusher, if there are any.
    pub(crate) pusher: Option<Arc<PusherLink>>,
    pub(crate) memory: Memory,
    pub(crate) wills: DelayedWills,
    /// HTTP/3, if it is enabled.
    pub(crate) quic: Option<Quic>,
    /// Which dialect is used where.
    pub(crate) routes: Routes,
    /// The apps of the Pusher protocol.
    pub(crate) apps: Apps,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) metrics: Arc<Metrics>,
    /// The rooms of Socket.IO, for new connections.
    rooms: Mutex<Arc<Rooms>>,
    /// Connections whose clients have identified themselves.
    connections: AtomicUsize,
}

impl Shared {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is one part that the server is made of"
    )]
    pub(crate) fn new(
        config: Config,
        broker: Arc<dyn Broker>,
        sealer: Arc<Sealer>,
        auth: Arc<Authenticator>,
        orders: Arc<Orders>,
        links: backend::Links,
        quic: Option<Quic>,
        routes: Routes,
    ) -> Self {
        let backend::Links { backend, pusher } = links;
        let started = Instant::now();
        Self {
            admission: Admission::new(&config.connections, started),
            directory: Arc::default(),
            orders,
            backend,
            pusher,
            apps: Apps::of(&config.pusher.apps),
            memory: Memory::new(config.memory.bytes, config.workers.get()),
            rooms: Mutex::new(Arc::new(rooms(&config))),
            wills: DelayedWills::new(config.connections.max),
            metrics: Arc::new(Metrics::new(config.workers.get())),
            config,
            broker,
            sealer,
            auth,
            quic,
            routes,
            started,
            started_at: SystemTime::now(),
            connections: AtomicUsize::new(0),
        }
    }

    /// Whether tokens of clients are the backend's affair: it is asked about each client, and there is
    /// no key here to verify them with.
    pub(crate) fn passes_tokens_on(&self) -> bool {
        let backend = self.backend.as_ref();
        backend.is_some_and(|backend| backend.asks_about_clients()) && !self.config.auth.has_keys()
    }

    /// The rooms of Socket.IO for a new connection.
    pub(crate) fn rooms(&self) -> Arc<Rooms> {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&rooms)
    }

    /// Replaces the rooms of Socket.IO for connections that begin from now on.
    pub(super) fn set_rooms(&self, rooms: Rooms) {
        let mut known = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(rooms);
    }

    /// The number of connections.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn connection_came(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connection_went(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// How long a client may take nothing of what is being written to it: as long as a WebSocket whose
    /// client does not answer.
    pub(crate) fn patience(&self) -> Duration {
        let keepalive = &self.config.keepalive;
        keepalive.interval.unwrap_or_default() + keepalive.pong_timeout
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("broker", &self.broker)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

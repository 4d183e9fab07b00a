//! Settings of a connection, for clients and servers.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
use offhook_protocol::handshake::Negotiated;
use offhook_protocol::{Config, Connection, Deflate, MaskKeys};

use crate::driver::now;
use crate::error::Error;
use crate::metrics::{Counter, Metrics};
use crate::random::fill;
use crate::trace;

/// Settings of connections. Clones share everything, so one value serves any number of connections.
///
/// ```
/// use offhook::Settings;
/// use offhook::protocol::{Config, Limits};
///
/// let settings = Settings::default()
///     .config(Config {
///         limits: Limits { message_size: 16 << 20, ..Limits::default() },
///         ..Config::default()
///     })
///     .send_buffer(64 * 1024);
/// # let _ = settings;
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) config: Arc<Config>,
    pub(crate) deflate: Option<Arc<DeflateConfig>>,
    pool: DeflatePool,
    pub(crate) high_water: u32,
    pub(crate) counter: Counter,
}

/// How many bytes may be unsent before senders wait. 256 KiB: enough to keep a fast connection busy
/// while a sender is woken, and a bound on what a peer that never reads can cost.
const SEND_BUFFER: u32 = 256 * 1024;

impl Default for Settings {
    /// The keepalive, timeouts and limits of [`Config`], no compression, and a send buffer of 256
    /// KiB.
    fn default() -> Self {
        Self {
            config: Arc::new(Config::default()),
            deflate: None,
            pool: DeflatePool::default(),
            high_water: SEND_BUFFER,
            counter: Counter::default(),
        }
    }
}

impl Settings {
    /// Sets limits and timeouts.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = Arc::new(config);
        self
    }

    /// Enables permessage-deflate: clients offer it, servers accept it.
    #[must_use]
    pub fn deflate(mut self, deflate: DeflateConfig) -> Self {
        self.deflate = Some(Arc::new(deflate));
        self
    }

    /// Sets the send buffer: senders wait while this many bytes are unsent.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.high_water = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Reports connections to `metrics`.
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Self {
        self.counter = Counter(Some(metrics));
        self
    }

    /// Reports a request that did not become a connection.
    pub(crate) fn failed_request(&self, peer: Option<SocketAddr>, error: &Error) {
        self.counter.failed(error);
        trace::failed_request(peer, error);
    }

    pub(crate) fn server(&self, negotiated: &Negotiated) -> Connection {
        let connection = Connection::server(Arc::clone(&self.config), now());
        match (&negotiated.deflate, &self.deflate) {
            (Some(params), Some(config)) => {
                connection.with_deflate(Deflate::server(params, config, &self.pool))
            }
            _ => connection,
        }
    }

    pub(crate) fn client(&self, negotiated: &Negotiated) -> Connection {
        let connection = Connection::client(Arc::clone(&self.config), system_keys(), now());
        match (&negotiated.deflate, &self.deflate) {
            (Some(params), Some(config)) => {
                connection.with_deflate(Deflate::client(params, config, &self.pool))
            }
            _ => connection,
        }
    }
}

/// Masking keys from the operating system's generator, fetched in batches for each thread: RFC 6455
/// §5.3 requires strong keys, and one system call per key would cost more than the frame.
fn system_keys() -> Arc<dyn MaskKeys> {
    static KEYS: OnceLock<Arc<dyn MaskKeys>> = OnceLock::new();
    Arc::clone(KEYS.get_or_init(|| Arc::new(next_key)))
}

struct Batch {
    bytes: [u8; 256],
    used: usize,
}

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch { bytes: [0; 256], used: 256 }) };
}

fn next_key() -> [u8; 4] {
    BATCH.with_borrow_mut(|batch| {
        if batch.used >= batch.bytes.len() {
            fill(&mut batch.bytes);
            batch.used = 0;
        }
        let mut key = [0; 4];
        key.copy_from_slice(&batch.bytes[batch.used..batch.used + 4]);
        batch.used += 4;
        key
    })
}

//! What the server is told to do: every setting with its default and the reason for it.
//!
//! [`Config`] is the effective configuration, plain values that the server reads.

use std::{fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, thread, time::Duration};

use offhook::OriginPolicy;
use offhook::protocol::Keepalive;
use offhook::protocol::handshake::Scheme;
use offhook_brokers::Durability;
use offhook_engine::{ChannelRules, Limits, RuleBook};

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. 127.0.0.1:8000: reached from this machine only, until someone decides
    /// otherwise.
    pub listen: Vec<SocketAddr>,
    /// Where the log is kept. `./offhook-data`: beside what is being tried out, found without
    /// looking.
    pub data: PathBuf,
    /// Keep everything in memory instead: gone with the process. Off: a message survives by
    /// default.
    pub in_memory: bool,
    /// Event loops, each with its own listener and lines. One a core: they share nothing that
    /// a second one a core would make use of.
    pub workers: NonZeroUsize,
    /// What an acknowledged publish promises. On disk: what was acknowledged survives a power cut.
    pub durability: Durability,
    /// Which web pages may connect. The server's own only: else every site could act with its
    /// visitors' cookies.
    pub origins: OriginPolicy,
    /// A proxy in front ends TLS: pages are at https though the server hears plain HTTP. Off.
    pub behind_tls_proxy: bool,
    /// The path of the native dialect's WebSocket. `/ws`.
    pub path: String,
    /// Serve the chat at `/talk/`. On: it shows that everything works.
    pub talk: bool,
    /// How long a stop waits for clients to go by themselves, each at its own moment. 10 s: a
    /// herd spread over that does not knock the next node down, and supervisors wait longer.
    pub drain: Duration,
    /// Certificate and key; none: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// How many lines, how fast they come, how long they may take.
    pub connections: Connections,
    /// What travels on a line, and what may wait for it.
    pub messages: Messages,
    /// How a dead line is noticed. Pings every 30 s, 20 s for the answer: the library's.
    pub keepalive: Keepalive,
    /// Coming back without asking the backend again.
    pub resume: Resume,
    /// What one session may do, and what the engine may hold. `lines` and `outbox_bytes` follow
    /// from `connections.max` and `messages.outbox_bytes`.
    pub limits: Limits,
    /// The queues and memory of the log.
    pub storage: Storage,
    /// What holds for channels: the first pattern that fits counts.
    pub channels: Vec<ChannelRule>,
    /// What is logged, and how.
    pub log: Logging,
}

/// PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that lead to the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How many lines, how fast they come, how long they may take. Of the whole process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Open at once. 100,000: some 200 MiB; descriptors usually run out before.
    pub max: usize,
    /// Open at once from one address. None: an office or a mobile carrier is one address.
    pub max_per_address: Option<usize>,
    /// Handshakes a second; more are told 503 and when to come back. 2,000: half a core when
    /// each does TLS, and 20,000 clients of a restarted server are back in 10 s.
    pub handshakes_per_second: u32,
    /// Handshakes at once after a pause. 2,000: a second's worth.
    pub handshake_burst: u32,
    /// From accepting the connection to the answer. 10 s: a slow phone's TLS takes 2.
    pub handshake_timeout: Duration,
    /// How long a client may take to answer a Close. 10 s: three retransmissions.
    pub close_timeout: Duration,
    /// From the upgrade to the first `connect`. 10 s: a client sends it at once.
    pub connect_timeout: Duration,
    /// The kernel's send buffer of a line (`SO_SNDBUF`). None: the kernel's own size.
    pub send_buffer: Option<usize>,
    /// The kernel's receive buffer of a line (`SO_RCVBUF`). None: the kernel's own size.
    pub receive_buffer: Option<usize>,
}

/// What travels on a line, and what may wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// The longest message a client may send. 256 KiB: the longest publication (64 KiB) in
    /// base64 with its tags, twice over.
    pub max_bytes: usize,
    /// What may wait for one line before it falls back to reading from the log. 256 KiB: a
    /// second of a 2 Mbit/s phone.
    pub outbox_bytes: usize,
    /// Offer permessage-deflate. Off: JSON shrinks to a quarter, but each message costs
    /// microseconds and each line a window.
    pub deflate: bool,
}

/// Coming back without asking the backend again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Seals the tokens; nodes that share it honour each other's. None: one is made, and kept
    /// with the data.
    pub key: Option<ResumeKey>,
    /// How long a token is good. A day: a laptop shut in the evening comes back in the morning.
    pub expiry: Duration,
}

/// 32 secret bytes, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeKey(pub [u8; 32]);

impl fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeKey(..)")
    }
}

/// The queues and memory of the log, and of the way from it to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Publications waiting for the disk. 65,536: half a second of a fast one.
    pub queue_count: usize,
    /// Bytes of the same. 64 MiB.
    pub queue_bytes: usize,
    /// Memory for blocks read from disk. 64 MiB.
    pub cache_bytes: u64,
    /// News waiting for one worker. 64 MiB: a worker that is busy for a second does not lag.
    pub mailbox_bytes: usize,
    /// Serve a log that has lost acknowledged publications, and tell every subscriber of a gap.
    /// Off: an operator decides that.
    pub accept_loss: bool,
}

/// The rules of the channels that a pattern fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRule {
    /// `*` stands for any run of characters.
    pub pattern: String,
    /// What holds for them.
    pub rules: ChannelRules,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// A level, or levels by module: `info`, `warn,offhook_server=debug`. `info`: what an operator
    /// wants to know of an ordinary day.
    pub level: String,
    /// Text for people, JSON for machines. Text.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

impl Config {
    /// The rules for the engine and the broker.
    #[must_use]
    pub fn rule_book(&self) -> RuleBook {
        let add = |book: RuleBook, rule: &ChannelRule| book.with(&rule.pattern, rule.rules.clone());
        self.channels.iter().fold(RuleBook::new(), add)
    }

    /// How browsers reach this server: what [`OriginPolicy::SameOrigin`] compares with.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() || self.behind_tls_proxy {
            Scheme::Https
        } else {
            Scheme::Http
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8000))],
            data: "./offhook-data".into(),
            in_memory: false,
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            durability: Durability::Fsync,
            origins: OriginPolicy::SameOrigin,
            behind_tls_proxy: false,
            path: "/ws".to_owned(),
            talk: true,
            drain: Duration::from_secs(10),
            tls: None,
            connections: Connections::default(),
            messages: Messages::default(),
            keepalive: Keepalive::default(),
            resume: Resume::default(),
            limits: Limits::default(),
            storage: Storage::default(),
            channels: vec![ChannelRule::default()],
            log: Logging::default(),
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            max: 100_000,
            max_per_address: None,
            handshakes_per_second: 2_000,
            handshake_burst: 2_000,
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024,
            outbox_bytes: 256 * 1024,
            deflate: false,
        }
    }
}

impl Default for Resume {
    fn default() -> Self {
        let expiry = Duration::from_secs(24 * 3600);
        Self { key: None, expiry }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            queue_count: 65_536,
            queue_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            mailbox_bytes: 64 << 20,
            accept_loss: false,
        }
    }
}

impl Default for ChannelRule {
    /// Every channel, with the rules' own defaults.
    fn default() -> Self {
        let (pattern, rules) = ("*".to_owned(), ChannelRules::default());
        Self { pattern, rules }
    }
}

impl Default for Logging {
    fn default() -> Self {
        let (level, format) = ("info".to_owned(), LogFormat::default());
        Self { level, format }
    }
}

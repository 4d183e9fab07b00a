//! The plan of a run, derived from the flags.

use std::time::{Duration, Instant};

use offhook::protocol::Limits;
use offhook::protocol::deflate::DeflateConfig;
use offhook::{Connect, HttpVersion};

use super::Bench;
use super::channels::Dialect;
use crate::failure::Failure;

/// The longest message.
pub(super) const LONGEST: usize = 64 << 20;

/// The plan, shared by all threads.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) url: String,
    pub(super) connect: Connect,
    pub(super) load: Load,
    pub(super) schedule: Schedule,
    pub(super) size: usize,
    pub(super) warm_up: Duration,
    pub(super) time: Duration,
    /// How long to wait for answers after the last message.
    pub(super) grace: Duration,
    pub(super) threads: usize,
    /// The time that publications count their timestamps from.
    pub(super) epoch: Instant,
}

/// The kind of load.
#[derive(Clone, Debug)]
pub(super) enum Load {
    Echo {
        connections: usize,
        is_binary: bool,
        any_answer: bool,
    },
    Channels {
        publishers: usize,
        subscribers: usize,
        names: Vec<String>,
        token: Option<String>,
        dialect: Dialect,
    },
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Schedule {
    /// Each answer is followed by the next message: this many are in flight for each sender.
    Closed { in_flight: usize },
    /// At fixed times, this many per second for all senders together.
    Open { per_second: f64 },
}

/// The times of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Instant,
    /// When measuring starts.
    pub(super) measured_from: Instant,
    pub(super) end: Instant,
}

impl Plan {
    pub(super) fn new(bench: &Bench) -> Result<Self, Failure> {
        let schedule = match (bench.rate, bench.in_flight) {
            (Some(per_second), _) => Schedule::Open { per_second },
            (None, in_flight) => Schedule::Closed {
                in_flight: in_flight.unwrap_or(1),
            },
        };
        let load = load(bench);
        let url = bench.url.as_deref().unwrap_or_default();
        let connections = load.connections();
        Ok(Self {
            url: url.to_owned(),
            connect: connect(bench, url, &load)?,
            load,
            schedule,
            size: bench.size,
            warm_up: bench.warm_up,
            time: bench.time,
            grace: bench.grace,
            threads: bench.threads.min(connections),
            epoch: Instant::now(),
        })
    }

    /// The number of connections.
    pub(super) fn connections(&self) -> usize {
        self.load.connections()
    }

    pub(super) fn window(&self, start: Instant) -> Window {
        let measured_from = start + self.warm_up;
        let end = measured_from + self.time;
        Window {
            start,
            measured_from,
            end,
        }
    }
}

impl Load {
    /// The number of connections that send, on all threads together.
    pub(super) fn senders_in_all(&self) -> usize {
        match self {
            Self::Echo { connections, .. } => *connections,
            Self::Channels { publishers, .. } => *publishers,
        }
    }

    /// The dialect of the channels' clients.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Echo { .. } => Dialect::default(),
            Self::Channels { dialect, .. } => *dialect,
        }
    }

    /// A channel's name.
    pub(super) fn channel(&self, number: usize) -> &str {
        match self {
            Self::Echo { .. } => "",
            Self::Channels { names, .. } => names.get(number).map_or("", String::as_str),
        }
    }

    fn connections(&self) -> usize {
        match self {
            Self::Echo { connections, .. } => *connections,
            Self::Channels {
                publishers,
                subscribers,
                ..
            } => publishers + subscribers,
        }
    }
}

fn load(bench: &Bench) -> Load {
    let channels = &bench.channels;
    let Some(subscribers) = channels.subscribers else {
        return Load::Echo {
            connections: bench.connections,
            is_binary: bench.binary,
            any_answer: bench.any_answer,
        };
    };
    // Each run uses its own channels, so that it does not receive publications of another run.
    let run = std::process::id();
    let names = (0..channels.count).map(|number| format!("bench/{run}/{number}"));
    Load::Channels {
        publishers: channels.publishers,
        subscribers,
        names: names.collect(),
        token: channels.token.clone(),
        dialect: channels.dialect,
    }
}

fn connect(bench: &Bench, url: &str, load: &Load) -> Result<Connect, Failure> {
    // Answers are as long as messages; deliveries are longer by the fields of the native dialect.
    let limits = Limits {
        message_size: (bench.size as u64).saturating_mul(2).max(1 << 20),
        ..Limits::default()
    };
    // The same with every server: one connection for each WebSocket.
    let mut connect = Connect::to(url).limits(limits).version(HttpVersion::Http1);
    for (name, value) in &bench.request.header {
        connect = connect.header(name, value);
    }
    for name in &bench.request.subprotocol {
        connect = connect.subprotocol(name);
    }
    if let Load::Channels { dialect, .. } = load
        && let Some(name) = dialect.subprotocol()
    {
        connect = connect.subprotocol(name).require_subprotocol();
    }
    if bench.deflate {
        connect = connect.deflate(DeflateConfig::default());
    }
    if let Some(tls) = bench.request.trust.tls()? {
        connect = connect.tls(tls);
    }
    Ok(connect)
}

//! The size and duration of a proof.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The transport of the subscribers and publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Over WebSockets.
    #[default]
    WebSocket,
    /// Receive by server-sent events, and send by requests.
    Sse,
    /// Receive by long-polling, and send by requests.
    Poll,
    /// Over WebTransport sessions.
    WebTransport,
    /// Over all of these: each connection of a client uses the transport after that of its previous one.
    Mixed,
}

impl Transport {
    /// Whether it needs HTTP/3.
    pub(crate) const fn needs_http3(self) -> bool {
        matches!(self, Self::WebTransport | Self::Mixed)
    }
}

/// The dialect of the subscribers and publishers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The native clients.
    #[default]
    Native,
    /// Socket.IO with connection state recovery.
    SocketIo,
    /// MQTT 5.0 and 3.1.1 with persistent sessions.
    Mqtt {
        /// 1 or 2.
        qos: u8,
    },
}

impl Dialect {
    /// Whether its clients are told what a restored backup does not contain. MQTT has no such
    /// message, and the sessions of both dialects are in the log that is replaced.
    pub(crate) fn survives_restores(self) -> bool {
        self == Self::Native
    }

    /// Whether its subscribers are members of their channels.
    pub(crate) fn has_members(self) -> bool {
        self == Self::Native
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "websocket" => Ok(Self::WebSocket),
            "sse" => Ok(Self::Sse),
            "poll" => Ok(Self::Poll),
            "webtransport" => Ok(Self::WebTransport),
            "mixed" => Ok(Self::Mixed),
            _ => Err("expected websocket, sse, poll, webtransport or mixed".to_owned()),
        }
    }
}

/// A proof to be run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `offhook` program: its `serve` is the server, its `prove --client-process` the clients.
    pub program: PathBuf,
    /// The server's configuration; its own defaults without one.
    pub config: Option<PathBuf>,
    /// Where the server keeps its data during the proof; a new directory is created inside, and
    /// removed at the end.
    pub place: PathBuf,
    /// Subscribers, each with a connection of its own.
    pub subscribers: usize,
    /// Publishers, each with a connection of its own.
    pub publishers: usize,
    /// Channels. Each subscriber follows two of them, each publisher publishes to one.
    pub channels: usize,
    /// Processes over which subscribers are distributed; publishers have two more.
    pub processes: usize,
    /// Publications per second of each publisher. A server accepts 50 by default.
    pub rate: f64,
    /// How long faults are injected; longer if each kind was not injected once by then.
    pub length: Duration,
    /// How long, after the last fault, clients that lack messages may receive nothing before they
    /// are given up.
    pub patience: Duration,
    /// The clients' dialect.
    pub dialect: Dialect,
    /// The clients' transport, if they are native.
    pub transport: Transport,
    /// Determines which faults are injected when. The same seed gives the same faults.
    pub seed: u64,
}

impl Plan {
    /// Checks whether it can be run.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        for (name, number) in [
            ("subscribers", self.subscribers),
            ("publishers", self.publishers),
            ("channels", self.channels),
            ("processes", self.processes),
        ] {
            if number == 0 {
                return Err(format!("{name}: at least one is needed"));
            }
        }
        if self.dialect != Dialect::Native && self.transport != Transport::WebSocket {
            return Err("transport: clients of other dialects use WebSockets".to_owned());
        }
        if let Dialect::Mqtt { qos } = self.dialect
            && !(1..=2).contains(&qos)
        {
            return Err(format!("qos: {qos}; only QoS 1 and 2 lose nothing"));
        }
        if !(self.rate > 0.0 && self.rate <= 1_000.0) {
            return Err("rate: more than 0 and at most 1000 a second".to_owned());
        }
        Ok(())
    }

    /// The channels of a subscriber.
    pub(crate) fn followed_by(&self, subscriber: usize) -> Vec<usize> {
        let first = subscriber % self.channels;
        let second = (subscriber + 1) % self.channels;
        if first == second {
            vec![first]
        } else {
            vec![first, second]
        }
    }

    /// The channel of a publisher.
    pub(crate) fn published_by(&self, publisher: usize) -> usize {
        publisher % self.channels
    }
}

/// A channel's name.
pub(crate) fn channel(number: usize) -> String {
    format!("proof/{number}")
}

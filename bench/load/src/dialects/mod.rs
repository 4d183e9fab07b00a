//! The languages that channel servers speak, as far as publishing, subscribing and reading back
//! need them: what to say, and what an answer means.

mod framing;
mod mqtt;
mod native;
mod nats;
mod socketio;

use anyhow::Result;
use clap::ValueEnum;

pub use self::framing::{Framing, Unit};
pub(crate) use self::native::epoch;
use crate::ring::push_frame;
use crate::upgrade;

/// Masks of our frames: any will do (RFC 6455 §5.3 protects proxies, of which there are none).
const MASK: [u8; 4] = [3, 1, 4, 1];

/// How a server is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// `offhook.v1.json` (docs/protocol.md).
    Native,
    /// WebSocket messages as they are: a connection to `/publish` publishes what it sends, any
    /// other subscribes.
    Plain,
    /// Socket.IO 5 over Engine.IO 4, with the server of `peers/node/socketio.js`.
    SocketIo,
    /// NATS over TCP.
    Nats,
    /// NATS with publications that JetStream acknowledges, in one stream for all channels.
    JetStream,
    /// The same with a stream for each channel.
    JetStreams,
    /// MQTT 3.1.1 over TCP, `QoS` 0.
    Mqtt,
}

/// What one connection is there for.
#[derive(Clone, Debug)]
pub struct Part {
    /// The language.
    pub dialect: Dialect,
    /// Subscribe while opening, rather than only publish or read.
    pub subscribes: bool,
    /// Where.
    pub channel: String,
    /// Which of the program's connections it is: answers to one must not reach another.
    pub number: usize,
}

/// What a server's unit means, once it is known not to be the publication that was expected.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing of interest.
    Nothing,
    /// An answer, to be sent at once.
    Say(Vec<u8>),
    /// The connection is open, and subscribed if it was to be.
    Ready,
    /// A publication.
    Publication,
    /// The publication with this number was taken.
    Taken(usize),
    /// So many publications of a history that was asked for; whether that was all.
    Page(usize, bool),
    /// The answer to a ping.
    Pong,
    /// From now on the connection reads what is kept.
    CatchingUp,
    /// The connection has all that is kept.
    Live,
    /// The server refused something, or said that publications are missing.
    Refused(String),
}

impl Dialect {
    /// How its units are told apart.
    #[must_use]
    pub fn framing(self) -> Framing {
        match self {
            Self::Native | Self::Plain | Self::SocketIo => Framing::WebSocket,
            Self::Nats | Self::JetStream | Self::JetStreams => Framing::Nats,
            Self::Mqtt => Framing::Mqtt,
        }
    }

    /// Asks whether the other side is there.
    #[must_use]
    pub fn ping(self) -> Vec<u8> {
        match self {
            Self::Native => native::ping(),
            Self::Plain | Self::SocketIo => frame(9, b""),
            Self::Nats | Self::JetStream | Self::JetStreams => b"PING\r\n".to_vec(),
            Self::Mqtt => mqtt::PING.to_vec(),
        }
    }
}

impl Part {
    /// The first thing to say.
    #[must_use]
    pub fn greeting(&self) -> Vec<u8> {
        let request = |path, protocol| upgrade::request(path, protocol, false);
        match self.dialect {
            Dialect::Native => request("/ws", Some("offhook.v1.json")),
            Dialect::Plain if self.subscribes => request("/", None),
            Dialect::Plain => request("/publish", None),
            Dialect::SocketIo => request(&socketio::path(self.subscribes), None),
            Dialect::Nats | Dialect::JetStream | Dialect::JetStreams => Vec::new(),
            Dialect::Mqtt => mqtt::connect(),
        }
    }

    /// A publication with a number that its acknowledgement carries, where there is one.
    #[must_use]
    pub fn publication(&self, number: usize, payload: &[u8]) -> Vec<u8> {
        let channel = &self.channel;
        match self.dialect {
            Dialect::Native => native::publication(channel, number, payload),
            Dialect::Plain => frame(1, payload),
            Dialect::SocketIo => socketio::publication(payload),
            Dialect::Nats => nats::publish(channel, "", payload),
            Dialect::JetStream | Dialect::JetStreams => {
                nats::publish(channel, &nats::inbox(self, number), payload)
            }
            Dialect::Mqtt => mqtt::publication(channel, payload),
        }
    }

    /// Asks for `limit` publications of the channel, those that follow `position`.
    #[must_use]
    pub fn read_history(&self, position: &str, limit: usize) -> Vec<u8> {
        match self.dialect {
            Dialect::JetStream | Dialect::JetStreams => nats::read_history(self, position, limit),
            _ => native::read_history(&self.channel, position, limit),
        }
    }

    /// What follows when the upgrade to WebSocket is done.
    #[must_use]
    pub fn upgraded(&self) -> Word {
        match self.dialect {
            Dialect::Native => Word::Say(native::connect()),
            Dialect::Plain => Word::Ready,
            _ => Word::Nothing,
        }
    }

    /// What the server's unit means.
    pub fn hear(&self, unit: &Unit<'_>) -> Result<Word> {
        if self.dialect.framing() == Framing::WebSocket {
            match unit.head[0] & 0x0F {
                8 => return Ok(Word::Refused("the server closes the connection".into())),
                9 => return Ok(Word::Say(frame(10, unit.body))),
                10 => return Ok(Word::Pong),
                _ => {}
            }
        }
        match self.dialect {
            Dialect::Native => native::hear(self, unit.body),
            Dialect::Plain => Ok(Word::Publication),
            Dialect::SocketIo => Ok(socketio::hear(unit.body)),
            Dialect::Nats | Dialect::JetStream | Dialect::JetStreams => nats::hear(self, unit),
            Dialect::Mqtt => Ok(mqtt::hear(self, unit)),
        }
    }
}

/// A masked WebSocket frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, 0x80 | opcode, MASK, payload);
    out
}

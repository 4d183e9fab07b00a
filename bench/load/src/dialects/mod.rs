//! The protocols of channel servers, as far as publishing, subscribing and reading history need
//! them: what to send, and what an answer means.

mod events;
mod framing;
mod graphql;
mod jsonrpc;
mod mqtt;
mod native;
mod nats;
mod socketio;
mod stomp;

use anyhow::Result;
use clap::ValueEnum;

pub use self::framing::{Framing, Unit};
pub(crate) use self::native::epoch;
pub(crate) use self::socketio::Polling;
use crate::ring::push_frame;
use crate::upgrade;

/// The masking key of our frames. Any value will do: RFC 6455 §5.3 protects proxies, and there are
/// none here.
const MASK: [u8; 4] = [3, 1, 4, 1];

/// The protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// `offhook.v1.json` (docs/protocol.md).
    Native,
    /// Plain WebSocket messages: a connection to `/publish` publishes each message it sends, any
    /// other connection subscribes.
    Plain,
    /// Socket.IO 5 over Engine.IO 4, with the server of `peers/node/socket.io.js`.
    SocketIo,
    /// Socket.IO with the events of docs/dialects/socketio.md.
    SocketIoChannels,
    /// Subscribers poll `peers/node/socket.io.js`; the publisher uses WebSocket.
    SocketIoPolling,
    /// The same with the events of docs/dialects/socketio.md.
    SocketIoChannelsPolling,
    /// STOMP 1.2 over WebSocket, at `/stomp`.
    Stomp,
    /// STOMP 1.2 over WebSocket, at `/ws` and with the user `guest`, as `RabbitMQ` has it.
    RabbitStomp,
    /// JSON-RPC 2.0 over WebSocket, with the events of the npm package rpc-websockets.
    JsonRpc,
    /// graphql-transport-ws, with the schema of docs/dialects/graphql.md.
    GraphQl,
    /// Subscribers read server-sent events; the publisher uses the native dialect.
    Events,
    /// NATS over TCP.
    Nats,
    /// NATS with publications that JetStream acknowledges, in one stream for all channels.
    JetStream,
    /// JetStream with one stream per channel.
    JetStreams,
    /// MQTT 3.1.1 over TCP, `QoS` 0.
    Mqtt,
    /// MQTT 3.1.1 over TCP; publications and subscriptions have `QoS` 1.
    MqttAcknowledged,
}

/// The role of one connection.
#[derive(Clone, Debug)]
pub struct Part {
    /// The protocol.
    pub dialect: Dialect,
    /// Whether to subscribe while opening.
    pub subscribes: bool,
    /// The channel.
    pub channel: String,
    /// The number of the connection within the program, so that its answers do not reach another
    /// one.
    pub number: usize,
}

/// The meaning of a server's unit that is not the expected publication.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing of interest.
    Nothing,
    /// An answer to send immediately.
    Say(Vec<u8>),
    /// The connection is open, and subscribed if it should be.
    Ready,
    /// A publication.
    Publication,
    /// The publication with this number was acknowledged.
    Taken(usize),
    /// A page of history: the number of its publications, and whether it is complete.
    Page(usize, bool),
    /// The answer to a ping.
    Pong,
    /// The subscription is catching up from history.
    CatchingUp,
    /// The subscription has caught up.
    Live,
    /// The server refused something, or reported missing publications.
    Refused(String),
}

impl Dialect {
    /// How the server's units are delimited.
    #[must_use]
    pub fn framing(self) -> Framing {
        match self {
            Self::Native
            | Self::Plain
            | Self::SocketIo
            | Self::SocketIoChannels
            | Self::Stomp
            | Self::RabbitStomp
            | Self::JsonRpc
            | Self::GraphQl => Framing::WebSocket,
            Self::Nats | Self::JetStream | Self::JetStreams => Framing::Nats,
            Self::Mqtt | Self::MqttAcknowledged => Framing::Mqtt,
            Self::Events => Framing::Events,
            Self::SocketIoPolling | Self::SocketIoChannelsPolling => Framing::Responses,
        }
    }

    /// A ping.
    #[must_use]
    pub fn ping(self) -> Vec<u8> {
        match self {
            Self::Native => native::ping(),
            Self::Plain
            | Self::SocketIo
            | Self::SocketIoChannels
            | Self::Stomp
            | Self::RabbitStomp
            | Self::JsonRpc
            | Self::GraphQl => frame(9, b""),
            Self::Nats | Self::JetStream | Self::JetStreams => b"PING\r\n".to_vec(),
            Self::Mqtt | Self::MqttAcknowledged => mqtt::PING.to_vec(),
            // A stream of events has no way back, and a client of Engine.IO does not ping.
            Self::Events | Self::SocketIoPolling | Self::SocketIoChannelsPolling => Vec::new(),
        }
    }
}

impl Part {
    /// How the server's units are delimited.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.spoken().framing()
    }

    /// The dialect of this connection: whoever publishes uses WebSocket.
    fn spoken(&self) -> Dialect {
        match self.dialect {
            Dialect::Events if !self.subscribes => Dialect::Native,
            Dialect::SocketIoPolling if !self.subscribes => Dialect::SocketIo,
            Dialect::SocketIoChannelsPolling if !self.subscribes => Dialect::SocketIoChannels,
            dialect => dialect,
        }
    }

    /// The first bytes to send.
    #[must_use]
    pub fn greeting(&self) -> Vec<u8> {
        let request = |path, protocol| upgrade::request(path, protocol, false);
        match self.spoken() {
            Dialect::Native => request("/ws", Some("offhook.v1.json")),
            Dialect::Plain if self.subscribes => request("/", None),
            Dialect::Plain => request("/publish", None),
            Dialect::SocketIo | Dialect::SocketIoChannels => {
                request(&socketio::target("websocket", self.subscribes), None)
            }
            Dialect::Stomp => request("/stomp", Some("v12.stomp")),
            Dialect::RabbitStomp => request("/ws", Some("v12.stomp")),
            Dialect::JsonRpc => request("/rpc", None),
            Dialect::GraphQl => request("/graphql", Some("graphql-transport-ws")),
            Dialect::Nats | Dialect::JetStream | Dialect::JetStreams => Vec::new(),
            Dialect::Mqtt | Dialect::MqttAcknowledged => mqtt::connect(),
            Dialect::Events => events::request(&self.channel),
            Dialect::SocketIoPolling | Dialect::SocketIoChannelsPolling => Polling::open(self),
        }
    }

    /// A publication with a number that its acknowledgement repeats, where the protocol has
    /// acknowledgements.
    #[must_use]
    pub fn publication(&self, number: usize, payload: &[u8]) -> Vec<u8> {
        let channel = &self.channel;
        match self.spoken() {
            Dialect::Native => native::publication(channel, number, payload),
            Dialect::Plain => frame(1, payload),
            Dialect::SocketIo => frame(1, &socketio::publication(payload)),
            Dialect::SocketIoChannels => frame(1, &socketio::channel_publication(channel, payload)),
            Dialect::Stomp | Dialect::RabbitStomp => stomp::publication(channel, payload),
            Dialect::JsonRpc => jsonrpc::publication(channel, payload),
            Dialect::GraphQl => graphql::publication(channel, number, payload),
            Dialect::Nats => nats::publish(channel, "", payload),
            Dialect::JetStream | Dialect::JetStreams => {
                nats::publish(channel, &nats::inbox(self, number), payload)
            }
            Dialect::Mqtt => mqtt::publication(channel, payload),
            Dialect::MqttAcknowledged => mqtt::acknowledged(channel, number, payload),
            // `spoken` is never one of these then.
            Dialect::Events | Dialect::SocketIoPolling | Dialect::SocketIoChannelsPolling => {
                Vec::new()
            }
        }
    }

    /// The acknowledgement of a publication, where a subscriber owes one for each.
    #[must_use]
    pub fn acknowledgement(&self, unit: &Unit<'_>) -> Option<Vec<u8>> {
        match self.spoken() {
            Dialect::MqttAcknowledged => mqtt::acknowledgement(unit),
            _ => None,
        }
    }

    /// Requests up to `limit` publications of the channel after `position`.
    #[must_use]
    pub fn read_history(&self, position: &str, limit: usize) -> Vec<u8> {
        match self.dialect {
            Dialect::JetStream | Dialect::JetStreams => nats::read_history(self, position, limit),
            _ => native::read_history(&self.channel, position, limit),
        }
    }

    /// What to send after the upgrade to WebSocket.
    #[must_use]
    pub fn upgraded(&self) -> Word {
        match self.spoken() {
            Dialect::Native => Word::Say(native::connect()),
            Dialect::Plain => Word::Ready,
            Dialect::Stomp => Word::Say(stomp::connect("")),
            Dialect::RabbitStomp => Word::Say(stomp::connect("login:guest\npasscode:guest\n")),
            Dialect::JsonRpc if self.subscribes => Word::Say(jsonrpc::subscribe(&self.channel)),
            Dialect::JsonRpc => Word::Ready,
            Dialect::GraphQl => Word::Say(graphql::connect()),
            _ => Word::Nothing,
        }
    }

    /// Interprets a unit from the server.
    pub fn hear(&self, unit: &Unit<'_>) -> Result<Word> {
        if self.framing() == Framing::WebSocket {
            match unit.head[0] & 0x0F {
                8 => return Ok(Word::Refused("the server closes the connection".into())),
                9 => return Ok(Word::Say(frame(10, unit.body))),
                10 => return Ok(Word::Pong),
                _ => {}
            }
        }
        match self.spoken() {
            Dialect::Native => native::hear(self, unit.body),
            Dialect::Plain => Ok(Word::Publication),
            Dialect::SocketIo => Ok(framed(socketio::hear(unit.body))),
            Dialect::SocketIoChannels => Ok(framed(socketio::hear_channels(self, unit.body))),
            Dialect::SocketIoPolling => {
                let answer = socketio::hear_answer(unit.head, unit.body, socketio::hear);
                Ok(answer)
            }
            Dialect::SocketIoChannelsPolling => {
                let hear = |packet: &[u8]| socketio::hear_channels(self, packet);
                Ok(socketio::hear_answer(unit.head, unit.body, hear))
            }
            Dialect::Stomp | Dialect::RabbitStomp => Ok(stomp::hear(self, unit.body)),
            Dialect::JsonRpc => Ok(jsonrpc::hear(unit.body)),
            Dialect::GraphQl => graphql::hear(self, unit.body),
            Dialect::Events => Ok(events::hear(unit.body)),
            Dialect::Nats | Dialect::JetStream | Dialect::JetStreams => nats::hear(self, unit),
            Dialect::Mqtt | Dialect::MqttAcknowledged => Ok(mqtt::hear(self, unit)),
        }
    }
}

/// The answer as a WebSocket message.
fn framed(word: Word) -> Word {
    match word {
        Word::Say(text) => Word::Say(frame(1, &text)),
        word => word,
    }
}

/// A masked WebSocket frame.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_frame(&mut out, 0x80 | opcode, MASK, payload);
    out
}

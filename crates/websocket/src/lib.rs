#![doc = include_str!("lib.md")]

mod connect;
mod error;
mod line;
mod message;
mod pair;
mod reader;
mod reconnect;
mod sender;
mod server;
mod settings;
mod socket;
mod transport;
mod writer;

pub use connect::{Connect, Over, ProxyError, SocksReply, connect};
#[cfg(feature = "tls")]
pub use connect::{InvalidTls, Tls, TlsBuilder};
pub use error::{Error, Phase, UrlError};
pub use message::{Binary, Message, Text};
pub use offhook_protocol as protocol;
pub use offhook_protocol::handshake::{OriginPolicy, Refusal, Rejection};
pub use pair::{Link, LinkEnd, Pair, pair};
pub use reader::MessageReader;
pub use reconnect::{Backoff, Open, Reconnecting, ReconnectingSender, Update};
pub use sender::Sender;
pub use server::{Acceptor, Incoming, Server, ServerHandle};
pub use settings::Settings;
pub use socket::{Replies, WebSocket};
pub use transport::{Stream, Transport};
pub use writer::MessageWriter;

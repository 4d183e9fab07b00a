#![doc = include_str!("lib.md")]

#[cfg(feature = "axum")]
pub mod axum;
mod byte_stream;
mod connect;
mod driver;
mod error;
pub mod guide;
#[cfg(feature = "http2")]
mod http2;
#[cfg(feature = "hyper")]
pub mod hyper;
mod message;
mod pair;
#[cfg(any(feature = "http2", feature = "hyper"))]
mod parsed;
mod reader;
mod reconnect;
#[cfg(feature = "http2")]
mod rewound;
mod sender;
mod server;
mod settings;
mod socket;
mod transport;
mod wiretap;
mod writer;

pub use byte_stream::ByteStream;
pub use connect::{Connect, Over, ProxyError, SocksReply, connect};
#[cfg(feature = "http2")]
pub use connect::{Http2, HttpVersion};
#[cfg(feature = "tls")]
pub use connect::{InvalidTls, Tls, TlsBuilder};
pub use driver::Replies;
pub use error::{Error, Phase, UrlError};
#[cfg(feature = "http2")]
pub use http2::Http2Limits;
pub use message::{Binary, Message, Text};
pub use offhook_protocol as protocol;
pub use offhook_protocol::deflate::DeflateConfig;
pub use offhook_protocol::handshake::{OriginPolicy, Refusal, Rejection, Request, Scheme};
pub use offhook_protocol::{
    CloseCode, Closed, ClosedBy, Config, Keepalive, Kind, Limits, Prepared, ReadyState, Sendable,
};
pub use pair::{Link, LinkEnd, Pair, pair};
pub use reader::MessageReader;
pub use reconnect::{Backoff, Open, Reconnecting, ReconnectingSender, Update};
pub use sender::Sender;
pub use server::{
    Acceptor, BoxError, Connections, HandlerResult, Incoming, InvalidProxy, Requests, Server,
};
pub use settings::Settings;
pub use socket::WebSocket;
pub use transport::{Stream, Transport};
pub use wiretap::Wiretap;
pub use writer::MessageWriter;

/// The code of the migration pages is compiled together with this crate.
#[cfg(doctest)]
mod migration {
    #[cfg(feature = "axum")]
    #[doc = include_str!("../../../docs/migrate/from-axum-ws.md")]
    struct FromAxum;
    #[doc = include_str!("../../../docs/migrate/from-fastwebsockets.md")]
    struct FromFastwebsockets;
    #[doc = include_str!("../../../docs/migrate/from-tokio-tungstenite.md")]
    struct FromTungstenite;
}

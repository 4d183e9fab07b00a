#![doc = include_str!("lib.md")]

// On wasm32 there is the client alone, over the browser's own WebSocket: modules of the same names
// in browser/.
#[cfg(all(feature = "axum", not(target_arch = "wasm32")))]
pub mod axum;
#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(not(target_arch = "wasm32"))]
mod byte_stream;
#[cfg_attr(target_arch = "wasm32", path = "browser/connect.rs")]
mod connect;
#[cfg(not(target_arch = "wasm32"))]
mod driver;
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod guide;
#[cfg(all(feature = "http2", not(target_arch = "wasm32")))]
mod http2;
#[cfg(all(feature = "hyper", not(target_arch = "wasm32")))]
pub mod hyper;
mod message;
#[cfg(not(target_arch = "wasm32"))]
mod metrics;
#[cfg(not(target_arch = "wasm32"))]
mod pair;
#[cfg(all(any(feature = "http2", feature = "hyper"), not(target_arch = "wasm32")))]
mod parsed;
#[cfg_attr(target_arch = "wasm32", path = "browser/random.rs")]
mod random;
#[cfg(not(target_arch = "wasm32"))]
mod reader;
mod reconnect;
#[cfg(all(feature = "http2", not(target_arch = "wasm32")))]
mod rewound;
#[cfg_attr(target_arch = "wasm32", path = "browser/sender.rs")]
mod sender;
#[cfg(not(target_arch = "wasm32"))]
mod server;
#[cfg(not(target_arch = "wasm32"))]
mod settings;
#[cfg_attr(target_arch = "wasm32", path = "browser/socket.rs")]
mod socket;
#[cfg_attr(target_arch = "wasm32", path = "browser/time.rs")]
mod time;
#[cfg(all(feature = "tower", not(target_arch = "wasm32")))]
pub mod tower;
#[cfg(not(target_arch = "wasm32"))]
#[cfg_attr(not(feature = "tracing"), path = "trace/off.rs")]
mod trace;
#[cfg(not(target_arch = "wasm32"))]
mod transport;
#[cfg(not(target_arch = "wasm32"))]
mod wiretap;
#[cfg(not(target_arch = "wasm32"))]
mod writer;

#[cfg(not(target_arch = "wasm32"))]
pub use byte_stream::ByteStream;
#[cfg(not(target_arch = "wasm32"))]
pub use connect::Over;
pub use connect::{Connect, ProxyError, SocksReply, connect};
#[cfg(all(feature = "http2", not(target_arch = "wasm32")))]
pub use connect::{Http2, HttpVersion};
#[cfg(all(feature = "tls", not(target_arch = "wasm32")))]
pub use connect::{InvalidTls, Tls, TlsBuilder};
#[cfg(not(target_arch = "wasm32"))]
pub use driver::Replies;
pub use error::{Error, Phase, UrlError};
#[cfg(all(feature = "http2", not(target_arch = "wasm32")))]
pub use http2::Http2Limits;
pub use message::{Binary, Message, Text};
#[cfg(not(target_arch = "wasm32"))]
pub use metrics::{Metrics, Traffic};
pub use offhook_protocol as protocol;
pub use offhook_protocol::deflate::DeflateConfig;
pub use offhook_protocol::handshake::{OriginPolicy, Refusal, Rejection, Request, Scheme};
pub use offhook_protocol::{
    CloseCode, Closed, ClosedBy, Config, Keepalive, Kind, Limits, Prepared, ReadyState, Sendable,
};
#[cfg(not(target_arch = "wasm32"))]
pub use pair::{Link, LinkEnd, Pair, pair};
#[cfg(not(target_arch = "wasm32"))]
pub use reader::MessageReader;
pub use reconnect::{Backoff, Open, Reconnecting, ReconnectingSender, Update};
pub use sender::Sender;
#[cfg(not(target_arch = "wasm32"))]
pub use server::{
    Acceptor, BoxError, Connections, HandlerResult, Incoming, InvalidProxy, Requests, Server,
};
#[cfg(not(target_arch = "wasm32"))]
pub use settings::Settings;
pub use socket::WebSocket;
#[cfg(not(target_arch = "wasm32"))]
pub use transport::{Stream, Transport};
#[cfg(not(target_arch = "wasm32"))]
pub use wiretap::Wiretap;
#[cfg(not(target_arch = "wasm32"))]
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

//! The library as its users see it, against real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "these are tests: what is unexpected fails them, and what is not run says so"
)]

#[cfg(any(feature = "aws-lc", feature = "ring"))]
mod authority;
#[cfg(all(feature = "axum", feature = "http2"))]
mod axum;
mod bridging;
mod cancelled;
mod cancelling;
mod closing;
mod connect_environment;
mod connect_handshake;
mod connect_http_proxy;
mod connect_redirect;
mod connect_socks5;
mod connect_timeouts;
#[cfg(any(feature = "aws-lc", feature = "ring"))]
mod connect_tls;
mod connect_transports;
#[cfg(all(feature = "axum", feature = "http2"))]
mod connections;
mod corking;
mod counted;
mod drivers;
#[cfg(feature = "http2")]
mod http2_client;
#[cfg(feature = "http2")]
mod http2_flow;
#[cfg(feature = "http2")]
mod http2_peer;
#[cfg(feature = "http2")]
mod http2_server;
#[cfg(all(any(feature = "aws-lc", feature = "ring"), feature = "http2"))]
mod http2_tls;
#[cfg(all(feature = "hyper", feature = "http2"))]
mod hyper;
mod isolation;
mod limits;
mod link;
mod liveness;
mod long_messages;
mod memory;
mod metrics;
mod model;
#[cfg(all(any(feature = "aws-lc", feature = "ring"), feature = "http2"))]
mod peer_addr;
mod program;
mod receiving;
mod reconnecting;
mod scripted;
mod sending;
mod serving;
mod threads;
#[cfg(all(feature = "tower", feature = "axum", feature = "http2"))]
mod tower;
#[cfg(feature = "tracing")]
mod tracing;
mod wiretap;

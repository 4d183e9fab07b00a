//! The library as its users see it, against real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "these are tests: what is unexpected fails them, and what is not run says so"
)]

#[cfg(any(feature = "aws-lc", feature = "ring"))]
mod authority;
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
mod corking;
mod counted;
mod link;
mod liveness;
mod memory;
mod model;
mod program;
mod receiving;
mod reconnecting;
mod scripted;
mod sending;
mod serving;
mod threads;

//! Dialects: the protocols of Offhook's connections.
//!
//! A dialect is a translator without I/O: wire messages become the engine's
//! [`Command`](offhook_engine::Command)s, and its deliveries become wire messages. It depends on
//! neither transport nor clock. All dialects share the same channels, positions, members and
//! history.
//!
//! [`Dialect`] is the server's interface to a dialect: the state of one connection, with an
//! [`Encoding`] that it may share with any number of others. [`native`] is Offhook's own, specified
//! in `docs/protocol.md`; [`graphql`] is GraphQL, [`jsonrpc`] is JSON-RPC 2.0, [`mqtt`] is MQTT 3.1.1 and 5.0, [`socketio`]
//! is Socket.IO v5, [`pusher`] is the Pusher protocol, [`stomp`] is STOMP 1.0 to 1.2, [`sse`] is a
//! stream of events for a browser's own `EventSource`, and [`webtransport`] is the native dialect over
//! several streams.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::expect_used,
        clippy::panic
    )
)]

mod dialect;
mod format;
pub mod graphql;
mod identity;
pub mod json;
pub mod jsonrpc;
pub mod mqtt;
pub mod native;
pub mod pusher;
pub mod socketio;
pub mod sse;
pub mod stomp;
pub mod webtransport;

pub use dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Known, Listing, Named, Payload, Readiness,
    Recipient, Shared, Unfinished, Welcome, Will,
};

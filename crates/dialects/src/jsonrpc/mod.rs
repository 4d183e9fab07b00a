//! JSON-RPC 2.0, specified in `docs/dialects/jsonrpc.md`.
//!
//! [`Rpc`] holds the state of one connection: which request and which batch an answer belongs to. A
//! subscription's publications are notifications of the method `subscription`; they differ between
//! recipients only in the subscription's number.
//!
//! [`Once`] is the same for a single HTTP request.
//!
//! What a method's parameters mean is also what the events of Socket.IO mean.

pub(crate) mod answer;
mod dialect;
pub(crate) mod message;
pub(crate) mod methods;
mod notification;
mod once;
mod pending;

pub use dialect::Rpc;
pub use message::MAX_BATCH;
pub use once::Once;

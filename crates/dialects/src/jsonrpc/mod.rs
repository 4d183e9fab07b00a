//! JSON-RPC 2.0, specified in `docs/dialects/jsonrpc.md`.
//!
//! [`Rpc`] holds the state of one connection: which request and which batch an answer belongs to. A
//! subscription's publications are notifications of the method `subscription`; they differ between
//! recipients only in the subscription's number.

mod answer;
mod dialect;
mod message;
mod methods;
mod notification;
mod pending;

pub use dialect::Rpc;
pub use message::MAX_BATCH;

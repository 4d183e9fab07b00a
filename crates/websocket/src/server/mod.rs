//! Accepting connections.

mod accept;
mod registry;
mod serve;

pub use accept::{Acceptor, Incoming};
pub use serve::{Server, ServerHandle};

//! Accepting connections.

mod accept;
mod head;
mod incoming;
mod registry;
mod requests;
mod serve;
#[cfg(feature = "tls")]
mod tls;

pub use accept::Acceptor;
pub use incoming::Incoming;
pub use requests::Requests;
pub use serve::{Server, ServerHandle};

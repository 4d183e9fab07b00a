//! Accepting connections.

mod accept;
mod addresses;
mod connections;
mod head;
mod incoming;
mod proxies;
mod registry;
mod requests;
mod serve;
mod served;
#[cfg(feature = "tls")]
mod tls;
mod unless;

pub use accept::Acceptor;
pub use connections::Connections;
pub use incoming::Incoming;
pub use proxies::InvalidProxy;
pub(crate) use registry::Place;
pub use requests::Requests;
pub use serve::Server;
#[cfg(feature = "hyper")]
pub(crate) use served::Served;
pub use served::{BoxError, HandlerResult};

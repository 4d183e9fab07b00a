//! WebSocket client and server on tokio.

mod error;
mod message;
mod transport;

pub use error::{Error, Phase, UrlError};
pub use message::{Message, Text};
pub use offhook_protocol as protocol;
pub use transport::{Stream, Transport};

//! STOMP 1.0, 1.1 and 1.2: see `docs/dialects/stomp.md`.
//!
//! | STOMP | Offhook |
//! |---|---|
//! | `/topic/NAME` | the channel `NAME` (`destination`) |
//! | `/queue/NAME` | the channel `queue/NAME`, whose consumers share its messages |
//! | a message's headers | a publication's tags (`message`) |
//! | `ack:auto` on a topic | a pushed subscription |
//! | other acknowledgements on a topic, and durable subscriptions | an acknowledged subscription (`delivering`) |
//! | `client-id` of a CONNECT | a session named by the client, with this dialect's own data (`note`) |

mod acknowledging;
mod connecting;
mod delivering;
mod destination;
mod dialect;
mod durable;
mod ending;
pub mod frame;
mod message;
mod note;
mod publishing;
mod refusals;
mod subscribing;
mod subscription;
mod taking;
mod timing;
mod transactions;

pub use dialect::{Settings, Stomp};

/// The subprotocols of STOMP over WebSocket, the newest version first.
pub const SUBPROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

//! MQTT 3.1.1 and 5.0: see `docs/dialects/mqtt.md`.
//!
//! | MQTT | Offhook |
//! |---|---|
//! | a topic | a channel (`topics`) |
//! | a message's properties | a publication's tags (`content`) |
//! | QoS 0 to a client | a pushed subscription |
//! | QoS 1 and 2 to a client | an acknowledged subscription (`sending`) |
//! | QoS 2 from a client | an idempotency key (`receiving`) |
//! | a retained message | a value of the channel's state |
//! | a session | a session named by the client, with this dialect's own data (`note`) |

mod connecting;
mod content;
mod dialect;
mod encoding;
mod ending;
mod keeping;
mod note;
pub mod packet;
mod reason;
mod receiving;
mod refusals;
mod restoring;
mod retained;
mod sending;
mod session;
mod subscribing;
mod timing;
pub(crate) mod topics;

pub use dialect::Mqtt;
pub use reason::Reason;

/// The subprotocol of MQTT over WebSocket (MQTT 5.0 §6).
pub const SUBPROTOCOL: &str = "mqtt";

//! MQTT 3.1.1 and 5.0: see `docs/dialects/mqtt.md`.

pub mod packet;
mod reason;

pub use reason::Reason;

/// The subprotocol of MQTT over WebSocket (MQTT 5.0 §6).
pub const SUBPROTOCOL: &str = "mqtt";

//! The real-time server: channels over a durable log, on WebSockets.

pub mod config;

//! The real-time server.

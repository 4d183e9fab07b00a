//! The opening handshake (RFC 6455 §4, RFC 8441).

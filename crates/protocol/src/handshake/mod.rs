//! The opening handshake (RFC 6455 §4, RFC 8441), for both sides, without I/O.
//!
//! A server passes bytes to a [`ServerHandshake`] until it has a [`ServerDecision`], inspects the
//! [`Request`] and accepts or rejects it. A client builds a [`ClientRequest`], sends what
//! [`start`](ClientRequest::start) returns and passes bytes to the [`ClientHandshake`]. Each state
//! is a type that is moved from call to call, so no step can be repeated or taken too early. If
//! another library parses HTTP, use [`ServerDecision::from_parsed`] or
//! [`ServerDecision::from_extended_connect`].
//!
//! Bytes may arrive in any split. Bytes after the head in the same read belong to the frames:
//! `consumed` says where they start. The handshake has no clock: give it a deadline in the driver,
//! in case a head arrives slowly.
//!
//! ```
//! use std::sync::Arc;
//! use offhook_protocol::handshake::{
//!     ClientRequest, ClientStep, ServerConfig, ServerHandshake, ServerStep, Subprotocols,
//! };
//!
//! let request = ClientRequest::new("example.com", "/chat")?.subprotocol("chat.v1")?;
//! let (to_server, client) = request.start([7; 16]); // 16 random bytes
//!
//! let config = ServerConfig {
//!     subprotocols: Subprotocols::new(["chat.v2", "chat.v1"])?,
//!     ..ServerConfig::default()
//! };
//! let server = ServerHandshake::new(Arc::new(config));
//! let ServerStep::Request { decision, .. } = server.receive(&to_server)? else {
//!     unreachable!("the request is whole")
//! };
//! let accepted = decision.accept();
//! let to_client = accepted.response.into_bytes();
//!
//! let ClientStep::Open { opened, .. } = client.receive(&to_client)? else {
//!     unreachable!("the response is whole and says yes")
//! };
//! assert_eq!(opened.negotiated, accepted.negotiated);
//! assert_eq!(opened.negotiated.protocol.as_deref(), Some("chat.v1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authority;
mod basic;
mod client;
mod client_request;
mod extended_connect;
mod failure;
mod forwarded;
mod head;
mod headers;
mod key;
mod origin;
mod origin_pattern;
mod refused;
mod reject;
mod request;
mod response;
mod rules;
mod server;
mod subprotocol;

pub use basic::basic_credentials;
pub use client::{ClientHandshake, ClientStep, Opened};
pub use client_request::{ClientRequest, InvalidRequest};
pub use extended_connect::{ConnectHandshake, ConnectOutcome, ConnectRequest};
pub use failure::{Culprit, HandshakeFailure};
pub use head::{HeadLimits, MalformedHead};
pub(crate) use headers::is_token_byte;
pub use headers::{Headers, InvalidHeader};
pub use key::accept_for_key;
pub use origin::{OriginPolicy, Scheme};
pub use origin_pattern::{InvalidOrigin, OriginPattern};
pub use refused::Refused;
pub use reject::{Carrier, InvalidStatus, Refusal, Rejection};
pub use request::Request;
pub use response::Response;
pub use server::{
    Accepted, RequestLine, ServerConfig, ServerDecision, ServerHandshake, ServerStep,
};
pub use subprotocol::{InvalidSubprotocol, Preference, Subprotocols};

use crate::deflate::DeflateParams;

/// What both sides agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// The subprotocol, if any.
    pub protocol: Option<String>,
    /// The terms of permessage-deflate, if it was negotiated.
    pub deflate: Option<DeflateParams>,
}

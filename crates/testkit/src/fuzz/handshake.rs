//! Fuzzing the opening handshake.

use std::sync::Arc;

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::handshake::{
    Carrier, ClientRequest, ClientStep, HeadLimits, OriginPolicy, ServerConfig, ServerHandshake,
    ServerStep, Subprotocols,
};

use super::{CUTS, Choices, cut};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 2048,
    headers: 24,
};

/// A request for a server.
///
/// # Panics
/// If the answer depends on how the bytes are split, does not match them, or comes too late.
pub fn handshake_server(data: &[u8]) {
    let mut choices = Choices(data);
    let config = Arc::new(ServerConfig {
        limits: LIMITS,
        origin: if choices.flag() {
            OriginPolicy::Any
        } else {
            OriginPolicy::SameOrigin
        },
        subprotocols: Subprotocols::new(["chat", "v2.chat"]).expect("two tokens"),
        deflate: choices.flag().then(DeflateConfig::default),
        ..ServerConfig::default()
    });
    let bytes = choices.rest();
    let at_once = serve(&config, &[bytes]);
    for sizes in CUTS {
        let segments: Vec<&[u8]> = cut(bytes, sizes).collect();
        assert_eq!(
            at_once,
            serve(&config, &segments),
            "in segments of {sizes:?}"
        );
    }
}

/// The answer, and the offset at which the frames start; `None` while the head is incomplete.
fn serve(config: &Arc<ServerConfig>, segments: &[&[u8]]) -> Option<(Vec<u8>, usize)> {
    let mut handshake = ServerHandshake::new(config.clone());
    let mut before = 0;
    for segment in segments {
        match handshake.receive(segment) {
            Ok(ServerStep::Incomplete(waiting)) => handshake = waiting,
            Ok(ServerStep::Request { decision, consumed }) => {
                assert!(consumed <= segment.len());
                let accepted = decision.accept();
                assert_eq!(accepted.response.status(), 101);
                return Some((accepted.response.into_bytes(), before + consumed));
            }
            Err(rejection) => {
                let response = rejection.response(Carrier::Upgrade);
                assert!((400..600).contains(&response.status()));
                return Some((response.into_bytes(), 0));
            }
        }
        before += segment.len();
        assert!(
            before <= LIMITS.bytes,
            "a head that is too long was not refused"
        );
    }
    None
}

/// A response for a client.
///
/// # Panics
/// If the outcome depends on how the bytes are split, or too much of a refusal is kept.
pub fn handshake_client(data: &[u8]) {
    let mut choices = Choices(data);
    let deflate = choices.flag();
    let bytes = choices.rest();
    let at_once = connect(deflate, &[bytes]);
    for sizes in CUTS {
        let segments: Vec<&[u8]> = cut(bytes, sizes).collect();
        assert_eq!(
            at_once,
            connect(deflate, &segments),
            "in segments of {sizes:?}"
        );
    }
}

/// A description of the outcome, and the offset at which the frames start.
fn connect(deflate: bool, segments: &[&[u8]]) -> (String, usize) {
    let request = ClientRequest::new("example.com", "/chat")
        .and_then(|request| request.subprotocol("chat"))
        .expect("a valid request")
        .head_limits(LIMITS)
        .body_limit(64);
    let request = if deflate {
        request.deflate(DeflateConfig::default())
    } else {
        request
    };
    let (_, mut handshake) = request.start(*b"the sample nonce");
    let mut before = 0;
    for (index, segment) in segments.iter().enumerate() {
        match handshake.receive(segment) {
            Ok(ClientStep::Incomplete(waiting)) => handshake = waiting,
            Ok(ClientStep::Open { opened, consumed }) => {
                assert!(consumed <= segment.len());
                return (format!("{opened:?}"), before + consumed);
            }
            Ok(ClientStep::Refused(mut refused)) => {
                for more in &segments[index + 1..] {
                    refused.receive_body(more);
                }
                assert!(refused.body().len() <= 64);
                return (format!("{refused:?}"), 0);
            }
            Err(failure) => return (failure.to_string(), 0),
        }
        before += segment.len();
    }
    ("incomplete".to_owned(), 0)
}

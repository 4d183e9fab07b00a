//! Which WebSockets are opened: by path, then by subprotocol, within the limits.

use std::time::Instant;

use offhook::{
    Settings, Transport, WebSocket,
    protocol::handshake::{Negotiated, Refusal, Response, ServerDecision},
};
use offhook_dialects::native;

use super::{Place, refusal};
use crate::worker::Worker;

/// A WebSocket that was accepted, and is still to be made of its stream.
pub(crate) struct Way {
    pub(crate) negotiated: Negotiated,
    /// What came behind the handshake.
    pub(crate) unread: Vec<u8>,
}

impl Way {
    pub(crate) fn into_socket(
        self,
        stream: impl Into<Transport>,
        settings: &Settings,
    ) -> WebSocket {
        WebSocket::server(stream, self.negotiated, &self.unread, settings)
    }
}

/// Decides about a valid handshake: the answer that accepts, or the one that does not.
pub(crate) fn upgrade(
    worker: &Worker,
    mut decision: ServerDecision,
    place: &Place,
) -> Result<(Response, Negotiated), Response> {
    if let Err((kind, sentence, refusal)) = check(worker, &mut decision, place) {
        worker.note_refused(kind, &sentence);
        return Err(decision.reject(refusal));
    }
    let accepted = decision.accept();
    Ok((accepted.response, accepted.negotiated))
}

type No = (&'static str, String, Refusal);

fn check(worker: &Worker, decision: &mut ServerDecision, place: &Place) -> Result<(), No> {
    let no = |kind, status, sentence: String| {
        let refusal = refusal(status, &sentence);
        Err((kind, sentence, refusal))
    };
    let config = &worker.shared.config;
    let path = decision.request().path();
    if path != config.ws_path {
        let there = &config.ws_path;
        let sentence = format!("no WebSocket is served at this path; the server's is at {there}");
        return no("path", 404, sentence);
    }
    // One dialect so far: the subprotocol says that the client knows which.
    if decision
        .select_subprotocol(Some(native::SUBPROTOCOL))
        .is_err()
    {
        let spoken = native::SUBPROTOCOL;
        let sentence = format!("offer the subprotocol {spoken} (Sec-WebSocket-Protocol)");
        return no("subprotocol", 400, sentence);
    }
    if place.is_over() {
        return Err(busy(
            "connections",
            "the server has as many connections as it may",
        ));
    }
    if !worker.shared.admission.handshake(Instant::now()) {
        return Err(busy("handshakes", "too many come at once"));
    }
    Ok(())
}

/// RFC 9110 §10.2.3: when to come back. Spread over some seconds, so that a herd does not.
fn busy(kind: &'static str, sentence: &str) -> No {
    let spread = crate::tokens::random_bytes::<1>().map_or(0, |[byte]| byte % 8);
    let after = (2 + spread).to_string();
    let refusal = refusal(503, sentence)
        .header("Retry-After", after)
        .expect("a number is a valid field value");
    (kind, sentence.to_owned(), refusal)
}

//! Deciding which WebSockets are opened: by path, then by subprotocol, within the limits.

use std::{sync::Arc, time::Instant};

use offhook::{
    Settings, Transport, WebSocket,
    protocol::handshake::{Negotiated, Refusal, Response, ServerDecision},
};

use super::{
    Place, hosts, refusal,
    routes::{NoRoute, Spoken},
};
use crate::{
    auth::{TwoTokens, presented},
    tokens::random_bytes,
    worker::{Approach, Guest, Pressure, Verified, Worker, now},
};

/// An accepted WebSocket, still to be made from its stream.
pub(crate) struct Way {
    pub(crate) negotiated: Negotiated,
    /// Bytes received after the handshake.
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

/// An accepted handshake.
pub(crate) struct Upgrade {
    pub(crate) response: Response,
    pub(crate) negotiated: Negotiated,
    /// The client's identity, and the dialect of the connection.
    pub(crate) guest: Guest,
}

/// Decides about a valid handshake: accepts it, or returns the refusal.
pub(crate) fn upgrade(
    worker: &Worker,
    mut decision: ServerDecision,
    place: &mut Place,
) -> Result<Upgrade, Response> {
    let (spoken, identity) = match check(worker, &mut decision, place) {
        Ok(checked) => checked,
        Err((kind, sentence, refusal)) => {
            worker.note_refused(kind, &sentence);
            return Err(decision.reject(refusal));
        }
    };
    let asks = worker.shared.backend.as_ref();
    let approach = asks.filter(|backend| backend.asks_about_clients());
    let approach = approach.map(|_| Box::new(approach_of(worker, &decision, place)));
    let accepted = decision.accept();
    Ok(Upgrade {
        response: accepted.response,
        negotiated: accepted.negotiated,
        guest: Guest {
            speaker: (spoken.begin)(),
            identity,
            approach,
        },
    })
}

type No = (&'static str, String, Refusal);

fn check(
    worker: &Worker,
    decision: &mut ServerDecision,
    place: &mut Place,
) -> Result<(Spoken, Option<Verified>), No> {
    let no = |kind, status, sentence: String| {
        let refusal = refusal(status, &sentence);
        Err((kind, sentence, refusal))
    };
    let config = &worker.shared.config;
    if !hosts::is_ours(decision.request(), config) {
        let host = decision.request().authority();
        let sentence = format!(
            "{host:?} is not a name of this server; if it should be, add it to the setting `hosts`"
        );
        // RFC 9110 §15.5.20.
        return no("host", 421, sentence);
    }
    let spoken = match worker.shared.routes.choose(decision) {
        Ok(spoken) => spoken,
        Err(NoRoute::Path(paths)) => {
            let sentence =
                format!("no WebSocket is served at this path; the server's is at {paths}");
            return no("path", 404, sentence);
        }
        Err(NoRoute::Subprotocol(known)) => {
            let sentence = format!("offer the subprotocol {known} (Sec-WebSocket-Protocol)");
            return no("subprotocol", 400, sentence);
        }
    };
    if place.is_over() {
        let sentence = "the server has reached its limit of connections";
        return Err(busy(worker, "connections", sentence));
    }
    if worker.shared.memory.pressure() >= Pressure::Severe {
        let sentence = "the server's memory is in use by existing connections and channels";
        return Err(busy(worker, "memory", sentence));
    }
    if !place.handshake(Instant::now()) {
        return Err(busy(worker, "handshakes", "too many handshakes at once"));
    }
    // Last: verifying a signature costs more than all the other checks.
    Ok((spoken, by_token(worker, decision)?))
}

/// What the backend is told of a client.
fn approach_of(worker: &Worker, decision: &ServerDecision, place: &Place) -> Approach {
    let request = decision.request();
    let token = presented(request, &worker.shared.config).ok().flatten();
    let token = token.filter(|_| worker.shared.passes_tokens_on());
    Approach {
        token: token.map(str::to_owned),
        origin: request.origin().map(str::to_owned),
        address: Some(place.address()),
    }
}

/// The identity in a handshake's token; none without a token.
fn by_token(worker: &Worker, decision: &ServerDecision) -> Result<Option<Verified>, No> {
    let token = presented(decision.request(), &worker.shared.config);
    let token = token.map_err(|TwoTokens| {
        let sentence = "the handshake has two tokens; send one";
        ("token", sentence.to_owned(), refusal(400, sentence))
    })?;
    let Some(token) = token.filter(|_| !worker.shared.passes_tokens_on()) else {
        return Ok(None);
    };
    let at_ms = now().unix_ms;
    let identity = worker.shared.auth.identity(token, at_ms);
    let identity = identity.map_err(|no| {
        let sentence = no.detail.into_owned();
        if let Some(pause) = no.retry_after {
            let seconds = pause.as_secs().max(1).to_string();
            let refusal = refusal(503, &sentence)
                .header("Retry-After", seconds)
                .expect("a number is a valid field value");
            return ("token", sentence, refusal);
        }
        // RFC 6750 §3.1.
        let refusal = refusal(401, &sentence)
            .header("WWW-Authenticate", "Bearer error=\"invalid_token\"")
            .expect("a valid field value");
        ("token", sentence, refusal)
    })?;
    Ok(Some(Verified {
        identity: Arc::new(identity),
        at_ms,
    }))
}

/// RFC 9110 §10.2.3: when to return, at a different time for each client.
fn busy(worker: &Worker, kind: &'static str, sentence: &str) -> No {
    let (least, spread) = worker.shared.admission.come_back(Instant::now());
    let random = random_bytes().map_or(u64::MAX / 2, u64::from_be_bytes);
    let after = (least + random % (spread + 1)).to_string();
    let refusal = refusal(503, sentence)
        .header("Retry-After", after)
        .expect("a number is a valid field value");
    (kind, sentence.to_owned(), refusal)
}

//! Requests that are answered by a dialect of their own, for which the client is admitted as for a
//! connection: GraphQL and JSON-RPC.

use std::{cell::Cell, rc::Rc};

use hyper::StatusCode;
use offhook::protocol::handshake::ServerDecision;
use offhook_dialects::Dialect;

use super::{Problem, events};
use crate::{
    auth::Places,
    door::{Peer, Place, admit_request, approach},
    worker::{Approach, Guest, Speaker, Streaming, Verified, Worker},
};

/// A client that was admitted: what its token and the backend say of it, and its connection in logs.
type Admitted = (Option<Verified>, Option<Box<Approach>>, Peer);

/// Admits the client of a request that was checked.
pub(super) fn admit(
    worker: &Rc<Worker>,
    decision: &ServerDecision,
    place: &Cell<Option<Place>>,
) -> Result<Admitted, Problem> {
    let Some(mut taken) = place.take() else {
        return Err(Problem::bad("this connection is already a WebSocket"));
    };
    let peer = taken.peer();
    let admitted = admit_request(worker, decision.request(), &mut taken);
    let approach = approach(worker, decision.request(), &taken, Places::Request);
    place.set(Some(taken));
    let identity = admitted.map_err(events::turned_away)?;
    let is_known = identity.is_some() || approach.is_some();
    if !is_known && !worker.shared.auth.allows_anonymous() {
        let detail = "a token is missing: send it as Authorization: Bearer";
        let status = StatusCode::UNAUTHORIZED;
        return Err(Problem::new(status, "unauthenticated", detail));
    }
    Ok((identity, approach, peer))
}

/// Lets a dialect that has the request answer it. Returns the answer, and the connection that ended.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    (identity, approach, peer): Admitted,
    dialect: impl Dialect + 'static,
) -> (String, Streaming) {
    let guest = Guest {
        speaker: Speaker::Other(Box::new(Box::new(dialect))),
        identity,
        approach,
        peer: Some(peer),
        upgrades: None,
    };
    let mut stream = Box::pin(worker.stream(guest)).await;
    let mut answer = Vec::new();
    while let Some(piece) = stream.take().await {
        answer.extend_from_slice(&piece);
    }
    stream.leave();
    (String::from_utf8_lossy(&answer).into_owned(), stream)
}

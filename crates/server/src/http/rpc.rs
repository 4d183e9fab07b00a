//! `POST` to the path of JSON-RPC: one message and its answer. `docs/dialects/jsonrpc.md` specifies
//! it.

use std::{cell::Cell, rc::Rc, time::Duration};

use hyper::{Method, Request, StatusCode, header::ORIGIN};
use offhook_dialects::jsonrpc::Once;

use super::{
    Answer, Received,
    api::{Body, Problem, json_answer},
    checked, client_of, cors, is_handshake, once,
};
use crate::{door::Place, worker::Worker};

/// The header fields that a page's request may have.
const FIELDS: &str = "Authorization, Content-Type";

/// Whether a request is one of JSON-RPC.
pub(super) fn is_at(worker: &Worker, request: &Request<Received>) -> bool {
    let is_method = *request.method() == Method::POST || cors::is_preflight(request);
    is_method
        && request.uri().path() == worker.shared.config.rpc_path
        && !is_handshake(request.headers())
}

/// Answers a request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Answer {
    let origin = request.headers().get(ORIGIN).cloned();
    let (peer, path) = (client_of(&request).peer, request.uri().path().to_owned());
    let mut answer = match handle(worker, request, place).await {
        Ok(answer) => answer,
        Err(problem) => problem.logged(worker, "request", (peer, &path)),
    };
    cors::let_read(origin.as_ref(), answer.headers_mut());
    answer
}

async fn handle(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Result<Answer, Problem> {
    let decision = checked(worker, &request, client_of(&request))?;
    if cors::is_preflight(&request) {
        return Ok(cors::preflight(&[Method::POST], FIELDS));
    }
    let admitted = once::admit(worker, &decision, place)?;
    let config = &worker.shared.config;
    let limit = (config.messages.max_bytes, "messages.max_bytes");
    let body = Body::read(
        request,
        &worker.shared.memory,
        limit,
        config.api.body_timeout,
    )
    .await?;
    // A body that is not UTF-8 is not JSON either.
    let message = String::from_utf8_lossy(&body.bytes).into_owned();
    let (answer, stream) = once::ask(worker, admitted, Once::new(message)).await;
    if answer.is_empty() && !stream.is_answered() {
        let detail = match stream.is_connected() {
            false => "the server does not accept requests at the moment; try again",
            true => {
                "the server ended the connection before the request was answered; it may have been \
                 carried out"
            }
        };
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        return Err(problem.after(Some(Duration::from_secs(1))));
    }
    if answer.is_empty() {
        // JSON-RPC 2.0 §4.1: notifications are not answered.
        let mut answer = json_answer(StatusCode::NO_CONTENT, String::new());
        *answer.body_mut() = bytes::Bytes::new().into();
        return Ok(answer);
    }
    Ok(json_answer(StatusCode::OK, answer))
}

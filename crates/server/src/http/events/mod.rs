//! Reading channels with ordinary requests, for clients other than Offhook's own: `GET /sse` is a
//! stream of server-sent events, and `GET /poll` reads once. `docs/transports.md` specifies both.

mod poll;
mod wanted;

use std::{cell::Cell, rc::Rc, time::Duration};

use http_body_util::Either;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN},
};
use offhook::protocol::handshake::ServerDecision;
use offhook_dialects::sse::{Parsed, Sse, Wanted};
use offhook_engine::{ErrorCode, Refusal};
use serde::Deserialize;

use super::{
    Received, Streamed,
    api::{Problem, Query, json_answer},
    checked, client_of, cors,
};
use crate::{
    auth::Places,
    door::{Peer, Place, TurnedAway, admit_request, approach},
    worker::{Approach, Guest, Speaker, Streaming, Verified, Worker},
};

/// Tells nginx, and proxies that follow it, not to buffer the response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The header fields that a page's request may have.
pub(super) const FIELDS: &str = "Authorization, Cache-Control, Content-Type, Last-Event-ID";

/// How a client receives publications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a stream of events.
    Stream,
    /// With one answer.
    Poll,
}

/// The form served at a path.
pub(super) fn form(path: &str) -> Option<Form> {
    match path {
        "/sse" => Some(Form::Stream),
        "/poll" => Some(Form::Poll),
        _ => None,
    }
}

/// Answers a request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: &Request<Received>,
    form: Form,
    place: &Cell<Option<Place>>,
) -> Streamed {
    let mut answer = match checked(worker, request, client_of(request)) {
        Ok(decision) => match handle(worker, request, &decision, form, place).await {
            Ok(answer) => answer,
            Err(problem) => {
                worker.note_refusal("request", &problem, client_of(request));
                refused(request, form, &problem)
            }
        },
        Err(problem) => refused(request, form, &problem),
    };
    cors::let_read(request.headers().get(ORIGIN), answer.headers_mut());
    answer
}

async fn handle(
    worker: &Rc<Worker>,
    request: &Request<Received>,
    decision: &ServerDecision,
    form: Form,
    place: &Cell<Option<Place>>,
) -> Result<Streamed, Problem> {
    match *request.method() {
        Method::OPTIONS => {
            let answer = cors::preflight(&[Method::GET], FIELDS);
            return Ok(answer.map(Either::Left));
        }
        Method::GET => {}
        _ => return Err(Problem::method(&[Method::GET, Method::OPTIONS])),
    }
    let query = Query::of(request.uri().query())?;
    let wanted = wanted::read(worker, &query, request.headers())?;
    let Some(mut taken) = place.take() else {
        return Err(Problem::bad("this connection is already a WebSocket"));
    };
    let peer = taken.peer();
    let admitted = admit_request(worker, decision.request(), &mut taken);
    let approach = approach(worker, decision.request(), &taken, Places::Request);
    place.set(Some(taken));
    let client = (admitted.map_err(turned_away)?, approach, peer);
    match form {
        Form::Stream => stream(worker, wanted, client).await,
        Form::Poll => {
            let wish = poll::Wish::read(&query, &wanted)?;
            let body = wish.answer(open(worker, wanted, client).await).await?;
            Ok(json_answer(StatusCode::OK, body).map(Either::Left))
        }
    }
}

/// The identity in a client's token, the facts about the client for the backend, and its
/// connection.
type Client = (Option<Verified>, Option<Box<Approach>>, Peer);

async fn open(
    worker: &Rc<Worker>,
    wanted: Wanted,
    (identity, approach, peer): Client,
) -> Streaming {
    let speaker = Speaker::Other(Box::new(Box::new(Sse::new(wanted))));
    let guest = Guest {
        speaker,
        identity,
        approach,
        peer: Some(peer),
        upgrades: None,
    };
    Box::pin(worker.stream(guest)).await
}

async fn stream(worker: &Rc<Worker>, wanted: Wanted, client: Client) -> Result<Streamed, Problem> {
    let stream = open(worker, wanted, client).await;
    // The first event decides the status of the answer.
    let first = stream.first().await;
    match Parsed::all(&first).next() {
        Some(event) if event.name == "refused" => return Err(of_event(&event)),
        Some(_) => {}
        None => return Err(going_away()),
    }
    Ok(streamed(Either::Right(stream)))
}

pub(super) fn streamed(body: Either<http_body_util::Full<bytes::Bytes>, Streaming>) -> Streamed {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    let fields = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        // `no-transform`: a proxy that compresses would delay the stream.
        (CACHE_CONTROL, "no-store, no-transform"),
        (X_ACCEL_BUFFERING, "no"),
    ];
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// The answer for an error.
///
/// An `EventSource` never reconnects after an error status. If a later attempt can succeed, it
/// therefore gets a stream that sets the delay and ends, so that pages refused by a busy server
/// reconnect.
fn refused(request: &Request<Received>, form: Form, problem: &Problem) -> Streamed {
    let accept = request.headers().get(ACCEPT);
    let is_event_source = accept.is_some_and(|accept| accept == "text/event-stream");
    match problem.retry_after() {
        Some(pause) if is_event_source && form == Form::Stream => {
            let pause = pause.as_millis().max(1000);
            let problem = problem.value();
            let text = format!("retry: {pause}\nevent: refused\ndata: {problem}\n\n");
            streamed(Either::Left(text.into()))
        }
        Some(_) | None => problem.answer().map(Either::Left),
    }
}

pub(super) fn turned_away(away: TurnedAway) -> Problem {
    let code = match away.status {
        401 => ErrorCode::Unauthenticated.name(),
        503 => ErrorCode::Busy.name(),
        _ => ErrorCode::BadRequest.name(),
    };
    let pause = match &away.field {
        Some(("Retry-After", seconds)) => seconds.parse().ok().map(Duration::from_secs),
        Some(_) | None => None,
    };
    let status = StatusCode::from_u16(away.status).unwrap_or(StatusCode::BAD_REQUEST);
    Problem::new(status, code, away.sentence).after(pause)
}

/// The problem that corresponds to a `refused` event of the dialect.
fn of_event(event: &Parsed) -> Problem {
    #[derive(Deserialize)]
    struct Refused {
        channel: Option<String>,
        filter: Option<String>,
        code: String,
        message: String,
        retry_after_ms: Option<u64>,
    }
    let Ok(refused) = serde_json::from_str::<Refused>(&event.data) else {
        return going_away();
    };
    let code = ErrorCode::ALL
        .iter()
        .find(|code| code.name() == refused.code);
    let code = *code.unwrap_or(&ErrorCode::Busy);
    let detail = match refused.channel.or(refused.filter) {
        Some(target) => format!("{target}: {}", refused.message),
        None => refused.message,
    };
    let refusal = Refusal::new(code, detail);
    let pause = refused.retry_after_ms.map(Duration::from_millis);
    let later = code.retry() == offhook_engine::Retry::Later;
    let pause = pause.or_else(|| later.then_some(Duration::from_secs(1)));
    Problem::from(refusal).after(pause)
}

fn going_away() -> Problem {
    let detail = "the server is going away; try again";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Draining.name(),
        detail,
    )
    .after(Some(Duration::from_secs(1)))
}

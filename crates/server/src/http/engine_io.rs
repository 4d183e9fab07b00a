//! Engine.IO's long-polling at the path of Socket.IO. Each request is passed to the worker that has
//! the connection. `docs/dialects/socketio.md` specifies it.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN},
};
use offhook::protocol::{CloseCode, handshake::ServerDecision};
use offhook_dialects::{
    Payload,
    socketio::packet::{Engine, Record, write_record},
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    Answer, Received,
    api::{Body, Problem, json_answer},
    carried, checked, client_of, cors, events,
};
use crate::{
    auth::Places,
    door::{Peer, Place, admit_request, approach, speak_over_engine_io},
    worker::{self, CarriedId, Carry, Form, Guest, Messages, Worker, Wrong},
};

/// A refusal, with the codes and messages of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Transport,
    Unknown,
    Method,
    Request,
    Version,
}

impl Refused {
    fn answer(self) -> Answer {
        let (code, message) = match self {
            Self::Transport => (0, "Transport unknown"),
            Self::Unknown => (1, "Session ID unknown"),
            Self::Method => (2, "Bad handshake method"),
            Self::Request => (3, "Bad request"),
            Self::Version => (5, "Unsupported protocol version"),
        };
        let body = json!({"code": code, "message": message}).to_string();
        json_answer(StatusCode::BAD_REQUEST, body)
    }
}

/// Whether this module serves a path.
pub(super) fn is_at(worker: &Worker, path: &str) -> bool {
    let bare = worker.shared.config.socketio.path.trim_end_matches('/');
    let rest = path.strip_prefix(bare);
    rest.is_some_and(|rest| rest.is_empty() || rest == "/")
}

/// Answers a request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Answer {
    let origin = request.headers().get(ORIGIN).cloned();
    let mut answer = match checked(worker, &request, client_of(&request)) {
        Ok(decision) => match handle(worker, request, &decision, place).await {
            Ok(answer) => answer,
            Err(problem) => {
                worker.note_refused("request", &problem);
                problem.answer()
            }
        },
        Err(problem) => problem.answer(),
    };
    cors::let_read(origin.as_ref(), answer.headers_mut());
    answer
}

async fn handle(
    worker: &Rc<Worker>,
    request: Request<Received>,
    decision: &ServerDecision,
    place: &Cell<Option<Place>>,
) -> Result<Answer, Problem> {
    if *request.method() == Method::OPTIONS {
        return Ok(cors::preflight(
            &[Method::GET, Method::POST],
            events::FIELDS,
        ));
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let field = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value)
    };
    if field("EIO") != Some("4") {
        return Ok(Refused::Version.answer());
    }
    match field("transport") {
        Some("polling") => {}
        Some("websocket") => return Ok(Refused::Request.answer()),
        _ => return Ok(Refused::Transport.answer()),
    }
    let Some(sid) = field("sid") else {
        if *request.method() != Method::GET {
            return Ok(Refused::Method.answer());
        }
        return begin(worker, decision, place, client_of(&request).peer).await;
    };
    let Ok(id) = sid.parse() else {
        return Ok(Refused::Unknown.answer());
    };
    match *request.method() {
        Method::GET => Ok(poll(worker, id).await),
        Method::POST => post(worker, id, request).await,
        _ => Ok(Refused::Request.answer()),
    }
}

/// Begins a connection, and answers with the server's greeting.
async fn begin(
    worker: &Rc<Worker>,
    decision: &ServerDecision,
    place: &Cell<Option<Place>>,
    peer: Option<Peer>,
) -> Result<Answer, Problem> {
    let Some(mut taken) = place.take() else {
        return Err(Problem::bad("this connection is already a WebSocket"));
    };
    let admitted = admit_request(worker, decision.request(), &mut taken);
    let approach = approach(worker, decision.request(), &taken, Places::Request);
    let another = taken.another();
    place.set(Some(taken));
    let guest = Guest {
        speaker: speak_over_engine_io(&worker.shared, true),
        identity: admitted.map_err(events::turned_away)?,
        approach,
        peer,
        upgrades: None,
    };
    let busy = |detail: &str| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "too_many_connections", detail)
    };
    let another = another.filter(|place| !place.is_over());
    let another = another.ok_or_else(|| busy("the server has reached its limit of connections"))?;
    let id = worker
        .carry_polled(Form::EngineIo, guest, another)
        .ok_or_else(|| busy("the system cannot provide random bytes"))?;
    Ok(poll(worker, id).await)
}

async fn poll(worker: &Worker, id: CarriedId) -> Answer {
    let (done, answered) = oneshot::channel();
    let poll = Carry::Poll {
        after: None,
        waits: true,
        done,
    };
    worker.carry(id, poll);
    match answered.await.unwrap_or(Err(Wrong::Unknown)) {
        Ok(answer) => text(written(&answer)),
        Err(wrong) => refused(wrong).answer(),
    }
}

/// Writes the payload that answers a poll.
fn written(answer: &worker::Answer) -> String {
    let mut payload = String::new();
    for message in &answer.messages {
        let record = match message {
            Payload::Text(text) => Record::Text(text),
            Payload::Binary(bytes) => Record::Binary(bytes.clone()),
        };
        write_record(&record, &mut payload);
    }
    let last = match &answer.closed {
        // A client that has closed the connection itself knows that it is closed, so its poll ends
        // with a no-op.
        Some(closed) if closed.code == u16::from(CloseCode::NORMAL) => Some(Engine::Noop),
        Some(_) => Some(Engine::Close),
        None if payload.is_empty() => Some(Engine::Noop),
        None => None,
    };
    if let Some(last) = last {
        write_record(&Record::Text(&last.write()), &mut payload);
    }
    payload
}

async fn post(
    worker: &Worker,
    id: CarriedId,
    request: Request<Received>,
) -> Result<Answer, Problem> {
    // Checked before the body is received, which takes memory.
    if !carried::is_known(worker, id).await {
        return Ok(Refused::Unknown.answer());
    }
    let config = &worker.shared.config;
    let limit = (config.messages.max_bytes, "messages.max_bytes");
    let body = Body::read(
        request,
        &worker.shared.memory,
        limit,
        config.api.body_timeout,
    )
    .await?;
    let payload = String::from_utf8(body.bytes.into()).ok();
    let Some(messages) = payload.and_then(Messages::of_payload) else {
        worker.carry(id, Carry::Spoil);
        return Ok(Refused::Request.answer());
    };
    let (done, handled) = oneshot::channel();
    let send = Carry::Send {
        number: None,
        messages,
        done,
    };
    worker.carry(id, send);
    Ok(match handled.await.unwrap_or(Err(Wrong::Unknown)) {
        Ok(()) => text("ok".to_owned()),
        Err(wrong) => refused(wrong).answer(),
    })
}

fn refused(wrong: Wrong) -> Refused {
    match wrong {
        Wrong::Unknown => Refused::Unknown,
        Wrong::Number { .. }
        | Wrong::Busy
        | Wrong::Replaced
        | Wrong::Streamed
        | Wrong::Overlap
        | Wrong::Invalid => Refused::Request,
    }
}

fn text(body: String) -> Answer {
    let mut answer = Response::new(Full::from(Bytes::from(body)));
    let headers = answer.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=UTF-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

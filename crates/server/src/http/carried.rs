//! `/connection`: connections that both send and receive, over ordinary requests. Each request is passed
//! to the worker that has the connection. `docs/transports.md` specifies it.

use std::{cell::Cell, rc::Rc, time::Duration};

use http_body_util::Either;
use hyper::{Method, Request, StatusCode, header::ORIGIN};
use offhook::protocol::handshake::ServerDecision;
use offhook_dialects::native::Native;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Answer, Received, Streamed,
    api::{Body, Problem, Query, json_answer},
    checked, client_of, cors, events,
};
use crate::{
    auth::Places,
    door::{Place, admit_request, approach},
    refused::Client,
    worker::{self, CarriedId, Carry, Form, Guest, Messages, Speaker, Worker, Wrong},
};

const PATH: &str = "/connection";

const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS];

/// How long a poll waits by default, in seconds. 25: below the 30 s after which the strictest proxies
/// end a request.
const WAIT: u32 = 25;

/// The longest wait in seconds. 60: proxies with default settings end longer requests.
const LONGEST_WAIT: u32 = 60;

/// Whether this module serves a path.
pub(super) fn is_at(path: &str) -> bool {
    let rest = path.strip_prefix(PATH);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> Streamed {
    let origin = request.headers().get(ORIGIN).cloned();
    let decided = checked(worker, &request, client_of(&request));
    let mut answer = match decided {
        Ok(decision) => {
            let peer = client_of(&request).peer;
            match handle(worker, request, &decision, place).await {
                Ok(answer) => answer,
                Err(problem) => {
                    let client = Client {
                        peer,
                        ..Client::default()
                    };
                    worker.note_refusal("request", &problem, client);
                    problem.answer().map(Either::Left)
                }
            }
        }
        Err(problem) => problem.answer().map(Either::Left),
    };
    cors::let_read(origin.as_ref(), answer.headers_mut());
    answer
}

async fn handle(
    worker: &Rc<Worker>,
    request: Request<Received>,
    decision: &ServerDecision,
    place: &Cell<Option<Place>>,
) -> Result<Streamed, Problem> {
    if *request.method() == Method::OPTIONS {
        return Ok(cors::preflight(&METHODS, events::FIELDS).map(Either::Left));
    }
    let path = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let Some(id) = path.strip_prefix('/') else {
        let Some(mut taken) = place.take() else {
            return Err(Problem::bad("this connection is already a WebSocket"));
        };
        let admitted = admit_request(worker, decision.request(), &mut taken);
        let approach = approach(worker, decision.request(), &taken, Places::Request);
        let another = taken.another();
        place.set(Some(taken));
        let guest = Guest {
            speaker: Speaker::Native(Native::default()),
            identity: admitted.map_err(events::turned_away)?,
            approach,
            peer: client_of(&request).peer,
            upgrades: None,
        };
        return begin(worker, request.method(), guest, another);
    };
    let id = id.parse().map_err(|()| problem(Wrong::Unknown))?;
    of_connection(worker, id, request)
        .await
        .map(|answer| answer.map(Either::Left))
}

fn begin(
    worker: &Rc<Worker>,
    method: &Method,
    guest: Guest,
    place: Option<Place>,
) -> Result<Streamed, Problem> {
    match *method {
        Method::GET => {
            let stream = worker.carry_streamed(guest).ok_or_else(no_id)?;
            Ok(events::streamed(Either::Right(stream)))
        }
        Method::POST => {
            let full = || {
                let detail = "the server has reached its limit of connections";
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(status, "too_many_connections", detail)
                    .after(Some(Duration::from_secs(5)))
            };
            let place = place.filter(|place| !place.is_over()).ok_or_else(full)?;
            let id = worker.carry_polled(Form::Numbered, guest, place);
            let id = id.ok_or_else(no_id)?;
            let body = format!("{{\"connection\":\"{id}\"}}");
            Ok(json_answer(StatusCode::CREATED, body).map(Either::Left))
        }
        _ => Err(Problem::method(&[
            Method::GET,
            Method::POST,
            Method::OPTIONS,
        ])),
    }
}

/// Handles a request on an existing connection.
async fn of_connection(
    worker: &Rc<Worker>,
    id: CarriedId,
    request: Request<Received>,
) -> Result<Answer, Problem> {
    let query = Query::of(request.uri().query())?;
    match *request.method() {
        Method::POST => {
            let number = whole(query.get("n")?, "n")?;
            // Checked before the body is received, which takes memory.
            if !is_known(worker, id).await {
                return Err(problem(Wrong::Unknown));
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
            let text = String::from_utf8(body.bytes.into());
            let text = text.map_err(|_| Problem::bad("the body is not UTF-8"))?;
            let (done, handled) = oneshot::channel();
            let send = Carry::Send {
                number: Some(number),
                messages: Messages::Lines(text),
                done,
            };
            worker.carry(id, send);
            handled
                .await
                .unwrap_or(Err(Wrong::Unknown))
                .map_err(problem)?;
            Ok(nothing())
        }
        Method::GET => {
            let after = whole(query.get("after")?, "after")?;
            let wait = query.number("wait", WAIT)?;
            if wait > LONGEST_WAIT {
                let detail = format!("wait: is {wait} s; at most {LONGEST_WAIT}");
                return Err(Problem::bad(detail));
            }
            let (done, answered) = oneshot::channel();
            let poll = Carry::Poll {
                after: Some(after),
                waits: wait > 0,
                done,
            };
            worker.carry(id, poll);
            // Without a wait, the worker answers immediately.
            let wait = Duration::from_secs(wait.max(1).into());
            let answer = match timeout(wait, answered).await {
                Ok(answer) => answer.unwrap_or(Err(Wrong::Unknown)).map_err(problem)?,
                Err(_elapsed) => worker::Answer {
                    first: after + 1,
                    ..worker::Answer::default()
                },
            };
            Ok(json_answer(StatusCode::OK, written(&answer)))
        }
        Method::DELETE => {
            worker.carry(id, Carry::Leave);
            Ok(nothing())
        }
        _ => Err(Problem::method(&METHODS)),
    }
}

/// Whether a connection exists and is open.
pub(super) async fn is_known(worker: &Worker, id: CarriedId) -> bool {
    let (done, known) = oneshot::channel();
    worker.carry(id, Carry::Find { done });
    known.await.is_ok()
}

/// Writes the body of the answer to a poll. Messages of the native dialect are JSON.
fn written(answer: &worker::Answer) -> String {
    let worker::Answer {
        first,
        messages,
        closed,
    } = answer;
    let messages: Vec<_> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(message.as_bytes()))
        .collect();
    let messages = messages.join(",");
    let closed = closed.as_ref().map(|closed| closed.to_json());
    let closed = closed.map_or_else(String::new, |closed| format!(",\"closed\":{closed}"));
    format!("{{\"first\":{first},\"messages\":[{messages}]{closed}}}")
}

fn nothing() -> Answer {
    let mut answer = json_answer(StatusCode::NO_CONTENT, String::new());
    *answer.body_mut() = bytes::Bytes::new().into();
    answer.headers_mut().remove(hyper::header::CONTENT_TYPE);
    answer
}

fn whole(text: Option<&str>, name: &str) -> Result<u64, Problem> {
    let number = text.and_then(|text| text.parse().ok());
    let number = number.filter(|number| *number < 1 << 53);
    number.ok_or_else(|| Problem::bad(format!("{name}: expected a whole number below 2^53")))
}

fn problem(wrong: Wrong) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match wrong {
        Wrong::Unknown => {
            let detail = "the connection does not exist, or has ended; begin a new one, and resume the \
                          session on it";
            Problem::new(StatusCode::NOT_FOUND, "unknown_connection", detail)
        }
        Wrong::Number { least, most } => {
            let detail = format!("n or after: out of sequence; expected {least} to {most}");
            conflict("bad_number", detail)
        }
        Wrong::Busy => {
            let detail = "the previous request is still being handled; send one at a time";
            conflict("busy", detail.to_owned())
        }
        Wrong::Replaced => {
            let detail = "a newer poll of the connection has replaced this one";
            conflict("replaced", detail.to_owned())
        }
        Wrong::Overlap => {
            let detail = "another request of the connection is under way";
            conflict("overlap", detail.to_owned())
        }
        Wrong::Invalid => {
            let detail = "the messages violate the protocol of the connection, which has ended";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_messages", detail)
        }
        Wrong::Streamed => {
            let detail = "this connection has a stream, and cannot be polled";
            conflict("streamed", detail.to_owned())
        }
    }
}

fn no_id() -> Problem {
    let detail = "the system cannot provide random bytes for the connection's id";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
}

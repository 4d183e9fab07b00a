//! One bidirectional stream that a client has opened: a request, or a stream of a session.

use std::rc::Rc;

use hyper::{Method, Request, StatusCode};
use offhook_http3::{
    Code, Error,
    frame::{Frame, Frames, HEADERS},
    qpack::{self, Field},
    varint,
    webtransport::{BIDIRECTIONAL, PROTOCOL},
};
use quinn::{ReadError, RecvStream, SendStream};
use tokio::time::timeout;

use super::{
    answer,
    body::Body,
    connection::{Connection, InUse, is_cancelled, number, refuse},
    request::{self, Head},
    session, websocket,
};
use crate::{
    door::Place,
    http::{Answer, Received},
    http2::bad,
    refused::Client,
};

/// The size of one read. 4 KiB: twice a typical head.
const READ: usize = 4096;

/// What a stream begins with.
enum Begun {
    /// A request, and what follows its head.
    Request(Vec<Field>, Frames),
    /// The id of a session, and the bytes that follow.
    OfSession(u64, Vec<u8>),
}

/// Why a stream is not served.
enum Wrong {
    /// The client has cancelled it, or the connection is lost.
    Read(ReadError),
    /// It ended too soon.
    Incomplete,
    /// The head is too large.
    TooLarge,
    /// The connection has to end.
    Connection(Error),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        // Frames and field sections have this code only if they are larger than allowed.
        if error.code == Code::EXCESSIVE_LOAD {
            Self::TooLarge
        } else {
            Self::Connection(error)
        }
    }
}

/// Serves one stream until it ends.
pub(super) async fn serve(
    connection: Rc<Connection>,
    in_use: InUse,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let worker = &connection.worker;
    let within = worker.shared.config.connections.handshake_timeout;
    let limit = worker.shared.config.http3.header_bytes;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let wrong = match timeout(within, begin(&mut receive, limit)).await {
        Ok(Ok(Begun::Request(fields, frames))) => {
            return request(&connection, in_use, fields, frames, (send, receive)).await;
        }
        Ok(Ok(Begun::OfSession(id, unread))) => {
            // Sessions count what they use themselves.
            drop(in_use);
            return session::pass(&connection, id, (send, receive, unread));
        }
        Ok(Err(wrong)) => wrong,
        Err(_elapsed) => {
            let client = Client::at(connection.place.peer());
            worker.note_refusal("handshake_timeout", "a request took too long", client);
            return refuse(&mut send, &mut receive, Code::REQUEST_REJECTED);
        }
    };
    match wrong {
        Wrong::Read(error) if is_cancelled(&error) => {
            refuse(&mut send, &mut receive, Code::REQUEST_CANCELLED);
            connection.cancelled();
        }
        Wrong::Read(error) => tracing::debug!(%error, "a stream of HTTP/3 was lost"),
        Wrong::Incomplete => refuse(&mut send, &mut receive, Code::REQUEST_INCOMPLETE),
        Wrong::TooLarge => {
            let mut large = bad("the header fields are larger than http3.header_bytes");
            *large.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            answer::refuse(&mut send, large, worker.shared.patience()).await;
            let _ended = receive.stop(number(Code::NO_ERROR));
        }
        Wrong::Connection(error) => connection.fail(&error),
    }
}

async fn begin(receive: &mut RecvStream, limit: usize) -> Result<Begun, Wrong> {
    let mut unread = more(receive).await?;
    loop {
        let mut rest = unread.as_slice();
        match varint::read(&mut rest) {
            Some(BIDIRECTIONAL) => {
                if let Some(session) = varint::read(&mut rest) {
                    return Ok(Begun::OfSession(session, rest.to_vec()));
                }
            }
            Some(_) => break,
            None => {}
        }
        unread.extend(more(receive).await?);
    }
    let mut frames = Frames::new(limit);
    frames.receive(&unread);
    loop {
        match frames.next()? {
            Some(Frame::Whole {
                kind: HEADERS,
                payload,
            }) => return Ok(Begun::Request(qpack::decode(&payload, limit)?, frames)),
            Some(Frame::Whole { .. } | Frame::Data(_)) => {
                let detail = "a request does not begin with its head";
                return Err(Wrong::Connection(Error {
                    code: Code::FRAME_UNEXPECTED,
                    detail,
                }));
            }
            None => frames.receive(&more(receive).await?),
        }
    }
}

async fn more(receive: &mut RecvStream) -> Result<Vec<u8>, Wrong> {
    let chunk = receive.read_chunk(READ, true).await.map_err(Wrong::Read)?;
    chunk
        .map(|chunk| chunk.bytes.to_vec())
        .ok_or(Wrong::Incomplete)
}

/// The two halves of a stream.
type Halves = (SendStream, RecvStream);

async fn request(
    connection: &Rc<Connection>,
    in_use: InUse,
    fields: Vec<Field>,
    frames: Frames,
    (mut send, mut receive): Halves,
) {
    let worker = &connection.worker;
    let head = match request::head(fields) {
        Ok(head) => head,
        Err(words) => {
            let client = Client::at(connection.place.peer());
            worker.note_refusal("request", words, client);
            return refuse(&mut send, &mut receive, Code::MESSAGE_ERROR);
        }
    };
    let Some(place) = connection.place.another() else {
        worker.note_refused("connections", "too many connections");
        return refuse(&mut send, &mut receive, Code::REQUEST_REJECTED);
    };
    if head.parts.method == Method::CONNECT {
        return connect(connection, in_use, head, frames, (send, receive), place).await;
    }
    let body = match head.parts.method {
        Method::POST => Received::Http3(Box::new(Body::new(receive, frames, head.length))),
        // As over HTTP/2, only bodies of POST are read.
        _ => {
            let _ended = receive.stop(number(Code::NO_ERROR));
            Received::Discarded
        }
    };
    let mut parts = head.parts;
    let target = parts.uri.path_and_query().cloned();
    parts.uri = target.map_or_else(Default::default, Into::into);
    let request = Request::from_parts(parts, body);
    match answer::serve(worker, request, &mut send, place).await {
        Ok(()) => answer::acknowledged(&send, worker.shared.patience()).await,
        Err(error) => {
            if matches!(error, answer::Unsent::Stopped) {
                connection.cancelled();
            }
            tracing::debug!(%error, "an answer was not sent");
        }
    }
    drop(in_use);
}

async fn connect(
    connection: &Rc<Connection>,
    in_use: InUse,
    head: Head,
    frames: Frames,
    (mut send, mut receive): Halves,
    place: Place,
) {
    match head.protocol.as_deref() {
        Some(PROTOCOL) => {
            session::serve(connection, head, frames, (send, receive), place).await;
        }
        Some("websocket") => {
            websocket::open(connection, head, frames, (send, receive), place).await;
        }
        // RFC 9220 §3: 501 for an unknown protocol.
        Some(_) | None => {
            let patience = connection.worker.shared.patience();
            answer::refuse(&mut send, unknown(), patience).await;
            let _ended = receive.stop(number(Code::NO_ERROR));
        }
    }
    drop(in_use);
}

fn unknown() -> Answer {
    let mut answer = bad("CONNECT is served for the protocols websocket and webtransport");
    *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
    answer
}

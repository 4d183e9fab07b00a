//! Answers a request on its stream. A body is polled for more only when the client's windows have room, so
//! that nothing accumulates for a client that does not read.

use std::{
    cell::Cell,
    fmt,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Body,
    header::{
        CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderValue, TRANSFER_ENCODING, UPGRADE,
    },
};
use tokio::time::timeout;

use super::request;
use crate::{
    door::Place,
    http::{self, Answer, Streamed},
    worker::{CountedStream, Streaming, Worker},
};

/// The maximum number of bytes passed to h2 before the client's windows have room for more. 16 KiB: the largest
/// frame that every client accepts (RFC 9113 §4.2).
const PIECE: usize = 16 * 1024;

/// Why an answer was not sent completely.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The stream or its connection has ended.
    Lost(h2::Error),
    /// The client has closed the stream.
    Closed,
    /// The client accepts no data.
    Stalled,
}

impl From<h2::Error> for Unsent {
    fn from(error: h2::Error) -> Self {
        Self::Lost(error)
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => error.fmt(f),
            Self::Closed => f.write_str("the client has closed the stream"),
            Self::Stalled => f.write_str("the client does not read"),
        }
    }
}

/// Answers one request. The place is that of its stream.
pub(super) async fn serve(
    worker: Rc<Worker>,
    (request, held): (Request<RecvStream>, CountedStream),
    mut respond: SendResponse<Bytes>,
    from_proxy: bool,
    place: Place,
) {
    let is_head = *request.method() == Method::HEAD;
    let place = Cell::new(Some(place));
    let answer = match request::received(request, held) {
        Ok(request) => {
            // Boxed, so that a stream of events does not reserve room for it.
            let mut answering = Box::pin(http::answer(&worker, request, from_proxy, &place));
            poll_fn(|cx| {
                // The client, or its connection, is gone: nobody waits for the answer.
                if respond.poll_reset(cx).is_ready() {
                    return Poll::Ready(None);
                }
                answering.as_mut().poll(cx).map(Some)
            })
            .await
        }
        Err(words) => Some(bad(words).map(Either::Left)),
    };
    let Some(answer) = answer else { return };
    if let Err(error) = send(respond, answer, is_head, worker.shared.patience()).await {
        tracing::debug!(%error, "an answer was not sent");
    }
}

/// The answer to an invalid request.
pub(crate) fn bad(words: impl fmt::Display) -> Answer {
    let mut answer = Response::new(Full::from(format!("{words}\n")));
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

/// Sends an answer, without its body if the request is a HEAD. Gives up if the client accepts nothing for
/// `patience`.
pub(super) async fn send(
    mut respond: SendResponse<Bytes>,
    answer: Streamed,
    is_head: bool,
    patience: Duration,
) -> Result<(), Unsent> {
    let (mut head, mut body) = answer.into_parts();
    complete(head.status, &mut head.headers, &body);
    let only_head = is_head || body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(head, ()), only_head)?;
    if only_head {
        return Ok(());
    }
    let sent = send_body(&mut stream, &mut body, patience).await;
    if matches!(sent, Err(Unsent::Stalled)) {
        stream.send_reset(Reason::CANCEL);
    }
    sent
}

async fn send_body(
    stream: &mut SendStream<Bytes>,
    body: &mut Either<Full<Bytes>, Streaming>,
    patience: Duration,
) -> Result<(), Unsent> {
    loop {
        room(stream, patience).await?;
        let Some(mut data) = next(stream, body).await? else {
            return Ok(stream.send_data(Bytes::new(), true)?);
        };
        while data.len() > PIECE {
            stream.send_data(data.split_to(PIECE), false)?;
            room(stream, patience).await?;
        }
        let is_last = body.is_end_stream();
        stream.send_data(data, is_last)?;
        if is_last {
            return Ok(());
        }
    }
}

/// The next data of the body, or `None` at its end.
async fn next(
    stream: &mut SendStream<Bytes>,
    body: &mut Either<Full<Bytes>, Streaming>,
) -> Result<Option<Bytes>, Unsent> {
    poll_fn(|cx| {
        if let Poll::Ready(reset) = stream.poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or_else(Unsent::Lost, |_| Unsent::Closed)));
        }
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        // Neither body fails or has trailers.
        let data = frame.and_then(|frame| frame.ok()?.into_data().ok());
        Poll::Ready(Ok(data))
    })
    .await
}

/// Waits until everything before was sent, and the client's windows have room for at least one byte. It
/// reserves no more than that, because other streams cannot use what an idle stream has reserved of the
/// connection's window.
async fn room(stream: &mut SendStream<Bytes>, patience: Duration) -> Result<(), Unsent> {
    stream.reserve_capacity(1);
    let room = poll_fn(|cx| {
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(Unsent::Lost(error))),
                None => return Poll::Ready(Err(Unsent::Closed)),
            }
        }
        Poll::Ready(Ok(()))
    });
    timeout(patience, room)
        .await
        .unwrap_or(Err(Unsent::Stalled))
}

/// Converts the fields of an answer to those of HTTP/2, which HTTP/3 shares. Over HTTP/1.1, hyper does this.
pub(crate) fn complete(status: StatusCode, headers: &mut HeaderMap, body: &impl Body) {
    // RFC 9113 §8.2.2: a message with fields about the connection is malformed.
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    // RFC 9110 §6.6.1: a server with a clock sends the date.
    let date = httpdate::fmt_http_date(SystemTime::now());
    if let Ok(date) = HeaderValue::from_str(&date) {
        headers.entry(DATE).or_insert(date);
    }
    // RFC 9110 §8.6: not with 204; with 304 it would be the length of the answer to another request.
    let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = body.size_hint().exact().filter(|_| has_body) {
        let length = HeaderValue::from(length);
        headers.entry(CONTENT_LENGTH).or_insert(length);
    }
}

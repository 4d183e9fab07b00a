//! Answers a request on its stream. A body is asked for more only after what it gave before was accepted by
//! QUIC, whose buffer is limited (`http3.send_window`), so that nothing accumulates for a client that does
//! not read.

use std::{cell::Cell, fmt, future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{Method, Request, body::Body as _};
use offhook_http3::{
    Code,
    frame::{DATA, HEADERS, write, write_head},
    qpack,
};
use quinn::{SendStream, WriteError};
use tokio::time::timeout;

use super::connection::number;
use crate::{
    door::Place,
    http::{self, Answer, Received, Streamed},
    http2::complete,
    worker::{Streaming, Worker},
};

/// The size of one DATA frame. 16 KiB: a browser shows what has arrived of a page.
const PIECE: usize = 16 * 1024;

/// Why an answer was not sent completely.
#[derive(Debug)]
pub(super) enum Unsent {
    Lost(WriteError),
    /// The client has stopped the stream.
    Stopped,
    /// The client accepts no data.
    Stalled,
}

impl From<WriteError> for Unsent {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(_) => Self::Stopped,
            WriteError::ConnectionLost(_)
            | WriteError::ClosedStream
            | WriteError::ZeroRttRejected => Self::Lost(error),
        }
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => error.fmt(f),
            Self::Stopped => f.write_str("the client has closed the stream"),
            Self::Stalled => f.write_str("the client does not read"),
        }
    }
}

/// Answers one request.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    request: Request<Received>,
    send: &mut SendStream,
    place: Place,
) -> Result<(), Unsent> {
    let is_head = *request.method() == Method::HEAD;
    let place = Cell::new(Some(place));
    let stopped = send.stopped();
    let answer = tokio::select! {
        // Boxed, so that a stream of events does not reserve room for it.
        answer = Box::pin(http::answer(worker, request, false, &place)) => answer,
        _stopped = stopped => {
            // Nobody waits for the answer.
            let _ended = send.reset(number(Code::REQUEST_CANCELLED));
            return Err(Unsent::Stopped);
        }
    };
    send_answer(send, answer, is_head, worker.shared.patience()).await
}

/// Sends a refusal.
pub(super) async fn refuse(send: &mut SendStream, refusal: Answer, patience: Duration) {
    match send_answer(send, refusal.map(Either::Left), false, patience).await {
        Ok(()) => acknowledged(send, patience).await,
        Err(error) => tracing::debug!(%error, "a refusal was not sent"),
    }
}

/// Waits until the client has acknowledged everything on a finished stream, or has stopped it. As long as it
/// has not, closing the connection would discard what is unsent or has to be sent again.
pub(super) async fn acknowledged(send: &SendStream, patience: Duration) {
    let _late = timeout(patience, send.stopped()).await;
}

/// Sends the head of the answer that accepts a CONNECT; resets the stream if the client does not accept it
/// in time.
pub(super) async fn accept(
    send: &mut SendStream,
    status: u16,
    fields: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    patience: Duration,
) -> Result<(), Unsent> {
    let sent = patiently(patience, send_head(send, status, fields)).await;
    if sent.is_err() {
        let _ended = send.reset(number(Code::REQUEST_CANCELLED));
    }
    sent
}

/// Sends the head of an answer.
async fn send_head(
    send: &mut SendStream,
    status: u16,
    fields: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
) -> Result<(), WriteError> {
    let status = (b":status".to_vec(), status.to_string().into_bytes());
    let section = qpack::encode([status].into_iter().chain(fields));
    let mut bytes = Vec::new();
    write(HEADERS, &section, &mut bytes);
    send.write_all(&bytes).await
}

async fn send_answer(
    send: &mut SendStream,
    answer: Streamed,
    is_head: bool,
    patience: Duration,
) -> Result<(), Unsent> {
    let sent = send_all(send, answer, is_head, patience).await;
    if sent.is_err() {
        let _ended = send.reset(number(Code::REQUEST_CANCELLED));
    }
    sent
}

async fn send_all(
    send: &mut SendStream,
    answer: Streamed,
    is_head: bool,
    patience: Duration,
) -> Result<(), Unsent> {
    let (mut head, mut body) = answer.into_parts();
    complete(head.status, &mut head.headers, &body);
    let fields = head.headers.iter();
    let fields =
        fields.map(|(name, value)| (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec()));
    patiently(patience, send_head(send, head.status.as_u16(), fields)).await?;
    if !is_head {
        while let Some(data) = next(send, &mut body).await? {
            for piece in pieces(data) {
                patiently(patience, send_piece(send, piece)).await?;
            }
        }
    }
    // An error means that the client has stopped the stream, and has all it wants.
    let _ended = send.finish();
    Ok(())
}

/// RFC 9114 §4.1: a client that accepts nothing for so long does not read.
async fn patiently(
    patience: Duration,
    writing: impl Future<Output = Result<(), WriteError>>,
) -> Result<(), Unsent> {
    match timeout(patience, writing).await {
        Ok(written) => Ok(written?),
        Err(_elapsed) => Err(Unsent::Stalled),
    }
}

async fn send_piece(send: &mut SendStream, piece: Bytes) -> Result<(), WriteError> {
    let mut head = Vec::new();
    write_head(DATA, piece.len(), &mut head);
    send.write_all(&head).await?;
    send.write_chunk(piece).await
}

fn pieces(mut data: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = data.len().min(PIECE);
        (length > 0).then(|| data.split_to(length))
    })
}

/// The next data of the body, or none at its end.
async fn next(
    send: &SendStream,
    body: &mut Either<Full<Bytes>, Streaming>,
) -> Result<Option<Bytes>, Unsent> {
    let stopped = send.stopped();
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
    tokio::select! {
        biased;
        // Neither body fails or has trailers.
        frame = frame => Ok(frame.and_then(|frame| frame.ok()?.into_data().ok())),
        _stopped = stopped => Err(Unsent::Stopped),
    }
}

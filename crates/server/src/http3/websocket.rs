//! Opens a WebSocket on a stream (RFC 9220). After that, it is a connection like any other.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::header::ORIGIN;
use offhook::{
    Transport,
    protocol::handshake::{Carrier, ConnectRequest, ServerDecision},
};
use offhook_http3::{
    Code,
    frame::{DATA, Frame, Frames, write_head},
};
use quinn::{RecvStream, SendStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::timeout,
};

use super::{
    answer,
    connection::{Connection, number},
    request::Head,
};
use crate::{
    door::{Place, Upgrade, Way, rejected, upgrade},
    http::{Answer, converted},
    metrics::Answered,
    refused::Client,
    worker::Worker,
};

/// The size of one read. 8 KiB: several packets.
const READ: usize = 8 * 1024;

/// The size of one DATA frame that is written. 16 KiB: its head is 5 bytes.
const PIECE: usize = 16 * 1024;

/// Opens the WebSocket that an extended CONNECT requests, or answers with the refusal.
pub(super) async fn open(
    connection: &Rc<Connection>,
    head: Head,
    frames: Frames,
    (mut send, mut receive): (SendStream, RecvStream),
    mut place: Place,
) {
    let worker = &connection.worker;
    let decided = decide(worker, &head, &mut place, None);
    let status = match &decided {
        Ok(upgrade) => upgrade.response.status(),
        Err(refusal) => refusal.status().as_u16(),
    };
    worker.metrics.answers.count(Answered::WebSocket, status);
    let Upgrade {
        response,
        negotiated,
        guest,
    } = match decided {
        Ok(upgrade) => upgrade,
        Err(refusal) => {
            answer::refuse(&mut send, *refusal, worker.shared.patience()).await;
            let _ended = receive.stop(number(Code::NO_ERROR));
            return;
        }
    };
    let fields = response.headers().iter();
    let fields =
        fields.map(|(name, value)| (name.to_ascii_lowercase().into_bytes(), value.to_vec()));
    let patience = worker.shared.patience();
    if let Err(error) = answer::accept(&mut send, response.status(), fields, patience).await {
        return tracing::debug!(%error, "lost before the WebSocket was open");
    }
    let way = Way {
        negotiated,
        unread: Vec::new(),
    };
    let (alive, ended) = oneshot::channel();
    let acknowledged = send.stopped();
    let stream = Stream {
        send,
        receive,
        frames,
        unread: Bytes::new(),
        head: Vec::new(),
        left: 0,
        is_finished: false,
        alive: Some(alive),
    };
    let peer = connection.quic.remote_address();
    let stream = Transport::boxed(stream).with_peer_addr(Some(peer));
    worker.open(way.into_socket(stream, &worker.settings), guest, place);
    // The stream counts as one of its connection until the WebSocket drops it and the client has
    // acknowledged its end. Before that, closing the connection could discard the Close frame.
    if let Ok(true) = ended.await {
        let _late = timeout(patience, acknowledged).await;
    }
}

/// Accepts the handshake, or returns the answer to an invalid or refused one. `subprotocol`: the one that
/// the client uses without naming it.
pub(super) fn decide(
    worker: &Worker,
    head: &Head,
    place: &mut Place,
    subprotocol: Option<&'static str>,
) -> Result<Upgrade, Box<Answer>> {
    let (uri, headers) = (&head.parts.uri, &head.parts.headers);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let connect = ConnectRequest {
        method: head.parts.method.as_str(),
        protocol: Some("websocket"),
        scheme: uri.scheme_str().unwrap_or_default(),
        authority,
        path: uri.path_and_query().map_or("", |path| path.as_str()),
    };
    let own = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let own = own.filter(|(name, _)| subprotocol.is_none() || !name.starts_with("sec-websocket-"));
    let implied = subprotocol.map(|name| {
        [
            ("sec-websocket-version", &b"13"[..]),
            ("sec-websocket-protocol", name.as_bytes()),
        ]
    });
    let live = worker.live();
    let acceptor = live.handshake(false);
    let fields = own.chain(implied.into_iter().flatten());
    let decision = ServerDecision::from_extended_connect(acceptor, connect, fields);
    let decision = decision.map_err(|rejection| {
        let origin = headers.get(ORIGIN);
        let client = Client {
            peer: Some(place.peer()),
            origin: origin.and_then(|origin| origin.to_str().ok()),
            path: Some(uri.path()),
            ..Client::default()
        };
        let carrier = Carrier::ExtendedConnect;
        Box::new(converted(&rejected(
            worker, &rejection, authority, client, carrier,
        )))
    })?;
    upgrade(worker, decision, place).map_err(|response| Box::new(converted(&response)))
}

/// A stream of bytes in DATA frames.
#[derive(Debug)]
struct Stream {
    send: SendStream,
    receive: RecvStream,
    frames: Frames,
    /// Content that was received and not read.
    unread: Bytes,
    /// What is unsent of the head of a DATA frame.
    head: Vec<u8>,
    /// Bytes of that frame's content that were not written.
    left: usize,
    /// Whether everything was written, and the end said.
    is_finished: bool,
    /// Told `is_finished` once the stream is not used any more.
    alive: Option<oneshot::Sender<bool>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // RFC 9220 §3: a stream that does not end in order is reset. quinn would finish it, and RFC 9114 §7.1
        // has the client close the whole connection if a stream ends within a frame.
        if !self.is_finished {
            let _ended = self.send.reset(number(Code::REQUEST_CANCELLED));
        }
        if let Some(alive) = self.alive.take() {
            // Nobody waits for it once the worker ends.
            let _unheard = alive.send(self.is_finished);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match this.frames.next().map_err(io::Error::other)? {
                Some(Frame::Data(data)) => this.unread = data,
                // Fields after the body mean nothing here.
                Some(Frame::Whole { .. }) => {}
                None => {
                    let mut space = [0; READ];
                    let count = ready!(this.receive.poll_read(cx, &mut space))?;
                    if count == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    this.frames.receive(space.get(..count).unwrap_or_default());
                }
            }
        }
        let count = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl Stream {
    /// Writes what is unsent of the head of a frame.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() {
            let count = ready!(Pin::new(&mut self.send).poll_write(cx, &self.head))?;
            self.head.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.left == 0 {
            // A caller that is told to wait calls again with the same bytes.
            this.left = bytes.len().min(PIECE);
            write_head(DATA, this.left, &mut this.head);
        }
        ready!(this.poll_head(cx))?;
        let piece = bytes.get(..this.left.min(bytes.len())).unwrap_or_default();
        let count = ready!(Pin::new(&mut this.send).poll_write(cx, piece))?;
        this.left = this.left.saturating_sub(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // QUIC sends what it has accepted by itself.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Within a frame it cannot be finished: the drop resets it.
        if this.left == 0 && this.head.is_empty() {
            // An error means that the client has stopped the stream.
            let _ended = this.send.finish();
            this.is_finished = true;
        }
        Poll::Ready(Ok(()))
    }
}

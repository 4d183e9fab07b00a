//! A server's end of a connection: requests in, each with its stream.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use offhook_protocol::handshake::{Carrier, Rejection, Response, ServerConfig, ServerDecision};
use tokio::time::{Instant, Sleep, sleep};

use super::keepalive::Keepalive;
use super::limits::field_list;
use super::{H2Stream, Http2Limits, io_error};
use crate::error::Error;
use crate::parsed::{self, Parsed};
use crate::rewound::Rewound;
use crate::settings::Settings;
use crate::transport::Transport;

/// RFC 9113 §3.4: every connection begins with this.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may stay without a stream. 60 s: a page that comes back finds it still
/// open; who only holds it open pays for a new one.
const IDLE: Duration = Duration::from_secs(60);

/// The requests of one connection. It must be polled, or nothing moves on any of its streams.
pub(crate) struct Streams {
    connection: Connection<Rewound, Bytes>,
    keepalive: Option<Keepalive>,
    idle: Pin<Box<Sleep>>,
    /// Whether a request came since `idle` was set.
    busy: bool,
    /// Whether the connection was told to end.
    stopping: bool,
    ended: bool,
    config: Arc<ServerConfig>,
    settings: Settings,
    peer: Option<SocketAddr>,
}

/// What one stream asks for, and how to answer it.
type StreamRequest = (ServerDecision, Answer);

/// The way back of a stream that waits for its answer. Dropped, it is reset.
#[derive(Debug)]
pub(crate) struct Answer {
    respond: SendResponse<Bytes>,
    receive: RecvStream,
    peer: Option<SocketAddr>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streams(..)")
    }
}

impl Streams {
    /// Begins; `unread` was read already. The first request must come within `timeout`.
    pub(crate) async fn begin(
        transport: Transport,
        unread: Vec<u8>,
        limits: Http2Limits,
        config: Arc<ServerConfig>,
        settings: Settings,
        timeout: Duration,
    ) -> io::Result<Self> {
        let peer = transport.peer_addr();
        let head = field_list(config.limits.bytes, config.limits.headers);
        let handshake = limits
            .server(head)
            .handshake(Rewound::new(transport, unread.into()));
        let mut connection = handshake.await.map_err(io_error)?;
        let keepalive = Keepalive::new(connection.ping_pong(), settings.config.keepalive);
        Ok(Self {
            connection,
            keepalive,
            idle: Box::pin(sleep(timeout)),
            busy: false,
            stopping: false,
            ended: false,
            config,
            settings,
            peer,
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) const fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Takes no more requests; ends when the streams that are open have ended.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.connection.graceful_shutdown();
    }

    /// The next request that is a valid handshake, or why one was none: it was told. `None` when
    /// the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Result<StreamRequest, Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StreamRequest, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(keepalive) = &mut self.keepalive
            && keepalive.poll_dead(cx).is_ready()
        {
            return Poll::Ready(self.end(io::ErrorKind::TimedOut.into()));
        }
        self.poll_idle(cx);
        match ready!(self.connection.poll_accept(cx)) {
            Some(Ok((request, respond))) => {
                self.busy = true;
                Poll::Ready(Some(self.decide(request, respond)))
            }
            // A client that closes its end at our GOAWAY has done what it was asked to.
            Some(Err(error)) if !(self.stopping && error.is_io()) => {
                Poll::Ready(self.end(io_error(error)))
            }
            Some(Err(_)) | None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn end<T>(&mut self, error: io::Error) -> Option<Result<T, Error>> {
        self.ended = true;
        // What streams are left learn of it.
        self.connection.abrupt_shutdown(Reason::NO_ERROR);
        Some(Err(Error::Lost(error)))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) {
        while self.idle.as_mut().poll(cx).is_ready() {
            if !self.busy && !self.connection.has_streams() {
                self.stop();
            }
            self.busy = false;
            self.idle.as_mut().reset(Instant::now() + IDLE);
        }
    }

    fn decide(
        &self,
        request: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
    ) -> Result<StreamRequest, Error> {
        let (head, receive) = request.into_parts();
        let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
        let decided = Parsed::new(&head.method, &head.uri, &head.headers)
            .extended_connect(&self.config, protocol);
        let answer = Answer {
            respond,
            receive,
            peer: self.peer,
        };
        match decided {
            Ok(decision) => Ok((decision, answer)),
            Err(rejection) => {
                // RFC 9110 §9.3.2: a HEAD is answered without a body.
                let bodiless = head.method == http::Method::HEAD;
                answer.reject(&rejection, bodiless).map_err(Error::Lost)?;
                Err(Error::Rejected(rejection))
            }
        }
    }
}

impl Answer {
    /// Says yes: the stream carries frames from now on.
    pub(crate) fn accept(mut self, response: &Response) -> io::Result<Transport> {
        let head = parsed::response(response, ());
        let send = self.respond.send_response(head, false).map_err(io_error)?;
        let stream = H2Stream::new(send, self.receive);
        Ok(Transport::boxed(stream).with_peer_addr(self.peer))
    }

    pub(crate) const fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Says no, for the application's own reasons.
    pub(crate) fn refuse(self, response: &Response) -> io::Result<()> {
        self.say(response, false)
    }

    fn reject(self, rejection: &Rejection, bodiless: bool) -> io::Result<()> {
        self.say(&rejection.response(Carrier::ExtendedConnect), bodiless)
    }

    fn say(mut self, response: &Response, bodiless: bool) -> io::Result<()> {
        let body = response.body();
        let only_head = bodiless || body.is_empty();
        let head = parsed::response(response, ());
        let mut send = self
            .respond
            .send_response(head, only_head)
            .map_err(io_error)?;
        if only_head {
            return Ok(());
        }
        // No window need be waited for: a stream has one answer, and streams are limited.
        send.send_data(Bytes::copy_from_slice(body), true)
            .map_err(io_error)
    }
}

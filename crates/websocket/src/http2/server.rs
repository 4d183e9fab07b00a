//! The server's end of a connection: requests, each with its stream.

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

/// RFC 9113 §3.4: every connection starts with this.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection may stay open without a stream. 60 s: a page that returns finds it still
/// open; a client that holds it open without use has to make a new one.
const IDLE: Duration = Duration::from_secs(60);

/// The requests of one connection. It must be polled for any of its streams to make progress.
pub(crate) struct Streams {
    connection: Connection<Rewound, Bytes>,
    keepalive: Option<Keepalive>,
    idle: Pin<Box<Sleep>>,
    /// Whether a request arrived since `idle` was set.
    busy: bool,
    /// Whether the connection was asked to end.
    stopping: bool,
    ended: bool,
    config: Arc<ServerConfig>,
    settings: Settings,
    peer: Option<SocketAddr>,
}

/// A stream's request, and the handle to answer it.
type StreamRequest = (ServerDecision, Answer);

/// The sending side of a stream that waits for its answer. Dropping it resets the stream.
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
    /// Starts the connection; `unread` was already read. The first request must arrive within
    /// `timeout`.
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

    /// Accepts no more requests, and ends when all open streams have ended.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
        self.connection.graceful_shutdown();
    }

    /// The next valid handshake, or the error of an invalid one, which was answered. `None` when
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
            // A client that closes its end after our GOAWAY has complied.
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
        // The remaining streams learn of it.
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
    /// Accepts: the stream carries frames from now on.
    pub(crate) fn accept(mut self, response: &Response) -> io::Result<Transport> {
        let head = parsed::response(response, ());
        let send = self.respond.send_response(head, false).map_err(io_error)?;
        let stream = H2Stream::new(send, self.receive);
        Ok(Transport::boxed(stream).with_peer_addr(self.peer))
    }

    pub(crate) const fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Rejects for the application's own reasons.
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
        // There is no need to wait for a window: a stream has one answer, and the number of streams
        // is limited.
        send.send_data(Bytes::copy_from_slice(body), true)
            .map_err(io_error)
    }
}

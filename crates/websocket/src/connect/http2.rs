//! WebSockets over HTTP/2 (RFC 8441): the client's end of a connection.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, PingPong, RecvStream};
use http::Uri;
use offhook_protocol::handshake::{
    ClientRequest, ConnectHandshake, ConnectOutcome, HeadLimits, InvalidRequest, Opened, Refused,
    Scheme,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Answered;
use super::builder::{Connect, HttpVersion};
use super::deadline::Deadline;
use super::handshake::BODY_GRACE;
use super::route::Route;
use super::url::Url;
use crate::error::{Error, Phase};
use crate::http2::{H2Stream, Keepalive, field_list, io_error};
use crate::parsed;
use crate::rewound::Rewound;
use crate::socket::WebSocket;
use crate::transport::Transport;

/// An HTTP/2 connection over which many WebSockets can be opened (RFC 8441), up to the number the
/// server allows at once.
///
/// A connection buffers unread data of up to [`Http2Limits::streams`](crate::Http2Limits::streams)
/// WebSockets; for more, another connection to the same server is made. Clones share the
/// connections. A connection closes when all clones and all its WebSockets are gone.
///
/// ```no_run
/// # async fn example() -> Result<(), offhook::Error> {
/// use offhook::Http2;
///
/// let connection = Http2::connect("wss://example.com").await?;
/// let mut chat = connection.open("/chat?room=7").await?;
/// let mut prices = connection.open("/prices").await?;
/// chat.send("hello").await?;
/// let first = prices.recv().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Http2 {
    pool: Arc<Pool>,
    /// The server, and the default options of each request.
    connect: Connect,
    url: Url,
}

/// The connections to one server.
struct Pool {
    members: Mutex<Vec<Member>>,
    /// Locked while another connection is made. `None` if there can be no other one, because the
    /// first was made over an existing stream.
    growing: Option<tokio::sync::Mutex<()>>,
}

/// One connection of the pool.
#[derive(Clone)]
struct Member {
    requests: SendRequest<Bytes>,
    /// One permit for each WebSocket that may be open.
    places: Arc<Semaphore>,
    peer: Option<SocketAddr>,
}

impl Http2 {
    /// Connects, with the defaults of [`Connect`]; see [`Connect::http2`].
    ///
    /// # Errors
    ///
    /// As [`Connect::http2`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with I/O and time.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Connect::to(url).http2().await
    }

    /// Connects over the network, by TLS and ALPN or by prior knowledge.
    pub(super) async fn reach(connect: &Connect) -> Result<Self, Error> {
        let url = connect.url.clone()?;
        let member = Member::reach(connect, &url).await?;
        Ok(Self::with(
            member,
            connect,
            url,
            Some(tokio::sync::Mutex::default()),
        ))
    }

    fn with(
        member: Member,
        connect: &Connect,
        url: Url,
        growing: Option<tokio::sync::Mutex<()>>,
    ) -> Self {
        Self {
            pool: Arc::new(Pool {
                members: Mutex::new(vec![member]),
                growing,
            }),
            connect: connect.clone(),
            url,
        }
    }

    /// Connects over an established stream, with TLS over it if the URL says so.
    pub(super) async fn over(connect: &Connect, transport: Transport) -> Result<Self, Error> {
        let url = connect.url.clone()?;
        let member = Member::over(connect, transport, &url).await?;
        Ok(Self::with(member, connect, url, None))
    }

    /// Opens a WebSocket for this path and query, with the header fields, subprotocols and settings
    /// of the [`Connect`] with which the connection was made.
    ///
    /// While as many are open as the server allows, this waits for one to close, within the
    /// handshake timeout.
    ///
    /// # Errors
    ///
    /// The server refuses, or the connection was lost.
    pub async fn open(&self, target: &str) -> Result<WebSocket, Error> {
        self.open_as(&self.connect, target).await
    }

    /// As [`open`](Self::open), with the header fields, subprotocols, settings and timeouts of
    /// `connect`. Its URL is ignored.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_as(&self, connect: &Connect, target: &str) -> Result<WebSocket, Error> {
        let url = self.url.with_target(target);
        let request = connect.request(&url, true)?;
        let deadline = Deadline::after(connect.timeouts.handshake);
        let (member, place) = self.place(deadline).await?;
        let opened = ask(connect, &member, place, request, &url).await;
        if let Err(Error::Lost(_)) = opened {
            self.pool.forget(&member);
        }
        opened.map(|(socket, _)| socket)
    }

    /// Reserves a stream for one more WebSocket, on another connection if necessary.
    async fn place(&self, deadline: Deadline) -> Result<(Member, OwnedSemaphorePermit), Error> {
        if let Some(placed) = self.pool.place() {
            return Ok(placed);
        }
        let to = self.url.host_and_port();
        let Some(growing) = &self.pool.growing else {
            let waiting = self.pool.wait_for_place();
            return deadline.within(Phase::Handshake, &to, waiting).await;
        };
        let _growing = growing.lock().await;
        if let Some(placed) = self.pool.place() {
            return Ok(placed);
        }
        let member = Member::reach(&self.connect, &self.url).await?;
        let placed = member.place().ok_or_else(lost_connection)?;
        self.pool.members().push(member);
        Ok(placed)
    }
}

fn lost_connection() -> Error {
    Error::Lost(std::io::ErrorKind::NotConnected.into())
}

impl Pool {
    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self) -> Option<(Member, OwnedSemaphorePermit)> {
        self.members().iter().find_map(Member::place)
    }

    async fn wait_for_place(&self) -> Result<(Member, OwnedSemaphorePermit), Error> {
        let member = self
            .members()
            .first()
            .cloned()
            .ok_or_else(lost_connection)?;
        let place = Arc::clone(&member.places).acquire_owned().await;
        place
            .map(|place| (member, place))
            .map_err(|_| lost_connection())
    }

    /// Removes a connection that has ended from the pool.
    fn forget(&self, lost: &Member) {
        self.members()
            .retain(|member| !Arc::ptr_eq(&member.places, &lost.places));
    }
}

impl Member {
    async fn reach(connect: &Connect, url: &Url) -> Result<Self, Error> {
        let deadline = Deadline::after(connect.timeouts.connect);
        let reached = connect
            .route
            .reach_offering(url, &connect.trust, &[HTTP_2], deadline);
        let (transport, is_http2) = reached.await?;
        Self::begin(connect, transport, is_http2, url).await
    }

    async fn over(connect: &Connect, transport: Transport, url: &Url) -> Result<Self, Error> {
        if !url.secure {
            return Self::begin(connect, transport, false, url).await;
        }
        let deadline = Deadline::after(connect.timeouts.connect);
        let encrypted = connect
            .trust
            .encrypt_offering(&url.host, &[HTTP_2], transport, deadline);
        let (transport, is_http2) = encrypted.await?;
        Self::begin(connect, transport, is_http2, url).await
    }

    async fn begin(
        connect: &Connect,
        transport: Transport,
        is_http2: bool,
        url: &Url,
    ) -> Result<Self, Error> {
        if url.secure && !is_http2 {
            return Err(unable(url, "it does not speak HTTP/2"));
        }
        let peer = transport.peer_addr();
        let requests = start(connect, transport, url).await?;
        let places = connect.http2_limits.streams.max(1) as usize;
        Ok(Self {
            requests: requests.ok_or_else(|| unable(url, NOT_ALLOWED))?,
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            peer,
        })
    }

    fn place(&self) -> Option<(Self, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some((self.clone(), place))
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The ALPN name (RFC 9113 §3.2).
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

const NOT_ALLOWED: &str = "its SETTINGS do not allow extended CONNECT (RFC 8441)";

fn unable(url: &Url, reason: &'static str) -> Error {
    Error::Http2 {
        to: url.host_and_port().into(),
        reason,
    }
}

/// Attempts to connect with whichever version is negotiated. `None` if the server supports HTTP/2
/// but not WebSockets over it: then use HTTP/1.1 over another connection.
pub(super) async fn attempt(
    connect: &Connect,
    route: &Route,
    request: &ClientRequest,
    url: &Url,
) -> Result<Option<Answered>, Error> {
    let only = connect.version == HttpVersion::Http2;
    let protocols: &[&[u8]] = if only { &[HTTP_2] } else { &[HTTP_2, HTTP_1_1] };
    let deadline = Deadline::after(connect.timeouts.connect);
    let reached = route.reach_offering(url, &connect.trust, protocols, deadline);
    let (transport, is_http2) = reached.await?;
    if !is_http2 && !only {
        let asked = super::ask(connect, transport, request.clone(), url);
        return asked.await.map(Some);
    }
    match Member::begin(connect, transport, is_http2, url).await {
        Ok(member) => only_one(connect, &member, request.clone(), url)
            .await
            .map(Some),
        Err(Error::Http2 { .. }) if !only => {
            connect.without_http2.store(true, Ordering::Relaxed);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Opens the only WebSocket over an established stream.
pub(super) async fn over_stream(
    connect: &Connect,
    transport: Transport,
) -> Result<Answered, Error> {
    let url = connect.url.clone()?;
    let member = Member::over(connect, transport, &url).await?;
    let request = connect.request(&url, true)?;
    only_one(connect, &member, request, &url).await
}

async fn only_one(
    connect: &Connect,
    member: &Member,
    request: ClientRequest,
    url: &Url,
) -> Result<Answered, Error> {
    let (_, place) = member.place().ok_or_else(lost_connection)?;
    ask(connect, member, place, request, url).await
}

/// Starts a connection and waits for the server's SETTINGS. `None` if they do not allow WebSockets
/// (RFC 8441 §3).
async fn start(
    connect: &Connect,
    transport: Transport,
    url: &Url,
) -> Result<Option<SendRequest<Bytes>>, Error> {
    let deadline = Deadline::after(connect.timeouts.handshake);
    let to = url.host_and_port();
    let start = exchange_settings(connect, transport);
    let (requests, connection, pings) = deadline.within(Phase::Handshake, &to, start).await?;
    if !requests.is_extended_connect_protocol_enabled() {
        return Ok(None);
    }
    let keepalive = Keepalive::new(pings, connect.settings.config.keepalive);
    tokio::spawn(drive(connection, keepalive));
    Ok(Some(requests))
}

type Begun = (
    SendRequest<Bytes>,
    Connection<Rewound, Bytes>,
    Option<PingPong>,
);

async fn exchange_settings(connect: &Connect, transport: Transport) -> Result<Begun, Error> {
    let lost = |error| Error::Lost(io_error(error));
    let head = HeadLimits::default();
    let (requests, mut connection) = connect
        .http2_limits
        .client(field_list(head.bytes, head.headers))
        .handshake(Rewound::new(transport, Bytes::new()))
        .await
        .map_err(lost)?;
    let mut pings = connection.ping_pong();
    if let Some(pings) = &mut pings {
        pings.send_ping(Ping::opaque()).map_err(lost)?;
        // RFC 9113 §3.4: SETTINGS are the first frame a server sends, so they arrived before the
        // pong, which is all that reports them here.
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Ok(())) => {
                let closed = std::io::ErrorKind::UnexpectedEof.into();
                Poll::Ready(Err(Error::Lost(closed)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(lost(error))),
            Poll::Pending => pings.poll_pong(cx).map_err(lost).map_ok(|_| ()),
        })
        .await?;
    }
    Ok((requests, connection, pings))
}

/// Drives the connection until it has ended or is dead. h2 reports its end to every stream.
async fn drive(mut connection: Connection<Rewound, Bytes>, mut keepalive: Option<Keepalive>) {
    poll_fn(|cx| {
        let dead = keepalive
            .as_mut()
            .is_some_and(|keepalive| keepalive.poll_dead(cx).is_ready());
        if dead {
            return Poll::Ready(());
        }
        Pin::new(&mut connection).poll(cx).map(|_ended| ())
    })
    .await;
}

/// Opens a WebSocket over a connection. The permit is held until its stream is gone.
async fn ask(
    connect: &Connect,
    member: &Member,
    place: OwnedSemaphorePermit,
    request: ClientRequest,
    url: &Url,
) -> Result<Answered, Error> {
    let deadline = Deadline::after(connect.timeouts.handshake);
    let scheme = if url.secure {
        Scheme::Https
    } else {
        Scheme::Http
    };
    let handshake = request.extended_connect(scheme);
    let to = url.host_and_port();
    let exchange = exchange(member.requests.clone(), handshake);
    match deadline.within(Phase::Handshake, &to, exchange).await? {
        Outcome::Open(stream, opened) => {
            let transport = Transport::boxed(stream.in_place(place)).with_peer_addr(member.peer);
            let settings = &connect.settings;
            let socket = WebSocket::client(transport, opened.negotiated, &[], settings);
            Ok((socket, opened.headers))
        }
        Outcome::Refused(mut refused, receive) => {
            read_body(&mut refused, receive, deadline).await;
            Err(Error::Refused(refused))
        }
    }
}

enum Outcome {
    Open(H2Stream, Opened),
    Refused(Box<Refused>, RecvStream),
}

async fn exchange(
    requests: SendRequest<Bytes>,
    handshake: ConnectHandshake,
) -> Result<Outcome, Error> {
    let lost = |error| Error::Lost(io_error(error));
    let request = head(&handshake)?;
    let mut requests = requests.ready().await.map_err(lost)?;
    let (response, send) = requests.send_request(request, false).map_err(lost)?;
    let (head, receive) = response.await.map_err(lost)?.into_parts();
    let fields = parsed::fields(&head.headers);
    match handshake.answered(head.status.as_u16(), fields)? {
        ConnectOutcome::Open(opened) => {
            let stream = H2Stream::new(send, receive);
            Ok(Outcome::Open(stream, opened))
        }
        ConnectOutcome::Refused(refused) => Ok(Outcome::Refused(Box::new(refused), receive)),
    }
}

/// RFC 8441 §4: CONNECT with `:protocol`, `:scheme` and `:path`.
fn head(handshake: &ConnectHandshake) -> Result<http::Request<()>, Error> {
    let connect = handshake.request();
    let unfit = || {
        let target = connect.path.to_owned();
        Error::Request(InvalidRequest::Target(target))
    };
    let uri = Uri::builder()
        .scheme(connect.scheme)
        .authority(connect.authority)
        .path_and_query(connect.path)
        .build()
        .map_err(|_| unfit())?;
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::CONNECT;
    *request.uri_mut() = uri;
    *request.headers_mut() = parsed::header_map(handshake.headers());
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    Ok(request)
}

/// Reads the body of a refusal. Errors are ignored: the handshake was refused in any case.
async fn read_body(refused: &mut Refused, mut receive: RecvStream, deadline: Deadline) {
    let body = async {
        while !refused.body_is_complete() {
            let Some(Ok(data)) = receive.data().await else {
                break;
            };
            refused.receive_body(&data);
            let flow = receive.flow_control();
            if flow.release_capacity(data.len()).is_err() {
                break;
            }
        }
        Ok(())
    };
    // Complete or timed out: either way, keep what was received.
    let _ = deadline
        .sooner(BODY_GRACE)
        .within(Phase::Handshake, "", body)
        .await;
}

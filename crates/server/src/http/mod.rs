//! All HTTP requests other than WebSocket handshakes: streams of events, polling, the API, the
//! health report, and the files of the chat, the examples, the dashboard and the client.
//!
//! The handlers do not know which version of HTTP carries a request. [`serve`] passes them the requests
//! of one connection of HTTP/1.1, [`http2`](crate::http2) those of HTTP/2, and [`http3`](crate::http3)
//! those of HTTP/3.

mod admin;
mod api;
mod carried;
mod cors;
mod engine_io;
mod events;
mod files;
mod graphql;
mod health;
mod metrics;
mod once;
mod pusher;
mod received;
mod rpc;

use std::{cell::Cell, convert::Infallible, rc::Rc, sync::Arc};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, ALT_SVC, AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST,
        HeaderName, HeaderValue, LOCATION, ORIGIN, UPGRADE,
    },
    server::conn::http1,
    service::service_fn,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use offhook::protocol::handshake::{
    self, Carrier, Rejection, RequestLine, ServerConfig, ServerDecision,
};
use tokio::task::spawn_local;

pub(crate) use admin::serve as serve_admin;

use crate::{
    auth::Places,
    door::{
        Peer, Place, Rewound, TurnedAway, Upgrade, Way, forwarded_client, has_room,
        origin_explanation, rejected, upgrade,
    },
    metrics::Answered,
    refused::Client,
    worker::{Lease, Streaming, Worker},
};
use api::Problem;
use files::Served;
pub(crate) use received::Received;

pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer that may be a stream.
pub(crate) type Streamed = Response<Either<Full<Bytes>, Streaming>>;

/// The size of hyper's buffer for a connection, in bytes, which is not counted as unsent output.
/// 64 KiB: about one page of history.
const HELD: usize = 64 * 1024;

/// Serves requests on one connection of HTTP/1.1, until it ends or becomes a WebSocket.
/// `from_proxy`: a trusted proxy is at the other end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Rewound, from_proxy: bool, place: Place) {
    let lease = Lease::new(&worker);
    let place = Rc::new(Cell::new(Some(place)));
    let service = {
        let worker = Rc::clone(&worker);
        service_fn(move |request: Request<Incoming>| {
            let (worker, place) = (Rc::clone(&worker), Rc::clone(&place));
            let request = prepared(&worker, request.map(Received::Http1), from_proxy, &place);
            // Not by `answer`: a future within a future makes that of each connection larger.
            async move {
                let answered = respond(&worker, request, &place).await;
                Ok::<_, Infallible>(counted(&worker, from_proxy, answered))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(HELD)
        .header_read_timeout(worker.shared.config.connections.handshake_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut stopping = worker.stopping();
    let served = tokio::select! {
        // First, so that a request that was received before the server stops is answered.
        biased;
        served = connection.as_mut() => served,
        () = stopping.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "http connection lost");
    }
    drop(lease);
}

/// Answers a request of a stream of HTTP/2 or HTTP/3, which has this place.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    request: Request<Received>,
    from_proxy: bool,
    place: &Cell<Option<Place>>,
) -> Streamed {
    let request = prepared(worker, request, from_proxy, place);
    let answered = respond(worker, request, place).await;
    counted(worker, from_proxy, answered)
}

/// Notes who sent the request.
fn prepared(
    worker: &Worker,
    mut request: Request<Received>,
    from_proxy: bool,
    place: &Cell<Option<Place>>,
) -> Request<Received> {
    if from_proxy {
        forward(worker, &mut request, place);
    }
    if let Some(peer) = peer_of(place) {
        request.extensions_mut().insert(peer);
    }
    request
}

fn counted(
    worker: &Worker,
    from_proxy: bool,
    (answered, mut answer): (Answered, Streamed),
) -> Streamed {
    let status = answer.status().as_u16();
    worker.metrics.answers.count(answered, status);
    // RFC 7838 §3: the same resources are available over HTTP/3. A proxy would pass that on, and its clients would
    // go around it.
    if let Some(quic) = worker.shared.quic.as_ref().filter(|_| !from_proxy) {
        answer.headers_mut().insert(ALT_SVC, quic.alt_svc.clone());
    }
    answer
}

/// Marks a request that a trusted proxy sent.
#[derive(Clone, Copy, Debug)]
struct FromProxy;

/// Notes that a trusted proxy sent this request, and for which client. This is done for each
/// request, since a proxy may use one connection for several clients.
fn forward(worker: &Worker, request: &mut Request<Received>, place: &Cell<Option<Place>>) {
    request.extensions_mut().insert(FromProxy);
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let client = forwarded_client(fields, &worker.live().config.proxies);
    if let Some(mut taken) = place.take() {
        client.into_iter().for_each(|client| taken.move_to(client));
        place.set(Some(taken));
    }
}

/// The connection's name in logs.
fn peer_of(place: &Cell<Option<Place>>) -> Option<Peer> {
    let taken = place.take();
    let peer = taken.as_ref().map(Place::peer);
    place.set(taken);
    peer
}

/// The acceptor of handshakes for this request.
fn acceptor(worker: &Worker, request: &Request<Received>) -> Arc<ServerConfig> {
    let from_proxy = request.extensions().get::<FromProxy>().is_some();
    Arc::clone(worker.live().handshake(from_proxy))
}

/// The answer to a request, and what answered it.
async fn respond(
    worker: &Rc<Worker>,
    request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> (Answered, Streamed) {
    if !names_one_host(&request) {
        let words = "Host: exactly one is required";
        let answer = sentence(StatusCode::BAD_REQUEST, words);
        return (Answered::Page, answer.map(Either::Left));
    }
    let path = request.uri().path();
    if path.starts_with(api::PREFIX) {
        let answer = api::serve(worker, request).await;
        return (Answered::Api, answer.map(Either::Left));
    }
    if pusher::is_at(worker, path) {
        let answer = pusher::serve(worker, request).await;
        return (Answered::Api, answer.map(Either::Left));
    }
    if rpc::is_at(worker, &request) {
        let answer = rpc::serve(worker, request, place).await;
        return (Answered::Api, answer.map(Either::Left));
    }
    if graphql::is_at(worker, &request) {
        let answer = graphql::serve(worker, request, place).await;
        return (Answered::Api, answer.map(Either::Left));
    }
    if carried::is_at(path) {
        return (
            Answered::Events,
            carried::serve(worker, request, place).await,
        );
    }
    if engine_io::is_at(worker, path) && !is_handshake(request.headers()) {
        let answer = engine_io::serve(worker, request, place).await;
        return (Answered::Events, answer.map(Either::Left));
    }
    if let Some(form) = events::form(path) {
        let answer = events::serve(worker, &request, form, place).await;
        return (Answered::Events, answer);
    }
    let (answered, answer) = at_once(worker, request, place);
    (answered, answer.map(Either::Left))
}

/// RFC 9112 §3.2: a request without `Host`, or with several, is answered with 400.
fn names_one_host(request: &Request<Received>) -> bool {
    let hosts = request.headers().get_all(HOST).iter().count();
    hosts == 1 || hosts == 0 && request.version() < Version::HTTP_11
}

/// Whether a request wants to become a WebSocket. RFC 9110 §7.8: an upgrade to something else, such as
/// h2c, may be ignored.
fn is_handshake(headers: &HeaderMap) -> bool {
    let wanted = headers.get_all(UPGRADE).iter();
    let wanted = wanted.filter_map(|value| value.to_str().ok());
    let mut names = wanted.flat_map(|value| value.split(','));
    names.any(|name| name.trim().eq_ignore_ascii_case("websocket"))
}

/// Answers a request that nothing has to be waited for.
fn at_once(
    worker: &Rc<Worker>,
    mut request: Request<Received>,
    place: &Cell<Option<Place>>,
) -> (Answered, Answer) {
    // A proxy may send a handshake on a connection that it has used before.
    if is_handshake(request.headers()) {
        return (Answered::WebSocket, upgraded(worker, &mut request, place));
    }
    let path = request.uri().path();
    if path == metrics::PATH {
        return (Answered::Metrics, metrics::with_key(worker, &request));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (Answered::Page, other_methods());
    }
    if worker.shared.routes.is_websocket(path) {
        return (Answered::WebSocket, no_websocket(worker, &request, place));
    }
    let (answered, mut answer) = match path {
        health::PATH => (Answered::Health, health::report(&worker.shared)),
        health::READY => (Answered::Health, health::ready(worker)),
        path => (Answered::Page, page(worker, path, &request)),
    };
    let origin = request.headers().get(ORIGIN);
    let allowed = origin.filter(|_| as_handshake(worker, &request).is_ok());
    cors::let_read(allowed, answer.headers_mut());
    (answered, answer)
}

/// The chat, the examples, the dashboard, the documentation and the client's files. The dashboard is of no use without a
/// key of the HTTP API.
fn page(worker: &Worker, path: &str, request: &Request<Received>) -> Answer {
    let talk = worker.shared.config.talk;
    let served = Served {
        client: true,
        talk,
        dashboard: talk && !worker.shared.auth.api_keys().is_empty(),
        docs: talk,
    };
    match path {
        "/" | "/talk" if talk => redirect("/talk/"),
        "/examples" if talk => redirect("/examples/"),
        "/dashboard" if served.dashboard => redirect("/dashboard/"),
        "/docs" if served.docs => redirect("/docs/"),
        path => files::serve(path, request.headers(), served).unwrap_or_else(|| {
            let there = "nothing is served at this path; available are /sse, /poll, /connection, /healthz, /readyz, /metrics, /talk/, /examples/, /dashboard/, /docs/, /client/ and /api/v1/openapi.json";
            sentence(StatusCode::NOT_FOUND, there)
        }),
    }
}

fn other_methods() -> Answer {
    let mut answer = sentence(
        StatusCode::METHOD_NOT_ALLOWED,
        "only GET and HEAD are served",
    );
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

/// The answer to an ordinary request for a WebSocket's path.
///
/// A browser does not show a page the status of a refused handshake, so `@offhook/client` asks
/// here: a page whose origin may not connect is told its origin and the setting to change.
fn no_websocket(
    worker: &Worker,
    request: &Request<Received>,
    place: &Cell<Option<Place>>,
) -> Answer {
    let mut answer = if let Err(Rejection::OriginDenied { origin }) = as_handshake(worker, request)
    {
        let explanation = origin_explanation(worker, &origin, host(request));
        sentence(StatusCode::FORBIDDEN, &explanation)
    } else if let Err(away) = has_room_at(worker, place) {
        // Otherwise the client would conclude that a proxy refuses its WebSockets.
        events::turned_away(away).answer()
    } else {
        let words = "this is a WebSocket endpoint: connect to it with a WebSocket client";
        let mut answer = sentence(StatusCode::UPGRADE_REQUIRED, words);
        // RFC 9110 §15.5.22: a 426 names what to upgrade to.
        let upgrade = HeaderValue::from_static("websocket");
        answer.headers_mut().insert(UPGRADE, upgrade);
        answer
    };
    // Any page may read it, because it contains only the page's own origin.
    let any = HeaderValue::from_static("*");
    answer
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    answer
}

/// Whether another connection could be opened now.
fn has_room_at(worker: &Worker, place: &Cell<Option<Place>>) -> Result<(), TurnedAway> {
    let Some(mut taken) = place.take() else {
        return Ok(());
    };
    let room = has_room(worker, &mut taken, Places::Request);
    place.set(Some(taken));
    room
}

/// Refuses a request of a page that may not connect, and logs that. Returns the handshake that
/// the client of a permitted request would send.
fn checked(
    worker: &Worker,
    request: &Request<Received>,
    client: Client<'_>,
) -> Result<ServerDecision, Problem> {
    as_handshake(worker, request).map_err(|rejection| {
        let Rejection::OriginDenied { origin } = rejection else {
            worker.note_refusal("request", &rejection, client);
            return Problem::bad(rejection.to_string());
        };
        let explanation = origin_explanation(worker, &origin, host(request));
        worker.note_refusal("origin", &explanation, client);
        Problem::new(StatusCode::FORBIDDEN, "forbidden", explanation)
    })
}

/// The WebSocket handshake that corresponds to a request: from the same page and with the same
/// token. The request is permitted if this handshake would be.
fn as_handshake(worker: &Worker, request: &Request<Received>) -> Result<ServerDecision, Rejection> {
    let target = request.uri().to_string();
    let line = RequestLine {
        method: "GET",
        target: &target,
        version: (1, 1),
    };
    let handshake: [(&str, &[u8]); 4] = [
        ("connection", b"Upgrade"),
        ("upgrade", b"websocket"),
        ("sec-websocket-version", b"13"),
        ("sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let own = request.headers().iter().filter(|(name, _)| {
        matches!(**name, HOST | ORIGIN | AUTHORIZATION | COOKIE)
            || ["sec-fetch-site", "x-forwarded-proto", "forwarded"].contains(&name.as_str())
    });
    let own = own.map(|(name, value)| (name.as_str(), value.as_bytes()));
    ServerDecision::from_parsed(&acceptor(worker, request), line, own.chain(handshake))
}

/// Handles a handshake that hyper has read.
fn upgraded(
    worker: &Rc<Worker>,
    request: &mut Request<Received>,
    place: &Cell<Option<Place>>,
) -> Answer {
    let target = request.uri().to_string();
    let connection = RequestLine {
        method: request.method().as_str(),
        target: &target,
        version: (1, u8::from(request.version() >= Version::HTTP_11)),
    };
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
    let decision = match ServerDecision::from_parsed(&acceptor(worker, request), connection, fields)
    {
        Ok(decision) => decision,
        Err(rejection) => {
            let client = client_of(request);
            let rejected = rejected(worker, &rejection, host(request), client, Carrier::Upgrade);
            return converted(&rejected);
        }
    };
    let Some(mut taken) = place.take() else {
        return sentence(
            StatusCode::BAD_REQUEST,
            "this connection is already a WebSocket",
        );
    };
    match upgrade(worker, decision, &mut taken) {
        Ok(Upgrade {
            response,
            negotiated,
            guest,
        }) => {
            let worker = Rc::clone(worker);
            let on_upgrade = hyper::upgrade::on(request);
            spawn_local(async move {
                let lease = Lease::new(&worker);
                if let Some((stream, unread)) = given_up(on_upgrade).await {
                    let way = Way { negotiated, unread };
                    worker.open(way.into_socket(stream, &worker.settings), guest, taken);
                }
                drop(lease);
            });
            converted(&response)
        }
        Err(response) => {
            place.set(Some(taken));
            converted(&response)
        }
    }
}

/// The host that a request names.
fn host(request: &Request<Received>) -> &str {
    let host = request.headers().get(HOST);
    host.and_then(|host| host.to_str().ok()).unwrap_or_default()
}

/// What is known about the client that sent a request.
fn client_of(request: &Request<Received>) -> Client<'_> {
    let origin = request.headers().get(ORIGIN);
    Client {
        peer: request.extensions().get::<Peer>().copied(),
        origin: origin.and_then(|origin| origin.to_str().ok()),
        path: Some(request.uri().path()),
        ..Client::default()
    }
}

/// The stream released by hyper, unwrapped, and the bytes that hyper has already read.
async fn given_up(on_upgrade: OnUpgrade) -> Option<(crate::door::Stream, Vec<u8>)> {
    let upgraded: Upgraded = on_upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Rewound>>().ok()?;
    let (stream, unread) = parts.io.into_inner().into_parts();
    Some((stream, [&*parts.read_buf, &*unread].concat()))
}

/// Converts the handshake's answer for hyper, or for h2.
pub(crate) fn converted(response: &handshake::Response) -> Answer {
    let mut answer = Response::new(Full::from(response.body().to_vec()));
    let status = StatusCode::from_u16(response.status());
    *answer.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in response.headers().iter() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

fn redirect(to: &'static str) -> Answer {
    let mut answer = sentence(StatusCode::FOUND, to);
    answer
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static(to));
    answer
}

/// An answer with a sentence as its body.
fn sentence(status: StatusCode, words: &str) -> Answer {
    let mut answer = Response::new(Full::from(format!("{words}\n")));
    *answer.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, text);
    answer
}

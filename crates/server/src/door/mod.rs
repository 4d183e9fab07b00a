//! Accepts connections: admission, reading the request, and routing. A WebSocket over HTTP/1.1 uses its
//! socket without wrappers; other requests are served by hyper, and HTTP/2 by [`http2`].

mod admin;
mod admission;
mod echo;
mod entrance;
mod forwarded;
mod head;
mod hosts;
mod listening;
mod origins;
mod proxy_protocol;
mod pusher;
mod raw_head;
mod rooms;
mod routes;
mod stream;
mod streams;
mod tls;
mod upgrade;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use offhook::protocol::handshake::{Carrier, Refusal, Response};
use tokio::{
    io::AsyncWriteExt,
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{
    http, http2,
    refused::Client,
    worker::{Arriving, Worker},
};
pub(crate) use admission::{Admission, Peer, Place};
pub(crate) use entrance::Entrance;
pub(crate) use forwarded::client as forwarded_client;
use head::Heard;
pub(crate) use hosts::is_known as is_known_host;
pub(crate) use listening::{Listener, SocketFile, ensure_free, listen, listen_unix};
pub(crate) use origins::{explanation as origin_explanation, rejected};
pub(crate) use pusher::Apps;
use raw_head::RawHead;
pub(crate) use rooms::rooms;
pub use routes::OverEngineIo;
#[cfg(test)]
pub(crate) use routes::Spoken;
pub(crate) use routes::{Routes, graphql_settings, speak_over_engine_io};
pub(crate) use stream::{Rewound, Stream};
pub(crate) use tls::Certificates;
pub(crate) use upgrade::{TurnedAway, Upgrade, Way, admit_request, approach, has_room, upgrade};

/// How long to wait after an error of `accept` that does not concern a single connection, such as a
/// lack of descriptors. The cause persists, and retrying immediately would use a whole core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The protocol of the clients that connect to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP and WebSockets.
    Http,
    /// A dialect without HTTP.
    Stream(Streamed),
    /// HTTP of operators.
    Admin,
}

/// A dialect that clients also speak without HTTP, over a stream of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Streamed {
    Mqtt,
    Stomp,
}

/// Accepts until the worker stops.
pub(crate) async fn accept(worker: Rc<Worker>, entrance: Arc<Entrance>, listener: Listener) {
    let streamed = match entrance.door {
        Door::Admin => return admin::accept(worker, entrance, listener).await,
        Door::Http => None,
        Door::Stream(dialect) => Some(dialect),
    };
    let mut stopping = worker.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.begun() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = worker.shared.admission.take(counted_as(address)) else {
                    // Closed without reading: there are too many connections to answer.
                    worker.note_refused("connections", "too many connections");
                    continue;
                };
                let worker = Rc::clone(&worker);
                let arrived = Arrived {
                    entrance: Arc::clone(&entrance),
                    stream,
                    address,
                    place,
                };
                match streamed {
                    None => drop(spawn_local(receive(worker, arrived))),
                    Some(dialect) => {
                        drop(spawn_local(streams::receive(worker, dialect, arrived)));
                    }
                }
            }
            Err(error) => {
                worker.note_refused("accept", &error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that was accepted.
struct Arrived {
    entrance: Arc<Entrance>,
    stream: Stream,
    /// The address of its other end; none on a Unix socket.
    address: Option<SocketAddr>,
    place: Place,
}

/// The address under which a connection is counted and logged. One on a Unix socket comes from this
/// machine.
fn counted_as(address: Option<SocketAddr>) -> IpAddr {
    address.map_or(Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

/// Notes the user whose certificate the client has presented.
fn identify(worker: &Worker, stream: &Stream, place: &mut Place) {
    if let Some(certificate) = stream.certificate()
        && let Some(identity) = worker.shared.auth.certified(certificate)
    {
        place.certify(identity);
    }
}

/// Reads a client's request and passes the connection on.
async fn receive(worker: Rc<Worker>, mut arrived: Arrived) {
    let _arriving = Arriving::new(&worker);
    let Some(from_proxy) = proxied(&worker, &mut arrived).await else {
        return;
    };
    let Arrived {
        entrance,
        stream,
        address,
        mut place,
    } = arrived;
    // TLS costs more than everything after it, so excess connections are closed before it. Without
    // TLS, they get a 503 that says when to return.
    if entrance.tls.is_some() && !place.handshake(Instant::now()) {
        let client = Client::at(place.peer());
        return worker.note_refusal("handshakes", "too many handshakes at once", client);
    }
    stream.send_at_once();
    let within = worker.shared.config.connections.handshake_timeout;
    let heard = timeout(within, async {
        let mut stream = entrance.accept_tls(stream).await?;
        identify(&worker, &stream, &mut place);
        let live = worker.live();
        let http2 = worker.shared.config.http2.enabled;
        let heard = head::hear(&mut stream, live.handshake(from_proxy), http2).await?;
        io::Result::Ok((stream, heard))
    });
    match Box::pin(heard).await {
        Ok(Ok((stream, heard))) => show(worker, stream, heard, from_proxy, place).await,
        Ok(Err(error)) if Entrance::is_about_certificate(&error) => {
            worker.note_refusal("certificate", &error, Client::at(place.peer()));
        }
        Ok(Err(error)) => tracing::debug!(?address, %error, "lost before the request was complete"),
        Err(_) => {
            let client = Client::at(place.peer());
            worker.note_refusal("handshake_timeout", "the handshake took too long", client);
        }
    }
}

/// Whether the peer is a trusted proxy. If the PROXY protocol is configured, its header is read
/// first; none if it is invalid.
async fn proxied(worker: &Worker, arrived: &mut Arrived) -> Option<bool> {
    let live = worker.live();
    let other = arrived
        .entrance
        .other(arrived.address, &live.config.proxies);
    if !other.has_proxy_protocol {
        return Some(other.is_proxy);
    }
    let Arrived { stream, place, .. } = arrived;
    let within = worker.shared.config.connections.handshake_timeout;
    let read = timeout(within, proxy_protocol::read(stream)).await;
    match read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(client) => {
            if let Some(client) = client {
                place.move_to(client);
            }
            Some(true)
        }
        Err(error) => {
            worker.note_refusal("proxy", &error, Client::at(place.peer()));
            None
        }
    }
}

async fn show(
    worker: Rc<Worker>,
    mut stream: Stream,
    heard: Heard,
    from_proxy: bool,
    mut place: Place,
) {
    if let Heard::WebSocket(decision, _) = &heard
        && from_proxy
    {
        let fields = decision.request().headers().iter();
        let client = forwarded::client(fields, &worker.live().config.proxies);
        client.into_iter().for_each(|client| place.move_to(client));
    }
    let response = match heard {
        Heard::Http(unread) => {
            let stream = Rewound::new(stream, unread, worker.shared.patience());
            return Box::pin(http::serve(worker, stream, from_proxy, place)).await;
        }
        Heard::Http2(unread) => {
            let stream = Rewound::new(stream, unread, worker.shared.patience());
            return Box::pin(http2::serve(worker, stream, from_proxy, place)).await;
        }
        Heard::Rejected(rejection, head) => {
            let head = RawHead::of(&head);
            let client = head.client(place.peer());
            rejected(&worker, &rejection, head.host(), client, Carrier::Upgrade)
        }
        Heard::WebSocket(decision, unread) => match upgrade(&worker, *decision, &mut place) {
            Ok(Upgrade {
                response,
                negotiated,
                guest,
            }) => {
                if say(&mut stream, response).await.is_ok() {
                    let way = Way { negotiated, unread };
                    worker.open(way.into_socket(stream, &worker.settings), guest, place);
                }
                return;
            }
            Err(response) => response,
        },
    };
    if say(&mut stream, response).await.is_ok() {
        // It does not matter whether the client receives the end of the stream.
        let _ended = stream.shutdown().await;
    }
}

async fn say(stream: &mut Stream, response: Response) -> io::Result<()> {
    stream.write_all(&response.into_bytes()).await?;
    stream.flush().await
}

/// A refusal with a sentence as its body.
fn refusal(status: u16, sentence: &str) -> Refusal {
    let refusal = Refusal::new(status).expect("every status here is one of HTTP's final ones");
    refusal.body(format!("{sentence}\n"))
}

//! HTTP/2: requests and WebSockets (RFC 8441) on the streams of one connection.
//!
//! ```text
//!                                     ┌─▶ request ─▶ http::answer ─▶ answer::send    (a task each)
//! socket ─▶ Watched ─▶ h2 ─▶ serve ───┤
//!           counts frames             └─▶ extended CONNECT ─▶ door::upgrade ─▶ Worker::open
//! ```
//!
//! h2 implements frames, header compression and flow control, and ends connections that abuse them. What
//! it does not limit over time, [`Meter`](flood::Meter) counts. Each stream has a place of its own among
//! the connections that the server admits, in addition to that of its connection.
//!
//! Requests are handled, and WebSockets are opened, by the same code as over HTTP/1.1: this module only
//! converts streams to what that code expects.

mod answer;
mod connection;
mod flood;
mod request;
mod watched;
mod websocket;

use std::rc::Rc;

use h2::Reason;
use hyper::Method;
use tokio::task::spawn_local;

pub(crate) use answer::{bad, complete};
pub(crate) use request::{join_cookies, name_host};

use crate::{
    door::{Place, Rewound},
    refused::Client,
    worker::{CountedStream, Lease, Worker},
};
use connection::{Connection, End, Stream};

/// Serves one connection until it ends. `from_proxy`: a trusted proxy is at the other end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Rewound, from_proxy: bool, place: Place) {
    let lease = Lease::new(&worker);
    let (config, unread) = (&worker.shared.config, worker.unread.enter());
    match Connection::begin(config, stream, from_proxy, unread).await {
        Ok(connection) => serve_streams(&worker, connection, from_proxy, &place).await,
        Err(error) => tracing::debug!(%error, "lost before HTTP/2 was agreed on"),
    }
    // In this order: the connection counts as open until nothing refers to it any more.
    drop((place, lease));
}

async fn serve_streams(
    worker: &Rc<Worker>,
    mut connection: Connection,
    from_proxy: bool,
    place: &Place,
) {
    let mut stopping = worker.stopping();
    loop {
        let next = tokio::select! {
            () = stopping.begun(), if connection.is_open() => {
                connection.leave();
                continue;
            }
            next = connection.next() => next,
        };
        match next {
            Ok(Some((mut request, respond))) => {
                let held = connection.unread().hold(request.body_mut());
                begin(worker, (request, respond), held, from_proxy, place);
            }
            Ok(None) => return,
            // The connection tells the client why, and ends then.
            Err(End::Flood(flood)) => {
                worker.note_refusal("http2", flood, Client::at(place.peer()));
            }
            // What was cut is counted and logged where memory is measured.
            Err(End::Cut) => {}
            Err(End::Lost(error)) => {
                if is_abuse(&error) {
                    worker.note_refusal("http2", &error, Client::at(place.peer()));
                }
                tracing::debug!(%error, "connection of HTTP/2 lost");
                return;
            }
        }
    }
}

/// Starts to serve a client's request on a stream.
fn begin(
    worker: &Rc<Worker>,
    (request, mut respond): Stream,
    held: CountedStream,
    from_proxy: bool,
    place: &Place,
) {
    let Some(place) = place.another() else {
        // As a connection that is not even read: there are too many to answer. RFC 9113 §8.7: a request
        // that was refused in this way was not processed, and can be repeated.
        worker.note_refused("connections", "too many connections");
        return respond.send_reset(Reason::REFUSED_STREAM);
    };
    if *request.method() == Method::CONNECT {
        return websocket::open(worker, (request, held), respond, from_proxy, place);
    }
    let worker = Rc::clone(worker);
    drop(spawn_local(answer::serve(
        worker,
        (request, held),
        respond,
        from_proxy,
        place,
    )));
}

/// Whether the connection ended because one of h2's limits was exceeded.
fn is_abuse(error: &h2::Error) -> bool {
    error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

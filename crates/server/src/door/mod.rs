//! Accepting connections: admission, reading the request, and routing. A WebSocket becomes a
//! connection without wrappers; everything else is served by hyper.

mod admission;
mod head;
mod hosts;
mod listening;
mod mqtt;
mod origins;
mod routes;
mod stream;
mod tls;
mod upgrade;

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use offhook::protocol::handshake::{Refusal, Response};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::{sleep, timeout},
};

use crate::{http, worker::Worker};
pub(crate) use admission::{Admission, Place};
use head::Heard;
pub(crate) use listening::{ensure_free, listen};
pub(crate) use origins::{explanation as origin_explanation, rejected};
#[cfg(test)]
pub(crate) use routes::Spoken;
pub(crate) use routes::{Routes, speak_socketio};
pub(crate) use stream::{Rewound, Stream};
pub(crate) use tls::acceptor as tls_acceptor;
pub(crate) use upgrade::{TurnedAway, Upgrade, Way, admit_request, approach, has_room, upgrade};

/// How long to wait after an error of accept that does not concern one connection, such as running
/// out of descriptors: the cause persists, and retrying at once would use a whole core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What clients speak that come to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP, and WebSockets by it; over TLS if the server has a certificate.
    Http,
    /// MQTT over TCP.
    Mqtt,
    /// MQTT over TLS.
    MqttTls,
}

/// Accepts until the worker stops.
pub(crate) async fn accept(worker: Rc<Worker>, door: Door, listener: TcpListener) {
    let mut stopping = worker.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.begun() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(place) = worker.shared.admission.take(address.ip()) else {
                    // Not even read: there are too many to answer.
                    worker.note_refused("connection", "too many connections");
                    continue;
                };
                let worker = Rc::clone(&worker);
                match door {
                    Door::Http => drop(spawn_local(receive(worker, stream, address, place))),
                    Door::Mqtt | Door::MqttTls => {
                        drop(spawn_local(mqtt::receive(worker, door, stream, place)));
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

/// Reads a client's request and passes the connection on.
async fn receive(worker: Rc<Worker>, stream: TcpStream, address: SocketAddr, mut place: Place) {
    // TLS costs more than everything after it, so excess connections are closed before it. Without
    // TLS the answer is a 503, which says when to return.
    if worker.shared.tls.is_some() && !place.handshake(Instant::now()) {
        return worker.note_refused("handshakes", "too many handshakes at once");
    }
    // An error of the client's socket will be noticed by reading from it.
    let _best_effort = stream.set_nodelay(true);
    let within = worker.shared.config.connections.handshake_timeout;
    let heard = timeout(within, async {
        let mut stream = worker.shared.accept_tls(stream).await?;
        let heard = head::hear(&mut stream, &worker.handshake).await?;
        io::Result::Ok((stream, heard))
    });
    match Box::pin(heard).await {
        Ok(Ok((stream, heard))) => show(worker, stream, heard, place).await,
        Ok(Err(error)) => tracing::debug!(%address, %error, "lost before the request was complete"),
        Err(_) => worker.note_refused("handshake", "it timed out"),
    }
}

async fn show(worker: Rc<Worker>, mut stream: Stream, heard: Heard, mut place: Place) {
    let response = match heard {
        Heard::Http(unread) => {
            let keepalive = &worker.shared.config.keepalive;
            // As long as a WebSocket whose client does not answer.
            let patience = keepalive.interval.unwrap_or_default() + keepalive.pong_timeout;
            let stream = Rewound::new(stream, unread, patience);
            return Box::pin(http::serve(worker, stream, place)).await;
        }
        Heard::Rejected(rejection) => rejected(&worker, &rejection),
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
        // It does not matter whether the client also receives the end of the stream.
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

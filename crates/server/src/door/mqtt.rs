//! Connections of MQTT clients without HTTP, over TCP or TLS.

use std::{io, rc::Rc, time::Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};

use super::{Door, Place, Stream, routes::speak_mqtt};
use crate::worker::{Approach, Guest, Pressure, Worker};

/// A client of 3.1.1 may have no keep-alive, and MQTT has no pings of the server: the system notices
/// that such a client is gone.
fn notice_dead_peers(worker: &Worker, stream: &TcpStream) {
    if let Some(interval) = worker.shared.config.keepalive.interval {
        let keepalive = TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval);
        let _best_effort = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Accepts TLS if it is configured for this listener, and passes on the connection.
pub(super) async fn receive(worker: Rc<Worker>, door: Door, stream: TcpStream, mut place: Place) {
    // Before its CONNECT, a client cannot be sent anything.
    if place.is_over() {
        return worker.note_refused("connections", "the server has reached its limit");
    }
    if worker.shared.memory.pressure() >= Pressure::Severe {
        return worker.note_refused("memory", "it is taken by the connections that there are");
    }
    if !place.handshake(Instant::now()) {
        return worker.note_refused("handshakes", "too many come at once");
    }
    // An error of the client's socket will be noticed by reading from it.
    let _best_effort = stream.set_nodelay(true);
    notice_dead_peers(&worker, &stream);
    let within = worker.shared.config.connections.handshake_timeout;
    let accepted = timeout(within, async {
        match door {
            Door::MqttTls => worker.shared.accept_tls(stream).await,
            Door::Mqtt | Door::Http => io::Result::Ok(Stream::Plain(stream)),
        }
    });
    match Box::pin(accepted).await {
        Ok(Ok(stream)) => {
            let backend = worker.shared.backend.as_ref();
            let asks = backend.is_some_and(|backend| backend.asks_about_clients());
            let guest = Guest {
                speaker: speak_mqtt(&worker.shared.config),
                identity: None,
                approach: asks.then(|| {
                    Box::new(Approach {
                        token: None,
                        origin: None,
                        address: Some(place.address()),
                    })
                }),
            };
            worker.open_stream(stream, guest, place);
        }
        Ok(Err(error)) => tracing::debug!(%error, "lost before TLS was accepted"),
        Err(_) => worker.note_refused("handshake", "it timed out"),
    }
}

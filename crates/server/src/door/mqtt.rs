//! Connections of MQTT clients without HTTP, over TCP or TLS.

use std::{io, net::SocketAddr, rc::Rc, time::Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};

use super::{Door, Place, Stream, proxied, routes::speak_mqtt};
use crate::refused::Client;
use crate::worker::{Approach, Guest, Pressure, Worker};

/// Enables TCP keepalive. A client may have disabled MQTT's keep-alive, and in MQTT, servers send
/// no pings.
fn notice_dead_peers(worker: &Worker, stream: &TcpStream) {
    if let Some(interval) = worker.shared.config.keepalive.interval {
        let keepalive = TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval);
        let _best_effort = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Accepts TLS if it is configured for this listener, and passes on the connection.
pub(super) async fn receive(
    worker: Rc<Worker>,
    door: Door,
    mut stream: TcpStream,
    address: SocketAddr,
    mut place: Place,
) {
    if proxied(&worker, &mut stream, address, &mut place)
        .await
        .is_none()
    {
        return;
    }
    let client = Client::at(place.peer());
    let refuse = |kind, why: &str| worker.note_refusal(kind, why, client);
    // Nothing can be sent to a client before its CONNECT.
    if place.is_over() {
        return refuse("connections", "the server has reached its limit");
    }
    if worker.shared.memory.pressure() >= Pressure::Severe {
        return refuse("memory", "it is taken by the connections that there are");
    }
    if !place.handshake(Instant::now()) {
        return refuse("handshakes", "too many come at once");
    }
    // An error of the client's socket will be noticed by reading from it.
    let _best_effort = stream.set_nodelay(true);
    notice_dead_peers(&worker, &stream);
    let within = worker.shared.config.connections.handshake_timeout;
    let accepted = timeout(within, async {
        match door {
            Door::MqttTls => worker.shared.accept_tls(stream).await,
            Door::Mqtt | Door::Http | Door::Admin => io::Result::Ok(Stream::Plain(stream)),
        }
    });
    match Box::pin(accepted).await {
        Ok(Ok(stream)) => {
            let backend = worker.shared.backend.as_ref();
            let asks = backend.is_some_and(|backend| backend.asks_about_clients());
            let guest = Guest {
                speaker: speak_mqtt(&worker.shared.config),
                identity: None,
                peer: Some(place.peer()),
                approach: asks.then(|| {
                    Box::new(Approach {
                        token: None,
                        origin: None,
                        address: Some(place.address()),
                    })
                }),
                upgrades: None,
            };
            worker.open_stream(stream, guest, place);
        }
        Ok(Err(error)) => tracing::debug!(%error, "lost before TLS was accepted"),
        Err(_) => refuse("handshake_timeout", "accepting TLS took too long"),
    }
}

//! Connections without HTTP, over TCP or TLS, of clients whose dialect allows it.

use std::{rc::Rc, time::Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::time::timeout;

use super::{
    Arrived, Entrance, Stream, Streamed, identify, proxied,
    routes::{Beats, speak_mqtt, speak_stomp},
};
use crate::refused::Client;
use crate::worker::{Approach, Arriving, Guest, Pressure, Worker, now};

/// Enables TCP keepalive. A client may have disabled the keep-alive of MQTT or the heart-beats of
/// STOMP, and in neither of them servers send pings.
fn notice_dead_peers(worker: &Worker, stream: &Stream) {
    if let Stream::Plain(stream) = stream
        && let Some(interval) = worker.shared.config.keepalive.interval
    {
        let keepalive = TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval);
        let _best_effort = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    }
}

/// Accepts TLS if it is configured for this listener, and passes on the connection.
pub(super) async fn receive(worker: Rc<Worker>, dialect: Streamed, mut arrived: Arrived) {
    let _arriving = Arriving::new(&worker);
    if proxied(&worker, &mut arrived).await.is_none() {
        return;
    }
    let Arrived {
        entrance,
        stream,
        mut place,
        ..
    } = arrived;
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
    stream.send_at_once();
    notice_dead_peers(&worker, &stream);
    let within = worker.shared.config.connections.handshake_timeout;
    let accepted = timeout(within, entrance.accept_tls(stream));
    match Box::pin(accepted).await {
        Ok(Ok(stream)) => {
            identify(&worker, &stream, &mut place);
            let backend = worker.shared.backend.as_ref();
            let asks = backend.is_some_and(|backend| backend.asks_about_clients());
            let guest = Guest {
                speaker: match dialect {
                    Streamed::Stomp => speak_stomp(&worker.shared.config, Beats::Enforced),
                    Streamed::Mqtt => speak_mqtt(&worker.shared.config),
                },
                identity: place.certified(now().unix_ms),
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
        Ok(Err(error)) if Entrance::is_about_certificate(&error) => {
            refuse("certificate", &error.to_string());
        }
        Ok(Err(error)) => tracing::debug!(%error, "lost before TLS was accepted"),
        Err(_) => refuse("handshake_timeout", "accepting TLS took too long"),
    }
}

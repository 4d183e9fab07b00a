//! The upgrade of a polled connection to a WebSocket: the client first tries the WebSocket, which
//! is then passed to the worker that has the connection.

use std::rc::Rc;

use offhook::{Message, WebSocket, protocol::CloseCode};
use offhook_dialects::socketio::packet::Engine;
use tokio::{sync::oneshot, time::timeout};

use super::{CarriedId, Carry};
use crate::{
    door::Place,
    worker::{Worker, stopping::Lease},
};

const PROBE: &str = "probe";

/// Tries a WebSocket until the client upgrades to it.
pub(super) async fn probe(worker: Rc<Worker>, id: CarriedId, mut socket: WebSocket, place: Place) {
    let lease = Lease::new(&worker);
    // The client may know an id that is no longer valid, or that of a connection that was upgraded, or
    // is being upgraded to another WebSocket.
    if !claims(&worker, id).await {
        let reason = "unknown session, or upgraded to another WebSocket";
        // The result of closing does not matter.
        let _closed = socket.close(CloseCode::POLICY_VIOLATION, reason).await;
        return;
    }
    let within = worker.shared.config.connections.connect_timeout;
    let upgrades = timeout(within, until_upgrade(&worker, id, &mut socket)).await;
    if upgrades.unwrap_or(false) {
        let (socket, place) = (Box::new(socket), Box::new(place));
        worker.carry(id, Carry::Upgrade { socket, place });
    } else {
        worker.carry(id, Carry::ProbeFailed);
        // The result of closing does not matter.
        let _closed = socket
            .close(CloseCode::POLICY_VIOLATION, "no upgrade")
            .await;
    }
    drop(lease);
}

async fn claims(worker: &Worker, id: CarriedId) -> bool {
    let (done, known) = oneshot::channel();
    worker.carry(id, Carry::Claim { done });
    known.await.is_ok()
}

/// Waits until the client upgrades or gives up; true if it upgrades.
async fn until_upgrade(worker: &Worker, id: CarriedId, socket: &mut WebSocket) -> bool {
    while let Ok(Some(Message::Text(text))) = socket.recv().await {
        let packet = Engine::read(&text);
        if packet == Ok(Engine::Upgrade) {
            return true;
        }
        if packet != Ok(Engine::Ping(PROBE)) {
            return false;
        }
        let (done, known) = oneshot::channel();
        worker.carry(id, Carry::Probe { done });
        if known.await.is_err() || socket.send(Engine::Pong(PROBE).write()).await.is_err() {
            return false;
        }
    }
    false
}

//! Hands out more to a connection that is catching up, whenever its outbox has room.

use std::rc::Rc;

use offhook_engine::ConnectionId;

use super::{Worker, outlet::Outlet};

/// Hands out more until the connection wants no more. This task exists only while a connection is
/// behind.
pub(super) async fn refill(worker: Rc<Worker>, connection: ConnectionId, outlet: Outlet) {
    // An error means that the connection is closing, which the connection's own task reports to the
    // engine.
    while outlet.room().await.is_ok() {
        // Half of the outbox, so that live publications have room.
        let half = worker.state.borrow().outboxes.bound() / 2;
        let grant = half.saturating_sub(outlet.unsent()).max(half / 4);
        let more = worker.turn(|engine, _| {
            let wants = engine.wants_writable(connection);
            if wants {
                engine.handle_writable(connection, grant);
            }
            wants
        });
        if !more {
            break;
        }
    }
    worker.state.borrow_mut().outboxes.end_refill(connection);
}

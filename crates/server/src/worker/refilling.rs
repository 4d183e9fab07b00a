//! A connection that was too slow, or catches up, is handed out more whenever its outbox has room.

use std::rc::Rc;

use offhook::Sender;
use offhook_engine::ConnectionId;

use super::Worker;

/// Hands out more until the connection wants no more. There is one of these only while a connection is behind.
pub(super) async fn refill(worker: Rc<Worker>, connection: ConnectionId, sender: Sender) {
    // Half of the outbox: what is live meanwhile has room beside it.
    let half = worker.shared.config.messages.outbox_bytes / 2;
    // Without room it is closing: the engine hears of that by the connection's own task.
    while sender.room().await.is_ok() {
        let grant = half.saturating_sub(sender.buffered_amount()).max(half / 4);
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

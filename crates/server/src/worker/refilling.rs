//! Hands out more to a connection that is catching up, whenever its outbox has room.

use std::{rc::Rc, time::Duration};

use offhook_engine::ConnectionId;
use tokio::{task::yield_now, time::sleep};

use super::{Worker, outlet::Outlet};

/// How long a connection waits if it has more unsent bytes than allowed while memory is short. 100
/// ms: it is slow anyway.
const WHILE_MEMORY_IS_SHORT: Duration = Duration::from_millis(100);

/// How many connections are given more before other tasks run. 4: each is given at most half of its
/// outbox, which takes about a fifth of a millisecond. After a crowd fell behind, thousands wait for
/// their turn.
pub(super) const AT_ONCE: usize = 4;

/// Hands out more until the connection wants no more. This task exists only while a connection is
/// behind.
pub(super) async fn refill(worker: Rc<Worker>, connection: ConnectionId, outlet: Outlet) {
    // An error means that the connection is closing, which the connection's own task reports to the
    // engine.
    while outlet.room().await.is_ok() {
        let Ok(permit) = worker.refills.acquire().await else {
            break;
        };
        // Half of the outbox, so that live publications have room.
        let half = worker.state.borrow().outboxes.bound() / 2;
        let unsent = outlet.unsent();
        if unsent > half {
            drop(permit);
            // There is room by the configured limit, but not by the present one; or other messages have
            // taken the room while this waited for its turn.
            sleep(WHILE_MEMORY_IS_SHORT).await;
            continue;
        }
        let grant = (half - unsent).max(half / 4);
        worker.turn(|engine, _| {
            if engine.wants_writable(connection) {
                engine.handle_writable(connection, grant);
            }
        });
        // After the turn, which may have used up what it granted: no other task is begun meanwhile.
        let wants_more = worker.state.borrow().engine.wants_writable(connection);
        if !wants_more {
            worker.state.borrow_mut().outboxes.end_refill(connection);
        }
        // Holding the permit, so that only so many are given something until the sockets were asked.
        yield_now().await;
        drop(permit);
        if !wants_more {
            return;
        }
    }
    worker.state.borrow_mut().outboxes.end_refill(connection);
}

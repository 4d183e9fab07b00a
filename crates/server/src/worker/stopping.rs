//! Stopping a worker: it stops accepting, tells every client when to reconnect, closes every
//! connection, and waits until they have ended.

use std::{rc::Rc, time::Duration};

use offhook::protocol::CloseCode;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::Worker;
use crate::tokens::random_bytes;

/// The phase of the server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is running.
    Open,
    /// It accepts no connections, and waits for the open ones to end.
    Draining,
    /// Likewise, for another process that waits for its data: all connections are closed at once.
    Yielding,
    /// It no longer waits.
    Cut,
}

/// Waits for shutdown. A dropped sender counts as shutdown.
#[derive(Debug)]
pub(crate) struct Stopping(watch::Receiver<Phase>);

impl Stopping {
    /// Waits until the server accepts no more connections.
    pub(crate) async fn begun(&mut self) {
        let _said_or_gone = self.0.wait_for(|phase| *phase != Phase::Open).await;
    }

    /// Waits until the server no longer waits for connections.
    pub(crate) async fn cut(&mut self) {
        let _said_or_gone = self.0.wait_for(|phase| *phase == Phase::Cut).await;
    }
}

impl Worker {
    /// The current phase of the server.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// A handle to wait for shutdown with.
    pub(crate) fn stopping(&self) -> Stopping {
        Stopping(self.phase.clone())
    }

    /// Serves until the server stops, and then until all connections have ended or time is up.
    pub(super) async fn until_stopped(self: &Rc<Self>) {
        let mut stopping = self.stopping();
        stopping.begun().await;
        let farewells = async {
            self.say_goodbye().await;
            std::future::pending::<()>().await;
        };
        let emptied = async {
            while self.is_busy() {
                self.emptied.notified().await;
            }
        };
        tokio::select! {
            () = emptied => {}
            () = stopping.cut() => {}
            () = farewells => {}
        }
        self.refused.borrow_mut().tell(super::now().instant);
    }

    /// Whether there are connections whose ends are waited for. A server that yields also waits for
    /// those that it has accepted and whose first request it has not answered, because nobody else
    /// can answer it.
    fn is_busy(&self) -> bool {
        let arriving = self.arriving.get() > 0 && self.phase() == Phase::Yielding;
        self.connections.get() > 0 || arriving
    }

    /// Tells every connection when to reconnect, each at its own time, and closes it at that time.
    /// Until then it is served as before. A server that yields closes all connections at once,
    /// because nobody can reconnect before its data has another owner.
    async fn say_goodbye(self: &Rc<Self>) {
        let spread = self.spread();
        self.turn(|engine, _| {
            engine.handle_drain(spread, || {
                random_bytes().map_or(u32::MAX / 2, u32::from_be_bytes)
            });
        });
        let mut farewells = self.state.borrow_mut().outboxes.take_farewells();
        farewells.sort_unstable_by_key(|(after, _)| *after);
        let begun = Instant::now();
        for (after, connection) in farewells {
            if self.phase() == Phase::Draining {
                sleep_until(begun + after).await;
            }
            let code = CloseCode::SERVICE_RESTART.get();
            let mut state = self.state.borrow_mut();
            state
                .outboxes
                .close(connection, code, "the server goes away");
        }
    }

    /// The time over which clients reconnect: at half the rate at which handshakes are accepted, so
    /// that a restarted server accepts them all at their first attempt; two tabs return at once. At
    /// most three quarters of `drain`, so that the last ones can still answer their Close.
    fn spread(&self) -> Duration {
        let config = &self.shared.config;
        let rate = (config.connections.handshakes_per_second / 2).max(1);
        let connections = u32::try_from(self.shared.connections()).unwrap_or(u32::MAX);
        let spread = Duration::from_secs_f64(f64::from(connections) / f64::from(rate));
        spread.min(config.drain.mul_f64(0.75))
    }
}

/// Held by a task that serves a connection: when the worker ends, it waits for all of these.
#[derive(Debug)]
pub(crate) struct Lease(Rc<Worker>);

impl Lease {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        worker.connections.update(|count| count + 1);
        Self(Rc::clone(worker))
    }

    /// The worker.
    pub(super) const fn worker(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.connections.update(|count| count - 1);
        if self.0.connections.get() == 0 {
            self.0.emptied.notify_waiters();
        }
    }
}

/// Held by a task that has accepted a connection and receives its first request.
#[derive(Debug)]
pub(crate) struct Arriving(Rc<Worker>);

impl Arriving {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        worker.arriving.update(|count| count + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.update(|count| count - 1);
        if self.0.arriving.get() == 0 {
            self.0.emptied.notify_waiters();
        }
    }
}

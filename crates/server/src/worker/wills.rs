//! Wills: publications that are made when a connection ends without the client disconnecting,
//! either immediately or after a delay within which the client may return.

use std::{
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use offhook_dialects::Will;
use offhook_engine::{Command, ConnectionId, Identity, SessionId};

use super::{Phase, Worker, now};

/// The will of a client, and the identity that publishes it.
#[derive(Clone, Debug)]
pub(super) struct Bequest {
    pub(super) session: SessionId,
    pub(super) identity: Arc<Identity>,
    pub(super) will: Will,
    /// How long the session outlives the connection. The will is published no later than that.
    pub(super) expiry: Option<Duration>,
}

/// The wills of a worker's connections.
pub(super) type Wills = HashMap<ConnectionId, Box<Bequest>>;

/// Wills whose clients may still return, on any worker. Their number is limited to the maximum
/// number of connections; beyond that, a will is published immediately.
#[derive(Debug)]
pub(crate) struct DelayedWills {
    waiting: Mutex<HashMap<SessionId, (Instant, Box<Bequest>)>>,
    most: usize,
}

impl DelayedWills {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            most,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, (Instant, Box<Bequest>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the will of a session whose client has returned.
    pub(super) fn cancel(&self, session: SessionId) {
        self.lock().remove(&session);
    }

    /// Adds a delayed will. Returns a will to publish immediately: this one if the limit is
    /// reached, or an older one of the same session.
    fn add(&self, due: Instant, bequest: Box<Bequest>) -> Option<Box<Bequest>> {
        let mut waiting = self.lock();
        if waiting.len() >= self.most {
            return Some(bequest);
        }
        let replaced = waiting.insert(bequest.session, (due, bequest));
        replaced.map(|(_, older)| older)
    }

    fn take(&self, session: SessionId) -> Option<Box<Bequest>> {
        self.lock().remove(&session).map(|(_, bequest)| bequest)
    }

    fn take_due(&self, now: Instant) -> Vec<Bequest> {
        let mut waiting = self.lock();
        let due = waiting.extract_if(|_, (at, _)| *at <= now);
        due.map(|(_, (_, bequest))| *bequest).collect()
    }
}

impl Worker {
    /// Publishes or delays the will of a connection that has ended, unless the client disconnected
    /// (`left`).
    pub(super) fn execute_will(self: &Rc<Self>, connection: ConnectionId, left: bool) {
        let bequest = self.state.borrow_mut().wills.remove(&connection);
        // While the server stops, it closes the connections itself: no client is lost.
        let is_open = *self.phase.borrow() == Phase::Open;
        let Some(bequest) = bequest.filter(|_| !left && is_open) else {
            return;
        };
        let wait = bequest.will.delay.min(bequest.expiry.unwrap_or_default());
        if wait.is_zero() {
            return self.publish_will(*bequest);
        }
        // MQTT 5.0 §3.1.3.2.2: not if a new connection has resumed the session.
        if self.shared.directory.find(bequest.session).is_some() {
            return;
        }
        let due = now().instant + wait;
        let session = bequest.session;
        if let Some(bequest) = self.shared.wills.add(due, bequest) {
            self.publish_will(*bequest);
        }
        // The client may have returned on another worker in the meantime.
        if self.shared.directory.find(session).is_some() {
            self.shared.wills.cancel(session);
        }
    }

    /// A connection is about to be closed together with its session: its will is published then, because
    /// its client cannot return to the session (MQTT 5.0 §3.1.4).
    pub(super) fn hasten_will(&self, connection: ConnectionId) {
        if let Some(bequest) = self.state.borrow_mut().wills.get_mut(&connection) {
            bequest.will.delay = Duration::ZERO;
        }
    }

    /// Publishes the delayed will of a session that ends now.
    pub(super) fn end_delayed_will(self: &Rc<Self>, session: SessionId) {
        if let Some(bequest) = self.shared.wills.take(session) {
            self.publish_will(*bequest);
        }
    }

    /// Publishes the wills whose delay is over.
    pub(super) fn publish_due_wills(self: &Rc<Self>) {
        for bequest in self.shared.wills.take_due(now().instant) {
            self.publish_will(bequest);
        }
    }

    fn publish_will(self: &Rc<Self>, bequest: Bequest) {
        let Bequest { identity, will, .. } = bequest;
        let publish = Command::Publish {
            channel: will.channel,
            data: will.data,
            format: will.format,
            tags: will.tags,
            key: None,
        };
        // The client is gone, so that the reply is not used.
        let _reply = self.call(|engine, caller, now| {
            engine.handle_caller(caller, Some(&identity), publish, now);
        });
    }
}

//! State shared by a client's handles and its driver: the core behind a lock, and the tasks that wait
//! for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use offhook_dialects::native::client::{Command, Target};
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::connection_event::{CONNECTION_EVENTS, ConnectionEvent, ConnectionEvents};
use crate::core::{Core, Outgoing, Repeat, Settings, Signal, SubscriptionKey, Taken, Ticket};
use crate::error::Error;
use crate::event::Event;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the driver.
    pub(crate) driver: Notify,
    /// Notified when publications were answered.
    room: Notify,
    /// Notified when the server has made a subscription, and when the client has ended.
    made: Notify,
    /// Closed when the driver is dropped, which owns the sender.
    done: watch::Receiver<()>,
}

struct State {
    core: Core,
    /// Readers waiting for an event.
    readers: HashMap<SubscriptionKey, Waker>,
    /// Requests waiting for an answer.
    answers: HashMap<Ticket, oneshot::Sender<Result<Answer, Error>>>,
    /// `None` once the client has ended.
    connections: Option<broadcast::Sender<ConnectionEvent>>,
}

/// The receiver of an answer.
pub(crate) type Awaited = oneshot::Receiver<Result<Answer, Error>>;

impl Shared {
    pub(crate) fn new(settings: Settings, seed: u64, done: watch::Receiver<()>) -> Self {
        let (connections, _) = broadcast::channel(CONNECTION_EVENTS);
        let core = Core::new(settings, seed, Instant::now().into_std());
        Self {
            state: Mutex::new(State {
                core,
                readers: HashMap::new(),
                answers: HashMap::new(),
                connections: Some(connections),
            }),
            driver: Notify::new(),
            room: Notify::new(),
            made: Notify::new(),
            done,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a function on the core, and delivers its signals.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut state = self.lock();
        let result = act(&mut state.core);
        self.settle(state);
        result
    }

    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let mut wakers = Vec::new();
        while let Some(signal) = state.core.poll_signal() {
            match signal {
                Signal::Reader(key) => wakers.extend(state.readers.remove(&key)),
                Signal::Answer { ticket, answer } => {
                    if let Some(waiting) = state.answers.remove(&ticket) {
                        // The future was dropped.
                        let _unwanted = waiting.send(answer);
                    }
                }
                Signal::Room => self.room.notify_waiters(),
                Signal::Made => self.made.notify_waiters(),
                Signal::Connection(event) => {
                    if let Some(connections) = &state.connections {
                        // There may be no listener.
                        let _unheard = connections.send(event);
                    }
                }
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Runs a function on the core, and wakes the driver.
    pub(crate) fn wish<T>(&self, wish: impl FnOnce(&mut Core) -> T) -> T {
        let result = self.with(wish);
        self.driver.notify_one();
        result
    }

    /// Queues a publication. `None` while the queue is full.
    pub(crate) fn publish(
        &self,
        outgoing: &mut Option<Outgoing>,
    ) -> Result<Option<Awaited>, Error> {
        let Some(weight) = outgoing.as_ref().map(|outgoing| outgoing.weight) else {
            return Ok(None);
        };
        let mut state = self.lock();
        let take = || outgoing.take();
        let Some(ticket) = state.core.publish(take, weight)? else {
            return Ok(None);
        };
        let (answer, awaited) = oneshot::channel();
        state.answers.insert(ticket, answer);
        drop(state);
        self.driver.notify_one();
        Ok(Some(awaited))
    }

    /// Queues a publication as soon as there is room for it.
    pub(crate) async fn publish_in_turn(&self, outgoing: Outgoing) -> Result<Awaited, Error> {
        let mut outgoing = Some(outgoing);
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the check, so that no notification is missed.
            room.as_mut().enable();
            match self.publish(&mut outgoing)? {
                Some(awaited) => return Ok(awaited),
                None => room.await,
            }
        }
    }

    /// Waits until every publication was answered, or the client has ended.
    pub(crate) async fn flushed(&self) -> Result<(), Error> {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let (unanswered, ended) = self.with(|core| (core.unanswered(), core.ended().cloned()));
            match (unanswered, ended) {
                (0, None) => return Ok(()),
                (_, Some(why)) => return Err(why),
                (_, None) => room.await,
            }
        }
    }

    /// Sends a request. Returns its ticket too, so that it can be forgotten.
    pub(crate) fn question(
        &self,
        command: Command,
        repeat: Repeat,
    ) -> Result<(Ticket, Awaited), Error> {
        let mut state = self.lock();
        let ticket = state.core.question(command, repeat)?;
        let (answer, awaited) = oneshot::channel();
        state.answers.insert(ticket, answer);
        drop(state);
        self.driver.notify_one();
        Ok((ticket, awaited))
    }

    pub(crate) fn forget(&self, ticket: Ticket) {
        let mut state = self.lock();
        state.core.forget(ticket);
        state.answers.remove(&ticket);
    }

    /// The next event of a subscription; `None` once it has ended.
    pub(crate) fn poll_event(
        &self,
        key: SubscriptionKey,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Event>, Error>> {
        let mut state = self.lock();
        let (taken, for_driver) = state.core.take(key, Instant::now().into_std());
        if for_driver {
            self.driver.notify_one();
        }
        match taken {
            Taken::Event(event) => Poll::Ready(Ok(Some(event))),
            Taken::Ended(None) => Poll::Ready(Ok(None)),
            Taken::Ended(Some(why)) => Poll::Ready(Err(why)),
            Taken::Nothing => {
                state.readers.insert(key, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Waits until the server has accepted a subscription once.
    pub(crate) fn poll_begun(
        &self,
        key: SubscriptionKey,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.lock();
        if state.core.has_begun(key)? {
            return Poll::Ready(Ok(()));
        }
        state.readers.insert(key, cx.waker().clone());
        Poll::Pending
    }

    pub(crate) fn unsubscribe(&self, key: SubscriptionKey) {
        self.lock().readers.remove(&key);
        self.wish(|core| core.unsubscribe(key));
    }

    pub(crate) fn events(&self) -> ConnectionEvents {
        let state = self.lock();
        let closed = || broadcast::channel(1).1;
        let events = state.connections.as_ref();
        ConnectionEvents::new(events.map_or_else(closed, broadcast::Sender::subscribe))
    }

    /// The next subscription that the server has made; none once the client has ended.
    pub(crate) async fn next_made(&self) -> Option<(SubscriptionKey, Target)> {
        loop {
            let made = self.made.notified();
            tokio::pin!(made);
            // Registered before the check, so that no notification is missed.
            made.as_mut().enable();
            {
                let mut state = self.lock();
                if let Some(next) = state.core.next_made() {
                    return Some(next);
                }
                if state.connections.is_none() || state.core.ended().is_some() {
                    return None;
                }
            }
            made.await;
        }
    }

    /// The client has ended.
    pub(crate) fn finish(&self) {
        self.lock().connections = None;
        self.made.notify_waiters();
    }

    /// Waits until the driver has ended.
    pub(crate) async fn done(&self) {
        // Nothing is ever sent: the error means that the driver was dropped.
        let _gone = self.done.clone().changed().await;
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("step", &state.core.step())
            .field("unanswered", &state.core.unanswered())
            .finish_non_exhaustive()
    }
}

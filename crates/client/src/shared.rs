//! What the handles of a client and its driver share: the core behind a lock, and who waits for
//! what of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use offhook_dialects::native::client::Command;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::time::Instant;

use crate::answer::Answer;
use crate::connection_event::{CONNECTION_EVENTS, ConnectionEvent, ConnectionEvents};
use crate::core::{Core, Outgoing, Settings, Signal, SubscriptionKey, Taken, Ticket};
use crate::error::Error;
use crate::event::Event;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// There may be something to do for the driver.
    pub(crate) driver: Notify,
    /// Publications were answered.
    room: Notify,
    /// Its sender is the driver's, and goes with it.
    done: watch::Receiver<()>,
}

struct State {
    core: Core,
    /// Readers that wait for an event.
    readers: HashMap<SubscriptionKey, Waker>,
    /// Users that wait for an answer.
    answers: HashMap<Ticket, oneshot::Sender<Result<Answer, Error>>>,
    /// `None` once nothing happens any more.
    connections: Option<broadcast::Sender<ConnectionEvent>>,
}

/// An answer that is waited for.
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
            done,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the core, and tells whom it concerns.
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
                        // Whoever dropped their future does not want to know.
                        let _unwanted = waiting.send(answer);
                    }
                }
                Signal::Room => self.room.notify_waiters(),
                Signal::Connection(event) => {
                    if let Some(connections) = &state.connections {
                        // Nobody has to listen.
                        let _unheard = connections.send(event);
                    }
                }
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// A wish, after which the driver has something to do.
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
            // From here on nothing is missed.
            room.as_mut().enable();
            match self.publish(&mut outgoing)? {
                Some(awaited) => return Ok(awaited),
                None => room.await,
            }
        }
    }

    /// Waits until every publication was answered, or there will be no more answers.
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

    /// Asks, and gives the number of the question along, to be able to forget it.
    pub(crate) fn question(&self, command: Command) -> Result<(Ticket, Awaited), Error> {
        let mut state = self.lock();
        let ticket = state.core.question(command)?;
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

    /// The next event of a subscription; `None` once it is over.
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

    /// Waits until a subscription was there once.
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

    /// Nothing happens any more.
    pub(crate) fn finish(&self) {
        self.lock().connections = None;
    }

    /// Waits until the driver is done.
    pub(crate) async fn done(&self) {
        // It sends nothing: the error says that it has gone.
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

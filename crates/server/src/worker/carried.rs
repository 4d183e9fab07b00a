//! Connections over HTTP requests: the client sends with one request after the other, and receives a
//! stream of events or the answers to its polls.
//!
//! A connection belongs to one worker, but each of its requests may reach any worker. The id of the
//! connection contains the number of its worker, which receives the request as an
//! [`Order`](super::Order). Any dialect can be spoken.
//!
//! There are two forms. The requests of `/connection` are numbered, so that a lost answer can be
//! repeated, and its clients may receive a stream instead of polling. The requests of Engine.IO have
//! no numbers: the server assumes that every answer arrives, a second request at the same time ends
//! the connection, and the client can upgrade to a WebSocket.

mod downlink;
mod events;
mod id;
mod messages;
mod serving;
mod upgrading;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use offhook::{WebSocket, protocol::CloseCode};
use tokio::sync::{Notify, oneshot};

use super::{Guest, Order, Streaming, Worker, outlet::Outlet, streaming::Unsent};
use crate::door::Place;
use downlink::Kept;
pub(crate) use downlink::{Answer, Form};
use events::Events;
pub(crate) use id::CarriedId;
pub(crate) use messages::Messages;

/// The connections over HTTP requests that belong to one worker.
#[derive(Debug, Default)]
pub(super) struct AllCarried(RefCell<HashMap<CarriedId, Rc<Carried>>>);

/// One connection over HTTP requests.
#[derive(Debug)]
struct Carried {
    downlink: Downlink,
    uplink: RefCell<Uplink>,
    /// Wakes the task of the connection.
    wake: Notify,
    /// True once the client has said that it is leaving.
    left: Cell<bool>,
}

#[derive(Debug)]
enum Downlink {
    /// Events of a single response, which lasts as long as the connection.
    Stream(Rc<Unsent>),
    /// Answers to polls.
    Polled(Rc<Kept>),
}

#[derive(Debug, Default)]
struct Uplink {
    /// The number of the newest batch that was accepted.
    newest: u64,
    /// A batch that waits to be handled.
    batch: Option<Batch>,
    /// Whether a batch is being handled.
    is_handling: bool,
    /// A request that repeats the one under way, and is answered with it.
    repeated: Option<Done>,
}

/// Receives a result once the messages of a request have been handled.
type Done = oneshot::Sender<Result<(), Wrong>>;

/// The messages of one request.
#[derive(Debug)]
struct Batch {
    messages: Messages,
    done: Done,
}

/// Why a request of a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The connection does not exist, or has ended.
    Unknown,
    /// The number does not follow the previous one. The fields are the lowest and the highest
    /// number that would be accepted.
    Number { least: u64, most: u64 },
    /// The previous batch is still waiting to be handled.
    Busy,
    /// A newer poll has replaced this one.
    Replaced,
    /// The connection has a stream, so it cannot be polled.
    Streamed,
    /// Another request of the same kind is under way. This ends a connection whose requests are not
    /// numbered.
    Overlap,
    /// The messages violate the protocol of the connection, which has ended.
    Invalid,
}

/// A request to the worker that has the connection.
#[derive(Debug)]
pub(crate) enum Carry {
    /// Handle these messages. Requests of Engine.IO have no number.
    Send {
        number: Option<u64>,
        messages: Messages,
        done: oneshot::Sender<Result<(), Wrong>>,
    },
    /// Answer with the messages after this number. Polls of Engine.IO have no number; they are
    /// answered with the messages that follow the last answer.
    Poll {
        after: Option<u64>,
        /// Whether to wait until there are messages.
        waits: bool,
        done: oneshot::Sender<Result<Answer, Wrong>>,
    },
    /// Answer if the connection exists and is not closed.
    Find { done: oneshot::Sender<()> },
    /// The client leaves for good.
    Leave,
    /// The client sent something that is not a payload: end the connection.
    Spoil,
    /// The client opened a WebSocket that it may upgrade to. `done` is answered if the connection
    /// exists and the client is not trying another WebSocket.
    Claim { done: oneshot::Sender<()> },
    /// The client is trying a WebSocket: answer polls immediately. `done` is answered if the
    /// connection exists.
    Probe { done: oneshot::Sender<()> },
    /// The WebSocket failed before the client upgraded to it.
    ProbeFailed,
    /// From now on, everything is sent over this WebSocket.
    Upgrade {
        socket: Box<WebSocket>,
        place: Box<Place>,
    },
}

impl Carry {
    /// Whether this request has the form that the connection uses.
    fn is_of(&self, carried: &Carried) -> bool {
        let number = match self {
            Self::Send { number, .. } => number,
            Self::Poll { after, .. } => after,
            Self::Find { .. }
            | Self::Leave
            | Self::Spoil
            | Self::Claim { .. }
            | Self::Probe { .. }
            | Self::ProbeFailed
            | Self::Upgrade { .. } => return true,
        };
        number.is_some() == carried.upgrading().is_none()
    }
}

impl Carried {
    fn outlet(&self) -> Outlet {
        match &self.downlink {
            Downlink::Stream(unsent) => Outlet::Other(Rc::new(Events(Rc::clone(unsent)))),
            Downlink::Polled(kept) => Outlet::Other(Rc::<Kept>::clone(kept)),
        }
    }

    fn send(&self, number: Option<u64>, batch: Batch) {
        if self.is_closed() {
            let _sent = batch.done.send(Err(Wrong::Unknown));
            return;
        }
        let uplink = &mut *self.uplink.borrow_mut();
        let next = uplink.newest + 1;
        let is_under_way = uplink.is_handling || uplink.batch.is_some();
        let refused = match number {
            Some(number) if number == 0 || number > next => Wrong::Number {
                least: uplink.newest.max(1),
                most: next,
            },
            // The client repeats the request because it did not receive the answer.
            Some(number) if number == uplink.newest && is_under_way => {
                if let Some(older) = uplink.repeated.replace(batch.done) {
                    let _sent = older.send(Err(Wrong::Busy));
                }
                return;
            }
            Some(number) if number < next => {
                let _sent = batch.done.send(Ok(()));
                return;
            }
            Some(_) if is_under_way => Wrong::Busy,
            None if is_under_way => Wrong::Overlap,
            Some(_) | None => {
                uplink.newest = next;
                uplink.batch = Some(batch);
                self.wake.notify_one();
                return;
            }
        };
        // The client may have closed its request already.
        let _sent = batch.done.send(Err(refused));
        if refused == Wrong::Overlap {
            self.close_for("two requests at once");
        }
    }

    /// Closes the connection because its client violated the protocol.
    fn close_for(&self, reason: &str) {
        self.outlet().close(CloseCode::PROTOCOL_ERROR, reason);
        self.wake.notify_one();
    }

    fn poll(&self, kept: &Kept, after: Option<u64>, done: oneshot::Sender<Result<Answer, Wrong>>) {
        if let Err(done) = kept.poll(after, done) {
            // The client may have closed its request already.
            let _sent = done.send(Err(Wrong::Overlap));
            self.close_for("two polls at once");
        }
        self.wake.notify_one();
        // Answer right here, because the connection's task may be waiting for room.
        kept.answer();
    }

    /// The messages kept for polls, if the connection can be upgraded.
    fn upgrading(&self) -> Option<&Kept> {
        match &self.downlink {
            Downlink::Polled(kept) if kept.form == Form::EngineIo => Some(kept),
            Downlink::Polled(_) | Downlink::Stream(_) => None,
        }
    }

    /// Whether the client of Engine.IO has upgraded to a WebSocket, or its connection is over. Later
    /// requests are then treated as requests of an unknown connection.
    fn is_gone(&self) -> bool {
        let kept = self.upgrading();
        kept.is_some_and(|kept| kept.is_upgraded() || kept.is_over())
    }

    /// The next batch to handle.
    fn take_batch(&self) -> Option<Batch> {
        let uplink = &mut *self.uplink.borrow_mut();
        let batch = uplink.batch.take()?;
        uplink.is_handling = true;
        Some(batch)
    }

    /// Called once a batch has been handled. Answers its request and the request that repeated it.
    fn handled(&self, done: Done) {
        let uplink = &mut *self.uplink.borrow_mut();
        uplink.is_handling = false;
        // Engine.IO refuses the request itself; a client of `/connection` reads why with its next poll.
        let is_invalid = self.upgrading().is_some_and(Kept::is_violated);
        let result = if is_invalid {
            Err(Wrong::Invalid)
        } else {
            Ok(())
        };
        for done in [Some(done), uplink.repeated.take()].into_iter().flatten() {
            // If the client has closed this request, it repeats it, which has no effect.
            let _sent = done.send(result);
        }
    }

    /// Whether the connection is closed. Later requests of its client are refused.
    fn is_closed(&self) -> bool {
        match &self.downlink {
            Downlink::Stream(unsent) => unsent.is_closed(),
            Downlink::Polled(kept) => kept.is_closed(),
        }
    }
}

impl Worker {
    /// Begins a connection whose downlink is the body of a response. Its first event contains the
    /// id. Returns `None` if the system cannot provide random bytes.
    pub(crate) fn carry_streamed(self: &Rc<Self>, guest: Guest) -> Option<Streaming> {
        let unsent = Unsent::new(self.shared.config.messages.outbox_bytes);
        let id = self.begin_carried(Downlink::Stream(Rc::clone(&unsent)), guest, None)?;
        unsent.write(&format!(
            "event: open\ndata: {{\"connection\":\"{id}\"}}\n\n"
        ));
        Some(Streaming::of(unsent))
    }

    /// Begins a connection that is polled. Returns `None` if the system cannot provide random
    /// bytes.
    pub(crate) fn carry_polled(
        self: &Rc<Self>,
        form: Form,
        guest: Guest,
        place: Place,
    ) -> Option<CarriedId> {
        let kept = Kept::new(form, self.shared.config.messages.outbox_bytes);
        self.begin_carried(Downlink::Polled(kept), guest, Some(place))
    }

    fn begin_carried(
        self: &Rc<Self>,
        downlink: Downlink,
        guest: Guest,
        place: Option<Place>,
    ) -> Option<CarriedId> {
        let id = CarriedId::random(self.number)?;
        let carried = Rc::new(Carried {
            downlink,
            uplink: RefCell::default(),
            wake: Notify::new(),
            left: Cell::new(false),
        });
        let known = Rc::clone(&carried);
        self.carried.0.borrow_mut().insert(id, known);
        tokio::task::spawn_local(serving::serve(self, id, carried, guest, place));
        Some(id)
    }

    /// Probes a WebSocket to which the client of a polled connection wants to upgrade.
    pub(super) fn probe(self: &Rc<Self>, id: CarriedId, socket: WebSocket, place: Place) {
        tokio::task::spawn_local(upgrading::probe(Rc::clone(self), id, socket, place));
    }

    /// Passes a request to the worker that has the connection.
    pub(crate) fn carry(&self, id: CarriedId, carry: Carry) {
        // An order to a worker that does not exist is dropped together with the sender of its
        // result.
        let order = Order::Carry { id, carry };
        self.shared.orders.give(id.worker(), order);
    }

    pub(super) fn take_carry(&self, id: CarriedId, carry: Carry) {
        let carried = self.carried.0.borrow().get(&id).cloned();
        let carried = carried.filter(|carried| !carried.is_gone() && carry.is_of(carried));
        match (carry, carried) {
            (
                Carry::Send {
                    number,
                    messages,
                    done,
                },
                Some(carried),
            ) => carried.send(number, Batch { messages, done }),
            (Carry::Send { done, .. }, None) => drop(done.send(Err(Wrong::Unknown))),
            (Carry::Poll { after, waits, done }, Some(carried)) => match &carried.downlink {
                Downlink::Polled(kept) => {
                    carried.poll(kept, after, done);
                    if !waits {
                        kept.answer_without();
                    }
                }
                Downlink::Stream(_) => drop(done.send(Err(Wrong::Streamed))),
            },
            (Carry::Poll { done, .. }, None) => drop(done.send(Err(Wrong::Unknown))),
            (Carry::Find { done }, Some(carried)) if !carried.is_closed() => drop(done.send(())),
            (Carry::Find { .. }, _) => {}
            (Carry::Leave, Some(carried)) => {
                carried.left.set(true);
                carried.outlet().close(CloseCode::NORMAL, "");
                carried.wake.notify_one();
            }
            (Carry::Spoil, Some(carried)) => carried.close_for("it is not a payload"),
            (Carry::Claim { done }, Some(carried)) => {
                if carried.upgrading().is_some_and(Kept::claim) {
                    let _sent = done.send(());
                }
            }
            (Carry::Probe { done }, Some(carried)) => {
                if let Some(kept) = carried.upgrading() {
                    kept.set_probing(true);
                    let _sent = done.send(());
                }
            }
            (Carry::ProbeFailed, Some(carried)) => {
                carried.upgrading().into_iter().for_each(Kept::probe_failed);
            }
            (Carry::Upgrade { socket, place }, Some(carried)) => {
                if let Some(kept) = carried.upgrading() {
                    kept.upgrade(socket, place);
                    carried.wake.notify_one();
                }
            }
            // Dropping the WebSocket ends it without a Close frame.
            (
                Carry::Leave
                | Carry::Spoil
                | Carry::Claim { .. }
                | Carry::Probe { .. }
                | Carry::ProbeFailed
                | Carry::Upgrade { .. },
                None,
            ) => {}
        }
    }
}

//! Connections over HTTP requests: the client sends with one request after the other, and is told
//! everything in a stream of events or in the answers to its polls.
//!
//! A connection belongs to one worker, and its requests reach any. Its id names the worker, which gets
//! what the request asks for as an [`Order`](super::Order).

mod downlink;
mod id;
mod serving;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use offhook::protocol::CloseCode;
use tokio::sync::{Notify, oneshot};

use super::{Guest, Order, Streaming, Worker, outlet::Outlet, streaming::Unsent};
use crate::door::Place;
pub(crate) use downlink::Answer;
use downlink::{Events, Kept};
pub(crate) use id::CarriedId;

/// The connections over requests of one worker.
#[derive(Debug, Default)]
pub(super) struct AllCarried(RefCell<HashMap<CarriedId, Rc<Carried>>>);

/// One connection over requests.
#[derive(Debug)]
struct Carried {
    downlink: Downlink,
    uplink: RefCell<Uplink>,
    /// Wakes the task of the connection.
    wake: Notify,
    /// The client said that it is leaving.
    left: Cell<bool>,
}

#[derive(Debug)]
enum Downlink {
    /// One response that does not end.
    Stream(Rc<Unsent>),
    /// The answers to polls.
    Polled(Rc<Kept>),
}

#[derive(Debug, Default)]
struct Uplink {
    /// The number of the newest batch that was taken.
    newest: u64,
    /// What is still to be handled.
    batch: Option<Batch>,
}

/// What one request brought.
#[derive(Debug)]
struct Batch {
    text: String,
    /// Told when it was handled.
    done: oneshot::Sender<Result<(), Wrong>>,
}

/// Why a request of a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// There is no such connection, or there is none any more.
    Unknown,
    /// A batch or a position that does not follow: this number is expected at most.
    Number { most: u64 },
    /// The batch before it is still being handled.
    Busy,
    /// A newer poll took its place.
    Replaced,
    /// The connection has a stream, and is not polled.
    Streamed,
}

/// What a request asks of the worker that has the connection.
#[derive(Debug)]
pub(crate) enum Carry {
    /// Handle these messages, one on each line.
    Send {
        number: u64,
        text: String,
        done: oneshot::Sender<Result<(), Wrong>>,
    },
    /// Answer with the messages after this one, as soon as there are any.
    Poll {
        after: u64,
        done: oneshot::Sender<Result<Answer, Wrong>>,
    },
    /// The client leaves for good.
    Leave,
}

impl Carried {
    fn outlet(&self) -> Outlet {
        match &self.downlink {
            Downlink::Stream(unsent) => Outlet::Other(Rc::new(Events(Rc::clone(unsent)))),
            Downlink::Polled(kept) => Outlet::Other(Rc::<Kept>::clone(kept)),
        }
    }

    fn send(&self, number: u64, text: String, done: oneshot::Sender<Result<(), Wrong>>) {
        let uplink = &mut *self.uplink.borrow_mut();
        let next = uplink.newest + 1;
        // A sender that no longer waits is not told.
        let _told = match number {
            0 => done.send(Err(Wrong::Number { most: next })),
            // Repeated, because the answer was lost.
            _ if number < next => done.send(Ok(())),
            _ if number > next => done.send(Err(Wrong::Number { most: next })),
            _ if uplink.batch.is_some() => done.send(Err(Wrong::Busy)),
            _ => {
                uplink.newest = number;
                uplink.batch = Some(Batch { text, done });
                self.wake.notify_one();
                Ok(())
            }
        };
    }
}

impl Worker {
    /// Begins a connection whose downlink is the body of a response. Its first event says the id.
    pub(crate) fn carry_streamed(self: &Rc<Self>, guest: Guest) -> Option<Streaming> {
        let unsent = Unsent::new(self.shared.config.messages.outbox_bytes);
        let id = self.begin_carried(Downlink::Stream(Rc::clone(&unsent)), guest, None)?;
        unsent.write(&format!(
            "event: open\ndata: {{\"connection\":\"{id}\"}}\n\n"
        ));
        Some(Streaming::of(unsent))
    }

    /// Begins a connection that is polled.
    pub(crate) fn carry_polled(self: &Rc<Self>, guest: Guest, place: Place) -> Option<CarriedId> {
        let kept = Kept::new(self.shared.config.messages.outbox_bytes);
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

    /// Passes a request on to the worker that has the connection.
    pub(crate) fn carry(&self, id: CarriedId, carry: Carry) {
        // An order to a worker that there is not is dropped, which tells who waits.
        let order = Order::Carry { id, carry };
        self.shared.orders.give(id.worker(), order);
    }

    pub(super) fn take_carry(&self, id: CarriedId, carry: Carry) {
        let carried = self.carried.0.borrow().get(&id).cloned();
        match (carry, carried) {
            (Carry::Send { number, text, done }, Some(carried)) => {
                carried.send(number, text, done);
            }
            (Carry::Send { done, .. }, None) => drop(done.send(Err(Wrong::Unknown))),
            (Carry::Poll { after, done }, Some(carried)) => match &carried.downlink {
                Downlink::Polled(kept) => {
                    kept.poll(after, done);
                    carried.wake.notify_one();
                    // At once, since the task may be waiting for room.
                    kept.answer();
                }
                Downlink::Stream(_) => drop(done.send(Err(Wrong::Streamed))),
            },
            (Carry::Poll { done, .. }, None) => drop(done.send(Err(Wrong::Unknown))),
            (Carry::Leave, Some(carried)) => {
                carried.left.set(true);
                carried.outlet().close(CloseCode::NORMAL, "");
                carried.wake.notify_one();
            }
            (Carry::Leave, None) => {}
        }
    }
}

//! Connections of Engine.IO over long-polling, and their upgrade to a WebSocket.
//!
//! A connection belongs to one worker, and its requests reach any. Its id names the worker, which gets
//! what a request asks for as an [`Order`](super::Order).

mod serving;
mod transport;
mod upgrading;

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use offhook::WebSocket;
use tokio::sync::oneshot;

use super::{CarriedId, Guest, Order, Worker, outlet::Outlet};
use crate::door::Place;
use transport::Polled;

/// The polled connections of one worker.
#[derive(Debug, Default)]
pub(super) struct AllPolled(RefCell<HashMap<CarriedId, Rc<Polled>>>);

/// Why a request of a polled connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpolled {
    /// There is no such connection, or it has ended.
    Unknown,
    /// A second request came while one of its kind was being served: the connection ends.
    Overlap,
    /// What was posted is not a payload: the connection ends.
    Invalid,
}

/// What a request asks of the worker that has the connection.
#[derive(Debug)]
pub(crate) enum Polling {
    /// Handle the records of this payload.
    Post {
        payload: String,
        done: oneshot::Sender<Result<(), Unpolled>>,
    },
    /// Answer with what there is to say, as soon as there is something.
    Poll {
        done: oneshot::Sender<Result<String, Unpolled>>,
    },
    /// The client tries a WebSocket: polls are answered at once.
    Probe {
        done: oneshot::Sender<Result<(), Unpolled>>,
    },
    /// The WebSocket has failed before the client upgraded to it.
    ProbeFailed,
    /// From now on everything goes over this WebSocket.
    Upgrade {
        socket: Box<WebSocket>,
        place: Box<Place>,
    },
}

impl Worker {
    /// Begins a connection that is polled.
    pub(crate) fn begin_polled(self: &Rc<Self>, guest: Guest, place: Place) -> Option<CarriedId> {
        let id = CarriedId::random(self.number)?;
        let polled = Polled::new(self.shared.config.messages.outbox_bytes);
        self.polled.0.borrow_mut().insert(id, Rc::clone(&polled));
        tokio::task::spawn_local(serving::serve(self, id, polled, guest, place));
        Some(id)
    }

    /// Probes a WebSocket to which the client of a polled connection wants to upgrade.
    pub(super) fn probe(self: &Rc<Self>, id: CarriedId, socket: WebSocket, place: Place) {
        tokio::task::spawn_local(upgrading::probe(Rc::clone(self), id, socket, place));
    }

    /// Passes a request on to the worker that has the connection.
    pub(crate) fn polling(&self, id: CarriedId, polling: Polling) {
        // An order to a worker that does not exist is dropped, and so is what tells its sender.
        let order = Order::Polling { id, polling };
        self.shared.orders.give(id.worker(), order);
    }

    pub(super) fn take_polling(&self, id: CarriedId, polling: Polling) {
        let polled = self.polled.0.borrow().get(&id).cloned();
        let polled = polled.filter(|polled| !polled.is_upgraded());
        // A sender that no longer waits is not told.
        match (polling, polled) {
            (Polling::Post { payload, done }, Some(polled)) => polled.post(payload, done),
            (Polling::Poll { done }, Some(polled)) => polled.poll(done),
            (Polling::Probe { done }, Some(polled)) => {
                polled.set_probing(true);
                let _gone = done.send(Ok(()));
            }
            (Polling::ProbeFailed, Some(polled)) => polled.set_probing(false),
            (Polling::Upgrade { socket, place }, Some(polled)) => polled.upgrade(socket, place),
            (Polling::Post { done, .. } | Polling::Probe { done }, None) => {
                let _gone = done.send(Err(Unpolled::Unknown));
            }
            (Polling::Poll { done }, None) => {
                let _gone = done.send(Err(Unpolled::Unknown));
            }
            // The dropped WebSocket ends without a Close.
            (Polling::ProbeFailed | Polling::Upgrade { .. }, None) => {}
        }
    }
}

fn outlet(polled: &Rc<Polled>) -> Outlet {
    Outlet::Other(Rc::<Polled>::clone(polled))
}

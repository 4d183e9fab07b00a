//! The task of one polled connection: it handles what the client posts and answers its polls, until it
//! ends or goes on over a WebSocket.

use std::{rc::Rc, time::Duration};

use offhook::protocol::CloseCode;
use offhook_dialects::{
    Incoming,
    socketio::packet::{Record, records},
};
use tokio::time::{Instant, sleep_until};

use super::{CarriedId, Polled, Unpolled, outlet, transport::Posted};
use crate::{
    door::Place,
    worker::{
        Guest, Worker,
        connecting::{Connected, Connecting, Ended},
        connection::{Connection, Taken},
        outlet::Outlet,
        stopping::Lease,
        websocket,
    },
};

/// How long the client may take to fetch the last packet of a closed connection. 10 s: longer than the
/// pause between two polls.
const LAST_POLL: Duration = Duration::from_secs(10);

/// The connection, before and after its client has identified itself.
enum Served {
    Connecting(Connecting),
    Connected(Connection),
}

/// Serves a connection until it ends.
pub(super) fn serve(
    worker: &Rc<Worker>,
    id: CarriedId,
    polled: Rc<Polled>,
    guest: Guest,
    place: Place,
) -> impl Future<Output = ()> + use<> {
    let lease = Lease::new(worker);
    async move {
        let worker = lease.worker();
        let outlet = outlet(&polled);
        let mut connecting = Connecting::new(outlet.clone(), guest);
        let upgraded = match connecting.opened_as(&id.to_string()) {
            Ok(()) => {
                let mut stage = Served::Connecting(connecting);
                let upgraded = run(worker, &polled, &outlet, &mut stage).await;
                upgraded.map(|upgraded| (upgraded, stage))
            }
            Err(_) => None,
        };
        if let Some(((mut socket, socket_place), stage)) = upgraded {
            match stage {
                Served::Connected(connection) => {
                    Box::pin(websocket::go_on(connection, &mut socket)).await;
                }
                Served::Connecting(connecting) => {
                    Box::pin(websocket::serve_connecting(&lease, &mut socket, connecting)).await;
                }
            }
            drop((socket, socket_place));
        }
        worker.polled.0.borrow_mut().remove(&id);
        polled.end();
        drop((place, lease));
    }
}

/// Runs until the connection has ended, or the client has upgraded to a WebSocket.
async fn run(
    worker: &Rc<Worker>,
    polled: &Polled,
    outlet: &Outlet,
    stage: &mut Served,
) -> Option<(Box<offhook::WebSocket>, Box<Place>)> {
    let connect_until = Instant::now() + worker.shared.config.connections.connect_timeout;
    let mut stopping = worker.stopping();
    let mut last_poll = None;
    loop {
        if let Some(Posted { payload, done }) = polled.take_posted() {
            let handled = {
                let taking = take_payload(worker, outlet, stage, &payload);
                tokio::pin!(taking);
                loop {
                    tokio::select! {
                        handled = &mut taking => break handled,
                        // It may be waiting for the client to take answers.
                        () = polled.changed.notified() => polled.answer(),
                    }
                }
            };
            let told = handled.or_else(|wrong| end(worker, outlet, &wrong));
            polled.handled();
            // A sender that no longer waits is not told.
            let _gone = done.send(told);
            continue;
        }
        polled.answer();
        if polled.is_over() {
            return None;
        }
        if let Some(upgraded) = polled.take_upgrade() {
            return Some(upgraded);
        }
        if polled.is_closed() {
            last_poll.get_or_insert_with(|| Instant::now() + LAST_POLL);
        }
        let is_connecting = matches!(stage, Served::Connecting(_)) && last_poll.is_none();
        tokio::select! {
            () = polled.wake.notified() => {}
            () = polled.changed.notified() => {}
            () = sleep_until(last_poll.unwrap_or(connect_until)), if last_poll.is_some() => return None,
            () = sleep_until(connect_until), if is_connecting => {
                outlet.close(CloseCode::POLICY_VIOLATION, "no connect came in time");
            }
            () = stopping.begun(), if is_connecting => {
                outlet.close(CloseCode::SERVICE_RESTART, "the server goes away");
            }
        }
    }
}

/// Why a payload could not be handled.
enum Wrong {
    Ended(Ended),
    Invalid,
}

impl From<Ended> for Wrong {
    fn from(ended: Ended) -> Self {
        Self::Ended(ended)
    }
}

fn end(worker: &Worker, outlet: &Outlet, wrong: &Wrong) -> Result<(), Unpolled> {
    let (code, reason) = match wrong {
        // The client itself has closed it.
        Wrong::Ended(Ended::Lost) => {
            outlet.close(CloseCode::NORMAL, "");
            return Ok(());
        }
        Wrong::Ended(Ended::Close(code, reason)) => (*code, *reason),
        Wrong::Invalid => (CloseCode::INVALID_DATA, "a binary record is not base64"),
    };
    worker.note_refused("connect", reason);
    outlet.close(code, reason);
    Err(Unpolled::Invalid)
}

/// Handles the records of one payload, as fast as the client takes the answers.
async fn take_payload(
    worker: &Rc<Worker>,
    outlet: &Outlet,
    stage: &mut Served,
    payload: &str,
) -> Result<(), Wrong> {
    for record in records(payload) {
        let record = record.map_err(|_| Wrong::Invalid)?;
        let incoming = match &record {
            Record::Text(text) => Incoming::Text(text),
            Record::Binary(bytes) => Incoming::Binary(bytes),
        };
        match stage {
            Served::Connected(connection) => {
                let taken = connection.receive(incoming);
                settle(connection, taken, outlet).await;
            }
            Served::Connecting(connecting) => {
                if let Some(mut connection) = introduced(worker, connecting, incoming).await? {
                    settle(&mut connection, Taken::AwaitsAnswer, outlet).await;
                    *stage = Served::Connected(connection);
                }
            }
        }
    }
    Ok(())
}

async fn settle(connection: &mut Connection, taken: Taken, outlet: &Outlet) {
    let bound = connection.worker.shared.config.messages.outbox_bytes;
    let room = async || {
        if outlet.unsent() > bound {
            // An error means that the connection is closing: the rest is ignored, as after a Close.
            let _closing = outlet.room().await;
        }
    };
    connection.settle(taken, room).await;
}

/// The connection, if the message has identified the client.
async fn introduced(
    worker: &Rc<Worker>,
    connecting: &mut Connecting,
    incoming: Incoming<'_>,
) -> Result<Option<Connection>, Ended> {
    let mut connected = connecting.receive(worker, incoming)?;
    loop {
        match connected {
            Connected::NotYet => return Ok(None),
            Connected::Awaits(loading) => connected = connecting.go_on(worker, loading).await?,
            Connected::Yes(mut connection, intents) => {
                for intent in intents {
                    connection.carry_out(intent);
                }
                return Ok(Some(connection));
            }
        }
    }
}

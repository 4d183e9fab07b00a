//! The task of one connection over HTTP requests: it handles what the client sends, answers its
//! polls, and ends the connection when the client is gone.

use std::{future::pending, mem, rc::Rc, time::Duration};

use offhook::{WebSocket, protocol::CloseCode};
use offhook_dialects::Incoming;
use tokio::{
    task::yield_now,
    time::{Instant, sleep, sleep_until},
};

use super::{Batch, Carried, CarriedId, Downlink, Messages, downlink::Kept, messages::incoming};
use crate::{
    door::Place,
    worker::{
        Guest, Worker,
        connecting::{Connected, Connecting, Ended},
        connection::{Connection, Taken},
        outlet::Outlet,
        stopping::{Lease, Stopping},
        websocket,
    },
};

/// The interval of the comments that are sent into a stream if keepalive is disabled.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long the last answer can be requested again. 5 s: a client repeats a poll immediately, or
/// after a second or two on an unreliable network.
const LINGER: Duration = Duration::from_secs(5);

/// When the server stops, how long a connection that it has closed waits for a poll. 1 s: a client
/// between two polls sends the next one immediately, and a client that is gone must not delay the
/// stop.
const STOPPING: Duration = Duration::from_secs(1);

/// How many messages of a request are handled before other tasks run. 64: these take a fraction of a
/// millisecond.
const AT_ONCE: u64 = 64;

/// The state that handles the messages of a connection's client.
enum Served {
    Connecting(Connecting),
    Connected(Connection),
}

/// Serves a connection until it ends.
pub(super) fn serve(
    worker: &Rc<Worker>,
    id: CarriedId,
    carried: Rc<Carried>,
    guest: Guest,
    place: Option<Place>,
) -> impl Future<Output = ()> + use<> {
    let lease = Lease::new(worker);
    async move {
        let worker = Rc::clone(lease.worker());
        let outlet = carried.outlet();
        let mut connecting = Connecting::new(outlet.clone(), guest);
        let greeted = connecting.opened_as(&id.to_string());
        let begun = match greeted {
            Ok(()) => begin(&worker, &mut connecting).await,
            Err(ended) => Err(ended),
        };
        let (mut served, begun) = match begun {
            Ok(Some(connection)) => (Served::Connected(connection), Ok(())),
            Ok(None) => (Served::Connecting(connecting), Ok(())),
            Err(ended) => (Served::Connecting(connecting), Err(ended)),
        };
        let upgraded = match begun {
            Ok(()) => run(&worker, &carried, &outlet, &mut served).await,
            Err(ended) => {
                end(&worker, &outlet, ended);
                None
            }
        };
        if upgraded.is_none()
            && let Served::Connected(connection) = &mut served
        {
            if carried.left.get() {
                connection.leave_by_transport();
            }
            connection.until_it_may_end().await;
        }
        let served = match upgraded {
            Some(upgraded) => {
                go_on(&lease, served, upgraded).await;
                None
            }
            None => Some(served),
        };
        // Requests that were not handled are refused.
        drop(mem::take(&mut *carried.uplink.borrow_mut()));
        drop((served, place, lease));
        match &carried.downlink {
            Downlink::Stream(unsent) => unsent.end(),
            Downlink::Polled(kept) => {
                kept.answer();
                if kept.is_over() && !carried.left.get() {
                    repeat_the_end(kept).await;
                }
                kept.end();
            }
        }
        worker.carried.0.borrow_mut().remove(&id);
    }
}

/// A WebSocket to which the client has upgraded, and its place among the connections.
type Upgraded = (Box<WebSocket>, Box<Place>);

/// Continues over the WebSocket until the connection ends.
async fn go_on(lease: &Lease, served: Served, (mut socket, place): Upgraded) {
    match served {
        Served::Connected(mut connection) => {
            connection.has_upgraded();
            Box::pin(websocket::go_on(connection, &mut socket)).await;
        }
        Served::Connecting(connecting) => {
            Box::pin(websocket::serve_connecting(lease, &mut socket, connecting)).await;
        }
    }
    drop((socket, place));
}

/// Stays for a while after the last answer: it may be lost, in which case the client polls for it
/// again.
async fn repeat_the_end(kept: &Kept) {
    let until = Instant::now() + LINGER;
    while !kept.is_known_to_be_over() {
        tokio::select! {
            () = kept.changed.notified() => kept.answer(),
            () = sleep_until(until) => return,
        }
    }
}

/// Runs until the connection has ended, or its client has upgraded to a WebSocket.
async fn run(
    worker: &Rc<Worker>,
    carried: &Carried,
    outlet: &Outlet,
    served: &mut Served,
) -> Option<Upgraded> {
    let config = &worker.shared.config;
    let connect_until = Instant::now() + config.connections.connect_timeout;
    let interval = config.keepalive.interval;
    let heartbeat = interval.map_or(HEARTBEAT, |interval| interval / 2);
    let mut beat = Instant::now() + heartbeat;
    let mut stopping = worker.stopping();
    let mut stopping_too = worker.stopping();
    // The same as for a WebSocket whose client does not answer.
    let lifetime = interval.unwrap_or_default() + config.keepalive.pong_timeout;
    // A connection that was never polled costs its client nothing, so it expires earlier.
    let mut expiry = Expiry {
        lifetime,
        at: Instant::now() + lifetime.min(2 * config.connections.connect_timeout),
    };
    loop {
        if let Some(Batch { messages, done }) = carried.take_batch() {
            let taken = {
                let taking = take(worker, carried, outlet, served, &messages);
                tokio::pin!(taking);
                loop {
                    tokio::select! {
                        taken = &mut taking => break taken,
                        // Handling messages may have to wait until the client has polled for
                        // answers.
                        () = answered(&carried.downlink) => {}
                        () = expiry.passed(&carried.downlink) => return None,
                    }
                }
            };
            if let Err(ended) = taken {
                end(worker, outlet, ended);
            }
            carried.handled(done);
            continue;
        }
        if let Downlink::Polled(kept) = &carried.downlink {
            kept.answer();
            if let Served::Connected(connection) = served
                && let Some(mark) = kept.take_reached()
            {
                connection.receipt(mark);
            }
            if kept.is_over() {
                return None;
            }
            if let Some(upgraded) = kept.take_upgrade() {
                return Some(upgraded);
            }
        }
        if carried.left.get() {
            return None;
        }
        let is_connecting = matches!(served, Served::Connecting(_));
        tokio::select! {
            () = carried.wake.notified() => {}
            () = changed(&carried.downlink) => {
                if let Downlink::Stream(_) = carried.downlink {
                    return None;
                }
            }
            () = sleep_until(connect_until), if is_connecting => {
                let reason = "no connect came in time";
                end(worker, outlet, Ended::Close(CloseCode::POLICY_VIOLATION, reason));
                return None;
            }
            () = stopping.begun(), if is_connecting => {
                let reason = "the server goes away";
                end(worker, outlet, Ended::Close(CloseCode::SERVICE_RESTART, reason));
                return None;
            }
            () = closed_by_a_stop(&mut stopping_too, &carried.downlink) => return None,
            () = sleep_until(beat) => {
                beat = Instant::now() + heartbeat;
                if let Downlink::Stream(unsent) = &carried.downlink {
                    unsent.write(":\n\n");
                }
            }
            () = expiry.passed(&carried.downlink) => return None,
        }
    }
}

/// When a polled connection ends because its client has stopped polling. A connection with a stream
/// ends with its response instead.
struct Expiry {
    lifetime: Duration,
    at: Instant,
}

impl Expiry {
    /// Completes once the client has not polled for the whole lifetime. Cancel safe: the future may
    /// be dropped and the function called again.
    async fn passed(&mut self, downlink: &Downlink) {
        let Downlink::Polled(kept) = downlink else {
            return pending().await;
        };
        loop {
            if let Some(polled) = kept.polled() {
                self.at = self.at.max(polled + self.lifetime);
            }
            if self.at <= Instant::now() {
                return;
            }
            sleep_until(self.at).await;
        }
    }
}

/// Answers the waiting poll once there is a message.
async fn answered(downlink: &Downlink) {
    match downlink {
        Downlink::Stream(_) => pending().await,
        Downlink::Polled(kept) => {
            kept.changed.notified().await;
            kept.answer();
        }
    }
}

/// When the server stops, completes once a closed connection has waited long enough for a poll.
async fn closed_by_a_stop(stopping: &mut Stopping, downlink: &Downlink) {
    match downlink {
        Downlink::Polled(kept) if kept.is_closed() => {
            stopping.begun().await;
            sleep(STOPPING).await;
        }
        Downlink::Polled(_) | Downlink::Stream(_) => pending().await,
    }
}

/// Waits until a stream has ended, or a poll can be answered.
async fn changed(downlink: &Downlink) {
    match downlink {
        Downlink::Stream(unsent) => unsent.ended().await,
        Downlink::Polled(kept) => kept.changed.notified().await,
    }
}

fn end(worker: &Worker, outlet: &Outlet, ended: Ended) {
    match ended {
        // The client itself has closed it.
        Ended::Lost => outlet.close(CloseCode::NORMAL, ""),
        Ended::Close(code, reason) => {
            worker.note_refused("connect", reason);
            outlet.close(code, reason);
        }
    }
}

/// Handles the messages of one request, as fast as the client takes the answers. Those that follow the
/// end of the connection are dropped.
async fn take(
    worker: &Rc<Worker>,
    carried: &Carried,
    outlet: &Outlet,
    served: &mut Served,
    messages: &Messages,
) -> Result<(), Ended> {
    let bound = worker.shared.config.messages.outbox_bytes;
    let room = async || {
        if outlet.unsent() > bound {
            // An error means that the connection is closing, which the next message reports.
            let _closing = outlet.room().await;
        }
    };
    for (number, record) in (1..).zip(messages.iter()) {
        if carried.is_closed() {
            return Ok(());
        }
        if number % AT_ONCE == 0 {
            yield_now().await;
        }
        let incoming = incoming(&record);
        let taken = match served {
            Served::Connected(connection) => connection.receive(incoming),
            Served::Connecting(connecting) => match connect(worker, connecting, incoming).await? {
                Some(connection) => {
                    *served = Served::Connected(connection);
                    // The message that connected the client may also have requested something
                    // large.
                    Taken::AwaitsAnswer
                }
                None => Taken::Done,
            },
        };
        match served {
            Served::Connected(connection) => connection.settle(taken, &room).await,
            Served::Connecting(_) => room().await,
        }
    }
    Ok(())
}

/// Handles a message before the client is connected; returns the connection once it is.
async fn connect(
    worker: &Rc<Worker>,
    connecting: &mut Connecting,
    incoming: Incoming<'_>,
) -> Result<Option<Connection>, Ended> {
    let connected = connecting.receive(worker, incoming)?;
    finish(worker, connecting, connected).await
}

/// Begins the session of a dialect that does so without a message of the client.
async fn begin(
    worker: &Rc<Worker>,
    connecting: &mut Connecting,
) -> Result<Option<Connection>, Ended> {
    let connected = connecting.begin_by_itself(worker)?;
    finish(worker, connecting, connected).await
}

/// Waits for what connecting the client awaits.
async fn finish(
    worker: &Rc<Worker>,
    connecting: &mut Connecting,
    mut connected: Connected,
) -> Result<Option<Connection>, Ended> {
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

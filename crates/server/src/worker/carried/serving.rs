//! The task of one connection over requests: it handles what the client sends, answers its polls, and
//! notices when it is gone.

use std::{rc::Rc, time::Duration};

use offhook::protocol::CloseCode;
use offhook_dialects::Incoming;
use tokio::time::{Instant, sleep_until};

use super::{Batch, Carried, CarriedId, Downlink};
use crate::{
    door::Place,
    worker::{
        Guest, Worker,
        connecting::{Connected, Connecting, Ended},
        connection::{Connection, Taken},
        outlet::Outlet,
        stopping::Lease,
    },
};

/// Without keepalive, how often a comment is sent into a stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Whom a connection's messages go to.
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
        let worker = lease.worker();
        let outlet = carried.outlet();
        let mut stage = Served::Connecting(Connecting::new(outlet.clone(), guest));
        run(worker, &carried, &outlet, &mut stage).await;
        if carried.left.get()
            && let Served::Connected(connection) = &mut stage
        {
            connection.leave();
        }
        worker.carried.0.borrow_mut().remove(&id);
        match &carried.downlink {
            Downlink::Stream(unsent) => unsent.end(),
            Downlink::Polled(kept) => kept.end(),
        }
        drop((stage, place, lease));
    }
}

async fn run(worker: &Rc<Worker>, carried: &Carried, outlet: &Outlet, stage: &mut Served) {
    let config = &worker.shared.config;
    let connect_until = Instant::now() + config.connections.connect_timeout;
    let interval = config.keepalive.interval;
    let heartbeat = interval.map_or(HEARTBEAT, |interval| interval / 2);
    // As long as a WebSocket whose client does not answer.
    let lifetime = interval.unwrap_or_default() + config.keepalive.pong_timeout;
    let mut beat = Instant::now() + heartbeat;
    let mut stopping = worker.stopping();
    let mut expires = Instant::now() + lifetime;
    loop {
        let batch = carried.uplink.borrow_mut().batch.take();
        if let Some(Batch { text, done }) = batch {
            let ended = {
                let taking = take(worker, outlet, stage, &text);
                tokio::pin!(taking);
                loop {
                    tokio::select! {
                        ended = &mut taking => break ended,
                        // It may be waiting for the client to take answers.
                        () = told(&carried.downlink) => {}
                    }
                }
            };
            // A sender that no longer waits repeats it, which does nothing.
            let _told = done.send(Ok(()));
            if let Err(ended) = ended {
                end(worker, outlet, ended);
            }
            continue;
        }
        if let Downlink::Polled(kept) = &carried.downlink {
            kept.answer();
            if kept.is_over() {
                return;
            }
            if kept.is_polled() {
                expires = Instant::now() + lifetime;
            }
        }
        if carried.left.get() {
            return;
        }
        let is_connecting = matches!(stage, Served::Connecting(_));
        tokio::select! {
            () = carried.wake.notified() => {}
            () = changed(&carried.downlink) => {
                if let Downlink::Stream(_) = carried.downlink {
                    return;
                }
            }
            () = sleep_until(connect_until), if is_connecting => {
                let reason = "no connect came in time";
                end(worker, outlet, Ended::Close(CloseCode::POLICY_VIOLATION, reason));
                return;
            }
            () = stopping.begun(), if is_connecting => {
                let reason = "the server goes away";
                end(worker, outlet, Ended::Close(CloseCode::SERVICE_RESTART, reason));
                return;
            }
            () = sleep_until(beat) => {
                beat = Instant::now() + heartbeat;
                if let Downlink::Stream(unsent) = &carried.downlink {
                    unsent.write(":\n\n");
                }
            }
            () = sleep_until(expires), if matches!(carried.downlink, Downlink::Polled(_)) => {
                if !matches!(&carried.downlink, Downlink::Polled(kept) if kept.is_polled()) {
                    return;
                }
            }
        }
    }
}

/// Answers the poll that waits, once there is something to say.
async fn told(downlink: &Downlink) {
    match downlink {
        Downlink::Stream(_) => std::future::pending().await,
        Downlink::Polled(kept) => {
            kept.changed.notified().await;
            kept.answer();
        }
    }
}

/// Waits until a stream has ended, or there is something for a poll.
async fn changed(downlink: &Downlink) {
    match downlink {
        Downlink::Stream(unsent) => unsent.ended().await,
        Downlink::Polled(kept) => kept.changed.notified().await,
    }
}

fn end(worker: &Worker, outlet: &Outlet, ended: Ended) {
    let (code, reason) = match ended {
        Ended::Lost => (CloseCode::NORMAL, ""),
        Ended::Close(code, reason) => (code, reason),
    };
    worker.note_refused("connect", reason);
    outlet.close(code, reason);
}

/// Handles the messages of one request, as fast as the client takes the answers.
async fn take(
    worker: &Rc<Worker>,
    outlet: &Outlet,
    stage: &mut Served,
    text: &str,
) -> Result<(), Ended> {
    let bound = worker.shared.config.messages.outbox_bytes;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let taken = match stage {
            Served::Connected(connection) => connection.receive(Incoming::Text(line)),
            Served::Connecting(connecting) => {
                let mut connected = connecting.receive(worker, Incoming::Text(line))?;
                let connection = loop {
                    match connected {
                        Connected::NotYet => break None,
                        Connected::Awaits(loading) => {
                            connected = connecting.go_on(worker, loading).await?;
                        }
                        Connected::Yes(mut connection, intents) => {
                            for intent in intents {
                                connection.carry_out(intent);
                            }
                            break Some(connection);
                        }
                    }
                };
                if let Some(connection) = connection {
                    *stage = Served::Connected(connection);
                }
                Taken::Done
            }
        };
        if let (Taken::AwaitsAnswer, Served::Connected(connection)) = (taken, &*stage) {
            worker.answered(connection.id()).await;
        }
        if outlet.unsent() > bound && outlet.room().await.is_err() {
            // It is closing: the rest is ignored, as after a Close.
            return Ok(());
        }
    }
    Ok(())
}

//! A worker: one thread with its own event loop, listeners, engine and connections. Workers share
//! publications, by reference count, the broker, and the content of [`Shared`].

mod authenticating;
mod busiest;
mod byte_stream;
mod callers;
mod carried;
mod connecting;
mod connection;
mod counting;
mod expiring;
mod explaining;
mod listing;
mod live;
mod memory;
mod naming;
mod orders;
mod outboxes;
mod outlet;
mod pauses;
mod queues;
mod quick_hash;
mod recorder;
mod refilling;
mod replies;
mod shared;
mod speaker;
mod stopping;
mod strangers;
mod streaming;
mod system;
mod ticks;
mod top;
mod turn;
mod unfinished;
mod unread;
mod websocket;
mod webtransport;
mod wills;

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    thread::JoinHandle,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use offhook::{
    Settings, WebSocket,
    protocol::{self, deflate::DeflateConfig},
};
use offhook_brokers::{Mailbox, WorkerId};
use offhook_dialects::Intent;
use offhook_engine::{Engine, Identity, Now, RuleBook};
use tokio::{
    sync::{Notify, Semaphore, watch},
    task::{LocalSet, spawn_local},
};

use crate::{
    config::Config,
    door::{self, Entrance, Listener, Peer, Place, Stream},
    http3,
    listeners::Listeners,
    metrics::WorkerMetrics,
    refused::{Client, Refused},
};
use busiest::Busiest;
use callers::Callers;
pub(crate) use callers::going_away;
use carried::AllCarried;
pub(crate) use carried::{Answer, CarriedId, Carry, Form, Messages, Wrong};
use expiring::Expiries;
pub(crate) use explaining::{Known, Question, Sighting, Subject};
pub(crate) use live::Live;
pub(crate) use memory::{Memory, Pressure};
pub(crate) use orders::{Errand, Goodbye, Order, Orders};
use outboxes::Outboxes;
use queues::Queues;
use recorder::Recorder;
pub(crate) use recorder::{End, Entry, Outcome, What, Why};
pub(crate) use shared::Shared;
pub(crate) use speaker::Speaker;
pub(crate) use stopping::{Arriving, Lease, Phase};
use strangers::Strangers;
pub(crate) use streaming::Streaming;
pub(crate) use top::{Slow, Top};
use unfinished::Unfinished;
pub(crate) use unread::{AllUnread, CountedStream, Unread};
pub(crate) use webtransport::{Ended, Farewell, Session};
pub(crate) use wills::DelayedWills;
use wills::Wills;

/// One worker, on its own thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    /// The worker's number, from 0.
    number: u16,
    /// Its number at the broker.
    id: WorkerId,
    /// Settings that can be replaced while it runs.
    live: RefCell<Arc<Live>>,
    /// The settings of WebSockets.
    pub(crate) settings: Settings,
    /// The counters of this worker.
    pub(crate) metrics: Arc<WorkerMetrics>,
    state: RefCell<State>,
    /// Requests to the broker are gathered, and submitted later.
    gathers: Cell<bool>,
    /// Held while a connection that was behind is given more.
    refills: Semaphore,
    refused: RefCell<Refused>,
    phase: watch::Receiver<Phase>,
    /// Wakes the task that takes the broker's events.
    mail: Arc<Notify>,
    unfinished: Unfinished,
    strangers: Strangers,
    /// Streams of HTTP/2 with data that nobody has read.
    pub(crate) unread: AllUnread,
    carried: AllCarried,
    queues: Queues,
    /// Tasks that serve a connection.
    connections: Cell<usize>,
    /// Tasks that receive the first request of a connection.
    arriving: Cell<usize>,
    /// Notified when the last of these tasks has ended.
    emptied: Notify,
    /// Held by a connection with many subscriptions until it may end.
    ending: Semaphore,
    /// Identity given to anonymous clients.
    anonymous: Arc<Identity>,
}

/// A client admitted by its handshake.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The dialect of the connection.
    pub(crate) speaker: Speaker,
    /// The identity in the handshake's token; none without a token.
    pub(crate) identity: Option<Verified>,
    /// The facts about the client for the backend, if it decides about clients.
    pub(crate) approach: Option<Box<Approach>>,
    /// Its connection in logs.
    pub(crate) peer: Option<Peer>,
    /// The polled connection that continues over this WebSocket.
    pub(crate) upgrades: Option<CarriedId>,
}

/// The identity in a token that was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) identity: Arc<Identity>,
    /// When the session was authenticated, in milliseconds since 1970. A revocation covers it if it
    /// is later.
    pub(crate) at_ms: u64,
}

/// The facts about a client that the backend is asked about.
#[derive(Debug, Default)]
pub(crate) struct Approach {
    /// The handshake's token, if only the backend can verify it.
    pub(crate) token: Option<String>,
    /// The page's origin.
    pub(crate) origin: Option<String>,
    pub(crate) address: Option<IpAddr>,
}

/// The state used in a turn of the event loop.
#[derive(Debug)]
struct State {
    engine: Engine,
    outboxes: Outboxes,
    expiries: Expiries,
    mailbox: Arc<Mailbox>,
    callers: Callers,
    wills: Wills,
    recorder: Recorder,
    busiest: Busiest,
    /// Intents of the present message; empty between messages.
    intents: Vec<Intent>,
}

/// The time, read outside the engine.
pub(crate) fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    let unix_ms = unix.map_or(0, |past| {
        u64::try_from(past.as_millis()).unwrap_or(u64::MAX)
    });
    Now {
        instant: Instant::now(),
        unix_ms,
    }
}

/// Starts a worker on its own thread. It ends when the phase says so, or when the phase's sender is
/// dropped.
pub(crate) fn spawn(
    number: u16,
    shared: Arc<Shared>,
    rules: Arc<RuleBook>,
    listeners: Listeners,
    phase: watch::Receiver<Phase>,
) -> io::Result<JoinHandle<()>> {
    // Created here, so that an error of the system fails the start, not the thread.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listeners = {
        let _entered = runtime.enter();
        let ours = listeners.into_iter();
        let ours = ours.map(|(entrance, socket)| Ok((entrance, Listener::new(socket)?)));
        ours.collect::<io::Result<Vec<_>>>()?
    };
    let run = move || {
        let local = LocalSet::new();
        runtime.block_on(local.run_until(async move {
            let mail = Arc::new(Notify::new());
            let worker = Worker::new(number, shared, rules, phase, &mail);
            worker.run(listeners).await;
        }));
    };
    std::thread::Builder::new()
        .name(format!("offhook-worker-{number}"))
        .spawn(run)
}

impl Worker {
    fn new(
        number: u16,
        shared: Arc<Shared>,
        rules: Arc<RuleBook>,
        phase: watch::Receiver<Phase>,
        mail: &Arc<Notify>,
    ) -> Rc<Self> {
        let now = now();
        let config = &shared.config;
        let wake = Arc::clone(mail);
        let mailbox = Mailbox::new(config.storage.mailbox_bytes, move || wake.notify_one());
        let mailbox = Arc::new(mailbox);
        let id = shared.broker.attach(Arc::clone(&mailbox));
        let settings = settings(config);
        let live = Live::new(config.clone(), Arc::clone(&rules));
        let metrics = shared.metrics.of(number);
        Rc::new(Self {
            number,
            id,
            state: RefCell::new(State {
                engine: Engine::new(live.limits(), rules, now),
                outboxes: Outboxes::new(config, Arc::clone(&metrics)),
                expiries: Expiries::default(),
                mailbox,
                callers: Callers::default(),
                wills: Wills::new(),
                recorder: Recorder::new(&config.recorder, config.workers.get()),
                busiest: Busiest::new(now.instant),
                intents: Vec::new(),
            }),
            live: RefCell::new(live),
            gathers: Cell::new(false),
            refills: Semaphore::new(refilling::AT_ONCE),
            settings,
            refused: RefCell::new(Refused::new(now.instant, Arc::clone(&metrics))),
            metrics,
            phase,
            mail: Arc::clone(mail),
            unfinished: Unfinished::default(),
            strangers: Strangers::default(),
            unread: AllUnread::default(),
            carried: AllCarried::default(),
            queues: Queues::default(),
            connections: Cell::new(0),
            arriving: Cell::new(0),
            emptied: Notify::new(),
            ending: Semaphore::new(1),
            anonymous: Arc::new(Identity::stranger()),
            shared,
        })
    }

    async fn run(self: Rc<Self>, listeners: Vec<(Arc<Entrance>, Listener)>) {
        for (entrance, listener) in listeners {
            spawn_local(door::accept(Rc::clone(&self), entrance, listener));
        }
        for endpoint in self.shared.quic.iter().flat_map(|quic| &quic.endpoints) {
            spawn_local(http3::accept(Rc::clone(&self), endpoint.clone()));
        }
        spawn_local(Rc::clone(&self).take_mail());
        spawn_local(Rc::clone(&self).take_orders());
        spawn_local(Rc::clone(&self).tick());
        spawn_local(Rc::clone(&self).tick_dialects());
        spawn_local(Rc::clone(&self).measure_delay());
        spawn_local(Rc::clone(&self).publish_system());
        self.until_stopped().await;
        self.shared.orders.close(self.number);
        self.shared.broker.detach(self.id);
    }

    /// Makes a connection of an open WebSocket.
    pub(crate) fn open(self: &Rc<Self>, socket: WebSocket, guest: Guest, place: Place) {
        match guest.upgrades {
            Some(id) => self.probe(id, socket, place),
            None => drop(spawn_local(websocket::serve(self, socket, guest, place))),
        }
    }

    /// Makes a connection of a stream that is not a WebSocket.
    pub(crate) fn open_stream(self: &Rc<Self>, stream: Stream, guest: Guest, place: Place) {
        spawn_local(byte_stream::serve(Rc::clone(self), stream, guest, place));
    }

    /// Logs a refusal that concerns no client in particular, once per kind and interval.
    pub(crate) fn note_refused(&self, kind: &'static str, detail: impl fmt::Display) {
        self.note_refusal(kind, detail, Client::default());
    }

    /// Logs the refusal of a client, once per kind and interval.
    pub(crate) fn note_refusal(
        &self,
        kind: &'static str,
        detail: impl fmt::Display,
        client: Client<'_>,
    ) {
        self.refused.borrow_mut().note(kind, detail, client);
    }
}

fn settings(config: &Config) -> Settings {
    let settings = Settings::default()
        .config(protocol::Config {
            limits: protocol::Limits {
                message_size: config.messages.max_bytes as u64,
                ..protocol::Limits::default()
            },
            keepalive: config.keepalive,
            close_timeout: config.connections.close_timeout,
            ..protocol::Config::default()
        })
        .send_buffer(config.messages.outbox_bytes);
    if config.messages.deflate {
        settings.deflate(DeflateConfig::default())
    } else {
        settings
    }
}

#[cfg(test)]
mod tests;

//! The outboxes of all connections: deliveries of the engine are encoded and framed once for each
//! class of connections, and put into each connection's outlet.

mod broadcasts;
mod dialects;
mod framing;
mod partial;
mod queued;
mod timers;
mod tokens;
mod unsent;

use std::{
    collections::HashMap,
    mem,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use offhook::protocol::CloseCode;
use offhook_dialects::{Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Unfinished};
use offhook_engine::{Class, CommandId, ConnectionId, Delivery, Notice, Reply};
use tokio::sync::Notify;

use super::{orders::Goodbye, outlet::Outlet, speaker::Speaker};
use crate::{config::Config, door::Peer, metrics::WorkerMetrics};
use broadcasts::Broadcasts;
use framing::{Framed, Framing};
use timers::Timers;
use tokens::Kept;
pub(super) use tokens::SealedToken;
use unsent::Bound;

/// The outboxes of a worker's connections, by the connections' dense index.
#[derive(Debug)]
pub(super) struct Outboxes {
    connections: Vec<Option<Outbox>>,
    /// The limit of an outbox.
    bound: Bound,
    /// Connections with enough unsent bytes to be counted.
    heavy: Vec<ConnectionId>,
    framing: Framing,
    broadcasts: Broadcasts,
    /// Connections whose outbox exceeds its limit after a broadcast.
    full: Vec<ConnectionId>,
    /// Marks that could not be sent yet: too much was unsent before them.
    marks: Vec<(ConnectionId, u32)>,
    /// Large answers that have to be put before their connections may ask for more.
    awaited: HashMap<ConnectionId, Awaited>,
    /// Connections whose tokens are outdated.
    stale: Vec<ConnectionId>,
    /// Connections whose sessions are too large for their tokens.
    kept: HashMap<ConnectionId, Kept>,
    /// Connections in `kept` whose clients have acknowledged something since.
    unsaved: Vec<ConnectionId>,
    /// Codes and reasons with which connections are closed that the server's side ends.
    goodbyes: HashMap<ConnectionId, Goodbye>,
    /// A buffer for output of a dialect; empty between calls.
    spoken: Vec<Payload>,
    /// The timeouts of dialects.
    timers: Timers,
    /// What dialects ask for because of what they were told.
    wishes: Vec<(ConnectionId, Intent)>,
    /// Connections whose dialects wait before they take more.
    pausing: HashMap<ConnectionId, Rc<Notify>>,
    /// Incomplete messages that dialects hold.
    partial: HashMap<ConnectionId, Unfinished>,
    /// The time of day in this turn.
    unix_ms: u64,
    metrics: Arc<WorkerMetrics>,
    /// Connections that were told to reconnect, and when.
    farewells: Vec<(Duration, ConnectionId)>,
    /// Bytes of publications put into single outboxes in this turn.
    put_singly: usize,
}

/// The outbox of one connection. The outlet holds its bytes; this is the additional state.
#[derive(Debug)]
struct Outbox {
    connection: ConnectionId,
    outlet: Outlet,
    rare: Box<Rare>,
    /// When its token was sealed, in seconds since the server's start.
    sealed_s: u32,
    /// Its token is outdated; it is listed in `Outboxes::stale`.
    stale: bool,
    refilling: bool,
    /// It is listed in `Outboxes::heavy`.
    heavy: bool,
    /// Its client resumes with tokens.
    has_tokens: bool,
}

/// What most broadcasts do not need. Boxed, because it then fits into the gaps that the allocations
/// of a connection's tasks leave: these are aligned to 128 bytes.
#[derive(Debug)]
struct Rare {
    speaker: Speaker,
    /// Its name in logs.
    peer: Option<Peer>,
}

/// Large answers that a connection waits for.
#[derive(Debug, Default)]
struct Awaited {
    left: Vec<CommandId>,
    wake: Rc<Notify>,
}

impl Outboxes {
    pub(super) fn new(config: &Config, metrics: Arc<WorkerMetrics>) -> Self {
        Self {
            connections: Vec::new(),
            bound: Bound::new(config.messages.outbox_bytes),
            heavy: Vec::new(),
            framing: Framing::new(config),
            broadcasts: Broadcasts::default(),
            full: Vec::new(),
            marks: Vec::new(),
            awaited: HashMap::new(),
            stale: Vec::new(),
            kept: HashMap::new(),
            unsaved: Vec::new(),
            goodbyes: HashMap::new(),
            spoken: Vec::new(),
            timers: Timers::default(),
            wishes: Vec::new(),
            pausing: HashMap::new(),
            partial: HashMap::new(),
            unix_ms: 0,
            metrics,
            farewells: Vec::new(),
            put_singly: 0,
        }
    }

    /// Sets the time of day for what is delivered in this turn.
    pub(super) const fn set_time(&mut self, unix_ms: u64) {
        self.unix_ms = unix_ms;
    }

    /// The time of day in this turn.
    pub(super) const fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// The class of connections with this encoding.
    pub(super) fn class_of(&mut self, encoding: &'static dyn Encoding) -> Class {
        self.framing.class_of(encoding)
    }

    /// The name of the encoding of a class.
    pub(super) fn dialect_of(&self, class: Class) -> &'static str {
        self.framing.name(class)
    }

    /// Whether connections of a class are told how many subscribers their channels have.
    pub(super) fn is_counted(&self, class: Class) -> bool {
        self.framing.is_counted(class)
    }

    /// Adds a connection; its token was sealed just now.
    pub(super) fn add(
        &mut self,
        connection: ConnectionId,
        outlet: Outlet,
        mut speaker: Speaker,
        peer: Option<Peer>,
        now_s: u32,
    ) {
        let has_tokens = speaker.with(|dialect| dialect.has_tokens());
        let index = connection.index();
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        if let Some(place) = self.connections.get_mut(index) {
            *place = Some(Outbox {
                connection,
                outlet,
                rare: Box::new(Rare { speaker, peer }),
                sealed_s: now_s,
                stale: false,
                refilling: false,
                heavy: false,
                has_tokens,
            });
        }
        self.attend(connection);
    }

    /// The name of a connection in logs.
    pub(super) fn peer(&mut self, connection: ConnectionId) -> Option<Peer> {
        self.get(connection)?.rare.peer
    }

    /// Removes a connection that has ended.
    pub(super) fn remove(&mut self, connection: ConnectionId) {
        if self.get(connection).is_some()
            && let Some(place) = self.connections.get_mut(connection.index())
        {
            *place = None;
            if let Some(awaited) = self.awaited.remove(&connection) {
                // Nothing will be put any more.
                awaited.wake.notify_one();
            }
            self.kept.remove(&connection);
            self.goodbyes.remove(&connection);
            self.partial.remove(&connection);
            self.timers.set(connection, None);
            if let Some(pause) = self.pausing.remove(&connection) {
                pause.notify_one();
            }
        }
    }

    fn get(&mut self, connection: ConnectionId) -> Option<&mut Outbox> {
        let outbox = self.connections.get_mut(connection.index())?.as_mut();
        outbox.filter(|outbox| outbox.connection == connection)
    }

    /// Decodes the intents of a message from a connection's client.
    pub(super) fn read(
        &mut self,
        connection: ConnectionId,
        incoming: Incoming<'_>,
        now: Instant,
        intents: &mut Vec<Intent>,
    ) {
        if let Some(outbox) = self.get(connection) {
            outbox
                .rare
                .speaker
                .with(|dialect| dialect.receive(incoming, now, intents));
        }
        self.attend(connection);
    }

    /// Puts a delivery of the engine into the outboxes concerned; broadcasts are held until
    /// [`walk`](Self::walk).
    pub(super) fn put(&mut self, delivery: Delivery<'_>) {
        match delivery {
            Delivery::Broadcast {
                publication,
                place,
                filter,
                class,
                recipients,
            } => {
                let framed = self.framing.publication(class, &publication);
                let at = filter.is_some().then_some(place);
                self.hold_framed(class, &framed, recipients, at, place);
            }
            Delivery::Presence {
                change,
                class,
                recipients,
            } => {
                if let Some(framed) = self.framing.presence(class, &change) {
                    let nowhere = Recipient::PLAIN.place;
                    self.hold_framed(class, &framed, recipients, None, nowhere);
                }
            }
            Delivery::Publication {
                connection,
                class,
                subscription,
                publication,
                place,
                deliveries,
                state,
            } => {
                self.catch_up_walk(connection);
                let recipient = Recipient {
                    subscription: subscription.id,
                    at: subscription.target.channel().is_none().then_some(place),
                    redelivered: deliveries.saturating_sub(1),
                    state,
                    place,
                    unix_ms: self.unix_ms,
                };
                let framed = self.framing.publication(class, &publication);
                self.publication(connection, class, &recipient, &framed);
            }
            Delivery::Connection { connection, notice } => {
                // Acknowledgements may overtake: they would otherwise come between the publications
                // of a batch.
                if !is_acknowledgement(&notice) {
                    self.catch_up_walk(connection);
                }
                self.notice(connection, &notice);
            }
            Delivery::Mark { connection, mark } => {
                self.catch_up_walk(connection);
                self.mark(connection, mark);
            }
        }
    }

    /// A publication for one connection, which is catching up. It is within the connection's grant.
    fn publication(
        &mut self,
        connection: ConnectionId,
        class: Class,
        recipient: &Recipient,
        framed: &Framed,
    ) {
        let has_head = !recipient.is_plain()
            || self.framing.has_heads(class)
            || self.framing.is_timed(class, &framed.shared);
        let Some(outbox) = self.get(connection) else {
            return;
        };
        let head = match has_head {
            true => outbox
                .rare
                .speaker
                .with(|dialect| dialect.head(recipient, &framed.shared)),
            false => Head::None,
        };
        let unsent = match head {
            Head::None => outbox.outlet.put_prepared(&framed.messages),
            Head::Insert(head) => outbox.outlet.put(framed.shared.with_head(&head)),
            Head::Whole(message) => outbox.outlet.put(message),
            Head::Several(messages) => outbox.outlet.put_all(messages),
            Head::Nothing => Ok(outbox.outlet.unsent()),
        };
        self.metrics.deliveries.add(1);
        let bytes = framed.shared.message.as_bytes().len();
        self.metrics.delivered_bytes.add(bytes as u64);
        self.put_singly += bytes;
        // A closing connection gets nothing more.
        self.note_unsent(connection, unsent.unwrap_or(0));
        self.attend(connection);
    }

    /// Puts messages of a connection's dialect.
    pub(super) fn say(
        &mut self,
        connection: ConnectionId,
        speak: impl FnOnce(&mut dyn Dialect, &mut Vec<Payload>),
    ) {
        let mut spoken = mem::take(&mut self.spoken);
        if let Some(outbox) = self.get(connection) {
            outbox
                .rare
                .speaker
                .with(|dialect| speak(dialect, &mut spoken));
            let mut unsent = 0;
            for message in spoken.drain(..) {
                // A closing connection gets nothing more.
                unsent = outbox.outlet.put(message).unwrap_or(0);
            }
            self.note_unsent(connection, unsent);
        }
        self.spoken = spoken;
        self.attend(connection);
    }

    /// Sends a notice to one connection, and handles its consequences.
    pub(super) fn notice(&mut self, connection: ConnectionId, notice: &Notice) {
        self.say(connection, |dialect, out| dialect.notice(notice, out));
        if let Notice::Reply { id: Some(id), .. } = notice {
            self.is_answered(connection, *id);
        }
        let closes = matches!(notice, Notice::Close { .. });
        let goodbye = closes.then(|| self.goodbyes.remove(&connection)).flatten();
        let Some(outbox) = self.get(connection) else {
            return;
        };
        match notice {
            Notice::Reply { reply, .. } => match reply {
                Reply::Subscribed { .. } | Reply::InfoUpdated => self.token_is_stale(connection),
                Reply::Done { .. } => self.is_unsaved(connection),
                // Its token was sealed before it.
                Reply::Unsubscribed { .. } => {}
                Reply::Refused(_)
                | Reply::Published { .. }
                | Reply::History { .. }
                | Reply::State { .. }
                | Reply::Values { .. }
                | Reply::Remembered
                | Reply::Members { .. }
                | Reply::Acked { .. }
                | Reply::Receipts { .. }
                | Reply::Called { .. }
                | Reply::Pong => {}
            },
            Notice::Close { reason } => {
                let code = outbox
                    .rare
                    .speaker
                    .with(|dialect| dialect.close_code(*reason));
                match goodbye {
                    Some(own) => outbox.outlet.close(CloseCode::new(own.code), &own.reason),
                    None => outbox.outlet.close(CloseCode::new(code), reason.name()),
                }
            }
            Notice::Gap { reason, .. } | Notice::ChannelGap { reason, .. } => {
                self.metrics.gaps.count(reason.name());
            }
            Notice::CatchingUp { .. } => self.metrics.catching_up.add(1),
            Notice::Reconnect { after } => self.farewells.push((*after, connection)),
            Notice::Unsubscribed { .. }
            | Notice::Own { .. }
            | Notice::Told { .. }
            | Notice::Restored
            | Notice::Live { .. } => {}
        }
    }

    /// Sets how a connection is closed that the server's side ends.
    pub(super) fn set_goodbye(&mut self, connection: ConnectionId, goodbye: Goodbye) {
        if self.get(connection).is_some() {
            self.goodbyes.insert(connection, goodbye);
        }
    }

    /// Closes a connection at the request of its dialect.
    pub(super) fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        if let Some(outbox) = self.get(connection) {
            outbox.outlet.close(CloseCode::new(code), reason);
        }
    }

    /// A connection requests something large: it may request more once that was put.
    pub(super) fn await_answer(&mut self, connection: ConnectionId, id: CommandId) {
        if self.get(connection).is_some() {
            self.awaited.entry(connection).or_default().left.push(id);
        }
    }

    fn is_answered(&mut self, connection: ConnectionId, id: CommandId) {
        // Almost always nothing is awaited.
        if self.awaited.is_empty() {
            return;
        }
        let Some(awaited) = self.awaited.get_mut(&connection) else {
            return;
        };
        awaited.left.retain(|left| *left != id);
        if awaited.left.is_empty() {
            awaited.wake.notify_one();
            self.awaited.remove(&connection);
        }
    }

    /// Wakes when all large answers for this connection were put; none when they were.
    pub(super) fn awaited(&self, connection: ConnectionId) -> Option<Rc<Notify>> {
        let awaited = self.awaited.get(&connection)?;
        Some(Rc::clone(&awaited.wake))
    }

    /// The next connection whose outbox exceeds its limit after a broadcast.
    pub(super) fn next_full(&mut self) -> Option<ConnectionId> {
        self.full.pop()
    }

    /// The outlet to refill, unless a task already does so.
    pub(super) fn begin_refill(&mut self, connection: ConnectionId) -> Option<Outlet> {
        let outbox = self.get(connection)?;
        let begun = mem::replace(&mut outbox.refilling, true);
        (!begun).then(|| outbox.outlet.clone())
    }

    pub(super) fn end_refill(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection) {
            outbox.refilling = false;
        }
    }

    /// Sends a mark after everything handed out to the connection, as soon as possible.
    fn mark(&mut self, connection: ConnectionId, mark: u32) {
        if let Some(outbox) = self.get(connection)
            && !outbox.outlet.mark(mark)
        {
            self.marks.push((connection, mark));
        }
    }

    /// Retries marks that could not be sent.
    pub(super) fn mark_again(&mut self) {
        for (connection, mark) in mem::take(&mut self.marks) {
            self.mark(connection, mark);
        }
    }

    /// The connections that were told to reconnect, and when.
    pub(super) fn take_farewells(&mut self) -> Vec<(Duration, ConnectionId)> {
        mem::take(&mut self.farewells)
    }
}

fn is_acknowledgement(notice: &Notice) -> bool {
    let Notice::Reply { reply, .. } = notice else {
        return false;
    };
    matches!(reply, Reply::Published { .. })
}

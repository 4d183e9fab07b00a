//! Every connection's outbox: what the engine gives out is encoded and framed once, and put into each.

use std::{cell::RefCell, mem, rc::Rc, sync::Arc};

use offhook::{
    Sender,
    protocol::{
        CloseCode, Prepared,
        deflate::{DeflateConfig, DeflatePool},
    },
};
use offhook_dialects::native;
use offhook_engine::{ConnectionId, Delivery, Notice, Publication, Reply};
use tokio::sync::Notify;

use crate::{config::Config, refused::Refused};

/// The outboxes of a worker's connections, by the connections' dense index.
#[derive(Debug)]
pub(super) struct Outboxes {
    connections: Vec<Option<Outbox>>,
    /// Bytes an outbox may hold.
    bound: usize,
    framing: Framing,
    /// What all of these connections get, and have not got yet.
    held: Held,
    /// Those that a broadcast put above the bound.
    full: Vec<ConnectionId>,
    /// Those that may wait to be handed out more.
    thirsty: Vec<ConnectionId>,
    /// Marks that could not leave yet: too much was unsent before them.
    marks: Vec<(ConnectionId, u32)>,
    /// Those whose subscriptions changed since their token was sealed.
    stale: Vec<ConnectionId>,
}

/// Broadcasts to the same connections that come one after the other: put together, they take one turn
/// through the connections.
#[derive(Debug, Default)]
struct Held {
    messages: Vec<Prepared>,
    connections: Vec<ConnectionId>,
    /// Whether this turn has broadcasts for others as well. A connection may be among both, and gets
    /// them in one write at the end. The one audience that most turns have is written to at once,
    /// so that the bytes go from one buffer that the processor has at hand.
    several: bool,
}

/// Broadcasts held at most. 32: a turn through the connections is cheap then, and an outbox that is full
/// is over its bound by as many messages.
const HELD: usize = 32;

/// The outbox of one connection: the connection has its bytes, this is what we must know beside.
#[derive(Debug)]
struct Outbox {
    connection: ConnectionId,
    sender: Sender,
    /// When its token was sealed, in seconds since the worker's start.
    sealed_s: u32,
    refilling: bool,
    stale: bool,
    /// Whoever waits for an answer to be put.
    answered: Option<Rc<Notify>>,
}

impl Outboxes {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            connections: Vec::new(),
            bound: config.messages.outbox_bytes,
            framing: Framing::new(config),
            held: Held::default(),
            full: Vec::new(),
            thirsty: Vec::new(),
            marks: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// A connection begins; its token was sealed just now.
    pub(super) fn add(&mut self, connection: ConnectionId, sender: Sender, sealed_s: u32) {
        let index = connection.index();
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        if let Some(place) = self.connections.get_mut(index) {
            *place = Some(Outbox {
                connection,
                sender,
                sealed_s,
                refilling: false,
                stale: false,
                answered: None,
            });
        }
    }

    /// A connection has ended.
    pub(super) fn remove(&mut self, connection: ConnectionId) {
        if self.get(connection).is_some()
            && let Some(place) = self.connections.get_mut(connection.index())
        {
            *place = None;
        }
    }

    fn get(&mut self, connection: ConnectionId) -> Option<&mut Outbox> {
        let outbox = self.connections.get_mut(connection.index())?.as_mut();
        outbox.filter(|outbox| outbox.connection == connection)
    }

    /// Puts what the engine gives out where it belongs, but for broadcasts, which may be held
    /// until [`end_turn`](Self::end_turn).
    pub(super) fn put(&mut self, delivery: Delivery<'_>, refused: &RefCell<Refused>) {
        match delivery {
            Delivery::Broadcast {
                publication,
                recipients,
                ..
            } => {
                let connections = recipients.connections();
                if let Some(gap) = native::encode_new_epoch(&publication) {
                    let gap = self.framing.frame(gap);
                    self.hold(gap, connections);
                }
                let message = self.framing.publication(&publication);
                self.hold(message, connections);
            }
            Delivery::Presence {
                change, recipients, ..
            } => {
                let message = self.framing.frame(native::encode_presence(&change));
                self.hold(message, recipients.connections());
            }
            Delivery::Publication {
                connection,
                publication,
                ..
            } => {
                self.put_held();
                let gap = native::encode_new_epoch(&publication);
                let gap = gap.map(|gap| self.framing.frame(gap));
                let message = self.framing.publication(&publication);
                if let Some(outbox) = self.get(connection) {
                    // It is within what the connection may be handed out; one that is closing gets
                    // nothing more.
                    let messages: Vec<_> = gap.into_iter().chain([message]).collect();
                    let _unsent = outbox.sender.put_prepared(&messages);
                    self.thirsty.push(connection);
                }
            }
            Delivery::Connection { connection, notice } => {
                // Acknowledgements may overtake: they come between the publications of a batch.
                if !is_acknowledgement(&notice) {
                    self.put_held();
                }
                self.notice(connection, &notice, refused);
            }
            Delivery::Mark { connection, mark } => {
                self.put_held();
                self.mark(connection, mark);
            }
        }
    }

    fn hold(&mut self, message: Prepared, connections: &[ConnectionId]) {
        let others = self.held.connections != connections;
        self.held.several |= others && !self.held.messages.is_empty();
        if others || self.held.messages.len() >= HELD {
            self.put_held();
            self.held.connections.extend_from_slice(connections);
        }
        self.held.messages.push(message);
    }

    /// Ends a turn: puts the broadcasts that are held. Says whether there were any.
    pub(super) fn end_turn(&mut self) -> bool {
        let any = !self.held.messages.is_empty();
        self.put_held();
        self.held.several &= any;
        any
    }

    /// Puts the broadcasts that are held into the outbox of each of their connections.
    fn put_held(&mut self) {
        for &connection in &self.held.connections {
            let Some(Some(outbox)) = self.connections.get_mut(connection.index()) else {
                continue;
            };
            let put = if self.held.several {
                outbox.sender.put_prepared(&self.held.messages)
            } else {
                outbox.sender.write_prepared(&self.held.messages)
            };
            // A connection that is closing gets nothing more.
            let Ok(unsent) = put else { continue };
            if unsent > self.bound {
                self.full.push(connection);
            }
        }
        self.held.connections.clear();
        self.held.messages.clear();
    }

    fn notice(&mut self, connection: ConnectionId, notice: &Notice, refused: &RefCell<Refused>) {
        let Some(outbox) = self.get(connection) else {
            return;
        };
        // A connection that is closing gets nothing more.
        let _unsent = outbox.sender.put(native::encode_notice(notice));
        if let Some(answered) = &outbox.answered {
            answered.notify_one();
        }
        match notice {
            Notice::Reply { reply, .. } => match reply {
                Reply::Subscribed { .. } | Reply::Unsubscribed { .. } => {
                    self.token_is_stale(connection)
                }
                Reply::Refused(refusal) => {
                    refused
                        .borrow_mut()
                        .note(refusal.code.name(), &refusal.detail);
                }
                Reply::Published { .. }
                | Reply::History { .. }
                | Reply::Members { .. }
                | Reply::Acked { .. }
                | Reply::Receipts { .. }
                | Reply::State { .. }
                | Reply::Done { .. }
                | Reply::InfoUpdated
                | Reply::Called { .. }
                | Reply::Pong => {}
            },
            Notice::Unsubscribed { .. } => self.token_is_stale(connection),
            Notice::Close { reason } => {
                let code = CloseCode::new(native::close_code(*reason));
                // It may be closing already: then that stands.
                let _closing = outbox.sender.close(code, reason.name());
                refused.borrow_mut().note("connection", reason.name());
            }
            Notice::Gap { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::State { .. }
            | Notice::Told { .. }
            | Notice::Restored
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Reconnect { .. } => {}
        }
    }

    /// Rings when something was put for this connection, until the connection takes commands again.
    pub(super) fn ring_when_answered(&mut self, connection: ConnectionId) -> Option<Rc<Notify>> {
        let answered = self.get(connection)?.answered.get_or_insert_default();
        Some(Rc::clone(answered))
    }

    pub(super) fn ring_no_more(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection) {
            outbox.answered = None;
        }
    }

    fn token_is_stale(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection)
            && !mem::replace(&mut outbox.stale, true)
        {
            self.stale.push(connection);
        }
    }

    /// The next connection whose outbox a broadcast has put above its bound.
    pub(super) fn next_full(&mut self) -> Option<ConnectionId> {
        let connection = self.full.pop()?;
        self.thirsty.push(connection);
        Some(connection)
    }

    /// Connections that may wait to be handed out more.
    pub(super) fn take_thirsty(&mut self) -> Vec<ConnectionId> {
        mem::take(&mut self.thirsty)
    }

    /// What to refill a connection with, unless somebody does already.
    pub(super) fn begin_refill(&mut self, connection: ConnectionId) -> Option<Sender> {
        let outbox = self.get(connection)?;
        let begun = mem::replace(&mut outbox.refilling, true);
        (!begun).then(|| outbox.sender.clone())
    }

    pub(super) fn end_refill(&mut self, connection: ConnectionId) {
        if let Some(outbox) = self.get(connection) {
            outbox.refilling = false;
        }
    }

    /// Sends a mark behind everything that the connection was handed out, as soon as that is possible.
    fn mark(&mut self, connection: ConnectionId, mark: u32) {
        let Some(outbox) = self.get(connection) else {
            return;
        };
        // A connection that is closing will not be asked any more.
        if let Ok(false) = outbox.sender.mark(mark) {
            self.marks.push((connection, mark));
        }
    }

    /// Tries again to send the marks that could not leave.
    pub(super) fn mark_again(&mut self) {
        for (connection, mark) in mem::take(&mut self.marks) {
            self.mark(connection, mark);
        }
    }

    /// Gives new tokens to those whose subscriptions have changed.
    pub(super) fn seal_stale(
        &mut self,
        now_s: u32,
        mut seal: impl FnMut(ConnectionId) -> Option<String>,
    ) {
        for connection in mem::take(&mut self.stale) {
            let Some(outbox) = self.get(connection) else {
                continue;
            };
            outbox.stale = false;
            outbox.sealed_s = now_s;
            if let Some(token) = seal(connection) {
                // A connection that is closing gets nothing more.
                let _unsent = outbox.sender.put(native::encode_token(&token));
            }
        }
    }

    /// Tokens that were sealed before that moment are to be sealed again.
    pub(super) fn age_tokens(&mut self, before_s: u32) {
        let old = self.connections.iter_mut().flatten();
        for outbox in old.filter(|outbox| outbox.sealed_s < before_s && !outbox.stale) {
            outbox.stale = true;
            self.stale.push(outbox.connection);
        }
    }

    /// Closes every connection.
    pub(super) fn close_all(&self, code: CloseCode, reason: &str) {
        for outbox in self.connections.iter().flatten() {
            // It may be closing already: then that stands.
            let _closing = outbox.sender.close(code, reason);
        }
    }
}

fn is_acknowledgement(notice: &Notice) -> bool {
    let Notice::Reply { reply, .. } = notice else {
        return false;
    };
    matches!(reply, Reply::Published { .. })
}

/// Encodes and frames once for all connections that speak alike.
#[derive(Debug)]
struct Framing {
    deflate: Option<(DeflateConfig, DeflatePool)>,
    /// The last publication, which those who catch up together get one after the other.
    last: Option<(Arc<Publication>, Prepared)>,
}

impl Framing {
    fn new(config: &Config) -> Self {
        let deflate = config.messages.deflate;
        Self {
            deflate: deflate.then(|| (DeflateConfig::default(), DeflatePool::default())),
            last: None,
        }
    }

    fn publication(&mut self, publication: &Arc<Publication>) -> Prepared {
        if let Some((known, message)) = &self.last
            && Arc::ptr_eq(known, publication)
        {
            return message.clone();
        }
        let message = self.frame(native::encode_publication(publication));
        self.last = Some((Arc::clone(publication), message.clone()));
        message
    }

    fn frame(&self, text: String) -> Prepared {
        match &self.deflate {
            None => Prepared::new(text),
            Some((config, pool)) => Prepared::with_deflate(text, config, pool),
        }
    }
}

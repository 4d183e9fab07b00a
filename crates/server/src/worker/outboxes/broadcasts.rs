//! Broadcasts on their way into outboxes.
//!
//! Broadcasts for the same audience are put into its connections' outboxes in one walk. If the
//! audience is large, a walk takes several turns of the event loop, with other work in between.
//! Each connection still gets everything in order; see [`Outboxes::catch_up_walk`].

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use offhook::protocol::Prepared;
use offhook_dialects::{Head, Recipient, Shared};
use offhook_engine::{Class, ConnectionId, Position, Recipients, SubscriptionId};

use super::{Outbox, Outboxes, framing::Framed, unsent::HEAVY};
use crate::worker::outlet::Gone;

/// The maximum number of messages held for one audience. 32: the cost of a walk is then spread over
/// many messages, and a full outbox exceeds its limit by no more than these.
const HELD: usize = 32;

/// The maximum number of pending walks. 8: enough for the classes of one or two busy channels; more
/// messages are put before more are taken.
const WALKS: usize = 8;

/// The bytes of copies that cost as much as an outbox. 16 KiB: copying them takes about as long as
/// building and putting a small message.
const COPIED: usize = 16 * 1024;

/// Bytes of publications that are put into single outboxes before other tasks run. 256 KiB: half a
/// millisecond with small messages. The broker may have read for hundreds of connections.
const SINGLY: usize = 256 * 1024;

/// Walks that have not ended, in order.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    walks: VecDeque<Walk>,
    /// How often each connection, by its index, is listed in the rest of the walks: most get nothing from
    /// them, and are not searched for.
    listed: Vec<u32>,
}

/// A walk through the connections of one audience.
#[derive(Debug)]
struct Walk {
    class: Class,
    audience: Vec<ConnectionId>,
    /// Connections before this index have received everything.
    next: usize,
    what: What,
    /// When its publications were accepted, in milliseconds since 1970.
    published_ms: Vec<u64>,
}

#[derive(Debug)]
enum What {
    /// Messages that are identical for all.
    Same(Vec<Prepared>),
    /// Messages of which each recipient gets a copy with its own head, and the ids of the
    /// recipients' subscriptions, as many as connections.
    Each {
        messages: Vec<Individual>,
        subscriptions: Vec<Option<SubscriptionId>>,
    },
}

/// A message of which each recipient gets its own copy.
#[derive(Debug)]
struct Individual {
    shared: Arc<Shared>,
    /// What all recipients have in common: all but the subscription's id.
    recipient: Recipient,
}

impl Walk {
    /// The messages to which another one for the same connections can be added.
    fn open_for(&mut self, class: Class, audience: &[ConnectionId]) -> Option<&mut What> {
        let is_open = self.class == class && self.next == 0 && self.audience == audience;
        is_open.then_some(&mut self.what)
    }
}

impl Outboxes {
    /// Holds messages that are identical for an audience.
    pub(super) fn hold(
        &mut self,
        class: Class,
        messages: &[Prepared],
        audience: &[ConnectionId],
        published_ms: Option<u64>,
    ) {
        if let Some(walk) = self.broadcasts.last_of(class)
            && let Some(What::Same(held)) = walk.open_for(class, audience)
            && held.len() < HELD
        {
            held.extend_from_slice(messages);
            return walk.published_ms.extend(published_ms);
        }
        self.broadcasts.push(Walk {
            class,
            audience: audience.to_vec(),
            next: 0,
            what: What::Same(messages.to_vec()),
            published_ms: published_ms.into_iter().collect(),
        });
    }

    /// Holds a message of which each recipient gets its own copy.
    pub(super) fn hold_each(
        &mut self,
        class: Class,
        shared: &Arc<Shared>,
        recipients: Recipients<'_>,
        at: Option<Position>,
        place: Position,
    ) {
        let unix_ms = self.unix_ms;
        let publication = shared.publication.as_ref();
        let published_ms = publication.map(|publication| publication.time_ms);
        let message = Individual {
            shared: Arc::clone(shared),
            recipient: Recipient {
                at,
                place,
                unix_ms,
                ..Recipient::PLAIN
            },
        };
        let audience = recipients.connections();
        let subscriptions = || recipients.iter().map(|(_, subscription)| subscription);
        if let Some(walk) = self.broadcasts.last_of(class)
            && let Some(What::Each {
                messages,
                subscriptions: held,
            }) = walk.open_for(class, audience)
            && messages.len() < HELD
            && held.iter().copied().eq(subscriptions())
            // A connection with several subscriptions would get the second message for one before the
            // first message for the other.
            && (messages.len() > 1 || are_distinct(audience))
        {
            messages.push(message);
            return walk.published_ms.extend(published_ms);
        }
        self.broadcasts.push(Walk {
            class,
            audience: audience.to_vec(),
            next: 0,
            what: What::Each {
                messages: vec![message],
                subscriptions: subscriptions().collect(),
            },
            published_ms: published_ms.into_iter().collect(),
        });
    }

    /// Whether so much is held that it must be put before more is taken, or so much was put that
    /// other tasks are next.
    pub(in crate::worker) fn holds_much(&self) -> bool {
        self.broadcasts.walks.len() > WALKS || self.put_singly > SINGLY
    }

    /// Begins to count what is put into single outboxes.
    pub(in crate::worker) const fn begin_turn(&mut self) {
        self.put_singly = 0;
    }

    /// Whether anything is held.
    pub(in crate::worker) fn holds_any(&self) -> bool {
        !self.broadcasts.walks.is_empty()
    }

    /// Puts held messages into at most this many outboxes; a message of which each recipient gets its
    /// own copy costs as much as an outbox, or several if it is large. Returns whether some are left.
    pub(in crate::worker) fn walk(&mut self, mut budget: usize) -> bool {
        // Most turns have one audience. It is written to at once, so that the bytes come from one
        // buffer in the processor's cache. A connection in several audiences gets everything in one
        // write, when the turn is over.
        let at_once = self.broadcasts.walks.len() == 1;
        let mut least = 1;
        while let Some(mut walk) = self.broadcasts.walks.pop_front() {
            let cost = walk.cost();
            // At least one in each turn, so that it makes progress.
            let outboxes = (budget / cost).max(least);
            least = 0;
            let until = walk.audience.len().min(walk.next.saturating_add(outboxes));
            budget = budget.saturating_sub((until - walk.next) * cost);
            self.count_deliveries(&walk, until - walk.next);
            for index in walk.next..until {
                self.put_one(&walk, index, at_once);
            }
            walk.next = until;
            if walk.next < walk.audience.len() {
                self.broadcasts.walks.push_front(walk);
                return true;
            }
            self.measure(&walk);
        }
        false
    }

    /// Puts the held broadcasts of one connection before it gets another message.
    pub(super) fn catch_up_walk(&mut self, connection: ConnectionId) {
        if !self.broadcasts.lists(connection) {
            return;
        }
        let mut walks = mem::take(&mut self.broadcasts.walks);
        for walk in &mut walks {
            // A connection may be listed for several subscriptions.
            while let Some(rest) = walk.audience.get(walk.next..)
                && let Some(index) = rest.iter().position(|c| *c == connection)
            {
                let index = walk.next + index;
                self.count_deliveries(walk, 1);
                self.put_one(walk, index, false);
                walk.skip(index);
            }
        }
        walks.retain(|walk| walk.next < walk.audience.len());
        self.broadcasts.walks = walks;
    }

    /// Counts what is put into this many outboxes.
    fn count_deliveries(&self, walk: &Walk, outboxes: usize) {
        let (messages, bytes): (usize, usize) = match &walk.what {
            What::Same(messages) => {
                let bytes = messages
                    .iter()
                    .map(|message| message.as_bytes().len())
                    .sum();
                (messages.len(), bytes)
            }
            What::Each { messages, .. } => {
                let bytes = messages
                    .iter()
                    .map(|message| message.shared.message.as_bytes().len())
                    .sum();
                (messages.len(), bytes)
            }
        };
        let metrics = &self.metrics;
        metrics.deliveries.add((messages * outboxes) as u64);
        metrics.delivered_bytes.add((bytes * outboxes) as u64);
    }

    /// Records how long publications took that were put into the last outbox just now.
    fn measure(&self, walk: &Walk) {
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return;
        };
        for at in &walk.published_ms {
            let took = now.saturating_sub(Duration::from_millis(*at));
            self.metrics.publish_to_write.record(took);
        }
    }

    fn put_one(&mut self, walk: &Walk, index: usize, at_once: bool) {
        let Some(&connection) = walk.audience.get(index) else {
            return;
        };
        self.broadcasts.passed(connection);
        let outbox = self.connections.get_mut(connection.index());
        let outbox = outbox.and_then(Option::as_mut);
        // Its index may belong to another connection by now.
        let Some(outbox) = outbox.filter(|outbox| outbox.connection == connection) else {
            return;
        };
        // Its copies would be built, once for each subscription, only to be dropped.
        if matches!(walk.what, What::Each { .. }) && outbox.outlet.is_closing() {
            return;
        }
        let put = match &walk.what {
            What::Same(messages) if at_once => outbox.outlet.write_prepared(messages),
            What::Same(messages) => outbox.outlet.put_prepared(messages),
            What::Each {
                messages,
                subscriptions,
            } => {
                let subscription = subscriptions.get(index).copied().flatten();
                let put = put_each(outbox, messages, subscription);
                self.attend(connection);
                put
            }
        };
        // A closing connection gets nothing more.
        let Ok(unsent) = put else { return };
        if unsent <= HEAVY.min(self.bound.now) {
            return;
        }
        let outbox = self.connections.get_mut(connection.index());
        let Some(outbox) = outbox.and_then(Option::as_mut) else {
            return;
        };
        if !mem::replace(&mut outbox.heavy, true) {
            self.heavy.push(connection);
        }
        if unsent > self.bound.now {
            self.full.push(connection);
        }
    }

    /// Holds a publication or a join or leave for its recipients.
    pub(super) fn hold_framed(
        &mut self,
        class: Class,
        framed: &Framed,
        recipients: Recipients<'_>,
        at: Option<Position>,
        place: Position,
    ) {
        let has_heads = match framed.shared.change {
            Some(_) => self.framing.has_presence_heads(class),
            None => self.framing.has_heads(class),
        };
        if recipients.are_numbered() || at.is_some() || has_heads {
            self.hold_each(class, &framed.shared, recipients, at, place);
        } else {
            let publication = framed.shared.publication.as_ref();
            let published_ms = publication.map(|publication| publication.time_ms);
            let audience = recipients.connections();
            self.hold(class, &framed.messages, audience, published_ms);
        }
    }
}

impl Walk {
    /// What one connection costs.
    fn cost(&self) -> usize {
        match &self.what {
            What::Same(_) => 1,
            What::Each { messages, .. } => {
                let bytes = messages
                    .iter()
                    .map(|message| message.shared.message.as_bytes().len());
                messages.len() + bytes.sum::<usize>() / COPIED
            }
        }
    }

    /// A connection in the rest of the walk has received everything.
    fn skip(&mut self, index: usize) {
        self.audience.swap(index, self.next);
        if let What::Each { subscriptions, .. } = &mut self.what {
            subscriptions.swap(index, self.next);
        }
        self.next += 1;
    }
}

impl Broadcasts {
    fn push(&mut self, walk: Walk) {
        for connection in &walk.audience {
            let index = connection.index();
            if index >= self.listed.len() {
                self.listed.resize(index + 1, 0);
            }
            self.listed[index] += 1;
        }
        self.walks.push_back(walk);
    }

    /// Whether a connection, or an earlier one of the same index, is in the rest of a walk.
    fn lists(&self, connection: ConnectionId) -> bool {
        self.times_listed(connection) > 0
    }

    /// How often a connection, or an earlier one of the same index, is in the rest of the walks.
    pub(super) fn times_listed(&self, connection: ConnectionId) -> usize {
        let listed = self.listed.get(connection.index());
        listed.map_or(0, |times| *times as usize)
    }

    /// A walk has passed a connection.
    fn passed(&mut self, connection: ConnectionId) {
        if let Some(times) = self.listed.get_mut(connection.index()) {
            *times = times.saturating_sub(1);
        }
    }

    /// The last walk of a class. Connections belong to one class, so walks of another class do not
    /// matter for their order.
    fn last_of(&mut self, class: Class) -> Option<&mut Walk> {
        self.walks.iter_mut().rev().find(|walk| walk.class == class)
    }
}

fn are_distinct(audience: &[ConnectionId]) -> bool {
    let mut sorted = audience.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1])
}

/// Puts a recipient's copies, and returns the number of its unsent bytes.
fn put_each(
    outbox: &mut Outbox,
    messages: &[Individual],
    subscription: Option<SubscriptionId>,
) -> Result<usize, Gone> {
    let mut unsent = outbox.outlet.unsent();
    for Individual { shared, recipient } in messages {
        let recipient = Recipient {
            subscription,
            ..*recipient
        };
        let head = outbox
            .rare
            .speaker
            .with(|dialect| dialect.head(&recipient, shared));
        unsent = match head {
            Head::None => outbox.outlet.put(shared.message.clone())?,
            Head::Insert(head) => outbox.outlet.put(shared.with_head(&head))?,
            Head::Whole(message) => outbox.outlet.put(message)?,
            Head::Several(messages) => outbox.outlet.put_all(messages)?,
            Head::Nothing => outbox.outlet.unsent(),
        };
    }
    Ok(unsent)
}

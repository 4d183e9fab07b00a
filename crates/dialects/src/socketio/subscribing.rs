//! Subscriptions: their acknowledgements, the note of a recoverable session, and the client's
//! acknowledgements of publications.

use std::sync::Arc;

use bytes::Bytes;
use offhook_engine::{
    Command, ErrorCode, GapReason, Notice, Position, Refusal, Reply, Since, Subscribe,
    SubscriptionId, SubscriptionKey, SubscriptionName, Target,
};

use super::{
    answer::{self, Content},
    dialect::{Call, Purpose, SocketIo},
    packet::{MAIN, Packet},
    recovery::Note,
    spaces::Subscription,
};
use crate::dialect::{Intent, Payload};

/// An acknowledgement of `subscribe` that is sent once the subscription is live or has its first
/// gap.
#[derive(Debug)]
pub(super) struct Waiting {
    call: Call,
    position: Position,
    /// Whether the client requested a position.
    goes_on: bool,
}

/// An acknowledgement that is sent once the session's note is stored.
#[derive(Debug)]
pub(super) struct Deferred {
    call: Call,
    content: Content,
    /// The subscription that ends if the note cannot be stored.
    subscription: Option<SubscriptionKey>,
}

/// The state of the session's note, which lists its subscriptions.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Whether it has changed since it was last passed to the engine.
    has_changed: bool,
    /// Whether the engine is storing it.
    is_running: bool,
    held: Vec<Deferred>,
}

impl SocketIo {
    /// Whether a namespace's subscriptions are restored after a lost connection.
    fn is_recoverable(&self, namespace: &str) -> bool {
        let recovery = self.recovery.as_ref();
        recovery.is_some_and(|recovery| *recovery.namespace == *namespace)
    }

    pub(super) fn subscribe(&mut self, call: Call, wish: Subscribe, token: Option<String>) {
        let namespace = Arc::clone(&call.namespace);
        if self.spaces.has(&namespace, &wish.target) {
            let detail = format!(
                "{}: this namespace is already subscribed to it",
                wish.target
            );
            let refusal = Refusal::new(ErrorCode::AlreadySubscribed, detail);
            return self.refuse(call, refusal);
        }
        let goes_on = matches!(wish.since, Since::Position(_));
        let subscription = Subscription::new(&namespace, &wish);
        // Only a subscription whose messages differ from those of other recipients needs a number.
        let is_plain = *namespace == *MAIN
            && self.recovery.is_none()
            && subscription.window.is_none()
            && wish.target.channel().is_some()
            && !self.spaces.is_ending(&wish.target);
        let wish = if is_plain {
            self.spaces.add_plain(&namespace, &wish.target);
            wish
        } else {
            let number = self.spaces.add(subscription);
            wish.numbered(number)
        };
        let key = wish.name().key();
        let id = self.number(Purpose::Subscribe { call, key, goes_on });
        let command = Command::Subscribe(wish);
        self.queue.push_back(match token {
            Some(token) => Intent::Granted { id, token, command },
            None => Intent::Command { id, command },
        });
    }

    /// Handles the engine's reply to a `subscribe`.
    pub(super) fn subscribed(
        &mut self,
        call: Call,
        key: SubscriptionKey,
        goes_on: bool,
        reply: &Reply,
        out: &mut Vec<Payload>,
    ) {
        let Reply::Subscribed { position, live, .. } = reply else {
            self.spaces.remove(&key);
            // The client has ended it itself, and expects no event about that.
            let is_ended =
                matches!(reply, Reply::Refused(why) if why.code == ErrorCode::NotSubscribed);
            if is_ended && call.ack.is_none() {
                return;
            }
            return self.answer(&call, answer::result(reply), out);
        };
        if let SubscriptionKey::Id(SubscriptionId(number)) = key
            && let Some(subscription) = self.spaces.get_mut(number)
            && subscription.since == Since::Now
        {
            subscription.since = Since::Position(*position);
        }
        let waiting = Waiting {
            call,
            position: *position,
            goes_on,
        };
        if *live {
            return self.is_subscribed(waiting, key, None, out);
        }
        self.waiting.insert(key, waiting);
    }

    fn is_subscribed(
        &mut self,
        waiting: Waiting,
        key: SubscriptionKey,
        gap: Option<GapReason>,
        out: &mut Vec<Payload>,
    ) {
        let content = answer::subscribed(waiting.position, waiting.goes_on, gap);
        self.hold(waiting.call, content, Some(key), out);
    }

    /// Acknowledges once the note is stored, or at once if the session has no note.
    fn hold(
        &mut self,
        call: Call,
        content: Content,
        subscription: Option<SubscriptionKey>,
        out: &mut Vec<Payload>,
    ) {
        if !self.is_recoverable(&call.namespace) {
            return self.answer(&call, Ok(content), out);
        }
        self.notes.held.push(Deferred {
            call,
            content,
            subscription,
        });
        self.keep_note();
    }

    /// Lets the engine store the current note.
    fn keep_note(&mut self) {
        if self.notes.is_running {
            self.notes.has_changed = true;
            return;
        }
        let Some(note) = self.note() else {
            return;
        };
        self.notes.is_running = true;
        let held = std::mem::take(&mut self.notes.held);
        let id = self.number(Purpose::Remember(held));
        let at_once = true;
        let command = Command::Remember { note, at_once };
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Lets the engine store the note of a session that begins. Without it, a client that only
    /// publishes could not be recovered. Nothing waits for this.
    pub(super) fn begin_note(&mut self) {
        if let Some(note) = self.note() {
            let at_once = true;
            self.tell(Command::Remember { note, at_once });
        }
    }

    fn note(&self) -> Option<Bytes> {
        let recovery = self.recovery.as_ref()?;
        let subscriptions = self.spaces.numbered(&recovery.namespace);
        let note = Note {
            stamp: recovery.stamp,
            latest: self.spaces.latest(),
            subscriptions: subscriptions.map(|(number, s)| s.kept(number)).collect(),
        };
        Some(Bytes::from(note.write()))
    }

    /// Handles the engine's reply to storing the note.
    pub(super) fn remembered(
        &mut self,
        held: Vec<Deferred>,
        reply: &Reply,
        out: &mut Vec<Payload>,
    ) {
        self.notes.is_running = false;
        for held in held {
            let Reply::Refused(refusal) = reply else {
                self.answer(&held.call, Ok(held.content), out);
                continue;
            };
            if let Some(subscription) = held.subscription {
                self.spaces.remove(&subscription);
                self.tell(Command::Unsubscribe { subscription });
            }
            self.answer(&held.call, Err(refusal.clone()), out);
        }
        if std::mem::take(&mut self.notes.has_changed) {
            self.keep_note();
        }
    }

    pub(super) fn unsubscribe(&mut self, call: Call, target: &Target) {
        let Some(subscription) = self.spaces.end(&call.namespace, target) else {
            let detail = format!("{target}: this namespace is not subscribed to it");
            let refusal = Refusal::new(ErrorCode::NotSubscribed, detail);
            return self.refuse(call, refusal);
        };
        let key = subscription.clone();
        let id = self.number(Purpose::Unsubscribe { call, key });
        let command = Command::Unsubscribe { subscription };
        self.queue.push_back(Intent::Command { id, command });
    }

    pub(super) fn unsubscribed(
        &mut self,
        call: Call,
        key: &SubscriptionKey,
        reply: &Reply,
        out: &mut Vec<Payload>,
    ) {
        if let Reply::Refused(refusal) = reply
            && refusal.code != ErrorCode::NotSubscribed
        {
            self.spaces.not_ended(&call.namespace, key);
            return self.answer(&call, Err(refusal.clone()), out);
        }
        self.forget(key, out);
        match answer::result(reply) {
            Ok(content) => self.hold(call, content, None, out),
            Err(refusal) => self.answer(&call, Err(refusal), out),
        }
    }

    /// Removes a subscription that has ended.
    fn forget(&mut self, key: &SubscriptionKey, out: &mut Vec<Payload>) {
        self.spaces.remove(key);
        if let SubscriptionKey::Id(SubscriptionId(number)) = key {
            self.unacknowledged.retain(|_, (of, _)| of != number);
        }
        if let Some(waiting) = self.waiting.remove(key) {
            let detail = "the subscription ended before it was live";
            let refusal = Refusal::new(ErrorCode::NotSubscribed, detail);
            self.answer(&waiting.call, Err(refusal), out);
        }
    }

    /// Handles the engine's reply to restoring a subscription of an earlier connection.
    pub(super) fn restored(&mut self, number: u32, reply: &Reply, out: &mut Vec<Payload>) {
        let Reply::Refused(refusal) = reply else {
            return;
        };
        let Some(target) = self.spaces.get_mut(number).map(|s| s.target.clone()) else {
            return;
        };
        let subscription = SubscriptionName {
            target,
            id: Some(SubscriptionId(number)),
        };
        let refusal = refusal.clone();
        self.about_subscription(
            &Notice::Unsubscribed {
                subscription,
                refusal,
            },
            out,
        );
    }

    /// Handles a notice about a subscription.
    pub(super) fn about_subscription(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        let Some((subscription, event, content, position)) = answer::about_subscription(notice)
        else {
            return;
        };
        let key = subscription.key();
        let gap = if let Notice::Gap { reason, .. } = notice {
            Some(*reason)
        } else {
            None
        };
        let decides = gap.is_some() || matches!(notice, Notice::Live { .. });
        if decides && let Some(waiting) = self.waiting.remove(&key) {
            self.is_subscribed(waiting, key.clone(), gap, out);
        }
        let Some(namespace) = self.spaces.advance(subscription, position) else {
            return;
        };
        self.event(&namespace, event, content, out);
        if matches!(notice, Notice::Unsubscribed { .. }) {
            self.forget(&key, out);
            if self.is_recoverable(&namespace) {
                self.keep_note();
            }
        }
    }

    /// Handles the client's acknowledgement of a publication.
    pub(super) fn acknowledged(&mut self, packet: &Packet) {
        let done = packet.ack.and_then(|ack| self.unacknowledged.remove(&ack));
        if let Some((number, position)) = done {
            self.tell(Command::Done {
                subscription: SubscriptionKey::Id(SubscriptionId(number)),
                position,
                cumulative: false,
            });
        }
    }
}

//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::VecDeque;

use offhook_engine::{
    Command, ErrorCode, Flow, Refusal, Reply, Since, Subscribe, SubscriptionId, SubscriptionKey,
    SubscriptionName,
};

use super::{
    destination::Destination,
    dialect::{Purpose, Stomp},
    frame::{Frame, Invalid, Version},
    publishing::{Again, required},
    refusals,
    subscription::{AckMode, Early, Subscription, SubscriptionState},
};
use crate::dialect::Intent;

/// How many messages may be unacknowledged on a connection, over all its subscriptions. 1,024: this
/// limits the messages that must be delivered again after a reconnect, and the memory used for them
/// meanwhile.
pub(super) const WINDOW: u16 = 1_024;
/// The limit for one subscription, unless the client requests another. 64: enough to keep a
/// connection busy, and few enough that other consumers of a queue receive their share.
const PREFETCH: u16 = 64;
/// The largest number of a subscription. 2^31 - 1: no session lasts long enough to reuse a number.
pub(super) const NUMBERS: u32 = 0x7fff_ffff;
/// The maximum length, in bytes, of the id of a subscription and of the name of a durable one. 256:
/// enough for a UUID with a prefix.
const ID: usize = 256;

/// A subscription that the client has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    number: u32,
    receipt: Option<Box<str>>,
    was_durable: bool,
}

impl Stomp {
    pub(super) fn subscribe(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let text = required(frame, "destination")?;
        let destination = Destination::new(text)?;
        let (id, has_id) = self.id_of(frame, text)?;
        if self.ids.contains_key(id) {
            let detail = format!("the subscription {id:?} exists already; unsubscribe first");
            return Err(Invalid::new("subscription exists", detail));
        }
        let mode = mode_of(frame)?;
        let durable = durable_name(frame, id)?;
        if durable.is_some() {
            self.check_durable(&destination)?;
        }
        let subscription = Subscription {
            id: id.into(),
            has_id,
            mode,
            acknowledged: mode != AckMode::Auto || durable.is_some(),
            durable: durable.map(Into::into),
            stage: SubscriptionState::Asked,
            since: since_of(frame)?,
            window: self.window_of(frame)?,
            wants_gaps: frame.header("gaps") == Some("true"),
            receipt: frame.header("receipt").map(Into::into),
            held: VecDeque::new(),
            destination,
        };
        if let Some(name) = durable
            && let Some(number) = self.durable.get(name).copied()
        {
            return self.attach(number, subscription);
        }
        let most = self.settings.subscriptions;
        if self.subscriptions.len() >= most {
            let detail = format!(
                "the limit of {most} subscriptions on a connection is reached; unsubscribe from some"
            );
            return Err(Invalid::new("too many subscriptions", detail).code(1008));
        }
        let number = self.next_number;
        self.next_number = number.wrapping_add(1) & NUMBERS;
        self.ids.insert(id.into(), number);
        if let Some(name) = &subscription.durable {
            self.durable.insert(name.clone(), number);
        }
        self.subscriptions.insert(number, subscription);
        self.ask_for(number);
        Ok(())
    }

    /// The id of a subscription, and whether the client chose it: in 1.0, a subscription without an
    /// id is identified by its destination.
    fn id_of<'a>(&self, frame: &'a Frame, text: &'a str) -> Result<(&'a str, bool), Invalid> {
        let given = frame.header("id");
        if given.is_none() && self.client.version == Version::V10 {
            return Ok((text, false));
        }
        let id = required(frame, "id")?;
        if id.len() > ID {
            let detail = format!("id: {} bytes; the limit is {ID}", id.len());
            return Err(Invalid::too_large(detail));
        }
        Ok((id, true))
    }

    fn check_durable(&self, destination: &Destination) -> Result<(), Invalid> {
        let refuse = |detail| Err(Invalid::new("not durable", detail).code(1008));
        if !self.client.has_name {
            return refuse("a durable subscription needs the header client-id in CONNECT");
        }
        match destination {
            Destination::Topic(_) => Ok(()),
            Destination::Queue(_) => {
                refuse("a queue always keeps its messages; only topics can be durable")
            }
        }
    }

    /// How many messages of a new subscription may be unacknowledged: the number that the client
    /// requests, as long as the sum stays within the limit of the connection.
    fn window_of(&self, frame: &Frame) -> Result<u16, Invalid> {
        let given = frame
            .header("prefetch-count")
            .or_else(|| frame.header("activemq.prefetchSize"));
        let wanted = match given {
            None => PREFETCH,
            Some(digits) => digits.trim().parse::<u16>().map_err(|_| {
                let shown: String = digits.chars().take(40).collect();
                let detail = format!("prefetch-count: expected 1 to {WINDOW}, found {shown:?}");
                Invalid::new("bad header", detail)
            })?,
        };
        let all = self.subscriptions.values();
        let acknowledged = all.filter(|s| s.acknowledged || s.is_queue());
        let taken = acknowledged.map(|s| s.window).fold(0, u16::saturating_add);
        Ok(wanted.min(WINDOW.saturating_sub(taken)).max(1))
    }

    /// Asks the engine for a subscription.
    pub(super) fn ask_for(&mut self, number: u32) {
        let Some(subscription) = self.subscriptions.get(&number) else {
            return;
        };
        let mut wish = Subscribe::new(subscription.destination.target(), subscription.since);
        wish.id = Some(SubscriptionId(number));
        if subscription.is_queue() {
            // This subscription only grants the permission to consume, and is never acknowledged:
            // the messages come from the queue.
            wish.since = Since::Now;
            wish.flow = Flow::Acknowledged { window: 1 };
        } else if subscription.acknowledged {
            let window = subscription.window;
            wish.flow = Flow::Acknowledged { window };
        }
        self.ask(Command::Subscribe(wish), Purpose::Subscribe(number));
    }

    pub(super) fn subscribed(&mut self, number: u32, reply: &Reply) {
        let Some(subscription) = self.subscriptions.get(&number) else {
            // The client has unsubscribed in the meantime.
            return;
        };
        if let Reply::Refused(refusal) = reply {
            return self.not_subscribed(number, refusal);
        }
        let window = subscription.window;
        match &subscription.destination {
            Destination::Topic(_) => self.is_live(number),
            Destination::Queue(queue) => {
                let queue = queue.clone();
                let id = self.number(Purpose::Consume(number));
                self.queue.push_back(Intent::Consume {
                    id,
                    queue,
                    subscription: SubscriptionId(number),
                    window,
                });
            }
        }
    }

    fn not_subscribed(&mut self, number: u32, refusal: &Refusal) {
        if is_temporary(refusal) {
            self.again.push_back(Again::Subscribe(number));
            return self.try_again_after(refusal.retry_after);
        }
        let subscription = self.subscriptions.get_mut(&number);
        let receipt = subscription.and_then(|s| s.receipt.take());
        self.fail(&refusals::of_refusal(refusal), receipt.as_deref());
    }

    /// Handles the answer of a queue to a new consumer.
    pub(super) fn consumes(&mut self, number: u32, reply: &Reply) {
        if let Reply::Refused(refusal) = reply
            && self.subscriptions.contains_key(&number)
        {
            let subscription = self.subscriptions.get_mut(&number);
            let receipt = subscription.and_then(|s| s.receipt.take());
            return self.fail(&refusals::of_refusal(refusal), receipt.as_deref());
        }
        self.is_live(number);
    }

    fn is_live(&mut self, number: u32) {
        let Some(subscription) = self.subscriptions.get_mut(&number) else {
            return;
        };
        if subscription.stage == SubscriptionState::Asked {
            subscription.stage = SubscriptionState::Live;
        }
        self.changed |= subscription.durable.is_some();
        self.after_note.extend(subscription.receipt.take());
    }

    /// Continues a durable subscription.
    fn attach(&mut self, number: u32, new: Subscription) -> Result<(), Invalid> {
        let Some(known) = self.subscriptions.get_mut(&number) else {
            return Ok(());
        };
        let name = new.durable.as_deref().unwrap_or_default();
        if known.stage != SubscriptionState::Detached {
            let detail = format!("the durable subscription {name:?} is in use on this connection");
            return Err(Invalid::new("subscription exists", detail));
        }
        if known.destination != new.destination {
            let detail = format!(
                "the durable subscription {name:?} is to {}; end it first, with UNSUBSCRIBE and \
                 durable:true",
                known.destination.text()
            );
            return Err(Invalid::new("subscription exists", detail).code(1008));
        }
        self.ids.insert(new.id.clone(), number);
        let held = std::mem::take(&mut known.held);
        let window = known.window.max(new.window);
        let receipt = new.receipt.clone();
        *known = Subscription {
            stage: SubscriptionState::Live,
            window,
            receipt: None,
            ..new
        };
        self.give_receipt(receipt.as_deref());
        self.no_longer_held(&held);
        for held in held {
            let payload = match held {
                Early::Message(message) => self.deliver(number, message),
                Early::Gap(gap) => self.report(number, gap),
            };
            self.queue.extend(payload.map(Intent::Say));
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let id = match (frame.header("id"), frame.header("destination")) {
            (Some(id), _) => id,
            (None, Some(destination)) if self.client.version == Version::V10 => destination,
            (None, _) => required(frame, "id")?,
        };
        let name = durable_name(frame, id)?;
        let known = self.ids.get(id).copied();
        let number = known.or_else(|| self.durable.get(name?).copied());
        let Some(number) = number else {
            let shown: String = id.chars().take(40).collect();
            let detail = format!("there is no subscription {shown:?}");
            return Err(Invalid::new("not subscribed", detail));
        };
        let receipt = frame.header("receipt");
        let Some(subscription) = self.subscriptions.get_mut(&number) else {
            return Ok(());
        };
        // The SUBSCRIBE was processed, even if it is not answered yet.
        self.after_note.extend(subscription.receipt.take());
        // Without the header, messages are kept until the client subscribes again.
        if subscription.durable.is_some() && name.is_none() {
            self.detach(number);
            self.give_receipt(receipt);
            return Ok(());
        }
        let was_durable = self.forget(number);
        self.ask_to_end(Ending {
            number,
            receipt: receipt.map(Into::into),
            was_durable,
        });
        Ok(())
    }

    /// Asks the engine to end a subscription.
    pub(super) fn ask_to_end(&mut self, ending: Ending) {
        let subscription = SubscriptionKey::Id(SubscriptionId(ending.number));
        let command = Command::Unsubscribe { subscription };
        self.ask(command, Purpose::Unsubscribe(ending));
    }

    pub(super) fn ended(&mut self, ending: Ending, reply: &Reply) {
        if let Reply::Refused(refusal) = reply
            && is_temporary(refusal)
        {
            self.again.push_back(Again::Unsubscribe(ending));
            return self.try_again_after(refusal.retry_after);
        }
        // Otherwise the engine has no such subscription, because it was refused.
        self.changed |= ending.was_durable;
        self.after_note.extend(ending.receipt);
    }

    fn no_longer_held(&mut self, held: &VecDeque<Early>) {
        let bytes = held.iter().map(Early::bytes);
        let bytes = bytes.fold(0, usize::saturating_add);
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
    }

    /// Removes a subscription. Returns whether it was durable.
    fn forget(&mut self, number: u32) -> bool {
        let Some(gone) = self.subscriptions.remove(&number) else {
            return false;
        };
        if self.ids.get(&gone.id) == Some(&number) {
            self.ids.remove(&gone.id);
        }
        drop(self.unacknowledged.take_all_of(number));
        self.no_longer_held(&gone.held);
        if gone.is_queue() {
            self.queue.push_back(Intent::Quit {
                subscription: SubscriptionId(number),
            });
        }
        let name = gone.durable;
        name.is_some_and(|name| self.durable.remove(&name).is_some())
    }

    /// Handles a subscription that the engine ended: a permission was revoked, or its messages
    /// cannot be read.
    pub(super) fn unsubscribed(&mut self, name: &SubscriptionName, refusal: &Refusal) {
        let Some(SubscriptionId(number)) = name.id else {
            return;
        };
        if !self.subscriptions.contains_key(&number) {
            return;
        }
        self.changed |= self.forget(number);
        self.keep_note();
        // STOMP has no frame for this. The connection ends, because otherwise the client would not
        // notice that messages are missing.
        self.fail(&refusals::of_refusal(refusal), None);
    }
}

/// Whether the same request may succeed soon.
fn is_temporary(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::RateLimited | ErrorCode::Busy)
}

fn mode_of(frame: &Frame) -> Result<AckMode, Invalid> {
    match frame.header("ack") {
        None | Some("auto") => Ok(AckMode::Auto),
        Some("client") => Ok(AckMode::Client),
        Some("client-individual") => Ok(AckMode::Individual),
        Some(other) => {
            let shown: String = other.chars().take(40).collect();
            let detail =
                format!("ack: expected auto, client or client-individual, found {shown:?}");
            Err(Invalid::new("bad header", detail))
        }
    }
}

/// The name of a durable subscription; `None` if the subscription is not durable. The headers are
/// those of `RabbitMQ` and `ActiveMQ`.
fn durable_name<'a>(frame: &'a Frame, id: &'a str) -> Result<Option<&'a str>, Invalid> {
    let mut named = ["durable-subscription-name", "activemq.subscriptionName"].into_iter();
    let name = named.find_map(|header| frame.header(header));
    let is_true = |header| frame.header(header) == Some("true");
    let is_durable = is_true("durable") || is_true("persistent");
    let name = name.or(is_durable.then_some(id));
    if let Some(name) = name
        && (name.is_empty() || name.len() > ID)
    {
        let detail = format!(
            "the name of a durable subscription has {} bytes; 1 to {ID} are allowed",
            name.len()
        );
        return Err(Invalid::new("bad header", detail));
    }
    Ok(name)
}

/// Reads `since`: `now`, `start`, `state`, `last:50`, or the position of a message.
fn since_of(frame: &Frame) -> Result<Since, Invalid> {
    let Some(given) = frame.header("since") else {
        return Ok(Since::Now);
    };
    let last = given.strip_prefix("last:").map(str::parse::<u32>);
    let since = match (given, last) {
        ("now", _) => Some(Since::Now),
        ("start", _) => Some(Since::Start),
        ("state", _) => Some(Since::State),
        (_, Some(last)) => last.ok().map(Since::Last),
        (position, None) => position.parse().ok().map(Since::Position),
    };
    since.ok_or_else(|| {
        let shown: String = given.chars().take(60).collect();
        let detail = format!(
            "since: expected now, start, state, last:50 or the position of a message, found \
             {shown:?}"
        );
        Invalid::new("bad header", detail)
    })
}

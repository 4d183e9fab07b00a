//! The state of one connection that speaks STOMP.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Position, Publication, Refusal, Reply, SubscriptionId,
    SubscriptionSnapshot,
};

use super::{
    connecting::Client,
    durable::select_durable,
    ending::error,
    frame::{Decoder, Frame, Version, escaped},
    message::{self, payload},
    publishing::{Again, Sending},
    refusals,
    subscribing::Ending,
    subscription::{AllUnacknowledged, Delivered, Subscription},
    transactions::Transactions,
};
use crate::dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Readiness, Recipient, Shared,
    Unfinished, Welcome,
};

/// How many messages may wait for the broker before decoding pauses. 64: those of one turn.
pub(super) const PUBLISHING: usize = 64;

/// How many bytes of unacknowledged messages do not count as memory of the connection. 64 KiB: a few
/// messages that are just being processed are usually shared with other connections, and would be
/// counted for each of them.
const KEPT: usize = 64 * 1024;

/// The server's settings for STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest body of a frame in bytes.
    pub body_bytes: usize,
    /// How many subscriptions a connection may have.
    pub subscriptions: usize,
    /// The interval of heart-beats that the server offers and requests.
    pub heart_beat: Duration,
    /// Whether a client that sends no heart-beats is disconnected. False over a transport that
    /// itself detects lost clients, as WebSocket does with pings: browsers throttle the timers of
    /// pages in the background.
    pub enforces_heart_beats: bool,
}

/// STOMP over one connection.
///
/// ```text
///      CONNECT          welcome          DISCONNECT            everything is answered
/// New ─────────▶ Asked ─────────▶ Open ────────────▶ Leaving ────────────────────────▶ Ended
///  │               │                │ an error                                            ▲
///  └───────────────┴────────────────┴─────────────────────────────────────────────────────┘
/// ```
#[derive(Debug)]
pub struct Stomp {
    pub(super) settings: Settings,
    pub(super) decoder: Decoder,
    /// Whether the decoder may hold a complete frame.
    pub(super) may_hold: bool,
    pub(super) phase: Phase,
    pub(super) client: Client,
    /// Whether the session outlives the connection.
    pub(super) is_durable: bool,
    /// Subscriptions by number, which is also the engine's id.
    pub(super) subscriptions: HashMap<u32, Subscription>,
    /// The numbers of the subscriptions that the client has now, by the client's ids.
    pub(super) ids: HashMap<Box<str>, u32>,
    /// The numbers of durable subscriptions, by name.
    pub(super) durable: HashMap<Box<str>, u32>,
    pub(super) next_number: u32,
    pub(super) unacknowledged: AllUnacknowledged,
    /// The bytes of the messages that detached subscriptions hold.
    pub(super) held_bytes: usize,
    pub(super) next_ack: u64,
    /// Distinguishes acknowledgements of this connection from those of earlier ones.
    pub(super) mark: Box<str>,
    pub(super) transactions: Transactions,
    /// Commands without an answer yet.
    pub(super) pending: HashMap<CommandId, Purpose>,
    pub(super) next_command: u64,
    /// Messages that have not been passed to the engine yet.
    pub(super) outgoing: VecDeque<Sending>,
    /// How many messages were passed to the engine so far.
    pub(super) messages: u64,
    /// The number of messages that wait for the broker's answer.
    pub(super) publishing: usize,
    /// Requests that were refused temporarily, in order.
    pub(super) again: VecDeque<Again>,
    pub(super) again_at: Option<Instant>,
    /// Whether the note has changed and must be stored.
    pub(super) changed: bool,
    /// Receipts that are due once the note is stored.
    pub(super) after_note: Vec<Box<str>>,
    /// The receipt of the DISCONNECT.
    pub(super) leaving: Option<Box<str>>,
    /// When the client last sent something.
    pub(super) seen: Option<Instant>,
    /// The time that was passed to the most recent call.
    pub(super) latest: Option<Instant>,
    pub(super) begun_at: Option<Instant>,
    pub(super) beat_at: Option<Instant>,
    pub(super) look_at: Option<Instant>,
    pub(super) queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Asked,
    Open,
    Leaving,
    Ended,
}

/// What the answer to a command is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Publish(Box<Sending>),
    /// The subscription with this number.
    Subscribe(u32),
    /// The subscription with this number joins the consumers of its queue.
    Consume(u32),
    /// The end of a subscription.
    Unsubscribe(Ending),
    /// Storing the note, after which these receipts are due.
    Remember(Vec<Box<str>>),
}

impl Stomp {
    /// A new connection.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            decoder: Decoder::new(settings.body_bytes),
            may_hold: false,
            phase: Phase::New,
            client: Client::UNKNOWN,
            is_durable: false,
            subscriptions: HashMap::new(),
            ids: HashMap::new(),
            durable: HashMap::new(),
            next_number: 0,
            unacknowledged: AllUnacknowledged::default(),
            held_bytes: 0,
            next_ack: 0,
            mark: "".into(),
            transactions: Transactions::default(),
            pending: HashMap::new(),
            next_command: 0,
            outgoing: VecDeque::new(),
            messages: 0,
            publishing: 0,
            again: VecDeque::new(),
            again_at: None,
            changed: false,
            after_note: Vec::new(),
            leaving: None,
            seen: None,
            latest: None,
            begun_at: None,
            beat_at: None,
            look_at: None,
            queue: VecDeque::new(),
        }
    }

    /// Assigns an id to a command whose answer is used for this purpose.
    pub(super) fn number(&mut self, purpose: Purpose) -> CommandId {
        self.next_command = self.next_command.wrapping_add(1).max(1);
        let id = CommandId(self.next_command);
        self.pending.insert(id, purpose);
        id
    }

    /// Queues a command.
    pub(super) fn ask(&mut self, command: Command, purpose: Purpose) {
        let id = self.number(purpose);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues a command whose answer does not matter.
    pub(super) fn tell(&mut self, command: Command) {
        let id = CommandId(0);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues a frame.
    pub(super) fn say(&mut self, frame: &Frame) {
        let bytes = frame.encode(self.client.version);
        self.queue.push_back(Intent::Say(payload(bytes)));
    }

    /// Queues the RECEIPT that a frame asked for.
    pub(super) fn give_receipt(&mut self, receipt: Option<&str>) {
        if let Some(receipt) = receipt {
            self.say(&Frame::new("RECEIPT").with("receipt-id", receipt));
        }
    }

    /// Handles the engine's answer to a command.
    fn answered(&mut self, purpose: Purpose, reply: &Reply) {
        if self.phase == Phase::Ended {
            return;
        }
        match purpose {
            Purpose::Publish(sending) => self.published(*sending, reply),
            Purpose::Subscribe(number) => self.subscribed(number, reply),
            Purpose::Consume(number) => self.consumes(number, reply),
            Purpose::Unsubscribe(ending) => self.ended(ending, reply),
            Purpose::Remember(receipts) => self.remembered(receipts, reply),
        }
    }
}

impl Dialect for Stomp {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        match self.client.version {
            Version::V10 => &message::V10,
            Version::V11 => &message::V11,
            Version::V12 => &message::V12,
        }
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        let bytes = match incoming {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) => bytes,
        };
        if self.phase != Phase::Ended && !bytes.is_empty() {
            self.seen = Some(now);
            self.decoder.push(bytes);
            self.may_hold = true;
        }
        self.take_frames(now);
        intents.extend(self.queue.drain(..));
    }

    fn readiness(&self) -> Readiness {
        match self.phase {
            // Everything received after the end is discarded.
            Phase::Ended => Readiness::Ready,
            Phase::Asked | Phase::Leaving => Readiness::Waits,
            Phase::New | Phase::Open if !self.may_take() => Readiness::Waits,
            Phase::New | Phase::Open if self.may_hold => Readiness::HasMore,
            Phase::New | Phase::Open => Readiness::Ready,
        }
    }

    fn unfinished(&self) -> Unfinished {
        let kept = self.unacknowledged.bytes().saturating_add(self.held_bytes);
        let kept = kept.saturating_sub(KEPT);
        let open = self.transactions.bytes();
        Unfinished {
            bytes: self
                .decoder
                .buffered()
                .saturating_add(open)
                .saturating_add(kept),
            since: self.begun_at,
        }
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        let next = self.queue.pop_front();
        if next.is_none() {
            self.queue = VecDeque::new();
        }
        next
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let all = [self.beat_at, self.look_at, self.again_at];
        all.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        self.handle_time(now);
        self.keep_note();
        intents.extend(self.queue.drain(..));
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let (Some(publication), Some(SubscriptionId(number))) =
            (&shared.publication, recipient.subscription)
        else {
            return Head::Nothing;
        };
        if self.phase == Phase::Ended {
            return Head::Nothing;
        }
        let Some(subscription) = self.subscriptions.get(&number) else {
            self.is_unknown(number);
            return Head::Nothing;
        };
        // The messages come from the queue. The subscription is only the permission to consume, and
        // takes at most one message.
        if subscription.is_queue() {
            return Head::Nothing;
        }
        if !subscription.acknowledged {
            if !subscription.has_id {
                return Head::None;
            }
            let id = escaped(&subscription.id, self.client.version);
            return Head::Insert(format!("subscription:{id}\n").into());
        }
        let message = Delivered {
            publication: Arc::clone(publication),
            place: recipient.place,
            earlier: recipient.redelivered,
        };
        match self.deliver(number, message) {
            Some(message) => Head::Whole(message),
            None => Head::Nothing,
        }
    }

    fn queued(
        &mut self,
        SubscriptionId(number): SubscriptionId,
        publication: &Arc<Publication>,
        place: Position,
        earlier: u16,
    ) -> Option<Payload> {
        let publication = Arc::clone(publication);
        let is_consumer = self.phase != Phase::Ended
            && self
                .subscriptions
                .get(&number)
                .is_some_and(Subscription::is_queue);
        let message = Delivered {
            publication,
            place,
            earlier,
        };
        is_consumer.then(|| self.deliver(number, message)).flatten()
    }

    fn select_restored(&self, note: &[u8], subscriptions: &mut Vec<SubscriptionSnapshot>) {
        select_durable(note, subscriptions);
    }

    fn has_tokens(&self) -> bool {
        // Durable sessions are found by client id.
        false
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.phase = Phase::Open;
        self.mark = format!("{:x}", welcome.unix_ms).into();
        if let Some(named) = &welcome.named {
            self.is_durable = named.expiry.is_some();
            if named.resumed {
                self.restore(named.note);
            }
        }
        out.push(payload(self.connected(welcome).encode(self.client.version)));
        self.start_beating();
    }

    fn refused(&mut self, _id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        if self.phase != Phase::Asked {
            return;
        }
        let invalid = refusals::of_refusal(refusal);
        let error = error(invalid.message, &invalid.detail, None);
        out.push(payload(error.encode(self.client.version)));
        self.end(invalid.code, invalid.message);
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        match notice {
            Notice::Reply {
                id: Some(id),
                reply,
            } => {
                if let Some(purpose) = self.pending.remove(id) {
                    self.answered(purpose, reply);
                }
            }
            Notice::Unsubscribed {
                subscription,
                refusal,
            } => self.unsubscribed(subscription, refusal),
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                ..
            } => out.extend(self.skipped(subscription, None, (*from, *to), *reason)),
            Notice::ChannelGap {
                subscription,
                channel,
                from,
                to,
                reason,
            } => out.extend(self.skipped(subscription, Some(channel), (*from, *to), *reason)),
            Notice::Close { reason } => {
                if self.phase != Phase::Ended {
                    let error = error(reason.name(), "the server ends this connection", None);
                    out.push(payload(error.encode(self.client.version)));
                }
                self.end_silently();
                self.queue.clear();
            }
            // STOMP has no frames for these. A server that shuts down closes each connection when
            // its client should reconnect.
            Notice::Reply { id: None, .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Restored
            | Notice::Reconnect { .. }
            | Notice::Told { .. } => {}
        }
        self.keep_note();
        self.leave();
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        refusals::of_close(reason)
    }
}

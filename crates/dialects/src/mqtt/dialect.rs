//! The state of one connection that speaks MQTT.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Refusal, SessionId, SubscriptionId,
    SubscriptionSnapshot,
};

use super::{
    Reason,
    connecting::Client,
    encoding,
    packet::{Decoder, Packet, Version},
    receiving::Aliases,
    refusals,
    restoring::Restoring,
    sending::{Missing, Sending},
    session::{Origin, Session},
    subscribing::Batches,
};
use crate::dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Readiness, Recipient, Shared,
    Unfinished, Welcome,
};

/// How many packets are decoded in one turn before their commands are executed. 64: enough for a
/// batch of the log's writer.
const AT_ONCE: usize = 64;
/// How many messages may wait for the broker before decoding pauses. 64: those of one turn.
pub(super) const PUBLISHING: usize = 64;

/// Why a connection ends whose client takes only smaller packets.
const TOO_LARGE: &str = "an answer is larger than the maximum packet size of the client";

/// MQTT over one connection.
///
/// ```text
///      CONNECT          welcome           DISCONNECT, an error
/// New ─────────▶ Asked ─────────▶ Open ──────────────────────▶ Ended
///                  └──────────────────────────────────────────▶
///                                 refused
/// ```
#[derive(Debug)]
pub struct Mqtt {
    pub(super) decoder: Decoder,
    pub(super) phase: Phase,
    pub(super) client: Client,
    /// The server that clients are referred to when this one stops.
    pub(super) reference: Option<Box<str>>,
    /// The id of the session, which is part of idempotency keys.
    pub(super) name: Option<SessionId>,
    /// Whether the session outlives the connection.
    pub(super) is_durable: bool,
    pub(super) session: Session,
    /// Whether the session's note has changed and must be stored.
    pub(super) changed: bool,
    /// Whether the note contains exchanges that the client has completed since, or lacks that a message
    /// was published. On the next connection, PUBRELs of the former would be repeated, which rumqttc takes
    /// for an error, and the latter would be published again if the broker has forgotten its key.
    pub(super) note_is_old: bool,
    /// Packets that are sent once the note is stored.
    pub(super) after_note: Vec<Vec<u8>>,
    /// The last command that stores a note.
    pub(super) last_note: Option<CommandId>,
    /// Commands without an answer yet.
    pub(super) pending: HashMap<CommandId, Purpose>,
    pub(super) next_command: u64,
    pub(super) batches: Batches,
    pub(super) receiving: Aliases,
    /// The number of the client's messages so far.
    pub(super) messages: u64,
    /// The number of the client's messages that wait for the broker's answer.
    pub(super) publishing: usize,
    /// Messages that were refused temporarily, in order.
    pub(super) again: VecDeque<(Command, Publishing)>,
    /// When requests that were refused temporarily are repeated.
    pub(super) again_at: Option<Instant>,
    pub(super) sending: Sending,
    pub(super) restoring: Restoring,
    /// When the last packet was received.
    pub(super) seen: Option<Instant>,
    /// The time of the last call that has one.
    pub(super) latest: Option<Instant>,
    /// When the incomplete packet at the end of what was received began.
    begun_at: Option<Instant>,
    /// When the keep-alive is checked.
    pub(super) look_at: Option<Instant>,
    /// The same moment in the monotonic clock and in milliseconds since 1970.
    pub(super) clock: Option<(Instant, u64)>,
    pub(super) queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Asked,
    Open,
    Ended,
}

/// What the answer to a command is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A message of the client. The command is kept to be repeated if it is refused temporarily.
    Publish(Box<(Command, Publishing)>),
    /// A filter of a SUBSCRIBE.
    Subscribe(super::subscribing::Asked),
    /// A filter of an UNSUBSCRIBE.
    Unsubscribe(super::subscribing::Place),
    /// The subscription with this number, of QoS 0, which an earlier connection made.
    Restore(u32),
    /// A page of the retained messages of the subscription with this number.
    Retained(u32),
    /// A filter that the client is subscribed to already: its new options, and identifier.
    Renew(super::subscribing::Asked, super::packet::Options, u32),
    /// Storing the note, after which these packets are sent.
    Remember(Vec<Vec<u8>>),
}

/// A message of the client that is being published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Publishing {
    /// Its place among the client's messages on this connection.
    pub(super) number: u64,
    pub(super) qos: super::packet::Qos,
    pub(super) packet_id: u16,
}

impl Mqtt {
    /// A new connection. Packets of the client may have at most `packet_bytes` bytes.
    #[must_use]
    pub fn new(packet_bytes: usize) -> Self {
        Self {
            decoder: Decoder::new(packet_bytes),
            phase: Phase::New,
            client: Client::UNKNOWN,
            reference: None,
            name: None,
            is_durable: false,
            session: Session::default(),
            changed: false,
            note_is_old: false,
            after_note: Vec::new(),
            last_note: None,
            pending: HashMap::new(),
            next_command: 0,
            batches: Batches::default(),
            receiving: Aliases::default(),
            messages: 0,
            publishing: 0,
            again: VecDeque::new(),
            again_at: None,
            sending: Sending::default(),
            restoring: Restoring::default(),
            seen: None,
            latest: None,
            begun_at: None,
            look_at: None,
            clock: None,
            queue: VecDeque::new(),
        }
    }

    /// Refers clients of 5.0 to another server when this one stops (§4.13).
    #[must_use]
    pub fn with_server_reference(mut self, reference: Option<&str>) -> Self {
        self.reference = reference.map(Into::into);
        self
    }

    /// Queues a command, and remembers what its answer is used for.
    pub(super) fn ask(&mut self, command: Command, purpose: Purpose) {
        self.next_command = self.next_command.wrapping_add(1).max(1);
        let id = CommandId(self.next_command);
        self.pending.insert(id, purpose);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues a command whose answer does not matter.
    pub(super) fn tell(&mut self, command: Command) {
        let id = CommandId(0);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues a packet.
    pub(super) fn say(&mut self, packet: &Packet) {
        self.say_bytes(packet.encode(self.client.version));
    }

    /// Queues a packet. If the client takes no packets of this size (§3.1.2.11.4), the connection
    /// ends instead, because the client would wait for it.
    pub(super) fn say_bytes(&mut self, bytes: Vec<u8>) {
        if bytes.len() > self.client.packet_size {
            return self.end(Reason::PACKET_TOO_LARGE, TOO_LARGE);
        }
        self.queue.push_back(Intent::Say(Payload::Binary(bytes)));
    }

    /// Takes the packets to the client from the queue. What is left are requests to the server.
    fn take_said(&mut self) -> Vec<Payload> {
        self.sending.has_sent_held = false;
        let mut said = Vec::new();
        for intent in std::mem::take(&mut self.queue) {
            if let Intent::Say(message) = intent {
                said.push(message);
            } else {
                self.queue.push_back(intent);
            }
        }
        said
    }

    /// Whether another packet may be decoded.
    pub(super) fn may_take(&self) -> bool {
        let is_listening = matches!(self.phase, Phase::New | Phase::Open);
        is_listening && self.publishing < PUBLISHING && self.again.is_empty()
    }

    fn take_packets(&mut self, now: Instant) {
        self.latest = Some(now);
        let begun_at = self.begun_at.take().filter(|_| self.may_take());
        let mut begun_at = begun_at.or(Some(now));
        let mut left = AT_ONCE;
        while left > 0 && self.may_take() {
            match self.decoder.next_packet() {
                Ok(Some(packet)) => {
                    self.seen = Some(now);
                    begun_at = Some(now);
                    self.take(packet, now);
                }
                Ok(None) => {
                    self.begun_at = begun_at.filter(|_| self.decoder.buffered() > 0);
                    break;
                }
                Err(invalid) => self.fail(invalid),
            }
            left = left.saturating_sub(1);
        }
        self.keep_note();
    }

    fn take(&mut self, packet: Packet, now: Instant) {
        match packet {
            Packet::Connect(connect) if self.phase == Phase::New => self.connect(*connect, now),
            // §3.1: neither a second CONNECT nor packets of servers are allowed.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => self.protocol_error("this packet is not allowed here"),
            // §4.12: it requires an authentication method; those are refused with the CONNECT.
            Packet::Auth(_) => self.protocol_error("an AUTH requires an authentication method"),
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(ack) => self.acknowledged(&ack),
            Packet::PubRec(ack) => self.client_received(&ack),
            Packet::PubRel(ack) => self.client_releases(&ack),
            Packet::PubComp(ack) => self.completed(&ack),
            Packet::Subscribe(subscribe) => self.subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe),
            Packet::PingReq => self.say(&Packet::PingResp),
            Packet::Disconnect(reasoned) => self.disconnect(&reasoned),
        }
    }
}

impl Dialect for Mqtt {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        match self.client.version {
            Version::V3 => &encoding::V3,
            Version::V5 => &encoding::V5,
        }
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        match incoming {
            Incoming::Binary(bytes) if self.phase != Phase::Ended => self.decoder.push(bytes),
            Incoming::Binary(_) => {}
            // §6: MQTT over WebSocket uses binary messages.
            Incoming::Text(_) => {
                self.phase = Phase::Ended;
                let (code, reason) = (1003, "MQTT requires binary messages");
                self.queue.push_back(Intent::Close { code, reason });
            }
        }
        self.take_packets(now);
        if self.sending.has_sent_held {
            // A `Done` in the queue lets the engine deliver the next message, which must not
            // overtake those that were held.
            let said = self.take_said();
            intents.extend(said.into_iter().map(Intent::Say));
        }
        intents.extend(self.queue.drain(..));
    }

    fn readiness(&self) -> Readiness {
        match self.phase {
            // Everything received after the end is discarded.
            Phase::Ended => Readiness::Ready,
            Phase::Asked => Readiness::Waits,
            Phase::New | Phase::Open if !self.may_take() => Readiness::Waits,
            Phase::New | Phase::Open if self.decoder.has_packet() => Readiness::HasMore,
            Phase::New | Phase::Open => Readiness::Ready,
        }
    }

    fn unfinished(&self) -> Unfinished {
        Unfinished {
            bytes: self.decoder.buffered(),
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
        [self.look_at, self.again_at].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        self.handle_time(now);
        self.keep_note();
        intents.extend(self.queue.drain(..));
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let Some(publication) = &shared.publication else {
            return Head::Nothing;
        };
        let Some(SubscriptionId(number)) = recipient.subscription else {
            // Subscriptions without an id share the encoded message, unless it is late.
            return self.late(publication, recipient.unix_ms);
        };
        let again = recipient.redelivered > 0;
        let (place, now_ms) = (recipient.place, recipient.unix_ms);
        if !self.sending.held.is_empty() {
            self.deliver_behind(number, place, publication, again, now_ms);
            let said = self.take_said();
            return match said.is_empty() {
                true => Head::Nothing,
                false => Head::Several(said),
            };
        }
        match self.deliver(number, Origin::Live(place), publication, again, now_ms) {
            Some(bytes) => Head::Whole(Payload::Binary(bytes)),
            None => Head::Nothing,
        }
    }

    fn select_restored(&self, note: &[u8], subscriptions: &mut Vec<SubscriptionSnapshot>) {
        // A subscription that the note does not know was made before a crash, and not granted.
        let session = Session::from_note(note).unwrap_or_default();
        let is_known = |SubscriptionId(number)| session.subscriptions.contains_key(&number);
        subscriptions.retain(|kept| kept.id.is_some_and(is_known));
    }

    fn has_tokens(&self) -> bool {
        // Sessions are found by client id.
        false
    }

    fn leaves_with_its_transport(&self) -> bool {
        // Only a DISCONNECT keeps the will from being published.
        false
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.phase = Phase::Open;
        self.name = Some(welcome.session);
        if let Some((_, ms)) = &mut self.clock {
            *ms = welcome.unix_ms;
        }
        let mut is_resumed = false;
        if let Some(named) = &welcome.named {
            self.is_durable = named.expiry.is_some();
            let kept = named
                .resumed
                .then(|| Session::from_note(named.note))
                .flatten();
            is_resumed = kept.is_some();
            self.session = kept.unwrap_or_else(|| Session::begun(welcome.unix_ms));
        }
        self.look_at = self.silent_at();
        let version = self.client.version;
        let greeting = self.greeting(welcome, is_resumed).encode(version);
        if greeting.len() > self.client.packet_size {
            return self.end(Reason::PACKET_TOO_LARGE, TOO_LARGE);
        }
        out.push(Payload::Binary(greeting));
        if is_resumed {
            self.continue_session();
        }
    }

    fn refused(&mut self, _id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        if self.phase != Phase::Asked {
            return;
        }
        let reason = refusals::of_connect(refusal.code);
        if let Some(connack) = self.refusing_connack(reason, &refusal.detail) {
            let bytes = connack.encode(self.client.version);
            if bytes.len() <= self.client.packet_size {
                out.push(Payload::Binary(bytes));
            }
        }
        self.end(reason, refusal.code.name());
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
            } => {
                self.unsubscribed(subscription, refusal.code);
            }
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                agreed,
            } => self.skipped(subscription, &Missing::new(*from, *to, *reason, *agreed)),
            Notice::Reconnect { .. } => self.refer(),
            Notice::Close { reason } => {
                let words = reason.name();
                if let Some(disconnect) = self.disconnection(refusals::of_close(*reason), words) {
                    out.push(Payload::Binary(disconnect.encode(self.client.version)));
                }
                self.phase = Phase::Ended;
                self.decoder.clear();
            }
            // MQTT has no packets for these.
            Notice::Reply { id: None, .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Restored
            | Notice::Told { .. } => {}
        }
        self.keep_note();
        // At once: what the engine delivers next must not overtake them.
        out.extend(self.take_said());
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        refusals::close_code(refusals::of_close(reason))
    }
}

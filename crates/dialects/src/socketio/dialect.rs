//! The state of one connection that speaks Socket.IO.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Position, Refusal, Reply, SessionId, SubscriptionId,
    SubscriptionKey, SubscriptionSnapshot,
};

use super::{
    Settings, answer,
    connecting::Recovery,
    engine_io::{Due, EngineIo},
    packet::{Decoder, Invalid, MAIN},
    publication::{Own, form, is_own_broadcast, own},
    recovery::{Brought, Note},
    spaces::Spaces,
    subscribing::{Deferred, Notes, Waiting},
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Unfinished,
        Welcome,
    },
    json::Object,
    native,
};

/// Socket.IO over one connection. Its memory is limited by how many unanswered commands,
/// subscriptions and unacknowledged publications a client may have.
///
/// ```text
///      CONNECT          welcome           the last DISCONNECT, an error
/// New ─────────▶ Asked ─────────▶ Open ─────────────────────────────▶ Ended
///  ◀────────────────┘
///       refused
/// ```
#[derive(Debug)]
pub struct SocketIo {
    pub(super) settings: Settings,
    pub(super) decoder: Decoder,
    pub(super) phase: Phase,
    /// The session's id, which other members see; none before the session has begun.
    pub(super) session: Option<SessionId>,
    pub(super) spaces: Spaces,
    /// Commands that are not answered yet.
    pub(super) pending: HashMap<CommandId, Purpose>,
    next_command: u64,
    /// Subscriptions whose acknowledgement waits until they are live.
    pub(super) waiting: HashMap<SubscriptionKey, Waiting>,
    /// Publications that the client has not acknowledged, by the numbers of their events.
    pub(super) unacknowledged: BTreeMap<u64, (u32, Position)>,
    next_ack: u64,
    /// Whether the client requested recovery in its CONNECT.
    pub(super) wants_recovery: bool,
    /// Whether the client receives publications with a tag `event` as events of that name: by
    /// default, if there are rooms.
    pub(super) wants_names: bool,
    /// The id and offset of an earlier connection that the client sent.
    pub(super) brought: Option<Brought>,
    pub(super) recovery: Option<Recovery>,
    pub(super) notes: Notes,
    /// When the client last sent something.
    seen: Option<Instant>,
    /// When the packet began whose attachments are incomplete.
    begun_at: Option<Instant>,
    pub(super) engine: EngineIo,
    pub(super) queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Asked,
    Open,
    Ended,
}

/// An event of the client, which is acknowledged if the client requested that.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) namespace: Arc<str>,
    pub(super) ack: Option<u64>,
    pub(super) event: Box<str>,
    /// Whether this is a custom event, whose acknowledgement contains only the backend's answer.
    pub(super) is_free: bool,
}

/// The purpose of a command, which determines what happens with its reply.
#[derive(Debug)]
pub(super) enum Purpose {
    /// The reply is sent as the acknowledgement.
    Call(Call),
    Subscribe {
        call: Call,
        key: SubscriptionKey,
        /// Whether the client requested a position.
        goes_on: bool,
    },
    Unsubscribe {
        call: Call,
        key: SubscriptionKey,
    },
    /// Restores a subscription of an earlier connection.
    Restore(u32),
    /// Stores the session's note; then these subscriptions are acknowledged.
    Remember(Vec<Deferred>),
    /// Connects the client to this namespace.
    Enter(Arc<str>),
    /// Ends a subscription. If this is refused, the connection ends, because the client would
    /// otherwise receive events that it does not expect.
    Leave,
}

impl SocketIo {
    /// A connection whose client has sent nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            decoder: Decoder::new(settings.max_payload),
            engine: EngineIo::new(settings.engine()),
            settings,
            phase: Phase::New,
            session: None,
            spaces: Spaces::default(),
            pending: HashMap::new(),
            next_command: 0,
            waiting: HashMap::new(),
            unacknowledged: BTreeMap::new(),
            next_ack: 0,
            wants_recovery: false,
            wants_names: false,
            brought: None,
            recovery: None,
            notes: Notes::default(),
            seen: None,
            begun_at: None,
            queue: VecDeque::new(),
        }
    }

    /// Assigns a number to a command with this purpose.
    pub(super) fn number(&mut self, purpose: Purpose) -> CommandId {
        self.next_command = self.next_command.wrapping_add(1).max(1);
        let id = CommandId(self.next_command);
        self.pending.insert(id, purpose);
        id
    }

    /// Queues a command whose reply does not matter.
    pub(super) fn tell(&mut self, command: Command) {
        let id = CommandId(0);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues messages.
    pub(super) fn say(&mut self, messages: Vec<Payload>) {
        self.queue.extend(messages.into_iter().map(Intent::Say));
    }

    /// Refuses an event without passing it to the engine. It still counts as a command.
    pub(super) fn refuse(&mut self, call: Call, refusal: Refusal) {
        let id = Some(self.number(Purpose::Call(call)));
        self.queue.push_back(Intent::Refuse { id, refusal });
    }

    pub(super) fn end(&mut self, code: u16, reason: &'static str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.engine.end();
        self.decoder.clear();
        self.queue.push_back(Intent::Close { code, reason });
    }
}

impl Dialect for SocketIo {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        let has_broadcasts = self.settings.rooms.have_broadcasts();
        form(self.wants_names, self.wants_recovery || has_broadcasts)
    }

    fn opened(&mut self, id: &str, out: &mut Vec<Payload>) {
        out.push(self.engine.greeting(id));
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.seen = Some(now);
        self.engine.heard_something(now);
        if let Err(Invalid(reason)) = self.take_message(incoming) {
            self.end(1002, reason);
        }
        self.begun_at = match self.decoder.held() {
            0 => None,
            _ => self.begun_at.or(Some(now)),
        };
        intents.extend(self.queue.drain(..));
    }

    fn unfinished(&self) -> Unfinished {
        Unfinished {
            bytes: self.decoder.held(),
            since: self.begun_at,
        }
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.engine.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        match self.engine.handle_timeout(now) {
            Some(Due::Ping(ping)) => intents.push(Intent::Say(ping)),
            Some(Due::Dead) => {
                self.end(1008, "no pong came in time");
                intents.extend(self.queue.drain(..));
            }
            None => {}
        }
    }

    fn select_restored(&self, note: &[u8], subscriptions: &mut Vec<SubscriptionSnapshot>) {
        // Others would be delivered to a client that does not know them, and keep their numbers.
        let known = self.brought.as_ref().zip(Note::read(note));
        let known = known.filter(|(brought, note)| brought.stamp == note.stamp);
        let numbers = known.iter().flat_map(|(_, note)| &note.subscriptions);
        let numbers: HashSet<u32> = numbers.map(|kept| kept.number).collect();
        let is_known = |id: SubscriptionId| numbers.contains(&id.0);
        subscriptions.retain(|kept| kept.id.is_some_and(is_known));
    }

    fn has_tokens(&self) -> bool {
        // A session is found by its private id.
        false
    }

    fn leaves_with_its_transport(&self) -> bool {
        // A client that requested recovery leaves only with a DISCONNECT.
        self.recovery.is_none()
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let (namespace, window) = match recipient.subscription {
            Some(SubscriptionId(number)) => {
                let Some(subscription) = self.spaces.get_mut(number) else {
                    // The client has left its namespace.
                    return Head::Nothing;
                };
                if shared.publication.is_some() && !recipient.state {
                    subscription.position = Some(recipient.place);
                }
                let window = subscription.window.is_some() && shared.publication.is_some();
                let namespace = Arc::clone(&subscription.namespace);
                (namespace, window.then_some(number))
            }
            None => match self.spaces.any() {
                Some(namespace) => (namespace, None),
                None => return Head::Nothing,
            },
        };
        let publication = shared.publication.as_deref();
        if window.is_none() && publication.is_some_and(|one| is_own_broadcast(one, self.session)) {
            return Head::Nothing;
        }
        let ack = window.map(|number| {
            self.next_ack = self.next_ack.wrapping_add(1);
            let place = (number, recipient.place);
            self.unacknowledged.insert(self.next_ack, place);
            self.next_ack
        });
        let offset = self.offset(&namespace);
        if *namespace == *MAIN
            && ack.is_none()
            && offset.is_none()
            && recipient.at.is_none()
            && !recipient.state
            && shared.ahead.is_none()
        {
            return Head::None;
        }
        Head::Several(own(
            shared,
            &Own {
                namespace: &namespace,
                ack,
                at: recipient.at,
                state: recipient.state,
                redelivered: recipient.redelivered,
                offset: offset.as_deref(),
                has_names: self.wants_names,
            },
        ))
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        // A client is welcomed after it has sent a CONNECT.
        if let Some(seen) = self.seen {
            self.engine.begin(seen);
        }
        self.welcomed(welcome, out);
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        if let Some(id) = id {
            self.answered(id, &Reply::Refused(refusal.clone()), out);
        }
    }

    fn refreshed(&mut self, id: CommandId, expires_in: Option<Duration>, out: &mut Vec<Payload>) {
        let purpose = self.pending.remove(&id);
        if let Some(Purpose::Enter(namespace)) = purpose {
            self.entered(&namespace, None, out);
        } else if let Some(Purpose::Call(call)) = purpose {
            let expiry = Object::part();
            let expiry = match expires_in {
                Some(after) => expiry.raw("expires_in_ms", after.as_millis()),
                None => expiry,
            };
            self.answer(&call, Ok(expiry.into()), out);
        }
    }

    fn expiring(&mut self, expires_in: Duration, out: &mut Vec<Payload>) {
        if let Some(namespace) = self.spaces.any() {
            let expiry = Object::part().raw("expires_in_ms", expires_in.as_millis());
            self.event(&namespace, "expiring", expiry.into(), out);
        }
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        match notice {
            Notice::Reply {
                id: Some(id),
                reply,
            } => self.answered(*id, reply, out),
            Notice::Reply { id: None, reply } => self.unasked(reply, out),
            Notice::Gap { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Unsubscribed { .. } => self.about_subscription(notice, out),
            Notice::Told { data, format } => {
                if let Some(namespace) = self.spaces.any() {
                    self.event(&namespace, "told", answer::data_of(data, *format), out);
                }
            }
            // The stock client reconnects by itself, at a time that it chooses.
            Notice::Reconnect { .. } | Notice::Restored => {}
            Notice::Close { reason } => self.dismiss(*reason, out),
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        native::close_code(reason)
    }
}

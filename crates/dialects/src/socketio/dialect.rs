//! The state of one connection that speaks Socket.IO.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, Position, Refusal, Reply, SubscriptionId,
    SubscriptionKey,
};

use super::{
    Settings, answer,
    connecting::Recovery,
    packet::{Decoder, Engine, Invalid, MAIN},
    publication::{Own, form, own},
    recovery::Brought,
    spaces::Spaces,
    subscribing::{Deferred, Notes, Waiting},
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    json::Object,
    native,
};

/// Socket.IO over one connection. Its memory is limited by the numbers of unanswered commands, of
/// subscriptions and of unacknowledged publications that a client may have.
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
    /// The session's id, which members see.
    pub(super) session: String,
    pub(super) spaces: Spaces,
    /// Commands that are not answered.
    pub(super) pending: HashMap<CommandId, Purpose>,
    next_command: u64,
    /// Subscriptions whose acknowledgement waits until they are live.
    pub(super) waiting: HashMap<SubscriptionKey, Waiting>,
    /// Publications that the client has not acknowledged, by the numbers of their events.
    pub(super) unacknowledged: BTreeMap<u64, (u32, Position)>,
    next_ack: u64,
    /// The client asked for recovery with its CONNECT.
    pub(super) wants_recovery: bool,
    /// It wants publications with a tag `event` as events of that name.
    pub(super) wants_names: bool,
    /// What it brought with that.
    pub(super) brought: Option<Brought>,
    pub(super) recovery: Option<Recovery>,
    pub(super) notes: Notes,
    /// When something came last.
    seen: Option<Instant>,
    heart: Heart,
    pub(super) queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    New,
    Asked,
    Open,
    Ended,
}

/// The pings of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heart {
    /// The client is not connected.
    Still,
    /// The next ping is due then.
    Rests(Instant),
    /// The client has until then to answer.
    Waits(Instant),
}

/// An event that is to be acknowledged, if the client wants that.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) namespace: Arc<str>,
    pub(super) ack: Option<u64>,
    pub(super) event: Box<str>,
    /// It is an event of the application: its acknowledgement is what the backend answers, alone.
    pub(super) is_free: bool,
}

/// What a command is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Its reply is the acknowledgement.
    Call(Call),
    Subscribe {
        call: Call,
        key: SubscriptionKey,
        /// It is to go on from a position.
        goes_on: bool,
    },
    Unsubscribe {
        call: Call,
        key: SubscriptionKey,
    },
    /// A subscription of an earlier connection.
    Restore(u32),
    /// The note is kept; then these are acknowledged.
    Remember(Vec<Deferred>),
    /// The client enters this namespace.
    Enter(Arc<str>),
    /// What must not be refused: the client would get what it does not expect.
    Leave,
}

impl SocketIo {
    /// A connection of a client that has said nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            decoder: Decoder::new(settings.max_payload),
            settings,
            phase: Phase::New,
            session: String::new(),
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
            heart: Heart::Still,
            queue: VecDeque::new(),
        }
    }

    /// The number of a command that serves this purpose.
    pub(super) fn number(&mut self, purpose: Purpose) -> CommandId {
        self.next_command = self.next_command.wrapping_add(1).max(1);
        let id = CommandId(self.next_command);
        self.pending.insert(id, purpose);
        id
    }

    /// Queues a command whose answer does not matter.
    pub(super) fn tell(&mut self, command: Command) {
        let id = CommandId(0);
        self.queue.push_back(Intent::Command { id, command });
    }

    /// Queues messages.
    pub(super) fn say(&mut self, messages: Vec<Payload>) {
        self.queue.extend(messages.into_iter().map(Intent::Say));
    }

    /// Refuses an event that has no command. It counts as one.
    pub(super) fn refuse(&mut self, call: Call, refusal: Refusal) {
        let id = Some(self.number(Purpose::Call(call)));
        self.queue.push_back(Intent::Refuse { id, refusal });
    }

    pub(super) fn end(&mut self, code: u16, reason: &'static str) {
        if self.phase == Phase::Ended {
            return;
        }
        self.phase = Phase::Ended;
        self.heart = Heart::Still;
        self.decoder.clear();
        self.queue.push_back(Intent::Close { code, reason });
    }

    fn later(&self, pause: Duration) -> Option<Instant> {
        self.seen.and_then(|seen| seen.checked_add(pause))
    }
}

impl Dialect for SocketIo {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        form(self.wants_names, self.wants_recovery)
    }

    fn opened(&mut self, id: &str, out: &mut Vec<Payload>) {
        out.push(self.greeting(id));
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        if self.phase == Phase::Ended {
            return;
        }
        self.seen = Some(now);
        // Whatever comes shows that the client is there.
        if let Heart::Waits(_) = self.heart
            && let Some(next) = self.later(self.settings.ping_interval)
        {
            self.heart = Heart::Rests(next);
        }
        if let Err(Invalid(reason)) = self.take_message(incoming) {
            self.end(1002, reason);
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.heart {
            Heart::Still => None,
            Heart::Rests(at) | Heart::Waits(at) => Some(at),
        }
    }

    fn handle_timeout(&mut self, now: Instant, intents: &mut Vec<Intent>) {
        match self.heart {
            Heart::Rests(at) if at <= now => {
                intents.push(Intent::Say(Engine::Ping("").write().into()));
                let until = now.checked_add(self.settings.ping_timeout);
                self.heart = until.map_or(Heart::Still, Heart::Waits);
            }
            Heart::Waits(at) if at <= now => {
                self.end(1008, "no pong came in time");
                intents.extend(self.queue.drain(..));
            }
            Heart::Still | Heart::Rests(_) | Heart::Waits(_) => {}
        }
    }

    fn has_tokens(&self) -> bool {
        // A session is found by its private id.
        false
    }

    fn leaves_with_its_transport(&self) -> bool {
        // A client that asked for recovery leaves with a DISCONNECT only.
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
        if let Some(next) = self.later(self.settings.ping_interval) {
            self.heart = Heart::Rests(next);
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
            self.entered(namespace, None, out);
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
            // The stock client reconnects by itself, at a time of its own choice.
            Notice::Reconnect { .. } | Notice::Restored => {}
            Notice::Close { reason } => self.dismiss(*reason, out),
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        native::close_code(reason)
    }
}

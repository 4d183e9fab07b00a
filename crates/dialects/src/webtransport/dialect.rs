//! The dialect of one session.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::{
    CloseReason, Command, CommandId, Notice, PresenceChange, Publication, Refusal, Reply, RuleBook,
    SubscriptionId, SubscriptionKey,
};
use serde::Deserialize;

use super::{
    framing::{Messages, Wrong},
    own::Own,
    placed::{CONTROL_HEAD, to_control, to_datagram, to_stream},
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Readiness, Recipient, Shared,
        Unfinished, Welcome,
    },
    native::{Json, JsonWithoutLineage, Native},
};

/// RFC 6455 §7.4.1 has the same codes: a message that is not UTF-8, and one that is too big.
const NOT_TEXT: u16 = 1007;
const TOO_BIG: u16 = 1009;

/// What a session may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The longest message of a client in bytes.
    pub message_bytes: usize,
    /// How many subscriptions may have a stream of their own. Those above it use the control stream.
    pub streams: usize,
    /// Which channels may be sent in datagrams.
    pub rules: Arc<RuleBook>,
}

/// The native dialect of one WebTransport session.
#[derive(Debug)]
pub struct OverWebTransport {
    native: Native,
    settings: Settings,
    messages: Messages,
    /// Nothing more is read: the session is being closed.
    is_wrong: bool,
    /// Whether the client has sent a `connect`: messages are then handled one at a time, so that the
    /// server can wait for large answers in between.
    is_connecting: bool,
    /// Whether every subscription gets a stream of its own.
    wants_streams: bool,
    /// Whether the client reads datagrams.
    reads_datagrams: bool,
    /// Subscribe commands whose subscription is to have a stream of its own.
    asked: HashSet<CommandId>,
    /// The streams of subscriptions.
    own: Own,
    /// Subscriptions whose messages are acknowledged, so that none of them may be lost.
    acknowledged: HashSet<SubscriptionId>,
}

/// Where the messages of a notice go.
#[derive(Clone, Copy, Debug)]
enum To {
    Control,
    /// To the control stream, with the number of the stream that begins.
    Announced(u32),
    Stream(u32),
    /// The last message of the stream.
    LastOf(u32),
}

/// The fields that only this dialect knows.
#[derive(Debug, Default, Deserialize)]
struct Asks {
    #[serde(default)]
    stream: Option<bool>,
    #[serde(default)]
    streams: Option<bool>,
    #[serde(default)]
    datagrams: Option<bool>,
}

impl Asks {
    fn read(text: &str) -> Self {
        // Most messages have none of these fields, and are parsed once.
        if !text.contains("\"stream") && !text.contains("\"datagrams\"") {
            return Self::default();
        }
        // A message with fields of other types is as one without them.
        serde_json::from_str(text).unwrap_or_default()
    }
}

impl OverWebTransport {
    /// The dialect of a new session.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            native: Native::default(),
            messages: Messages::new(settings.message_bytes),
            settings,
            is_wrong: false,
            is_connecting: false,
            wants_streams: false,
            reads_datagrams: false,
            asked: HashSet::new(),
            own: Own::default(),
            acknowledged: HashSet::new(),
        }
    }

    fn message(&mut self, text: &str, now: Instant, intents: &mut Vec<Intent>) {
        let before = intents.len();
        self.native.receive(Incoming::Text(text), now, intents);
        let asks = Asks::read(text);
        for intent in intents.iter().skip(before) {
            match intent {
                Intent::Connect(_) => {
                    self.is_connecting = true;
                    self.wants_streams = asks.streams.unwrap_or(false);
                    self.reads_datagrams = asks.datagrams.unwrap_or(false);
                }
                Intent::Command { id, command } | Intent::Granted { id, command, .. } => {
                    self.note(*id, command, &asks);
                }
                Intent::Refresh { .. }
                | Intent::Refuse { .. }
                | Intent::Consume { .. }
                | Intent::Settle { .. }
                | Intent::Quit { .. }
                | Intent::Say(_)
                | Intent::Permitted { .. }
                | Intent::Identify { .. }
                | Intent::Channels { .. }
                | Intent::Leave
                | Intent::Report(_)
                | Intent::Keep(_)
                | Intent::Close { .. } => {}
            }
        }
    }

    fn note(&mut self, id: CommandId, command: &Command, asks: &Asks) {
        if !matches!(command, Command::Subscribe(_)) {
            return;
        }
        let wants = asks.stream.unwrap_or(self.wants_streams);
        if wants && self.asked.len() < self.settings.streams {
            self.asked.insert(id);
        }
    }

    fn wrong(&mut self, wrong: Wrong) -> Intent {
        self.is_wrong = true;
        let (code, reason) = match wrong {
            Wrong::TooLong => (TOO_BIG, "a message is longer than messages.max_bytes"),
            Wrong::NotText => (NOT_TEXT, "a message is not UTF-8"),
        };
        Intent::Close { code, reason }
    }

    /// Begins a stream for a subscription, if it is to have one and may have one.
    fn begin(&mut self, id: Option<CommandId>, key: &SubscriptionKey) -> To {
        let is_asked = match id {
            Some(id) => self.asked.remove(&id),
            // Restored with its session.
            None => self.wants_streams,
        };
        // It has one already: it was subscribed to again.
        if self.own.of(key).is_some() || !is_asked || self.own.len() >= self.settings.streams {
            return To::Control;
        }
        self.own.add(key).map_or(To::Control, To::Announced)
    }

    fn end(&mut self, key: &SubscriptionKey) -> To {
        if let SubscriptionKey::Id(number) = key {
            self.acknowledged.remove(number);
        }
        self.own.remove(key).map_or(To::Control, To::LastOf)
    }

    fn stream_of(&self, key: &SubscriptionKey) -> To {
        self.own.of(key).map_or(To::Control, To::Stream)
    }

    fn place(&mut self, notice: &Notice) -> To {
        match notice {
            Notice::Reply { id, reply } => match reply {
                Reply::Subscribed {
                    subscription,
                    acknowledged,
                    ..
                } => {
                    // Restored ones included, which no command of this connection has named.
                    if let (true, Some(number)) = (*acknowledged, subscription.id) {
                        self.acknowledged.insert(number);
                    }
                    self.begin(*id, &subscription.key())
                }
                Reply::Unsubscribed { subscription } => self.end(&subscription.key()),
                // What follows joins and leaves that could not be delivered follows them.
                Reply::Members {
                    channel,
                    subscription,
                    ..
                } if id.is_none() => {
                    let own = self.own.get(*subscription, channel);
                    own.map_or(To::Control, To::Stream)
                }
                Reply::Refused(_) => {
                    if let Some(id) = id {
                        self.asked.remove(id);
                    }
                    To::Control
                }
                Reply::Published { .. }
                | Reply::Done { .. }
                | Reply::InfoUpdated
                | Reply::Called { .. }
                | Reply::History { .. }
                | Reply::State { .. }
                | Reply::Values { .. }
                | Reply::Remembered
                | Reply::Members { .. }
                | Reply::Acked { .. }
                | Reply::Receipts { .. }
                | Reply::Pong => To::Control,
            },
            Notice::Gap { subscription, .. }
            | Notice::ChannelGap { subscription, .. }
            | Notice::Own { subscription, .. }
            | Notice::CatchingUp { subscription, .. }
            | Notice::Live { subscription, .. } => self.stream_of(&subscription.key()),
            Notice::Unsubscribed { subscription, .. } => self.end(&subscription.key()),
            Notice::Restored
            | Notice::Told { .. }
            | Notice::Reconnect { .. }
            | Notice::Close { .. } => To::Control,
        }
    }

    /// What the messages in a datagram are about: only the newest is worth sending. None if the
    /// publication has to arrive.
    fn subject(&self, recipient: &Recipient, publication: &Publication) -> Option<Vec<u8>> {
        if !self.reads_datagrams || recipient.state || recipient.redelivered > 0 {
            return None;
        }
        let number = recipient.subscription;
        if number.is_some_and(|number| self.acknowledged.contains(&number)) {
            return None;
        }
        let rules = self.settings.rules.rules(&publication.channel)?;
        if !rules.unreliable {
            return None;
        }
        let number = number.map_or(u32::MAX, |SubscriptionId(number)| number);
        // Of several cursors in one channel, the newest position of each matters.
        let key = publication.tags.get(offhook_engine::CONFLATION_TAG);
        let number = number.to_be_bytes();
        let parts = [
            &number[..],
            publication.channel.as_str().as_bytes(),
            // No name contains it.
            &[0],
            key.unwrap_or_default().as_bytes(),
        ];
        Some(parts.concat())
    }
}

impl Dialect for OverWebTransport {
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding {
        if connect.lineage {
            &Framed {
                name: "native json over webtransport",
                inner: &Json,
            }
        } else {
            &Framed {
                name: "native json over webtransport without lineage",
                inner: &JsonWithoutLineage,
            }
        }
    }

    fn receive(&mut self, incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        let bytes = match incoming {
            Incoming::Binary(bytes) => bytes,
            Incoming::Text(text) => text.as_bytes(),
        };
        if self.is_wrong {
            return;
        }
        self.messages.receive(bytes, now);
        loop {
            match self.messages.next(now) {
                Ok(Some(text)) => self.message(&text, now, intents),
                Ok(None) => return,
                Err(wrong) => return intents.push(self.wrong(wrong)),
            }
            if self.is_connecting {
                return;
            }
        }
    }

    fn readiness(&self) -> Readiness {
        if !self.is_wrong && self.messages.has_more() {
            Readiness::HasMore
        } else {
            Readiness::Ready
        }
    }

    fn unfinished(&self) -> Unfinished {
        if self.is_wrong {
            return Unfinished::default();
        }
        self.messages.unfinished()
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let channel = match (&shared.publication, &shared.change) {
            (Some(publication), _) => &publication.channel,
            (None, Some(change)) => &change.channel,
            (None, None) => return Head::None,
        };
        let own = self.own.get(recipient.subscription, channel);
        let publication = shared.publication.as_deref();
        let subject = publication.and_then(|publication| self.subject(recipient, publication));
        let native = self.native.head(recipient, shared);
        if own.is_none() && subject.is_none() && native == Head::None && shared.ahead.is_none() {
            return Head::None;
        }
        let text = with_head(shared, &native);
        if let Some(subject) = subject {
            return Head::Whole(Payload::Binary(to_datagram(&subject, &text)));
        }
        let to = own.map_or(To::Control, To::Stream);
        let message = placed(to, &text);
        match &shared.ahead {
            None => Head::Whole(message),
            Some(ahead) => {
                let ahead = ahead.as_bytes().get(CONTROL_HEAD..).unwrap_or_default();
                Head::Several(vec![placed(to, ahead), message])
            }
        }
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        say(To::Control, out, |said| self.native.welcome(welcome, said));
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        self.is_connecting = false;
        say(To::Control, out, |said| {
            self.native.refused(id, refusal, said);
        });
    }

    fn token(&mut self, resume: &str, out: &mut Vec<Payload>) {
        say(To::Control, out, |said| self.native.token(resume, said));
    }

    fn refreshed(&mut self, id: CommandId, expires_in: Option<Duration>, out: &mut Vec<Payload>) {
        say(To::Control, out, |said| {
            self.native.refreshed(id, expires_in, said);
        });
    }

    fn expiring(&mut self, expires_in: Duration, out: &mut Vec<Payload>) {
        say(To::Control, out, |said| {
            self.native.expiring(expires_in, said);
        });
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        let to = self.place(notice);
        say(to, out, |said| self.native.notice(notice, said));
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        self.native.close_code(reason)
    }
}

/// Places what the native dialect says.
fn say(to: To, out: &mut Vec<Payload>, speak: impl FnOnce(&mut Vec<Payload>)) {
    let mut said = Vec::new();
    speak(&mut said);
    out.extend(said.iter().map(|message| placed(to, message.as_bytes())));
}

fn placed(to: To, text: &[u8]) -> Payload {
    Payload::Binary(match to {
        To::Control => to_control(text),
        To::Announced(number) => {
            let open = text.strip_suffix(b"}").unwrap_or(text);
            let field = format!(",\"stream\":{number}}}");
            to_control(&[open, field.as_bytes()].concat())
        }
        To::Stream(number) => to_stream(number, false, text),
        To::LastOf(number) => to_stream(number, true, text),
    })
}

/// The text of a shared message, with the head of its recipient.
fn with_head(shared: &Shared, head: &Head) -> Vec<u8> {
    let whole = match head {
        Head::Insert(own) => shared.with_head(own),
        // The native dialect has no other.
        Head::None | Head::Whole(_) | Head::Several(_) | Head::Nothing => shared.message.clone(),
    };
    whole
        .as_bytes()
        .get(CONTROL_HEAD..)
        .unwrap_or_default()
        .to_vec()
}

/// The encoding of the native dialect, framed for the control stream. Each recipient may have its copy
/// elsewhere.
#[derive(Debug)]
struct Framed {
    name: &'static str,
    inner: &'static dyn Encoding,
}

impl Framed {
    fn framed(shared: Shared) -> Shared {
        let control = |message: &Payload| Payload::Binary(to_control(message.as_bytes()));
        Shared {
            ahead: shared.ahead.as_ref().map(control),
            message: control(&shared.message),
            head: shared.head.saturating_add(CONTROL_HEAD),
            ..shared
        }
    }
}

impl Encoding for Framed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn publication(&self, publication: &Publication) -> Shared {
        Self::framed(self.inner.publication(publication))
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        self.inner.presence(change).map(Self::framed)
    }
}

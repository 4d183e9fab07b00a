//! The state of one connection that speaks the Pusher protocol.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, ErrorCode, Notice, Position, Refusal, Reply,
    Retry, SessionId, Subscribe, SubscriptionName, Target,
};

use super::{
    Settings,
    event::{self, Prefixed, Same},
    message::{self, Said, bad},
    names::{Kind, kind_of, name_of},
    report::Report,
    subscribing::Subscription,
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    json::Object,
};

/// The Pusher protocol over one connection. Its memory is limited by how many unanswered commands
/// and subscriptions a client may have.
///
/// ```text
///      the transport opens     welcome          an error
/// New ─────────────────▶ Asked ───────▶ Open ───────────▶ Ended
///  └──────── no such app ──┴──────── refused ─────────────▶
/// ```
#[derive(Debug)]
pub struct Pusher {
    pub(super) settings: Settings,
    phase: Phase,
    session: Option<SessionId>,
    /// When the connection began, in milliseconds since 1970.
    pub(super) began_ms: u64,
    /// The id by which signatures name this connection: the session's id as two numbers.
    pub(super) socket_id: String,
    /// The id of the user who signed in.
    pub(super) user: Option<String>,
    pub(super) subscriptions: HashMap<ChannelName, Subscription>,
    /// Commands that are not answered yet.
    pub(super) pending: HashMap<CommandId, Purpose>,
    next_command: u64,
    pub(super) queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Asked,
    Open,
    Ended,
}

/// The purpose of a command.
#[derive(Debug)]
pub(super) enum Purpose {
    Connect,
    Ping,
    Subscribe {
        channel: ChannelName,
        /// The same subscription without the cached event, for a channel that keeps no state.
        without_cache: Option<Box<(Subscribe, bool)>>,
    },
    /// Refuses a subscription whose channel has this name.
    NotSubscribed(String),
    /// It is not answered.
    Silent,
    /// A client event, with what is reported of it once it is published.
    Event(Option<Box<Report>>),
    SignIn {
        user: String,
        user_data: String,
    },
    /// Refuses a signature, which ends the connection.
    NotSignedIn,
    /// Refuses a message.
    Nothing,
}

/// The id of a session's connection on the wire: two numbers with a dot in between, as server
/// libraries require.
#[must_use]
pub(super) fn socket_id_of(session: SessionId) -> String {
    let digits = session.to_string();
    let (high, low) = digits.split_at_checked(16).unwrap_or_default();
    let number = |half| u64::from_str_radix(half, 16).unwrap_or_default();
    format!("{}.{}", number(high), number(low))
}

impl Pusher {
    /// A connection that was just opened.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::New,
            session: None,
            began_ms: 0,
            socket_id: String::new(),
            user: None,
            subscriptions: HashMap::new(),
            pending: HashMap::new(),
            next_command: 0,
            queue: VecDeque::new(),
        }
    }

    /// The session of a socket id.
    #[must_use]
    pub fn session_of(socket_id: &str) -> Option<SessionId> {
        let (high, low) = socket_id.split_once('.')?;
        let part = |text: &str| -> Option<u64> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let digits = format!("{:016x}{:016x}", part(high)?, part(low)?);
        let number = u128::from_str_radix(&digits, 16).ok()?;
        Some(SessionId::from_bytes(number.to_be_bytes()))
    }

    pub(super) fn prefix(&self) -> &str {
        self.settings.app.as_ref().map_or("", |app| &app.prefix)
    }

    /// Whether the name of a channel for the server is one of the app.
    pub(super) fn is_own_name(&self, name: &str) -> bool {
        let app = self.settings.app.as_ref();
        app.is_ok_and(|app| app.owns(name))
    }

    /// The name of a user for the server.
    pub(super) fn user_name(&self, id: &str) -> Result<String, Refusal> {
        match &self.settings.app {
            Ok(app) => app.user(id),
            Err(_) => Err(bad("the connection has no app")),
        }
    }

    /// The name of a channel on the wire; none if the channel does not belong to the app.
    pub(super) fn wire_name(&self, channel: &ChannelName) -> Option<String> {
        let name = name_of(self.prefix(), channel.as_str())?;
        Some(name.into_owned())
    }

    pub(super) fn is_signed(&self, auth: &str, text: &str) -> bool {
        let app = self.settings.app.as_ref();
        app.is_ok_and(|app| app.secrets.is_signed(auth, text))
    }

    pub(super) fn number(&mut self, purpose: Purpose) -> CommandId {
        self.next_command = self.next_command.wrapping_add(1);
        let id = CommandId(self.next_command);
        self.pending.insert(id, purpose);
        id
    }

    /// Refuses a message through the engine, so that it counts as a command.
    pub(super) fn refuse(&mut self, purpose: Purpose, refusal: Refusal) {
        let id = Some(self.number(purpose));
        self.queue.push_back(Intent::Refuse { id, refusal });
    }

    fn end(&mut self, code: u16, reason: &'static str) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.queue.push_back(Intent::Close { code, reason });
        }
    }

    fn take(&mut self, said: Said) {
        match said {
            Said::Ping => {
                let id = self.number(Purpose::Ping);
                let command = Command::Ping;
                self.queue.push_back(Intent::Command { id, command });
            }
            // The server did not ask for it: it counts like any other message.
            Said::Pong => {
                let id = self.number(Purpose::Silent);
                let command = Command::Ping;
                self.queue.push_back(Intent::Command { id, command });
            }
            Said::Subscribe(wish) => self.subscribe(wish),
            Said::Unsubscribe { channel } => self.unsubscribe(&channel),
            Said::SignIn(wish) => self.sign_in(wish),
            Said::Event {
                name,
                channel,
                data,
            } => {
                if let Err(refusal) = self.send(&name, &channel, data) {
                    self.refuse(Purpose::Event(None), refusal);
                }
            }
        }
    }

    fn replied(&mut self, id: CommandId, reply: &Reply, out: &mut Vec<Payload>) {
        let Some(purpose) = self.pending.remove(&id) else {
            return;
        };
        let refusal = if let Reply::Refused(refusal) = reply {
            Some(refusal)
        } else {
            None
        };
        match (purpose, refusal) {
            (Purpose::Connect | Purpose::Silent, _) => {}
            (Purpose::Event(report), None) => {
                self.queue.extend(report.map(Intent::Report));
            }
            (Purpose::Ping, None) => out.push(event::bare("pusher:pong", None)),
            (
                Purpose::Subscribe {
                    channel,
                    without_cache,
                },
                _,
            ) => self.subscribed(id, &channel, without_cache, reply, out),
            (Purpose::NotSubscribed(name), Some(refusal)) => {
                out.push(event::subscription_error(&name, refusal));
            }
            (Purpose::NotSignedIn, Some(refusal)) => {
                // If the refusal has another reason, such as an exceeded rate, the client may try
                // again.
                if refusal.code != ErrorCode::Unauthenticated {
                    return out.push(event::error(None, &refusal.detail));
                }
                out.push(event::error(Some(UNAUTHORIZED), &refusal.detail));
                self.end(UNAUTHORIZED, "the signature of the user is invalid");
            }
            (Purpose::Event(_), Some(refusal)) => {
                let code = (refusal.code == ErrorCode::RateLimited).then_some(EVENT_REJECTED);
                out.push(event::error(code, &refusal.detail));
            }
            (Purpose::SignIn { .. } | Purpose::Ping | Purpose::Nothing, Some(refusal)) => {
                out.push(event::error(None, &refusal.detail));
            }
            (
                Purpose::SignIn { .. }
                | Purpose::Nothing
                | Purpose::NotSubscribed(_)
                | Purpose::NotSignedIn,
                None,
            ) => {}
        }
    }

    fn welcomed(&mut self, session: SessionId) -> Payload {
        self.phase = Phase::Open;
        self.session = Some(session);
        self.socket_id = socket_id_of(session);
        let data = Object::part()
            .text("socket_id", &self.socket_id)
            .raw(
                "activity_timeout",
                self.settings.activity_timeout.as_secs().max(1),
            )
            .end();
        event::told("pusher:connection_established", None, &data)
    }

    /// The head of a join or a leave.
    fn presence_head(&self, change: &offhook_engine::PresenceChange) -> Head {
        let subscription = self.subscriptions.get(&change.channel);
        let is_told = subscription.is_some_and(Subscription::knows_members);
        if !is_told || Some(change.member.session) == self.session {
            return Head::Nothing;
        }
        if self.prefix().is_empty() {
            return Head::None;
        }
        match event::presence(self.prefix(), change) {
            Some(message) => Head::Whole(message.into()),
            None => Head::Nothing,
        }
    }

    /// Reports publications that the client does not receive. The stock clients pass the event on
    /// to the application.
    fn gap(
        &self,
        about: &SubscriptionName,
        from: Position,
        to: Position,
        reason: &str,
    ) -> Option<Payload> {
        let Target::Channel(channel) = &about.target else {
            return None;
        };
        let data = Object::part()
            .position("from", from)
            .position("to", to)
            .text("reason", reason)
            .end();
        Some(event::told(
            "offhook:gap",
            Some(&self.wire_name(channel)?),
            &data,
        ))
    }
}

/// Codes of the protocol. Clients do not reconnect after codes below 4100, reconnect after a pause
/// for codes below 4200, and immediately for codes below 4300.
const UNAUTHORIZED: u16 = 4009;
const OVER_CAPACITY: u16 = 4100;
const RECONNECT: u16 = 4200;
/// Only used for errors that do not close the connection.
const EVENT_REJECTED: u16 = 4301;

impl Dialect for Pusher {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        match self.prefix().is_empty() {
            true => &Same,
            false => &Prefixed,
        }
    }

    fn opened(&mut self, _id: &str, out: &mut Vec<Payload>) {
        if let Err(refused) = self.settings.app {
            out.push(event::error(Some(refused.code()), refused.message()));
            return self.end(refused.code(), refused.message());
        }
        self.phase = Phase::Asked;
        let id = self.number(Purpose::Connect);
        self.queue.push_back(Intent::Connect(Connect {
            id,
            token: None,
            resume: None,
            info: Bytes::new(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        }));
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        if self.phase == Phase::Ended {
            return;
        }
        let read = match incoming {
            Incoming::Text(text) => message::read(text),
            Incoming::Binary(_) => Err(bad("expected a text message, not a binary one")),
        };
        match read {
            Ok(said) => self.take(said),
            Err(refusal) => self.refuse(Purpose::Nothing, refusal),
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn has_tokens(&self) -> bool {
        // The stock clients cannot store a resume token.
        false
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        if let Some(change) = &shared.change {
            return self.presence_head(change);
        }
        let Some(publication) = &shared.publication else {
            return Head::None;
        };
        if recipient.state
            && let Some(subscription) = self.subscriptions.get_mut(&publication.channel)
        {
            subscription.got_cached();
        }
        if self.prefix().is_empty() {
            return Head::None;
        }
        Head::Insert(event::own_part(self.prefix(), publication).into_bytes())
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.pending.remove(&welcome.id);
        self.began_ms = welcome.unix_ms;
        out.push(self.welcomed(welcome.session));
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        let purpose = id.and_then(|id| self.pending.remove(&id));
        if !matches!(purpose, Some(Purpose::Connect)) {
            return;
        }
        let code = match refusal.code.retry() {
            Retry::Never => UNAUTHORIZED,
            Retry::Later => OVER_CAPACITY,
            Retry::Reconnect => RECONNECT,
        };
        out.push(event::error(Some(code), &refusal.detail));
        self.end(code, refusal.code.name());
    }

    fn refreshed(&mut self, id: CommandId, _: Option<Duration>, out: &mut Vec<Payload>) {
        if let Some(Purpose::SignIn { user, user_data }) = self.pending.remove(&id) {
            self.user = Some(user);
            let data = Object::part().text("user_data", &user_data).end();
            out.push(event::told("pusher:signin_success", None, &data));
        }
    }

    fn counted(&mut self, channel: &ChannelName, members: u64, out: &mut Vec<Payload>) {
        let subscription = self.subscriptions.get(channel);
        if !subscription.is_some_and(Subscription::has_begun) {
            return;
        }
        if let Some(name) = self.wire_name(channel)
            && kind_of(&name) != Kind::Presence
        {
            let data = Object::part().raw("subscription_count", members).end();
            out.push(event::internal("subscription_count", &name, &data).into());
        }
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        match notice {
            Notice::Reply {
                id: Some(id),
                reply,
            } => self.replied(*id, reply, out),
            Notice::Reply { id: None, reply } => self.unasked(reply, out),
            Notice::Live { subscription, .. } => self.is_live(subscription, out),
            Notice::Unsubscribed {
                subscription,
                refusal,
            } => self.unsubscribed(subscription, refusal, out),
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                ..
            } if *reason != offhook_engine::GapReason::State => {
                out.extend(self.gap(subscription, *from, *to, reason.name()));
            }
            Notice::Told { data, format } => {
                let data = event::told_data(data, *format);
                out.push(event::told("offhook:told", None, &data));
            }
            Notice::Close { reason } => {
                let code = self.close_code(*reason);
                out.push(event::error(Some(code), reason.name()));
                self.phase = Phase::Ended;
            }
            // The state of a cache channel replaces earlier publications. Clients have no filters.
            // Their own events are not sent back to them. They reconnect at a time that they
            // choose.
            Notice::Gap { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Restored
            | Notice::Reconnect { .. } => {}
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        match reason {
            CloseReason::TooSlow | CloseReason::Flood => OVER_CAPACITY,
            CloseReason::Replaced | CloseReason::Expired => RECONNECT,
            CloseReason::Disconnected => UNAUTHORIZED,
        }
    }
}

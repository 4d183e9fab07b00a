//! The state of a connection that speaks `graphql-transport-ws`.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, ErrorCode, Notice, PresenceChange, Publication,
    Refusal, Reply, Retry, SubscriptionId, SubscriptionKey, SubscriptionName,
};

use super::{
    Settings, commands,
    execution::{Executor, Number, Outcome},
    failure::{self, Failure},
    message::{self, Said},
    out::MAX_ANSWER,
    plan::{Plan, Prepared, prepare},
    request::Request,
    stream::Stream,
    syntax::Kind,
    template,
};
use crate::dialect::{
    Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
};

/// How many queries and mutations of a connection may be executed at the same time. 256: as many as
/// requests to the broker.
const MAX_RUNNING: usize = 256;

/// How many pings are answered before `connection_init`.
const EARLY_PINGS: u32 = 16;

/// The codes with which connections are closed. Clients do not reconnect after 4400, 4401, 4409 and
/// 4429, and do after all others.
const BAD_REQUEST: u16 = 4400;
const UNAUTHORIZED: u16 = 4401;
const FORBIDDEN: u16 = 4403;
const INIT_TIMEOUT: u16 = 4408;
const SUBSCRIBER_EXISTS: u16 = 4409;
const TOO_MANY_INITS: u16 = 4429;
/// RFC 6455 §7.4.1, and the registry of close codes: service restart, and try again later.
const RESTART: u16 = 1012;
const TRY_AGAIN: u16 = 1013;

/// `graphql-transport-ws` over one connection. Its memory is limited by the numbers of operations
/// and of subscriptions that a client may have.
///
/// ```text
///      connection_init       welcome           an error
/// New ────────────────▶ Asked ──────▶ Open ───────────▶ Ended
///  └──────── an error ────┴────── refused ────────────▶
/// ```
#[derive(Debug)]
pub struct GraphQl {
    settings: Settings,
    phase: Phase,
    early_pings: u32,
    executor: Executor,
    /// Commands that are not those of an operation.
    pending: HashMap<CommandId, Purpose>,
    /// The client's operations, by their ids.
    operations: HashMap<Box<str>, Active>,
    /// The ids of operations that are being executed.
    ids: HashMap<Number, Box<str>>,
    streams: HashMap<u32, Stream>,
    last_stream: u32,
    queue: VecDeque<Intent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Asked,
    Open,
    Ended,
}

/// An operation of the client that has not ended.
#[derive(Clone, Copy, Debug)]
enum Active {
    Running(Number),
    Stream(u32),
}

/// The purpose of a command.
#[derive(Debug)]
enum Purpose {
    Connect,
    /// Answers a ping with this payload.
    Pong(Option<Box<str>>),
    Subscribe(u32),
    /// It is not answered.
    Silent,
}

/// The content is encoded for all connections together; each has its own selection of fields.
#[derive(Debug)]
pub(super) struct Content;

impl Encoding for Content {
    fn name(&self) -> &'static str {
        "graphql"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        Shared::whole(template::content(publication))
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        Some(Shared::whole(String::new()))
    }
}

impl GraphQl {
    /// A connection that was just opened.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::New,
            early_pings: 0,
            executor: Executor::default(),
            pending: HashMap::new(),
            operations: HashMap::new(),
            ids: HashMap::new(),
            streams: HashMap::new(),
            last_stream: 0,
            queue: VecDeque::new(),
        }
    }

    fn end(&mut self, code: u16, reason: &'static str) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.queue.push_back(Intent::Close { code, reason });
        }
    }

    fn number(&mut self, purpose: Purpose) -> CommandId {
        let id = self.executor.command_id();
        self.pending.insert(id, purpose);
        id
    }

    fn command(&mut self, purpose: Purpose, command: Command) {
        let id = self.number(purpose);
        self.queue.push_back(Intent::Command { id, command });
    }

    fn take(&mut self, said: Said<'_>) {
        match said {
            Said::Init { token, info } => self.init(token, info),
            Said::Ping(payload) if self.phase == Phase::Open => {
                let payload = payload.map(Into::into);
                self.command(Purpose::Pong(payload), Command::Ping);
            }
            Said::Ping(_) => self.early(true),
            // The server did not ask for it: it counts like any other message.
            Said::Pong if self.phase == Phase::Open => self.command(Purpose::Silent, Command::Ping),
            Said::Pong => self.early(false),
            Said::Subscribe { .. } | Said::Complete { .. } if self.phase != Phase::Open => {
                self.end(UNAUTHORIZED, "connection_init has to be acknowledged first");
            }
            Said::Subscribe { id, request } => self.subscribe(&id, &request),
            Said::Complete { id } => self.complete(&id),
        }
    }

    fn init(&mut self, token: Option<String>, info: Bytes) {
        if self.phase != Phase::New {
            return self.end(TOO_MANY_INITS, "too many initialisation requests");
        }
        self.phase = Phase::Asked;
        let id = self.number(Purpose::Connect);
        self.queue.push_back(Intent::Connect(Connect {
            id,
            token,
            resume: None,
            info,
            positions: Vec::new(),
            lineage: true,
            named: None,
        }));
    }

    /// A ping or pong before the session has begun. No command counts it yet.
    fn early(&mut self, is_ping: bool) {
        self.early_pings = self.early_pings.saturating_add(1);
        if self.early_pings > EARLY_PINGS {
            return self.end(BAD_REQUEST, "too many pings before connection_init");
        }
        if is_ping {
            let pong = message::pong(None);
            self.queue.push_back(Intent::Say(pong.into()));
        }
    }

    fn subscribe(&mut self, id: &str, request: &Request<'_>) {
        if self.operations.contains_key(id) {
            return self.end(
                SUBSCRIBER_EXISTS,
                "an operation with this id is active already",
            );
        }
        if self.executor.len() >= MAX_RUNNING {
            let detail = format!(
                "{MAX_RUNNING} operations of this connection are being executed, which is the limit"
            );
            let refusal = Refusal::new(ErrorCode::Busy, detail);
            return self.fail(id, vec![refusal.into()]);
        }
        match prepare(request, &self.settings) {
            Err(failures) => self.fail(id, failures),
            Ok(Prepared {
                kind: Kind::Subscription,
                fields,
            }) => {
                // Validation has left exactly one.
                if let Some(plan) = fields.into_iter().next() {
                    self.stream(id, plan);
                }
            }
            Ok(operation) => {
                let number = self.executor.begin(operation, MAX_ANSWER, &mut self.queue);
                self.executing(id, number);
            }
        }
    }

    fn fail(&mut self, id: &str, failures: Vec<Failure>) {
        let number = self.executor.fail(failures, &mut self.queue);
        self.executing(id, number);
    }

    fn executing(&mut self, id: &str, number: Number) {
        self.operations.insert(id.into(), Active::Running(number));
        self.ids.insert(number, id.into());
    }

    fn stream(&mut self, id: &str, plan: Plan) {
        // The last number is not available in the engine.
        let next = self.last_stream.checked_add(1).unwrap_or(1);
        let number = next.min(u32::MAX.saturating_sub(1));
        self.last_stream = number;
        match commands::subscribe(&plan, number) {
            Err(failure) => self.fail(id, vec![failure]),
            Ok(wish) => {
                self.streams.insert(number, Stream::new(id, plan));
                self.operations.insert(id.into(), Active::Stream(number));
                self.command(Purpose::Subscribe(number), Command::Subscribe(wish));
            }
        }
    }

    /// The client no longer wants an operation. The id may be unknown: the operation may have ended
    /// at the same time.
    fn complete(&mut self, id: &str) {
        match self.operations.remove(id) {
            Some(Active::Running(number)) => {
                self.ids.remove(&number);
                self.executor.cancel(number);
                self.command(Purpose::Silent, Command::Ping);
            }
            Some(Active::Stream(number)) => {
                self.streams.remove(&number);
                let subscription = SubscriptionKey::Id(SubscriptionId(number));
                self.command(Purpose::Silent, Command::Unsubscribe { subscription });
            }
            None => self.command(Purpose::Silent, Command::Ping),
        }
    }

    fn replied(&mut self, id: CommandId, reply: &Reply, out: &mut Vec<Payload>) {
        let Some(purpose) = self.pending.remove(&id) else {
            let done = self.executor.replied(id, reply, &mut self.queue);
            return self.done(done, out);
        };
        match (purpose, reply) {
            (Purpose::Subscribe(number), Reply::Refused(refusal)) => {
                self.failed(number, refusal, out);
            }
            (Purpose::Pong(payload), Reply::Pong) => {
                out.push(message::pong(payload.as_deref()).into());
            }
            (Purpose::Connect | Purpose::Silent | Purpose::Pong(_) | Purpose::Subscribe(_), _) => {}
        }
    }

    /// Tells the client what became of an operation.
    fn done(&mut self, done: Option<(Number, Outcome)>, out: &mut Vec<Payload>) {
        let Some((number, outcome)) = done else {
            return;
        };
        let Some(id) = self.ids.remove(&number) else {
            return;
        };
        self.operations.remove(&id);
        match outcome {
            Outcome::Result(result) => {
                out.push(message::next(&id, &result).into());
                out.push(message::complete(&id).into());
            }
            Outcome::Failed(failures) => {
                out.push(message::error(&id, &failure::list(&failures)).into());
            }
        }
    }

    /// A subscription was refused, or has ended.
    fn failed(&mut self, number: u32, refusal: &Refusal, out: &mut Vec<Payload>) {
        let Some(stream) = self.streams.remove(&number) else {
            return;
        };
        self.operations.remove(&stream.id);
        let failures = [Failure::from(refusal.clone())];
        out.push(message::error(&stream.id, &failure::list(&failures)).into());
    }

    fn stream_of(&self, subscription: &SubscriptionName) -> Option<&Stream> {
        let SubscriptionId(number) = subscription.id?;
        self.streams.get(&number)
    }
}

impl Dialect for GraphQl {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &Content
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        if self.phase == Phase::Ended {
            return;
        }
        let said = match incoming {
            Incoming::Text(text) => message::read(text),
            Incoming::Binary(_) => Err("expected a text message, not a binary one"),
        };
        match said {
            Ok(said) => self.take(said),
            Err(reason) => self.end(BAD_REQUEST, reason),
        }
        intents.extend(self.queue.drain(..));
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        self.queue.pop_front()
    }

    fn has_tokens(&self) -> bool {
        // Clients subscribe again, with positions.
        false
    }

    fn late(&self) -> (u16, &'static str) {
        (INIT_TIMEOUT, "connection initialisation timeout")
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let stream = recipient.subscription;
        let stream = stream.and_then(|SubscriptionId(number)| self.streams.get(&number));
        let Some(stream) = stream else {
            // The client has completed it.
            return Head::Nothing;
        };
        let message = match (&shared.publication, &shared.change, &shared.message) {
            (Some(publication), _, Payload::Text(content)) => {
                stream.publication(publication, recipient.at, content)
            }
            (_, Some(change), _) => stream.change(change),
            _ => None,
        };
        message.map_or(Head::Nothing, |message| Head::Whole(message.into()))
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.pending.remove(&welcome.id);
        self.phase = Phase::Open;
        out.push(message::acknowledged(welcome).into());
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, _out: &mut Vec<Payload>) {
        let purpose = id.and_then(|id| self.pending.remove(&id));
        if !matches!(purpose, Some(Purpose::Connect)) {
            return;
        }
        let code = match refusal.code.retry() {
            Retry::Never => FORBIDDEN,
            Retry::Later => TRY_AGAIN,
            Retry::Reconnect => RESTART,
        };
        self.end(code, refusal.code.name());
    }

    fn channels(
        &mut self,
        id: CommandId,
        channels: &[(ChannelName, Option<u64>)],
        next: Option<&str>,
        out: &mut Vec<Payload>,
    ) {
        let done = self.executor.listed(id, channels, next, &mut self.queue);
        self.done(done, out);
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        match notice {
            Notice::Reply {
                id: Some(id),
                reply,
            } => self.replied(*id, reply, out),
            Notice::Reply { id: None, reply } => {
                if let Reply::Members {
                    subscription: Some(SubscriptionId(number)),
                    ..
                } = reply
                {
                    let stream = self.streams.get(number);
                    let message = stream.and_then(|stream| stream.members(reply));
                    out.extend(message.map(Payload::Text));
                }
            }
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                ..
            } => {
                let stream = self.stream_of(subscription);
                let gap = stream.and_then(|stream| stream.gap((*from, *to), reason.name(), None));
                out.extend(gap.map(Payload::Text));
            }
            Notice::ChannelGap {
                subscription,
                channel,
                from,
                to,
                reason,
            } => {
                let stream = self.stream_of(subscription);
                let channel = Some(channel.as_str());
                let gap = stream.and_then(|one| one.gap((*from, *to), reason.name(), channel));
                out.extend(gap.map(Payload::Text));
            }
            Notice::Unsubscribed {
                subscription,
                refusal,
            } => {
                if let Some(SubscriptionId(number)) = subscription.id {
                    self.failed(number, refusal, out);
                }
            }
            Notice::Close { .. } => self.phase = Phase::Ended,
            // Clients have no messages for these: they reconnect at a time that they choose, and
            // their own publications are sent back to them.
            Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Told { .. }
            | Notice::Restored
            | Notice::Reconnect { .. } => {}
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        close_code(reason)
    }
}

pub(super) fn close_code(reason: CloseReason) -> u16 {
    match reason {
        // Stock clients never come back after 1008.
        CloseReason::TooSlow | CloseReason::Flood => TRY_AGAIN,
        CloseReason::Replaced => RESTART,
        // A client asks its application for a newer token and returns.
        CloseReason::Expired => FORBIDDEN,
        CloseReason::Disconnected => UNAUTHORIZED,
    }
}

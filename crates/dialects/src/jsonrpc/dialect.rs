//! The state of one JSON-RPC connection.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use offhook_engine::{
    ChannelName, CloseReason, Command, CommandId, ErrorCode, Notice, PresenceChange, Publication,
    Refusal, Reply, Since, Subscribe, SubscriptionId, SubscriptionKey, SubscriptionName, Target,
};

use super::{
    answer::{self, Failure},
    message::{self, Invalid, Message, Request},
    methods::{self, Ask, Event, MAX_EVENTS},
    notification::{live_at_once, named, push},
    pending::{BatchId, CallId, Pending, Purpose},
};
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    json::Object,
    native,
};

/// JSON-RPC 2.0 over one connection. Its memory is limited by the numbers of unanswered requests
/// and of subscriptions that a client may have.
#[derive(Debug, Default)]
pub struct Rpc {
    login: Login,
    pending: Pending,
    /// The number of the next subscription.
    next_subscription: u32,
    /// Channels that `rpc.on` has asked for, and the numbers of their subscriptions.
    events: HashMap<ChannelName, u32>,
    /// The same, by number, and also those that `rpc.off` is ending.
    channels: HashMap<u32, ChannelName>,
    /// Further requests for a channel that `rpc.on` is still asking for, by number.
    joined: HashMap<u32, Vec<CallId>>,
    /// Its messages are single requests: methods that need a connection are refused.
    over_requests: bool,
}

/// Whether the session has begun. A client that sends a request without `rpc.login` is anonymous.
#[derive(Debug, Default)]
enum Login {
    #[default]
    NotYet,
    /// Requested by this request, or by the first one that needs a session.
    Asked {
        connect: CommandId,
        by: Option<CallId>,
    },
    Done,
    /// Refused. The rest of the same message is refused, too.
    Refused(Refusal),
}

/// The same message for all recipients, except for the number of the subscription.
#[derive(Debug)]
struct Pushed;

impl Encoding for Pushed {
    fn name(&self) -> &'static str {
        "json-rpc"
    }

    fn publication(&self, publication: &Publication) -> Shared {
        answer::shared(&answer::publication(publication))
    }

    fn has_heads(&self) -> bool {
        true
    }

    fn presence(&self, change: &PresenceChange) -> Option<Shared> {
        Some(answer::shared(&answer::presence(change)))
    }
}

impl Dialect for Rpc {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &Pushed
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        let text = match incoming {
            Incoming::Text(text) => text,
            // Some clients send JSON as bytes.
            Incoming::Binary(bytes) => std::str::from_utf8(bytes).unwrap_or("\u{fffd}"),
        };
        if let Login::Refused(_) = self.login {
            self.login = Login::NotYet;
        }
        match message::read(text) {
            Message::One(request) => self.take(request, None, intents),
            Message::Batch(requests) => {
                let batch = self.pending.batch(requests.len());
                for request in requests {
                    self.take(request, Some(batch), intents);
                }
            }
        }
    }

    fn head(&mut self, recipient: &Recipient, shared: &Shared) -> Head {
        let Some(SubscriptionId(number)) = recipient.subscription else {
            return Head::None;
        };
        if let Some(channel) = self.channels.get(&number)
            && let Payload::Text(text) = &shared.message
        {
            let event = answer::event(channel.as_str(), answer::result_of(text));
            return Head::Whole(event.into());
        }
        let mut head = number.to_string();
        if let Some(at) = recipient.at {
            head = format!("{head},\"at\":{}", answer::place(at));
        }
        if recipient.state {
            head.push_str(",\"state\":true");
        }
        Head::Insert(head.into_bytes())
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        if let Login::Asked { by: Some(call), .. } = self.login {
            self.pending.answer(call, &Ok("true".to_owned()), out);
        }
        self.login = Login::Done;
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        let refusal = match &self.login {
            Login::Asked { connect, by } if id == Some(*connect) => {
                if let Some(call) = by {
                    let failure = Failure::refused(refusal);
                    self.pending.answer(*call, &Err(failure), out);
                }
                self.login = Login::Refused(refusal.clone());
                return;
            }
            Login::Refused(why) => why.clone(),
            Login::NotYet | Login::Asked { .. } | Login::Done => refusal.clone(),
        };
        self.reply(id, &Reply::Refused(refusal), out);
    }

    fn refreshed(&mut self, id: CommandId, _: Option<Duration>, out: &mut Vec<Payload>) {
        if let Some((call, Purpose::Refresh)) = self.pending.replied(id) {
            self.pending.answer(call, &Ok("true".to_owned()), out);
        }
    }

    fn expiring(&mut self, expires_in: Duration, out: &mut Vec<Payload>) {
        let params = Object::part().raw("expires_in_ms", expires_in.as_millis());
        out.push(answer::push("expiring", params).into());
    }

    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        match notice {
            Notice::Reply {
                id: Some(id),
                reply,
            } => self.reply(Some(*id), reply, out),
            Notice::Reply { id: None, reply } => self.unasked(reply, out),
            Notice::Close { .. } => {}
            Notice::Gap { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Told { .. }
            | Notice::Restored
            | Notice::Reconnect { .. } => out.extend(push(notice)),
            Notice::Unsubscribed {
                subscription,
                refusal,
            } => {
                let params = named(subscription);
                let params = params.text("code", refusal.code.name());
                let params = params.text("message", &refusal.detail);
                out.push(answer::push("unsubscribed", params).into());
                self.forget(subscription.id);
            }
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        native::close_code(reason)
    }
}

impl Rpc {
    /// For messages that are single requests.
    pub(super) fn over_requests() -> Self {
        Self {
            over_requests: true,
            ..Self::default()
        }
    }

    /// Whether requests are unanswered.
    pub(super) fn awaits_any(&self) -> bool {
        self.pending.awaits_any()
    }

    /// Handles a request, alone or in a batch.
    fn take(
        &mut self,
        request: Result<Request<'_>, Invalid>,
        batch: Option<BatchId>,
        intents: &mut Vec<Intent>,
    ) {
        let (call, asked) = match request {
            Ok(request) => {
                let call = self.pending.call(request.id, batch);
                (call, methods::read_strictly(&request))
            }
            Err(Invalid { id, failure }) => {
                let call = self.pending.call(Some(&id), batch);
                (call, Err(failure))
            }
        };
        let asked = asked.and_then(|ask| match self.over_requests && ask.needs_a_connection() {
            true => Err(Failure::needs_a_connection()),
            false => Ok(ask),
        });
        match asked {
            Ok(Ask::Login(token)) => self.log_in(call, token, intents),
            Ok(ask) => {
                self.begin(None, None, intents);
                self.ask(call, ask, intents);
            }
            Err(failure) => {
                if self.over_requests {
                    // Whatever the message is, its connection begins with it.
                    self.begin(None, None, intents);
                }
                self.refuse(call, failure, intents);
            }
        }
    }

    /// Requests that have no command are refused by the engine as well, so that they count like any
    /// other command.
    fn refuse(&mut self, call: CallId, failure: Failure, intents: &mut Vec<Intent>) {
        let id = self.pending.command(call, Purpose::Nothing(failure));
        let refusal = Refusal::new(ErrorCode::BadRequest, "no request");
        let id = Some(id);
        intents.push(Intent::Refuse { id, refusal });
    }

    fn log_in(&mut self, call: CallId, token: Option<String>, intents: &mut Vec<Intent>) {
        if let Login::NotYet = self.login {
            return self.begin(Some(call), token, intents);
        }
        if let Some(token) = token {
            let id = self.pending.command(call, Purpose::Refresh);
            return intents.push(Intent::Refresh { id, token });
        }
        let detail = "rpc.login: without a token, it must be the first request on a connection";
        self.refuse(call, Failure::invalid_request(detail), intents);
    }

    /// Starts the session, unless it has been started.
    fn begin(&mut self, by: Option<CallId>, token: Option<String>, intents: &mut Vec<Intent>) {
        if !matches!(self.login, Login::NotYet) {
            return;
        }
        let connect = self.pending.unanswered();
        self.login = Login::Asked { connect, by };
        intents.push(Intent::Connect(Connect {
            id: connect,
            token,
            resume: None,
            info: "".into(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        }));
    }

    fn ask(&mut self, call: CallId, ask: Ask, intents: &mut Vec<Intent>) {
        let (command, purpose) = match ask {
            Ask::Login(_) => return,
            Ask::Do(command) => (command, Purpose::Command),
            Ask::Subscribe(wish, token) => {
                let number = self.number();
                let command = Command::Subscribe(Subscribe {
                    members: true,
                    ..wish.numbered(number)
                });
                let purpose = Purpose::Subscribe(number);
                let Some(token) = token else {
                    return self.command(call, command, purpose, intents);
                };
                let id = self.pending.command(call, purpose);
                return intents.push(Intent::Granted { id, token, command });
            }
            Ask::Unsubscribe(number) => (unsubscribe(number), Purpose::Unsubscribe(number)),
            Ask::On(events) => return self.on(call, events, intents),
            Ask::Off(events) => return self.off(call, events, intents),
        };
        self.command(call, command, purpose, intents);
    }

    fn command(
        &mut self,
        call: CallId,
        command: Command,
        purpose: Purpose,
        intents: &mut Vec<Intent>,
    ) {
        let id = self.pending.command(call, purpose);
        intents.push(Intent::Command { id, command });
    }

    fn on(&mut self, call: CallId, events: Vec<Event>, intents: &mut Vec<Intent>) {
        let mut is_answered = true;
        for (name, channel) in events {
            let Some(channel) = channel else {
                self.pending.noted(call, name, false);
                continue;
            };
            if let Some(number) = self.events.get(&channel) {
                let Some(joined) = self.joined.get_mut(number) else {
                    self.pending.noted(call, name, true);
                    continue;
                };
                if joined.len() < MAX_EVENTS {
                    joined.push(call);
                    self.pending.joins(call);
                    is_answered = false;
                } else {
                    self.pending.noted(call, name, false);
                }
                continue;
            }
            let number = self.number();
            self.events.insert(channel.clone(), number);
            self.channels.insert(number, channel.clone());
            self.joined.insert(number, Vec::new());
            let wish = Subscribe::new(channel.clone(), Since::Now).numbered(number);
            let purpose = Purpose::On(channel, number);
            self.command(call, Command::Subscribe(wish), purpose, intents);
            is_answered = false;
        }
        self.answer_at_once(call, is_answered, intents);
    }

    fn off(&mut self, call: CallId, events: Vec<Event>, intents: &mut Vec<Intent>) {
        let mut is_answered = true;
        for (name, channel) in events {
            let Some(channel) = channel else {
                self.pending.noted(call, name, false);
                continue;
            };
            // From now on, `rpc.on` asks for it again.
            let Some(number) = self.events.remove(&channel) else {
                self.pending.noted(call, name, true);
                continue;
            };
            let purpose = Purpose::Off(channel, number);
            self.command(call, unsubscribe(number), purpose, intents);
            is_answered = false;
        }
        self.answer_at_once(call, is_answered, intents);
    }

    fn answer_at_once(&mut self, call: CallId, is_answered: bool, intents: &mut Vec<Intent>) {
        if !is_answered {
            return;
        }
        let mut out = Vec::new();
        self.pending.complete(call, &mut out);
        intents.extend(out.into_iter().map(Intent::Say));
    }

    /// The number of a subscription, which clients see.
    fn number(&mut self) -> u32 {
        // The last number is not available in the engine.
        self.next_subscription = self.next_subscription.checked_add(1).unwrap_or(1);
        self.next_subscription.min(u32::MAX.saturating_sub(1))
    }

    fn reply(&mut self, id: Option<CommandId>, reply: &Reply, out: &mut Vec<Payload>) {
        let Some((call, purpose)) = id.and_then(|id| self.pending.replied(id)) else {
            return;
        };
        let is_done = !matches!(reply, Reply::Refused(_));
        let result = match purpose {
            Purpose::Command | Purpose::Refresh => answer::result(reply),
            Purpose::Subscribe(number) => {
                let result = answer::result(reply).map(|_| number.to_string());
                self.pending.answer(call, &result, out);
                return out.extend(live_at_once(reply));
            }
            Purpose::Unsubscribe(number) => {
                self.forget(Some(SubscriptionId(number)));
                if let Reply::Refused(refusal) = reply
                    && refusal.code == ErrorCode::NotSubscribed
                {
                    Ok("false".to_owned())
                } else {
                    answer::result(reply)
                }
            }
            Purpose::On(channel, number) => {
                if !is_done {
                    self.forget(Some(SubscriptionId(number)));
                }
                let joined = self.joined.remove(&number).unwrap_or_default();
                for call in [call].into_iter().chain(joined) {
                    self.pending.event(call, channel.as_str(), is_done, out);
                }
                return;
            }
            Purpose::Off(channel, number) => {
                self.forget(Some(SubscriptionId(number)));
                return self.pending.event(call, channel.as_str(), true, out);
            }
            Purpose::Nothing(failure) => {
                // A client that sends too much receives that error instead.
                if let Reply::Refused(refusal) = reply
                    && refusal.code != ErrorCode::BadRequest
                {
                    Err(Failure::refused(refusal))
                } else {
                    Err(failure)
                }
            }
        };
        self.pending.answer(call, &result, out);
    }

    /// Output that the engine sends unasked in the form of a reply.
    fn unasked(&self, reply: &Reply, out: &mut Vec<Payload>) {
        if let Reply::Members {
            channel,
            subscription,
            members,
            total,
        } = reply
        {
            let name = SubscriptionName {
                target: Target::Channel(channel.clone()),
                id: *subscription,
            };
            let members = answer::members(members.iter().map(|member| &**member));
            let params = named(&name).raw("members", members).raw("total", total);
            out.push(answer::push("members", params).into());
        }
    }

    fn forget(&mut self, id: Option<SubscriptionId>) {
        let Some(SubscriptionId(number)) = id else {
            return;
        };
        if let Some(channel) = self.channels.remove(&number)
            && self.events.get(&channel) == Some(&number)
        {
            self.events.remove(&channel);
        }
    }
}

fn unsubscribe(number: u32) -> Command {
    Command::Unsubscribe {
        subscription: SubscriptionKey::Id(SubscriptionId(number)),
    }
}

//! The client without I/O: what to send, what was answered, what is missing, when to come back.
//!
//! Whoever drives it opens connections, moves messages and waits, as it is told: `handle_*` tells it
//! what happened and when, `poll_*` asks what to do. Users' wishes come in between. It never
//! calls anybody; what it has to say to users are [`Signal`]s.

mod connection;
mod following;
mod greeting;
mod hearing;
mod inbox;
mod publishes;
mod questions;
mod subscriptions;
mod wishes;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use offhook::Backoff;
use offhook_dialects::native::Request;
use offhook_dialects::native::client::{ChannelName, Command, CommandId, encode_request};

use crate::answer::Answer;
use crate::connection_event::ConnectionEvent;
use crate::error::Error;

use connection::Connection;
pub(crate) use following::Taken;
pub(crate) use publishes::Outgoing;
use publishes::{Hold, Publishes};
use questions::Questions;
use subscriptions::{Stage, Subscriptions};

/// Names a subscription, also after another one took its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionKey(u64);

/// Names something that will be answered. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What a client can be told about how to behave.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) backoff: Backoff,
    pub(crate) heartbeat: Heartbeat,
    /// Bytes of publications that are not answered yet.
    pub(crate) queue: usize,
    /// Bytes of events of one subscription that were not taken yet.
    pub(crate) inbox: usize,
    /// Whether there is someone to ask for a token.
    pub(crate) has_token_source: bool,
}

/// How a server that does not answer any more is noticed, on top of WebSocket's own pings: those
/// may be answered by something in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Ask for a sign of life when nothing was heard for this long. 25 s: below the idle timeouts
    /// of the usual proxies and NATs, and before the WebSocket's own ping.
    pub every: Duration,
    /// Give the connection up when none came for this long; a greeting has to be answered in this time
    /// as well. 20 s: a phone that changes cells comes back within; a server that hangs does not.
    pub within: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(25),
            within: Duration::from_secs(20),
        }
    }
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for [`Core::poll_timeout`].
    Wait,
    /// Open a connection.
    Open {
        /// And fetch a token first.
        token_wanted: bool,
    },
    /// Send and receive.
    Talk,
    /// Close.
    End,
}

/// Something for a user.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A subscription has something for its reader.
    Reader(SubscriptionKey),
    /// What was wished for came about, or did not.
    Answer {
        ticket: Ticket,
        answer: Result<Answer, Error>,
    },
    /// Fewer publications wait than did.
    Room,
    /// Something happened to the connection.
    Connection(ConnectionEvent),
}

/// What was asked on this connection, by the number of the request.
#[derive(Clone, Debug)]
enum Asked {
    Hello,
    Subscribe(SubscriptionKey),
    Unsubscribe(ChannelName),
    /// Who is in the channel, for a subscription with presence.
    Roster(SubscriptionKey),
    Publish(Ticket),
    Question(Ticket),
    Ping,
}

/// What is to be sent, or looked at, on this connection.
#[derive(Clone, Debug)]
enum Todo {
    Subscribe(SubscriptionKey),
    Unsubscribe(ChannelName),
    Roster(SubscriptionKey),
    /// Should have been restored by now.
    Missing(SubscriptionKey),
    Question(Ticket),
    Ping,
}

/// A subscription whose inbox is full, so that the connection is not read.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    key: SubscriptionKey,
    /// Since when its reader took nothing.
    since: Instant,
}

/// How long a reader that takes nothing may keep the connection from being read: 1 s, so that one that
/// is only slow pushes back on the server, and others wait for one that hangs no longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// And while answers are waited for, perhaps by that very reader: 20 ms.
const PATIENCE_WHILE_ASKING: Duration = Duration::from_millis(20);

pub(crate) struct Core {
    settings: Settings,
    now: Instant,
    random: Random,
    connection: Connection,
    /// The last number given to a request, a ticket or a subscription.
    last: u64,
    asked: HashMap<CommandId, Asked>,
    todo: VecDeque<Todo>,
    /// What comes up again later, in the order of time.
    again: BTreeMap<(Instant, u64), Todo>,
    subscriptions: Subscriptions,
    blocked: Option<Blocked>,
    publishes: Publishes,
    questions: Questions,
    signals: VecDeque<Signal>,
    /// Publications that came twice.
    repeats: u64,
}

impl Core {
    /// `seed` is random, and the source of all chance in here.
    pub(crate) fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self {
            now,
            random: Random(seed | 1),
            connection: Connection::new(now),
            last: 0,
            asked: HashMap::new(),
            todo: VecDeque::new(),
            again: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            blocked: None,
            publishes: Publishes::new(settings.queue),
            questions: Questions::default(),
            signals: VecDeque::new(),
            repeats: 0,
            settings,
        }
    }

    /// The next message to send on the connection.
    pub(crate) fn poll_transmit(&mut self) -> Option<String> {
        if let Some(greeting) = self.greeting() {
            return Some(greeting);
        }
        if !self.connection.is_online() {
            return None;
        }
        while let Some(todo) = self.todo.pop_front() {
            if let Some(message) = self.perform(todo) {
                return Some(message);
            }
        }
        if let Some((ticket, command)) = self.questions.next() {
            return Some(self.request(Asked::Question(ticket), command));
        }
        let (ticket, command) = self.publishes.next()?;
        Some(self.request(Asked::Publish(ticket), command))
    }

    fn perform(&mut self, todo: Todo) -> Option<String> {
        match todo {
            Todo::Subscribe(key) => self.ask_to_subscribe(key),
            Todo::Unsubscribe(channel) => {
                if !self.subscriptions.ask_to_leave(&channel) {
                    return None;
                }
                let command = Command::Unsubscribe {
                    subscription: channel.clone().into(),
                };
                Some(self.request(Asked::Unsubscribe(channel), command))
            }
            Todo::Roster(key) => {
                let entry = self.subscriptions.get(key)?;
                if !matches!(entry.stage, Stage::There) {
                    return None;
                }
                let channel = entry.channel.clone();
                Some(self.request(Asked::Roster(key), Command::Presence { channel }))
            }
            Todo::Missing(key) => {
                let entry = self.subscriptions.get(key)?;
                if matches!(entry.stage, Stage::Restoring) {
                    self.begin_anew(key);
                }
                None
            }
            Todo::Question(ticket) => {
                self.questions.again(ticket);
                None
            }
            Todo::Ping => Some(self.request(Asked::Ping, Command::Ping)),
        }
    }

    fn request(&mut self, asked: Asked, command: Command) -> String {
        let id = self.ask(asked);
        encode(Request::Command { id, command })
    }

    fn ask(&mut self, asked: Asked) -> CommandId {
        let id = CommandId(self.number());
        self.asked.insert(id, asked);
        id
    }

    /// Each is used once; 2^53 of them take longer than anything.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether the next message may be taken from the connection.
    pub(crate) fn may_read(&self) -> bool {
        self.blocked.is_none()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let again = self.again.keys().next().map(|(at, _)| *at);
        let held = match self.publishes.hold {
            Hold::Until(at) => Some(at),
            Hold::No | Hold::NextConnection => None,
        };
        let times = [self.connection_timeout(), again, held, self.patience_ends()];
        times.into_iter().flatten().min()
    }

    fn patience_ends(&self) -> Option<Instant> {
        let blocked = self.blocked?;
        let asking = !self.asked.is_empty();
        let patience = if asking {
            PATIENCE_WHILE_ASKING
        } else {
            PATIENCE
        };
        Some(blocked.since + patience)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.patience_ends().is_some_and(|end| now >= end) {
            self.set_blocked_aside();
        }
        if let Hold::Until(at) = self.publishes.hold
            && now >= at
        {
            self.publishes.hold = Hold::No;
        }
        while let Some(first) = self.again.first_entry() {
            if first.key().0 > now {
                break;
            }
            let todo = first.remove();
            self.todo.push_back(todo);
        }
        self.connection_time();
    }

    fn after(&mut self, pause: Duration, todo: Todo) {
        let at = (self.now + pause, self.number());
        self.again.insert(at, todo);
    }

    /// The next thing that users are to be told.
    pub(crate) fn poll_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// How many publications the server has not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.publishes.len()
    }

    /// How many publications came twice, and were dropped.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "made on the spot everywhere, and reads better so"
)]
fn encode(request: Request) -> String {
    encode_request(&request)
}

/// Chance for pauses: xorshift64, whose seed is random. Nothing secret comes of it.
struct Random(u64);

impl Random {
    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from((self.0 >> 32) as u32) / f64::from(u32::MAX)
    }
}

//! The client without I/O: what to send, what was answered, what is missing, when to reconnect.
//!
//! Its driver opens connections, transfers messages and waits: `handle_*` report what happened and
//! when, `poll_*` say what to do next. Users make requests in between. The core makes no callbacks;
//! what users must be told are [`Signal`]s.

mod connection;
mod group;
mod handshake;
mod inbox;
mod incoming;
mod made;
mod publishes;
mod questions;
mod requests;
mod subscribing;
mod subscriptions;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use offhook::Backoff;
use offhook_dialects::Payload;
use offhook_dialects::native::Request;
use offhook_dialects::native::client::{
    Command, CommandId, SubscriptionKey as Name, Target, encode_request, encode_request_binary,
    has_bytes,
};

use crate::answer::Answer;
use crate::connection_event::ConnectionEvent;
use crate::error::Error;

use connection::Connection;
pub(crate) use connection::Form;
use made::Made;
pub(crate) use publishes::Outgoing;
use publishes::{Hold, Publishes};
use questions::Questions;
pub(crate) use questions::Repeat;
pub(crate) use subscribing::{Subscribe, Taken};
use subscriptions::{SubscriptionState, Subscriptions};
pub(crate) use tokens::Fetch;

/// Identifies a subscription, also after its channel has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SubscriptionKey(u64);

/// Identifies a request that will be answered. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// The settings that the core needs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) backoff: Backoff,
    pub(crate) heartbeat: Heartbeat,
    /// The limit for bytes of unanswered publications.
    pub(crate) queue: usize,
    /// The limit for bytes of queued events of one subscription.
    pub(crate) inbox: usize,
    /// Whether there is a source of tokens.
    pub(crate) has_token_source: bool,
}

/// How a server that no longer answers is detected. WebSocket's own pings are not enough: a proxy may
/// answer them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Send a ping when nothing was received for this long. 25 s: below the idle timeouts of common
    /// proxies and NATs, and before the WebSocket's own ping.
    pub every: Duration,
    /// Give up the connection if nothing was received for this long after a ping or after
    /// `connect`. 20 s: a phone that changes cells is back within that time.
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
        /// Whether to fetch a token first.
        token_wanted: bool,
    },
    /// Send and receive.
    Talk,
    /// Close.
    End,
}

/// Something to tell a user.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A subscription has an event for its reader.
    Reader(SubscriptionKey),
    /// A request was answered, or failed.
    Answer {
        ticket: Ticket,
        answer: Result<Answer, Error>,
    },
    /// The queue of publications has room again.
    Room,
    /// Something happened to the connection.
    Connection(ConnectionEvent),
    /// The server's side has made a subscription.
    Made,
}

/// A request on this connection that has no answer yet.
#[derive(Clone, Debug)]
enum Asked {
    Connect,
    Subscribe(SubscriptionKey),
    Unsubscribe(Name),
    /// The members of a channel, for a subscription with presence.
    Members(SubscriptionKey),
    Publish(Ticket),
    Question(Ticket),
    Refresh,
    Ping,
}

/// Work to be done on this connection.
#[derive(Clone, Debug)]
enum Todo {
    Subscribe(SubscriptionKey),
    Unsubscribe(Name),
    Members(SubscriptionKey),
    /// Check whether a subscription was restored in time.
    Missing(SubscriptionKey),
    Question(Ticket),
    /// Fetch a newer token of the session.
    FetchToken,
    /// Send it.
    Refresh,
    Ping,
}

/// A subscription whose inbox is full. The connection is not read meanwhile.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    key: SubscriptionKey,
    /// Since when its reader has taken nothing.
    since: Instant,
}

/// How long a full inbox may keep the connection from being read. 1 s: a slow reader pushes back on
/// the server, and one that hangs delays other subscriptions no longer than this.
const STALL_LIMIT: Duration = Duration::from_secs(1);
/// The same while requests have no answer. 20 ms: that very reader may be waiting for one.
const STALL_LIMIT_WITH_REQUESTS: Duration = Duration::from_millis(20);

pub(crate) struct Core {
    settings: Settings,
    now: Instant,
    random: Random,
    connection: Connection,
    /// The number used last, for a request, a ticket or a subscription.
    last: u64,
    asked: HashMap<CommandId, Asked>,
    todo: VecDeque<Todo>,
    /// Work to be done later, in order of time.
    again: BTreeMap<(Instant, u64), Todo>,
    subscriptions: Subscriptions,
    made: Made,
    blocked: Option<Blocked>,
    publishes: Publishes,
    questions: Questions,
    /// Tokens that the driver has to fetch.
    fetches: VecDeque<Fetch>,
    signals: VecDeque<Signal>,
    /// Publications that were received again and dropped.
    repeats: u64,
}

impl Core {
    /// `seed` is random and seeds all of the core's random numbers.
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
            made: Made::default(),
            blocked: None,
            publishes: Publishes::new(settings.queue),
            questions: Questions::default(),
            fetches: VecDeque::new(),
            signals: VecDeque::new(),
            repeats: 0,
            settings,
        }
    }

    /// The next message to send on the connection.
    pub(crate) fn poll_transmit(&mut self) -> Option<Payload> {
        if let Some(greeting) = self.connect_message() {
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

    fn perform(&mut self, todo: Todo) -> Option<Payload> {
        match todo {
            Todo::Subscribe(key) => self.ask_to_subscribe(key),
            Todo::Unsubscribe(name) => {
                if !self.subscriptions.ask_to_leave(&name) {
                    return None;
                }
                let command = Command::Unsubscribe {
                    subscription: name.clone(),
                };
                Some(self.request(Asked::Unsubscribe(name), command))
            }
            Todo::Members(key) => {
                let entry = self.subscriptions.get(key)?;
                let (SubscriptionState::Active, Target::Channel(channel)) =
                    (&entry.state, &entry.target)
                else {
                    return None;
                };
                let channel = channel.clone();
                Some(self.request(Asked::Members(key), Command::Presence { channel }))
            }
            Todo::Missing(key) => {
                let entry = self.subscriptions.get(key)?;
                if matches!(entry.state, SubscriptionState::Restoring) {
                    self.begin_anew(key);
                }
                None
            }
            Todo::Question(ticket) => {
                self.questions.again(ticket);
                None
            }
            Todo::FetchToken => {
                self.fetch_session_token();
                None
            }
            Todo::Refresh => self.ask_to_refresh(),
            Todo::Ping => Some(self.request(Asked::Ping, Command::Ping)),
        }
    }

    fn request(&mut self, asked: Asked, command: Command) -> Payload {
        let id = self.ask(asked);
        let request = Request::Command { id, command };
        match self.connection.form {
            Form::JsonAndCbor if has_bytes(&request) => encode_request_binary(&request).into(),
            Form::JsonAndCbor | Form::Json => encode(request),
        }
    }

    fn ask(&mut self, asked: Asked) -> CommandId {
        let id = CommandId(self.number());
        self.asked.insert(id, asked);
        id
    }

    /// A number that was not used before. 2^53 of them last longer than any program.
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Whether the next message may be read from the connection.
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
        let times = [self.connection_timeout(), again, held, self.stall_ends()];
        times.into_iter().flatten().min()
    }

    fn stall_ends(&self) -> Option<Instant> {
        let blocked = self.blocked?;
        let asking = !self.asked.is_empty();
        let patience = if asking {
            STALL_LIMIT_WITH_REQUESTS
        } else {
            STALL_LIMIT
        };
        Some(blocked.since + patience)
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.stall_ends().is_some_and(|end| now >= end) {
            self.pause_blocked();
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

    /// The next thing to tell users.
    pub(crate) fn poll_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// How many publications have no answer.
    pub(crate) fn unanswered(&self) -> usize {
        self.publishes.len()
    }

    /// How many publications were received again and dropped.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "made on the spot everywhere, and reads better so"
)]
fn encode(request: Request) -> Payload {
    encode_request(&request).into()
}

/// Random numbers for pauses: xorshift64 with a random seed. Not for secrets.
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

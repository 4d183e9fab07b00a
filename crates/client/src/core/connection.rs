//! The connection: opening, handshake, keepalive, loss, reconnecting.

use std::time::{Duration, Instant};

use offhook_dialects::native::SUBPROTOCOL_CBOR;
use offhook_dialects::native::client::{CommandId, ErrorCode};

use super::{Core, Signal, Step, Todo, publishes::Hold};
use crate::connection_event::ConnectionEvent;
use crate::error::{Error, Refused};

/// The longest pause that a server can ask for. An hour: a longer one is a mistake.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// The shortest pause before a refused request is sent again. 10 ms: a server cannot make the client
/// spin.
pub(super) const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// ```text
///              ┌──────────── Waiting ◀────────────┐
///              ▼                                  │ failed, refused for now, lost, silent
/// begin ─▶ Opening ─▶ Handshake ─▶ Online ────────┤
///              ▲                     │ advised    │ closed, or not worth another attempt
///              └─────────────────────┘            └──▶ Ended
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    Waiting {
        until: Instant,
    },
    Opening,
    Handshake {
        /// The `connect` that was sent, and whether it had a resume token.
        sent: Option<(CommandId, Resuming)>,
        deadline: Instant,
    },
    Online {
        since: Instant,
    },
    Ended {
        why: Error,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resuming {
    Yes,
    No,
}

/// The forms of messages on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Text messages alone.
    Json,
    /// Messages with bytes are binary, in both directions.
    JsonAndCbor,
}

impl Form {
    /// The form of a connection with this subprotocol.
    pub(crate) fn of(subprotocol: Option<&str>) -> Self {
        match subprotocol == Some(SUBPROTOCOL_CBOR) {
            true => Self::JsonAndCbor,
            false => Self::Json,
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    pub(super) form: Form,
    /// Since the last stable connection.
    pub(super) attempt: u32,
    /// The authentication token for this attempt, or a newer one to refresh it with.
    pub(super) token: Option<Box<str>>,
    /// Whether a newer token is being fetched or sent, and how often that has failed since the last
    /// one.
    pub(super) is_refreshing: bool,
    pub(super) refresh_failures: u32,
    /// The newest resume token.
    pub(super) resume: Option<Box<str>>,
    /// Whether there has been a connection before.
    pub(super) known: bool,
    /// When to open a new connection, as the server asked.
    move_at: Option<Instant>,
    /// When a message was received last, and when a ping was sent that has no answer.
    received_at: Instant,
    pinged: Option<Instant>,
    /// Why the server will close the connection.
    pub(super) closing: Option<Box<str>>,
}

impl Connection {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            form: Form::Json,
            attempt: 0,
            token: None,
            is_refreshing: false,
            refresh_failures: 0,
            resume: None,
            known: false,
            move_at: None,
            received_at: now,
            pinged: None,
            closing: None,
        }
    }

    pub(super) fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online { .. })
    }
}

impl Core {
    /// What the driver does next.
    pub(crate) fn step(&self) -> Step {
        match &self.connection.phase {
            Phase::Waiting { .. } => Step::Wait,
            Phase::Opening => Step::Open {
                // A resume token identifies the session.
                token_wanted: self.settings.has_token_source && self.connection.resume.is_none(),
            },
            Phase::Handshake { .. } | Phase::Online { .. } => Step::Talk,
            Phase::Ended { .. } => Step::End,
        }
    }

    /// Which attempt this is since the last stable connection.
    pub(crate) fn attempt(&self) -> u32 {
        self.connection.attempt
    }

    fn open(&mut self) {
        self.connection.attempt = self.connection.attempt.saturating_add(1);
        self.connection.phase = Phase::Opening;
        let attempt = self.connection.attempt;
        self.tell(ConnectionEvent::Connecting { attempt });
    }

    /// A connection is open, and perhaps a token was fetched for it.
    pub(crate) fn handle_opened(&mut self, token: Option<String>, form: Form, now: Instant) {
        self.now = now;
        self.connection.form = form;
        self.connection.token = token.map(Into::into);
        self.connection.phase = Phase::Handshake {
            sent: None,
            deadline: now + self.settings.heartbeat.within,
        };
    }

    /// No connection could be opened, or no token fetched.
    pub(crate) fn handle_failed(&mut self, cause: Error, now: Instant) {
        self.now = now;
        if matches!(self.connection.phase, Phase::Opening) {
            self.lose(cause);
        }
    }

    /// The connection is gone.
    pub(crate) fn handle_lost(&mut self, cause: Error, now: Instant) {
        self.now = now;
        if matches!(
            self.connection.phase,
            Phase::Handshake { .. } | Phase::Online { .. }
        ) {
            self.lose(cause);
        }
    }

    /// The server is going away and asked to reconnect.
    pub(super) fn advised(&mut self, after: Duration) {
        self.forgive_attempts();
        let hurry = self
            .connection
            .attempt
            .checked_sub(2)
            .map(|extra| self.settings.backoff.bound(extra));
        // A server that asks for this on every connection must not make the client spin.
        let least = hurry.unwrap_or_default().mul_f64(self.random.part());
        let after = after.min(LONGEST_PAUSE).max(least);
        self.connection.move_at = Some(self.now + after);
        self.tell(ConnectionEvent::Moving { after });
    }

    /// A request was refused because the server is going away. Unless it said when to reconnect,
    /// chooses a delay.
    pub(super) fn server_is_leaving(&mut self) {
        if self.connection.move_at.is_none() {
            let after = self.settings.backoff.bound(0).mul_f64(self.random.part());
            self.advised(after);
        }
    }

    /// A message was received.
    pub(super) fn note_received(&mut self) {
        self.connection.received_at = self.now;
        self.connection.pinged = None;
    }

    pub(super) fn connection_timeout(&self) -> Option<Instant> {
        let heartbeat = self.settings.heartbeat;
        match &self.connection.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Handshake { deadline, .. } => Some(*deadline),
            Phase::Online { .. } => {
                let silence = match self.connection.pinged {
                    Some(asked) => asked + heartbeat.within,
                    None => self.connection.received_at + heartbeat.every,
                };
                Some(
                    self.connection
                        .move_at
                        .map_or(silence, |at| at.min(silence)),
                )
            }
            Phase::Opening | Phase::Ended { .. } => None,
        }
    }

    pub(super) fn connection_time(&mut self) {
        let heartbeat = self.settings.heartbeat;
        let now = self.now;
        let over = |since: Option<Instant>, time| since.is_some_and(|since| now >= since + time);
        match self.connection.phase {
            Phase::Waiting { until } if now >= until => self.open(),
            Phase::Handshake { deadline, .. } if now >= deadline => self.lose(Error::Silent),
            Phase::Online { .. } if over(self.connection.move_at, Duration::ZERO) => self.move_on(),
            Phase::Online { .. } if over(self.connection.pinged, heartbeat.within) => {
                self.lose(Error::Silent);
            }
            Phase::Online { .. } if self.connection.pinged.is_none() => {
                if now >= self.connection.received_at + heartbeat.every {
                    self.connection.pinged = Some(now);
                    self.todo.push_back(Todo::Ping);
                }
            }
            Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Handshake { .. }
            | Phase::Online { .. }
            | Phase::Ended { .. } => {}
        }
    }

    /// Opens a new connection at once, as the server asked.
    fn move_on(&mut self) {
        self.forget_connection();
        self.open();
    }

    /// A stable connection resets the backoff.
    fn forgive_attempts(&mut self) {
        if let Phase::Online { since } = self.connection.phase
            && self.now >= since + self.settings.backoff.stable_after
        {
            self.connection.attempt = 0;
        }
    }

    /// The connection was lost or could not be opened: wait, or give up.
    pub(super) fn lose(&mut self, cause: Error) {
        let cause = self.connection.closing.take().map_or(cause, Error::Closing);
        if matches!(&cause, Error::Closing(reason) if &**reason == "expired") {
            // The resume token has expired together with the session's token.
            self.connection.resume = None;
        }
        self.forgive_attempts();
        let move_at = self.connection.move_at;
        self.forget_connection();
        let spent = |most| self.connection.attempt >= most;
        if !cause.is_retryable() || self.settings.backoff.attempts.is_some_and(spent) {
            self.end(&cause);
            self.tell(ConnectionEvent::GivenUp { cause });
            return;
        }
        let pause = match move_at {
            // The server chose the time, a different one for each client.
            Some(at) => at.saturating_duration_since(self.now),
            None => {
                let bound = self.settings.backoff.bound(self.connection.attempt);
                let asked = cause.retry_after().unwrap_or_default();
                // RFC 9110 §10.2.3: not before the time that the server asked for; and later than
                // that by a random time, since it may have asked all clients for the same.
                asked.min(LONGEST_PAUSE) + bound.mul_f64(self.random.part())
            }
        };
        self.connection.phase = Phase::Waiting {
            until: self.now + pause,
        };
        self.tell(ConnectionEvent::Lost { cause, pause });
    }

    /// Drops what was in flight on the connection, and keeps users' requests.
    pub(super) fn forget_connection(&mut self) {
        self.connection.move_at = None;
        self.connection.pinged = None;
        self.connection.closing = None;
        self.connection.token = None;
        self.connection.is_refreshing = false;
        self.connection.refresh_failures = 0;
        self.fetches.clear();
        self.connection.received_at = self.now;
        self.asked.clear();
        self.todo.clear();
        self.again.clear();
        self.blocked = None;
        self.subscriptions.connection_lost();
        self.publishes.connection_lost();
        for ticket in self.questions.connection_lost() {
            let answer = Err(Error::Unanswered);
            self.signals.push_back(Signal::Answer { ticket, answer });
        }
    }

    /// Ends the client: the user closed it, or there is no point in reconnecting.
    pub(crate) fn end(&mut self, why: &Error) {
        if matches!(self.connection.phase, Phase::Ended { .. }) {
            return;
        }
        self.forget_connection();
        self.connection.phase = Phase::Ended { why: why.clone() };
        let publishes = self.publishes.take_all().into_iter();
        for ticket in publishes.chain(self.questions.take_all()) {
            self.signals.push_back(Signal::Answer {
                ticket,
                answer: Err(why.clone()),
            });
        }
        for key in self.subscriptions.end_all(why) {
            self.signals.push_back(Signal::Reader(key));
        }
        self.signals.push_back(Signal::Room);
    }

    /// Why the client ended, if it did.
    pub(crate) fn ended(&self) -> Option<&Error> {
        match &self.connection.phase {
            Phase::Ended { why } => Some(why),
            Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Handshake { .. }
            | Phase::Online { .. } => None,
        }
    }

    /// The pause before a request that was refused for now is sent again.
    pub(super) fn pause(&mut self, refused: &Refused, refusals: u32) -> Duration {
        let own = self.settings.backoff.bound(refusals.saturating_sub(1));
        let pause = refused
            .retry_after()
            .unwrap_or_else(|| own.mul_f64(self.random.part()));
        pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Holds publications: for a pause, or until the next connection.
    pub(super) fn hold(&mut self, pause: Option<Duration>) -> Hold {
        pause.map_or(Hold::NextConnection, |pause| Hold::Until(self.now + pause))
    }

    pub(super) fn tell(&mut self, event: ConnectionEvent) {
        self.signals.push_back(Signal::Connection(event));
    }
}

/// Whether the server refused because the subscription exists already.
pub(super) fn says_already(refused: &Refused) -> bool {
    refused.code() == Some(ErrorCode::AlreadySubscribed)
}

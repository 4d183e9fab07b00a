//! The connection: opened, greeted, watched, lost, opened again.

use std::time::{Duration, Instant};

use offhook_dialects::native::client::{CommandId, ErrorCode};

use super::{Core, Signal, Step, Todo, publishes::Hold};
use crate::connection_event::ConnectionEvent;
use crate::error::{Error, Refused};

/// The longest pause a server can ask for. An hour: what is longer is a mistake, or never.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);
/// The shortest pause before a refused request is sent again, so that a server can't make a
/// client spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// ```text
///              ┌──────────── Waiting ◀────────────┐
///              ▼                                  │ failed, refused for now, lost, silent
/// begin ─▶ Opening ─▶ Greeting ─▶ Online ─────────┤
///              ▲                     │ advised    │ closed, or not worth another attempt
///              └─────────────────────┘            └──▶ Ended
/// ```
#[derive(Debug)]
pub(super) enum Phase {
    Waiting {
        until: Instant,
    },
    Opening,
    Greeting {
        /// The greeting that was sent: whether it had a sealed session in it.
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

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// Since the last stable connection.
    pub(super) attempt: u32,
    /// What authentication wants to see, for this attempt.
    pub(super) token: Option<Box<str>>,
    /// The newest sealed session.
    pub(super) resume: Option<Box<str>>,
    /// Whether there ever was a connection.
    pub(super) known: bool,
    /// When to move to a new connection, as the server asked.
    move_at: Option<Instant>,
    /// When anything was heard last, and when it was asked for a sign of life.
    heard: Instant,
    pinged: Option<Instant>,
    /// Why the server will close the connection.
    pub(super) closing: Option<Box<str>>,
}

impl Connection {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            phase: Phase::Waiting { until: now },
            attempt: 0,
            token: None,
            resume: None,
            known: false,
            move_at: None,
            heard: now,
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
                // A sealed session says who we are already.
                token_wanted: self.settings.has_token_source && self.connection.resume.is_none(),
            },
            Phase::Greeting { .. } | Phase::Online { .. } => Step::Talk,
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
    pub(crate) fn handle_opened(&mut self, token: Option<String>, now: Instant) {
        self.now = now;
        self.connection.token = token.map(Into::into);
        self.connection.phase = Phase::Greeting {
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
            Phase::Greeting { .. } | Phase::Online { .. }
        ) {
            self.lose(cause);
        }
    }

    /// The server goes away.
    pub(super) fn advised(&mut self, after: Duration) {
        self.forgive_attempts();
        let hurry = self
            .connection
            .attempt
            .checked_sub(2)
            .map(|extra| self.settings.backoff.bound(extra));
        // One that says so on every connection shall not make us run in a circle.
        let least = hurry.unwrap_or_default().mul_f64(self.random.part());
        let after = after.min(LONGEST_PAUSE).max(least);
        self.connection.move_at = Some(self.now + after);
        self.tell(ConnectionEvent::Moving { after });
    }

    /// A request was refused because the server goes away: if it said nothing about when to come
    /// back, that is up to us.
    pub(super) fn turned_away(&mut self) {
        if self.connection.move_at.is_none() {
            let after = self.settings.backoff.bound(0).mul_f64(self.random.part());
            self.advised(after);
        }
    }

    /// Something was heard.
    pub(super) fn heard(&mut self) {
        self.connection.heard = self.now;
        self.connection.pinged = None;
    }

    pub(super) fn connection_timeout(&self) -> Option<Instant> {
        let heartbeat = self.settings.heartbeat;
        match &self.connection.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Greeting { deadline, .. } => Some(*deadline),
            Phase::Online { .. } => {
                let silence = match self.connection.pinged {
                    Some(asked) => asked + heartbeat.within,
                    None => self.connection.heard + heartbeat.every,
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
            Phase::Greeting { deadline, .. } if now >= deadline => self.lose(Error::Silent),
            Phase::Online { .. } if over(self.connection.move_at, Duration::ZERO) => self.move_on(),
            Phase::Online { .. } if over(self.connection.pinged, heartbeat.within) => {
                self.lose(Error::Silent);
            }
            Phase::Online { .. } if self.connection.pinged.is_none() => {
                if now >= self.connection.heard + heartbeat.every {
                    self.connection.pinged = Some(now);
                    self.todo.push_back(Todo::Ping);
                }
            }
            Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Greeting { .. }
            | Phase::Online { .. }
            | Phase::Ended { .. } => {}
        }
    }

    /// To a new connection, as the server asked: nothing failed, so nothing is waited for.
    fn move_on(&mut self) {
        self.forget_connection();
        self.open();
    }

    /// A connection that was stable makes the pauses begin anew.
    fn forgive_attempts(&mut self) {
        if let Phase::Online { since } = self.connection.phase
            && self.now >= since + self.settings.backoff.stable_after
        {
            self.connection.attempt = 0;
        }
    }

    /// The connection is gone, or there was none: wait, or give up.
    pub(super) fn lose(&mut self, cause: Error) {
        let cause = self.connection.closing.take().map_or(cause, Error::Closing);
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
            // The server said when, to each client something else.
            Some(at) => at.saturating_duration_since(self.now),
            None => {
                let bound = self.settings.backoff.bound(self.connection.attempt);
                let asked = cause.retry_after().unwrap_or_default();
                // RFC 9110 §10.2.3: not before the time the server asked for; and since it may
                // have asked everybody for the same, not just then either.
                asked.min(LONGEST_PAUSE) + bound.mul_f64(self.random.part())
            }
        };
        self.connection.phase = Phase::Waiting {
            until: self.now + pause,
        };
        self.tell(ConnectionEvent::Lost { cause, pause });
    }

    /// What was under way on the connection is not any more; what is wanted still is.
    pub(super) fn forget_connection(&mut self) {
        self.connection.move_at = None;
        self.connection.pinged = None;
        self.connection.closing = None;
        self.connection.token = None;
        self.connection.heard = self.now;
        self.asked.clear();
        self.todo.clear();
        self.again.clear();
        self.blocked = None;
        self.subscriptions.connection_lost();
        self.publishes.connection_lost();
        self.questions.connection_lost();
    }

    /// Closes: by the user's wish, or for good.
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

    /// Why there is no connection any more.
    pub(crate) fn ended(&self) -> Option<&Error> {
        match &self.connection.phase {
            Phase::Ended { why } => Some(why),
            Phase::Waiting { .. }
            | Phase::Opening
            | Phase::Greeting { .. }
            | Phase::Online { .. } => None,
        }
    }

    /// How long to wait before a request that was refused for now is sent again.
    pub(super) fn pause(&mut self, refused: &Refused, refusals: u32) -> Duration {
        let own = self.settings.backoff.bound(refusals.saturating_sub(1));
        let pause = refused
            .retry_after()
            .unwrap_or_else(|| own.mul_f64(self.random.part()));
        pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
    }

    /// Publications wait: for a pause, or for the next connection.
    pub(super) fn hold(&mut self, pause: Option<Duration>) -> Hold {
        pause.map_or(Hold::NextConnection, |pause| Hold::Until(self.now + pause))
    }

    pub(super) fn tell(&mut self, event: ConnectionEvent) {
        self.signals.push_back(Signal::Connection(event));
    }
}

/// A refusal that says the client has already what it asked for.
pub(super) fn says_already(refused: &Refused) -> bool {
    refused.code() == Some(ErrorCode::AlreadySubscribed)
}

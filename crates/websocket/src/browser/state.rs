//! The state of a connection, shared by the browser's events and the tasks that wait for them.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use offhook_protocol::{CloseCode, CloseFrame, Closed, ClosedBy, ReadyState};

use crate::error::Error;
use crate::message::Message;

/// The state, under its lock, which no code of the user's runs under.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<State>);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: ReadyState,
    received: VecDeque<Message>,
    /// How many bytes `received` holds.
    unread: u64,
    limits: Limits,
    /// Tasks that wait for anything to change.
    waiting: Vec<Waker>,
    /// What this end said in its Close.
    said: Option<CloseFrame>,
    pub(crate) closed: Option<Closed>,
    /// How it ended, until that was returned by the receiver.
    fault: Option<Error>,
    /// Whether it was open.
    was_open: bool,
    /// A limit was passed: nothing more is received.
    failed: bool,
}

/// What the peer may make this end hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest message.
    pub(crate) message_size: u64,
    /// How many bytes of messages may wait to be received. The browser cannot be told to read more
    /// slowly.
    pub(crate) unread: u64,
}

/// The code for a connection whose peer has exceeded a limit: pages cannot send 1009.
pub(super) const PASSED: CloseCode = CloseCode::new(4009);
pub(super) const PASSED_REASON: &str = "too much was sent";

/// The cost of a message in addition to its bytes.
const OVERHEAD: u64 = size_of::<Message>() as u64;

impl Shared {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Mutex::new(State {
            phase: ReadyState::Connecting,
            received: VecDeque::new(),
            unread: 0,
            limits,
            waiting: Vec::new(),
            said: None,
            closed: None,
            fault: None,
            was_open: false,
            failed: false,
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes waiting tasks when the lock is released.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// The browser has opened the connection.
    pub(super) fn opened(&self) {
        self.change(|state| {
            if state.phase == ReadyState::Connecting {
                state.phase = ReadyState::Open;
                state.was_open = true;
            }
        });
    }

    /// A message has arrived. `false` if it exceeds a limit, in which case the browser's socket is
    /// to be closed.
    pub(super) fn received(&self, message: Message) -> bool {
        let mut within = true;
        self.change(|state| within = state.take(message));
        within
    }

    /// The connection has ended, as reported by the browser.
    pub(super) fn closed(&self, code: u16, reason: &str, was_clean: bool) {
        self.change(|state| state.end(CloseCode::new(code), reason, was_clean));
    }

    /// This end has begun the closing handshake.
    pub(crate) fn closing(&self, code: CloseCode, reason: &str) {
        self.change(|state| {
            if state.phase != ReadyState::Closed {
                state.phase = ReadyState::Closing;
                state.said.get_or_insert(CloseFrame {
                    code,
                    reason: reason.into(),
                });
            }
        });
    }

    /// Ends the connection without waiting for the browser to report how it ended.
    pub(crate) fn abandon(&self) {
        self.change(|state| {
            state.said.get_or_insert(CloseFrame {
                code: CloseCode::NO_STATUS,
                reason: "".into(),
            });
            state.end(CloseCode::ABNORMAL, "", false);
        });
    }
}

impl State {
    fn take(&mut self, message: Message) -> bool {
        if self.failed || self.closed.is_some() {
            return true;
        }
        let len = message.len() as u64;
        if len > self.limits.message_size {
            let limit = self.limits.message_size;
            let error = offhook_protocol::LimitError::MessageTooLong { limit };
            return self.fail(Error::Peer(error.into()));
        }
        self.unread = self.unread.saturating_add(len + OVERHEAD);
        if self.unread > self.limits.unread {
            return self.fail(Error::Unread);
        }
        self.received.push_back(message);
        true
    }

    /// Nothing more is received: a limit was passed.
    fn fail(&mut self, error: Error) -> bool {
        self.failed = true;
        self.fault.get_or_insert(error);
        self.phase = ReadyState::Closing;
        self.said.get_or_insert(CloseFrame {
            code: PASSED,
            reason: PASSED_REASON.into(),
        });
        false
    }

    fn end(&mut self, code: CloseCode, reason: &str, was_clean: bool) {
        if self.closed.is_some() {
            return;
        }
        self.phase = ReadyState::Closed;
        let by = match (&self.said, code) {
            (Some(_), _) => ClosedBy::Local,
            (None, CloseCode::ABNORMAL) => ClosedBy::Lost,
            (None, _) => ClosedBy::Remote,
        };
        if by == ClosedBy::Lost {
            self.fault
                .get_or_insert_with(|| Error::Lost(io::ErrorKind::ConnectionAborted.into()));
        }
        self.closed = Some(Closed {
            code,
            reason: reason.into(),
            by,
            clean: was_clean,
            sent: self.said.clone(),
            error: None,
        });
    }

    /// The next message; `None` once the connection is closed, an error, once, if it was lost or
    /// failed.
    pub(crate) fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Result<Option<Message>, Error>> {
        if let Some(message) = self.received.pop_front() {
            self.unread = self.unread.saturating_sub(message.len() as u64 + OVERHEAD);
            return Poll::Ready(Ok(Some(message)));
        }
        if self.failed || self.closed.is_some() {
            return Poll::Ready(self.fault.take().map_or(Ok(None), Err));
        }
        self.wait(cx);
        Poll::Pending
    }

    /// How it ended, when it has.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<Closed> {
        match &self.closed {
            Some(closed) => Poll::Ready(closed.clone()),
            None => {
                self.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Whether it has opened, when that is known.
    pub(super) fn poll_opened(&mut self, cx: &Context<'_>) -> Poll<bool> {
        if self.phase == ReadyState::Connecting {
            self.wait(cx);
            return Poll::Pending;
        }
        Poll::Ready(self.was_open)
    }

    /// The error for a sender after the end.
    pub(crate) fn closed_error(&self) -> Error {
        match &self.closed {
            Some(closed) => Error::Closed(Box::new(closed.clone())),
            None => Error::Closing,
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if !self.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.waiting.push(cx.waker().clone());
        }
    }
}

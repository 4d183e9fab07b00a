//! The closing handshake (RFC 6455 §7) and how a connection ended.

use std::fmt;
use std::time::Instant;

use super::{Connection, Outbound};
use crate::error::{Error, PeerError, SendError};
use crate::frame::OpCode;
use crate::{CloseCode, Shown};

/// The states of the browser API.
///
/// ```text
///  CONNECTING ──handshake──▶ OPEN ──Close sent or received, or failed──▶ CLOSING
///                                                                          │
///                                   transport closed, or close deadline    ▼
///                                                                        CLOSED
/// ```
///
/// A [`Connection`] begins its life in `Open`: before that there is a
/// [handshake](crate::handshake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// The opening handshake is under way.
    Connecting,
    /// Messages flow.
    Open,
    /// The closing handshake is under way, or the connection was failed.
    Closing,
    /// The transport is closed.
    Closed,
}

/// What a Close frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// Why, or [`CloseCode::NO_STATUS`] if the frame was empty.
    pub code: CloseCode,
    /// Why, in words for a log; at most 123 bytes.
    pub reason: Box<str>,
}

impl CloseFrame {
    /// Reads a Close frame's body (RFC 6455 §5.5.1).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PeerError> {
        let Some((code, reason)) = body.split_first_chunk::<2>() else {
            // Nothing, or a whole code: a single byte is neither.
            return match body {
                [] => Ok(Self {
                    code: CloseCode::NO_STATUS,
                    reason: "".into(),
                }),
                _ => Err(PeerError::CloseTooShort),
            };
        };
        let code = CloseCode::new(u16::from_be_bytes(*code));
        if !code.is_sendable() {
            return Err(PeerError::CloseCode(code.get()));
        }
        let reason = simdutf8::basic::from_utf8(reason).map_err(|_| PeerError::InvalidUtf8)?;
        Ok(Self {
            code,
            reason: reason.into(),
        })
    }

    fn body(&self) -> Vec<u8> {
        if self.code == CloseCode::NO_STATUS {
            return Vec::new();
        }
        let mut body = self.code.get().to_be_bytes().to_vec();
        body.extend_from_slice(self.reason.as_bytes());
        body
    }
}

impl fmt::Display for CloseFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)?;
        if self.reason.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", Shown(&self.reason))
        }
    }
}

/// Who began the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// This endpoint, by [`Connection::close`](crate::halves::Outbound::close) or by failing the connection.
    Local,
    /// The peer, by a Close frame.
    Remote,
    /// Nobody: the transport went away.
    Lost,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the peer's Close frame, or 1006 if none came (RFC 6455 §7.1.5).
    pub code: CloseCode,
    /// The reason in the peer's Close frame (RFC 6455 §7.1.6).
    pub reason: Box<str>,
    /// Who began it. Giving up a peer that is silent is beginning it, too.
    pub by: ClosedBy,
    /// Whether both Close frames went their way before the transport closed (RFC 6455 §7.1.4).
    pub clean: bool,
    /// What this endpoint said in its Close frame, if all of it left.
    pub sent: Option<CloseFrame>,
    /// Why this endpoint failed the connection, if it did.
    pub error: Option<Error>,
}

/// How much must leave within each close timeout while there is more to say, unless it is less: a
/// peer that takes a byte now and then is not waited for until all is said.
const PROGRESS: u64 = 4 * 1024;

/// Boxed in the outbound half: it is there only from the first Close on.
#[derive(Debug)]
pub(crate) struct Closing {
    by: ClosedBy,
    /// When the peer's time began: when our Close left, or what goes before it last made progress.
    since: Instant,
    /// How many bytes had left then.
    gone: u64,
    sent: Option<CloseFrame>,
    /// Whether our Close waits behind messages that were queued before it.
    waits: bool,
    received: Option<CloseFrame>,
    error: Option<Error>,
    /// Whether the connection was failed: nothing more is heard, nobody is waited for.
    failed: bool,
    /// Whether waiting for the peer is over.
    expired: bool,
    pub(crate) transport_closed: bool,
}

impl Closing {
    fn new(by: ClosedBy, since: Instant, gone: u64) -> Self {
        Self {
            by,
            since,
            gone,
            sent: None,
            waits: false,
            received: None,
            error: None,
            failed: false,
            expired: false,
            transport_closed: false,
        }
    }

    /// Whether our Close is on its way: nothing may follow it.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent.is_some() && !self.waits
    }

    pub(crate) fn deadline_from(&self) -> Option<Instant> {
        (!self.expired && !self.transport_closed).then_some(self.since)
    }

    /// Whether the peer owes us nothing but the end of the transport.
    fn is_told(&self) -> bool {
        self.failed || self.received.is_some() && self.sent.is_some()
    }
}

impl Outbound {
    /// Begins the closing handshake. What was sent before goes out first; nothing can be sent
    /// after. Messages the peer sent before its own Close still arrive.
    ///
    /// [`CloseCode::NO_STATUS`] sends an empty Close frame. Closing twice is no error: the first
    /// close stands.
    ///
    /// # Errors
    /// A code that must not travel, or a reason of more than 123 bytes; the connection goes on.
    pub fn close(&mut self, code: CloseCode, reason: &str, now: Instant) -> Result<(), SendError> {
        if !code.is_sendable() && code != CloseCode::NO_STATUS {
            return Err(SendError::CloseCode(code));
        }
        // RFC 6455 §5.5: a control frame carries 125 bytes, two of which are the code.
        if reason.len() > 123 {
            return Err(SendError::ReasonTooLong { len: reason.len() });
        }
        if self.closing.is_some() {
            return Ok(());
        }
        let mut closing = Closing::new(ClosedBy::Local, now, self.wire.gone());
        closing.sent = Some(CloseFrame {
            code,
            reason: reason.into(),
        });
        closing.waits = true;
        self.closing = Some(Box::new(closing));
        self.pump();
        Ok(())
    }

    /// Where the connection is in its life.
    #[must_use]
    pub fn ready_state(&self) -> ReadyState {
        match &self.closing {
            None => ReadyState::Open,
            Some(closing) if closing.transport_closed => ReadyState::Closed,
            Some(_) => ReadyState::Closing,
        }
    }

    /// How it ended; `None` before it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        let closing = self
            .closing
            .as_ref()
            .filter(|closing| closing.transport_closed)?;
        let (code, reason) = match &closing.received {
            Some(frame) => (frame.code, frame.reason.clone()),
            None => (CloseCode::ABNORMAL, "".into()),
        };
        Some(Closed {
            code,
            reason,
            by: closing.by,
            // RFC 6455 §7.1.4: clean if the transport closed after the closing handshake was done.
            clean: closing.sent.is_some() && closing.received.is_some(),
            sent: closing.sent.clone(),
            error: closing.error.clone(),
        })
    }

    /// Whether the transport should be closed now: everything that could be said was said, or the
    /// peer was given up.
    ///
    /// RFC 6455 §7.1.1: the server closes first; a client waits for that within the
    /// [close timeout](crate::Config::close_timeout). Close the sending side, read what is left
    /// for a moment so that the peer gets our last frame and not a reset, then call
    /// [`handle_transport_closed`](Self::handle_transport_closed).
    #[must_use]
    pub fn wants_disconnect(&self) -> bool {
        let Some(closing) = &self.closing else {
            return false;
        };
        if closing.transport_closed || closing.expired {
            return true;
        }
        // RFC 6455 §7.1.7: after a failure either side may close at once.
        let nothing_to_wait_for = closing.is_told() && (closing.failed || self.is_server());
        nothing_to_wait_for && !closing.waits && !self.has_output()
    }

    /// Notes that the transport is gone: end of stream, an I/O error, or closed by this side.
    pub fn handle_transport_closed(&mut self, now: Instant) {
        let lost = || Box::new(Closing::new(ClosedBy::Lost, now, self.wire.gone()));
        self.closing.get_or_insert_with(lost).transport_closed = true;
        self.discard_output();
    }

    /// Drops what nobody will take any more.
    fn discard_output(&mut self) {
        if self.has_output()
            && let Some(closing) = &mut self.closing
        {
            // Our Close is the last of the output: if anything is left of it, so is the Close.
            closing.sent = None;
            closing.waits = false;
        }
        self.abandon_queue();
        self.wire.discard();
    }

    /// Whether what comes in matters no more: the connection has failed or ended.
    #[must_use]
    #[inline]
    pub fn is_over(&self) -> bool {
        self.closing
            .as_ref()
            .is_some_and(|closing| closing.failed || closing.expired || closing.transport_closed)
    }

    /// RFC 6455 §5.5.1: a Close is answered with a Close, as soon as practical, with its code.
    pub(super) fn peer_closed(&mut self, frame: CloseFrame, now: Instant) {
        let remote = || Box::new(Closing::new(ClosedBy::Remote, now, self.wire.gone()));
        let closing = self.closing.get_or_insert_with(remote);
        closing.received = Some(frame.clone());
        if closing.sent.is_none() || closing.waits {
            closing.sent = Some(frame);
            closing.waits = true;
            // The peer has stopped listening: what is still queued would not be heard.
            self.abandon_queue();
            self.pump();
        }
    }

    /// RFC 6455 §7.1.7: fails the connection. The Close frame goes out once, nothing after it.
    pub(crate) fn fail(&mut self, error: Error, now: Instant) {
        let local = || Box::new(Closing::new(ClosedBy::Local, now, self.wire.gone()));
        let closing = self.closing.get_or_insert_with(local);
        if closing.sent.is_none() || closing.waits {
            closing.sent = Some(CloseFrame {
                code: error.close_code(),
                reason: reason_for(&error),
            });
            closing.waits = true;
        }
        closing.error = Some(error);
        closing.failed = true;
        self.abandon_queue();
        self.pump();
    }

    /// Closes because of a silence that is no breach: the peer may still answer the Close.
    pub(crate) fn close_idle(&mut self, error: Error, now: Instant) {
        // Code and reason are ours: they are in order.
        let _closing = self.close(error.close_code(), &reason_for(&error), now);
        if let Some(closing) = &mut self.closing {
            closing.error = Some(error);
        }
    }

    /// Whether all that was left to wait for was the peer's end of the transport: no more.
    ///
    /// RFC 6455 §7.1.1: a client may close the transport itself if the server does not in time.
    pub(crate) fn end_waiting(&mut self) -> bool {
        let all_said = !self.has_output();
        let Some(closing) = self.closing.as_mut().filter(|closing| closing.is_told()) else {
            return false;
        };
        closing.expired |= all_said;
        all_said
    }

    /// Gives the peer up without a word: it is not there to hear one.
    pub(crate) fn abandon(&mut self, error: Error, now: Instant) {
        let local = || Box::new(Closing::new(ClosedBy::Local, now, self.wire.gone()));
        let closing = self.closing.get_or_insert_with(local);
        closing.expired = true;
        closing.error.get_or_insert(error);
        self.discard_output();
    }

    /// Puts our Close behind everything that went before it, if it is its turn.
    pub(crate) fn commit_close(&mut self) {
        let Some(closing) = self.closing.as_mut().filter(|closing| closing.waits) else {
            return;
        };
        closing.waits = false;
        let body = closing
            .sent
            .as_ref()
            .map(CloseFrame::body)
            .unwrap_or_default();
        let goes_at_once = self.wire.is_empty();
        self.commit_control(OpCode::Close, &body);
        if goes_at_once && let Some(closing) = &mut self.closing {
            closing.gone = self.wire.mark();
        }
    }

    /// Begins the peer's time anew if what has to leave before it counts made progress.
    pub(crate) fn note_closing_progress(&mut self, now: Instant) {
        let all_left = !self.has_output();
        let gone = self.wire.gone();
        let Some(closing) = &mut self.closing else {
            return;
        };
        let progress = gone.saturating_sub(closing.gone);
        if progress >= PROGRESS || progress > 0 && all_left {
            closing.since = now;
            closing.gone = gone;
        }
    }
}

impl Connection {
    /// Notes that the transport is gone: end of stream, an I/O error, or closed by this side.
    pub fn handle_transport_closed(&mut self, now: Instant) {
        self.outbound.handle_transport_closed(now);
        self.inbound.end();
    }
}

/// What the peer is told in words; every message of ours is short enough.
fn reason_for(error: &Error) -> Box<str> {
    let mut reason = error.to_string();
    reason.truncate(reason.floor_char_boundary(123));
    reason.into()
}

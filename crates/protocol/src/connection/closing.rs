//! The closing handshake (RFC 6455 §7) and how a connection ended.

use std::fmt;
use std::time::Instant;

use super::{Connection, Outbound};
use crate::error::{Error, PeerError, SendError};
use crate::frame::OpCode;
use crate::{CloseCode, Shown};

/// The states of the browser's WebSocket API.
///
/// ```text
///  CONNECTING ──handshake──▶ OPEN ──Close sent or received, or failed──▶ CLOSING
///                                                                          │
///                                   transport closed, or close deadline    ▼
///                                                                        CLOSED
/// ```
///
/// A [`Connection`] starts in `Open`; the states before it belong to the
/// [handshake](crate::handshake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadyState {
    /// The opening handshake is in progress.
    Connecting,
    /// Messages can be sent and received.
    Open,
    /// The closing handshake is in progress, or the connection has failed.
    Closing,
    /// The transport is closed.
    Closed,
}

/// The content of a Close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// The close code, or [`CloseCode::NO_STATUS`] if the frame was empty.
    pub code: CloseCode,
    /// A reason for logs; at most 123 bytes.
    pub reason: Box<str>,
}

impl CloseFrame {
    /// Reads a Close frame's body (RFC 6455 §5.5.1).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, PeerError> {
        let Some((code, reason)) = body.split_first_chunk::<2>() else {
            // The body is empty or starts with a complete code: a single byte is invalid.
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

/// Which side started the close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// This endpoint, by [`Connection::close`](crate::halves::Outbound::close) or by failing the connection.
    Local,
    /// The peer, by a Close frame.
    Remote,
    /// Neither: the transport was lost.
    Lost,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The code of the peer's Close frame, or 1006 if there was none (RFC 6455 §7.1.5).
    pub code: CloseCode,
    /// The reason in the peer's Close frame (RFC 6455 §7.1.6).
    pub reason: Box<str>,
    /// Which side started the close. Giving up on a silent peer counts as
    /// [`Local`](ClosedBy::Local).
    pub by: ClosedBy,
    /// Whether both Close frames were exchanged before the transport closed (RFC 6455 §7.1.4).
    pub clean: bool,
    /// The Close frame this endpoint sent, if all of it was written.
    pub sent: Option<CloseFrame>,
    /// The error for which this endpoint failed the connection, if it did.
    pub error: Option<Error>,
}

/// How many bytes must be written within each close timeout while more are queued (or all of them,
/// if fewer are left). A peer that takes a byte now and then does not extend the wait.
const PROGRESS: u64 = 4 * 1024;

/// State of the close. Boxed in the outbound half, which has one only from the first Close on.
#[derive(Debug)]
pub(crate) struct Closing {
    by: ClosedBy,
    /// When the peer's time started: when our Close was written or, before that, when the output
    /// ahead of it last made progress.
    since: Instant,
    /// How many bytes had been written at `since`.
    gone: u64,
    sent: Option<CloseFrame>,
    /// Whether our Close waits behind messages that were queued before it.
    waits: bool,
    received: Option<CloseFrame>,
    error: Option<Error>,
    /// Whether the connection failed: no more input is processed, and the peer is not waited for.
    failed: bool,
    /// Whether the wait for the peer is over.
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

    /// Whether our Close is committed: nothing may follow it.
    pub(crate) fn has_sent(&self) -> bool {
        self.sent.is_some() && !self.waits
    }

    pub(crate) fn deadline_from(&self) -> Option<Instant> {
        (!self.expired && !self.transport_closed).then_some(self.since)
    }

    /// Whether only the end of the transport is outstanding on the peer's side.
    fn is_told(&self) -> bool {
        self.failed || self.received.is_some() && self.sent.is_some()
    }
}

impl Outbound {
    /// Starts the closing handshake. Messages sent before are written first; nothing can be sent
    /// afterwards. Messages that the peer sent before its own Close are still received.
    ///
    /// [`CloseCode::NO_STATUS`] sends an empty Close frame. A second close is not an error: the
    /// first one takes effect.
    ///
    /// # Errors
    /// The code must not be sent, or the reason is longer than 123 bytes. The connection stays
    /// open.
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

    /// The connection's state in terms of the browser's API.
    #[must_use]
    pub fn ready_state(&self) -> ReadyState {
        match &self.closing {
            None => ReadyState::Open,
            Some(closing) if closing.transport_closed => ReadyState::Closed,
            Some(_) => ReadyState::Closing,
        }
    }

    /// How the connection ended; `None` before it has.
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
            // RFC 6455 §7.1.4: clean if the transport closed after the closing handshake was
            // complete.
            clean: closing.sent.is_some() && closing.received.is_some(),
            sent: closing.sent.clone(),
            error: closing.error.clone(),
        })
    }

    /// Whether to close the transport now: everything that could be sent was sent, or the peer was
    /// given up.
    ///
    /// RFC 6455 §7.1.1: the server closes first; a client waits for that within the [close
    /// timeout](crate::Config::close_timeout). Shut down the sending side, read for a moment what
    /// the peer still sends so that it receives our last frame and not a reset, then call
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

    /// Records that the transport is gone: end of stream, an I/O error, or closed by this side.
    pub fn handle_transport_closed(&mut self, now: Instant) {
        let lost = || Box::new(Closing::new(ClosedBy::Lost, now, self.wire.gone()));
        self.closing.get_or_insert_with(lost).transport_closed = true;
        self.discard_output();
    }

    /// Drops output that can no longer be sent.
    fn discard_output(&mut self) {
        if self.has_output()
            && let Some(closing) = &mut self.closing
        {
            // Our Close is the last of the output: if any output is left, the Close is part of it.
            closing.sent = None;
            closing.waits = false;
        }
        self.abandon_queue();
        self.wire.discard();
    }

    /// Whether input is no longer processed: the connection has failed or ended.
    #[must_use]
    #[inline]
    pub fn is_over(&self) -> bool {
        self.closing
            .as_ref()
            .is_some_and(|closing| closing.failed || closing.expired || closing.transport_closed)
    }

    /// RFC 6455 §5.5.1: a Close is answered with a Close with the same code, as soon as practical.
    pub(super) fn peer_closed(&mut self, frame: CloseFrame, now: Instant) {
        let remote = || Box::new(Closing::new(ClosedBy::Remote, now, self.wire.gone()));
        let closing = self.closing.get_or_insert_with(remote);
        closing.received = Some(frame.clone());
        if closing.sent.is_none() || closing.waits {
            closing.sent = Some(frame);
            closing.waits = true;
            // The peer does not read messages after its Close, so the queue is dropped.
            self.abandon_queue();
            self.pump();
        }
    }

    /// RFC 6455 §7.1.7: fails the connection. One Close frame is sent, and nothing after it.
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

    /// Closes after a period of silence that violates no rule: the peer may still answer the Close.
    pub(crate) fn close_idle(&mut self, error: Error, now: Instant) {
        // Code and reason come from this crate and are valid.
        let _closing = self.close(error.close_code(), &reason_for(&error), now);
        if let Some(closing) = &mut self.closing {
            closing.error = Some(error);
        }
    }

    /// Stops waiting for the peer to close the transport. Returns whether that was all there was to
    /// wait for.
    ///
    /// RFC 6455 §7.1.1: a client may close the transport itself if the server does not do so in
    /// time.
    pub(crate) fn end_waiting(&mut self) -> bool {
        let all_said = !self.has_output();
        let Some(closing) = self.closing.as_mut().filter(|closing| closing.is_told()) else {
            return false;
        };
        closing.expired |= all_said;
        all_said
    }

    /// Gives up on the peer without sending a Close: it would not arrive.
    pub(crate) fn abandon(&mut self, error: Error, now: Instant) {
        let local = || Box::new(Closing::new(ClosedBy::Local, now, self.wire.gone()));
        let closing = self.closing.get_or_insert_with(local);
        closing.expired = true;
        closing.error.get_or_insert(error);
        self.discard_output();
    }

    /// Commits our Close if everything queued before it has been committed.
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

    /// Restarts the peer's time if the output ahead of our Close made progress.
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
    /// Records that the transport is gone: end of stream, an I/O error, or closed by this side.
    pub fn handle_transport_closed(&mut self, now: Instant) {
        self.outbound.handle_transport_closed(now);
        self.inbound.end();
    }
}

/// The close reason for an error. All messages of this crate are short enough.
fn reason_for(error: &Error) -> Box<str> {
    let mut reason = error.to_string();
    reason.truncate(reason.floor_char_boundary(123));
    reason.into()
}

//! Whether the peer is there: pings, pongs and the times between them.

use std::time::{Duration, Instant};

use super::Connection;
use crate::config::Config;
use crate::error::{Error, SendError, TimeoutError};
use crate::frame::{MAX_CONTROL_LEN, OpCode};

/// How many pongs may be unsent, each answering a ping of its own. After that the latest ping
/// stands for all: answers to a flood would be one.
const UNSENT_PONGS: u8 = 16;

/// Times are microseconds since `origin`, to keep an idle connection small.
#[derive(Debug)]
pub(crate) struct Liveness {
    origin: Instant,
    /// When bytes last came.
    heard: u64,
    /// When a message last came, or was last known to have been sent.
    busy: u64,
    /// Whether a message was sent since `busy` was set.
    sent: bool,
    /// When the first ping was sent since which nothing was heard.
    awaiting: Option<u64>,
    /// When the last ping was sent; its payload.
    pinged: u64,
    /// The latest ping that was answered.
    answered: u64,
    /// The last round trip in microseconds; 0 before the first.
    rtt: u32,
}

impl Liveness {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            origin: now,
            heard: 0,
            busy: 0,
            sent: false,
            awaiting: None,
            pinged: 0,
            answered: 0,
            rtt: 0,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }

    fn instant(&self, micros: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_micros(micros))
    }

    #[inline]
    pub(crate) fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(self.micros(at));
        self.awaiting = None;
    }

    #[inline]
    pub(crate) const fn received(&mut self) {
        self.busy = self.heard;
    }

    #[inline]
    pub(crate) const fn sent(&mut self) {
        self.sent = true;
    }

    /// The round trip, if this pong answers a ping of [`Connection::ping`] or the keepalive.
    pub(crate) fn pong(&mut self, payload: &[u8], at: Instant) -> Option<Duration> {
        let stamp = u64::from_be_bytes(payload.try_into().ok()?);
        // RFC 6455 §5.5.3: a pong answers the latest ping it has seen; unsolicited ones are
        // allowed and mean nothing.
        if stamp <= self.answered || stamp > self.pinged {
            return None;
        }
        self.answered = stamp;
        let micros = self.micros(at).saturating_sub(stamp);
        self.rtt = u32::try_from(micros).unwrap_or(u32::MAX).max(1);
        Some(Duration::from_micros(micros))
    }

    /// Stamps a ping. Stamps ascend, so that each pong tells its ping.
    fn ping(&mut self, now: Instant) -> [u8; 8] {
        let sent = self.micros(now);
        self.pinged = sent.max(self.pinged.saturating_add(1));
        // Not put off by later pings: a peer that is pinged often must be given up as well.
        self.awaiting.get_or_insert(sent);
        self.pinged.to_be_bytes()
    }

    fn deadline(&self, config: &Config) -> Option<Instant> {
        let add = |from: u64, time: Duration| self.instant(from)?.checked_add(time);
        let keepalive = config
            .keepalive
            .interval
            .and_then(|interval| match self.awaiting {
                Some(since) => add(since, config.keepalive.pong_timeout),
                None => add(self.heard, interval),
            });
        let idle = config
            .idle_timeout
            .and_then(|timeout| add(self.busy, timeout));
        keepalive.into_iter().chain(idle).min()
    }
}

impl Connection {
    /// Asks the peer for a pong. [`Event::Pong`](crate::Event::Pong) then carries the round trip.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once the connection closes.
    pub fn ping(&mut self, now: Instant) -> Result<(), SendError> {
        self.check_open()?;
        let stamp = self.liveness.ping(now);
        self.commit_control(OpCode::Ping, &stamp);
        Ok(())
    }

    /// Sends a ping with a payload of your own; the pong brings it back.
    ///
    /// # Errors
    /// The connection closes, or the payload has more than 125 bytes.
    pub fn ping_with(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Ping, payload)
    }

    /// Sends a pong that nobody asked for: a heartbeat in one direction (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// The connection closes, or the payload has more than 125 bytes.
    pub fn pong(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Pong, payload)
    }

    fn send_control(&mut self, opcode: OpCode, payload: &[u8]) -> Result<(), SendError> {
        self.check_open()?;
        if payload.len() > MAX_CONTROL_LEN {
            return Err(SendError::ControlTooLong { len: payload.len() });
        }
        self.commit_control(opcode, payload);
        Ok(())
    }

    /// RFC 6455 §5.5.2, §5.5.3: a ping is answered with its payload; when answers pile up, the
    /// latest ping is enough. So a flood of pings holds at most 2 KiB.
    pub(crate) fn answer_ping(&mut self, payload: &[u8]) {
        if self
            .closing
            .as_ref()
            .is_some_and(|closing| closing.has_sent())
        {
            return;
        }
        if self.wire.has_sent(self.pong_mark) {
            self.unsent_pongs = 0;
        }
        if self.unsent_pongs < UNSENT_PONGS {
            self.unsent_pongs = self.unsent_pongs.saturating_add(1);
            self.commit_control(OpCode::Pong, payload);
            self.pong_mark = self.wire.mark();
            // This answers the one that may still wait as well.
            if let Some(backlog) = &mut self.backlog {
                backlog.pong = None;
            }
        } else {
            self.backlog.get_or_insert_default().pong = Some(payload.to_vec());
        }
    }

    /// Commits the answer that waited for earlier ones to leave.
    pub(crate) fn commit_pong(&mut self) {
        if !self.wire.has_sent(self.pong_mark) {
            return;
        }
        let pong = self
            .backlog
            .as_mut()
            .and_then(|backlog| backlog.pong.take());
        if let Some(payload) = pong {
            self.answer_ping(&payload);
        }
    }

    /// The last measured round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        (self.liveness.rtt > 0).then(|| Duration::from_micros(u64::from(self.liveness.rtt)))
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next. It moves only
    /// forward while the peer is heard: a timer that fires early costs one look.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.closing {
            Some(closing) => closing
                .deadline_from()?
                .checked_add(self.config.close_timeout),
            None => self.liveness.deadline(&self.config),
        }
    }

    /// Does what is due: a keepalive ping, or giving up on a silent peer.
    ///
    /// # Errors
    /// Once, when the connection is given up. After a pong or close timeout there is nobody to
    /// talk to: disconnect. After the idle timeout, write the Close frame and wait for the peer's.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.liveness.sent {
            // Sending takes no time argument: the idle time counts from here at the latest.
            self.liveness.sent = false;
            self.liveness.busy = self.liveness.micros(now);
        }
        if self.poll_timeout().is_none_or(|deadline| deadline > now) {
            return Ok(());
        }
        if self.end_waiting() {
            return Ok(());
        }
        if self.closing.is_some() {
            let error = Error::from(TimeoutError::Close);
            self.abandon(error.clone(), now);
            return Err(error);
        }
        self.handle_silence(now)
    }

    fn handle_silence(&mut self, now: Instant) -> Result<(), Error> {
        let due = |from: u64, time: Duration| {
            let from = self
                .liveness
                .instant(from)
                .and_then(|from| from.checked_add(time));
            from.is_some_and(|deadline| deadline <= now)
        };
        let Config {
            keepalive,
            idle_timeout,
            ..
        } = &*self.config;
        let given_up = keepalive.interval.is_some()
            && self
                .liveness
                .awaiting
                .is_some_and(|since| due(since, keepalive.pong_timeout));
        if given_up {
            let error = Error::from(TimeoutError::Pong);
            self.abandon(error.clone(), now);
            return Err(error);
        }
        if idle_timeout.is_some_and(|timeout| due(self.liveness.busy, timeout)) {
            let error = Error::from(TimeoutError::Idle);
            self.close_idle(error.clone(), now);
            return Err(error);
        }
        let ping = keepalive
            .interval
            .is_some_and(|interval| due(self.liveness.heard, interval));
        if ping && self.liveness.awaiting.is_none() {
            let stamp = self.liveness.ping(now);
            self.commit_control(OpCode::Ping, &stamp);
        }
        Ok(())
    }
}

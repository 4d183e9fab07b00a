//! Detecting whether the peer is alive: pings, pongs and the timeouts around them.

use std::time::{Duration, Instant};

use super::{Connection, Event, Outbound};
use crate::config::Config;
use crate::error::{Error, SendError, TimeoutError};
use crate::frame::{MAX_CONTROL_LEN, OpCode};

/// How many unsent pongs may each answer a ping of their own. Beyond that, one pong answers the
/// latest ping only: otherwise a flood of pings would cause a flood of pongs.
const UNSENT_PONGS: u8 = 16;

/// Times are stored as microseconds since `origin`, to keep an idle connection small.
#[derive(Debug)]
pub(crate) struct Liveness {
    origin: Instant,
    /// When bytes were last received.
    heard: u64,
    /// When a message was last received, or was last known to have been sent.
    busy: u64,
    /// Whether a message was sent since `busy` was set.
    sent: bool,
    /// `Some` from a ping until the pong that answers the latest one.
    pings: Option<Box<Pings>>,
    /// The position on the wire at which the last pong ends.
    pong_mark: u64,
    /// The last round trip in microseconds; 0 before the first.
    rtt: u32,
    /// How many pongs were committed since all earlier ones had been written.
    unsent_pongs: u8,
}

/// Unanswered pings. Boxed, because an idle connection usually has none.
#[derive(Debug, Default)]
struct Pings {
    /// When the latest ping was sent; also its stamp.
    latest: u64,
    /// The stamp of the latest answered ping.
    answered: u64,
    /// `Some` while nothing was received since the first of them.
    silence: Option<Silence>,
}

/// A ping that was sent, to query [whether it was answered](crate::halves::Outbound::is_answered).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentPing(u64);

/// The start of the pong timeout.
#[derive(Debug)]
struct Silence {
    /// When the ping was written; before that, when the output ahead of it last made progress.
    since: u64,
    /// The position on the wire at which the ping ends.
    mark: u64,
    /// How many bytes up to `mark` were unwritten at `since`. 0 for a ping that was written at
    /// once.
    behind: u64,
}

/// Mixed into each stamp, so that a peer's own heartbeat, whether a counter or a clock, is not
/// mistaken for the answer to a ping.
const OURS: u64 = u64::from_be_bytes(*b"offhook!");

impl Liveness {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            origin: now,
            heard: 0,
            busy: 0,
            sent: false,
            pings: None,
            pong_mark: 0,
            rtt: 0,
            unsent_pongs: 0,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.origin);
        let seconds = passed.as_secs().saturating_mul(1_000_000);
        seconds.saturating_add(u64::from(passed.subsec_micros()))
    }

    fn instant(&self, micros: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_micros(micros))
    }

    #[inline]
    pub(crate) fn heard(&mut self, at: Instant) {
        self.heard = self.heard.max(self.micros(at));
        if let Some(pings) = &mut self.pings {
            pings.silence = None;
        }
    }

    #[inline]
    pub(crate) const fn received(&mut self) {
        self.busy = self.heard;
    }

    #[inline]
    pub(crate) const fn sent(&mut self) {
        self.sent = true;
    }

    /// The round-trip time, if this pong answers a ping of [`Connection::ping`] or of keepalive.
    pub(crate) fn pong(&mut self, payload: &[u8], at: Instant) -> Option<Duration> {
        let stamp = u64::from_be_bytes(payload.try_into().ok()?) ^ OURS;
        let pings = self.pings.as_mut()?;
        // RFC 6455 §5.5.3: a pong answers the latest ping it has seen; unsolicited ones are
        // allowed and mean nothing.
        if stamp <= pings.answered || stamp > pings.latest {
            return None;
        }
        pings.answered = stamp;
        if stamp == pings.latest {
            self.pings = None;
        }
        let micros = self.micros(at).saturating_sub(stamp);
        self.rtt = u32::try_from(micros).unwrap_or(u32::MAX).max(1);
        Some(Duration::from_micros(micros))
    }

    /// Stamps a ping. Stamps ascend, so that each pong identifies its ping.
    fn ping(&mut self, now: Instant) -> [u8; 8] {
        let sent = self.micros(now);
        let pings = self.pings.get_or_insert_default();
        pings.latest = sent.max(pings.latest.saturating_add(1));
        (pings.latest ^ OURS).to_be_bytes()
    }

    /// Starts waiting for the answer to the ping that ends at `mark`. The timeout counts from when
    /// the bytes before it, and the ping itself, were written.
    fn await_answer(&mut self, now: Instant, mark: u64, behind: u64) {
        let since = self.micros(now);
        if let Some(pings) = &mut self.pings {
            // Later pings do not postpone the timeout: a peer that is pinged often must be given up
            // as well.
            pings.silence.get_or_insert(Silence {
                since,
                mark,
                behind,
            });
        }
    }

    /// Restarts the timeout if the output ahead of the ping made progress.
    fn note_progress(&mut self, now: Instant, gone: u64) {
        let since = self.micros(now);
        if let Some(silence) = self.pings.as_mut().and_then(|p| p.silence.as_mut()) {
            let behind = silence.mark.saturating_sub(gone);
            if behind < silence.behind {
                silence.behind = behind;
                silence.since = since;
            }
        }
    }

    /// Since when an answer has been awaited.
    fn awaiting(&self) -> Option<u64> {
        Some(self.pings.as_ref()?.silence.as_ref()?.since)
    }

    fn deadline(&self, config: &Config) -> Option<Instant> {
        let add = |from: u64, time: Duration| self.instant(from)?.checked_add(time);
        let keepalive = config
            .keepalive
            .interval
            .and_then(|interval| match self.awaiting() {
                Some(since) => add(since, config.keepalive.pong_timeout),
                None => add(self.heard, interval),
            });
        let idle = config
            .idle_timeout
            .and_then(|timeout| add(self.busy, timeout));
        keepalive.into_iter().chain(idle).min()
    }
}

impl Outbound {
    /// Sends a ping. The [`Event::Pong`](crate::Event::Pong) that answers it carries the round-trip
    /// time.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once the connection is closing.
    pub fn ping(&mut self, now: Instant) -> Result<SentPing, SendError> {
        self.check_open()?;
        Ok(self.commit_ping(now))
    }

    /// Whether a pong answered this ping or a later one: RFC 6455 §5.5.3 lets a peer answer only
    /// the latest.
    #[must_use]
    pub fn is_answered(&self, ping: SentPing) -> bool {
        let pings = self.liveness.pings.as_ref();
        pings.is_none_or(|pings| pings.answered >= ping.0)
    }

    fn commit_ping(&mut self, now: Instant) -> SentPing {
        let goes_at_once = self.wire.is_empty();
        let stamp = self.liveness.ping(now);
        self.commit_control(OpCode::Ping, &stamp);
        let behind = if goes_at_once { 0 } else { self.wire.len() };
        self.liveness
            .await_answer(now, self.wire.mark(), behind as u64);
        SentPing(u64::from_be_bytes(stamp) ^ OURS)
    }

    /// Sends a ping with a payload of your own, which the pong returns.
    ///
    /// # Errors
    /// The connection is closing, or the payload is longer than 125 bytes.
    pub fn ping_with(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Ping, payload)
    }

    /// As [`ping_with`](Self::ping_with), after everything sent before: its pong confirms that all
    /// of that arrived. Returns `false` and sends nothing while some of it is still queued, since a
    /// ping would overtake it.
    ///
    /// # Errors
    /// As [`ping_with`](Self::ping_with).
    pub fn ping_behind(&mut self, payload: &[u8]) -> Result<bool, SendError> {
        self.check_open()?;
        let all_committed = self.queue_is_empty();
        if all_committed {
            self.ping_with(payload)?;
        }
        Ok(all_committed)
    }

    /// Sends an unsolicited pong: a one-way heartbeat (RFC 6455 §5.5.3).
    ///
    /// # Errors
    /// The connection is closing, or the payload is longer than 125 bytes.
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

    /// RFC 6455 §5.5.2, §5.5.3: a ping is answered with its payload; when answers pile up,
    /// answering the latest ping is enough. A flood of pings therefore costs at most 2 KiB.
    pub(crate) fn answer_ping(&mut self, payload: &[u8]) {
        if self
            .closing
            .as_ref()
            .is_some_and(|closing| closing.has_sent())
        {
            return;
        }
        if self.wire.has_sent(self.liveness.pong_mark) {
            self.liveness.unsent_pongs = 0;
        }
        if self.liveness.unsent_pongs < UNSENT_PONGS {
            self.liveness.unsent_pongs = self.liveness.unsent_pongs.saturating_add(1);
            self.commit_control(OpCode::Pong, payload);
            self.liveness.pong_mark = self.wire.mark();
            // This pong also answers the ping whose pong may still be queued.
            if let Some(backlog) = &mut self.backlog {
                backlog.pong = None;
            }
        } else {
            self.backlog.get_or_insert_default().pong = Some(payload.to_vec());
        }
    }

    /// Commits the pong that waited for earlier ones to be written.
    pub(crate) fn commit_pong(&mut self) {
        if !self.wire.has_sent(self.liveness.pong_mark) {
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

    /// The last measured round-trip time.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        (self.liveness.rtt > 0).then(|| Duration::from_micros(u64::from(self.liveness.rtt)))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. The time moves later whenever
    /// something is received, and earlier when a ping is sent, a close starts, or a pong arrives while
    /// the keepalive interval is shorter than the pong timeout: query it after every step. A call that comes too early does nothing.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.closing {
            Some(closing) => closing
                .deadline_from()?
                .checked_add(self.config.close_timeout),
            None => self.liveness.deadline(&self.config),
        }
    }

    /// Records that bytes arrived from the peer.
    #[inline]
    pub fn heard(&mut self, at: Instant) {
        self.liveness.heard(at);
    }

    /// Records that the last input was a message, or part of one.
    #[inline]
    pub const fn received(&mut self) {
        self.liveness.received();
    }

    /// Handles an event of the inbound half that is not a message, or an error: answers a ping or a
    /// Close, measures a round trip, fails the connection. `at` is when the bytes arrived.
    pub fn react(&mut self, received: &mut Result<Option<Event<'_>>, Error>, at: Instant) {
        match received {
            Ok(None | Some(Event::Message(_) | Event::Chunk(_))) => {}
            Ok(Some(Event::Ping(payload))) => self.answer_ping(payload),
            Ok(Some(Event::Pong { payload, rtt })) => *rtt = self.liveness.pong(payload, at),
            Ok(Some(Event::Close(frame))) => self.peer_closed(frame.clone(), at),
            Err(error) => self.fail(error.clone(), at),
        }
    }

    /// Does what is due: sends a keepalive ping, or gives up on a silent peer.
    ///
    /// # Errors
    /// Returned once, when the connection is given up. After a pong or close timeout the peer is
    /// unreachable: disconnect. After the idle timeout, write the Close frame and wait for the
    /// peer's.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.liveness.sent {
            // Sending takes no time argument, so the idle time counts from here at the latest.
            self.liveness.sent = false;
            self.liveness.busy = self.liveness.micros(now);
        }
        // Writing takes no time argument either.
        self.liveness.note_progress(now, self.wire.gone());
        self.note_closing_progress(now);
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
                .awaiting()
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
        if ping && self.liveness.awaiting().is_none() {
            self.commit_ping(now);
        }
        Ok(())
    }
}

impl Connection {
    /// Does what is due: sends a keepalive ping, or gives up on a silent peer.
    ///
    /// # Errors
    /// As [`Outbound::handle_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let result = self.outbound.handle_timeout(now);
        if self.outbound.is_over() {
            self.inbound.end();
        }
        result
    }
}

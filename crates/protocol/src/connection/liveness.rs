//! Whether the peer is there: pings, pongs and the times between them.

use std::time::{Duration, Instant};

use super::{Connection, Event, Outbound};
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
    /// `Some` from a ping to the pong that answers the latest.
    pings: Option<Box<Pings>>,
    /// The end of the last pong on the wire.
    pong_mark: u64,
    /// The last round trip in microseconds; 0 before the first.
    rtt: u32,
    /// How many pongs were committed since the wire was last clear of them.
    unsent_pongs: u8,
}

/// Pings without an answer. Boxed: an idle connection has none most of the time.
#[derive(Debug, Default)]
struct Pings {
    /// When the latest was sent; its stamp.
    latest: u64,
    /// The latest that was answered.
    answered: u64,
    /// `Some` while nothing was heard since the first of them.
    silence: Option<Silence>,
}

/// One ping that was sent, to ask [whether it was answered](crate::halves::Outbound::is_answered).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentPing(u64);

/// What the pong deadline is counted from.
#[derive(Debug)]
struct Silence {
    /// When the ping left; before that, when what is to leave first last made progress.
    since: u64,
    /// The ping's end on the wire.
    mark: u64,
    /// How many bytes up to there had not left at `since`. 0 for a ping that went at once.
    behind: u64,
}

/// What a stamp is mixed with, so that a peer's own heartbeat, be it a counter or a clock, is not
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
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
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

    /// The round trip, if this pong answers a ping of [`Connection::ping`] or the keepalive.
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

    /// Stamps a ping. Stamps ascend, so that each pong tells its ping.
    fn ping(&mut self, now: Instant) -> [u8; 8] {
        let sent = self.micros(now);
        let pings = self.pings.get_or_insert_default();
        pings.latest = sent.max(pings.latest.saturating_add(1));
        (pings.latest ^ OURS).to_be_bytes()
    }

    /// The answer to the ping that ends at `mark` is waited for, when the bytes before it have
    /// left, and it.
    fn await_answer(&mut self, now: Instant, mark: u64, behind: u64) {
        let since = self.micros(now);
        if let Some(pings) = &mut self.pings {
            // Not put off by later pings: a peer that is pinged often must be given up as well.
            pings.silence.get_or_insert(Silence {
                since,
                mark,
                behind,
            });
        }
    }

    /// Begins the peer's time anew if a ping has come nearer to leaving.
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

    /// Since when an answer is waited for.
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
    /// Asks the peer for a pong. [`Event::Pong`](crate::Event::Pong) then carries the round trip.
    ///
    /// # Errors
    /// [`SendError::NotOpen`] once the connection closes.
    pub fn ping(&mut self, now: Instant) -> Result<SentPing, SendError> {
        self.check_open()?;
        Ok(self.commit_ping(now))
    }

    /// Whether a pong came for this ping, or for a later one: RFC 6455 §5.5.3 lets a peer answer
    /// the latest only.
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

    /// Sends a ping with a payload of your own; the pong brings it back.
    ///
    /// # Errors
    /// The connection closes, or the payload has more than 125 bytes.
    pub fn ping_with(&mut self, payload: &[u8]) -> Result<(), SendError> {
        self.send_control(OpCode::Ping, payload)
    }

    /// As [`ping_with`](Self::ping_with), behind everything that was sent before: its pong says
    /// that all of that has come. `false`, and nothing is sent, while some of it still waits for
    /// its turn, since a ping would overtake that.
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
        if self.wire.has_sent(self.liveness.pong_mark) {
            self.liveness.unsent_pongs = 0;
        }
        if self.liveness.unsent_pongs < UNSENT_PONGS {
            self.liveness.unsent_pongs = self.liveness.unsent_pongs.saturating_add(1);
            self.commit_control(OpCode::Pong, payload);
            self.liveness.pong_mark = self.wire.mark();
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

    /// The last measured round trip.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        (self.liveness.rtt > 0).then(|| Duration::from_micros(u64::from(self.liveness.rtt)))
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next. It moves forward
    /// whenever the peer is heard, and nearer when a ping is sent or the closing begins: ask after
    /// every turn. A timer that fires early costs one look.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.closing {
            Some(closing) => closing
                .deadline_from()?
                .checked_add(self.config.close_timeout),
            None => self.liveness.deadline(&self.config),
        }
    }

    /// Notes that bytes came from the peer.
    #[inline]
    pub fn heard(&mut self, at: Instant) {
        self.liveness.heard(at);
    }

    /// Notes that what came last was a message, or part of one.
    #[inline]
    pub const fn received(&mut self) {
        self.liveness.received();
    }

    /// Does what an event other than a message, or an error, of the inbound half asks for: answers
    /// a ping or a Close, takes the time of a round trip, fails the connection. `at` is when the
    /// bytes came.
    pub fn react(&mut self, received: &mut Result<Option<Event<'_>>, Error>, at: Instant) {
        match received {
            Ok(None | Some(Event::Message(_) | Event::Chunk(_))) => {}
            Ok(Some(Event::Ping(payload))) => self.answer_ping(payload),
            Ok(Some(Event::Pong { payload, rtt })) => *rtt = self.liveness.pong(payload, at),
            Ok(Some(Event::Close(frame))) => self.peer_closed(frame.clone(), at),
            Err(error) => self.fail(error.clone(), at),
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
    /// Does what is due: a keepalive ping, or giving up on a silent peer.
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

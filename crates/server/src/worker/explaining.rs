//! What a worker knows about the connections of a user or a session: open connections, and ended
//! connections that are still recorded.

use std::{rc::Rc, sync::Arc};

use offhook_dialects::Intent;
use offhook_engine::{
    ChannelName, Command, ConnectionId, Engine, Identity, Key, Position, Progress, SessionId,
    Target, Whom,
};

use super::{
    State, Worker, now,
    outboxes::Outboxes,
    recorder::{AT_THE_END, End, Ended, Entry, LastWords, Leaver, Recorded, What},
};
use crate::door::Peer;

/// How many connections of one worker an answer contains. 64: more than a single user has.
const CONNECTIONS: usize = 64;

/// How many subscriptions of a connection an answer contains. 256: a page of them.
const SUBSCRIPTIONS: usize = 256;

/// A question about connections.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) subject: Subject,
    /// Limits the answer to this channel.
    pub(crate) channel: Option<ChannelName>,
    /// The publication in question. The clients that it was sent to are asked for a receipt.
    pub(crate) position: Option<Position>,
    /// The idempotency key of a publication to find.
    pub(crate) key: Option<Key>,
}

/// The subject of a question.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// Nobody: the question is about a key.
    Nobody,
    Whom(Whom),
    /// The connection with this number in the log.
    Connection(u32),
}

/// The answer of one worker.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The open connections, followed by the ended ones, most recently ended first.
    pub(crate) connections: Vec<Sighting>,
    /// Whether there are more connections than the answer contains.
    pub(crate) more: bool,
    /// The newest publication with the key.
    pub(crate) published: Option<Entry>,
    /// The time of the newest record that was discarded for lack of memory.
    pub(crate) forgotten_ms: u64,
    /// Whether the recorder is switched off.
    pub(crate) is_off: bool,
}

/// What is known about one connection.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) worker: u16,
    /// Its number in the log.
    pub(crate) number: Option<u32>,
    pub(crate) session: SessionId,
    pub(crate) user: Arc<str>,
    /// The identity of an open connection.
    pub(crate) identity: Option<Arc<Identity>>,
    /// When and how it ended.
    pub(crate) ended: Option<(u64, End)>,
    pub(crate) progress: Vec<Progress>,
    /// Whether it has subscriptions that are not in `progress`.
    pub(crate) has_more: bool,
    /// Unsent bytes of an open connection.
    pub(crate) unsent: usize,
    pub(crate) recorded: Recorded,
}

impl Worker {
    /// Answers a question about connections.
    pub(super) fn know(self: &Rc<Self>, question: &Question) -> Known {
        let now_ms = now().unix_ms;
        let mut state = self.state.borrow_mut();
        let State {
            engine,
            outboxes,
            recorder,
            ..
        } = &mut *state;
        recorder.expire(now_ms);
        let mut known = Known {
            forgotten_ms: recorder.forgotten_ms(),
            is_off: recorder.is_disabled(),
            ..Known::default()
        };
        if let (Some(channel), Some(key)) = (&question.channel, &question.key) {
            known.published = recorder.published(channel.as_str(), key);
        }
        let open = match &question.subject {
            Subject::Nobody => return known,
            Subject::Whom(whom) => engine.connections_of(whom),
            Subject::Connection(number) => outboxes.numbered(*number),
        };
        known.more = open.len() > CONNECTIONS;
        for connection in open.into_iter().take(CONNECTIONS) {
            let recorded = recorder.of(connection);
            let open = self.open_one(engine, outboxes, connection, recorded, question);
            known.connections.extend(open);
        }
        let left = CONNECTIONS.saturating_sub(known.connections.len());
        let gone = recorder.ended_ones();
        let gone: Vec<&Ended> = gone
            .filter(|one| question.is_about(one))
            .take(left + 1)
            .collect();
        known.more |= gone.len() > left;
        let gone = gone.into_iter().take(left);
        let gone = gone.map(|one| self.ended_one(one, question));
        known.connections.extend(gone);
        // Sends the pings that request receipts.
        self.carry_out(state);
        known
    }

    fn open_one(
        &self,
        engine: &mut Engine,
        outboxes: &mut Outboxes,
        connection: ConnectionId,
        recorded: Recorded,
        question: &Question,
    ) -> Option<Sighting> {
        let session = engine.session(connection)?;
        let identity = Arc::clone(engine.identity(connection)?);
        let progress = match &question.channel {
            Some(channel) => engine.progress_in(connection, channel),
            None => engine.progress(connection, SUBSCRIPTIONS),
        };
        let has_more =
            question.channel.is_none() && engine.subscriptions_on(connection) > progress.len();
        if question.position.is_some_and(|at| is_sent(&progress, at)) {
            engine.ask_receipt(connection);
        }
        Some(Sighting {
            worker: self.number,
            number: outboxes.peer(connection).map(|peer| peer.number),
            session,
            user: Arc::clone(&identity.user),
            identity: Some(identity),
            ended: None,
            progress,
            has_more,
            unsent: outboxes.unsent_of(connection),
            recorded: question.of_channel(recorded),
        })
    }

    fn ended_one(&self, ended: &Ended, question: &Question) -> Sighting {
        let covers = |one: &&Progress| question.concerns(&one.subscription.target, None);
        let progress = ended.progress.iter().filter(covers).cloned().collect();
        Sighting {
            worker: self.number,
            number: ended.number,
            session: ended.session,
            user: Arc::clone(&ended.user),
            identity: None,
            ended: Some((ended.at_ms, ended.end.clone())),
            progress,
            has_more: ended.has_more,
            unsent: 0,
            recorded: question.of_channel(ended.recorded()),
        }
    }

    /// Records a request of a connection's client.
    pub(super) fn record_request(&self, connection: ConnectionId, intent: &Intent, at_ms: u64) {
        let (Intent::Command { id, command }
        | Intent::Granted { id, command, .. }
        | Intent::Permitted { id, command }) = intent
        else {
            return;
        };
        let state = &mut *self.state.borrow_mut();
        state.recorder.received(connection, *id, command, at_ms);
        if let Command::Publish { channel, .. } = command {
            state.busiest.published(channel);
        }
    }

    /// Records how a connection's transport has ended. The connection is removed soon after.
    pub(super) fn record_end(&self, connection: ConnectionId, code: u16, reason: &str) {
        let words = LastWords {
            code: Some(code),
            reason: reason.into(),
        };
        let recorder = &mut self.state.borrow_mut().recorder;
        recorder.transport_ended(connection, words);
    }
}

/// What to record about a connection that is about to be removed. `None` if it has been removed
/// already.
pub(super) fn leaver(
    engine: &Engine,
    outboxes: &mut Outboxes,
    connection: ConnectionId,
) -> Option<Leaver> {
    if !outboxes.has(connection) {
        return None;
    }
    let mut progress = engine.progress(connection, AT_THE_END + 1);
    let has_more = progress.len() > AT_THE_END;
    progress.truncate(AT_THE_END);
    Some(Leaver {
        number: outboxes.peer(connection).map(|peer: Peer| peer.number),
        session: engine.session(connection)?,
        user: Arc::clone(&engine.identity(connection)?.user),
        has_more,
        progress,
    })
}

/// Whether a publication at this position was sent without proof of receipt.
fn is_sent(progress: &[Progress], at: Position) -> bool {
    progress.iter().any(|one| {
        one.subscription.target.channel().is_some()
            && one.handed_out.is_some_and(|to| to.offset >= at.offset)
            && one.began_after < at.offset
            && one.received < at.offset
    })
}

impl Question {
    fn is_about(&self, ended: &Ended) -> bool {
        match &self.subject {
            Subject::Nobody => false,
            Subject::Whom(Whom::User(user)) => *user == ended.user,
            Subject::Whom(Whom::Session(session)) => *session == ended.session,
            Subject::Connection(number) => Some(*number) == ended.number,
        }
    }

    /// Whether the answer includes entries about this target, or about this channel of it.
    fn concerns(&self, target: &Target, channel: Option<&ChannelName>) -> bool {
        let Some(wanted) = &self.channel else {
            return true;
        };
        match (target, channel) {
            (_, Some(channel)) => channel == wanted,
            (Target::Channel(own), None) => own == wanted,
            (Target::Filter(filter), None) => filter.matches(wanted),
        }
    }

    /// Keeps only what concerns the channel in question.
    fn of_channel(&self, mut recorded: Recorded) -> Recorded {
        let concerns = |entry: &Entry| match &entry.what {
            What::Subscribed { subscription, .. }
            | What::Unsubscribed { subscription, .. }
            | What::Behind { subscription, .. }
            | What::Live { subscription, .. } => self.concerns(&subscription.target, None),
            What::Gap {
                subscription,
                channel,
                ..
            } => self.concerns(&subscription.target, channel.as_ref()),
            What::Refused {
                target: Some(target),
                ..
            } => self.concerns(target, None),
            What::Published { channel, .. } => {
                self.channel.as_ref().is_none_or(|wanted| wanted == channel)
            }
            What::Refused { target: None, .. }
            | What::Reconnect { .. }
            | What::Closing { .. }
            | What::Called { .. } => self.channel.is_none(),
        };
        recorded.decisions.retain(concerns);
        recorded.messages.retain(concerns);
        recorded
    }
}

//! Turns the broker's answers into replies to commands.

use std::sync::Arc;

use crate::{
    ask::CallerReply,
    broker::{ChannelGap, ReadStart, Receipts, RequestId, StreamState, Trimmed},
    command::Since,
    delivery::{ConnectionId, GapReason, Reply},
    error::Refusal,
    position::Position,
    publication::Publication,
    session::SessionSnapshot,
};

use super::{
    Engine,
    state::{Asker, Covered, Pending},
};

impl Engine {
    pub(super) fn request(&mut self, pending: Pending) -> RequestId {
        self.requests
            .add(pending, self.now, self.limits.answer_within)
    }

    /// Replies to a command that was counted as in flight.
    pub(super) fn answer(&mut self, asker: Asker, reply: Reply) {
        match asker {
            Asker::Connection(connection, command) => {
                self.answered(connection);
                self.reply(connection, Some(command), reply);
            }
            Asker::Caller(caller) => {
                self.caller_replies
                    .push_back((caller, CallerReply::Reply(reply)));
            }
        }
    }

    /// One request less is in flight for this connection.
    fn answered(&mut self, connection: ConnectionId) {
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.in_flight = c.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn published(&mut self, id: RequestId, position: Position, duplicate: bool) {
        let Some(Pending::Publish { asker }) = self.requests.take(id) else {
            return;
        };
        let reply = Reply::Published {
            position,
            duplicate,
        };
        self.answer(asker, reply);
    }

    pub(super) fn history_read(
        &mut self,
        id: RequestId,
        stream: StreamState,
        start: ReadStart,
        publications: Vec<Arc<Publication>>,
    ) {
        match self.requests.take(id) {
            Some(Pending::Read { feed }) => {
                self.page_read(
                    feed,
                    id,
                    (stream, start),
                    (&[], Covered::Everything),
                    publications,
                );
            }
            Some(Pending::History {
                asker,
                channel,
                since,
            }) => {
                let (head, gap) = (stream.head, gap_since(since, stream, start));
                let more = publications.last().is_some_and(|p| p.position != head);
                let reply = Reply::History {
                    channel,
                    head,
                    publications,
                    gap,
                    more,
                };
                self.answer(asker, reply);
            }
            Some(Pending::HistoryBefore { asker, channel }) => {
                let newest = publications.last().map_or(start.after, |p| p.position);
                let damaged = (newest != start.agreed).then_some(GapReason::Damaged);
                let reply = Reply::History {
                    channel,
                    head: stream.head,
                    publications,
                    gap: start.resolution.gap().or(damaged),
                    more: start.after.offset >= stream.first,
                };
                self.answer(asker, reply);
            }
            other => debug_assert!(other.is_none(), "history answers a read"),
        }
    }

    pub(super) fn filter_read(
        &mut self,
        id: RequestId,
        (head, start): (Position, ReadStart),
        gaps: (&[ChannelGap], Covered),
        publications: Vec<Arc<Publication>>,
    ) {
        let Some(Pending::Read { feed }) = self.requests.take(id) else {
            return;
        };
        let stream = StreamState {
            head,
            first: 0,
            trimmed: Trimmed::BySize,
        };
        self.page_read(feed, id, (stream, start), gaps, publications);
    }

    pub(super) fn session_loaded(&mut self, id: RequestId, bytes: Option<&[u8]>) {
        let Some(Pending::Session { caller }) = self.requests.take(id) else {
            return;
        };
        let reply = match bytes.map(SessionSnapshot::from_bytes).transpose() {
            Ok(snapshot) => CallerReply::Session(snapshot.map(Box::new)),
            Err(refusal) => CallerReply::Reply(Reply::Refused(refusal)),
        };
        self.caller_replies.push_back((caller, reply));
    }

    pub(super) fn acked(&mut self, id: RequestId, position: Option<Position>) {
        let Some(Pending::Ack { asker, channel }) = self.requests.take(id) else {
            return;
        };
        self.answer(asker, Reply::Acked { channel, position });
    }

    pub(super) fn receipts_known(&mut self, id: RequestId, mut receipts: Receipts) {
        let Some(Pending::Receipts {
            asker,
            channel,
            position,
            named,
        }) = self.requests.take(id)
        else {
            return;
        };
        if named {
            receipts.sessions.truncate(self.limits.members as usize);
        } else {
            receipts.sessions.clear();
        }
        let reply = Reply::Receipts {
            channel,
            position,
            receipts,
        };
        self.answer(asker, reply);
    }

    pub(super) fn request_failed(&mut self, id: RequestId, pending: &Pending, refusal: &Refusal) {
        match *pending {
            Pending::Publish { asker }
            | Pending::History { asker, .. }
            | Pending::HistoryBefore { asker, .. }
            | Pending::State { asker, .. }
            | Pending::Values { asker, .. }
            | Pending::Remember { asker }
            | Pending::Members { asker, .. }
            | Pending::Ack { asker, .. }
            | Pending::Receipts { asker, .. } => {
                self.answer(asker, Reply::Refused(refusal.clone()));
            }
            Pending::Session { caller } => {
                self.answer(Asker::Caller(caller), Reply::Refused(refusal.clone()));
            }
            Pending::TellMembers {
                connection,
                subscription,
            } => self.members_failed(connection, subscription),
            Pending::Follow { feed } => self.follow_failed(feed, refusal),
            Pending::Share { group } => self.share_failed(group, refusal),
            Pending::Read { feed } => self.page_failed(feed, id, refusal),
            Pending::ReadState { feed } => self.state_failed(feed, refusal),
        }
    }
}

/// What is missing between a position and the oldest retained publication.
fn gap_since(since: Since, stream: StreamState, start: ReadStart) -> Option<GapReason> {
    let Since::Position(_) = since else {
        return None;
    };
    let trimmed = || (start.after != start.agreed).then(|| stream.trimmed.into());
    start.resolution.gap().or_else(trimmed)
}

//! Answers of the broker become answers to commands.

use std::sync::Arc;

use crate::{
    broker::{ReadStart, Receipts, RequestId, StreamState},
    command::Since,
    delivery::{ConnectionId, GapReason, Reply},
    error::Refusal,
    position::Position,
    publication::Publication,
};

use super::{Engine, state::Pending};

impl Engine {
    pub(super) fn request(&mut self, pending: Pending) -> RequestId {
        self.requests
            .add(pending, self.now, self.limits.answer_within)
    }

    /// One request less under way for this connection.
    pub(super) fn answered(&mut self, connection: ConnectionId) {
        if let Some(l) = self.connections.get_mut(connection.into()) {
            l.in_flight = l.in_flight.saturating_sub(1);
        }
    }

    pub(super) fn published(&mut self, id: RequestId, position: Position, duplicate: bool) {
        let Some(Pending::Publish {
            connection,
            command,
        }) = self.requests.take(id)
        else {
            return;
        };
        self.answered(connection);
        self.reply(
            connection,
            Some(command),
            Reply::Published {
                position,
                duplicate,
            },
        );
    }

    pub(super) fn history_read(
        &mut self,
        id: RequestId,
        stream: StreamState,
        start: ReadStart,
        publications: Vec<Arc<Publication>>,
    ) {
        match self.requests.take(id) {
            Some(Pending::Read { channel }) => {
                self.page_read(channel, id, stream, start, publications);
            }
            Some(Pending::History {
                connection,
                command,
                channel,
                since,
            }) => {
                self.answered(connection);
                let (head, gap) = (stream.head, gap_since(since, stream, start));
                let reply = Reply::History {
                    channel,
                    head,
                    publications,
                    gap,
                };
                self.reply(connection, Some(command), reply);
            }
            _ => {}
        }
    }

    pub(super) fn acked(&mut self, id: RequestId, position: Option<Position>) {
        let Some(Pending::Ack {
            connection,
            command,
            channel,
        }) = self.requests.take(id)
        else {
            return;
        };
        self.answered(connection);
        self.reply(
            connection,
            Some(command),
            Reply::Acked { channel, position },
        );
    }

    pub(super) fn receipts_known(&mut self, id: RequestId, mut receipts: Receipts) {
        let Some(Pending::Receipts {
            connection,
            command,
            channel,
            position,
            named,
        }) = self.requests.take(id)
        else {
            return;
        };
        self.answered(connection);
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
        self.reply(connection, Some(command), reply);
    }

    pub(super) fn request_failed(&mut self, id: RequestId, pending: &Pending, refusal: &Refusal) {
        match *pending {
            Pending::Publish {
                connection,
                command,
            }
            | Pending::History {
                connection,
                command,
                ..
            }
            | Pending::Ack {
                connection,
                command,
                ..
            }
            | Pending::Receipts {
                connection,
                command,
                ..
            } => {
                self.answered(connection);
                self.refuse(connection, command, refusal.clone());
            }
            Pending::Members {
                connection,
                command,
                ..
            } => {
                self.answered(connection);
                if let Some(command) = command {
                    self.refuse(connection, command, refusal.clone());
                }
            }
            Pending::Follow { channel } => self.follow_failed(channel, refusal),
            Pending::Read { channel } => self.page_failed(channel, id, refusal),
        }
    }
}

/// What is missing between a position and the oldest publication that is retained.
fn gap_since(since: Since, stream: StreamState, start: ReadStart) -> Option<GapReason> {
    let Since::Position(_) = since else {
        return None;
    };
    let trimmed = || (start.after != start.agreed).then(|| stream.trimmed.into());
    start.resolution.gap().or_else(trimmed)
}

//! Messages from the server.

use std::time::Instant;

use offhook_dialects::native::client::{
    About, CommandId, Message, Position, Retry, Said, SubscriptionKey as Name, Target, read,
    read_binary,
};

use super::connection::says_already;
use super::{Asked, Core, Form, Signal, SubscriptionKey, Ticket, Todo};
use crate::answer::{Answer, History, Published, Receipts, State};
use crate::connection_event::ConnectionEvent;
use crate::data::Data;
use crate::error::{Error, Refused};
use crate::event::{Event, Gap, GapReason, Member, Members, Publication};

impl Core {
    /// A text message was received.
    pub(crate) fn handle_message(&mut self, text: &str, now: Instant) {
        self.now = now;
        self.note_received();
        match read(text) {
            Ok(said) => self.dispatch(said),
            Err(error) => self.protocol_error(&error.to_string()),
        }
    }

    /// A binary message was received.
    pub(crate) fn handle_binary(&mut self, bytes: &[u8], now: Instant) {
        self.now = now;
        self.note_received();
        if self.connection.form == Form::Json {
            self.protocol_error("a binary message");
            return;
        }
        match read_binary(bytes) {
            Ok(said) => self.dispatch(said),
            Err(error) => self.protocol_error(&error.to_string()),
        }
    }

    /// The server violated the protocol, so nothing else on this connection can be trusted.
    pub(super) fn protocol_error(&mut self, what: &str) {
        self.handle_lost(Error::Server(what.into()), self.now);
    }

    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each message of the protocol"
    )]
    fn dispatch(&mut self, said: Said<'_>) {
        match said {
            Said::Welcome {
                id,
                session,
                user,
                resume,
            } => self.welcomed(id, &session, user.as_deref(), &resume),
            Said::Token { resume } => self.sealed(&resume),
            Said::Expiring => self.fetch_session_token(),
            Said::Refreshed { id } => self.refreshed(id),
            Said::Message {
                about,
                message,
                state: false,
            } => self.message(&about, message),
            Said::Message { about, message, .. } => {
                let value = Publication::read(message, (&*about.name).into());
                self.deliver(&about, Event::Value(value));
            }
            Said::Own {
                about,
                position,
                previous,
                at,
            } => self.own(&about, position, previous, at),
            Said::Restored => self.all_restored(),
            Said::Subscribed {
                id: None,
                about,
                position,
                live,
                by_server: false,
            } => self.restored(&about, position, live),
            Said::Subscribed {
                id: None,
                about,
                position,
                live,
                by_server: true,
            } => self.made(&about, position, live),
            Said::Subscribed {
                id: Some(id),
                position,
                live,
                ..
            } => self.subscribed(id, position, live),
            Said::Unsubscribed { id, .. } => self.unsubscribed(id),
            Said::Ended { about, refused } => match self.subscriptions.meant(&about) {
                Some(key) => self.rejected(key, Refused::read(refused)),
                None => self.made.ended(&about),
            },
            Said::Live { about, position } => {
                if let Some((key, _)) = self.subscriptions.active(&about) {
                    self.caught_up(key, position);
                }
            }
            Said::CatchingUp { about, .. } => {
                if let Some((key, entry)) = self.subscriptions.active(&about) {
                    entry.set_live(None);
                    self.delivered(key);
                }
            }
            Said::Gap {
                about,
                from,
                to,
                reason,
                agreed,
            } => {
                let reason = GapReason::read(&reason);
                let channel = (!about.is_filter).then(|| (&*about.name).into());
                self.gap(
                    &about,
                    Gap {
                        channel,
                        from,
                        to,
                        reason,
                        agreed,
                    },
                );
            }
            Said::Published {
                id,
                position,
                duplicate,
            } => self.published(id, position, duplicate),
            Said::History {
                id,
                channel,
                head,
                messages,
                gap,
                more,
            } => {
                let history = History {
                    publications: Publication::read_all(messages, &channel),
                    head,
                    gap: gap.as_deref().map(GapReason::read),
                    more,
                };
                self.answer(id, Answer::History(history));
            }
            Said::State {
                id,
                channel,
                head,
                messages,
                more,
            } => {
                let values = Publication::read_all(messages, &channel);
                let state = State { values, head, more };
                self.answer(id, Answer::State(state));
            }
            Said::Called { id, payload } => self.answer(id, Answer::Called(Data::read(payload))),
            Said::InfoUpdated { id } => self.answer(id, Answer::InfoUpdated),
            Said::Members {
                id,
                about,
                members,
                total,
            } => self.members(id, &about, Members::read(members, total)),
            Said::Acked { id, position } => self.answer(id, Answer::Acked(position)),
            Said::Received {
                id,
                received,
                subscribers,
                sessions,
            } => {
                let sessions = sessions.into_iter().map(Into::into).collect();
                let receipts = Receipts {
                    received,
                    subscribers,
                    sessions,
                };
                self.answer(id, Answer::Receipts(receipts));
            }
            Said::Join { about, member } => {
                self.deliver(&about, Event::Joined(Member::read(member)));
            }
            Said::Leave { about, member } => {
                self.deliver(&about, Event::Left(Member::read(member)));
            }
            Said::Told { payload } => {
                let data = Data::read(payload);
                self.tell(ConnectionEvent::Told { data });
            }
            Said::Pong { id } => {
                self.answered(id, Asked::ping);
            }
            Said::Error { id, refused } => {
                if let Some(id) = id {
                    self.refused(id, Refused::read(refused));
                }
            }
            Said::Reconnect { after } => self.advised(after),
            Said::Closing { reason } => self.connection.closing = Some((&*reason).into()),
            Said::Unknown => {}
        }
    }

    /// Removes the request, if this can be its answer.
    pub(super) fn answered<T>(
        &mut self,
        id: CommandId,
        fits: impl Fn(&Asked) -> Option<T>,
    ) -> Option<T> {
        let fitting = fits(self.asked.get(&id)?)?;
        self.asked.remove(&id);
        Some(fitting)
    }

    fn message(&mut self, about: &About<'_>, message: Message<'_>) {
        let Some((key, entry)) = self.subscriptions.active(about) else {
            return;
        };
        let advanced = match entry.target {
            Target::Channel(_) => entry.advance(message.position, message.previous),
            Target::Filter(_) => entry.advance_filter(message.at),
        };
        match advanced {
            Ok(true) => {
                let publication = Publication::read(message, entry.channel_of(about));
                entry.inbox.push(Event::Publication(publication));
                self.delivered(key);
            }
            Ok(false) => self.repeats += 1,
            Err(hole) => self.protocol_error(&hole),
        }
    }

    /// A publication of this session, in a subscription that does not want it.
    fn own(
        &mut self,
        about: &About<'_>,
        position: Position,
        previous: Position,
        at: Option<Position>,
    ) {
        let Some((key, entry)) = self.subscriptions.active(about) else {
            return;
        };
        let advanced = match entry.target {
            Target::Channel(_) => entry.advance(position, Some(previous)),
            Target::Filter(_) => entry.advance_filter(at),
        };
        match advanced {
            Ok(true) => {
                let position = at.unwrap_or(position);
                entry.inbox.push(Event::Own { position });
                self.delivered(key);
            }
            Ok(false) => self.repeats += 1,
            Err(hole) => self.protocol_error(&hole),
        }
    }

    fn gap(&mut self, about: &About<'_>, gap: Gap) {
        let Some((key, entry)) = self.subscriptions.active(about) else {
            return;
        };
        // In a filter, a gap of one channel does not move the place among all of them.
        if about.is_filter || !entry.is_filter() {
            entry.position = Some(gap.to);
        }
        entry.inbox.push(Event::Gap(gap));
        self.delivered(key);
    }

    fn subscribed(&mut self, id: CommandId, position: Position, live: bool) {
        if let Some(key) = self.answered(id, Asked::subscribe)
            && self.subscriptions.is_asked(key)
        {
            self.began(key, position, live);
        }
    }

    fn unsubscribed(&mut self, id: CommandId) {
        if let Some(name) = self.answered(id, Asked::unsubscribe) {
            self.left(&name);
        }
    }

    fn published(&mut self, id: CommandId, position: Position, duplicate: bool) {
        if let Some(ticket) = self.answered(id, Asked::publish) {
            let published = Published {
                position,
                duplicate,
            };
            self.publish_ended(ticket, Ok(Answer::Published(published)));
        }
    }

    fn publish_ended(&mut self, ticket: Ticket, answer: Result<Answer, Error>) {
        self.publishes.answered(ticket);
        self.signals.push_back(Signal::Answer { ticket, answer });
        self.signals.push_back(Signal::Room);
    }

    fn answer(&mut self, id: CommandId, answer: Answer) {
        if let Some(ticket) = self.answered(id, Asked::question) {
            self.question_ended(ticket, Ok(answer));
        }
    }

    fn members(&mut self, id: Option<CommandId>, about: &About<'_>, members: Members) {
        let Some(id) = id else {
            self.deliver(about, Event::Members(members));
            return;
        };
        if let Some(ticket) = self.answered(id, Asked::question) {
            self.question_ended(ticket, Ok(Answer::Members(members)));
        } else if self.answered(id, Asked::members).is_some() {
            self.deliver(about, Event::Members(members));
        }
    }

    fn question_ended(&mut self, ticket: Ticket, answer: Result<Answer, Error>) {
        self.questions.remove(ticket);
        self.signals.push_back(Signal::Answer { ticket, answer });
    }

    fn refused(&mut self, id: CommandId, refused: Refused) {
        match self.asked.remove(&id) {
            Some(Asked::Connect) => self.unwelcome(refused),
            Some(Asked::Subscribe(key)) => {
                // It may have been restored or dropped in the meantime.
                if !self.subscriptions.is_asked(key) {
                } else if says_already(&refused) {
                    self.is_active_already(key);
                } else {
                    self.rejected(key, refused);
                }
            }
            Some(Asked::Unsubscribe(name)) => self.stays(name, &refused),
            Some(Asked::Refresh) => self.refresh_refused(refused),
            Some(Asked::Publish(ticket)) => self.publish_refused(ticket, refused),
            Some(Asked::Question(ticket)) => self.question_refused(ticket, refused),
            Some(Asked::Members(key)) if refused.retry() == Retry::Later => {
                let pause = self.pause(&refused, 1);
                self.after(pause, Todo::Members(key));
            }
            // A channel without presence has no members; and any answer to a ping is acceptable.
            Some(Asked::Members(_) | Asked::Ping) | None => {}
        }
    }

    fn publish_refused(&mut self, ticket: Ticket, refused: Refused) {
        let pause = match refused.retry() {
            Retry::Never => return self.publish_ended(ticket, Err(refused.into())),
            Retry::Later => Some(self.pause(&refused, self.publishes.refusals + 1)),
            Retry::Reconnect => None,
        };
        let hold = self.hold(pause);
        self.publishes.refused(ticket, hold);
        match pause {
            Some(pause) => {
                let cause = refused.into();
                self.tell(ConnectionEvent::Held { cause, pause });
            }
            None => self.server_is_leaving(),
        }
    }

    fn question_refused(&mut self, ticket: Ticket, refused: Refused) {
        match refused.retry() {
            Retry::Never => self.question_ended(ticket, Err(refused.into())),
            Retry::Later => {
                if let Some(refusals) = self.questions.refused(ticket) {
                    let pause = self.pause(&refused, refusals);
                    self.after(pause, Todo::Question(ticket));
                }
            }
            // It is sent again on the next connection.
            Retry::Reconnect => self.server_is_leaving(),
        }
    }
}

/// Which request an answer can belong to.
impl Asked {
    fn subscribe(&self) -> Option<SubscriptionKey> {
        let Self::Subscribe(key) = self else {
            return None;
        };
        Some(*key)
    }

    fn unsubscribe(&self) -> Option<Name> {
        let Self::Unsubscribe(name) = self else {
            return None;
        };
        Some(name.clone())
    }

    fn publish(&self) -> Option<Ticket> {
        let Self::Publish(ticket) = self else {
            return None;
        };
        Some(*ticket)
    }

    fn question(&self) -> Option<Ticket> {
        let Self::Question(ticket) = self else {
            return None;
        };
        Some(*ticket)
    }

    fn members(&self) -> Option<()> {
        matches!(self, Self::Members(_)).then_some(())
    }

    pub(super) fn refresh(&self) -> Option<()> {
        matches!(self, Self::Refresh).then_some(())
    }

    fn ping(&self) -> Option<()> {
        matches!(self, Self::Ping).then_some(())
    }
}

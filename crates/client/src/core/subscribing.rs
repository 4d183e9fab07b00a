//! Subscriptions on a connection: requested, restored, delivered to, paused, unsubscribed.

use std::time::{Duration, Instant};

use offhook_dialects::Payload;
use offhook_dialects::native::client::{
    About, ChannelName, CommandId, Position, Retry, SubscriptionId, SubscriptionKey as Name, Target,
};
use offhook_dialects::native::{Request, SubscribeAll};

use super::connection::Resuming;
use super::group::Group;
use super::subscriptions::{Subscription, SubscriptionState};
use super::{Asked, Blocked, Core, Signal, SubscriptionKey, Todo};
use crate::error::{Error, Refused};
use crate::event::Event;
use crate::since::Since;
use crate::token::ChannelTokens;

/// The limit for announcing a restored subscription. 10 s: as long as the server's broker may take.
const RESTORED_WITHIN: Duration = Duration::from_secs(10);
/// Channels being unsubscribed from at once. 16,384: more than a session has.
const MOST_LEAVING: usize = 16_384;

/// A user's request to subscribe.
#[derive(Clone, Debug)]
pub(crate) struct Subscribe {
    pub(crate) target: Target,
    pub(crate) since: Since,
    pub(crate) presence: bool,
    /// Whether the session's own publications are wanted.
    pub(crate) echo: bool,
    /// Where its subscription tokens come from, if it needs them.
    pub(crate) tokens: Option<ChannelTokens>,
}

/// What a reader receives from its subscription.
#[derive(Debug)]
pub(crate) enum Taken {
    Event(Event),
    /// No event yet.
    Nothing,
    /// The subscription ended. The error is returned once, and none if the user ended it.
    Ended(Option<Error>),
}

impl Core {
    /// Adds a subscription to a channel or a filter.
    pub(crate) fn subscribe(&mut self, wish: Subscribe) -> Result<SubscriptionKey, Error> {
        if let Some(why) = self.ended() {
            return Err(why.clone());
        }
        let name = self.subscriptions.name(&wish.target)?;
        if self.made.keeps(&name) {
            // The server has made it, unread. This one may begin elsewhere.
            self.leave(name.clone());
        }
        let key = SubscriptionKey(self.number());
        let new = Subscription::new(wish, name, self.settings.inbox);
        self.subscriptions.add(key, new);
        if self.connection.is_online() {
            self.todo.push_back(Todo::Subscribe(key));
        }
        Ok(key)
    }

    /// Adds several subscriptions, or none of them.
    pub(crate) fn subscribe_all(
        &mut self,
        wishes: Vec<Subscribe>,
    ) -> Result<Vec<SubscriptionKey>, Error> {
        let mut keys = Vec::with_capacity(wishes.len());
        for wish in wishes {
            match self.subscribe(wish) {
                Ok(key) => keys.push(key),
                Err(why) => {
                    keys.into_iter().for_each(|key| self.unsubscribe(key));
                    return Err(why);
                }
            }
        }
        Ok(keys)
    }

    /// Removes a subscription.
    pub(crate) fn unsubscribe(&mut self, key: SubscriptionKey) {
        self.unblock(key);
        let Some(removed) = self.subscriptions.remove(key) else {
            return;
        };
        match removed.state {
            SubscriptionState::Asked | SubscriptionState::Restoring | SubscriptionState::Active => {
                self.leave(removed.name)
            }
            SubscriptionState::Wanted | SubscriptionState::Paused | SubscriptionState::Ended(_) => {
            }
        }
    }

    /// Whether the server has accepted it at least once, or why it never will.
    pub(crate) fn has_begun(&mut self, key: SubscriptionKey) -> Result<bool, Error> {
        let Some(entry) = self.subscriptions.get(key) else {
            return Err(Error::Closed);
        };
        match &mut entry.state {
            SubscriptionState::Ended(why) if !entry.began => {
                Err(why.take().unwrap_or(Error::Closed))
            }
            SubscriptionState::Wanted
            | SubscriptionState::Asked
            | SubscriptionState::Restoring
            | SubscriptionState::Active
            | SubscriptionState::Paused
            | SubscriptionState::Ended(_) => Ok(entry.began),
        }
    }

    /// The next event for a reader, and whether the driver has to act on it.
    pub(crate) fn take(&mut self, key: SubscriptionKey, now: Instant) -> (Taken, bool) {
        self.now = self.now.max(now);
        let Some(entry) = self.subscriptions.get(key) else {
            return (Taken::Ended(None), false);
        };
        let Some(event) = entry.inbox.pop() else {
            return match &mut entry.state {
                SubscriptionState::Ended(why) => (Taken::Ended(why.take()), false),
                SubscriptionState::Wanted
                | SubscriptionState::Asked
                | SubscriptionState::Restoring
                | SubscriptionState::Active
                | SubscriptionState::Paused => (Taken::Nothing, false),
            };
        };
        (Taken::Event(event), self.made_room(key))
    }

    fn made_room(&mut self, key: SubscriptionKey) -> bool {
        let Some(entry) = self.subscriptions.get(key) else {
            return false;
        };
        if matches!(entry.state, SubscriptionState::Paused) && entry.inbox.is_half_empty() {
            entry.state = SubscriptionState::Wanted;
            if self.connection.is_online() {
                self.todo.push_back(Todo::Subscribe(key));
            }
            return true;
        }
        if !entry.inbox.is_full() {
            return self.unblock(key);
        }
        if let Some(blocked) = self.blocked.as_mut().filter(|blocked| blocked.key == key) {
            blocked.since = self.now;
        }
        false
    }

    pub(super) fn unblock(&mut self, key: SubscriptionKey) -> bool {
        self.blocked.take_if(|blocked| blocked.key == key).is_some()
    }

    /// The connection is open: request all subscriptions except those that the token restores.
    pub(super) fn begin_subscriptions(&mut self, resuming: Resuming) {
        if resuming != Resuming::Yes {
            self.made.session_lost();
        }
        for key in self.subscriptions.keys() {
            let Some(entry) = self.subscriptions.get(key) else {
                continue;
            };
            entry.sealed &=
                resuming == Resuming::Yes && matches!(entry.state, SubscriptionState::Wanted);
            if entry.sealed {
                entry.state = SubscriptionState::Restoring;
                self.after(RESTORED_WITHIN, Todo::Missing(key));
            } else {
                self.todo.push_back(Todo::Subscribe(key));
            }
        }
    }

    /// The request for a subscription, and for those queued after it that can share its message.
    pub(super) fn ask_to_subscribe(&mut self, key: SubscriptionKey) -> Option<Payload> {
        if !self.subscriptions.is_wanted(key) {
            return None;
        }
        if self.subscriptions.get(key)?.tokens.is_some() {
            return self.ask_with_token(key);
        }
        let mut group = Group::new(self.subscriptions.get(key)?, key);
        while let Some(Todo::Subscribe(next)) = self.todo.front() {
            let next = *next;
            if group.keys.contains(&next) || !self.subscriptions.is_wanted(next) {
                self.todo.pop_front();
                continue;
            }
            if !group.take(self.subscriptions.get(next)?, next) {
                break;
            }
            self.todo.pop_front();
        }
        for key in &group.keys {
            self.subscriptions.get(*key)?.state = SubscriptionState::Asked;
        }
        let [only] = group.keys.as_slice() else {
            return Some(self.ask_for_all(group));
        };
        let only = *only;
        let command = self.subscriptions.get(only)?.request();
        Some(self.request(Asked::Subscribe(only), command))
    }

    /// Each channel gets its own answer; their ids are consecutive, starting with the request's.
    fn ask_for_all(&mut self, group: Group) -> Payload {
        let id = CommandId(self.last + 1);
        for key in &group.keys {
            self.ask(Asked::Subscribe(*key));
        }
        super::encode(Request::SubscribeAll(SubscribeAll {
            id,
            channels: group.channels.into_iter().map(Ok).collect(),
            since: group.since.unwrap_or_default().into(),
            presence: group.presence,
            echo: group.echo,
        }))
    }

    /// The server accepted or restored it.
    pub(super) fn began(&mut self, key: SubscriptionKey, newest: Position, live: bool) {
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        entry.state = SubscriptionState::Active;
        entry.began = true;
        entry.refusals = 0;
        if live && entry.is_filter() {
            entry.position = Some(newest);
        }
        if entry.presence {
            self.todo.push_back(Todo::Members(key));
        }
        if live {
            self.caught_up(key, newest);
        } else {
            entry.set_live(None);
            self.signals.push_back(Signal::Reader(key));
        }
    }

    /// The server announces a subscription that it restored.
    pub(super) fn restored(&mut self, about: &About<'_>, newest: Position, live: bool) {
        let key = self.subscriptions.meant(about);
        let entry = key.and_then(|key| Some((key, self.subscriptions.get(key)?)));
        match entry {
            Some((key, entry)) => match entry.state {
                SubscriptionState::Wanted
                | SubscriptionState::Asked
                | SubscriptionState::Restoring => {
                    let name = entry.name.clone();
                    if self.subscriptions.is_leaving(&name) {
                        return;
                    }
                    self.began_again(key, newest, live);
                }
                SubscriptionState::Active => {}
                SubscriptionState::Paused | SubscriptionState::Ended(_) => self.unwanted(about),
            },
            // Made by the server, and unread.
            None if self.made.has(about) => {}
            None => self.unwanted(about),
        }
    }

    /// The server has announced everything that it restored: request the rest.
    pub(super) fn all_restored(&mut self) {
        for key in self.subscriptions.keys() {
            let Some(entry) = self.subscriptions.get(key) else {
                continue;
            };
            if matches!(entry.state, SubscriptionState::Restoring) {
                entry.state = SubscriptionState::Wanted;
                self.todo.push_back(Todo::Subscribe(key));
            }
        }
    }

    fn began_again(&mut self, key: SubscriptionKey, newest: Position, live: bool) {
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        if entry.can_be_restored() {
            self.began(key, newest, live);
        } else {
            self.begin_anew(key);
        }
    }

    /// The server has it at the wrong position: unsubscribe and subscribe again.
    pub(super) fn begin_anew(&mut self, key: SubscriptionKey) {
        if let Some(entry) = self.subscriptions.get(key) {
            entry.state = SubscriptionState::Wanted;
            let name = entry.name.clone();
            self.leave(name);
        }
    }

    /// The server restored a subscription that is not wanted any more.
    pub(super) fn unwanted(&mut self, about: &About<'_>) {
        let name = match about.number {
            Some(number) => Ok(Name::Id(SubscriptionId(number))),
            None => ChannelName::new(&about.name).map(Name::from),
        };
        match name {
            Ok(name) if self.subscriptions.leaving() < MOST_LEAVING => self.leave(name),
            Ok(_) => self.protocol_error("it restored more subscriptions than a session can have"),
            Err(refusal) => self.protocol_error(&refusal.to_string()),
        }
    }

    pub(super) fn leave(&mut self, name: Name) {
        self.made.left(&name);
        if self.connection.is_online() && self.subscriptions.leave(name.clone()) {
            self.todo.push_back(Todo::Unsubscribe(name));
        }
    }

    /// A subscription was left. Subscribe again if it is wanted meanwhile.
    pub(super) fn left(&mut self, name: &Name) {
        self.subscriptions.left(name);
        if let Some(key) = self.subscriptions.named(name) {
            self.todo.push_back(Todo::Subscribe(key));
        }
    }

    /// The server refused to unsubscribe.
    pub(super) fn stays(&mut self, name: Name, refused: &Refused) {
        if refused.retry() == Retry::Never {
            // It is not subscribed to.
            self.left(&name);
            return;
        }
        self.subscriptions.left(&name);
        self.subscriptions.leave(name.clone());
        let pause = self.pause(refused, 1);
        self.after(pause, Todo::Unsubscribe(name));
    }

    /// The server refused or ended a subscription.
    pub(super) fn rejected(&mut self, key: SubscriptionKey, refused: Refused) {
        self.unblock(key);
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        match refused.retry() {
            Retry::Never if Self::may_renew(entry, &refused) => {
                entry.state = SubscriptionState::Wanted;
                let pause = self.pause(&refused, 1);
                self.after(pause, Todo::Subscribe(key));
            }
            Retry::Never => {
                self.subscriptions.end(key, Some(refused.into()));
                self.signals.push_back(Signal::Reader(key));
            }
            Retry::Later => {
                entry.state = SubscriptionState::Wanted;
                entry.refusals = entry.refusals.saturating_add(1);
                let refusals = entry.refusals;
                let pause = self.pause(&refused, refusals);
                self.after(pause, Todo::Subscribe(key));
            }
            Retry::Reconnect => {
                entry.state = SubscriptionState::Wanted;
                self.server_is_leaving();
            }
        }
    }

    /// The server has the subscription already, so it has announced it or will.
    pub(super) fn is_active_already(&mut self, key: SubscriptionKey) {
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        if entry.can_be_restored() {
            entry.state = SubscriptionState::Restoring;
            self.after(RESTORED_WITHIN, Todo::Missing(key));
        } else {
            self.begin_anew(key);
        }
    }

    pub(super) fn caught_up(&mut self, key: SubscriptionKey, newest: Position) {
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        if let Err(protocol_error) = entry.reach(newest) {
            self.protocol_error(&protocol_error);
            return;
        }
        entry.set_live(Some(newest));
        self.delivered(key);
    }

    /// Queues an event that has no position.
    pub(super) fn deliver(&mut self, about: &About<'_>, event: Event) {
        if let Some((key, entry)) = self.subscriptions.active(about) {
            entry.inbox.push(event);
            self.delivered(key);
        }
    }

    pub(super) fn delivered(&mut self, key: SubscriptionKey) {
        self.signals.push_back(Signal::Reader(key));
        let since = self.now;
        let full = |entry: &mut Subscription| entry.inbox.is_full();
        if self.blocked.is_none() && self.subscriptions.get(key).is_some_and(full) {
            self.blocked = Some(Blocked { key, since });
        }
    }

    /// Pauses the subscription whose full inbox blocks the connection: its reader hangs, or waits for
    /// something behind the next event.
    pub(super) fn pause_blocked(&mut self) {
        let Some(blocked) = self.blocked.take() else {
            return;
        };
        if let Some(entry) = self.subscriptions.get(blocked.key) {
            entry.state = SubscriptionState::Paused;
            let name = entry.name.clone();
            self.leave(name);
        }
    }
}

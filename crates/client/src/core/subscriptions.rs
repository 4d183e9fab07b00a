//! Subscriptions and their states: wanted, requested, active, set aside, ended.

use std::collections::{BTreeMap, HashMap};

use offhook_dialects::native::client::{ChannelName, Position};

use super::{Subscribe, SubscriptionKey, inbox::Inbox};
use crate::error::Error;
use crate::event::Event;
use crate::since::Since;

/// Bytes that positions take in a `connect`. 128 KiB: half of the longest message that servers take
/// by default, since the tokens take some, too.
const POSITIONS_BYTES: usize = 128 * 1024;
/// The quotes, the colon and the two numbers of a position.
const AROUND_POSITION: usize = 48;

/// ```text
///              ┌──────── the connection is lost, or refused for now ────────┐
///              ▼                                                            │
///  begin ─▶ Wanted ─▶ Asked ───────────────▶ Active ────────────────────────┤
///              ▲  └──────▶ Restoring ──────────▲ │ its reader is too slow   │
///              │      (by the sealed session)    ▼                          │
///              └─ its reader has made room ── Paused    refused for good    ▼
///                                                                └──────▶ Ended
/// ```
#[derive(Debug)]
pub(super) enum SubscriptionState {
    Wanted,
    Asked,
    Restoring,
    Active,
    /// Unsubscribed on this connection because its reader took nothing.
    Paused,
    /// With the error for the reader; `None` once it was returned, or if the user closed the client.
    Ended(Option<Error>),
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: ChannelName,
    /// Where it starts while there is no position.
    since: Since,
    pub(super) presence: bool,
    /// The session's own publications are wanted.
    pub(super) echo: bool,
    /// Everything up to here is in the inbox, or was known when the subscription was made.
    pub(super) position: Option<Position>,
    pub(super) state: SubscriptionState,
    pub(super) live: bool,
    /// Whether the server has accepted it at least once.
    pub(super) began: bool,
    /// Whether the newest resume token restores it.
    pub(super) sealed: bool,
    pub(super) refusals: u32,
    pub(super) inbox: Inbox,
}

impl Subscription {
    pub(super) fn new(wish: Subscribe, mark: usize) -> Self {
        let Subscribe {
            channel,
            since,
            presence,
            echo,
        } = wish;
        let position = match since {
            Since::After(position) => Some(position),
            Since::Now | Since::Start | Since::Last(_) | Since::State => None,
        };
        Self {
            channel,
            since,
            presence,
            echo,
            position,
            state: SubscriptionState::Wanted,
            live: false,
            began: false,
            sealed: false,
            refusals: 0,
            inbox: Inbox::new(mark),
        }
    }

    /// Where a new request starts.
    pub(super) fn since(&self) -> Since {
        self.position.map_or(self.since, Since::After)
    }

    /// Whether a server that restores it continues from the right position.
    pub(super) fn can_be_restored(&self) -> bool {
        self.sealed || self.position.is_some()
    }

    /// Handles the next publication's position, and that of the one before it if the server named
    /// it. `Ok(false)` for a publication that was received before.
    pub(super) fn advance(
        &mut self,
        next: Position,
        previous: Option<Position>,
    ) -> Result<bool, String> {
        let Some(before) = self.position else {
            self.position = Some(next);
            return Ok(true);
        };
        if before.epoch == next.epoch && next.offset <= before.offset {
            return Ok(false);
        }
        // What the server omits: one offset less in the same epoch.
        let implied = next.offset.checked_sub(1).map(|offset| Position {
            epoch: next.epoch,
            offset,
        });
        if previous.or(implied) == Some(before) {
            self.position = Some(next);
            return Ok(true);
        }
        let channel = &self.channel;
        Err(format!("{channel}: {next} followed {before} without a gap"))
    }

    /// The server says that this is the newest position and that nothing before it is missing.
    pub(super) fn reach(&mut self, newest: Position) -> Result<(), String> {
        match *self.position.get_or_insert(newest) {
            here if here == newest => Ok(()),
            here => Err(format!(
                "{}: live at {newest}, but nothing followed {here}",
                self.channel
            )),
        }
    }

    /// Sets whether it is live, and tells the reader when that changes.
    pub(super) fn set_live(&mut self, live: Option<Position>) {
        let was_live = std::mem::replace(&mut self.live, live.is_some());
        match live {
            Some(position) if !was_live => self.inbox.push(Event::Live { position }),
            None if was_live => self.inbox.push(Event::CatchingUp),
            Some(_) | None => {}
        }
    }
}

/// All subscriptions. At most one of each channel has not ended.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    entries: BTreeMap<SubscriptionKey, Subscription>,
    names: HashMap<ChannelName, SubscriptionKey>,
    /// Channels being unsubscribed from on this connection. Messages of theirs are ignored meanwhile.
    leaving: HashMap<ChannelName, Leaving>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Wanted,
    Asked,
}

impl Subscriptions {
    pub(super) fn add(&mut self, key: SubscriptionKey, new: Subscription) -> Result<(), Error> {
        if self.names.contains_key(&new.channel) {
            return Err(Error::AlreadySubscribed(new.channel.as_str().into()));
        }
        self.names.insert(new.channel.clone(), key);
        self.entries.insert(key, new);
        Ok(())
    }

    pub(super) fn get(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.entries.get_mut(&key)
    }

    pub(super) fn named(&self, channel: &str) -> Option<SubscriptionKey> {
        self.names.get(channel).copied()
    }

    /// The active subscription of a channel.
    pub(super) fn active(&mut self, channel: &str) -> Option<(SubscriptionKey, &mut Subscription)> {
        let key = self.named(channel)?;
        let entry = self.entries.get_mut(&key)?;
        matches!(entry.state, SubscriptionState::Active).then_some((key, entry))
    }

    pub(super) fn is_asked(&self, key: SubscriptionKey) -> bool {
        let entry = self.entries.get(&key);
        entry.is_some_and(|entry| matches!(entry.state, SubscriptionState::Asked))
    }

    pub(super) fn keys(&self) -> Vec<SubscriptionKey> {
        self.entries.keys().copied().collect()
    }

    pub(super) fn remove(&mut self, key: SubscriptionKey) -> Option<Subscription> {
        let removed = self.entries.remove(&key)?;
        if self.names.get(&removed.channel) == Some(&key) {
            self.names.remove(&removed.channel);
        }
        Some(removed)
    }

    pub(super) fn end(&mut self, key: SubscriptionKey, why: Option<Error>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.state = SubscriptionState::Ended(why);
        if self.names.get(&entry.channel) == Some(&key) {
            self.names.remove(&entry.channel);
        }
    }

    pub(super) fn end_all(&mut self, why: &Error) -> Vec<SubscriptionKey> {
        self.names.clear();
        let told = !matches!(why, Error::Closed);
        for entry in self.entries.values_mut() {
            if !matches!(entry.state, SubscriptionState::Ended(_)) {
                entry.state = SubscriptionState::Ended(told.then(|| why.clone()));
            }
        }
        self.keys()
    }

    /// Positions that are newer than those in the resume token.
    pub(super) fn positions(&self) -> Vec<(ChannelName, Position)> {
        let open = self.names.values().filter_map(|key| self.entries.get(key));
        let known = open.filter_map(|entry| Some((entry.channel.clone(), entry.position?)));
        // The others continue from the position in the token; repetitions are dropped.
        let mut bytes = 0;
        let fits = known.take_while(|(channel, _)| {
            bytes += 2 * channel.as_str().len() + AROUND_POSITION;
            bytes <= POSITIONS_BYTES
        });
        fits.collect()
    }

    /// A new resume token arrived, which restores the present subscriptions.
    pub(super) fn seal(&mut self) {
        for entry in self.entries.values_mut() {
            entry.sealed = match entry.state {
                SubscriptionState::Active | SubscriptionState::Restoring => true,
                // A server that is processing the request knows the position in it.
                SubscriptionState::Asked => entry.position.is_some(),
                SubscriptionState::Wanted
                | SubscriptionState::Paused
                | SubscriptionState::Ended(_) => false,
            };
        }
    }

    pub(super) fn connection_lost(&mut self) {
        self.leaving.clear();
        for entry in self.entries.values_mut() {
            match entry.state {
                SubscriptionState::Asked
                | SubscriptionState::Restoring
                | SubscriptionState::Active => {
                    // A reader whose inbox is full gets nothing more for now.
                    entry.state = if entry.inbox.is_full() {
                        SubscriptionState::Paused
                    } else {
                        SubscriptionState::Wanted
                    };
                }
                SubscriptionState::Wanted
                | SubscriptionState::Paused
                | SubscriptionState::Ended(_) => {}
            }
        }
    }

    /// Marks a channel for unsubscribing. False if it is marked already.
    pub(super) fn leave(&mut self, channel: ChannelName) -> bool {
        let mut new = false;
        self.leaving.entry(channel).or_insert_with(|| {
            new = true;
            Leaving::Wanted
        });
        new
    }

    /// How many channels are being unsubscribed from.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    pub(super) fn is_leaving(&self, channel: &ChannelName) -> bool {
        self.leaving.contains_key(channel)
    }

    /// The `unsubscribe` is about to be sent. False if it was sent before.
    pub(super) fn ask_to_leave(&mut self, channel: &ChannelName) -> bool {
        let asked = self.leaving.get_mut(channel);
        asked.is_some_and(|state| std::mem::replace(state, Leaving::Asked) == Leaving::Wanted)
    }

    pub(super) fn left(&mut self, channel: &ChannelName) {
        self.leaving.remove(channel);
    }
}

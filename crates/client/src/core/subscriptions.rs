//! Subscriptions and their states: wanted, requested, active, set aside, ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offhook_dialects::native::client::{
    self as wire, About, ChannelName, Command, Position, SubscriptionId, SubscriptionKey as Name,
    Target,
};

use super::{Subscribe, SubscriptionKey, inbox::Inbox, tokens::Tokens};
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
    pub(super) target: Target,
    /// What the server calls it: its channel, or a number.
    pub(super) name: Name,
    /// The channel's name, shared by its publications.
    text: Option<Arc<str>>,
    /// Where it starts while there is no position.
    since: Since,
    pub(super) presence: bool,
    /// The session's own publications are wanted.
    pub(super) echo: bool,
    /// Everything up to here is in the inbox, or was known when the subscription was made. For a
    /// filter, a place among the publications of all channels.
    pub(super) position: Option<Position>,
    pub(super) state: SubscriptionState,
    pub(super) live: bool,
    /// Whether the server has accepted it at least once.
    pub(super) began: bool,
    /// Whether the newest resume token restores it.
    pub(super) sealed: bool,
    pub(super) refusals: u32,
    /// Its subscription tokens, if it needs them.
    pub(super) tokens: Option<Tokens>,
    pub(super) inbox: Inbox,
}

impl Subscription {
    pub(super) fn new(wish: Subscribe, name: Name, mark: usize) -> Self {
        let Subscribe {
            target,
            since,
            presence,
            echo,
            tokens,
        } = wish;
        let position = match since {
            Since::After(position) => Some(position),
            Since::Now | Since::Start | Since::Last(_) | Since::State => None,
        };
        let text = match &target {
            Target::Channel(channel) => Some(channel.as_str().into()),
            Target::Filter(_) => None,
        };
        Self {
            target,
            name,
            text,
            since,
            presence,
            echo,
            position,
            state: SubscriptionState::Wanted,
            live: false,
            began: false,
            sealed: false,
            refusals: 0,
            tokens: tokens.map(Tokens::new),
            inbox: Inbox::new(mark),
        }
    }

    /// The request for it alone. It is asked for from now on.
    pub(super) fn request(&mut self) -> Command {
        self.state = SubscriptionState::Asked;
        Command::Subscribe(wire::Subscribe {
            id: match self.name {
                Name::Id(id) => Some(id),
                Name::Target(_) => None,
            },
            presence: self.presence,
            echo: self.echo,
            ..wire::Subscribe::new(self.target.clone(), self.since().into())
        })
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, SubscriptionState::Active)
    }

    /// Where a new request starts.
    pub(super) fn since(&self) -> Since {
        self.position.map_or(self.since, Since::After)
    }

    /// Whether a server that restores it continues from the right position.
    pub(super) fn can_be_restored(&self) -> bool {
        self.sealed || self.position.is_some()
    }

    pub(super) fn is_filter(&self) -> bool {
        matches!(self.target, Target::Filter(_))
    }

    /// The channel of a message, shared with the subscription's own if it is the same.
    pub(super) fn channel_of(&self, about: &About<'_>) -> Arc<str> {
        match &self.text {
            Some(text) if **text == *about.name => Arc::clone(text),
            _ => (&*about.name).into(),
        }
    }

    /// Moves to where a filter is after a publication. Only the server knows what lies between two
    /// places of a filter. `Ok(false)` for a publication that was received before.
    pub(super) fn advance_filter(&mut self, at: Option<Position>) -> Result<bool, String> {
        let Some(at) = at else {
            return Err(format!(
                "{}: a message does not say where it is",
                self.target
            ));
        };
        Ok(self.position.replace(at) != Some(at))
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
        let channel = self.target.as_str();
        Err(format!("{channel}: {next} followed {before} without a gap"))
    }

    /// The server says that this is the newest position and that nothing before it is missing.
    pub(super) fn reach(&mut self, newest: Position) -> Result<(), String> {
        let is_filter = self.is_filter();
        match *self.position.get_or_insert(newest) {
            here if here == newest || is_filter => Ok(()),
            here => Err(format!(
                "{}: live at {newest}, but nothing followed {here}",
                self.target.as_str()
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

/// All subscriptions. At most one of each channel has not ended; those to filters have numbers.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    entries: BTreeMap<SubscriptionKey, Subscription>,
    channels: HashMap<ChannelName, SubscriptionKey>,
    numbers: HashMap<u32, SubscriptionKey>,
    /// The number given last.
    last_number: u32,
    /// Subscriptions being left on this connection. Messages of theirs are ignored meanwhile.
    leaving: HashMap<Name, Leaving>,
}

/// The largest number of a subscription. 2^32 - 2: the protocol's.
const LARGEST_NUMBER: u32 = u32::MAX - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Wanted,
    Asked,
}

impl Subscriptions {
    /// What the server will call a new subscription.
    pub(super) fn name(&mut self, target: &Target) -> Result<Name, Error> {
        if let Target::Channel(channel) = target {
            if self.channels.contains_key(channel) {
                return Err(Error::AlreadySubscribed(channel.as_str().into()));
            }
            return Ok(channel.clone().into());
        }
        loop {
            let next = self.last_number + 1;
            self.last_number = if next > LARGEST_NUMBER { 0 } else { next };
            if !self.numbers.contains_key(&self.last_number) {
                return Ok(Name::Id(SubscriptionId(self.last_number)));
            }
        }
    }

    /// Adds one whose [name](Self::name) is not taken.
    pub(super) fn add(&mut self, key: SubscriptionKey, new: Subscription) {
        match (&new.name, &new.target) {
            (Name::Id(id), _) => self.numbers.insert(id.0, key),
            (Name::Target(_), Target::Channel(channel)) => {
                self.channels.insert(channel.clone(), key)
            }
            // Filters have numbers.
            (Name::Target(_), Target::Filter(_)) => None,
        };
        self.entries.insert(key, new);
    }

    pub(super) fn get(&mut self, key: SubscriptionKey) -> Option<&mut Subscription> {
        self.entries.get_mut(&key)
    }

    /// The subscription that has this name and has not ended.
    pub(super) fn named(&self, name: &Name) -> Option<SubscriptionKey> {
        match name {
            Name::Id(id) => self.numbers.get(&id.0).copied(),
            Name::Target(target) => self.channels.get(target.as_str()).copied(),
        }
    }

    /// The subscription that a message is about.
    pub(super) fn meant(&self, about: &About<'_>) -> Option<SubscriptionKey> {
        match about.number {
            Some(number) => self.numbers.get(&number).copied(),
            None => self.channels.get(&*about.name).copied(),
        }
    }

    /// The subscription that a message is about, if it is active.
    pub(super) fn active(
        &mut self,
        about: &About<'_>,
    ) -> Option<(SubscriptionKey, &mut Subscription)> {
        let key = self.meant(about)?;
        let entry = self.entries.get_mut(&key)?;
        matches!(entry.state, SubscriptionState::Active).then_some((key, entry))
    }

    /// Whether it has to be requested now.
    pub(super) fn is_wanted(&self, key: SubscriptionKey) -> bool {
        self.entries.get(&key).is_some_and(|entry| {
            matches!(entry.state, SubscriptionState::Wanted)
                && !self.leaving.contains_key(&entry.name)
        })
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
        self.free(&removed.name, key);
        Some(removed)
    }

    pub(super) fn end(&mut self, key: SubscriptionKey, why: Option<Error>) {
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.state = SubscriptionState::Ended(why);
        let name = entry.name.clone();
        self.free(&name, key);
    }

    /// Frees the name of a subscription, unless another one has it by now.
    fn free(&mut self, name: &Name, key: SubscriptionKey) {
        if self.named(name) != Some(key) {
            return;
        }
        match name {
            Name::Id(id) => self.numbers.remove(&id.0),
            Name::Target(target) => self.channels.remove(target.as_str()),
        };
    }

    pub(super) fn end_all(&mut self, why: &Error) -> Vec<SubscriptionKey> {
        self.channels.clear();
        self.numbers.clear();
        let told = !matches!(why, Error::Closed);
        for entry in self.entries.values_mut() {
            if !matches!(entry.state, SubscriptionState::Ended(_)) {
                entry.state = SubscriptionState::Ended(told.then(|| why.clone()));
            }
        }
        self.keys()
    }

    /// Positions that are newer than those in the resume token.
    pub(super) fn positions(&self) -> Vec<(Name, Position)> {
        let open = self.channels.values().chain(self.numbers.values());
        let open = open.filter_map(|key| self.entries.get(key));
        let known = open.filter_map(|entry| Some((entry.name.clone(), entry.position?)));
        // The others continue from the position in the token; repetitions are dropped.
        let mut bytes = 0;
        let fits = known.take_while(|(name, _)| {
            bytes += bytes_of(name);
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
            if let Some(tokens) = &mut entry.tokens {
                tokens.connection_lost();
            }
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

    /// Marks a subscription for unsubscribing. False if it is marked already.
    pub(super) fn leave(&mut self, name: Name) -> bool {
        let mut new = false;
        self.leaving.entry(name).or_insert_with(|| {
            new = true;
            Leaving::Wanted
        });
        new
    }

    /// How many subscriptions are being left.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    pub(super) fn is_leaving(&self, name: &Name) -> bool {
        self.leaving.contains_key(name)
    }

    /// The `unsubscribe` is about to be sent. False if it was sent before.
    pub(super) fn ask_to_leave(&mut self, name: &Name) -> bool {
        let asked = self.leaving.get_mut(name);
        asked.is_some_and(|state| std::mem::replace(state, Leaving::Asked) == Leaving::Wanted)
    }

    pub(super) fn left(&mut self, name: &Name) {
        self.leaving.remove(name);
    }
}

/// An upper limit for the bytes of a name and its position in JSON.
pub(super) fn bytes_of(name: &Name) -> usize {
    let name = match name {
        Name::Id(_) => 10,
        Name::Target(target) => target.as_str().len(),
    };
    // A character may need an escape.
    2 * name + AROUND_POSITION
}

//! Publications of followed channels: broadcast to live subscribers, and buffered for those that
//! are behind.

use std::sync::Arc;

use crate::{
    broker::StreamState,
    channel_name::ChannelName,
    position::Position,
    publication::Publication,
    rules::{Access, SlowPolicy},
    session::SessionId,
    slab::Slot,
};

use super::{
    Engine, Item, Step,
    state::{Behind, Kind, State, Subscription, Waits, live_place},
};

/// A broadcast in progress: its recipients are taken in parts.
#[derive(Debug)]
pub(super) struct Underway {
    feed: Slot,
    publication: Arc<Publication>,
    /// The publisher's connection, if its session is on this worker.
    publisher: Option<crate::ConnectionId>,
    /// Not every recipient may read the channel: each one is checked.
    restricted: bool,
    /// The feed's tail before this publication.
    before: Position,
    /// The current audience; all earlier ones are done.
    audience: usize,
    /// How many of its recipients are done.
    told: usize,
}

impl Engine {
    /// A publication arrived: it is delivered to its channel's subscribers, then to those of each
    /// filter that matches its channel.
    pub(super) fn publication(&mut self, publication: Arc<Publication>) {
        if !self.filters.is_empty() {
            let items = &mut self.items;
            self.filters.find(&publication.channel, &mut |filter| {
                items.push_front(Item::Through {
                    filter: *filter,
                    publication: Arc::clone(&publication),
                });
            });
        }
        if let Some(channel) = self.names.get(&publication.channel) {
            self.fan_out(*channel, publication);
        }
    }

    /// Delivers a publication to the subscribers of a feed.
    pub(super) fn fan_out(&mut self, feed: Slot, publication: Arc<Publication>) {
        // A feed that is not open yet will know this publication from `Followed`.
        let Some((f, tail)) = self.feeds.get_mut(feed).and_then(|f| Some((&*f, f.tail?))) else {
            return;
        };
        let place = f.place_of(&publication);
        if place.epoch == tail.epoch && place.offset <= tail.offset {
            return;
        }
        // The order of a filter has holes where other channels publish: only a `Lagged` reports
        // that the broker left something out.
        let is_filter = f.is_filter();
        let follows = match is_filter {
            true => !f.lagged,
            false => publication.previous == tail,
        };
        if !follows {
            self.stream_jumped(feed, tail);
        }
        let bounds = (self.limits.recent_count, self.limits.recent_bytes);
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        f.tail = Some(place);
        if f.is_any_behind() {
            let conflate = !f.rules.history.is_kept() && f.rules.slow == SlowPolicy::LatestByKey;
            let previous = match is_filter {
                true if follows => tail,
                // What precedes it is unknown.
                true => Position {
                    offset: place.offset.saturating_sub(1),
                    ..place
                },
                false => publication.previous,
            };
            let recent = &mut f.catching_up().recent;
            if conflate {
                recent.conflate(&publication);
            }
            recent.push(&publication, place, previous, bounds);
        }
        let somebody = !f.live.is_empty();
        if f.catching_up.is_some() {
            self.wake_ahead(feed);
        }
        if somebody {
            let publisher = publication.publisher.as_ref();
            self.underway = Some(Underway {
                feed,
                publisher: publisher.and_then(|by| self.to_be_told_apart(by.session)),
                restricted: self.is_applying() || is_filter && self.is_restricted(&publication),
                before: tail,
                audience: 0,
                told: 0,
                publication,
            });
        }
    }

    /// The publisher's connection, if some subscriptions exclude their own publications.
    fn to_be_told_apart(&self, session: SessionId) -> Option<crate::ConnectionId> {
        if self.without_echo == 0 {
            return None;
        }
        self.sessions.get(&session).copied()
    }

    /// Whether some who subscribe by a filter may not read this channel.
    fn is_restricted(&self, publication: &Publication) -> bool {
        self.rules_of(&publication.channel)
            .map_or(true, |rules| rules.subscribe != Access::Everyone)
    }

    /// Whether a subscriber may read a channel that its filter matches.
    pub(super) fn may_see(&self, s: &Subscription, channel: &ChannelName) -> bool {
        let Ok(rules) = self.rules_of(channel) else {
            return false;
        };
        self.may_see_by(rules.subscribe, s, channel)
    }

    /// The rules were replaced: the remaining recipients of the broadcast in progress are checked.
    pub(super) fn check_each_recipient(&mut self) {
        if let Some(underway) = &mut self.underway {
            underway.restricted = true;
        }
    }

    /// The next part of the broadcast in progress, with at most this many recipients. The last part
    /// takes the publication.
    pub(super) fn next_recipients(&mut self, limit: usize) -> Option<Step> {
        loop {
            let underway = self.underway.as_mut()?;
            let (feed, at, told) = (underway.feed, underway.audience, underway.told);
            let live = self.feeds.get(feed).map(|f| &f.live);
            let Some((live, audience)) = live.and_then(|live| Some((live, live.get(at)?))) else {
                self.underway = None;
                return None;
            };
            let len = audience.len();
            if told >= len {
                (underway.audience, underway.told) = (at + 1, 0);
                continue;
            }
            let own = underway.publisher.filter(|_| !audience.kind.echo);
            let is_last_audience = live.is_last(at);
            let mut until = len.min(told.saturating_add(limit.max(1)));
            if underway.restricted || own.is_some() {
                until = self.until_an_exception(until, own);
                if until == told {
                    if let Some(step) = self.pass_over(own) {
                        return Some(step);
                    }
                    continue;
                }
            }
            let publication = if until == len && is_last_audience {
                self.underway.take()?.publication
            } else {
                let underway = self.underway.as_mut()?;
                underway.told = until;
                Arc::clone(&underway.publication)
            };
            return Some(Step::Broadcast {
                feed,
                audience: at,
                recipients: told..until,
                publication,
            });
        }
    }

    /// How many of the next recipients of the broadcast in progress can receive the same message.
    fn until_an_exception(&self, until: usize, own: Option<crate::ConnectionId>) -> usize {
        let Some(underway) = &self.underway else {
            return 0;
        };
        let (channel, told) = (&underway.publication.channel, underway.told);
        let live = self.feeds.get(underway.feed).map(|f| &f.live);
        let Some(audience) = live.and_then(|live| live.get(underway.audience)) else {
            return told;
        };
        let is_exception = |at: &usize| {
            if own.is_some_and(|own| audience.connections()[*at] == own) {
                return true;
            }
            let s = self.subscriptions.at(audience.places()[*at]);
            underway.restricted && !s.is_some_and(|(slot, s)| self.may_get(slot, s, channel))
        };
        (told..until).find(is_exception).unwrap_or(until)
    }

    /// Skips the next recipient, which published this itself or may not see it.
    fn pass_over(&mut self, own: Option<crate::ConnectionId>) -> Option<Step> {
        let underway = self.underway.as_mut()?;
        let (feed, at, told) = (underway.feed, underway.audience, underway.told);
        underway.told += 1;
        let publication = Arc::clone(&underway.publication);
        let audience = self.feeds.get(feed)?.live.get(at)?;
        let (slot, s) = self.subscriptions.at(*audience.places().get(told)?)?;
        (own == Some(s.connection))
            .then(|| self.own(slot, &publication))
            .flatten()
    }

    /// Tells a subscriber that excludes its own publications that there was one.
    pub(super) fn own(&self, slot: Slot, publication: &Publication) -> Option<Step> {
        let s = self.subscriptions.get(slot)?;
        let feed = self.feeds.known(s.feed)?;
        let notice = crate::Notice::Own {
            subscription: self.name_of(slot)?,
            channel: publication.channel.clone(),
            position: publication.position,
            previous: publication.previous,
            at: feed.is_filter().then(|| feed.place_of(publication)),
        };
        let connection = s.connection;
        Some(Step::Notice { connection, notice })
    }

    /// Handles the head that the broker reports after a lag: live subscribers may have missed
    /// publications.
    pub(super) fn head_told(&mut self, feed: Slot, stream: StreamState) {
        let Some(tail) = self.feeds.get(feed).and_then(|f| f.tail) else {
            return;
        };
        let told = stream.head;
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        // A filter's order also advances when other channels publish. Unless something was dropped,
        // every match has been delivered before this.
        let lagged = std::mem::take(&mut f.lagged);
        let goes_on = f.is_filter() && told.epoch == tail.epoch;
        if told != tail && !(goes_on && told.offset < tail.offset) {
            if lagged || !goes_on {
                self.stream_jumped(feed, tail);
            }
            if let Some(f) = self.feeds.get_mut(feed) {
                f.tail = Some(told);
            }
        }
        self.wake_ahead(feed);
    }

    /// Subscriptions that wait for this worker to receive more check again.
    fn wake_ahead(&mut self, feed: Slot) {
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        for slot in f.take_ahead() {
            let behind = self
                .subscriptions
                .get_mut(slot)
                .and_then(Subscription::behind);
            // Others are still listed, but wait for something else by now.
            let Some(behind) = behind.filter(|behind| behind.waits == Waits::Stream) else {
                continue;
            };
            (behind.waits, behind.at_head) = (Waits::Nothing, false);
            self.queue_advance(slot);
        }
    }

    /// The stream continues elsewhere: every live subscriber reads what is in between.
    fn stream_jumped(&mut self, feed: Slot, was: Position) {
        let Some(f) = self.feeds.get_mut(feed) else {
            return;
        };
        f.lagged = false;
        if let Some(catching_up) = &mut f.catching_up {
            catching_up.recent.clear();
        }
        f.jumps = f.jumps.wrapping_add(1);
        for audience in f.live.take() {
            for place in audience.places() {
                let Some((slot, _)) = self.subscriptions.at(*place) else {
                    debug_assert!(false, "an audience has a subscription that does not exist");
                    continue;
                };
                self.fall_behind(slot, Behind::jumped(was));
                self.queue_advance(slot);
            }
        }
    }

    fn kind_of(&self, s: &Subscription) -> Option<Kind> {
        let connection = self.connections.get(s.connection.into())?;
        Some(Kind {
            class: connection.class,
            numbered: s.id().is_some(),
            echo: s.echo,
        })
    }

    pub(super) fn go_live(&mut self, slot: Slot) {
        let Some(s) = self.subscriptions.get(slot) else {
            return;
        };
        let (Some(kind), feed) = (self.kind_of(s), s.feed) else {
            return;
        };
        let Some(f) = self.feeds.known_mut(feed) else {
            return;
        };
        if matches!(s.state, State::Behind(_)) {
            f.not_behind(slot);
        }
        let place = f.live.add(kind, slot, s);
        f.settle();
        if let Some(s) = self.subscriptions.get_mut(slot) {
            s.state = State::Live { place };
        }
    }

    /// Removes a subscription from its audience, and returns the position up to which it was handed
    /// out; none if it was not live. Its state is stale afterwards.
    pub(super) fn leave_live(&mut self, slot: Slot) -> Option<Position> {
        let s = self.subscriptions.get(slot)?;
        let State::Live { place } = s.state else {
            return None;
        };
        let (kind, feed) = (self.kind_of(s)?, s.feed);
        let handed_out = self.handed_out(slot);
        let f = self.feeds.get_mut(feed)?;
        let audience = f.live.find(kind)?;
        let underway = self.underway.as_mut();
        let told = underway.filter(|u| u.feed == feed && u.audience == audience);
        let all = &mut self.subscriptions;
        f.live.remove(
            audience,
            place,
            told.map(|u| &mut u.told),
            |index, place| {
                live_place(all, index, place);
            },
        );
        handed_out
    }

    /// Moves a subscription from live or opening to behind.
    pub(super) fn fall_behind(&mut self, slot: Slot, mut behind: Behind) {
        let Some(s) = self.subscriptions.get_mut(slot) else {
            return;
        };
        let was_behind = matches!(s.state, State::Behind(_));
        debug_assert!(!was_behind, "it is behind already");
        if let Some(f) = self.feeds.known_mut(s.feed) {
            f.fell_behind(slot);
            behind.jumps = f.jumps;
        }
        s.state = State::Behind(Box::new(behind));
    }

    /// Queues a step of a subscription that is behind.
    pub(super) fn queue_advance(&mut self, slot: Slot) {
        let behind = self
            .subscriptions
            .get_mut(slot)
            .and_then(Subscription::behind);
        if let Some(behind) = behind
            && !matches!(behind.waits, Waits::Turn | Waits::Read)
        {
            behind.waits = Waits::Turn;
            self.items.push_back(Item::Advance { subscription: slot });
        }
    }

    /// The position up to which a subscription was handed out.
    pub(super) fn handed_out(&self, slot: Slot) -> Option<Position> {
        let s = self.subscriptions.get(slot)?;
        let place = match &s.state {
            State::Opening(_) | State::Ended => return None,
            State::Behind(behind) => return Some(behind.cursor),
            State::Live { place } => *place as usize,
        };
        let f = self.feeds.known(s.feed)?;
        let Some(underway) = self.underway.as_ref().filter(|u| u.feed == s.feed) else {
            return f.tail;
        };
        let audience = f.live.find(self.kind_of(s)?)?;
        let told = match audience.cmp(&underway.audience) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => place < underway.told,
            std::cmp::Ordering::Greater => false,
        };
        if told { f.tail } else { Some(underway.before) }
    }
}

//! A subscription as its client sees it.

use std::collections::{BTreeMap, BTreeSet};

use offhook_engine::*;

use super::client::Handed;

/// One subscription as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// `None` until `Subscribed` has named the first position.
    pub(crate) position: Option<Position>,
    pub(crate) wish: Subscribe,
    pub(crate) confirmed: bool,
    pub(crate) live: bool,
    /// Whether the members of its channel were told on this connection.
    pub(crate) told_members: bool,
    /// The command that made it; `None` for a resumed one.
    pub(crate) by: Option<u64>,
    /// For a filter: what was delivered, and what was reported missing, by channel.
    pub(crate) came: BTreeMap<ChannelName, Came>,
    /// For a filter: the position after which it started.
    pub(crate) began: Option<Position>,
    /// For a filter: ranges of the broker's order in which what is not on disk was lost.
    pub(crate) restarts: Vec<(u64, u64)>,
    /// For an acknowledged flow: unacknowledged publications, each with what was delivered before
    /// it.
    pub(crate) undone: BTreeMap<u64, (Position, Position)>,
    /// Acknowledged positions: epoch and offset.
    pub(crate) done: BTreeSet<(u64, u64)>,
    /// Publications delivered on this connection and not acknowledged.
    pub(crate) on_this_connection: BTreeSet<u64>,
    /// The newest offset delivered on this connection.
    pub(crate) last: u64,
    /// For a shared subscription: what was delivered and is not acknowledged, in order.
    pub(crate) in_hand: Vec<Position>,
    /// Values of the channel's state that were delivered, without the gap that ends them.
    pub(crate) values: Vec<Position>,
}

/// What a filter delivered of one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Came {
    pub(crate) publications: BTreeSet<(u64, u64)>,
    /// Ranges of offsets that were named as missing.
    pub(crate) missing: Vec<(u64, u64)>,
}

impl Seen {
    pub(crate) fn new(wish: Subscribe, position: Option<Position>, by: Option<u64>) -> Self {
        Self {
            position,
            began: position,
            wish,
            confirmed: false,
            live: false,
            told_members: false,
            by,
            came: BTreeMap::new(),
            restarts: Vec::new(),
            undone: BTreeMap::new(),
            done: BTreeSet::new(),
            on_this_connection: BTreeSet::new(),
            last: 0,
            in_hand: Vec::new(),
            values: Vec::new(),
        }
    }

    pub(crate) fn read_by_filter(&mut self, publication: &Publication, place: Position) {
        assert_eq!(place.offset, publication.sequence);
        let before = self.position.map_or(0, |position| position.offset);
        assert!(place.offset > before, "twice or out of order");
        let here = publication.position;
        let came = self.came.entry(publication.channel.clone()).or_default();
        assert!(came.publications.insert((here.epoch.0, here.offset)));
        self.position = Some(place);
    }

    /// The places are those of the order of all channels. What was not acknowledged on an earlier
    /// connection may come again.
    pub(crate) fn read_by_filter_in_window(
        &mut self,
        publication: &Publication,
        handed: Handed,
        window: u16,
    ) {
        let place = handed.place;
        assert_eq!(place.offset, publication.sequence);
        let here = publication.position;
        let came = self.came.entry(publication.channel.clone()).or_default();
        came.publications.insert((here.epoch.0, here.offset));
        let previous = Position {
            offset: place.offset - 1,
            ..place
        };
        self.read_paced((place, previous), handed.deliveries, window);
    }

    pub(crate) fn read_shared(&mut self, handed: Handed) {
        assert!(
            handed.deliveries >= 1,
            "an acknowledged delivery is counted"
        );
        self.in_hand.push(handed.place);
        let Flow::Acknowledged { window } = self.wish.flow else {
            panic!("a shared subscription is acknowledged");
        };
        assert!(
            self.in_hand.len() <= usize::from(window),
            "more than the window"
        );
    }

    /// The client is finished with something that it has in hand.
    pub(crate) fn finish(&mut self, place: Position, cumulative: bool) {
        let at = self.in_hand.iter().position(|here| *here == place);
        let Some(at) = at else { return };
        let first = if cumulative { 0 } else { at };
        self.in_hand.drain(first..=at);
    }

    /// Where an acknowledged subscription would begin again without the server's help.
    pub(crate) fn low(&self) -> Option<Position> {
        let first = self.undone.values().next().map(|(_, previous)| *previous);
        first.or(self.position)
    }

    pub(crate) fn read_in_window(
        &mut self,
        publication: &Publication,
        deliveries: u16,
        window: u16,
    ) {
        let place = (publication.position, publication.previous);
        self.read_paced(place, deliveries, window);
    }

    fn read_paced(&mut self, (here, previous): (Position, Position), deliveries: u16, window: u16) {
        assert!(deliveries >= 1, "an acknowledged delivery is counted");
        assert!(
            self.last < here.offset,
            "twice or out of order on one connection"
        );
        self.last = here.offset;
        self.undone.insert(here.offset, (here, previous));
        self.on_this_connection.insert(here.offset);
        assert!(
            self.on_this_connection.len() <= usize::from(window),
            "more than the window"
        );
        self.position = self.position.max_offset(here);
    }
}

trait Later {
    fn max_offset(self, other: Position) -> Self;
}

impl Later for Option<Position> {
    fn max_offset(self, other: Position) -> Self {
        Some(
            self.filter(|position| position.offset > other.offset)
                .unwrap_or(other),
        )
    }
}

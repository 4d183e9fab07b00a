use super::{
    super::{Opening, State},
    *,
};
use crate::command::Since;

fn feed(index: u32) -> Slot {
    Slot {
        index,
        generation: 1,
    }
}

/// The subscriptions of one session, in a table with others.
struct Session {
    all: Slab<Subscription>,
    mine: Subscriptions,
}

impl Session {
    fn new() -> Self {
        let (all, mine) = (Slab::new(), Subscriptions::None);
        Self { all, mine }
    }

    /// Subscribes, as a member.
    fn add(&mut self, feed_index: u32, id: Option<u32>) -> Slot {
        let opening = Opening {
            command: None,
            restored: false,
            regained: false,
            members: false,
            since: Since::Now,
            asked: None,
            earlier: None,
        };
        let connection = feed(9).into();
        let id = id.map(SubscriptionId);
        let new = Subscription::new(connection, feed(feed_index), id, opening);
        let slot = self.all.insert(new);
        self.mine.add(slot, &mut self.all);
        self.mine.set_joined(slot, true, &mut self.all);
        slot
    }

    fn remove(&mut self, slot: Slot) {
        self.mine.remove(slot, &mut self.all);
        let removed = self.all.remove(slot).unwrap();
        assert!(matches!(removed.state, State::Opening(_)));
    }

    fn joined(&self, index: u32) -> usize {
        self.mine.joined(feed(index), &self.all)
    }
}

#[test]
fn an_index_counts_the_members_and_forgets_targets_that_are_left() {
    let mut session = Session::new();
    let first: Vec<_> = (0..20).map(|id| session.add(1, Some(id))).collect();
    let second = [session.add(2, None), session.add(2, Some(50))];
    assert_eq!((session.joined(1), session.joined(2)), (20, 2));
    for _ in 0..2 {
        // The second time it is known.
        session.mine.set_joined(first[7], false, &mut session.all);
        assert_eq!(session.joined(1), 19);
    }
    session.mine.set_joined(first[7], true, &mut session.all);
    assert_eq!(session.joined(1), 20);
    for (n, slot) in first.iter().enumerate() {
        let id = Wanted::Id(SubscriptionId(n as u32));
        assert_eq!(session.mine.find(id, &session.all), Some(*slot));
        session.remove(*slot);
        assert_eq!(session.mine.find(id, &session.all), None);
        assert_eq!(session.joined(1), 19 - n);
    }
    let index = session.mine.index().expect("it was built");
    assert_eq!((index.by_feed.len(), index.by_id.len()), (1, 1));
    let unnumbered = Wanted::Feed(feed(2));
    assert_eq!(session.mine.find(unnumbered, &session.all), Some(second[0]));
    session.remove(second[0]);
    assert_eq!(session.mine.find(unnumbered, &session.all), None);
    assert_eq!((session.joined(2), session.mine.len()), (1, 1));
    session.remove(second[1]);
    assert_eq!((session.joined(2), session.mine.len()), (0, 0));
}

#[test]
fn few_subscriptions_need_no_index_and_more_are_found_as_well() {
    let mut session = Session::new();
    for n in 0..LOOKED_THROUGH as u32 {
        session.add(n, None);
    }
    assert!(session.mine.index().is_none());
    for n in 0..LOOKED_THROUGH as u32 + 3 {
        if n >= LOOKED_THROUGH as u32 {
            session.add(n, None);
        }
        let found = session.mine.find(Wanted::Feed(feed(n)), &session.all);
        assert_eq!(found.map(|slot| slot.index), Some(n));
        assert_eq!(session.joined(n), 1);
    }
    assert!(session.mine.index().is_some());
}

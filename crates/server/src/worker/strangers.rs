//! Streams of bytes whose clients have not identified themselves: what their dialects hold of
//! incomplete packets counts towards the budget for memory, too.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
};

use tokio::sync::Notify;

/// The strangers of one worker.
#[derive(Debug, Default)]
pub(super) struct Strangers(RefCell<Vec<Weak<Stranger>>>);

/// A client that has not identified itself yet. It is forgotten when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Stranger {
    /// The bytes of its incomplete packet.
    held: Cell<usize>,
    cut: Notify,
}

impl Stranger {
    pub(super) fn holds(&self, bytes: usize) {
        self.held.set(bytes);
    }

    /// Completes once the connection must end, because memory is short.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }
}

impl Strangers {
    pub(super) fn enter(&self) -> Rc<Stranger> {
        let stranger = Rc::<Stranger>::default();
        let mut all = self.0.borrow_mut();
        // Those that have left are removed before the list would grow.
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
        }
        all.push(Rc::downgrade(&stranger));
        stranger
    }

    /// The bytes that all hold.
    pub(super) fn count(&self) -> usize {
        let mut bytes = 0;
        self.0.borrow_mut().retain(|one| {
            let known = one.upgrade();
            bytes += known.as_ref().map_or(0, |stranger| stranger.held.get());
            known.is_some()
        });
        bytes
    }

    /// Ends those that hold most, until this many bytes are free. Returns how many bytes, and how
    /// many strangers.
    pub(super) fn shed(&self, bytes: usize) -> (usize, usize) {
        let all = self.0.borrow();
        let mut largest: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        largest.retain(|stranger| stranger.held.get() > 0);
        largest.sort_by_key(|stranger| std::cmp::Reverse(stranger.held.get()));
        let (mut freed, mut count) = (0, 0);
        for stranger in largest {
            if freed >= bytes {
                break;
            }
            freed += stranger.held.replace(0);
            count += 1;
            stranger.cut.notify_one();
        }
        (freed, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_largest_strangers_are_cut_until_enough_is_free() {
        let all = Strangers::default();
        let held = [10, 300, 0, 200];
        let strangers = held.map(|bytes| {
            let stranger = all.enter();
            stranger.holds(bytes);
            stranger
        });
        assert_eq!(all.count(), 510);
        assert_eq!(all.shed(0), (0, 0));
        assert_eq!(all.shed(301), (500, 2));
        assert_eq!(all.count(), 10);
        strangers[1].is_cut().await;
        strangers[3].is_cut().await;
        drop(strangers);
        assert_eq!(all.count(), 0);
        assert_eq!(all.shed(1), (0, 0));
    }
}

//! Which consumer of a queue gets which message. No I/O, and no clock.

use std::{collections::BTreeMap, sync::Arc};

use offhook_engine::{ConnectionId, Position, Publication, SubscriptionId};

/// A consumer of a queue: a subscription of a connection, on any worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Consumer {
    pub(crate) worker: u16,
    pub(crate) connection: ConnectionId,
    pub(crate) subscription: SubscriptionId,
}

/// A message of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) publication: Arc<Publication>,
    /// Its place in the queue, which identifies it.
    pub(crate) place: Position,
    /// How often it was delivered before, to any consumer.
    pub(crate) earlier: u16,
}

/// In the order of the queue.
type Messages = BTreeMap<(u64, u64), Queued>;

/// The messages that the queue has received and that are not processed yet: they wait, or a consumer has
/// them. The engine's window limits their number.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    waiting: Messages,
    consumers: Vec<Share>,
    /// The newest message received.
    newest: Option<Position>,
    /// The consumer that gets the next message, if it has room.
    next: usize,
}

#[derive(Debug)]
struct Share {
    consumer: Consumer,
    /// How many messages it may have.
    window: usize,
    has: Messages,
    /// Whether its connection has no room for messages.
    is_full: bool,
    /// How often its connection had room again after it was full. Each message has the number of its
    /// time, so that the consumer's worker recognizes those that were dealt before the queue knew
    /// that there was no room.
    times: u32,
}

pub(super) const fn key(place: Position) -> (u64, u64) {
    (place.offset, place.epoch.0)
}

impl Sharing {
    /// Adds a message.
    pub(super) fn add(&mut self, message: Queued) {
        let is_newer = |newest: Position| key(newest) < key(message.place);
        if self.newest.is_none_or(is_newer) {
            self.newest = Some(message.place);
        }
        self.waiting.insert(key(message.place), message);
    }

    /// Adds a consumer.
    pub(super) fn join(&mut self, consumer: Consumer, window: u16) {
        self.consumers.push(Share {
            consumer,
            window: usize::from(window.max(1)),
            has: Messages::new(),
            is_full: false,
            times: 0,
        });
    }

    fn share(&mut self, consumer: Consumer) -> Option<&mut Share> {
        let mut shares = self.consumers.iter_mut();
        shares.find(|share| share.consumer == consumer)
    }

    /// Deals a consumer nothing until it [has room](Self::set_room).
    pub(super) fn set_full(&mut self, consumer: Consumer) {
        if let Some(share) = self.share(consumer) {
            share.is_full = true;
        }
    }

    /// The connection of a consumer has room again.
    pub(super) fn set_room(&mut self, consumer: Consumer) {
        if let Some(share) = self.share(consumer) {
            share.is_full = false;
            share.times = share.times.wrapping_add(1);
        }
    }

    /// Takes back a message for which a consumer's connection had no room: it was not delivered.
    pub(super) fn take_back(&mut self, consumer: Consumer, place: Position) {
        let message = self
            .share(consumer)
            .and_then(|share| share.has.remove(&key(place)));
        if let Some(message) = message {
            self.add(message);
        }
    }

    /// Removes a consumer: its messages wait again.
    pub(super) fn quit(&mut self, consumer: Consumer) {
        let place = self.consumers.iter().position(|c| c.consumer == consumer);
        let Some(place) = place else { return };
        let gone = self.consumers.remove(place);
        if place < self.next {
            self.next -= 1;
        }
        for message in gone.has.into_values() {
            self.give_back(message);
        }
    }

    fn give_back(&mut self, message: Queued) {
        let earlier = message.earlier.saturating_add(1);
        self.add(Queued { earlier, ..message });
    }

    /// A consumer has processed a message, or returns it. Returns whether the message is processed now,
    /// which is false if the consumer does not have it.
    pub(super) fn settle(&mut self, consumer: Consumer, place: Position, processed: bool) -> bool {
        let message = self
            .share(consumer)
            .and_then(|share| share.has.remove(&key(place)));
        match message {
            None => false,
            Some(_) if processed => true,
            Some(message) => {
                self.give_back(message);
                false
            }
        }
    }

    /// The waiting messages that were delivered before, and how often.
    pub(super) fn delivered(&self) -> impl Iterator<Item = (Position, u16)> {
        let delivered = self.waiting.values().filter(|message| message.earlier > 0);
        delivered.map(|message| (message.place, message.earlier))
    }

    /// The position before the first unprocessed message, or `None` if no message was received.
    pub(super) fn cursor(&self) -> Option<Position> {
        let has = self.consumers.iter().flat_map(|share| share.has.iter());
        let first = self.waiting.iter().chain(has).min_by_key(|(key, _)| **key);
        first.map_or(self.newest, |(_, message)| {
            Some(message.publication.previous)
        })
    }

    /// All consumers.
    pub(super) fn consumers(&self) -> impl Iterator<Item = Consumer> {
        self.consumers.iter().map(|share| share.consumer)
    }

    /// Gives waiting messages to consumers with room, one after the other. The numbers are those of the
    /// consumers' times.
    pub(super) fn deal(&mut self) -> Vec<(Consumer, u32, Queued)> {
        let mut dealt = Vec::new();
        while !self.waiting.is_empty()
            && let Some(place) = self.next_with_room()
            && let Some(share) = self.consumers.get_mut(place)
            && let Some((key, message)) = self.waiting.pop_first()
        {
            dealt.push((share.consumer, share.times, message.clone()));
            share.has.insert(key, message);
            self.next = place + 1;
        }
        dealt
    }

    fn next_with_room(&self) -> Option<usize> {
        let count = self.consumers.len();
        let all = (self.next..count).chain(0..self.next.min(count));
        let has_room = |place: &usize| {
            let share = self.consumers.get(*place);
            share.is_some_and(|share| !share.is_full && share.has.len() < share.window)
        };
        all.into_iter().find(has_room)
    }
}

#[cfg(test)]
mod tests {
    use offhook_engine::{
        Arrival, ChannelName, ChannelRules, Draft, Engine, Format, Identity, Limits, Now, Place,
        RuleBook, SessionId, Tags,
    };

    use super::*;

    /// An id of a connection, as an engine makes it.
    fn connection() -> ConnectionId {
        let book = Arc::new(RuleBook::everything(ChannelRules::default()));
        let now = Now {
            instant: std::time::Instant::now(),
            unix_ms: 0,
        };
        let mut engine = Engine::new(Limits::default(), book, now);
        let identity = Arc::new(Identity::stranger());
        let arrival = Arrival::new(SessionId::from_bytes([1; 16]), identity);
        engine.handle_connection_opened(arrival, now).unwrap()
    }

    fn consumer(number: u32) -> Consumer {
        Consumer {
            worker: 0,
            connection: connection(),
            subscription: SubscriptionId(number),
        }
    }

    fn message(offset: u64) -> Queued {
        let draft = Draft {
            channel: ChannelName::new("queue/a").unwrap(),
            data: "x".into(),
            format: Format::Text,
            tags: Tags::default(),
            publisher: None,
            key: None,
            time_ms: 0,
        };
        let before = Position::new(1, offset - 1);
        Queued {
            publication: Arc::new(draft.at(Place::after(before, offset))),
            place: Position::new(1, offset),
            earlier: 0,
        }
    }

    /// Who got which message, which had been delivered how often before.
    fn dealt(sharing: &mut Sharing) -> Vec<(u32, u64, u16)> {
        let dealt = sharing.deal().into_iter();
        dealt
            .map(|(to, _, message)| (to.subscription.0, message.place.offset, message.earlier))
            .collect()
    }

    fn sharing(windows: &[u16], messages: u64) -> Sharing {
        let mut sharing = Sharing::default();
        for (number, window) in (0..).zip(windows) {
            sharing.join(consumer(number), *window);
        }
        (1..=messages).for_each(|offset| sharing.add(message(offset)));
        sharing
    }

    #[test]
    fn consumers_take_turns_up_to_their_windows() {
        let mut sharing = sharing(&[1, 2], 5);
        assert_eq!(dealt(&mut sharing), [(0, 1, 0), (1, 2, 0), (1, 3, 0)]);
        assert!(sharing.settle(consumer(1), Position::new(1, 2), true));
        assert_eq!(dealt(&mut sharing), [(1, 4, 0)]);
        assert!(sharing.settle(consumer(0), Position::new(1, 1), true));
        assert_eq!(dealt(&mut sharing), [(0, 5, 0)]);
    }

    #[test]
    fn a_message_that_is_given_back_goes_first_and_is_counted() {
        let mut sharing = sharing(&[1, 1], 3);
        assert_eq!(dealt(&mut sharing), [(0, 1, 0), (1, 2, 0)]);
        assert!(!sharing.settle(consumer(0), Position::new(1, 1), false));
        assert_eq!(dealt(&mut sharing), [(0, 1, 1)]);
    }

    #[test]
    fn what_a_consumer_has_when_it_leaves_goes_to_others() {
        let mut sharing = sharing(&[2, 9], 3);
        assert_eq!(dealt(&mut sharing), [(0, 1, 0), (1, 2, 0), (0, 3, 0)]);
        sharing.quit(consumer(0));
        assert_eq!(dealt(&mut sharing), [(1, 1, 1), (1, 3, 1)]);
        sharing.quit(consumer(1));
        assert_eq!(sharing.consumers().count(), 0);
        assert_eq!(dealt(&mut sharing), []);
        sharing.join(consumer(2), 9);
        assert_eq!(dealt(&mut sharing), [(2, 1, 2), (2, 2, 1), (2, 3, 2)]);
    }

    #[test]
    fn a_consumer_without_room_is_passed_over_and_what_it_could_not_take_goes_to_others() {
        let mut sharing = sharing(&[9, 1], 4);
        let all = [(0, 1, 0), (1, 2, 0), (0, 3, 0), (0, 4, 0)];
        assert_eq!(dealt(&mut sharing), all);
        sharing.set_full(consumer(0));
        sharing.take_back(consumer(0), Position::new(1, 3));
        sharing.take_back(consumer(0), Position::new(1, 4));
        assert_eq!(dealt(&mut sharing), []);
        assert!(sharing.settle(consumer(1), Position::new(1, 2), true));
        assert_eq!(dealt(&mut sharing), [(1, 3, 0)]);
        sharing.set_room(consumer(0));
        let dealt: Vec<_> = sharing.deal();
        let [(to, times, message)] = &dealt[..] else {
            panic!("{dealt:?}");
        };
        assert_eq!((to.subscription.0, *times, message.place.offset), (0, 1, 4));
        // A message that the consumer does not have stays where it is.
        sharing.take_back(consumer(0), Position::new(1, 3));
        assert_eq!(sharing.deal(), []);
    }

    #[test]
    fn the_cursor_precedes_everything_that_is_not_processed() {
        let mut sharing = sharing(&[2], 3);
        assert_eq!(dealt(&mut sharing), [(0, 1, 0), (0, 2, 0)]);
        assert!(sharing.settle(consumer(0), Position::new(1, 2), true));
        assert_eq!(sharing.cursor(), Some(Position::new(1, 0)));
        assert!(sharing.settle(consumer(0), Position::new(1, 1), true));
        assert_eq!(sharing.cursor(), Some(Position::new(1, 2)));
        assert_eq!(dealt(&mut sharing), [(0, 3, 0)]);
        assert!(sharing.settle(consumer(0), Position::new(1, 3), true));
        assert_eq!(sharing.cursor(), Some(Position::new(1, 3)));
    }

    #[test]
    fn a_message_is_processed_only_by_the_consumer_that_has_it() {
        let mut sharing = sharing(&[1, 1], 1);
        assert_eq!(dealt(&mut sharing), [(0, 1, 0)]);
        assert!(!sharing.settle(consumer(1), Position::new(1, 1), true));
        assert!(sharing.settle(consumer(0), Position::new(1, 1), true));
        assert!(!sharing.settle(consumer(0), Position::new(1, 1), true));
    }
}

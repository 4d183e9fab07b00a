//! How often the messages of a queue were delivered to consumers, and up to where it was processed,
//! as bytes kept with its session while it has none.
//!
//! The place is needed if the server has ended the queue's subscription, whose place is lost with it.
//!
//! The engine counts a message as delivered once it is handed out to the queue, where it may wait for a
//! consumer until the last one leaves. Therefore the counts are stored when the queue closes, and
//! removed when it opens: after a crash they would be too low, so those of the engine are used.

use std::collections::HashMap;

use offhook_engine::Position;

use super::sharing::key;

/// The version of this format.
const FORM: u8 = 2;

/// What is known of an orderly end; nothing after a crash.
#[derive(Debug, Default)]
pub(super) struct Counts(Option<Known>);

#[derive(Debug)]
struct Known {
    /// The place up to which everything was processed.
    processed: Option<Position>,
    counts: HashMap<(u64, u64), u16>,
}

/// ```text
/// version:1 ( offset:8 epoch:8 )  ( offset:8 epoch:8 count:2 )*
///            ╰ all zero: none
/// ```
impl Counts {
    /// Reads the note of a session.
    pub(super) fn read(note: &[u8]) -> Self {
        let rest = note.strip_prefix(&[FORM]);
        let Some((first, mut rest)) = rest.and_then(|rest| rest.split_first_chunk::<16>()) else {
            return Self(None);
        };
        let (offset, epoch) = numbers(first);
        let processed = (epoch > 0).then(|| Position::new(epoch, offset));
        let mut counts = HashMap::new();
        while let Some((place, after)) = rest.split_first_chunk::<16>()
            && let Some((count, after)) = after.split_first_chunk::<2>()
        {
            counts.insert(numbers(place), u16::from_be_bytes(*count));
            rest = after;
        }
        Self(Some(Known { processed, counts }))
    }

    /// The note of a queue that was processed up to a place, with messages that were delivered this
    /// often.
    pub(super) fn note(
        processed: Option<Position>,
        delivered: impl Iterator<Item = (Position, u16)>,
    ) -> Vec<u8> {
        let mut note = vec![FORM];
        let put = |place: Position, note: &mut Vec<u8>| {
            note.extend(place.offset.to_be_bytes());
            note.extend(place.epoch.0.to_be_bytes());
        };
        put(processed.unwrap_or(Position::new(0, 0)), &mut note);
        for (place, count) in delivered {
            put(place, &mut note);
            note.extend(count.to_be_bytes());
        }
        note
    }

    /// How often a message was delivered before that the engine has delivered this often.
    pub(super) fn of(&self, place: Position, by_engine: u16) -> u16 {
        match &self.0 {
            None => by_engine,
            Some(known) => known.counts.get(&key(place)).copied().unwrap_or(0),
        }
    }

    /// The place up to which everything was processed.
    pub(super) fn processed(&self) -> Option<Position> {
        self.0.as_ref()?.processed
    }

    /// Whether there was an orderly end.
    pub(super) const fn are_known(&self) -> bool {
        self.0.is_some()
    }
}

fn numbers(bytes: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_be_bytes(*bytes);
    ((both >> 64) as u64, both as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_an_orderly_end_are_exact() {
        let processed = Some(Position::new(1, 6));
        let note = Counts::note(processed, [(Position::new(1, 7), 3)].into_iter());
        let counts = Counts::read(&note);
        assert_eq!(counts.processed(), processed);
        assert!(counts.are_known());
        assert_eq!(counts.of(Position::new(1, 7), 1), 3);
        assert_eq!(counts.of(Position::new(1, 8), 1), 0);
        assert_eq!(counts.of(Position::new(1, 9), 0), 0);
    }

    #[test]
    fn a_message_of_a_queue_that_begins_again_keeps_its_count() {
        let note = Counts::note(None, [(Position::new(1, 7), 3)].into_iter());
        let counts = Counts::read(&note);
        assert_eq!(counts.processed(), None);
        assert_eq!(counts.of(Position::new(1, 7), 0), 3);
    }

    #[test]
    fn without_a_note_the_counts_of_the_engine_are_used() {
        let counts = Counts::read(&[]);
        assert!(!counts.are_known());
        assert_eq!(counts.of(Position::new(1, 7), 2), 2);
    }
}

//! How often the messages of a queue were delivered to consumers: bytes that are stored with the queue's
//! session while it has no consumers.
//!
//! The engine counts a message as delivered once it is handed out to the queue, where it may wait for a
//! consumer until the last one leaves. Therefore the counts are stored when the queue closes, and
//! removed when it opens: after a crash they would be too low, so those of the engine are used.

use std::collections::HashMap;

use offhook_engine::Position;

use super::sharing::key;

/// The version of this format.
const FORM: u8 = 2;

/// The counts of an orderly end; none after a crash.
#[derive(Debug, Default)]
pub(super) struct Counts {
    delivered: Option<HashMap<(u64, u64), u16>>,
    cursor: Option<Position>,
}

impl Counts {
    /// Reads the note of a session.
    pub(super) fn read(note: &[u8]) -> Self {
        let parts = note.strip_prefix(&[FORM]);
        let parts = parts.and_then(|rest| rest.split_first_chunk::<16>());
        let Some((cursor, mut rest)) = parts else {
            return Self::default();
        };
        let cursor = u128::from_be_bytes(*cursor);
        let cursor = Position::new((cursor >> 64) as u64, cursor as u64);
        let mut counts = HashMap::new();
        while let Some((entry, after)) = rest.split_first_chunk::<18>() {
            let mut number = [0; 8];
            number.copy_from_slice(&entry[..8]);
            let offset = u64::from_be_bytes(number);
            number.copy_from_slice(&entry[8..16]);
            let epoch = u64::from_be_bytes(number);
            let count = u16::from_be_bytes([entry[16], entry[17]]);
            counts.insert((offset, epoch), count);
            rest = after;
        }
        Self {
            delivered: Some(counts),
            // Epochs begin at 1.
            cursor: (cursor.epoch.0 > 0).then_some(cursor),
        }
    }

    /// The note of a queue at this position, and how often its messages were delivered.
    pub(super) fn note(
        cursor: Option<Position>,
        delivered: impl Iterator<Item = (Position, u16)>,
    ) -> Vec<u8> {
        let mut note = vec![FORM];
        let cursor = cursor.unwrap_or(Position::new(0, 0));
        note.extend(cursor.epoch.0.to_be_bytes());
        note.extend(cursor.offset.to_be_bytes());
        for (place, count) in delivered {
            note.extend(place.offset.to_be_bytes());
            note.extend(place.epoch.0.to_be_bytes());
            note.extend(count.to_be_bytes());
        }
        note
    }

    /// How often a message was delivered before that the engine has delivered this often.
    pub(super) fn of(&self, place: Position, by_engine: u16) -> u16 {
        match &self.delivered {
            None => by_engine,
            Some(_) if by_engine == 0 => 0,
            Some(counts) => counts.get(&key(place)).copied().unwrap_or(0),
        }
    }

    /// Whether there was an orderly end.
    pub(super) const fn are_known(&self) -> bool {
        self.delivered.is_some()
    }

    /// Where the queue was.
    pub(super) const fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_an_orderly_end_are_exact() {
        let cursor = Some(Position::new(1, 6));
        let note = Counts::note(cursor, [(Position::new(1, 7), 3)].into_iter());
        let counts = Counts::read(&note);
        assert!(counts.are_known());
        assert_eq!(counts.cursor(), cursor);
        assert_eq!(counts.of(Position::new(1, 7), 1), 3);
        assert_eq!(counts.of(Position::new(1, 8), 1), 0);
        assert_eq!(counts.of(Position::new(1, 9), 0), 0);
    }

    #[test]
    fn without_a_note_the_counts_of_the_engine_are_used() {
        let counts = Counts::read(&[]);
        assert!(!counts.are_known());
        assert_eq!(counts.of(Position::new(1, 7), 2), 2);
    }
}

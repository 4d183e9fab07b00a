//! What one subscriber received of one channel, compared with what was published.

use std::collections::{BTreeMap, BTreeSet};

/// A subscriber's stream: publications that a gap withdrew are no longer in it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    received: Vec<Entry>,
    /// The highest number received of each publisher.
    highest: BTreeMap<u32, u64>,
    /// The newest offset received, or reached by a gap.
    reached: u64,
    /// Publications that gaps announced as missing.
    announced: u64,
    /// Publications that gaps withdrew: their stream ended before them.
    discarded: u64,
    /// Offsets that were skipped or repeated without a gap.
    unannounced: u64,
}

/// A publication: its publisher, and its number at that publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    offset: u64,
    publisher: u32,
    number: u64,
    /// Which of its sessions published it.
    session: u64,
}

/// The final content of a channel.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Expected {
    /// How many publications were acknowledged to each publisher.
    pub(crate) published: Vec<u64>,
    /// Of these, those that a restored backup does not contain.
    pub(crate) discarded: Vec<(usize, BTreeSet<u64>)>,
    /// How often publishers lost their sessions, and with them the scope of their keys.
    pub(crate) sessions_lost: u64,
    /// The offset of the newest.
    pub(crate) head: u64,
}

/// Results of a subscriber, to be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Findings {
    /// Publications received and not withdrawn by a gap.
    pub received: u64,
    /// Publications acknowledged to their publisher and never received.
    pub lost: u64,
    /// Publications received again.
    pub duplicated: u64,
    /// Repeated by another session of the publisher: its first session was lost together with the
    /// key of resume tokens, and idempotency keys of anonymous publishers belong to the session. At
    /// most one for each publisher and lost session, since a client waits for each answer; other
    /// repetitions are `duplicated`.
    pub anew: u64,
    /// Received after a later one of the same publisher.
    pub reordered: u64,
    /// Publications that gaps announced as missing.
    pub announced: u64,
    /// Publications that gaps withdrew, because the server was restored from an older copy.
    pub discarded: u64,
    /// Offsets that were skipped or repeated without a gap.
    pub unannounced: u64,
}

impl Findings {
    /// The sum of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            anew: self.anew + other.anew,
            reordered: self.reordered + other.reordered,
            announced: self.announced + other.announced,
            discarded: self.discarded + other.discarded,
            unannounced: self.unannounced + other.unannounced,
        }
    }

    /// Whether everything was received once and in order, and withdrawn publications were
    /// announced.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let once = self.lost == 0 && self.duplicated == 0;
        once && self.reordered == 0 && self.announced == 0 && self.unannounced == 0
    }
}

impl Ledger {
    pub(crate) fn receive(&mut self, offset: u64, publisher: usize, number: u64, session: &str) {
        if offset != self.reached + 1 {
            self.unannounced += 1;
        }
        self.reached = offset;
        let publisher = u32::try_from(publisher).unwrap_or(u32::MAX);
        let highest = self.highest.entry(publisher).or_default();
        *highest = number.max(*highest);
        self.received.push(Entry {
            offset,
            publisher,
            number,
            session: fnv(session.bytes()),
        });
    }

    /// Whether it has this publication.
    pub(crate) fn has(&self, publisher: usize, number: u64) -> bool {
        let publisher = u32::try_from(publisher).unwrap_or(u32::MAX);
        let highest = self.highest.get(&publisher);
        if highest.is_none_or(|highest| *highest < number) {
            return false;
        }
        // Most repeat one of the last.
        let mut newest = self.received.iter().rev();
        newest.any(|entry| entry.publisher == publisher && entry.number == number)
    }

    /// The newest offset received, or reached by a gap.
    pub(crate) const fn reached(&self) -> u64 {
        self.reached
    }

    /// Records a gap: the stream continues after this offset. A gap that goes back withdraws the
    /// publications after it.
    pub(crate) fn gap(&mut self, to: u64) {
        let kept = self.received.partition_point(|entry| entry.offset <= to);
        self.discarded += (self.received.len() - kept) as u64;
        self.received.truncate(kept);
        self.announced += to.saturating_sub(self.reached);
        self.reached = to;
    }

    /// A checksum over all publications in order: subscribers with the same checksum received the
    /// same.
    pub(crate) fn order(&self) -> u64 {
        // FNV-1a: different orders give different checksums.
        self.received.iter().fold(0, |sum, entry| {
            [u64::from(entry.publisher), entry.number]
                .iter()
                .fold(sum, |sum, part| (sum ^ part).wrapping_mul(0x0100_0000_01b3))
        })
    }

    /// The final result.
    pub(crate) fn findings(&self, expected: &Expected) -> Findings {
        let mut publishers: BTreeMap<usize, Numbers> = BTreeMap::new();
        for publisher in 0..expected.published.len() {
            publishers.insert(publisher, Numbers::default());
        }
        for entry in &self.received {
            let publisher = publishers.entry(entry.publisher as usize).or_default();
            publisher.receive(entry.number, entry.session);
        }
        let mut found = Findings {
            announced: self.announced,
            discarded: self.discarded,
            unannounced: self.unannounced,
            ..Findings::default()
        };
        for (publisher, mut numbers) in publishers {
            let total = expected.published.get(publisher).copied().unwrap_or(0);
            numbers.end(total);
            let of_publisher = |gone: &&(usize, BTreeSet<u64>)| gone.0 == publisher;
            let discarded = expected.discarded.iter().find(of_publisher);
            let lost = |number: &&u64| discarded.is_none_or(|(_, gone)| !gone.contains(number));
            found.received += numbers.received;
            found.lost += numbers.missing.iter().filter(lost).count() as u64;
            let anew = numbers.anew.min(expected.sessions_lost);
            found.anew += anew;
            found.duplicated += numbers.duplicated + numbers.anew - anew;
            found.reordered += numbers.reordered;
        }
        // Publications announced by a gap are missing too, but were announced.
        found.lost = found.lost.saturating_sub(found.announced);
        found
    }
}

/// FNV-1a, to distinguish sessions.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The numbers of one publisher, which counts from 0.
#[derive(Clone, Debug, Default)]
struct Numbers {
    next: u64,
    /// Numbers below `next` that were not received.
    missing: BTreeSet<u64>,
    /// The sessions that published each.
    sessions: BTreeMap<u64, Vec<u64>>,
    received: u64,
    duplicated: u64,
    anew: u64,
    reordered: u64,
}

impl Numbers {
    fn receive(&mut self, number: u64, session: u64) {
        let sessions = self.sessions.entry(number).or_default();
        let same_session = sessions.contains(&session);
        sessions.push(session);
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            self.received += 1;
        } else if self.missing.remove(&number) {
            self.reordered += 1;
            self.received += 1;
        } else if same_session {
            self.duplicated += 1;
        } else {
            self.anew += 1;
        }
    }

    /// Records how many were published.
    fn end(&mut self, total: u64) {
        self.missing.extend(self.next..total);
    }
}

#[cfg(test)]
mod tests;

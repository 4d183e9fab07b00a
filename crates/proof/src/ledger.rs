//! What one reader got of one channel, against what was published.

use std::collections::BTreeSet;

/// Numbers that came, by publisher: each counts from 0.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    publishers: Vec<Numbers>,
    /// A sum over everything in its order: readers with the same sum got the same.
    order: u64,
    /// Publications that a gap said won't come; `None` is counted as one.
    told: u64,
}

#[derive(Clone, Debug, Default)]
struct Numbers {
    next: u64,
    /// Below `next`, and never seen.
    missing: BTreeSet<u64>,
    received: u64,
    duplicated: u64,
    reordered: u64,
}

/// What was found, to be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Findings {
    /// Publications that came.
    pub received: u64,
    /// That were acknowledged to their publisher, and never came.
    pub lost: u64,
    /// That came again.
    pub duplicated: u64,
    /// That came after a later one of the same publisher.
    pub reordered: u64,
    /// That a gap said won't come.
    pub told: u64,
}

impl Findings {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            told: self.told + other.told,
        }
    }

    /// Whether everything came once and in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reordered == 0 && self.told == 0
    }
}

impl Ledger {
    pub(crate) fn receive(&mut self, publisher: usize, number: u64) {
        if self.publishers.len() <= publisher {
            self.publishers.resize(publisher + 1, Numbers::default());
        }
        let Some(numbers) = self.publishers.get_mut(publisher) else {
            return;
        };
        numbers.receive(number);
        // FNV-1a over both numbers: different orders give different sums.
        for part in [publisher as u64, number] {
            self.order = (self.order ^ part).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn gap(&mut self, count: Option<u64>) {
        self.told += count.unwrap_or(1);
    }

    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    /// What it comes to when each publisher has published so many.
    pub(crate) fn findings(&self, published: &[u64]) -> Findings {
        let none = Numbers::default();
        let count = published.len().max(self.publishers.len());
        let mut found = Findings {
            told: self.told,
            ..Findings::default()
        };
        for publisher in 0..count {
            let numbers = self.publishers.get(publisher).unwrap_or(&none);
            let total = published.get(publisher).copied().unwrap_or(0);
            found.received += numbers.received;
            found.lost += numbers.missing.len() as u64 + total.saturating_sub(numbers.next);
            found.duplicated += numbers.duplicated;
            found.reordered += numbers.reordered;
        }
        // What a gap told of is missing, too, but it was told.
        found.lost = found.lost.saturating_sub(found.told);
        found
    }
}

impl Numbers {
    fn receive(&mut self, number: u64) {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            self.received += 1;
        } else if self.missing.remove(&number) {
            self.reordered += 1;
            self.received += 1;
        } else {
            self.duplicated += 1;
        }
    }
}

#[cfg(test)]
mod tests;

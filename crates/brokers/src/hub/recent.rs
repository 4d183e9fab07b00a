//! The channels with recent publications, in the broker's order. A reader by filter that is not far
//! behind examines only these instead of all.

use std::collections::{HashSet, VecDeque};

use offhook_engine::{ChannelName, Filter};

/// The maximum number of publications remembered; consecutive ones in one channel count once.
/// 16,384: a second of a busy server, and half a megabyte.
const REMEMBERED: usize = 16_384;

#[derive(Debug)]
pub(crate) struct Recent {
    /// Channels in the order of publication. Publications in a row in one channel share an entry,
    /// which has the newest of their sequence numbers.
    published: VecDeque<(u64, ChannelName)>,
    /// Everything with a higher sequence number is in it.
    after: u64,
}

impl Recent {
    pub(crate) const fn new(sequence: u64) -> Self {
        Self {
            published: VecDeque::new(),
            after: sequence,
        }
    }

    pub(crate) fn push(&mut self, sequence: u64, channel: &ChannelName) {
        if let Some((last, of)) = self.published.back_mut()
            && of == channel
        {
            *last = sequence.max(*last);
            return;
        }
        self.published.push_back((sequence, channel.clone()));
        if self.published.len() > REMEMBERED
            && let Some((oldest, _)) = self.published.pop_front()
        {
            self.after = self.after.max(oldest);
        }
    }

    /// The channels that match and got something after a sequence number, each once; none if that is
    /// too long ago.
    pub(crate) fn since(&self, sequence: u64, filter: &Filter) -> Option<Vec<ChannelName>> {
        if sequence < self.after {
            return None;
        }
        let newer = self.published.iter().filter(|(at, _)| *at > sequence);
        let mut seen = HashSet::new();
        let once = newer.filter(|(_, channel)| seen.insert(channel));
        let matching = once.filter(|(_, channel)| filter.matches(channel));
        Some(matching.map(|(_, channel)| channel.clone()).collect())
    }

    /// Forgets everything: publications up to this number may never have been added.
    pub(crate) fn reset(&mut self, sequence: u64) {
        self.published.clear();
        self.after = self.after.max(sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> ChannelName {
        ChannelName::new(&format!("a/{n}")).unwrap()
    }

    #[test]
    fn publications_after_a_number_are_known_as_far_back_as_they_are_recorded() {
        let mut recent = Recent::new(5);
        let filter = Filter::new("a/#").unwrap();
        for n in 0..3 {
            recent.push(6 + n, &name(n as usize % 2));
        }
        assert_eq!(recent.since(4, &filter), None, "before it began");
        assert_eq!(recent.since(5, &filter).unwrap(), [name(0), name(1)]);
        assert_eq!(recent.since(7, &filter).unwrap(), [name(0)]);
        assert!(recent.since(8, &filter).unwrap().is_empty());
        let other = Filter::new("b/#").unwrap();
        assert!(recent.since(5, &other).unwrap().is_empty());
        recent.reset(10);
        assert_eq!(recent.since(9, &filter), None);
        assert!(recent.since(10, &filter).unwrap().is_empty());
    }

    #[test]
    fn it_has_a_limit_and_reports_how_far_back_it_reaches() {
        let mut recent = Recent::new(0);
        let filter = Filter::new("#").unwrap();
        for n in 1..=REMEMBERED + 10 {
            recent.push(n as u64, &name(n));
        }
        assert_eq!(recent.published.len(), REMEMBERED);
        assert_eq!(recent.since(9, &filter), None);
        assert_eq!(recent.since(10, &filter).unwrap().len(), REMEMBERED);
    }
}

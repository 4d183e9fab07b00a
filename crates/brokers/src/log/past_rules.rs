//! The rules of this process and of earlier ones, reduced to which channels are on disk.
//!
//! Publications that earlier processes had only in memory are unknown. A reader by filter that was
//! disconnected is told if it may have missed some, according to the rules of that time.

use bytes::{Buf, BufMut};
use offhook_engine::{ChannelRules, Epoch, Filter, History, RuleBook};

use super::shared::is_on_disk;

/// How many changes of the rules are remembered. 64: before that, the oldest of these rules is
/// assumed.
const REMEMBERED: usize = 64;

/// The rules, with the epoch in which they began to apply, in ascending order.
#[derive(Debug, Default)]
pub(super) struct PastRules(Vec<Since>);

#[derive(Debug)]
struct Since {
    epoch: Epoch,
    /// Each pattern, and whether its channels are on disk.
    patterns: Vec<(Box<str>, bool)>,
    book: RuleBook,
}

impl Since {
    fn new(epoch: Epoch, patterns: Vec<(Box<str>, bool)>) -> Self {
        let rules = |on_disk| ChannelRules {
            history: if on_disk {
                History::default()
            } else {
                History::NONE
            },
            ..ChannelRules::default()
        };
        let all = patterns.iter();
        let book = all.fold(RuleBook::new(), |book, (pattern, on_disk)| {
            book.with(pattern, rules(*on_disk))
        });
        Self {
            epoch,
            patterns,
            book,
        }
    }
}

impl PastRules {
    /// Records the rules that apply from now on, in this epoch. Returns whether they differ from
    /// the previous rules.
    pub(super) fn note(&mut self, epoch: Epoch, rules: &RuleBook) -> bool {
        let all = rules.patterns();
        let patterns: Vec<_> = all
            .map(|(pattern, rules)| (pattern.into(), is_on_disk(rules)))
            .collect();
        let last = self.0.last();
        if last.is_some_and(|last| last.patterns == patterns) {
            return false;
        }
        // Earlier versions recorded no rules: theirs are assumed to be the same.
        let epoch = if last.is_none() { Epoch(0) } else { epoch };
        self.0.push(Since::new(epoch, patterns));
        if self.0.len() > REMEMBERED {
            self.0.remove(0);
        }
        true
    }

    /// Whether rules that applied in this epoch or later, but before `until`, have channels in
    /// memory that a filter may match.
    pub(super) fn had(
        &self,
        filter: &Filter,
        from: Epoch,
        until: Epoch,
        wanted: impl Fn(&ChannelRules) -> bool,
    ) -> bool {
        self.0.iter().enumerate().any(|(n, since)| {
            let next = self.0.get(n + 1).map(|next| next.epoch.0);
            // Rules can also be replaced within an epoch.
            let is_over = next
                .is_some_and(|next| next < from.0 || (next == from.0 && since.epoch.0 < from.0));
            since.epoch.0 < until.0 && !is_over && since.book.may_match(filter, &wanted)
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for since in &self.0 {
            out.put_u64(since.epoch.0);
            out.put_u32(u32::try_from(since.patterns.len()).unwrap_or(u32::MAX));
            for (pattern, on_disk) in &since.patterns {
                out.put_u8(u8::from(*on_disk));
                out.put_u32(u32::try_from(pattern.len()).unwrap_or(u32::MAX));
                out.put_slice(pattern.as_bytes());
            }
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let epoch = Epoch(bytes.try_get_u64().ok()?);
            let mut patterns = Vec::new();
            for _ in 0..bytes.try_get_u32().ok()? {
                let on_disk = bytes.try_get_u8().ok()? != 0;
                let len = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
                let (pattern, rest) = bytes.split_at_checked(len)?;
                patterns.push((std::str::from_utf8(pattern).ok()?.into(), on_disk));
                bytes = rest;
            }
            all.push(Since::new(epoch, patterns));
        }
        Some(Self(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(patterns: &[(&str, bool)]) -> RuleBook {
        let all = patterns
            .iter()
            .map(|(pattern, on_disk)| ((*pattern).into(), *on_disk));
        Since::new(Epoch(0), all.collect()).book
    }

    fn in_memory(rules: &ChannelRules) -> bool {
        !is_on_disk(rules)
    }

    #[test]
    fn earlier_rules_apply_to_readers_of_their_time() {
        let mut past = PastRules::default();
        assert!(past.note(Epoch(10), &book(&[("a/*", false), ("*", true)])));
        assert!(!past.note(Epoch(20), &book(&[("a/*", false), ("*", true)])));
        assert!(past.note(Epoch(30), &book(&[("*", true)])));
        assert!(past.note(Epoch(40), &book(&[("b/*", false), ("*", true)])));
        let past = PastRules::decode(&past.encode()).unwrap();
        for (text, from, until, expected) in [
            ("a/+", 10, 40, true),
            ("a/+", 20, 40, true),
            // From before any rules were recorded.
            ("a/+", 5, 40, true),
            ("a/+", 30, 40, false),
            ("b/+", 10, 40, false),
            ("b/+", 40, 50, true),
            ("#", 30, 40, false),
            ("#", 40, 40, false),
        ] {
            let filter = Filter::new(text).unwrap();
            let had = past.had(&filter, Epoch(from), Epoch(until), in_memory);
            assert_eq!(had, expected, "{text} from {from} until {until}");
        }
    }

    #[test]
    fn rules_that_were_replaced_within_an_epoch_apply_to_it() {
        let mut past = PastRules::default();
        past.note(Epoch(10), &book(&[("*", true)]));
        past.note(Epoch(20), &book(&[("a/*", false), ("*", true)]));
        past.note(Epoch(20), &book(&[("*", true)]));
        let filter = Filter::new("a/+").unwrap();
        assert!(past.had(&filter, Epoch(20), Epoch(30), in_memory));
        assert!(!past.had(&filter, Epoch(25), Epoch(30), in_memory));
    }

    #[test]
    fn the_number_of_rules_is_limited_and_damage_is_detected() {
        let mut past = PastRules::default();
        for n in 0..200 {
            past.note(Epoch(n), &book(&[(&format!("{n}/*"), false)]));
        }
        assert_eq!(past.0.len(), REMEMBERED);
        let bytes = past.encode();
        // The last entry has 22 bytes.
        for missing in 1..22 {
            assert!(PastRules::decode(&bytes[..bytes.len() - missing]).is_none());
        }
    }
}

//! Ids of events: the positions of all channels of a stream, in a few characters.
//!
//! Of one channel or filter it is its position, `1700000000000000.42`, or `-` before there is one.
//! Of several it is `CHECK~EPOCH.OFFSET.OFFSET~EPOCH.OFFSET_0OFFSET`, in base 36, in the order of the
//! request: an epoch applies to all offsets up to the next epoch, and `_0` repeats the first epoch of
//! the id, `_1` the second. An empty offset means that there is no position yet, and the check
//! identifies streams of the same channels.

use std::fmt::Write;

use offhook_engine::{Epoch, Position, Target};

/// The maximum length of an id in bytes. For longer ones in `Last-Event-ID`, browsers send a CORS
/// preflight. Only letters, digits and `-._~` are used, which no proxy objects to.
pub const LONGEST: usize = 128;

/// A stream whose only channel has no position yet.
const NONE_YET: &str = "-";

/// The id of a stream whose positions do not fit. It leads to a gap, like every other unusable id.
const TOO_LONG: &str = "x";

const BASE: u64 = 36;

/// Writes and reads the ids of one stream.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    /// None for a stream of one channel or filter.
    check: Option<String>,
    targets: usize,
}

impl Ids {
    pub(super) fn of<'a>(targets: impl ExactSizeIterator<Item = &'a Target>) -> Self {
        let count = targets.len();
        let mut hash = FNV;
        for target in targets {
            let kind = match target {
                Target::Channel(_) => b"c",
                Target::Filter(_) => b"f",
            };
            // No name contains a zero byte.
            for byte in kind.iter().chain(target.as_str().as_bytes()).chain(&[0]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
            }
        }
        let check = base36(hash % (BASE * BASE * BASE * BASE));
        Self {
            check: (count > 1).then_some(check),
            targets: count,
        }
    }

    /// The id of these positions.
    pub(super) fn write(&self, positions: &[Option<Position>]) -> String {
        let Some(check) = &self.check else {
            let position = positions.first().copied().flatten();
            return position.map_or_else(|| NONE_YET.to_owned(), |p| p.to_string());
        };
        let mut id = check.clone();
        let mut epochs = Epochs::default();
        for position in positions {
            let Some(Position { epoch, offset }) = position else {
                // Nothing precedes the first epoch, so it needs no separator.
                id.push(if epochs.current.is_none() { '~' } else { '.' });
                continue;
            };
            let offset = base36(*offset);
            // Writing to a string cannot fail.
            let _infallible = match epochs.switch_to(*epoch) {
                Switch::Same => write!(id, ".{offset}"),
                Switch::Earlier(index) => write!(id, "_{}{offset}", base36(index)),
                Switch::New => write!(id, "~{}.{offset}", base36(epoch.0)),
            };
        }
        if id.len() > LONGEST {
            return TOO_LONG.to_owned();
        }
        id
    }

    /// The positions in an id; none if it is not an id of this stream.
    pub(super) fn read(&self, id: &str) -> Option<Vec<Option<Position>>> {
        let Some(check) = &self.check else {
            if id == NONE_YET {
                return Some(vec![None]);
            }
            return Some(vec![Some(id.parse().ok()?)]);
        };
        if id.len() > LONGEST {
            return None;
        }
        let mut rest = id.strip_prefix(check.as_str())?;
        let mut positions = Vec::with_capacity(self.targets);
        let mut epochs = Epochs::default();
        let mut is_new = false;
        while let Some(separator) = rest.chars().next() {
            let after = rest.strip_prefix(separator)?;
            let end = after.find(SEPARATORS).unwrap_or(after.len());
            let (part, next) = after.split_at_checked(end)?;
            rest = next;
            match (separator, part) {
                ('~', _) if is_new => return None,
                ('~', "") if epochs.current.is_none() => positions.push(None),
                ('~', epoch) => {
                    epochs.switch_to(Epoch(number(epoch)?));
                    is_new = true;
                }
                ('.', "") => {
                    epochs.current?;
                    positions.push(None);
                    is_new = false;
                }
                ('.', offset) => {
                    positions.push(Some(epochs.at(offset)?));
                    is_new = false;
                }
                ('_', part) if !is_new => {
                    let (index, offset) = part.split_at_checked(1)?;
                    epochs.back_to(number(index)?)?;
                    positions.push(Some(epochs.at(offset)?));
                }
                _ => return None,
            }
        }
        (positions.len() == self.targets && !is_new).then_some(positions)
    }
}

const SEPARATORS: [char; 3] = ['~', '.', '_'];

/// The epochs of an id, in the order in which they first occur.
#[derive(Debug, Default)]
struct Epochs {
    known: Vec<Epoch>,
    current: Option<Epoch>,
}

/// How an id names the epoch of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    /// It is that of the position before.
    Same,
    /// It occurred before. The index is a single digit in base 36: an id of more epochs is too long.
    Earlier(u64),
    New,
}

impl Epochs {
    fn switch_to(&mut self, epoch: Epoch) -> Switch {
        if self.current == Some(epoch) {
            return Switch::Same;
        }
        self.current = Some(epoch);
        let mut known = (0..BASE).zip(&self.known);
        if let Some((index, _)) = known.find(|(_, known)| **known == epoch) {
            return Switch::Earlier(index);
        }
        self.known.push(epoch);
        Switch::New
    }

    fn back_to(&mut self, index: u64) -> Option<()> {
        let known = self.known.get(usize::try_from(index).ok()?)?;
        self.current = Some(*known);
        Some(())
    }

    /// The position with this offset in the current epoch.
    fn at(&self, offset: &str) -> Option<Position> {
        let (epoch, offset) = (self.current?, number(offset)?);
        Some(Position { epoch, offset })
    }
}

/// FNV-1a: the check is not secret, and must be the same in every version.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(number % BASE).unwrap_or_default();
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        number /= BASE;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}

/// Only digits: `from_str_radix` alone would accept a sign. Positions are below 2^53.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let number = u64::from_str_radix(text, 36).ok().filter(|_| digits)?;
    (number < 1 << 53).then_some(number)
}

#[cfg(test)]
mod tests {
    use offhook_engine::{ChannelName, Filter};

    use super::*;

    fn ids(channels: &[&str]) -> Ids {
        let targets = channels.iter().map(|name| ChannelName::new(name).unwrap());
        let targets: Vec<_> = targets.map(Target::from).collect();
        Ids::of(targets.iter())
    }

    #[test]
    fn an_id_of_one_channel_is_its_position() {
        let ids = ids(&["a"]);
        assert_eq!(ids.write(&[Some(Position::new(17, 4))]), "17.4");
        assert_eq!(ids.read("17.4"), Some(vec![Some(Position::new(17, 4))]));
        assert_eq!(ids.read(&ids.write(&[None])), Some(vec![None]));
        for wrong in ["", "17", "17.", "a.4", "-17.4", "x", "17.4.5"] {
            assert_eq!(ids.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_id_of_several_channels_has_the_positions_of_all_of_them() {
        let ids = ids(&["a", "b", "c", "d", "e"]);
        let at = |epoch, offset| Some(Position::new(epoch, offset));
        for positions in [
            [None; 5],
            [at(1, 2), at(1, 3), at(1, 0), at(1, 5), at(1, 6)],
            [None, None, at(7, 1), None, at(7, 9)],
            [at(1, 1), at(2, 1), None, at(1, 1), None],
            [at(1, 1), at(2, 1), at(1, 70), at(2, 3), at(3, 1)],
        ] {
            let id = ids.write(&positions);
            assert_eq!(ids.read(&id), Some(positions.to_vec()), "{id}");
        }
    }

    #[test]
    fn an_id_of_other_channels_or_in_another_order_is_not_accepted() {
        let first = ids(&["a", "b"]);
        let id = first.write(&[Some(Position::new(1, 1)), Some(Position::new(1, 2))]);
        for other in [
            &["b", "a"][..],
            &["a", "c"],
            &["a", "b", "c"],
            &["ab", ""][..1],
        ] {
            assert_eq!(ids(other).read(&id), None, "{other:?}");
        }
        let filter = Target::from(Filter::new("b").unwrap());
        let channel = Target::from(ChannelName::new("a").unwrap());
        assert_eq!(Ids::of([&channel, &filter].into_iter()).read(&id), None);
        for wrong in [
            "",
            "~",
            "x",
            &id[1..],
            &format!("{id}.1"),
            &format!("{id}~"),
            "00000~1.1.2",
            &id.replace('.', "_0"),
            &id.replace('.', "_1"),
            &format!("{}~1_01_02", &id[..id.find('~').unwrap()]),
            &format!("{}~1.1_", &id[..id.find('~').unwrap()]),
            &format!("{}~1.1_0", &id[..id.find('~').unwrap()]),
            &format!("{}~1.1_12", &id[..id.find('~').unwrap()]),
            &format!("{}~1.1.2~1", &id[..id.find('~').unwrap()]),
            &format!("{}_01.2", &id[..id.find('~').unwrap()]),
            &format!("{}.1.2", &id[..id.find('~').unwrap()]),
        ] {
            assert_eq!(first.read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sixteen_channels_fit_and_use_only_characters_that_need_no_preflight() {
        let names: Vec<_> = (0..16).map(|n| n.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let ids = ids(&names);
        let newest = Position::new((1 << 53) - 1, 2_000_000_000);
        let id = ids.write(&[Some(newest); 16]);
        assert!(id.len() <= LONGEST, "{} bytes: {id}", id.len());
        assert!(
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
        );
        assert_eq!(ids.read(&id), Some(vec![Some(newest); 16]));
        // Positions that do not fit are reported as unknown, not truncated.
        let epochs = (1_700_000_000_000_000..).map(|epoch| Some(Position::new(epoch, 1)));
        let many: Vec<_> = epochs.take(16).collect();
        assert_eq!(ids.read(&ids.write(&many)), None);
    }

    #[test]
    fn sixteen_channels_fit_although_only_some_were_published_to_after_a_restart() {
        let names: Vec<_> = (0..16).map(|n| n.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let ids = ids(&names);
        let epochs = [1_796_097_292_479_571, 1_796_097_355_941_707];
        let alternating = epochs.into_iter().cycle().take(16);
        let positions: Vec<_> = alternating
            .map(|epoch| Some(Position::new(epoch, 1_000_000)))
            .collect();
        let id = ids.write(&positions);
        assert!(id.len() <= LONGEST, "{} bytes: {id}", id.len());
        assert_eq!(ids.read(&id), Some(positions));
    }

    #[test]
    fn an_id_of_an_earlier_version_which_repeats_epochs_is_read() {
        let ids = ids(&["a", "b", "c"]);
        let at = |epoch, offset| Some(Position::new(epoch, offset));
        let positions = vec![at(1, 1), at(2, 2), at(1, 3)];
        let id = ids.write(&positions);
        assert!(id.ends_with("~1.1~2.2_03"), "{id}");
        assert_eq!(ids.read(&id.replace("_03", "~1.3")), Some(positions));
    }
}

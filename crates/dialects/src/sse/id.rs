//! Ids of events: the positions of all channels of a stream, in a few characters.
//!
//! Of one channel or filter it is its position, `1700000000000000.42`, or `-` before there is one.
//! Of several it is `CHECK~EPOCH.OFFSET.OFFSET~EPOCH.OFFSET`, in base 36, in the order of the
//! request: an epoch applies to all offsets up to the next epoch, an empty offset means that there
//! is no position yet, and the check identifies streams of the same channels.

use std::fmt::Write;

use offhook_engine::{Position, Target};

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
        let mut epoch = None;
        for position in positions {
            match position {
                Some(position) if epoch != Some(position.epoch) => {
                    epoch = Some(position.epoch);
                    let (epoch, offset) = (base36(position.epoch.0), base36(position.offset));
                    // Writing to a string cannot fail.
                    let _infallible = write!(id, "~{epoch}.{offset}");
                }
                Some(position) => {
                    id.push('.');
                    id.push_str(&base36(position.offset));
                }
                // Nothing precedes the first epoch, so it needs no separator.
                None if epoch.is_none() => id.push('~'),
                None => id.push('.'),
            }
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
        let rest = id.strip_prefix(check.as_str())?;
        let mut positions = Vec::with_capacity(self.targets);
        for section in rest.strip_prefix('~')?.split('~') {
            let mut parts = section.split('.');
            let epoch = parts.next().unwrap_or_default();
            if epoch.is_empty() {
                if parts.next().is_some() {
                    return None;
                }
                positions.push(None);
                continue;
            }
            let epoch = number(epoch)?;
            let mut any = false;
            for offset in parts {
                any = true;
                positions.push(match offset {
                    "" => None,
                    offset => Some(Position::new(epoch, number(offset)?)),
                });
            }
            if !any {
                return None;
            }
        }
        (positions.len() == self.targets).then_some(positions)
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
}

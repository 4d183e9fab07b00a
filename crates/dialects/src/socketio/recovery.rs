//! Connection state recovery: the id and offset that a client sends back, and the note that the
//! server stores.
//!
//! The client receives a private id with each connection, and an offset as the last argument of
//! every event. After a lost connection, it sends both back. The id contains the session's name and
//! the time at which the session began. The offset contains the position of every subscription to
//! which anything was delivered. One offset is therefore enough for any number of channels, and the
//! server stores nothing per event.
//!
//! ```text
//! id      0123456789abcdef0123456789abcdef.m5x2k1
//!         the session's name               when it began
//! offset  m5x2k1~k3f9x2a1b:1.4k,2.9
//!         when it began~epoch:subscription.offset,subscription.offset;epoch:…
//! ```
//!
//! All numbers are in base 36. The session's note lists its subscriptions and where each began.

use std::{collections::BTreeMap, fmt::Write};

use offhook_engine::{ChannelName, Epoch, Filter, Position, Since, Target};
use serde::{Deserialize, Serialize};

/// The longest offset that is accepted. 16 KiB: the positions of some hundred subscriptions.
const MAX_OFFSET: usize = 16 * 1024;
/// The length of a session's name that the server chose.
const NAME: usize = 32;

/// What a client sends to recover a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Brought {
    /// The session's name.
    pub(super) name: String,
    /// When the session began.
    pub(super) stamp: u64,
    /// The positions of its subscriptions, by their numbers.
    pub(super) positions: BTreeMap<u32, Position>,
}

impl Brought {
    /// Decodes an id and an offset. An offset of another session is ignored, because the stock
    /// client keeps its last offset when it receives a new id.
    pub(super) fn read(id: &str, offset: &str) -> Option<Self> {
        let (name, stamp) = id.split_once('.')?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if name.len() != NAME || !name.bytes().all(is_hex) {
            return None;
        }
        let stamp = digits(stamp)?;
        let positions = positions(offset, stamp).unwrap_or_default();
        Some(Self {
            name: name.to_owned(),
            stamp,
            positions,
        })
    }
}

/// The id of a session.
pub(super) fn id(name: &str, stamp: u64) -> String {
    format!("{name}.{}", Base36(stamp))
}

/// The offset of a session whose subscriptions have these positions.
pub(super) fn offset(stamp: u64, positions: impl Iterator<Item = (u32, Position)>) -> String {
    let mut by_epoch: BTreeMap<u64, Vec<(u32, u64)>> = BTreeMap::new();
    for (number, Position { epoch, offset }) in positions {
        by_epoch.entry(epoch.0).or_default().push((number, offset));
    }
    let mut text = format!("{}~", Base36(stamp));
    for (index, (epoch, offsets)) in by_epoch.into_iter().enumerate() {
        let separator = if index > 0 { ";" } else { "" };
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{separator}{}:", Base36(epoch));
        for (index, (number, offset)) in offsets.into_iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let (number, offset) = (Base36(number.into()), Base36(offset));
            let _infallible = write!(text, "{separator}{number}.{offset}");
        }
    }
    text
}

fn positions(text: &str, stamp: u64) -> Option<BTreeMap<u32, Position>> {
    if text.len() > MAX_OFFSET {
        return None;
    }
    let (of, rest) = text.split_once('~')?;
    if digits(of)? != stamp {
        return None;
    }
    let mut positions = BTreeMap::new();
    for part in rest.split(';').filter(|part| !part.is_empty()) {
        let (epoch, offsets) = part.split_once(':')?;
        let epoch = Epoch(digits(epoch)?);
        for one in offsets.split(',') {
            let (number, offset) = one.split_once('.')?;
            let number = u32::try_from(digits(number)?).ok()?;
            let offset = digits(offset)?;
            positions.insert(number, Position { epoch, offset });
        }
    }
    Some(positions)
}

fn digits(text: &str) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    let are_digits = !text.is_empty() && text.bytes().all(is_digit);
    are_digits.then(|| u64::from_str_radix(text, 36).ok())?
}

struct Base36(u64);

impl std::fmt::Display for Base36 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        let mut left = self.0;
        loop {
            let digit = u32::try_from(left.checked_rem(36).unwrap_or(0)).unwrap_or(0);
            text.insert(0, char::from_digit(digit, 36).unwrap_or('0'));
            left = left.checked_div(36).unwrap_or(0);
            if left == 0 {
                return f.write_str(&text);
            }
        }
    }
}

/// The content of a session's note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// When the session began.
    pub(super) stamp: u64,
    /// The number of the latest subscription.
    pub(super) latest: u32,
    pub(super) subscriptions: Vec<Kept>,
}

/// A subscription in a note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) number: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) channel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) filter: Option<String>,
    /// Where it begins, unless the client sends a later position.
    pub(super) since: String,
    pub(super) presence: bool,
    pub(super) echo: bool,
    /// The window of an acknowledged subscription. The engine redelivers what is not acknowledged.
    pub(super) window: Option<u16>,
}

impl Kept {
    /// A subscription that begins at `since`.
    pub(super) fn new(number: u32, target: &Target, since: Since) -> Self {
        let (channel, filter) = match target {
            Target::Channel(channel) => (Some(channel.as_str().to_owned()), None),
            Target::Filter(filter) => (None, Some(filter.as_str().to_owned())),
        };
        Self {
            number,
            channel,
            filter,
            since: since_text(since),
            presence: false,
            echo: true,
            window: None,
        }
    }

    /// The channel or filter.
    pub(super) fn target(&self) -> Option<Target> {
        match (&self.channel, &self.filter) {
            (Some(channel), _) => ChannelName::new(channel).ok().map(Target::from),
            (None, Some(filter)) => Filter::new(filter).ok().map(Target::from),
            (None, None) => None,
        }
    }

    /// Where it begins.
    pub(super) fn since(&self) -> Option<Since> {
        Some(match &*self.since {
            "now" => Since::Now,
            "start" => Since::Start,
            "state" => Since::State,
            other => match other.strip_prefix("last ") {
                Some(count) => Since::Last(count.parse().ok()?),
                None => Since::Position(other.parse().ok()?),
            },
        })
    }
}

fn since_text(since: Since) -> String {
    match since {
        Since::Now => "now".to_owned(),
        Since::Start => "start".to_owned(),
        Since::State => "state".to_owned(),
        Since::Last(count) => format!("last {count}"),
        Since::Position(position) => position.to_string(),
    }
}

impl Note {
    /// The note as bytes.
    pub(super) fn write(&self) -> Vec<u8> {
        // Everything in a note can be serialized.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes a note; none if the bytes are not a note.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAME: &str = "0123456789abcdef0123456789abcdef";

    proptest! {
        #[test]
        fn a_client_brings_back_what_it_was_given(
            stamp: u64,
            given: BTreeMap<u32, (u64, u64)>,
        ) {
            let positions: BTreeMap<_, _> = given
                .into_iter()
                .map(|(number, (epoch, offset))| (number, Position::new(epoch, offset)))
                .collect();
            let offset = offset(stamp, positions.iter().map(|(n, p)| (*n, *p)));
            prop_assert!(!offset.contains(['"', '\\']));
            let brought = Brought::read(&id(NAME, stamp), &offset).unwrap();
            prop_assert_eq!(brought.stamp, stamp);
            if offset.len() <= MAX_OFFSET {
                prop_assert_eq!(brought.positions, positions);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(id in ".{0,80}", offset in "[0-9a-z~:.,;]{0,200}") {
            let _read = Brought::read(&id, &offset);
            let _read = positions(&offset, 0);
        }
    }

    #[test]
    fn an_offset_of_another_session_counts_as_none() {
        let older = offset(1, [(1, Position::new(5, 6))].into_iter());
        let brought = Brought::read(&id(NAME, 2), &older).unwrap();
        assert!(brought.positions.is_empty());
    }

    #[test]
    fn a_note_comes_back_from_its_bytes() {
        let channel = Target::from(ChannelName::new("a").unwrap());
        let filter = Target::from(Filter::new("a/+").unwrap());
        let all = [
            Since::Now,
            Since::Start,
            Since::State,
            Since::Last(7),
            Since::Position(Position::new(5, 6)),
        ];
        for since in all {
            let kept = [Kept::new(1, &channel, since), Kept::new(2, &filter, since)];
            let note = Note {
                stamp: 3,
                latest: 4,
                subscriptions: kept.into(),
            };
            let read = Note::read(&note.write()).unwrap();
            assert_eq!(read, note);
            assert_eq!(read.subscriptions[0].since(), Some(since));
            assert_eq!(read.subscriptions[0].target(), Some(channel.clone()));
            assert_eq!(read.subscriptions[1].target(), Some(filter.clone()));
        }
        assert_eq!(Note::read(b"something else"), None);
    }
}

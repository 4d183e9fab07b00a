//! The dialect's part of a durable session as bytes, which the broker stores: the names and
//! destinations of durable subscriptions. The engine stores their positions.

use std::collections::VecDeque;

use offhook_engine::Since;

use super::{
    destination::Destination,
    subscription::{AckMode, Subscription, SubscriptionState},
};

/// The version of this format. Notes of other dialects begin with different bytes.
const FORM: &[u8] = b"stomp1";

/// Writes the subscriptions as bytes.
pub(super) fn write<'a>(
    next_number: u32,
    durable: impl Iterator<Item = (u32, &'a str, &'a str)>,
) -> Vec<u8> {
    let mut w = FORM.to_vec();
    w.extend(next_number.to_be_bytes());
    for (number, name, destination) in durable {
        w.extend(number.to_be_bytes());
        for text in [name, destination] {
            w.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            w.extend(text.as_bytes());
        }
    }
    w
}

/// Reads a note: the next number, and the subscriptions with their numbers. Returns `None` if it is
/// truncated or belongs to another dialect.
pub(super) fn read(note: &[u8]) -> Option<(u32, Vec<(u32, Subscription)>)> {
    let mut r = note.strip_prefix(FORM)?;
    let next_number = u32::from_be_bytes(take(&mut r)?);
    let mut all = Vec::new();
    while !r.is_empty() {
        let number = u32::from_be_bytes(take(&mut r)?);
        let name = text(&mut r)?;
        let destination = Destination::new(text(&mut r)?).ok()?;
        let subscription = Subscription {
            id: "".into(),
            has_id: false,
            destination,
            mode: AckMode::Individual,
            durable: Some(name.into()),
            acknowledged: true,
            stage: SubscriptionState::Detached,
            since: Since::Now,
            window: 0,
            wants_gaps: false,
            receipt: None,
            held: VecDeque::new(),
        };
        all.push((number, subscription));
    }
    Some((next_number, all))
}

fn text<'a>(r: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::try_from(u32::from_be_bytes(take(r)?)).ok()?;
    let (text, rest) = r.split_at_checked(len)?;
    *r = rest;
    str::from_utf8(text).ok()
}

fn take<const N: usize>(r: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = r.split_first_chunk()?;
    *r = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durable_subscriptions_can_be_restored_from_a_note() {
        let note = write(
            9,
            [(3, "a", "/topic/x"), (7, "b\n", "/topic/y/+")].into_iter(),
        );
        let (next, all) = read(&note).unwrap();
        assert_eq!(next, 9);
        let all: Vec<_> = all
            .into_iter()
            .map(|(number, s)| (number, s.durable.unwrap(), s.destination))
            .collect();
        let destination = |text| Destination::new(text).unwrap();
        assert_eq!(
            all,
            [
                (3, "a".into(), destination("/topic/x")),
                (7, "b\n".into(), destination("/topic/y/+"))
            ]
        );
    }

    #[test]
    fn a_truncated_note_and_one_of_another_dialect_are_rejected() {
        let note = write(9, [(3, "a", "/topic/x")].into_iter());
        // A note without subscriptions is a prefix of a note that has some.
        for len in (0..note.len()).filter(|len| *len != FORM.len() + 4) {
            assert_eq!(read(&note[..len]), None, "{len}");
        }
        assert_eq!(read(&[2; 30]), None);
    }
}

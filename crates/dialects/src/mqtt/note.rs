//! The dialect's part of a session as bytes, which the broker stores: subscriptions with their
//! options, and unfinished exchanges of QoS 2.
//!
//! Messages without any acknowledgement are not part of it: the engine delivers them again.

use std::collections::BTreeSet;

use offhook_engine::{ChannelName, Filter, Key, Position, Target};

use super::{
    packet::{Options, Qos, RetainHandling},
    session::{Exchange, InFlight, Origin, Received, Session, Subscription, Taking, Wanted},
};

/// The version of this format.
const FORM: u8 = 4;
/// The version without groups, which is still read.
const WITHOUT_GROUPS: u8 = 2;
/// The version without the contents of received messages, which is still read.
const WITHOUT_CONTENTS: u8 = 3;

impl Session {
    /// The session as bytes.
    pub(super) fn note(&self) -> Vec<u8> {
        let mut w = vec![FORM];
        w.extend(self.next_number.to_be_bytes());
        w.extend(self.next_key.to_be_bytes());
        count(&mut w, self.subscriptions.len());
        for (number, subscription) in &self.subscriptions {
            w.extend(number.to_be_bytes());
            w.push(options_byte(subscription));
            w.extend(subscription.identifier.to_be_bytes());
            let Wanted { target, group } = &subscription.wanted;
            let group = group.as_ref().map_or("", Key::as_str);
            for text in [target.as_str(), group] {
                count(&mut w, text.len());
                w.extend(text.as_bytes());
            }
            if let Some(retained) = &subscription.retained {
                count(&mut w, retained.len());
                w.extend(retained.iter().flat_map(|sequence| sequence.to_be_bytes()));
            }
        }
        // In this order, their PUBRELs are sent again.
        let released = self.released();
        count(&mut w, released.len());
        for (id, message) in released {
            w.extend(id.to_be_bytes());
            w.extend(message.subscription.to_be_bytes());
            write_origin(&mut w, message.origin);
        }
        count(&mut w, self.received.len());
        for (id, received) in &self.received {
            w.extend(id.to_be_bytes());
            w.extend(received.key.to_be_bytes());
            w.extend(received.content.to_be_bytes());
            let is_taken = matches!(received.state, Taking::Taken | Taking::TakenBefore);
            w.push(is_taken.into());
        }
        w
    }

    /// Decodes a note; none if it is truncated or has another version.
    pub(super) fn from_note(note: &[u8]) -> Option<Self> {
        let mut r = note;
        let form = u8::from_be_bytes(take(&mut r)?);
        if ![FORM, WITHOUT_CONTENTS, WITHOUT_GROUPS].contains(&form) {
            return None;
        }
        let mut session = Self {
            next_number: u32::from_be_bytes(take(&mut r)?),
            next_key: u64::from_be_bytes(take(&mut r)?),
            ..Self::default()
        };
        for _ in 0..u32::from_be_bytes(take(&mut r)?) {
            let number = u32::from_be_bytes(take(&mut r)?);
            let [bits] = take(&mut r)?;
            let identifier = u32::from_be_bytes(take(&mut r)?);
            let target = target_of(text(&mut r)?, bits)?;
            let group = match form {
                WITHOUT_GROUPS => "",
                _ => text(&mut r)?,
            };
            let group = match group {
                "" => None,
                name => Some(Key::new(name).ok()?),
            };
            let wanted = Wanted { target, group };
            let acknowledged = bits & ACKNOWLEDGED != 0;
            let retained = match bits & RETAINED {
                0 => None,
                _ => Some(sequences(&mut r)?),
            };
            session.numbers.insert(wanted.clone(), number);
            let subscription = Subscription {
                wanted,
                options: options_of(bits)?,
                identifier,
                numbered: bits & NUMBERED != 0,
                acknowledged,
                // The engine continues those that are acknowledged by itself.
                begun: acknowledged,
                retained,
            };
            session.subscriptions.insert(number, subscription);
        }
        for _ in 0..u32::from_be_bytes(take(&mut r)?) {
            let id = u16::from_be_bytes(take(&mut r)?);
            let subscription = u32::from_be_bytes(take(&mut r)?);
            let origin = read_origin(&mut r)?;
            // The engine delivers the messages of a subscription that continues once more.
            let continues = session.subscriptions.contains_key(&subscription);
            let message = InFlight {
                subscription,
                origin,
                stage: Exchange::Released {
                    delivered: origin.live_offset().is_none() || !continues,
                },
                release: session.next_release(),
            };
            session.in_flight.insert(id, message);
        }
        for _ in 0..u32::from_be_bytes(take(&mut r)?) {
            let id = u16::from_be_bytes(take(&mut r)?);
            let key = u64::from_be_bytes(take(&mut r)?);
            let (content, state) = match form {
                FORM => {
                    let content = u64::from_be_bytes(take(&mut r)?);
                    match take(&mut r)? {
                        [0] => (content, Taking::Unknown),
                        [_] => (content, Taking::TakenBefore),
                    }
                }
                _ => (0, Taking::Unknown),
            };
            let received = Received {
                key,
                content,
                state,
            };
            session.received.insert(id, received);
        }
        Some(session)
    }
}

const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;
const RETAINED: u8 = 16;
const ACKNOWLEDGED: u8 = 32;
const FILTER: u8 = 64;
const NUMBERED: u8 = 128;

fn options_byte(subscription: &Subscription) -> u8 {
    let Options {
        qos,
        no_local,
        retain_as_published,
        retain_handling: _,
    } = subscription.options;
    let bit = |set: bool, bit| if set { bit } else { 0 };
    qos.number()
        | bit(no_local, NO_LOCAL)
        | bit(retain_as_published, RETAIN_AS_PUBLISHED)
        | bit(subscription.wanted.target.channel().is_none(), FILTER)
        | bit(subscription.numbered, NUMBERED)
        | bit(subscription.acknowledged, ACKNOWLEDGED)
        | bit(subscription.retained.is_some(), RETAINED)
}

fn options_of(bits: u8) -> Option<Options> {
    Some(Options {
        qos: Qos::new(bits & 3)?,
        no_local: bits & NO_LOCAL != 0,
        retain_as_published: bits & RETAIN_AS_PUBLISHED != 0,
        // It has a meaning only in a SUBSCRIBE.
        retain_handling: RetainHandling::Always,
    })
}

fn target_of(name: &str, bits: u8) -> Option<Target> {
    match bits & FILTER {
        0 => ChannelName::new(name).ok().map(Target::Channel),
        _ => Filter::new(name).ok().map(Target::Filter),
    }
}

fn sequences(r: &mut &[u8]) -> Option<BTreeSet<u64>> {
    let mut all = BTreeSet::new();
    for _ in 0..u32::from_be_bytes(take(r)?) {
        all.insert(u64::from_be_bytes(take(r)?));
    }
    Some(all)
}

fn write_origin(w: &mut Vec<u8>, origin: Origin) {
    match origin {
        Origin::Live(place) => {
            w.push(LIVE);
            w.extend(place.epoch.0.to_be_bytes());
            w.extend(place.offset.to_be_bytes());
        }
        Origin::Retained(sequence) => {
            w.push(OF_STATE);
            w.extend(sequence.to_be_bytes());
        }
        Origin::Skipped => w.push(SKIPPED),
    }
}

const SKIPPED: u8 = 0;
const LIVE: u8 = 1;
const OF_STATE: u8 = 2;

fn read_origin(r: &mut &[u8]) -> Option<Origin> {
    let [kind] = take(r)?;
    let mut number = || Some(u64::from_be_bytes(take(r)?));
    Some(match kind {
        SKIPPED => Origin::Skipped,
        LIVE => Origin::Live(Position::new(number()?, number()?)),
        OF_STATE => Origin::Retained(number()?),
        _ => return None,
    })
}

fn count(w: &mut Vec<u8>, count: usize) {
    w.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
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

    fn session() -> Session {
        let mut session = Session {
            next_key: 9,
            ..Session::default()
        };
        let options = Options {
            qos: Qos::ExactlyOnce,
            no_local: true,
            ..Options::default()
        };
        for (target, numbered) in [("a", true), ("a/+", false)] {
            let target = match target.contains('+') {
                true => Filter::new(target).unwrap().into(),
                false => ChannelName::new(target).unwrap().into(),
            };
            let group = numbered.then(|| Key::new("group").unwrap());
            session.add(Subscription {
                wanted: Wanted { target, group },
                options,
                identifier: 7,
                numbered,
                acknowledged: numbered,
                begun: numbered,
                retained: numbered.then(|| [3, u64::MAX].into()),
            });
        }
        let live = Origin::Live(Position::new(5, 6));
        let released = [
            (6, live, false),
            (3, Origin::Retained(7), true),
            (5, Origin::Skipped, true),
        ];
        for (id, origin, delivered) in released {
            let message = InFlight {
                subscription: 0,
                origin,
                stage: Exchange::Released { delivered },
                release: session.next_release(),
            };
            session.in_flight.insert(id, message);
        }
        let (key, content) = (8, 9);
        for (id, state) in [(4, Taking::Unknown), (5, Taking::TakenBefore)] {
            let received = Received {
                key,
                content,
                state,
            };
            session.received.insert(id, received);
        }
        session
    }

    #[test]
    fn a_session_can_be_restored_from_its_note() {
        let session = session();
        assert_eq!(Session::from_note(&session.note()), Some(session));
    }

    #[test]
    fn a_note_of_a_version_without_groups_is_still_read() {
        let mut old = session();
        old.subscriptions.clear();
        old.numbers.clear();
        old.received.clear();
        // Nothing continues without its subscription.
        old.in_flight.values_mut().for_each(|message| {
            message.stage = Exchange::Released { delivered: true };
        });
        let mut note = old.note();
        for form in [WITHOUT_GROUPS, WITHOUT_CONTENTS] {
            *note.first_mut().unwrap() = form;
            assert_eq!(Session::from_note(&note), Some(old.clone()));
        }
    }

    #[test]
    fn a_note_of_a_version_without_contents_is_still_read() {
        let mut old = session();
        old.received.clear();
        let mut note = old.note();
        assert_eq!(note.drain(note.len() - 4..).collect::<Vec<_>>(), [0; 4]);
        *note.first_mut().unwrap() = WITHOUT_CONTENTS;
        note.extend([0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8]);
        let received = Received {
            key: 8,
            content: 0,
            state: Taking::Unknown,
        };
        old.received.insert(4, received);
        assert_eq!(Session::from_note(&note), Some(old));
    }

    #[test]
    fn messages_without_any_acknowledgement_are_not_in_the_note() {
        let mut sent = session();
        let origin = Origin::Live(Position::new(5, 7));
        let stage = Exchange::Sent(Qos::ExactlyOnce);
        let subscription = 0;
        let message = InFlight {
            subscription,
            origin,
            stage,
            release: 0,
        };
        sent.in_flight.insert(4, message);
        assert_eq!(Session::from_note(&sent.note()), Some(session()));
    }

    #[test]
    fn a_truncated_note_is_rejected() {
        let note = session().note();
        for len in 0..note.len() {
            assert_eq!(Session::from_note(note.get(..len).unwrap()), None, "{len}");
        }
    }
}

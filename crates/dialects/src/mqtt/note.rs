//! The dialect's part of a session as bytes, which the broker stores: subscriptions with their
//! options, and unfinished exchanges of QoS 2.
//!
//! Messages without any acknowledgement are not part of it: the engine delivers them again.

use offhook_engine::{ChannelName, Filter, Position, Target};

use super::{
    packet::{Options, Qos, RetainHandling},
    session::{Exchange, InFlight, Received, Session, Subscription, Taking},
};

/// The version of this format.
const FORM: u8 = 1;

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
            let target = subscription.target.as_str();
            count(&mut w, target.len());
            w.extend(target.as_bytes());
        }
        let released = || {
            let all = self.in_flight.iter();
            all.filter_map(|(id, message)| match (message.stage, message.place) {
                (Exchange::Released { .. } | Exchange::Completed, Some(place)) => {
                    Some((id, message.subscription, place))
                }
                (Exchange::Released { .. } | Exchange::Completed | Exchange::Sent(_), _) => None,
            })
        };
        count(&mut w, released().count());
        for (id, subscription, place) in released() {
            w.extend(id.to_be_bytes());
            w.extend(subscription.to_be_bytes());
            w.extend(place.epoch.0.to_be_bytes());
            w.extend(place.offset.to_be_bytes());
        }
        count(&mut w, self.received.len());
        for (id, received) in &self.received {
            w.extend(id.to_be_bytes());
            w.extend(received.key.to_be_bytes());
        }
        w
    }

    /// Decodes a note; none if it is truncated or has another version.
    pub(super) fn from_note(note: &[u8]) -> Option<Self> {
        let mut r = note;
        if u8::from_be_bytes(take(&mut r)?) != FORM {
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
            let len = usize::try_from(u32::from_be_bytes(take(&mut r)?)).ok()?;
            let (target, rest) = r.split_at_checked(len)?;
            r = rest;
            let target = target_of(str::from_utf8(target).ok()?, bits)?;
            session.numbers.insert(target.clone(), number);
            let subscription = Subscription {
                target,
                options: options_of(bits)?,
                identifier,
                numbered: bits & NUMBERED != 0,
            };
            session.subscriptions.insert(number, subscription);
        }
        for _ in 0..u32::from_be_bytes(take(&mut r)?) {
            let id = u16::from_be_bytes(take(&mut r)?);
            let subscription = u32::from_be_bytes(take(&mut r)?);
            let epoch = u64::from_be_bytes(take(&mut r)?);
            let offset = u64::from_be_bytes(take(&mut r)?);
            let message = InFlight {
                subscription,
                place: Some(Position::new(epoch, offset)),
                stage: Exchange::Released { delivered: false },
            };
            session.in_flight.insert(id, message);
        }
        for _ in 0..u32::from_be_bytes(take(&mut r)?) {
            let id = u16::from_be_bytes(take(&mut r)?);
            let key = u64::from_be_bytes(take(&mut r)?);
            let state = Taking::Unknown;
            session.received.insert(id, Received { key, state });
        }
        Some(session)
    }
}

const NO_LOCAL: u8 = 4;
const RETAIN_AS_PUBLISHED: u8 = 8;
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
        | bit(subscription.target.channel().is_none(), FILTER)
        | bit(subscription.numbered, NUMBERED)
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

fn count(w: &mut Vec<u8>, count: usize) {
    w.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
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
            session.add(Subscription {
                target: match target.contains('+') {
                    true => Filter::new(target).unwrap().into(),
                    false => ChannelName::new(target).unwrap().into(),
                },
                options,
                identifier: 7,
                numbered,
            });
        }
        session.in_flight.insert(
            3,
            InFlight {
                subscription: 0,
                place: Some(Position::new(5, 6)),
                stage: Exchange::Released { delivered: false },
            },
        );
        let (key, state) = (8, Taking::Unknown);
        session.received.insert(4, Received { key, state });
        session
    }

    #[test]
    fn a_session_can_be_restored_from_its_note() {
        let session = session();
        assert_eq!(Session::from_note(&session.note()), Some(session));
    }

    #[test]
    fn messages_without_any_acknowledgement_are_not_in_the_note() {
        let mut sent = session();
        let place = Some(Position::new(5, 7));
        let stage = Exchange::Sent(Qos::ExactlyOnce);
        let subscription = 0;
        let message = InFlight {
            subscription,
            place,
            stage,
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

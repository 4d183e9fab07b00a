//! MQTT 3.1.1, with `QoS` 0 or 1.

use super::{Dialect, Part, Unit, Word};

/// MQTT 3.1.1 §3.12.
pub(super) const PING: [u8; 2] = [0xC0, 0];

/// MQTT 3.1.1 §3.1: a clean session without keepalive; the server chooses the client's name.
pub(super) fn connect() -> Vec<u8> {
    packet(0x10, b"\0\x04MQTT\x04\x02\0\0\0\0")
}

/// MQTT 3.1.1 §3.3.
pub(super) fn publication(channel: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[&text(channel)[..], payload].concat())
}

/// The same, acknowledged (`QoS` 1). MQTT 3.1.1 §2.3.1: a packet's identifier is never 0.
pub(super) fn acknowledged(channel: &str, number: usize, payload: &[u8]) -> Vec<u8> {
    let identifier = (number as u16 + 1).to_be_bytes();
    packet(0x32, &[&text(channel)[..], &identifier, payload].concat())
}

/// MQTT 3.1.1 §3.4: the PUBACK of a PUBLISH with `QoS` 1.
pub(super) fn acknowledgement(unit: &Unit<'_>) -> Option<Vec<u8>> {
    if unit.head[0] & 0xF6 != 0x32 {
        return None;
    }
    let (length, rest) = unit.body.split_first_chunk()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
    let identifier: &[u8; 2] = rest.first_chunk()?;
    Some(packet(0x40, identifier))
}

pub(super) fn hear(part: &Part, unit: &Unit<'_>) -> Word {
    let qos = u8::from(part.dialect == Dialect::MqttAcknowledged);
    match (unit.head[0] & 0xF0, unit.body) {
        (0x20, [_, 0]) if part.subscribes => {
            let filter = text(&part.channel);
            Word::Say(packet(0x82, &[&[0, 1][..], &filter[..], &[qos]].concat()))
        }
        (0x20, [_, 0]) => Word::Ready,
        (0x90, [0, 1, granted]) if *granted == qos => Word::Ready,
        (0x30, _) => Word::Publication,
        (0x40, [a, b]) => Word::Taken(usize::from(u16::from_be_bytes([*a, *b])).wrapping_sub(1)),
        (0xD0, _) => Word::Pong,
        (kind, body) => Word::Refused(format!("packet {kind:#x} {body:x?}")),
    }
}

/// MQTT 3.1.1 §1.5.3.
fn text(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut left = body.len();
    while left > 0x7F {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
    out.extend_from_slice(body);
    out
}

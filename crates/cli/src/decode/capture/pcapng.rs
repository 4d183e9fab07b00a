//! The format that Wireshark writes.

use super::bytes::{Order, Reader};
use super::{Capture, Packet};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
const SECRETS: u32 = 10;

/// Secrets in the format of a TLS key log.
const TLS_KEY_LOG: u32 = 0x544c_534b;

pub(super) fn is_it(file: &[u8]) -> bool {
    file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) && file.get(8..12).and_then(order).is_some()
}

fn order(magic: &[u8]) -> Option<Order> {
    match magic {
        [0x1a, 0x2b, 0x3c, 0x4d] => Some(Order::Big),
        [0x4d, 0x3c, 0x2b, 0x1a] => Some(Order::Little),
        _ => None,
    }
}

/// An interface that packets were captured on.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// How much of each packet is captured; 0 means all of it.
    longest: usize,
    /// The unit of time, encoded as in the file; see [`nanoseconds`].
    resolution: u8,
}

/// Reads the packets and secrets. If the file ends early, returns those before that.
pub(super) fn read(file: &[u8]) -> Result<Capture<'_>, &'static str> {
    let mut capture = Capture::default();
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut order = Order::Little;
    let mut rest = file;
    while !rest.is_empty() {
        if rest.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            let magic = rest.get(8..12).ok_or("its header is cut off")?;
            order = self::order(magic).ok_or("a section has an unknown byte order")?;
            interfaces.clear();
        }
        let Some((kind, body, after)) = block(rest, order) else {
            capture.is_cut_off = true;
            break;
        };
        rest = after;
        let mut body = Reader::new(body, order);
        match kind {
            SECTION => {}
            INTERFACE => interfaces.extend(interface(&mut body)),
            SECRETS => capture.secrets.extend(secrets(&mut body)),
            PACKET | OLD_PACKET => {
                capture.packets.extend(packet(&mut body, kind, &interfaces));
            }
            SIMPLE_PACKET => capture.packets.extend(simple(&mut body, &interfaces)),
            _ => {}
        }
    }
    Ok(capture)
}

/// A block's type and body, and the bytes after it.
fn block(bytes: &[u8], order: Order) -> Option<(u32, &[u8], &[u8])> {
    let mut reader = Reader::new(bytes, order);
    let kind = reader.u32()?;
    let length = reader.length()?;
    // Type, length, and the length again.
    let body = reader.take(length.checked_sub(12)?)?;
    reader.take(4)?;
    Some((kind, body, reader.rest()))
}

fn interface(body: &mut Reader<'_>) -> Option<Interface> {
    let link = u32::from(body.u16()?);
    body.u16()?;
    let longest = body.length()?;
    let mut resolution = 6;
    // Options: a code, a length, a value padded to four bytes.
    while let (Some(code), Some(length)) = (body.u16(), body.u16()) {
        let length = usize::from(length);
        let Some(value) = body.take(length.next_multiple_of(4)) else {
            break;
        };
        match (code, value) {
            (0, _) => break,
            (9, [value, ..]) => resolution = *value,
            _ => {}
        }
    }
    Some(Interface {
        link,
        longest,
        resolution,
    })
}

fn secrets<'a>(body: &mut Reader<'a>) -> Option<&'a [u8]> {
    let kind = body.u32()?;
    let length = body.length()?;
    body.take(length).filter(|_| kind == TLS_KEY_LOG)
}

fn packet<'a>(body: &mut Reader<'a>, kind: u32, interfaces: &[Interface]) -> Option<Packet<'a>> {
    let interface = if kind == OLD_PACKET {
        let number = usize::from(body.u16()?);
        body.u16()?;
        interfaces.get(number)?
    } else {
        interfaces.get(body.length()?)?
    };
    let (high, low) = (u64::from(body.u32()?), u64::from(body.u32()?));
    let length = body.length()?;
    body.u32()?;
    Some(Packet {
        time: nanoseconds((high << 32) | low, interface.resolution),
        link: interface.link,
        bytes: body.take(length)?,
    })
}

/// A packet without a time, from the first interface.
fn simple<'a>(body: &mut Reader<'a>, interfaces: &[Interface]) -> Option<Packet<'a>> {
    let interface = interfaces.first()?;
    let mut length = body.length()?;
    if interface.longest > 0 {
        length = length.min(interface.longest);
    }
    let length = length.min(body.rest().len());
    Some(Packet {
        time: 0,
        link: interface.link,
        bytes: body.take(length)?,
    })
}

/// The upper bit says whether the other bits are a negative power of 2 or of 10.
fn nanoseconds(units: u64, resolution: u8) -> u64 {
    const NANOSECONDS: u128 = 1_000_000_000;
    let exponent = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    // No clock has a unit below 1e-38 s.
    let per_second = base.checked_pow(exponent).unwrap_or(u128::MAX);
    let time = u128::from(units).saturating_mul(NANOSECONDS) / per_second;
    u64::try_from(time).unwrap_or(u64::MAX)
}

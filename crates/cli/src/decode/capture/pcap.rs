//! The format of `tcpdump -w`.

use super::bytes::{Order, Reader};
use super::{Capture, Packet};

/// The byte order, and the number of nanoseconds per unit of a packet's time.
fn format(file: &[u8]) -> Option<(Order, u64)> {
    match file.first_chunk()? {
        [0xa1, 0xb2, 0xc3, 0xd4] => Some((Order::Big, 1_000)),
        [0xd4, 0xc3, 0xb2, 0xa1] => Some((Order::Little, 1_000)),
        [0xa1, 0xb2, 0x3c, 0x4d] => Some((Order::Big, 1)),
        [0x4d, 0x3c, 0xb2, 0xa1] => Some((Order::Little, 1)),
        _ => None,
    }
}

pub(super) fn is_it(file: &[u8]) -> bool {
    format(file).is_some()
}

/// Reads the packets. If the file ends early, returns the packets before that.
pub(super) fn read(file: &[u8]) -> Result<Capture<'_>, &'static str> {
    let (order, unit) = format(file).ok_or("it has no pcap header")?;
    let mut reader = Reader::new(file, order);
    let link = header(&mut reader).ok_or("its pcap header is cut off")?;
    let mut capture = Capture::default();
    while !reader.rest().is_empty() {
        let Some(packet) = packet(&mut reader, unit, link) else {
            capture.is_cut_off = true;
            break;
        };
        capture.packets.push(packet);
    }
    Ok(capture)
}

/// The link type.
fn header(reader: &mut Reader<'_>) -> Option<u32> {
    // Magic number, version, time zone, accuracy, longest packet.
    reader.take(20)?;
    // The upper bits give the length of the checksum after each frame.
    Some(reader.u32()? & 0x0fff_ffff)
}

fn packet<'a>(reader: &mut Reader<'a>, unit: u64, link: u32) -> Option<Packet<'a>> {
    let (seconds, fraction) = (reader.u32()?, reader.u32()?);
    let length = reader.length()?;
    let _length_on_the_wire = reader.u32()?;
    let bytes = reader.take(length)?;
    let time = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit;
    Some(Packet { time, link, bytes })
}

//! Captured network traffic: the TCP connections in it, and the bytes of each.
//!
//! ```text
//!   file ─▶ pcap | pcapng ─▶ packet: Ethernet, IP, TCP ─▶ streams: bytes in order ─▶ tls, with keys
//! ```
//!
//! Nothing here panics on any input. Packets borrow from the file, so memory is a small multiple of
//! the file's size.

mod bytes;
mod packet;
mod pcap;
mod pcapng;
mod streams;
pub(super) mod tls;

pub(super) use self::streams::{Chunk, Stream};

/// The content of a capture file.
#[derive(Debug, Default)]
pub(super) struct Capture<'a> {
    pub(super) packets: Vec<Packet<'a>>,
    /// TLS secrets that are stored in the file, in the format of a key log.
    pub(super) secrets: Vec<&'a [u8]>,
    /// Whether the file ends in the middle of a packet.
    pub(super) is_cut_off: bool,
}

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// The link layer, as a number of the registry of link types.
    pub(super) link: u32,
    pub(super) bytes: &'a [u8],
}

/// Why a file cannot be read as a capture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// Not a capture at all.
    Other,
    /// A capture with an error at its start.
    Fault(&'static str),
}

/// Reads pcap and pcapng.
pub(super) fn read(file: &[u8]) -> Result<Capture<'_>, Unreadable> {
    if pcapng::is_it(file) {
        return pcapng::read(file).map_err(Unreadable::Fault);
    }
    if pcap::is_it(file) {
        return pcap::read(file).map_err(Unreadable::Fault);
    }
    if file.starts_with(&[0x1f, 0x8b]) {
        return Err(Unreadable::Fault("it is compressed; gunzip it first"));
    }
    Err(Unreadable::Other)
}

/// The result of reading a capture.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) streams: Vec<Stream<'a>>,
    /// Problems found, as text.
    pub(super) notes: Vec<String>,
}

impl<'a> Capture<'a> {
    /// The TCP connections, in the order in which they started.
    pub(super) fn streams(&self) -> Found<'a> {
        let mut table = streams::Table::default();
        let mut others = 0_usize;
        let mut notes = Vec::new();
        for packet in &self.packets {
            match packet::segment(packet) {
                packet::Content::Tcp(segment) => table.take(packet.time, &segment),
                packet::Content::Fragment => note_once(
                    &mut notes,
                    "IP fragments are ignored: capture TCP below the MTU",
                ),
                packet::Content::UnknownLink => others += 1,
                packet::Content::Other => {}
            }
        }
        if others > 0 {
            let link = self.packets.first().map_or(0, |packet| packet.link);
            notes.push(format!(
                "{others} packets have a link layer that is not known here (the first packet: {link}); Ethernet, \
                 Linux cooked, loopback and raw IP are"
            ));
        }
        if self.is_cut_off {
            notes.push("the file ends in the middle of a packet".to_owned());
        }
        let streams = table.finish(&mut notes);
        Found { streams, notes }
    }
}

fn note_once(notes: &mut Vec<String>, note: &str) {
    if !notes.iter().any(|known| known == note) {
        notes.push(note.to_owned());
    }
}

#[cfg(test)]
mod tests;

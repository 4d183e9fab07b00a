//! Reassembles TCP connections from segments: the bytes of each direction, in order and once.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use super::packet::Segment;
use crate::explain::Side;

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream<'a> {
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Nanoseconds since 1970.
    pub(crate) start: u64,
    /// Whether the capture contains the start of the connection.
    pub(crate) is_whole: bool,
    /// Chunks in the order in which they became readable.
    pub(crate) chunks: Vec<Chunk<'a>>,
    /// A description of what is missing.
    pub(crate) notes: Vec<String>,
}

/// Bytes that one side sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) side: Side,
    pub(crate) time: u64,
    pub(crate) bytes: &'a [u8],
}

/// The maximum number of connections. 65,536: a capture with more is most likely a port scan.
const MOST: usize = 65_536;

/// The connections of a capture while it is being read.
#[derive(Debug, Default)]
pub(super) struct Table<'a> {
    streams: Vec<Building<'a>>,
    /// The latest connection between two addresses; the smaller address first.
    newest: HashMap<(SocketAddr, SocketAddr), usize>,
    left_out: usize,
}

#[derive(Debug)]
struct Building<'a> {
    stream: Stream<'a>,
    /// The client's direction and the server's.
    halves: [Half<'a>; 2],
    /// The sequence number of the client's SYN.
    syn: Option<u32>,
}

/// One direction.
#[derive(Debug, Default)]
struct Half<'a> {
    /// The sequence number of the first byte; unknown before the first segment.
    first: Option<u32>,
    /// Bytes delivered so far.
    delivered: u64,
    /// Bytes that arrived out of order, by position.
    waiting: BTreeMap<u64, (u64, &'a [u8])>,
    /// The number of payload bytes missing from the capture.
    left_out: usize,
}

impl<'a> Table<'a> {
    pub(super) fn take(&mut self, time: u64, segment: &Segment<'a>) {
        let pair = if segment.from < segment.to {
            (segment.from, segment.to)
        } else {
            (segment.to, segment.from)
        };
        let known = self.newest.get(&pair).copied();
        let is_new = match known.and_then(|number| self.streams.get(number)) {
            None => true,
            // A SYN with another number starts another connection between the same ports.
            Some(known) => {
                let is_first = segment.is_syn && !segment.is_ack;
                is_first && known.syn != Some(segment.sequence)
            }
        };
        let number = if is_new {
            if self.streams.len() >= MOST {
                self.left_out += 1;
                return;
            }
            self.streams.push(Building::begin(time, segment));
            self.newest.insert(pair, self.streams.len() - 1);
            self.streams.len() - 1
        } else {
            known.unwrap_or_default()
        };
        if let Some(stream) = self.streams.get_mut(number) {
            stream.take(time, segment);
        }
    }

    pub(super) fn finish(self, notes: &mut Vec<String>) -> Vec<Stream<'a>> {
        if self.left_out > 0 {
            let left_out = self.left_out;
            notes.push(format!(
                "more than {MOST} TCP connections: {left_out} packets of the others are left out"
            ));
        }
        self.streams.into_iter().map(Building::finish).collect()
    }
}

impl<'a> Building<'a> {
    fn begin(time: u64, segment: &Segment<'a>) -> Self {
        let is_syn = segment.is_syn && !segment.is_ack;
        // If the start is missing, the side with the higher port is assumed to be the client; its
        // bytes may prove otherwise later.
        let is_from_client = match (segment.is_syn, segment.is_ack) {
            (true, is_ack) => !is_ack,
            (false, _) => segment.from.port() >= segment.to.port(),
        };
        let (client, server) = if is_from_client {
            (segment.from, segment.to)
        } else {
            (segment.to, segment.from)
        };
        Self {
            stream: Stream {
                client,
                server,
                start: time,
                is_whole: is_syn,
                chunks: Vec::new(),
                notes: Vec::new(),
            },
            halves: Default::default(),
            syn: is_syn.then_some(segment.sequence),
        }
    }

    fn take(&mut self, time: u64, segment: &Segment<'a>) {
        let side = if segment.from == self.stream.client {
            Side::Client
        } else {
            Side::Server
        };
        let half = &mut self.halves[usize::from(side == Side::Server)];
        half.left_out += segment.left_out;
        // A SYN uses one sequence number.
        let sequence = segment.sequence.wrapping_add(u32::from(segment.is_syn));
        let first = *half.first.get_or_insert(sequence);
        if segment.payload.is_empty() {
            return;
        }
        let Some(at) = half.position(first, sequence) else {
            // It precedes the start of the capture.
            return;
        };
        half.hold(at, time, segment.payload);
        for (_, bytes) in half.ready() {
            self.stream.chunks.push(Chunk { side, time, bytes });
        }
    }

    fn finish(mut self) -> Stream<'a> {
        let names = ["client → server", "server → client"];
        for (half, name) in self.halves.iter().zip(names) {
            if let Some((next, _)) = half.waiting.first_key_value() {
                let missing = next - half.delivered;
                let at = half.delivered;
                self.stream.notes.push(format!(
                    "{name}: {missing} bytes are missing from the capture at byte {at}; what \
                     follows them in this direction is left out"
                ));
            }
            if half.left_out > 0 {
                let left_out = half.left_out;
                self.stream.notes.push(format!(
                    "{name}: packets were cut short by {left_out} bytes; capture with `-s 0`"
                ));
            }
        }
        if !self.stream.is_whole {
            self.stream.turn_if_backwards();
        }
        self.stream
    }
}

impl Stream<'_> {
    /// Only clients mask, and only servers begin with a status line.
    fn turn_if_backwards(&mut self) {
        let first_of = |side| self.chunks.iter().find(|chunk| chunk.side == side);
        let is_backwards = match (first_of(Side::Client), first_of(Side::Server)) {
            (Some(client), _) => Side::of(client.bytes) == Side::Server,
            (None, Some(server)) => Side::of(server.bytes) == Side::Client,
            (None, None) => false,
        };
        if is_backwards {
            std::mem::swap(&mut self.client, &mut self.server);
            for chunk in &mut self.chunks {
                chunk.side = chunk.side.other();
            }
        }
    }
}

impl<'a> Half<'a> {
    /// The position of a sequence number among the bytes of this direction. Numbers wrap around
    /// every 4 GiB, so it is the position closest to the bytes delivered so far.
    fn position(&self, first: u32, sequence: u32) -> Option<u64> {
        // Truncation is intended: sequence numbers count modulo 2^32.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence numbers count modulo 2^32"
        )]
        let expected = first.wrapping_add(self.delivered as u32);
        let distance = i64::from(sequence.wrapping_sub(expected).cast_signed());
        self.delivered.checked_add_signed(distance)
    }

    /// Keeps bytes until they can be delivered; for the same position, the longer ones.
    fn hold(&mut self, at: u64, time: u64, bytes: &'a [u8]) {
        let end = at.saturating_add(bytes.len() as u64);
        if end <= self.delivered {
            // A retransmission.
            return;
        }
        let kept = self.waiting.entry(at).or_insert((time, bytes));
        if kept.1.len() < bytes.len() {
            *kept = (time, bytes);
        }
    }

    /// Returns the bytes that can be delivered now.
    fn ready(&mut self) -> Vec<(u64, &'a [u8])> {
        let mut ready = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.delivered {
                break;
            }
            let (at, (time, bytes)) = entry.remove_entry();
            let known = usize::try_from(self.delivered - at).unwrap_or(usize::MAX);
            if let Some(new) = bytes.get(known..).filter(|new| !new.is_empty()) {
                self.delivered += new.len() as u64;
                ready.push((time, new));
            }
        }
        ready
    }
}

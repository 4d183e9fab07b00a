//! The messages to send, as frames built in advance.

use std::ops::Range;

use anyhow::Result;

use crate::deflate::{Agreement, Compressor};

/// RFC 6455 §5.2.
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// The properties of the messages.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of every message, before compression.
    pub size: usize,
    /// JSON text with changing values, rather than bytes without a pattern.
    pub json: bool,
}

/// Distinct messages in a cycle, and their frames for three laps, contiguous in memory.
///
/// A connection starts at lap 0 and then alternates between laps 1 and 2, so that any number of
/// frames up to a lap is one slice to write. Compressed frames need the laps in any case: only from
/// the second lap on are their back references the same each time.
pub struct Ring {
    wire: Vec<u8>,
    starts: Vec<usize>,
    messages: Vec<Vec<u8>>,
    /// The opcode of every message and of every expected answer.
    pub opcode: u8,
}

impl Ring {
    /// No messages, for connections that are only opened.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            wire: Vec::new(),
            starts: vec![0],
            messages: Vec::new(),
            opcode: BINARY,
        }
    }

    /// The same message every time, for connections that only receive.
    #[must_use]
    pub fn always(message: Vec<u8>) -> Self {
        Self {
            messages: vec![message],
            ..Self::empty()
        }
    }

    /// Builds enough messages that `in_flight` of them never overtake each other.
    pub fn new(shape: Shape, in_flight: usize, deflate: Option<Agreement>) -> Result<Self> {
        // With compression, the same message must not recur within a window of 32 KiB.
        let distinct = if deflate.is_some() {
            64 * 1024
        } else {
            16 * 1024
        } / shape.size.max(1);
        let lap = in_flight.max(distinct.clamp(1, 256));
        let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
        let messages: Vec<Vec<u8>> = (0..lap)
            .map(|index| message(shape, index, &mut noise))
            .collect();
        let mut ring = Self {
            wire: Vec::with_capacity(3 * lap * (shape.size + 14)),
            starts: vec![0],
            messages,
            opcode: if shape.json { TEXT } else { BINARY },
        };
        let mut compressor = deflate.map(Compressor::new);
        for index in 0..3 * lap {
            let mask = (noise.next() as u32 | 1).to_be_bytes();
            let message = &ring.messages[index % lap];
            match &mut compressor {
                Some(compressor) => {
                    let body = compressor.compress(message)?;
                    push_frame(&mut ring.wire, 0xC0 | ring.opcode, mask, &body);
                }
                None => push_frame(&mut ring.wire, 0x80 | ring.opcode, mask, message),
            }
            ring.starts.push(ring.wire.len());
        }
        Ok(ring)
    }

    /// The number of distinct messages.
    #[must_use]
    pub fn lap(&self) -> usize {
        self.messages.len()
    }

    /// The range of the frames from `first` to before `end`, numbered over all three laps.
    #[must_use]
    pub fn bytes(&self, first: usize, end: usize) -> Range<usize> {
        self.starts[first]..self.starts[end]
    }

    /// The frames as on the wire.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// The message with that index in the cycle.
    #[must_use]
    pub fn message(&self, index: usize) -> &[u8] {
        &self.messages[index]
    }
}

/// Appends a masked frame (RFC 6455 §5.2, §5.3).
pub fn push_frame(out: &mut Vec<u8>, first_byte: u8, mask: [u8; 4], payload: &[u8]) {
    out.push(first_byte);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
}

fn message(shape: Shape, index: usize, noise: &mut Noise) -> Vec<u8> {
    let mut bytes = if shape.json {
        json(index, noise)
    } else {
        format!("{index:08x}").into()
    };
    while bytes.len() < shape.size {
        // Letters, so that the padding of JSON stays text.
        bytes.push(b'a' + (noise.next() % 26) as u8);
    }
    bytes.truncate(shape.size);
    if shape.json && shape.size >= 2 {
        bytes[shape.size - 2..].copy_from_slice(b"\"}");
    }
    bytes
}

/// A ticker's update: always the same keys, with changing values; the value of the last key is
/// padded.
fn json(index: usize, noise: &mut Noise) -> Vec<u8> {
    const MARKETS: [&str; 6] = [
        "BTC-USD", "ETH-USD", "SOL-EUR", "XRP-USD", "ADA-EUR", "DOT-USD",
    ];
    let market = MARKETS[(noise.next() % 6) as usize];
    let price = noise.next() % 9_000_000;
    let amount = noise.next() % 100_000;
    let id = noise.next() % 1_000_000_000;
    format!(
        "{{\"type\":\"trade\",\"market\":\"{market}\",\"sequence\":{index},\"id\":{id},\
         \"price\":\"{}.{:02}\",\"amount\":\"0.{amount:05}\",\"side\":\"{}\",\
         \"time\":\"2026-11-20T10:{:02}:{:02}.{:03}Z\",\"trace\":\"",
        price / 100,
        price % 100,
        if id.is_multiple_of(2) { "buy" } else { "sell" },
        id % 60,
        price % 60,
        amount % 1000,
    )
    .into()
}

/// Repeatable bytes without a pattern (xorshift).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

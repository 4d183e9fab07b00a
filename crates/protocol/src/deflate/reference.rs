//! A DEFLATE decoder written directly from RFC 1951, as a reference for testing the codecs.
//!
//! Slow and simple: it shares no code with zlib, keeps everything it decoded, and records the
//! largest distance.

/// A decoder for the receiving end of a connection. It keeps all output.
#[derive(Default)]
pub(super) struct Reference {
    pub(super) history: Vec<u8>,
    /// The largest distance seen.
    pub(super) furthest: usize,
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: usize) -> Option<usize> {
        let mut value = 0;
        for shift in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value |= usize::from(byte >> (self.at % 8) & 1) << shift;
            self.at += 1;
        }
        Some(value)
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }
}

/// RFC 1951 §3.2.2: codes of one length are consecutive, in the order of their symbols.
struct Huffman {
    /// How many codes have this length.
    counts: [usize; 16],
    /// All symbols, by length and then by value.
    symbols: Vec<usize>,
}

impl Huffman {
    fn new(lengths: &[usize]) -> Self {
        let with_length = |length| (0..lengths.len()).filter(move |&at| lengths[at] == length);
        let mut counts = [0; 16];
        (1..16).for_each(|length| counts[length] = with_length(length).count());
        Self {
            counts,
            symbols: (1..16).flat_map(with_length).collect(),
        }
    }

    fn read(&self, bits: &mut Bits<'_>) -> Option<usize> {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &self.counts[1..] {
            code = code << 1 | bits.take(1)?;
            if code < first + count {
                return Some(self.symbols[index + code - first]);
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }
}

const LENGTHS: [(usize, usize); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

const DISTANCES: [(usize, usize); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

impl Reference {
    /// RFC 7692 §7.2.2: `None` if the payload is not a complete message.
    pub(super) fn receive(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let stream = [payload, &[0x00, 0x00, 0xff, 0xff]].concat();
        let mut bits = Bits {
            bytes: &stream,
            at: 0,
        };
        let start = self.history.len();
        while bits.at.div_ceil(8) < stream.len() {
            if self.block(&mut bits)? {
                bits.align();
            }
        }
        Some(self.history[start..].to_vec())
    }

    fn block(&mut self, bits: &mut Bits<'_>) -> Option<bool> {
        let last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => {
                bits.align();
                let length = bits.take(16)?;
                if bits.take(16)? != length ^ 0xffff {
                    return None;
                }
                for _ in 0..length {
                    self.history.push(u8::try_from(bits.take(8)?).ok()?);
                }
            }
            1 => {
                let lengths = [[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat();
                self.symbols(bits, &Huffman::new(&lengths), &Huffman::new(&[5; 30]))?;
            }
            2 => {
                let (literals, distances) = dynamic(bits)?;
                self.symbols(bits, &literals, &distances)?;
            }
            _ => return None,
        }
        Some(last)
    }

    fn symbols(
        &mut self,
        bits: &mut Bits<'_>,
        literals: &Huffman,
        distances: &Huffman,
    ) -> Option<()> {
        loop {
            let symbol = literals.read(bits)?;
            if symbol < 256 {
                self.history.push(u8::try_from(symbol).ok()?);
                continue;
            }
            if symbol == 256 {
                return Some(());
            }
            let (base, extra) = LENGTHS.get(symbol - 257)?;
            let length = base + bits.take(*extra)?;
            let (base, extra) = DISTANCES.get(distances.read(bits)?)?;
            let distance = base + bits.take(*extra)?;
            self.furthest = self.furthest.max(distance);
            for _ in 0..length {
                let from = self.history.len().checked_sub(distance)?;
                self.history.push(self.history[from]);
            }
        }
    }
}

fn dynamic(bits: &mut Bits<'_>) -> Option<(Huffman, Huffman)> {
    let literals = bits.take(5)? + 257;
    let distances = bits.take(5)? + 1;
    let count = bits.take(4)? + 4;
    let mut lengths = [0; 19];
    let order = [
        16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
    ];
    for &index in &order[..count] {
        lengths[index] = bits.take(3)?;
    }
    let meta = Huffman::new(&lengths);
    let mut all = Vec::new();
    while all.len() < literals + distances {
        let (length, times) = match meta.read(bits)? {
            16 => (*all.last()?, 3 + bits.take(2)?),
            17 => (0, 3 + bits.take(3)?),
            18 => (0, 11 + bits.take(7)?),
            length => (length, 1),
        };
        all.extend(std::iter::repeat_n(length, times));
    }
    Some((
        Huffman::new(&all[..literals]),
        Huffman::new(all.get(literals..)?),
    ))
}

use proptest::prelude::*;
use zlib_rs::{Deflate, DeflateFlush};

use super::*;
use crate::deflate::reference::Reference;

const TERMS: DeflateTerms = DeflateTerms {
    window_bits: 15,
    context_takeover: true,
};

fn with_terms(terms: DeflateTerms) -> Decompressor {
    Decompressor::new(
        terms,
        u64::MAX,
        &DeflateConfig::default(),
        &DeflatePool::default(),
    )
}

fn decompressor() -> Decompressor {
    with_terms(TERMS)
}

fn in_mode(memory: DeflateMemory, terms: DeflateTerms) -> Decompressor {
    let config = DeflateConfig::default().memory(memory);
    Decompressor::new(terms, u64::MAX, &config, &DeflatePool::default())
}

#[expect(
    clippy::panic_in_result_fn,
    reason = "its assertions are part of every test"
)]
fn whole(decompressor: &mut Decompressor, payload: &[u8]) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    let inflated = decompressor.decompress(payload, true, &mut out, usize::MAX)?;
    assert_eq!(
        inflated,
        Inflated {
            consumed: payload.len(),
            finished: true
        }
    );
    Ok(out)
}

/// A peer that keeps one stream for the life of the connection.
struct Peer(Deflate);

impl Peer {
    fn new(window_bits: u8, level: i32) -> Self {
        Self(Deflate::new(level, false, window_bits))
    }

    fn send(&mut self, message: &[u8]) -> Vec<u8> {
        let mut payload = self.flush(message, DeflateFlush::SyncFlush);
        assert!(payload.ends_with(&TAIL));
        payload.truncate(payload.len() - TAIL.len());
        payload
    }

    /// zlib does not flush twice in a row without input in between.
    fn send_even_if_empty(&mut self, message: &[u8]) -> Vec<u8> {
        if message.is_empty() {
            vec![0x00]
        } else {
            self.send(message)
        }
    }

    fn flush(&mut self, message: &[u8], flush: DeflateFlush) -> Vec<u8> {
        let mut out = vec![0; message.len() * 2 + 1000];
        let before = self.0.total_out();
        self.0.compress(message, &mut out, flush).unwrap();
        out.truncate(usize::try_from(self.0.total_out() - before).unwrap());
        out
    }
}

fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

mod section_7_2_3;

#[test]
fn the_context_survives_a_block_with_bfinal_set() {
    for memory in [
        DeflateMemory::Pooled { window_bits: 15 },
        DeflateMemory::Dedicated,
    ] {
        let mut decompressor = in_mode(memory, TERMS);
        let with_bfinal = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let referring_back = [0xf2, 0x00, 0x11, 0x00, 0x00];
        for payload in [
            with_bfinal.as_slice(),
            &referring_back,
            &with_bfinal,
            &referring_back,
        ] {
            assert_eq!(whole(&mut decompressor, payload).unwrap(), b"Hello");
        }
    }
}

#[test]
fn without_context_takeover_a_message_may_refer_to_itself_across_a_bfinal_block() {
    let terms = DeflateTerms {
        context_takeover: false,
        ..TERMS
    };
    let payload = [
        0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x00, 0x11, 0x00, 0x00,
    ];
    assert_eq!(
        whole(&mut with_terms(terms), &payload).unwrap(),
        b"HelloHello"
    );
    // Once more, byte by byte.
    let mut decompressor = with_terms(terms);
    let mut out = Vec::new();
    for (index, byte) in payload.iter().enumerate() {
        let last = index + 1 == payload.len();
        let inflated = decompressor
            .decompress(&[*byte], last, &mut out, usize::MAX)
            .unwrap();
        assert_eq!(
            inflated,
            Inflated {
                consumed: 1,
                finished: last
            }
        );
    }
    assert_eq!(out, b"HelloHello");
}

#[test]
fn without_context_takeover_no_message_may_refer_to_another() {
    let mut decompressor = with_terms(DeflateTerms {
        context_takeover: false,
        ..TERMS
    });
    let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(whole(&mut decompressor, &first).unwrap(), b"Hello");
    let second = whole(&mut decompressor, &[0xf2, 0x00, 0x11, 0x00, 0x00]);
    assert_eq!(second, Err(InflateError::WindowExceeded));
}

mod windows;

mod limits;

mod memory {
    use super::*;

    #[test]
    fn a_decompressor_is_small() {
        assert!(
            size_of::<Decompressor>() <= 160,
            "{}",
            size_of::<Decompressor>()
        );
    }

    #[test]
    fn a_codec_is_held_only_during_a_message() {
        let pool = DeflatePool::default();
        let mut decompressor = Decompressor::new(TERMS, u64::MAX, &DeflateConfig::default(), &pool);
        let mut out = Vec::new();
        let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        decompressor
            .decompress(&payload[..3], false, &mut out, usize::MAX)
            .unwrap();
        assert!(decompressor.codec.is_some());
        decompressor
            .decompress(&payload[3..], true, &mut out, usize::MAX)
            .unwrap();
        assert!(decompressor.codec.is_none());
        assert!(format!("{pool:?}").contains("idle_decompressors: 1"));
    }

    #[test]
    fn without_context_takeover_no_memory_is_kept() {
        let mut decompressor = with_terms(DeflateTerms {
            context_takeover: false,
            ..TERMS
        });
        let mut peer = Peer::new(15, 6);
        let payload = peer.send(&noise(3, 10_000));
        split_every(&mut decompressor, &payload, 100, 1000).unwrap();
        assert_eq!(decompressor.window.runs(), [b"", b""]);
    }
}

/// Feeds `step` bytes at a time and accepts at most `room` bytes at a time.
#[expect(
    clippy::panic_in_result_fn,
    reason = "its assertions are part of every test"
)]
fn split_every(
    decompressor: &mut Decompressor,
    payload: &[u8],
    step: usize,
    room: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut message = Vec::new();
    let mut at = 0;
    loop {
        let end = (at + step).min(payload.len());
        let mut out = Vec::new();
        let last = end == payload.len();
        let inflated = decompressor.decompress(&payload[at..end], last, &mut out, room)?;
        assert!(out.len() <= room);
        message.extend(out);
        at += inflated.consumed;
        if inflated.finished {
            assert_eq!(at, payload.len());
            return Ok(message);
        }
    }
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let word = prop_oneof![
        4 => Just(br#"{"symbol":"ACME","price":"#.to_vec()),
        4 => Just(br#"{"op":"subscribe","channel":"news"}"#.to_vec()),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 0..3000),
        1 => (any::<u8>(), 0usize..20_000).prop_map(|(byte, count)| vec![byte; count]),
    ];
    let message = prop::collection::vec(word, 0..6).prop_map(|words| words.concat());
    prop::collection::vec(message, 1..12)
}

fn memory() -> impl Strategy<Value = DeflateMemory> {
    prop_oneof![
        Just(DeflateMemory::Dedicated),
        Just(DeflateMemory::Pooled { window_bits: 12 }),
        Just(DeflateMemory::Shared),
    ]
}

proptest! {
    #[test]
    fn a_peer_with_context_takeover_is_decoded_in_every_split(
        messages in messages(),
        memory in memory(),
        (window_bits, level) in (9u8..=15, 1i32..=9),
        (step, room) in (1usize..3000, 1usize..3000),
        bfinal in any::<bool>(),
    ) {
        let mut peer = Peer::new(window_bits, level);
        let terms = DeflateTerms { window_bits, context_takeover: !bfinal };
        let mut decompressor = in_mode(memory, terms);
        for message in messages {
            let payload = if bfinal {
                // A peer that ends its stream with every message.
                let mut payload = peer.flush(&message, DeflateFlush::Finish);
                peer.0.reset();
                payload.push(0x00);
                payload
            } else {
                peer.send_even_if_empty(&message)
            };
            let received = split_every(&mut decompressor, &payload, step, room).unwrap();
            prop_assert_eq!(received, message);
        }
    }

    #[test]
    fn garbage_causes_no_panic_and_stays_within_the_limits(
        garbage in prop::collection::vec(any::<u8>(), 0..2000),
        (step, room) in (1usize..2000, 1usize..2000),
        window_bits in 8u8..=15,
    ) {
        let terms = DeflateTerms { window_bits, context_takeover: true };
        let config = DeflateConfig::default();
        let mut decompressor =
            Decompressor::new(terms, 10_000, &config, &DeflatePool::default());
        if let Ok(message) = split_every(&mut decompressor, &garbage, step, room) {
            prop_assert!(message.len() <= 10_000);
        }
    }

    #[test]
    fn a_truncated_message_is_an_error_or_a_prefix(
        message in prop::collection::vec(0u8..20, 1..2000),
        cut in any::<prop::sample::Index>(),
    ) {
        let payload = Peer::new(15, 6).send(&message);
        let cut = &payload[..cut.index(payload.len())];
        match whole(&mut decompressor(), cut) {
            // The four bytes appended to it may be decoded as a distance.
            Err(error) => prop_assert!(
                matches!(error, InflateError::Corrupt | InflateError::WindowExceeded)
            ),
            Ok(less) => prop_assert!(message.starts_with(&less) && less.len() <= message.len()),
        }
    }

    #[test]
    fn a_damaged_message_gets_the_same_verdict_as_from_a_reference_decoder(
        message in prop::collection::vec(0u8..20, 1..500),
        (at, bit) in (any::<prop::sample::Index>(), 0u32..8),
    ) {
        let mut payload = Peer::new(15, 6).send(&message);
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        let by_the_book = Reference::default().receive(&payload);
        if let Ok(received) = whole(&mut decompressor(), &payload) {
            prop_assert_eq!(Some(received), by_the_book);
        }
    }
}

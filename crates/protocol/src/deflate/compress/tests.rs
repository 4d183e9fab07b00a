use proptest::prelude::*;

use super::*;
use crate::deflate::reference::Reference;
use crate::deflate::{Decompressor, parse_extensions};

const TERMS: DeflateTerms = DeflateTerms {
    window_bits: 15,
    context_takeover: true,
};

const MODES: [DeflateMemory; 3] = [
    DeflateMemory::Dedicated,
    DeflateMemory::Pooled { window_bits: 12 },
    DeflateMemory::Shared,
];

fn in_mode(memory: DeflateMemory, terms: DeflateTerms) -> Compressor {
    let config = DeflateConfig::default().memory(memory).threshold(0);
    Compressor::new(terms, &config, &DeflatePool::default())
}

fn compressed(compressor: &mut Compressor, message: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let yes = compressor.compress(message, &mut out);
    assert!(out.starts_with(b"before"));
    assert!(
        yes || out == b"before",
        "what was not compressed must leave no trace"
    );
    yes.then(|| out.split_off(6))
}

fn json(number: usize) -> Vec<u8> {
    let price = number * 7919 % 1000;
    format!(
        r#"{{"type":"trade","symbol":"ACME","price":{price},"size":{number},"side":"buy","venue":"X"}}"#
    )
    .into_bytes()
}

/// Bytes that no compressor can shorten.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn section_7_2_3_1_hello_is_compressed_as_in_the_example() {
    let mut compressor = in_mode(DeflateMemory::Dedicated, TERMS);
    let mut payload = Vec::new();
    compressor.compress_chunk(b"Hello", true, &mut payload);
    assert_eq!(payload, [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
}

#[test]
fn section_7_2_3_2_hello_again_refers_to_the_first() {
    for memory in [
        DeflateMemory::Dedicated,
        DeflateMemory::Pooled { window_bits: 12 },
    ] {
        let mut compressor = in_mode(memory, TERMS);
        for expected in [
            [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00].as_slice(),
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
        ] {
            let mut payload = Vec::new();
            compressor.compress_chunk(b"Hello", true, &mut payload);
            assert_eq!(payload, expected, "{memory:?}");
        }
    }
}

#[test]
fn section_7_2_3_6_an_empty_message_is_one_zero_byte() {
    for memory in MODES {
        let mut compressor = in_mode(memory, TERMS);
        for _ in 0..3 {
            let mut payload = Vec::new();
            compressor.compress_chunk(b"", true, &mut payload);
            assert_eq!(payload, [0x00], "{memory:?}");
        }
    }
}

#[test]
fn section_7_2_1_the_tail_is_removed() {
    for memory in MODES {
        let payload = compressed(&mut in_mode(memory, TERMS), &json(1).repeat(9)).unwrap();
        assert!(!payload.ends_with(&TAIL));
        assert!(Reference::default().receive(&payload).is_some());
    }
}

#[test]
fn messages_below_the_threshold_are_not_compressed() {
    let config = DeflateConfig::default().threshold(100);
    let mut compressor = Compressor::new(TERMS, &config, &DeflatePool::default());
    assert_eq!(compressed(&mut compressor, &[b'a'; 99]), None);
    assert!(compressed(&mut compressor, &[b'a'; 100]).is_some());
}

#[test]
fn incompressible_messages_are_not_compressed_and_the_contexts_stay_synchronised() {
    for memory in MODES {
        let mut compressor = in_mode(memory, TERMS);
        let mut peer = Reference::default();
        for number in 0..50 {
            let payload = compressed(&mut compressor, &json(number).repeat(2)).unwrap();
            assert_eq!(peer.receive(&payload), Some(json(number).repeat(2)));
            let incompressible = noise(number as u64, 10 + number * 100);
            if let Some(payload) = compressed(&mut compressor, &incompressible) {
                // A dedicated codec sends it in stored blocks instead; a window remembers it.
                let short = incompressible.len() <= SHORT;
                let remembered = short && memory != DeflateMemory::Shared;
                assert!(remembered || memory == DeflateMemory::Dedicated);
                assert!(payload.len() < incompressible.len() + 16);
                assert_eq!(peer.receive(&payload), Some(incompressible));
            }
        }
    }
}

/// Each message alone would grow.
#[test]
fn similar_short_messages_shrink_in_every_mode_with_context() {
    let tick = |number: usize| {
        let price = 1000 + number * 37;
        format!(r#"{{"t":1763683200{number:03},"s":"ACMECO","p":{price},"q":{number},"v":"X"}}"#)
    };
    assert_eq!(tick(7).len(), 55);
    for memory in MODES {
        let mut compressor = in_mode(memory, TERMS);
        let mut peer = Reference::default();
        let mut sent = 0;
        for number in 0..10 {
            let message = tick(number).into_bytes();
            match compressed(&mut compressor, &message) {
                Some(payload) => {
                    sent += payload.len();
                    assert_eq!(peer.receive(&payload), Some(message));
                }
                None => {
                    assert_eq!(memory, DeflateMemory::Shared);
                    sent += message.len();
                }
            }
        }
        let keeps_context = memory != DeflateMemory::Shared;
        assert_eq!(sent < 300, keeps_context, "{sent} bytes, {memory:?}");
    }
}

#[test]
fn a_stream_that_never_shrinks_costs_at_most_64_bytes() {
    for memory in MODES {
        let mut compressor = in_mode(memory, TERMS);
        let mut paid = 0;
        for seed in 0..1000 {
            let message = noise(seed, 100);
            paid += compressed(&mut compressor, &message).map_or(0, |p| p.len() - message.len());
        }
        let keeps_context = memory != DeflateMemory::Shared;
        assert_eq!(paid > 0, keeps_context, "{memory:?}");
        assert!(paid <= 64, "{paid} bytes, {memory:?}");
    }
}

/// Savings pay for messages that grow: a few short messages of another kind do not stop
/// compression.
#[test]
fn a_stream_whose_content_changes_is_still_compressed() {
    for memory in [
        DeflateMemory::Dedicated,
        DeflateMemory::Pooled { window_bits: 9 },
    ] {
        let mut compressor = in_mode(memory, TERMS);
        let mut peer = Reference::default();
        for number in 0..500 {
            let message = match number % 50 {
                0..10 => noise(number as u64, 40),
                _ => json(number),
            };
            match compressed(&mut compressor, &message) {
                Some(payload) => assert_eq!(peer.receive(&payload), Some(message)),
                None => assert!(number % 50 < 10, "message {number} shrinks, {memory:?}"),
            }
        }
    }
}

#[test]
fn the_kept_window_makes_small_messages_shrink() {
    let size = |memory| -> usize {
        let mut compressor = in_mode(memory, TERMS);
        (0..200)
            .map(|n| compressed(&mut compressor, &json(n)).map_or(json(n).len(), |p| p.len()))
            .sum()
    };
    let dedicated = size(DeflateMemory::Dedicated);
    let pooled = size(DeflateMemory::Pooled { window_bits: 12 });
    let shared = size(DeflateMemory::Shared);
    assert!(
        pooled * 100 <= dedicated * 110,
        "{pooled} bytes pooled, {dedicated} dedicated"
    );
    assert!(
        pooled * 2 < shared,
        "{pooled} bytes pooled, {shared} shared"
    );
}

#[test]
fn without_context_takeover_every_message_is_independent() {
    let terms = DeflateTerms {
        context_takeover: false,
        ..TERMS
    };
    for memory in MODES {
        let mut compressor = in_mode(memory, terms);
        for number in 0..5 {
            let message = json(number).repeat(2);
            let payload = compressed(&mut compressor, &message).unwrap();
            assert_eq!(Reference::default().receive(&payload), Some(message));
        }
    }
}

#[test]
fn a_large_incompressible_message_uses_no_more_memory_than_its_size() {
    let message = noise(1, 3 << 20);
    let mut out = Vec::with_capacity(message.len() + 100);
    let before = out.capacity();
    assert!(!in_mode(DeflateMemory::Shared, TERMS).compress(&message, &mut out));
    assert_eq!((out.len(), out.capacity()), (0, before));
}

#[test]
fn a_codec_that_abandoned_a_message_can_be_used_for_the_next() {
    for memory in MODES {
        let config = DeflateConfig::default()
            .memory(memory)
            .threshold(0)
            .level(1)
            .mem_level(1);
        let mut compressor = Compressor::new(TERMS, &config, &DeflatePool::default());
        let mut peer = Reference::default();
        for seed in 0..100 {
            assert_eq!(compressed(&mut compressor, &noise(seed, 3000)), None);
            let message = [json(1).repeat(4), noise(seed, 200)].concat();
            let payload = compressed(&mut compressor, &message).unwrap();
            assert_eq!(peer.receive(&payload), Some(message));
        }
    }
}

#[test]
fn a_whole_message_within_a_chunked_one_is_not_compressed() {
    let mut compressor = in_mode(DeflateMemory::Shared, TERMS);
    let mut out = Vec::new();
    compressor.compress_chunk(b"to be continued", false, &mut out);
    assert_eq!(compressed(&mut compressor, &json(1).repeat(5)), None);
    compressor.compress_chunk(b", and to be ended", true, &mut out);
    let received = Reference::default().receive(&out).unwrap();
    assert_eq!(received, b"to be continued, and to be ended");
}

mod memory {
    use super::*;

    #[test]
    fn a_compressor_is_small() {
        assert!(size_of::<Compressor>() <= 96, "{}", size_of::<Compressor>());
    }

    #[test]
    fn nothing_is_owned_before_the_first_message() {
        let pool = DeflatePool::default();
        let config = DeflateConfig::default();
        let compressor = Compressor::new(TERMS, &config, &pool);
        assert!(format!("{pool:?}").contains("idle_compressors: 0"));
        let Keeps::Window(window) = &compressor.keeps else {
            panic!("pooled by default")
        };
        assert_eq!(window.runs(), [b"", b""]);
    }

    #[test]
    fn by_default_a_busy_connection_keeps_less_than_4_kib_for_both_directions() {
        let pool = DeflatePool::default();
        let config = DeflateConfig::default();
        let offer = config.offer();
        let offers = parse_extensions([offer.as_bytes()]).unwrap();
        let terms = config.accept(&offers).unwrap().server();
        let mut compressor = Compressor::new(terms, &config, &pool);
        let mut decompressor = Decompressor::new(terms, u64::MAX, &config, &pool);
        for number in 0..200 {
            let message = json(number).repeat(1 + number);
            let payload = compressed(&mut compressor, &message).unwrap_or_default();
            if !payload.is_empty() {
                decompressor
                    .decompress(&payload, true, &mut Vec::new(), usize::MAX)
                    .unwrap();
            }
        }
        let Keeps::Window(window) = &compressor.keeps else {
            panic!("pooled by default")
        };
        let kept = window.owned() + decompressor.kept();
        assert!((3000..4096).contains(&kept), "{kept} bytes");
    }

    #[test]
    fn several_connections_share_one_codec() {
        let pool = DeflatePool::default();
        let config = DeflateConfig::default();
        let mut compressors: Vec<_> = (0..10)
            .map(|_| Compressor::new(TERMS, &config, &pool))
            .collect();
        for compressor in &mut compressors {
            assert!(compressed(compressor, &json(1).repeat(2)).is_some());
        }
        assert!(format!("{pool:?}").contains("idle_compressors: 1"));
    }

    #[test]
    fn the_pool_keeps_at_most_its_limit() {
        let pool = DeflatePool::with_max_idle(1);
        let config = DeflateConfig::default();
        let mut out = Vec::new();
        let mut compressors: Vec<_> = (0..3)
            .map(|_| Compressor::new(TERMS, &config, &pool))
            .collect();
        for last in [false, true] {
            for compressor in &mut compressors {
                compressor.compress_chunk(b"piece", last, &mut out);
            }
        }
        assert!(format!("{pool:?}").contains("idle_compressors: 1"));
    }
}

/// An operation on a connection.
#[derive(Debug, Clone)]
enum Send {
    Whole(Vec<u8>),
    Chunks(Vec<Vec<u8>>),
    Prepared(Vec<u8>),
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0usize..1000, 1usize..5).prop_map(|(number, times)| json(number).repeat(times)),
        2 => (any::<u64>(), 0usize..3000).prop_map(|(seed, length)| noise(seed, length)),
        1 => (any::<u8>(), 0usize..100_000).prop_map(|(byte, length)| vec![byte; length]),
        1 => prop::collection::vec(0u8..4, 0..60_000),
    ]
}

fn send() -> impl Strategy<Value = Send> {
    prop_oneof![
        4 => message().prop_map(Send::Whole),
        1 => prop::collection::vec(message(), 1..4).prop_map(Send::Chunks),
        1 => message().prop_map(Send::Prepared),
    ]
}

proptest! {
    #[test]
    fn a_peer_that_keeps_its_context_can_decode_everything(
        sends in prop::collection::vec(send(), 1..12),
        (agreed_bits, pooled_bits) in (8u8..=15, 9u8..=15),
        mode in 0usize..3,
        context_takeover in any::<bool>(),
        (level, mem_level) in (1u8..=9, 1u8..=9),
    ) {
        let memory = match mode {
            0 => DeflateMemory::Dedicated,
            1 => DeflateMemory::Pooled { window_bits: pooled_bits },
            _ => DeflateMemory::Shared,
        };
        let config = DeflateConfig::default()
            .memory(memory)
            .level(level)
            .mem_level(mem_level)
            .threshold(0);
        let pool = DeflatePool::default();
        let terms = DeflateTerms { window_bits: agreed_bits, context_takeover };
        let mut compressor = Compressor::new(terms, &config, &pool);
        let mut peer = Reference::default();
        for send in sends {
            let mut payload = Vec::new();
            let (message, is_compressed) = match send {
                Send::Whole(message) => {
                    let yes = compressor.compress(&message, &mut payload);
                    (message, yes)
                }
                Send::Chunks(pieces) => {
                    let (last, first) = pieces.split_last().unwrap();
                    for piece in first {
                        compressor.compress_chunk(piece, false, &mut payload);
                    }
                    compressor.compress_chunk(last, true, &mut payload);
                    (pieces.concat(), true)
                }
                Send::Prepared(message) => {
                    let bits = compressor.window_bits();
                    let yes = compress_once(&message, bits, &config, &pool, &mut payload);
                    if yes {
                        compressor.note_sent(&message);
                    }
                    (message, yes)
                }
            };
            if is_compressed {
                if !context_takeover {
                    peer.history.clear();
                }
                prop_assert_eq!(peer.receive(&payload), Some(message));
            } else {
                prop_assert_eq!(payload, b"");
            }
            // RFC 7692 §7.1.2.1, §7.1.2.2: no larger window than agreed.
            prop_assert!(peer.furthest <= 1 << agreed_bits);
        }
    }
}

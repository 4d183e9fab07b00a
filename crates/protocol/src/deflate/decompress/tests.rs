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

    /// zlib does not flush twice without anything in between.
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

mod section_7_2_3 {
    use super::*;

    #[test]
    fn example_1_a_message_in_one_compressed_block() {
        let mut decompressor = decompressor();
        let payload = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(whole(&mut decompressor, &payload).unwrap(), b"Hello");
    }

    #[test]
    fn example_1_in_two_fragments() {
        let mut decompressor = decompressor();
        let mut out = Vec::new();
        let first = decompressor.decompress(&[0xf2, 0x48, 0xcd], false, &mut out, usize::MAX);
        assert_eq!(
            first,
            Ok(Inflated {
                consumed: 3,
                finished: false
            })
        );
        let rest = [0xc9, 0xc9, 0x07, 0x00];
        let second = decompressor.decompress(&rest, true, &mut out, usize::MAX);
        assert_eq!(
            second,
            Ok(Inflated {
                consumed: 4,
                finished: true
            })
        );
        assert_eq!(out, b"Hello");
    }

    #[test]
    fn example_2_sharing_the_window_with_the_message_before() {
        let mut decompressor = decompressor();
        let first = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        assert_eq!(whole(&mut decompressor, &first).unwrap(), b"Hello");
        assert_eq!(
            whole(&mut decompressor, &[0xf2, 0x00, 0x11, 0x00, 0x00]).unwrap(),
            b"Hello"
        );
    }

    #[test]
    fn example_3_a_block_without_compression() {
        let payload = [
            0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
        ];
        assert_eq!(whole(&mut decompressor(), &payload).unwrap(), b"Hello");
    }

    #[test]
    fn example_4_a_block_with_bfinal_set() {
        let payload = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        assert_eq!(whole(&mut decompressor(), &payload).unwrap(), b"Hello");
    }

    #[test]
    fn example_5_two_blocks_in_one_message() {
        let payload = [
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ];
        assert_eq!(whole(&mut decompressor(), &payload).unwrap(), b"Hello");
    }

    #[test]
    fn section_7_2_3_6_an_empty_message() {
        let mut decompressor = decompressor();
        for payload in [[0x00].as_slice(), &[0x02, 0x00]] {
            assert_eq!(whole(&mut decompressor, payload).unwrap(), b"");
        }
    }
}

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
fn a_message_may_refer_to_itself_across_a_bfinal_block_without_context_takeover() {
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
    // The same, byte by byte.
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

mod windows {
    use super::*;

    /// A block of one match of three bytes, this far back (RFC 1951 §3.2.6).
    fn match_at(distance: usize) -> Vec<u8> {
        let code = (0_usize..30)
            .rev()
            .find(|code| base(*code) <= distance)
            .unwrap();
        let extra_bits = (code / 2).saturating_sub(1);
        let mut bits = vec![0, 1, 0];
        // Length 3 is symbol 257: 0000001, Huffman codes go first bit first.
        bits.extend([0, 0, 0, 0, 0, 0, 1]);
        bits.extend((0..5).rev().map(|shift| code >> shift & 1));
        bits.extend((0..extra_bits).map(|shift| (distance - base(code)) >> shift & 1));
        // End of block, then the header of the tail's empty stored block.
        bits.extend([0; 7]);
        bits.extend([0; 3]);
        let byte = |bits: &[usize]| {
            bits.iter()
                .enumerate()
                .map(|(at, bit)| u8::try_from(bit << at).unwrap())
                .sum()
        };
        bits.chunks(8).map(byte).collect()
    }

    fn base(code: usize) -> usize {
        match code {
            0..4 => code + 1,
            _ => ((2 + code % 2) << (code / 2 - 1)) + 1,
        }
    }

    /// `noise` in one stored block.
    fn stored(data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(data.len()).unwrap();
        [
            &[0x00],
            &length.to_le_bytes()[..],
            &(!length).to_le_bytes(),
            data,
            &[0x00],
        ]
        .concat()
    }

    #[test]
    fn a_reference_beyond_the_agreed_window_is_an_error_in_every_mode() {
        for window_bits in 8..=14 {
            for memory in [
                DeflateMemory::Pooled { window_bits: 12 },
                DeflateMemory::Dedicated,
                DeflateMemory::Shared,
            ] {
                let window = 1 << window_bits;
                let terms = DeflateTerms {
                    window_bits,
                    context_takeover: true,
                };
                let earlier = noise(7, 2 * window);

                let mut decompressor = in_mode(memory, terms);
                whole(&mut decompressor, &stored(&earlier)).unwrap();
                let within = whole(&mut decompressor, &match_at(window)).unwrap();
                assert_eq!(within, earlier[window..window + 3]);

                let mut decompressor = in_mode(memory, terms);
                whole(&mut decompressor, &stored(&earlier)).unwrap();
                let beyond = whole(&mut decompressor, &match_at(window + 1));
                assert_eq!(
                    beyond,
                    Err(InflateError::WindowExceeded),
                    "{window_bits} {memory:?}"
                );
            }
        }
    }

    #[test]
    fn the_full_window_reaches_32_kib_back_and_no_further() {
        for memory in [
            DeflateMemory::Pooled { window_bits: 12 },
            DeflateMemory::Dedicated,
        ] {
            let mut decompressor = in_mode(memory, TERMS);
            let earlier = noise(7, 40_000);
            whole(&mut decompressor, &stored(&earlier)).unwrap();
            let reached = whole(&mut decompressor, &match_at(32_768)).unwrap();
            assert_eq!(reached, earlier[40_000 - 32_768..][..3]);
        }
    }

    #[test]
    fn a_reference_before_the_first_byte_is_an_error() {
        assert_eq!(
            whole(&mut decompressor(), &match_at(1)),
            Err(InflateError::WindowExceeded)
        );
    }
}

mod limits {
    use super::*;

    /// Zeros, compressed as well as DEFLATE can.
    fn bomb(size: usize) -> Vec<u8> {
        Peer::new(15, 9).send(&vec![0; size])
    }

    fn limited(max_message: u64, ratio: Option<u32>) -> Decompressor {
        let config = DeflateConfig::default().max_ratio(ratio, 100_000);
        Decompressor::new(TERMS, max_message, &config, &DeflatePool::default())
    }

    #[test]
    fn a_message_at_the_limit_passes_and_one_byte_more_does_not() {
        for size in [0, 1, 511, 512, 513, 100_000] {
            let exact = whole(
                &mut limited(size, None),
                &bomb(usize::try_from(size).unwrap()),
            );
            assert_eq!(exact, Ok(vec![0; usize::try_from(size).unwrap()]));
            let over = whole(
                &mut limited(size, None),
                &bomb(usize::try_from(size).unwrap() + 1),
            );
            assert_eq!(over, Err(InflateError::TooLarge { limit: size }));
        }
    }

    #[test]
    fn a_bomb_never_unfolds() {
        let mut decompressor = limited(1 << 20, None);
        let mut out = Vec::new();
        let payload = bomb(100 << 20);
        let result = decompressor.decompress(&payload, true, &mut out, usize::MAX);
        assert_eq!(result, Err(InflateError::TooLarge { limit: 1 << 20 }));
        assert_eq!(out.len(), (1 << 20) + 1);
        assert!(out.capacity() <= 2 << 20);
    }

    #[test]
    fn the_ratio_is_watched_past_its_floor() {
        let mut decompressor = limited(u64::MAX, Some(100));
        let mut out = Vec::new();
        let payload = bomb(10 << 20);
        let result = decompressor.decompress(&payload, true, &mut out, usize::MAX);
        assert_eq!(result, Err(InflateError::Ratio { limit: 100 }));
        assert!(out.len() <= 1 << 20, "{} bytes unfolded", out.len());
    }

    #[test]
    fn below_the_floor_any_ratio_is_fine() {
        let result = whole(&mut limited(u64::MAX, Some(100)), &bomb(90_000));
        assert_eq!(result.unwrap().len(), 90_000);
    }

    #[test]
    fn limits_count_over_all_fragments_and_start_anew_with_each_message() {
        let mut decompressor = limited(1000, None);
        let payload = bomb(1000);
        for _ in 0..3 {
            assert_eq!(
                split_every(&mut decompressor, &payload, 3, 100).unwrap(),
                vec![0; 1000]
            );
        }
        let result = split_every(&mut decompressor, &bomb(1001), 3, 100);
        assert_eq!(result, Err(InflateError::TooLarge { limit: 1000 }));
    }

    #[test]
    fn room_bounds_what_one_call_gives() {
        let mut decompressor = limited(u64::MAX, None);
        let payload = bomb(10 << 20);
        let (mut at, mut total) = (0, 0);
        loop {
            let mut out = Vec::new();
            let inflated = decompressor
                .decompress(&payload[at..], true, &mut out, 4096)
                .unwrap();
            at += inflated.consumed;
            total += out.len();
            assert!(out.len() <= 4096);
            if inflated.finished {
                break;
            }
        }
        assert_eq!((at, total), (payload.len(), 10 << 20));
    }

    #[test]
    fn a_message_of_nothing_but_last_blocks_is_refused() {
        // Each is an empty block of ten bits with BFINAL set.
        let payload = [[0x03, 0x00].repeat(100_000), vec![0x00]].concat();
        assert_eq!(
            whole(&mut decompressor(), &payload),
            Err(InflateError::Corrupt)
        );
        let a_few = [[0x03, 0x00].repeat(10), vec![0x00]].concat();
        assert_eq!(whole(&mut decompressor(), &a_few), Ok(Vec::new()));
    }
}

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
    fn a_codec_is_held_only_while_a_message_passes() {
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
    fn without_context_takeover_nothing_is_kept() {
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

/// Feeds `step` bytes at a time and takes at most `room` at a time.
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
    fn a_continuous_peer_is_understood_in_every_split(
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
    fn garbage_never_panics_and_never_passes_the_limits(
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
    fn a_truncated_message_is_an_error_or_less(
        message in prop::collection::vec(0u8..20, 1..2000),
        cut in any::<prop::sample::Index>(),
    ) {
        let payload = Peer::new(15, 6).send(&message);
        let cut = &payload[..cut.index(payload.len())];
        match whole(&mut decompressor(), cut) {
            Err(error) => prop_assert_eq!(error, InflateError::Corrupt),
            Ok(less) => prop_assert!(message.starts_with(&less) && less.len() <= message.len()),
        }
    }

    #[test]
    fn a_broken_message_is_judged_as_by_the_book(
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

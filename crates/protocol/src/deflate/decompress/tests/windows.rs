use super::*;

/// A block with one match of three bytes at this distance (RFC 1951 §3.2.6).
fn match_at(distance: usize) -> Vec<u8> {
    let code = (0_usize..30)
        .rev()
        .find(|code| base(*code) <= distance)
        .unwrap();
    let extra_bits = (code / 2).saturating_sub(1);
    let mut bits = vec![0, 1, 0];
    // Length 3 is symbol 257: 0000001. Huffman codes are written most significant bit first.
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
fn a_reference_within_its_own_message_is_decoded_from_beyond_the_window() {
    // The bound that is enforced; see the documentation of the type.
    let terms = DeflateTerms {
        window_bits: 9,
        context_takeover: true,
    };
    let own = noise(7, 1000);
    let payload = [&stored(&own)[..1005], &match_at(1000)].concat();
    assert_eq!(
        whole(&mut with_terms(terms), &payload).unwrap(),
        [&own, &own[..3]].concat()
    );
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

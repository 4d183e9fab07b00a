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
fn a_message_at_the_limit_is_accepted_and_one_byte_more_is_refused() {
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
fn a_decompression_bomb_is_never_expanded() {
    let mut decompressor = limited(1 << 20, None);
    let mut out = Vec::new();
    let payload = bomb(100 << 20);
    let result = decompressor.decompress(&payload, true, &mut out, usize::MAX);
    assert_eq!(result, Err(InflateError::TooLarge { limit: 1 << 20 }));
    assert_eq!(out.len(), (1 << 20) + 1);
    assert!(out.capacity() <= 2 << 20);
}

#[test]
fn the_ratio_is_checked_above_its_minimum_size() {
    let mut decompressor = limited(u64::MAX, Some(100));
    let mut out = Vec::new();
    let payload = bomb(10 << 20);
    let result = decompressor.decompress(&payload, true, &mut out, usize::MAX);
    assert_eq!(result, Err(InflateError::Ratio { limit: 100 }));
    assert!(out.len() <= 1 << 20, "{} bytes unfolded", out.len());
}

#[test]
fn below_the_minimum_size_any_ratio_is_accepted() {
    let result = whole(&mut limited(u64::MAX, Some(100)), &bomb(90_000));
    assert_eq!(result.unwrap().len(), 90_000);
}

#[test]
fn limits_apply_to_all_fragments_of_a_message_together() {
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
fn the_output_of_one_call_is_limited_by_the_given_room() {
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
fn a_message_of_only_final_blocks_is_refused() {
    // Each is an empty block of ten bits with BFINAL set.
    let payload = [[0x03, 0x00].repeat(100_000), vec![0x00]].concat();
    assert_eq!(
        whole(&mut decompressor(), &payload),
        Err(InflateError::Corrupt)
    );
    let a_few = [[0x03, 0x00].repeat(10), vec![0x00]].concat();
    assert_eq!(whole(&mut decompressor(), &a_few), Ok(Vec::new()));
}

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
fn example_2_sharing_the_window_with_the_previous_message() {
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

use offhook_http3::varint;
use proptest::prelude::*;

/// RFC 9000, appendix A.1.
#[test]
fn the_examples_of_the_rfc_are_read() {
    for (bytes, value) in [
        (
            &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..],
            151_288_809_941_952_652,
        ),
        (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
        (&[0x7b, 0xbd], 15_293),
        (&[0x25], 37),
        (&[0x40, 0x25], 37),
    ] {
        let mut rest = bytes;
        assert_eq!(varint::read(&mut rest), Some(value));
        assert!(rest.is_empty());
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_with_the_announced_length(value in 0..=varint::MAX) {
        let mut bytes = Vec::new();
        varint::write(value, &mut bytes);
        prop_assert_eq!(bytes.len(), varint::len(value));
        let mut rest = bytes.as_slice();
        prop_assert_eq!(varint::read(&mut rest), Some(value));
        for cut in 0..bytes.len() {
            prop_assert_eq!(varint::read(&mut &bytes[..cut]), None);
        }
    }
}

use offhook_http3::{
    Code,
    qpack::{decode, encode},
};
use proptest::prelude::*;

const LIMIT: usize = 16 * 1024;

fn pairs(section: &[u8]) -> Vec<(String, String)> {
    let fields = decode(section, LIMIT).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let pair = |field: offhook_http3::qpack::Field| (text(field.name), text(field.value));
    fields.into_iter().map(pair).collect()
}

/// RFC 9204, appendix B.1.
#[test]
fn a_literal_with_a_name_of_the_static_table_is_decoded() {
    let section = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(
        pairs(section),
        [(":path".to_owned(), "/index.html".to_owned())]
    );
    assert_eq!(encode([(":path", "/index.html")]), section);
}

#[test]
fn whole_entries_of_the_static_table_take_one_byte() {
    let section = encode([
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":status", "200"),
    ]);
    assert_eq!(section, [0, 0, 0xc0 | 15, 0xc0 | 23, 0xc0 | 25]);
}

#[test]
fn a_reference_to_a_dynamic_table_is_an_error_of_decompression() {
    // A required insert count; an indexed field; a name; fields after the base.
    for section in [
        &[2, 0, 0x80][..],
        &[0, 0, 0x80],
        &[0, 0, 0x40, 0],
        &[0, 0, 0x10],
        &[0, 0, 0x00, 0],
    ] {
        let error = decode(section, LIMIT).unwrap_err();
        assert_eq!(error.code, Code::QPACK_DECOMPRESSION_FAILED, "{section:?}");
    }
}

#[test]
fn a_section_above_the_limit_is_refused_also_if_it_is_small_on_the_wire() {
    // Each byte is a field of the static table with 32 bytes of overhead.
    let section = [&[0, 0][..], &[0xc0 | 23; 500]].concat();
    let error = decode(&section, LIMIT).unwrap_err();
    assert_eq!(error.code, Code::EXCESSIVE_LOAD);
}

#[test]
fn an_integer_without_an_end_is_refused() {
    let section = [&[0, 0, 0x27][..], &[0xff; 40]].concat();
    assert!(decode(&section, LIMIT).is_err());
}

proptest! {
    #[test]
    fn any_fields_are_decoded_as_they_were_encoded(
        fields in proptest::collection::vec(("[a-z-]{1,200}", "[ -~]{0,300}"), 0..20)
    ) {
        prop_assert_eq!(pairs(&encode(fields.clone())), fields);
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes, LIMIT);
    }
}

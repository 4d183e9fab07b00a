use super::*;

const FRAME: [u8; 11] = [
    0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
];

fn bytes(text: &str) -> Vec<u8> {
    let runs = read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    runs.into_iter().flat_map(|run| run.bytes).collect()
}

#[test]
fn plain_digits_are_parsed_with_any_separators() {
    for text in [
        "81 85 37 fa 21 3d 7f 9f 4d 51 58",
        "818537fa213d7f9f4d5158",
        "8185 37FA 213D 7F9F\n4D51 58\n",
        "0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58",
        "\\x81\\x85\\x37\\xfa\\x21\\x3d\\x7f\\x9f\\x4d\\x51\\x58",
        "81:85:37:fa:21:3d:7f:9f:4d:51:58",
        "# a comment\n81 85 37 fa 21 3d\n\n7f 9f 4d 51 58",
    ] {
        assert_eq!(bytes(text), FRAME, "{text}");
    }
}

#[test]
fn output_of_xxd_is_parsed() {
    let text = "00000000: 8185 37fa 213d 7f9f 4d51 58              ..7.!=..MQX\n";
    assert_eq!(bytes(text), FRAME);
    let text = "00000000: 3030 3030 3030 3030 3030 3030 3030 3030  0000000000000000\n\
                00000010: 6162                                     ab\n";
    assert_eq!(bytes(text), b"0000000000000000ab");
    let eight = "00000000: 6162 6364 6566 6768                      abcdefgh\n";
    assert_eq!(bytes(eight), b"abcdefgh");
    let narrow = "00000000: 6162 6364 6566 6768  abcdefgh\n00000008: 61                   a\n";
    assert_eq!(bytes(narrow), b"abcdefgha");
}

#[test]
fn output_of_hexdump_is_parsed() {
    let text = "00000000  81 85 37 fa 21 3d 7f 9f  4d 51 58                 |..7.!=..MQX|\n\
                0000000b\n";
    assert_eq!(bytes(text), FRAME);
    let full = "00000000  61 62 63 64 65 66 67 68  61 62 63 64 65 66 67 68  |abcdefghabcdefgh|\n\
                00000010  61 62 63 64 65 66 67 68                           |abcdefgh|\n00000018\n";
    assert_eq!(bytes(full), b"abcdefghabcdefghabcdefgh");
}

#[test]
fn output_of_wireshark_has_both_directions() {
    let text = "00000000  81 85 37 fa 21 3d 7f 9f  4d 51 58                 ..7.!=.. MQX\n    \
                00000000  81 05 48 65 6c 6c 6f                              ..Hello\n\
                0000000B  88 80 00 00 00 00                                 ......\n";
    let runs = read(text.as_bytes()).expect("a dump");
    let sides: Vec<bool> = runs.iter().map(|run| run.is_other_side).collect();
    assert_eq!(sides, [false, true, false]);
    assert_eq!(runs[0].bytes, FRAME);
    assert_eq!(runs[1].bytes, b"\x81\x05Hello");
    assert_eq!(runs[2].bytes, [0x88, 0x80, 0, 0, 0, 0]);
}

#[test]
fn a_word_that_is_not_a_byte_is_reported_with_its_line() {
    let error = read(b"81 85\n37 fx").expect_err("no dump");
    assert_eq!(
        error.to_string(),
        "2: expected bytes in hexadecimal, found \"fx\""
    );
    assert!(read(b"818").is_err());
    assert!(read(b"+1 -1").is_err());
    assert!(read("81 é9".as_bytes()).is_err());
}

#[test]
fn raw_bytes_are_distinguished_from_a_dump() {
    assert!(is_likely(b"81 85 37"));
    assert!(!is_likely(&FRAME));
    assert!(!is_likely(b"GET / HTTP/1.1\r\n\r\n"));
    assert!(!is_likely(b""));
}

#[test]
fn a_colon_in_the_text_column_is_not_an_offset() {
    let line = "00000000  48 6f 73 74 3a 20 31 32  37 2e 30 2e 30 2e 31 3a  Host: 12 7.0.0.1:\n";
    let runs = read(line.as_bytes()).expect("a dump");
    assert_eq!(runs[0].bytes, b"Host: 127.0.0.1:");
}

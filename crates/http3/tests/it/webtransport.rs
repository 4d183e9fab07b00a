use offhook_http3::{
    varint,
    webtransport::{Capsules, Closed, MAX_REASON, close, datagram_prefix, read_datagram},
};
use proptest::prelude::*;

fn capsule(kind: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::write(kind, &mut bytes);
    varint::write(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn a_close_is_found_behind_unknown_capsules_wherever_the_bytes_are_split() {
    let mut bytes = Vec::new();
    for length in [0, 1, 700] {
        bytes.extend(capsule(0x17, &vec![7; length]));
    }
    bytes.extend(close(4001, "moved"));
    for step in 1..=bytes.len() {
        let mut capsules = Capsules::default();
        let mut parts = bytes.chunks(step);
        let closed = parts.find_map(|part| capsules.receive(part).unwrap());
        let expected = Closed {
            code: 4001,
            reason: "moved".to_owned(),
        };
        assert_eq!(closed, Some(expected), "{step}");
    }
}

#[test]
fn thousands_of_capsules_in_one_piece_are_skipped() {
    let bytes = [capsule(0x17, &[]).repeat(50_000), close(0, "")].concat();
    let closed = Capsules::default().receive(&bytes).unwrap();
    assert_eq!(closed, Some(Closed::default()));
}

#[test]
fn a_close_with_an_impossible_length_or_text_is_an_error() {
    for content in [&[0; 3][..], &[0; 4 + MAX_REASON + 1], &[0, 0, 0, 0, 0xff]] {
        let bytes = capsule(0x2843, content);
        assert!(Capsules::default().receive(&bytes).is_err());
    }
}

#[test]
fn a_long_reason_is_cut_at_a_character() {
    let bytes = close(1, &"ä".repeat(MAX_REASON));
    let closed = Capsules::default().receive(&bytes).unwrap().unwrap();
    assert_eq!(closed.reason, "ä".repeat(MAX_REASON / 2));
}

#[test]
fn datagrams_name_the_stream_of_their_session() {
    let bytes = [datagram_prefix(4 * 70), b"news".to_vec()].concat();
    assert_eq!(read_datagram(&bytes).unwrap(), (280, &b"news"[..]));
    assert!(read_datagram(&[]).is_err());
    // A quarter of no stream id.
    assert!(read_datagram(&[0xff; 8]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Capsules::default().receive(&bytes);
        let _ = read_datagram(&bytes);
    }
}

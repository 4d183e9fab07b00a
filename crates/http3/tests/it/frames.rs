use offhook_http3::{
    Code,
    frame::{DATA, Frame, Frames, GOAWAY, HEADERS, write, write_head},
    varint,
};
use proptest::prelude::*;

const LIMIT: usize = 1024;

/// The frames, each with its type and content, and the pieces of DATA.
type Found = (Vec<(u64, Vec<u8>)>, Vec<u8>);

/// Everything in these bytes, with the pieces of DATA joined.
fn all(bytes: &[u8], step: usize) -> Result<Found, offhook_http3::Error> {
    let mut frames = Frames::new(LIMIT);
    let (mut whole, mut data) = (Vec::new(), Vec::new());
    for part in bytes.chunks(step.max(1)) {
        frames.receive(part);
        while let Some(frame) = frames.next()? {
            match frame {
                Frame::Whole { kind, payload } => whole.push((kind, payload)),
                Frame::Data(piece) => data.extend_from_slice(&piece),
            }
        }
    }
    Ok((whole, data))
}

#[test]
fn frames_are_the_same_wherever_their_bytes_are_split() {
    let mut bytes = Vec::new();
    write(HEADERS, b"fields", &mut bytes);
    write(DATA, b"con", &mut bytes);
    write(0x21, b"unknown, and skipped", &mut bytes);
    write(DATA, b"", &mut bytes);
    write(DATA, b"tent", &mut bytes);
    write(GOAWAY, &[4], &mut bytes);
    for step in 1..=bytes.len() {
        let (whole, data) = all(&bytes, step).unwrap();
        assert_eq!(whole, [(HEADERS, b"fields".to_vec()), (GOAWAY, vec![4])]);
        assert_eq!(data, b"content");
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_before_its_content_arrives() {
    let mut bytes = Vec::new();
    write_head(HEADERS, LIMIT + 1, &mut bytes);
    assert_eq!(all(&bytes, 1).unwrap_err().code, Code::EXCESSIVE_LOAD);
    // DATA is not held, so that it may be of any length.
    let mut bytes = Vec::new();
    varint::write(DATA, &mut bytes);
    varint::write(varint::MAX, &mut bytes);
    bytes.extend_from_slice(b"begins");
    assert_eq!(all(&bytes, 3).unwrap().1, b"begins");
}

#[test]
fn a_flood_of_frames_without_content_is_refused() {
    let mut bytes = Vec::new();
    for _ in 0..101 {
        write(DATA, b"", &mut bytes);
    }
    assert_eq!(all(&bytes, 10).unwrap_err().code, Code::EXCESSIVE_LOAD);
}

/// A browser sends one whenever the priority of a request changes (RFC 9218 §7.2), on the control stream, where
/// there is no DATA.
#[test]
fn any_number_of_unknown_frames_with_content_is_skipped() {
    const PRIORITY_UPDATE: u64 = 0x0f_0700;
    let mut bytes = Vec::new();
    for _ in 0..500 {
        write(PRIORITY_UPDATE, b"\x04u=1", &mut bytes);
    }
    write(GOAWAY, &[4], &mut bytes);
    let (whole, _) = all(&bytes, 7).unwrap();
    assert_eq!(whole, [(GOAWAY, vec![4])]);
    // Those without content are a flood, as empty DATA is.
    let mut bytes = Vec::new();
    for _ in 0..101 {
        write(PRIORITY_UPDATE, b"", &mut bytes);
    }
    assert_eq!(all(&bytes, 10).unwrap_err().code, Code::EXCESSIVE_LOAD);
}

#[test]
fn types_that_only_http_2_has_are_refused() {
    let mut bytes = Vec::new();
    write(0x06, b"12345678", &mut bytes);
    assert_eq!(all(&bytes, 64).unwrap_err().code, Code::FRAME_UNEXPECTED);
}

#[test]
fn a_stream_that_ends_within_a_frame_is_noticed() {
    let mut bytes = Vec::new();
    write(DATA, b"content", &mut bytes);
    let mut frames = Frames::new(LIMIT);
    assert!(!frames.is_within_frame());
    for (count, byte) in (1..).zip(&bytes) {
        frames.receive(&[*byte]);
        while frames.next().unwrap().is_some() {}
        assert_eq!(frames.is_within_frame(), count < bytes.len(), "{count}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
        let _ = all(&bytes, step);
    }
}

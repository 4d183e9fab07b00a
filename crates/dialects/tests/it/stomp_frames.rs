//! Decoding and encoding of STOMP frames, regardless of how the bytes are split.

use offhook_dialects::stomp::frame::{Decoder, Frame, Invalid, Version};
use proptest::prelude::*;

const LIMIT: usize = 1 << 16;

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(LIMIT);
    decoder.set_version(version);
    decoder
}

#[expect(clippy::panic_in_result_fn, reason = "a test's own assertion")]
fn all(bytes: &[u8], version: Version) -> Result<Vec<Frame>, Invalid> {
    let mut decoder = decoder(version);
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame()? {
        frames.push(frame);
    }
    assert_eq!(
        decoder.buffered(),
        0,
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
    Ok(frames)
}

fn why(bytes: &[u8]) -> String {
    all(bytes, Version::V12).unwrap_err().detail.into_owned()
}

#[test]
fn several_frames_and_heart_beats_may_come_in_one_message() {
    let bytes = b"\n\r\nSEND\nbody:no\n\n\0\n\nSEND\ncontent-length:3\n\na\0b\0\n";
    let frames = all(bytes, Version::V12).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].header("body"), Some("no"));
    assert_eq!(&*frames[1].body, b"a\0b");
}

#[test]
fn lines_may_end_with_cr_lf_in_1_2_only() {
    let bytes = b"SEND\r\na:b\r\n\r\nbody\0";
    let frame = &all(bytes, Version::V12).unwrap()[0];
    assert_eq!(&*frame.command, "SEND");
    assert_eq!(frame.header("a"), Some("b"));
    let frame = &all(b"SEND\na:b\r\n\n\0", Version::V11).unwrap()[0];
    assert_eq!(frame.header("a"), Some("b\r"));
}

#[test]
fn the_first_of_repeated_headers_counts() {
    let frame = &all(b"SEND\na:1\na:2\n\n\0", Version::V12).unwrap()[0];
    assert_eq!(frame.header("a"), Some("1"));
}

#[test]
fn escapes_are_those_of_the_version() {
    let header = |version, line: &str| {
        let bytes = format!("SEND\n{line}\n\n\0");
        let frame = all(bytes.as_bytes(), version)?.remove(0);
        Ok::<_, Invalid>(frame.headers[0].clone())
    };
    let plain = |name: &str, value: &str| Ok((name.into(), value.into()));
    assert_eq!(header(Version::V10, "a\\c:\\n"), plain("a\\c", "\\n"));
    assert_eq!(header(Version::V11, "a\\c:\\n\\\\"), plain("a:", "\n\\"));
    assert_eq!(header(Version::V12, "a:b:\\r\\c"), plain("a", "b:\r:"));
    for (version, line) in [
        (Version::V11, "a:\\r"),
        (Version::V12, "a:\\t"),
        (Version::V12, "a:b\\"),
    ] {
        let detail = header(version, line).unwrap_err().detail;
        assert!(detail.contains("is not defined in STOMP"), "{detail}");
    }
}

#[test]
fn the_headers_of_connect_and_stomp_are_not_escaped() {
    let passcode = |command| {
        let bytes = format!("{command}\npasscode:a\\\\b\n\n\0");
        let mut decoder = Decoder::new(LIMIT);
        decoder.push(bytes.as_bytes());
        let frame = decoder.next_frame().unwrap().unwrap();
        frame.header("passcode").unwrap().to_owned()
    };
    assert_eq!(passcode("CONNECT"), "a\\\\b");
    assert_eq!(passcode("STOMP"), "a\\\\b");
}

#[test]
fn an_error_explains_what_is_wrong() {
    for (bytes, words) in [
        (&b"SEND\0"[..], "a NUL precedes the empty line"),
        (b"SEND\na\n\n\0", "the header \"a\" has no colon"),
        (b"SEND\na:\xff\n\n\0", "not UTF-8"),
        (
            b"SEND\ncontent-length:x\n\n\0",
            "expected a number of bytes",
        ),
        (
            b"SEND\ncontent-length:-1\n\n\0",
            "expected a number of bytes",
        ),
        (
            b"SEND\ncontent-length:1\n\nab\0",
            "no NUL follows the 1 bytes",
        ),
        (b"SEND\ncontent-length:65537\n\n", "exceeds 65536 bytes"),
        (
            b"SEND\ncontent-length:99999999999999999999999\n\n",
            "exceeds 65536 bytes",
        ),
    ] {
        let why = why(bytes);
        assert!(why.contains(words), "{why}");
    }
}

#[test]
fn heads_headers_and_bodies_are_limited_before_they_are_complete() {
    let long = [&b"SEND\na:"[..], &vec![b'x'; 20_000]].concat();
    assert!(why(&long).contains("the headers of a frame exceed"));
    let many = format!("SEND\n{}\n\0", "a:b\n".repeat(65));
    assert!(why(many.as_bytes()).contains("more than 64 headers"));
    let body = [&b"SEND\n\n"[..], &vec![b'x'; LIMIT + 1]].concat();
    assert!(why(&body).contains("exceeds 65536 bytes"));
}

#[test]
fn an_idle_connection_holds_nothing() {
    let mut decoder = decoder(Version::V12);
    let frame = Frame::new("SEND").body(vec![b'x'; LIMIT]);
    decoder.push(&frame.encode(Version::V12));
    decoder.push(b"\n");
    assert!(decoder.buffered() > LIMIT);
    assert!(decoder.next_frame().unwrap().is_some());
    assert_eq!(decoder.buffered(), 0);
}

fn frame() -> impl Strategy<Value = Frame> {
    let header = ("[^\0]{1,9}", "[^\0]{0,9}");
    let headers = prop::collection::vec(header, 0..4);
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (headers, body).prop_map(|(headers, body)| {
        let frame = Frame::new("SEND").body(body);
        headers
            .iter()
            .filter(|(name, _)| name != "content-length")
            .fold(frame, |frame, (name, value)| frame.with(name, value))
    })
}

proptest! {
    #[test]
    fn frames_are_decoded_as_they_were_encoded(
        frames in prop::collection::vec(frame(), 1..4),
        cut in 1..50_usize,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(Version::V12)).collect();
        let mut decoder = decoder(Version::V12);
        let mut decoded = Vec::new();
        for piece in bytes.chunks(cut) {
            decoder.push(piece);
            while let Some(mut frame) = decoder.next_frame().unwrap() {
                prop_assert_eq!(frame.headers.pop().unwrap().0, "content-length".into());
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn no_bytes_cause_a_panic_and_pieces_make_no_difference(
        bytes in prop::collection::vec(
            prop_oneof![
                Just(b'\n'), Just(b'\r'), Just(0), Just(b':'), Just(b'\\'), Just(b'S'), any::<u8>()
            ],
            0..200,
        ),
        cut in 1..20_usize,
    ) {
        let read = |cut: usize| {
            let mut decoder = decoder(Version::V12);
            let mut decoded = Vec::new();
            for piece in bytes.chunks(cut) {
                decoder.push(piece);
                loop {
                    match decoder.next_frame() {
                        Ok(Some(frame)) => decoded.push(frame),
                        Ok(None) => break,
                        Err(invalid) => return (decoded, Some(invalid.message)),
                    }
                }
            }
            (decoded, None)
        };
        prop_assert_eq!(read(cut), read(bytes.len().max(1)));
    }
}

//! RFC 6455 §8.1: "When an endpoint is to interpret a byte stream as UTF-8 but finds that the byte
//! stream is not, in fact, a valid UTF-8 stream, that endpoint MUST _Fail the WebSocket
//! Connection_." Ours does so at the first byte that cannot be part of a valid text.

use offhook_protocol::{Error, PeerError, ReceiveMode};
use offhook_testkit::frames::{ping, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// How many of its bytes can begin a text, according to the standard library.
fn possible(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(error) => match error.error_len() {
            // Incomplete at the end: all of it can begin a text.
            None => bytes.len(),
            // The invalid byte is the first that makes the prefix an error.
            Some(_) => (0..bytes.len())
                .find(|len| {
                    std::str::from_utf8(&bytes[..=*len])
                        .is_err_and(|error| error.error_len().is_some())
                })
                .unwrap_or(bytes.len()),
        },
    }
}

/// Sends the bytes of a text one by one, and returns the index of the byte that caused the failure.
fn failed_at(mut talk: Talk, segments: &[Vec<u8>]) -> Option<usize> {
    let failure = Heard::Error(Error::Peer(PeerError::InvalidUtf8));
    segments
        .iter()
        .position(|segment| talk.hears_bytes(segment).contains(&failure))
}

/// One frame whose payload arrives byte by byte, with a thousand more announced.
fn byte_by_byte(talk: &Talk, bytes: &[u8]) -> Vec<Vec<u8>> {
    let wire = talk.encode([text(bytes).promising(1000)]);
    let header = wire.len() - bytes.len();
    let mut segments: Vec<Vec<u8>> = wire[header..].chunks(1).map(Vec::from).collect();
    segments[0] = [&wire[..header], &segments[0]].concat();
    segments
}

/// A frame for each byte, with pings in between.
fn frame_by_frame(talk: &Talk, bytes: &[u8]) -> Vec<Vec<u8>> {
    let frames = bytes.iter().enumerate().map(|(index, byte)| match index {
        0 => text([*byte]).more(),
        _ => rest([*byte]).more(),
    });
    frames.map(|frame| talk.encode([frame, ping("")])).collect()
}

fn assert_fails_at_the_first_impossible_byte(bytes: &[u8]) {
    let possible = possible(bytes);
    let expected = (possible < bytes.len()).then_some(possible);
    for role in ROLES {
        for mode in [ReceiveMode::Whole, ReceiveMode::Chunks] {
            for cut in [byte_by_byte, frame_by_frame] {
                let mut talk = role();
                talk.connection.set_receive_mode(mode);
                let segments = cut(&talk, bytes);
                assert_eq!(
                    failed_at(talk, &segments),
                    expected,
                    "{bytes:x?} in {mode:?}"
                );
            }
        }
    }
}

/// Markus Kuhn's stress test, and the table of Autobahn's cases 6.*.
#[test]
fn text_fails_at_the_first_impossible_byte_not_later() {
    let bad: &[&[u8]] = &[
        // Stray continuations.
        b"\x80",
        b"\xbf",
        b"ab\x80cd",
        b"\xce\xba\x80",
        // Sequences that end too early.
        b"\xc2\x41",
        b"\xe2\x82\x41",
        b"\xf0\x9f\xa6\x41",
        b"\xc3\xc3",
        // Overlong forms of '/', of NUL, and the longest of each length.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc0\x80",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xc1\xbf",
        // Surrogates, single and paired.
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        // Beyond U+10FFFF, and bytes that never occur in text.
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xfe",
        b"\xff",
        // Autobahn 6.3: a surrogate in the middle of valid Greek.
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        // Autobahn 6.4: fails inside the four-byte sequence, before its end.
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    ];
    for bytes in bad {
        assert!(possible(bytes) < bytes.len(), "{bytes:x?} is bad");
        assert_fails_at_the_first_impossible_byte(bytes);
        fails_whatever_the_cut(
            Talk::with_server,
            &[text(bytes)],
            &[],
            PeerError::InvalidUtf8,
        );
    }
}

#[test]
fn every_pair_of_bytes_is_validated_as_the_unicode_standard_requires() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let bytes = [first, second, 0x80, b'x'];
            let possible = possible(&bytes);
            let expected = (possible < bytes.len()).then_some(possible);
            let talk = Talk::with_client();
            let segments = byte_by_byte(&talk, &bytes);
            assert_eq!(failed_at(talk, &segments), expected, "{bytes:x?}");
        }
    }
}

/// The boundaries of each length of sequence, and noncharacters, which are characters here.
#[test]
fn valid_text_is_accepted_in_every_split_and_fragmentation() {
    let good = [
        "\0",
        "\u{7f}",
        "\u{80}",
        "\u{7ff}",
        "\u{800}",
        "\u{d7ff}",
        "\u{e000}",
        "\u{fffd}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{10000}",
        "\u{1fffe}",
        "\u{10ffff}",
        "Hello-µ@ßöäüàá-UTF-8!!",
        "κόσμε",
        "🦀 in 𝄞",
        "\u{feff}BOM",
    ];
    for role in ROLES {
        for sentence in good {
            whatever_the_cut(role, &[text(sentence)], &[Heard::text(sentence)], &[]);
            let bytes = sentence.as_bytes();
            for cut in 0..=bytes.len() {
                let frames: [Frame; 2] = [text(&bytes[..cut]).more(), rest(&bytes[cut..])];
                assert_eq!(role().hears(frames), [Heard::text(sentence)]);
            }
        }
    }
}

/// A message may not end inside a character; the next message starts anew.
#[test]
fn text_that_ends_inside_a_character_fails_the_connection() {
    for role in ROLES {
        for begun in [
            &b"\xc3"[..],
            b"ab\xe2\x82",
            b"\xf0\x9f\xa6",
            b"\xf0",
            b"\xce\xba\xce",
        ] {
            fails_whatever_the_cut(role, &[text(begun)], &[], PeerError::InvalidUtf8);
            let frames = [text(begun).more(), rest("")];
            fails_whatever_the_cut(role, &frames, &[], PeerError::InvalidUtf8);
        }
    }
}

#[test]
fn a_character_does_not_continue_in_the_next_message() {
    let heard = [Heard::text("ok")];
    let frames = [text("ok"), text(b"\xa9")];
    fails_whatever_the_cut(Talk::with_server, &frames, &heard, PeerError::InvalidUtf8);
}

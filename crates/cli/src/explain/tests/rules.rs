use offhook_protocol::CloseCode;
use offhook_testkit::frames::*;

use super::*;

#[test]
fn the_examples_of_rfc_6455_5_7_are_decoded_as_the_rfc_explains_them() {
    let unmasked = pieces(Side::Server, &[b"\x81\x05Hello"]);
    let masked = pieces(
        Side::Client,
        &[&[
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ]],
    );
    for pieces in [unmasked, masked] {
        let frame = frame(&pieces[0]);
        assert_eq!((frame.payload.as_slice(), pieces.len()), (&b"Hello"[..], 1));
        let part = Part::Whole;
        assert_eq!(
            frame.content,
            Content::Data {
                is_text: true,
                part,
                inflated: None
            }
        );
        assert_eq!((&frame.broken, &frame.notes), (&vec![], &vec![]));
    }
}

#[test]
fn fragments_have_a_number_an_offset_and_a_name() {
    let said = [text("Hel").more(), ping("?"), rest("l").more(), rest("o")];
    let pieces = said_by(Side::Server, said);
    let places: Vec<(u64, u64)> = pieces
        .iter()
        .map(|piece| {
            let frame = frame(piece);
            (frame.number, frame.at)
        })
        .collect();
    assert_eq!(places, [(1, 0), (2, 5), (3, 8), (4, 11)]);
    let parts: Vec<String> = pieces
        .iter()
        .map(|piece| page::summary(frame(piece)))
        .collect();
    let expected = [
        "text, first fragment, 3 bytes",
        "ping, 1 byte",
        "text, fragment, 1 byte",
        "text, last fragment, 1 byte",
    ];
    assert_eq!(parts, expected);
}

#[test]
fn each_rule_is_reported_with_its_section() {
    let cases: [(&str, Vec<Sentence>); 13] = [
        ("RFC 6455 §5.2", vec![text("").rsv(0b010)]),
        ("RFC 6455 §5.2", vec![opcode(0x3, "")]),
        ("RFC 6455 §5.2", vec![raw([0x81, 126, 0, 1, b'a'])]),
        ("RFC 6455 §5.5", vec![ping("").more()]),
        ("RFC 6455 §5.5", vec![ping([0; 126])]),
        ("RFC 6455 §5.4", vec![rest("")]),
        ("RFC 6455 §5.4", vec![text("").more(), binary("")]),
        ("RFC 6455 §5.5.1", vec![close_body([3])]),
        ("RFC 6455 §5.5.1", vec![close(1000, [0xff])]),
        ("RFC 6455 §5.5.1", vec![close(1000, ""), ping("")]),
        ("RFC 6455 §7.4", vec![close(1005, "")]),
        ("RFC 6455 §8.1", vec![text([0xff])]),
        ("RFC 7692 §6.1", vec![text("").more(), rest("").rsv(0b100)]),
    ];
    for (section, said) in cases {
        let pieces = said_by(Side::Server, said);
        let broken: Vec<_> = pieces.iter().flat_map(sections).collect();
        assert_eq!(broken, [section], "{pieces:?}");
    }
}

#[test]
fn masked_and_unmasked_directions_are_distinguished() {
    let masked = text("hi").encode(true);
    assert_eq!(
        sections(&pieces(Side::Server, &[&masked])[0]),
        ["RFC 6455 §5.1"]
    );
    let plain = text("hi").encode(false);
    assert_eq!(
        sections(&pieces(Side::Client, &[&plain])[0]),
        ["RFC 6455 §5.1"]
    );
    assert_eq!(
        (Side::of(&masked), Side::of(&plain)),
        (Side::Client, Side::Server)
    );
}

#[test]
fn a_repeated_masking_key_is_noted() {
    let pieces = said_by(Side::Client, [text("1"), text("2")]);
    assert!(frame(&pieces[0]).notes.is_empty());
    assert!(frame(&pieces[1]).notes[0].contains("RFC 6455 §5.3"));
}

#[test]
fn decoding_continues_after_a_fault() {
    let pieces = said_by(Side::Server, [opcode(0xb, "what?"), close(1002, "sorry")]);
    let code = Some(CloseCode::PROTOCOL_ERROR);
    let reason = b"sorry".to_vec();
    assert_eq!(frame(&pieces[1]).content, Content::Close { code, reason });
}

#[test]
fn invalid_utf_8_is_reported_once_and_a_character_may_span_fragments() {
    let smile = "🙂".as_bytes();
    let whole = said_by(Side::Server, [text(&smile[..1]).more(), rest(&smile[1..])]);
    assert!(whole.iter().all(|piece| sections(piece).is_empty()));
    let said = [text(&smile[..3]).more(), rest("x").more(), rest([0xff])];
    let broken: Vec<usize> = said_by(Side::Server, said)
        .iter()
        .map(|p| sections(p).len())
        .collect();
    assert_eq!(broken, [0, 1, 0]);
    let cut = said_by(Side::Server, [text(&smile[..3])]);
    assert_eq!(sections(&cut[0]), ["RFC 6455 §8.1"]);
}

#[test]
fn an_incomplete_frame_is_reported_with_what_is_missing() {
    let why = |bytes: &[u8]| match pieces(Side::Server, &[bytes]).as_slice() {
        [Piece::Rest(_, rest)] => rest.why.clone(),
        pieces => panic!("{pieces:?}"),
    };
    assert_eq!(why(&[0x81]), "the start of a frame's header");
    assert_eq!(why(b"\x81\x05Hel"), "a text frame with 3 of its 5 bytes");
    assert_eq!(why(b"HTTP/1.1 101 Sw"), "a head without its end");
}

#[test]
fn nothing_is_decoded_after_a_length_with_its_top_bit_set() {
    let bytes = [
        &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0][..],
        b"\x81\x05Hello",
    ]
    .concat();
    let pieces = pieces(Side::Server, &[&bytes]);
    assert_eq!(pieces.len(), 1);
    assert_eq!(sections(&pieces[0]), ["RFC 6455 §5.2"]);
}

#[test]
fn memory_for_a_frame_is_limited_to_what_is_shown() {
    let mut conversation = Conversation::new();
    let header = [0x82, 127, 0x40, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(conversation.take(Side::Server, &header), []);
    let mut pieces = Vec::new();
    for _ in 0..40 {
        pieces.extend(conversation.take(Side::Server, &[0; 1 << 20]));
    }
    assert_eq!(pieces.len(), 1);
    assert!(frame(&pieces[0]).notes[0].contains("only the first"));
    let left = conversation.finish();
    let [Piece::Rest(_, rest)] = left.as_slice() else {
        panic!("{left:?}");
    };
    assert_eq!(
        rest.why,
        format!(
            "{} bytes of the last frame are missing",
            (1_u64 << 62) - (40 << 20)
        )
    );
}

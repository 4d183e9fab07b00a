//! RFC 7692 §6: compressed messages in frames: RSV1 on the first, fragments, control frames.

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::{Config, PeerError, Prepared};
use offhook_testkit::frames::{binary, close, ping, pong, rest, text};
use offhook_testkit::{Frame, Heard, Talk, deflates, fails_whatever_the_cut, whatever_the_cut};

/// "Hello", compressed: RFC 7692 §7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const COMPRESSED: u8 = 0b100;

fn server() -> Talk {
    let config = DeflateConfig::default().threshold(0);
    Talk::with_server().deflating(deflates(&config, &config).1)
}

fn client() -> Talk {
    let config = DeflateConfig::default().threshold(0);
    Talk::with_client().deflating(deflates(&config, &config).0)
}

const ROLES: [fn() -> Talk; 2] = [server, client];

/// §6: "the "Per-Message Compressed" bit […] indicates whether the message is compressed": each
/// message by itself.
#[test]
fn compressed_and_plain_messages_take_turns() {
    let frames = [
        text(HELLO).rsv(COMPRESSED),
        text("plain"),
        binary(HELLO).rsv(COMPRESSED),
        binary(HELLO),
    ];
    let heard = [
        Heard::text("Hello"),
        Heard::text("plain"),
        Heard::binary("Hello"),
        Heard::binary(HELLO),
    ];
    for role in ROLES {
        whatever_the_cut(role, &frames, &heard, &[]);
    }
}

/// §6.1: "…fragment a compressed message" as any other, with control frames, which are never
/// compressed, in between.
#[test]
fn a_compressed_message_may_be_fragmented_anywhere() {
    let heard = [Heard::Ping(b"?".into()), Heard::text("Hello")];
    for role in ROLES {
        for cut in 0..=HELLO.len() {
            let (before, after) = HELLO.split_at(cut);
            let first = text(before).more().rsv(COMPRESSED);
            let frames = [first, ping("?"), rest("").more(), rest(after)];
            whatever_the_cut(role, &frames, &heard, &[pong("?")]);
        }
    }
}

/// §6: "a sender MUST NOT set the "Per-Message Compressed" bit […] for other frames than the
/// first of a message"; "a receiver that finds it MUST _Fail the WebSocket Connection_".
#[test]
fn rsv1_on_any_frame_other_than_the_first_fails_the_connection() {
    for role in ROLES {
        let begun = [text(&HELLO[..3]).more().rsv(COMPRESSED), text("Hel").more()];
        for first in begun {
            let frames = [first, rest(&HELLO[3..]).rsv(COMPRESSED)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::ReservedBit);
        }
        for control in [ping("x"), pong("x"), close(1000, "")] {
            let frames = [control.rsv(COMPRESSED)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::ReservedBit);
        }
    }
}

#[test]
fn the_other_reserved_bits_have_no_meaning_with_deflate_either() {
    for role in ROLES {
        for bits in [0b010, 0b001, 0b110, 0b101, 0b111] {
            let frames = [text(HELLO).rsv(bits)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::ReservedBit);
        }
    }
}

/// Decompressed text is validated like any other: RFC 6455 §8.1.
#[test]
fn compressed_text_that_is_not_utf_8_fails_with_1007() {
    // A stored block (§7.2.3.3) of one byte, 0xff.
    let bad = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00];
    for role in ROLES {
        let heard = [Heard::binary([0xff])];
        whatever_the_cut(role, &[binary(bad).rsv(COMPRESSED)], &heard, &[]);
        let frames = [text(bad).rsv(COMPRESSED)];
        fails_whatever_the_cut(role, &frames, &[], PeerError::InvalidUtf8);
        let chunked = || role().chunked();
        fails_whatever_the_cut(chunked, &frames, &[], PeerError::InvalidUtf8);
    }
}

#[test]
fn data_that_does_not_decompress_fails_with_1007() {
    // A block of the reserved type, and a stored block whose lengths disagree.
    for bad in [&[0x06, 0x00][..], &[0x00, 0x01, 0x00, 0x00, 0x00, 0xff]] {
        for role in ROLES {
            let frames = [binary(bad).rsv(COMPRESSED)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::CorruptDeflate);
            let chunked = || role().chunked();
            fails_whatever_the_cut(chunked, &frames, &[], PeerError::CorruptDeflate);
        }
    }
}

/// What we compress is one message with RSV1 on its first frame, whatever its length, and the other
/// end can read it.
#[test]
fn a_long_compressed_message_is_sent_as_well_formed_fragments() {
    let config = DeflateConfig::default().threshold(0);
    let small = || Config {
        fragment_size: 50,
        lone_frame_size: 0,
        ..Config::default()
    };
    let (of_client, of_server) = deflates(&config, &config);
    let mut client = Talk::with_client_of(small()).deflating(of_client);
    let mut server = Talk::with_server_of(small()).deflating(of_server);
    for round in 1..4_u32 {
        let squares = (0..200).map(|i| format!("{} ", i * i * round * 7919));
        let message: String = squares.collect();
        client.connection.send(&message).expect("open");
        client.connection.ping_with(b"?").expect("open");
        let said = client.says();
        let data: Vec<&Frame> = said.iter().filter(|frame| !frame.is_control()).collect();
        assert!(data.len() > 2, "it is cut");
        let (first, later) = data.split_first().expect("there are some");
        assert!(first.is_compressed() && first.opcode() == 1);
        assert!(
            later
                .iter()
                .all(|frame| !frame.is_compressed() && frame.opcode() == 0)
        );
        let heard = server.hears(said);
        assert!(heard.contains(&Heard::text(&message)));
    }
}

#[test]
fn pieces_are_compressed_as_one_message() {
    for (role, other) in [
        (server as fn() -> Talk, client as fn() -> Talk),
        (client, server),
    ] {
        let (mut talk, mut peer) = (role(), other());
        for round in 0..3 {
            let mut whole = String::new();
            for (piece, last) in [
                ("the same ", false),
                ("", false),
                ("the same ", false),
                ("end", true),
            ] {
                talk.connection.send_piece(piece, last).expect("open");
                whole.push_str(piece);
            }
            let said = talk.says();
            assert!(said[0].is_compressed());
            assert!(said[1..].iter().all(|frame| !frame.is_compressed()));
            assert_eq!(peer.hears(said), [Heard::text(&whole)], "round {round}");
        }
    }
}

/// Below the threshold, and if it would not shrink, a message is sent uncompressed, unless it is
/// short and may grow a little to be remembered; the windows of both ends stay the same.
#[test]
fn messages_that_do_not_shrink_are_sent_uncompressed_and_the_contexts_stay_synchronised() {
    let config = DeflateConfig::default().threshold(20);
    let (of_client, of_server) = deflates(&config, &config);
    let mut client = Talk::with_client().deflating(of_client);
    let mut server = Talk::with_server().deflating(of_server);
    let mut noise = 1_u32;
    let mut random = |len: usize| -> Vec<u8> {
        let next = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        });
        next.take(len).collect()
    };
    for round in 0..20 {
        let messages = [
            b"short".to_vec(),
            vec![b'a'; 300],
            random(300),
            vec![b'a'; 19],
            random(25),
        ];
        for message in messages {
            client.connection.send(&*message).expect("open");
            let said = client.says();
            let remembered = message.len() == 25;
            let growth = if remembered { 16 } else { 0 };
            assert!(said[0].payload().len() <= message.len() + growth);
            let repetitive = message.len() == 300 && message[0] == b'a' && message[1] == b'a';
            if !remembered {
                assert_eq!(said[0].is_compressed(), repetitive, "round {round}");
            }
            assert_eq!(server.hears(said), [Heard::binary(message)]);
        }
    }
}

/// §8: secrets must not be compressed together with data chosen by an attacker.
#[test]
fn a_message_prepared_without_compression_does_not_enter_the_context() {
    let config = DeflateConfig::default();
    let (of_client, of_server) = deflates(&config, &config);
    let mut client = Talk::with_client().deflating(of_client);
    let mut server = Talk::with_server().deflating(of_server);
    let text = "the same words again and again, ".repeat(20);
    let secret = Prepared::new(text.as_str());
    for _ in 0..3 {
        client.connection.send(&secret).expect("open");
        let said = client.says();
        assert!(!said[0].is_compressed());
        assert_eq!(server.hears(said), [Heard::text(&text)]);
        server.connection.send(&secret).expect("open");
        let said = server.says();
        assert!(!said[0].is_compressed());
        assert_eq!(client.hears(said), [Heard::text(&text)]);
    }
    server.connection.send(&text).expect("open");
    let with_secret = server.says();
    let (_, of_server) = deflates(&config, &config);
    let mut fresh = Talk::with_server().deflating(of_server);
    fresh.connection.send(&text).expect("open");
    assert_eq!(with_secret, fresh.says(), "nothing refers to the secret");
}

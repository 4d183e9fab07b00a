//! RFC 6455 §5.2 (and §5.8): the base framing: reserved bits and opcodes, and every form of
//! length.

use offhook_protocol::PeerError;
use offhook_testkit::frames::{binary, close, opcode, ping, pong, raw, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut, whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// "RSV1, RSV2, RSV3: MUST be 0 unless an extension is negotiated that defines meanings for
/// non-zero values."
#[test]
fn every_reserved_bit_on_every_frame_fails_the_connection() {
    for role in ROLES {
        for bits in 1..8 {
            for frame in [
                text("x"),
                binary("x"),
                text("x").more(),
                ping(""),
                pong(""),
                close(1000, ""),
            ] {
                fails_whatever_the_cut(role, &[frame.rsv(bits)], &[], PeerError::ReservedBit);
            }
            let frames = [text("x").more(), rest("y").rsv(bits)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::ReservedBit);
        }
    }
}

/// "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket
/// Connection_."
#[test]
fn every_reserved_opcode_fails_the_connection_in_any_frame() {
    for role in ROLES {
        for reserved in (0x3..=0x7).chain(0xb..=0xf) {
            let error = PeerError::ReservedOpcode(reserved);
            for frame in [
                opcode(reserved, ""),
                opcode(reserved, "payload"),
                opcode(reserved, "payload").more(),
                opcode(reserved, [0; 300]),
            ] {
                fails_whatever_the_cut(role, &[frame], &[], error);
            }
            let frames = [text("Hel").more(), opcode(reserved, ""), rest("lo")];
            fails_whatever_the_cut(role, &frames, &[], error);
        }
    }
}

/// "The length of the "Payload data", in bytes: if 0–125 …; if 126, the following 2 bytes …; if
/// 127, the following 8 bytes."
#[test]
fn a_payload_of_every_length_form_arrives() {
    for role in ROLES {
        for len in [
            0, 1, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537,
        ] {
            let payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
            let frames = [binary(&payload)];
            let heard = [Heard::binary(&payload)];
            if len < 1000 {
                whatever_the_cut(role, &frames, &heard, &[]);
            }
            for size in [1000, 65_530, usize::MAX] {
                assert_eq!(
                    role().hears_cut(frames.clone(), size),
                    heard,
                    "{len} by {size}"
                );
            }
        }
    }
}

/// "The minimal number of bytes MUST be used to encode the length."
#[test]
fn a_length_in_a_longer_form_than_needed_fails_the_connection() {
    for role in ROLES {
        let mask_bit = if role().connection.is_server() {
            0x80
        } else {
            0
        };
        for len in [0_u16, 1, 125] {
            let header = [&[0x82, mask_bit | 126][..], &len.to_be_bytes()].concat();
            fails_whatever_the_cut(role, &[raw(header)], &[], PeerError::LengthNotMinimal);
        }
        for len in [0_u64, 125, 126, 65_535] {
            let header = [&[0x82, mask_bit | 127][..], &len.to_be_bytes()].concat();
            fails_whatever_the_cut(role, &[raw(header)], &[], PeerError::LengthNotMinimal);
        }
    }
}

/// "…the most significant bit MUST be 0."
#[test]
fn a_64_bit_length_with_its_top_bit_set_fails_the_connection() {
    for role in ROLES {
        for len in [1 << 63, u64::MAX] {
            let frames = [binary("").promising(len)];
            fails_whatever_the_cut(role, &frames, &[], PeerError::LengthTopBit);
        }
    }
}

/// The same for what we send: each length in its shortest form, in one frame.
#[test]
fn sent_frames_use_the_shortest_length_form() {
    for role in ROLES {
        let forms = [
            (0, 2),
            (1, 2),
            (125, 2),
            (126, 4),
            (127, 4),
            (65_535, 4),
            (65_536, 10),
        ];
        for (len, header_len) in forms {
            let mut talk = role();
            let mask_len = if talk.connection.is_server() { 0 } else { 4 };
            talk.connection.send(vec![b'x'; len]).expect("open");
            assert_eq!(
                talk.connection.buffered_amount(),
                header_len + mask_len + len
            );
            assert_eq!(talk.says(), [binary(vec![b'x'; len])]);
        }
    }
}

/// A reserved opcode is refused as soon as it is received, not after the announced payload.
#[test]
fn errors_in_the_header_fail_before_the_payload_arrives() {
    for role in ROLES {
        let bad = [
            (opcode(0x3, ""), PeerError::ReservedOpcode(3)),
            (text("").rsv(0b010), PeerError::ReservedBit),
            (rest(""), PeerError::UnexpectedContinuation),
        ];
        for (frame, error) in bad {
            let frame: Frame = frame.promising(100_000);
            fails_whatever_the_cut(role, &[frame], &[], error);
        }
    }
}

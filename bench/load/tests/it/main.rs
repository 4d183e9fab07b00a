//! The load generator's checks: it accepts what an echo server may send, and nothing else.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod channels;

use load::deflate::Agreement;
use load::replies::{Heard, Replies};
use load::ring::{Ring, Shape};

const SMALL: Shape = Shape {
    size: 20,
    json: false,
};
const JSON: Shape = Shape {
    size: 256,
    json: true,
};

/// What an echo server sends back for masked frames: the same without masks.
fn echoed(mut wire: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while !wire.is_empty() {
        let (extended, length) = match wire[1] & 0x7F {
            126 => (2, usize::from(u16::from_be_bytes([wire[2], wire[3]]))),
            127 => (
                8,
                u64::from_be_bytes(wire[2..10].try_into().unwrap_or_default()) as usize,
            ),
            length => (0, usize::from(length)),
        };
        let (head, rest) = wire.split_at(2 + extended);
        let (mask, rest) = rest.split_at(4);
        let (payload, rest) = rest.split_at(length);
        out.extend([head[0], head[1] & 0x7F]);
        out.extend_from_slice(&head[2..]);
        out.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        wire = rest;
    }
    out
}

/// The first `count` frames, whichever lap they are in.
fn frames(ring: &Ring, count: usize) -> Vec<u8> {
    let lap = ring.lap();
    (0..count)
        .map(|index| {
            if index < 2 * lap {
                index
            } else {
                lap + index % lap
            }
        })
        .flat_map(|place| echoed(&ring.wire()[ring.bytes(place, place + 1)]))
        .collect()
}

fn hear(ring: &Ring, deflate: Option<Agreement>, pieces: &[&[u8]]) -> anyhow::Result<Heard> {
    let mut replies = Replies::new(deflate);
    let mut heard = Heard::default();
    for piece in pieces {
        replies.take(piece, ring, &mut heard)?;
    }
    Ok(heard)
}

#[test]
fn echoes_are_counted_regardless_of_where_the_bytes_are_split() {
    for size in [0, 1, 20, 125, 126, 300, 70_000] {
        let ring = Ring::new(Shape { size, json: false }, 3, None).unwrap();
        let bytes = frames(&ring, 10);
        for cut in [1, 2, 7, 1000, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            assert_eq!(
                hear(&ring, None, &pieces).unwrap().messages,
                10,
                "{size} B by {cut}"
            );
        }
    }
}

#[test]
fn a_wrong_byte_is_detected() {
    let ring = Ring::new(SMALL, 4, None).unwrap();
    let bytes = frames(&ring, 4);
    for at in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        let heard = hear(&ring, None, &[&wrong]);
        assert!(heard.is_err() || heard.unwrap().messages < 4, "byte {at}");
    }
}

#[test]
fn messages_in_the_wrong_order_are_detected() {
    let ring = Ring::new(SMALL, 4, None).unwrap();
    let bytes = frames(&ring, 2);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert!(hear(&ring, None, &[first, second]).is_ok());
    assert!(hear(&ring, None, &[second, first]).is_err());
}

#[test]
fn a_fragmented_echo_with_a_ping_inside_counts_once() {
    let ring = Ring::new(SMALL, 1, None).unwrap();
    let message = ring.message(0);
    let bytes = [
        &[0x02, 8][..],
        &message[..8],
        &[0x89, 2, b'h', b'i'],
        &[0x00, 0],
        &[0x80, 12],
        &message[8..],
    ]
    .concat();
    let heard = hear(&ring, None, &[&bytes]).unwrap();
    assert_eq!((heard.messages, heard.pings), (1, vec![b"hi".to_vec()]));
}

#[test]
fn masked_reserved_and_unexpected_frames_are_refused() {
    let ring = Ring::new(SMALL, 1, None).unwrap();
    let empty = Ring::empty();
    for bytes in [
        &[0x82, 0x80][..],
        &[0xC2, 0],
        &[0xA2, 0],
        &[0x80, 0],
        &[0x81, 0],
        &[0x82, 0],
    ] {
        assert!(hear(&ring, None, &[bytes]).is_err(), "{bytes:x?}");
        assert!(hear(&empty, None, &[bytes]).is_err(), "{bytes:x?}");
    }
}

#[test]
fn compressed_frames_inflate_with_every_agreed_parameter() {
    for (client_window_bits, keeps_context) in [
        (15, true),
        (15, false),
        (12, true),
        (9, true),
        (8, true),
        (8, false),
    ] {
        let agreed = Agreement {
            client_window_bits,
            client_keeps_context: keeps_context,
            server_keeps_context: keeps_context,
        };
        let ring = Ring::new(JSON, 1, Some(agreed)).unwrap();
        let count = 5 * ring.lap();
        let bytes = frames(&ring, count);
        assert!(bytes.len() < count * 256, "compressed");
        assert_eq!(
            hear(&ring, Some(agreed), &[&bytes]).unwrap().messages,
            count
        );
    }
}

#[test]
fn a_compressed_echo_of_another_message_is_detected() {
    let agreed = Agreement::parse("permessage-deflate; client_no_context_takeover").unwrap();
    let ring = Ring::new(JSON, 1, Some(agreed)).unwrap();
    let frame = |place| echoed(&ring.wire()[ring.bytes(place, place + 1)]);
    assert_eq!(hear(&ring, Some(agreed), &[&frame(0)]).unwrap().messages, 1);
    assert!(hear(&ring, Some(agreed), &[&frame(1)]).is_err());
}

#[test]
fn the_servers_answer_about_compression_is_parsed() {
    let agreed = Agreement::parse(
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=10",
    )
    .unwrap();
    assert_eq!(agreed.client_window_bits, 10);
    assert!(agreed.client_keeps_context && !agreed.server_keeps_context);
    assert!(Agreement::parse("permessage-foo").is_err());
    assert!(Agreement::parse("permessage-deflate; surprise").is_err());
}

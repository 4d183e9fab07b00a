//! RFC 6455 §5.3 and §10.3: the masking key is fresh for each frame, and masking is its own
//! inverse at every offset.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use offhook_protocol::{Config, Connection, FrameHeader};
use offhook_testkit::frames::{ping, raw, rest, text};
use offhook_testkit::{Clock, Frame, Heard, Talk, whatever_the_cut};

/// A client's payload, masked with a key of the test's choice.
fn masked_text(payload: &str, key: [u8; 4]) -> Frame {
    let bytes = payload.as_bytes().iter().zip(key.iter().cycle());
    let masked: Vec<u8> = bytes.map(|(byte, key)| byte ^ key).collect();
    let header = [&[0x81, 0x80 | masked.len() as u8][..], &key].concat();
    raw([header, masked].concat())
}

/// "Octet i of the transformed data is the XOR of octet i of the original data with octet at
/// index i modulo 4 of the masking key", wherever the segments end.
#[test]
fn any_key_unmasks_regardless_of_where_a_frame_is_split() {
    let sentence = "grüße, κόσμε: 0123456789 in forty bytes or more";
    for key in [[0; 4], [0xff; 4], [1, 2, 3, 4], [0x80, 0, 0x7f, 0x55]] {
        let frames = [masked_text(sentence, key)];
        whatever_the_cut(Talk::with_server, &frames, &[Heard::text(sentence)], &[]);
    }
}

/// Each frame has its own key, and starts with its first octet.
#[test]
fn fragments_with_different_keys_form_one_message() {
    let first = raw({
        let mut bytes = masked_text("Hel", [9, 8, 7, 6]).encode(true);
        bytes[0] = 0x01;
        bytes
    });
    let last = raw({
        let mut bytes = masked_text("lo", [0xf0, 0x0f, 0xaa, 0x55]).encode(true);
        bytes[0] = 0x80;
        bytes
    });
    let heard = [Heard::text("Hello")];
    whatever_the_cut(Talk::with_server, &[first, last], &heard, &[]);
}

/// "The masking key needs to be unpredictable"; "a fresh masking key MUST be used for each frame":
/// each frame, of every kind, takes one from the given source.
#[test]
fn a_client_uses_a_new_key_for_each_frame() {
    let count = Arc::new(AtomicU32::new(1));
    let taken = count.clone();
    let keys = move || taken.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let clock = Clock::default();
    let config = Config {
        fragment_size: 10,
        lone_frame_size: 0,
        ..Config::default()
    };
    let connection = Connection::client(Arc::new(config), Arc::new(keys), clock.now());
    let mut talk = Talk { connection, clock };

    talk.connection
        .send("cut into three frames, 30 byte")
        .expect("open");
    talk.connection.send_piece("p", false).expect("open");
    talk.connection.send_piece("q", true).expect("open");
    talk.connection.ping_with(b"").expect("open");
    talk.hears([ping("?")]);
    talk.connection
        .close(1000.into(), "", clock.now())
        .expect("allowed");

    let wire = talk.written();
    let mut keys = HashSet::new();
    let mut rest = wire.as_slice();
    let mut frames = 0;
    while let Some((header, len)) = FrameHeader::parse(rest).expect("well-formed") {
        keys.insert(header.mask.expect("a client masks"));
        rest = &rest[len + header.payload_len as usize..];
        frames += 1;
    }
    assert_eq!(frames, 3 + 2 + 3);
    assert_eq!(keys.len(), frames, "no key twice");
    assert_eq!(
        count.load(Ordering::Relaxed) as usize,
        frames + 1,
        "none for nothing"
    );
}

/// Masking never modifies what the caller lent or shares.
#[test]
fn a_payload_sent_by_reference_is_not_modified() {
    let shared = bytes::Bytes::from(vec![0x11; 100_000]);
    let mut talk = Talk::with_client();
    talk.connection.send(shared.clone()).expect("open");
    let said = talk.says();
    assert!(said.iter().flat_map(Frame::payload).eq(shared.iter()));
    assert!(shared.iter().all(|byte| *byte == 0x11));
}

#[test]
fn an_empty_masked_frame_has_a_key_and_no_payload() {
    let frames = [text("").more(), rest("")];
    whatever_the_cut(Talk::with_server, &frames, &[Heard::text("")], &[]);
}

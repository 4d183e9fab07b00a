//! RFC 6455 §5.7: its examples, byte for byte, received and sent.

use std::sync::Arc;

use offhook_protocol::{Config, Connection};
use offhook_testkit::frames::raw;
use offhook_testkit::{Clock, Frame, Heard, Talk, whatever_the_cut};

const UNMASKED_HELLO: [u8; 7] = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
const MASKED_HELLO: [u8; 11] = [
    0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
];
const FRAGMENTED_HELLO: [u8; 9] = [0x01, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f];
const UNMASKED_PING: [u8; 7] = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
const MASKED_PONG: [u8; 11] = [
    0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
];

/// A client whose masking key is the one in the examples.
fn client_of_the_rfc() -> Talk {
    let clock = Clock::default();
    let keys = Arc::new(|| [0x37, 0xfa, 0x21, 0x3d]);
    let connection = Connection::client(Arc::new(Config::default()), keys, clock.now());
    Talk { connection, clock }
}

#[test]
fn a_single_frame_unmasked_text_message() {
    let frames = [raw(UNMASKED_HELLO)];
    whatever_the_cut(Talk::with_client, &frames, &[Heard::text("Hello")], &[]);
    let mut talk = Talk::with_server();
    talk.connection.send("Hello").expect("open");
    assert_eq!(talk.written(), UNMASKED_HELLO);
}

#[test]
fn a_single_frame_masked_text_message() {
    let frames = [raw(MASKED_HELLO)];
    whatever_the_cut(Talk::with_server, &frames, &[Heard::text("Hello")], &[]);
    let mut talk = client_of_the_rfc();
    talk.connection.send("Hello").expect("open");
    assert_eq!(talk.written(), MASKED_HELLO);
}

#[test]
fn a_fragmented_unmasked_text_message() {
    let frames = [raw(FRAGMENTED_HELLO)];
    whatever_the_cut(Talk::with_client, &frames, &[Heard::text("Hello")], &[]);
    let mut talk = Talk::with_server();
    talk.connection.send_piece("Hel", false).expect("open");
    talk.connection.send_piece("lo", true).expect("open");
    assert_eq!(talk.written(), FRAGMENTED_HELLO);
}

#[test]
fn an_unmasked_ping_request_and_its_masked_response() {
    let mut server = Talk::with_server();
    server.connection.ping_with(b"Hello").expect("open");
    assert_eq!(server.written(), UNMASKED_PING);

    let mut client = client_of_the_rfc();
    assert_eq!(
        client.hears_bytes(&UNMASKED_PING),
        [Heard::Ping(b"Hello".into())]
    );
    assert_eq!(client.written(), MASKED_PONG);

    let heard = [Heard::Pong(b"Hello".into(), false)];
    assert_eq!(server.hears_bytes(&MASKED_PONG), heard);
}

#[test]
fn two_hundred_fifty_six_bytes_in_a_single_unmasked_frame() {
    let payload: Vec<u8> = (0..=255).collect();
    let wire = [&[0x82, 0x7e, 0x01, 0x00], payload.as_slice()].concat();
    let heard = [Heard::binary(&payload)];
    let frames: [Frame; 1] = [raw(&wire)];
    whatever_the_cut(Talk::with_client, &frames, &heard, &[]);
    let mut talk = Talk::with_server();
    talk.connection.send(payload).expect("open");
    assert_eq!(talk.written(), wire);
}

#[test]
fn sixty_four_kibibytes_in_a_single_unmasked_frame() {
    let payload = vec![0xc3; 65_536];
    let wire = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], payload.as_slice()].concat();
    assert_eq!(
        Talk::with_client().hears_bytes(&wire),
        [Heard::binary(&payload)]
    );
    let mut talk = Talk::with_server();
    talk.connection.send(payload).expect("open");
    assert_eq!(talk.written(), wire);
}

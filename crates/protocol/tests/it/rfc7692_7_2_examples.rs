//! RFC 7692 §7.2.3: its examples, byte for byte.

use offhook_protocol::deflate::{DeflateConfig, DeflateMemory};
use offhook_testkit::frames::{raw, text};
use offhook_testkit::{Heard, Talk, deflates, whatever_the_cut};

fn client() -> Talk {
    let config = DeflateConfig::default().threshold(0);
    Talk::with_client().deflating(deflates(&config, &config).0)
}

fn server_without_context() -> Talk {
    let config = DeflateConfig::default()
        .threshold(0)
        .client_no_context_takeover(true);
    Talk::with_server().deflating(deflates(&config, &config).1)
}

fn assert_heard(wire: &[u8], heard: &[Heard]) {
    whatever_the_cut(client, &[raw(wire)], heard, &[]);
}

fn hello() -> Heard {
    Heard::text("Hello")
}

/// §7.2.3.1: one frame, and two.
#[test]
fn a_message_compressed_using_one_compressed_deflate_block() {
    assert_heard(
        &[0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[hello()],
    );
    let fragmented = [
        0x41, 0x03, 0xf2, 0x48, 0xcd, 0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_heard(&fragmented, &[hello()]);
}

/// §7.2.3.2: the second "Hello" refers to the first.
#[test]
fn sharing_lz77_sliding_window() {
    let wire = [
        0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, // The first.
        0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00, // The second.
    ];
    assert_heard(&wire, &[hello(), hello()]);
}

/// §7.1.1: without context takeover, the same reference has nothing to refer to.
#[test]
fn without_context_takeover_no_message_refers_to_the_previous_one() {
    let mut talk = server_without_context();
    let first = text([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]).rsv(0b100);
    assert_eq!(talk.hears([first.clone(), first]), [hello(), hello()]);
    let heard = talk.hears([text([0xf2, 0x00, 0x11, 0x00, 0x00]).rsv(0b100)]);
    assert!(matches!(heard[..], [Heard::Error(_)]), "{heard:?}");
}

/// §7.2.3.3.
#[test]
fn using_a_deflate_block_with_no_compression() {
    let wire = [
        0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_heard(&wire, &[hello()]);
}

/// §7.2.3.4: the final block is followed by the 0x00 that the sender added.
#[test]
fn using_a_deflate_block_with_bfinal_set_to_1() {
    let wire = [0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_heard(&wire, &[hello()]);
    assert_heard(&[wire, wire].concat(), &[hello(), hello()]);
}

/// §7.2.3.5.
#[test]
fn two_deflate_blocks_in_one_message() {
    let wire = [
        0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_heard(&wire, &[hello()]);
}

/// §7.2.3.6: an empty last fragment, after a first one that ends with a complete flush, and a
/// message that consists of nothing else.
#[test]
fn generating_an_empty_fragment() {
    assert_heard(&[0xc1, 0x01, 0x00], &[Heard::text("")]);
    let wire = [
        0x41, 0x0b, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff,
        0xff, // All of it,
        0x80, 0x01, 0x00, // and its end.
    ];
    assert_heard(&wire, &[hello()]);
}

/// §7.2.3.1 and §7.2.3.2 again, as sent by us. In pieces: such a short whole message would not
/// shrink and would be sent uncompressed.
#[test]
fn our_own_hello_equals_that_of_the_rfc() {
    let config = DeflateConfig::default().memory(DeflateMemory::Dedicated);
    let mut server = Talk::with_server().deflating(deflates(&config, &config).1);
    server.connection.send_piece("Hello", true).expect("open");
    let first = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(server.written(), first);
    server.connection.send_piece("Hello", true).expect("open");
    assert_eq!(server.written(), [0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00]);
}

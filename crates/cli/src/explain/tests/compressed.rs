use offhook_protocol::deflate::{
    Compressor, DeflateConfig, DeflateMemory, DeflatePool, DeflateTerms,
};
use offhook_testkit::frames::*;

use super::*;

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn compressor(window_bits: u8) -> Compressor {
    let config = DeflateConfig::default()
        .memory(DeflateMemory::Dedicated)
        .threshold(0);
    let terms = DeflateTerms {
        window_bits,
        context_takeover: true,
    };
    Compressor::new(terms, &config, &DeflatePool::default())
}

fn compressed(compressor: &mut Compressor, message: &str) -> Sentence {
    let mut payload = Vec::new();
    assert!(compressor.compress(message.as_bytes(), &mut payload));
    text(payload).rsv(0b100)
}

const MESSAGE: &str = "the same words again, and again, and again: the same words again";

#[test]
fn messages_that_refer_to_earlier_ones_are_inflated() {
    let mut compressor = compressor(15);
    let said = [MESSAGE, MESSAGE].map(|message| compressed(&mut compressor, message));
    assert!(said[1].payload().len() < said[0].payload().len());
    for piece in said_by(Side::Server, said) {
        let Content::Data {
            inflated: Some(plain),
            ..
        } = &frame(&piece).content
        else {
            panic!("{piece:?}");
        };
        assert_eq!(plain, MESSAGE.as_bytes());
        assert!(frame(&piece).notes[0].contains("the handshake was not seen"));
        assert!(frame(&piece).broken.is_empty());
    }
}

#[test]
fn a_capture_without_its_beginning_gets_a_note() {
    let mut compressor = compressor(15);
    let said = [MESSAGE, MESSAGE].map(|message| compressed(&mut compressor, message));
    let pieces = said_by(Side::Server, said.into_iter().skip(1));
    let frame = frame(&pieces[0]);
    assert!(frame.broken.is_empty());
    assert!(
        frame
            .notes
            .iter()
            .any(|note| note.contains("need not be its fault")),
        "{frame:?}"
    );
}

#[test]
fn without_negotiated_compression_its_bit_is_a_fault() {
    let head = format!("{SWITCHED}\r\n");
    let mut compressor = compressor(15);
    let said = compressed(&mut compressor, MESSAGE).encode(false);
    let pieces = pieces(Side::Server, &[head.as_bytes(), &said]);
    assert_eq!(sections(&pieces[1]), ["RFC 6455 §5.2"]);
}

#[test]
fn a_reference_beyond_the_agreed_window_is_a_fault() {
    let extension = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9";
    let head = format!("{SWITCHED}{extension}\r\n\r\n");
    let far: Vec<u8> = (0..=255).cycle().take(600).collect();
    // One stored block (RFC 1951 §3.2.4), then a match of three bytes 513 bytes back (§3.2.6).
    let stored = [&[0x00, 0x58, 0x02, 0xa7, 0xfd][..], &far, &[0x00]].concat();
    let said: Vec<u8> = [binary(stored), binary([0x02, 0x26, 0x00, 0x00, 0x00])]
        .into_iter()
        .flat_map(|frame| frame.rsv(0b100).encode(false))
        .collect();
    let pieces = pieces(Side::Server, &[head.as_bytes(), &said]);
    let broken: Vec<_> = pieces.iter().map(sections).collect();
    assert_eq!(broken, [vec![], vec![], vec!["RFC 7692 §7.1.2"]]);
}

#[test]
fn invalid_compression_is_reported_once_and_later_messages_are_not_inflated() {
    let extension = "Sec-WebSocket-Extensions: permessage-deflate";
    let head = format!("{SWITCHED}{extension}\r\n\r\n");
    let broken = text([0xff, 0xff, 0xff]).rsv(0b100).encode(false);
    let good = compressed(&mut compressor(15), MESSAGE).encode(false);
    let pieces = pieces(Side::Server, &[head.as_bytes(), &broken, &good]);
    assert_eq!(sections(&pieces[1]), ["RFC 7692 §7.2.2"]);
    assert_eq!(sections(&pieces[2]), [] as [&str; 0]);
    assert!(frame(&pieces[2]).notes[0].contains("could not be read"));
}

//! An endpoint fails a connection at the first error and stops. The explanation must report the
//! same error at the same place, however the bytes are split.

use offhook_protocol::Error;
use offhook_testkit::frames::*;
use offhook_testkit::{Heard, Talk};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn sentence() -> impl Strategy<Value = Sentence> {
    let payload = prop_oneof![
        "[a-zé🙂]{0,8}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..6),
        Just(vec![b'x'; 126]),
        Just(vec![0x03, 0xe8]),
        Just(vec![0x03, 0xed]),
    ];
    let opcode_bits = prop_oneof![4 => 0_u8..3, 2 => 8_u8..11, 1 => 0_u8..16];
    let rsv = prop_oneof![20 => Just(0_u8), 1 => 1_u8..8];
    (opcode_bits, payload, any::<bool>(), rsv).prop_map(|(bits, payload, fin, rsv)| {
        let frame = opcode(bits, payload).rsv(rsv);
        if fin { frame } else { frame.more() }
    })
}

/// The error for which a server without compression fails these bytes.
fn fault(bytes: &[u8]) -> Option<Broken> {
    let heard = Talk::with_server().hears_bytes(bytes);
    heard.into_iter().find_map(|heard| match heard {
        Heard::Error(Error::Peer(error)) => Some(error.into()),
        Heard::Error(error) => panic!("{error}"),
        Heard::Text(_)
        | Heard::Binary(_)
        | Heard::Chunk(..)
        | Heard::Ping(_)
        | Heard::Pong(..)
        | Heard::Close(_) => None,
    })
}

/// The answer of a server that negotiated nothing, so that nothing is guessed.
fn without_compression() -> Conversation {
    let mut conversation = Conversation::new();
    let head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let _ = conversation.take(Side::Server, head.as_bytes());
    conversation
}

proptest! {
    #[test]
    fn the_first_report_is_the_error_of_an_endpoint_and_valid_input_has_none(
        said in vec(sentence(), 0..8),
        is_masked in prop_oneof![9 => Just(true), 1 => Just(false)],
    ) {
        // An endpoint ignores everything after a Close.
        let end = said.iter().position(|frame| frame.opcode() == 8).map_or(said.len(), |at| at + 1);
        let said = &said[..end];
        let bytes: Vec<u8> = said.iter().flat_map(|frame| frame.encode(is_masked)).collect();
        let mut conversation = without_compression();
        let pieces = conversation.take(Side::Client, &bytes);
        let told = pieces.iter().find(|piece| !sections(piece).is_empty());
        match (fault(&bytes), told) {
            (None, None) => {}
            (Some(fault), Some(piece)) => {
                // An endpoint has one error for text and for the reason of a Close that are not UTF-8.
                let alternative = if fault.section == "RFC 6455 §8.1" { "RFC 6455 §5.5.1" } else { fault.section };
                let told = sections(piece);
                let is_told = told.contains(&fault.section) || told.contains(&alternative);
                prop_assert!(is_told, "{fault:?} {piece:?}");
            }
            (fault, told) => prop_assert!(false, "{fault:?} {told:?}"),
        }
    }

    #[test]
    fn any_bytes_are_decoded_the_same_regardless_of_where_they_are_split(
        bytes in vec(any::<u8>(), 0..200),
        cuts in vec(0_usize..200, 0..5),
        is_client in any::<bool>(),
    ) {
        let side = if is_client { Side::Client } else { Side::Server };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.sort_unstable();
        cuts.insert(0, 0);
        cuts.push(bytes.len());
        let segments: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(pieces(side, &segments), pieces(side, &[&bytes]));
    }

    #[test]
    fn everything_that_is_decoded_can_be_shown(bytes in vec(any::<u8>(), 0..200)) {
        for piece in pieces(Side::of(&bytes), &[&bytes]) {
            for page in [page::text(&piece, page::Amount::Some, Place::default()), line::text(&piece), json::text(&piece, Place::default())] {
                let is_plain = |c: char| !c.is_control() || c == '\n' || c == '\u{1b}';
                prop_assert!(page.ends_with('\n') && page.chars().all(is_plain), "{page:?}");
            }
            let json = json::text(&piece, Place::default());
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
        }
    }
}

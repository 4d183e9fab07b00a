//! Messages written piece by piece, and messages prepared once for many connections.

use offhook_protocol::{Config, Kind, Prepared, SendError};
use offhook_testkit::frames::{binary, close, ping, rest, text};
use offhook_testkit::{Frame, Heard, Pair, Talk};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

#[test]
fn each_piece_is_a_fragment_and_the_last_ends_the_message() {
    for role in ROLES {
        let mut talk = role();
        talk.connection.send_piece("one", false).expect("open");
        talk.connection.send_piece("", false).expect("open");
        talk.connection.send_piece("two", true).expect("open");
        talk.connection.send_piece("alone", true).expect("open");
        talk.connection.send_piece(b"binary", false).expect("open");
        talk.connection.send_piece(b"", true).expect("open");
        let expected = [
            text("one").more(),
            rest("").more(),
            rest("two"),
            text("alone"),
            binary("binary").more(),
            rest(""),
        ];
        assert_eq!(talk.says(), expected);
    }
}

/// RFC 6455 §5.4: "the fragments of one message MUST NOT be interleaved between the fragments of
/// another message".
#[test]
fn no_other_message_begins_while_pieces_are_written_but_control_frames_go() {
    for role in ROLES {
        let mut talk = role();
        talk.connection.send_piece("a", false).expect("open");
        let busy = Err(SendError::StreamInProgress);
        assert_eq!(talk.connection.send("no"), busy);
        assert_eq!(talk.connection.send_urgent("no"), busy);
        assert_eq!(talk.connection.send_prepared(&Prepared::new("no")), busy);
        talk.connection.ping_with(b"?").expect("open");
        talk.connection.send_piece("b", true).expect("open");
        talk.connection.send("again").expect("open");
        let expected = [text("a").more(), ping("?"), rest("b"), text("again")];
        assert_eq!(talk.says(), expected);
    }
}

/// RFC 6455 §5.5.1 knows no message that must be ended before a Close.
#[test]
fn a_close_may_end_a_message_in_the_middle_of_its_pieces() {
    for role in ROLES {
        let mut talk = role();
        let now = talk.clock.now();
        talk.connection.send_piece("a", false).expect("open");
        talk.connection
            .close(1001.into(), "", now)
            .expect("allowed");
        assert_eq!(
            talk.connection.send_piece("b", true),
            Err(SendError::NotOpen)
        );
        assert_eq!(talk.says(), [text("a").more(), close(1001, "")]);
    }
}

#[test]
fn pieces_of_any_size_arrive_as_one_message() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let mut whole = Vec::new();
    for (index, size) in [0, 1, 100_000, 5, 70_000, 300_000, 0]
        .into_iter()
        .enumerate()
    {
        let piece = vec![index as u8; size];
        whole.extend(&piece);
        pair.server
            .connection
            .send_piece(piece, index == 6)
            .expect("open");
    }
    pair.settle();
    assert!(pair.client.heard == [Heard::binary(whole)]);
}

#[test]
fn a_prepared_message_is_the_same_message_on_every_connection() {
    for payload in [
        vec![],
        vec![1; 125],
        vec![2; 126],
        vec![3; 4097],
        vec![4; 65_536],
    ] {
        let prepared = Prepared::new(payload.clone());
        assert_eq!(
            (prepared.kind(), prepared.as_bytes()),
            (Kind::Binary, &*payload)
        );
        for role in ROLES {
            for _ in 0..2 {
                let mut talk = role();
                talk.connection.send_prepared(&prepared).expect("open");
                assert!(talk.says() == [binary(&payload)]);
            }
        }
    }
    let words = Prepared::new("Wörter");
    assert_eq!(words.kind(), Kind::Text);
    for role in ROLES {
        let mut talk = role();
        talk.connection.send_prepared(&words).expect("open");
        assert_eq!(talk.says(), [text("Wörter")]);
    }
}

#[test]
fn a_long_prepared_message_of_a_client_is_cut_and_masked_like_others() {
    let prepared = Prepared::new(vec![9; 200_000]);
    let mut talk = Talk::with_client();
    talk.connection.send_prepared(&prepared).expect("open");
    let said = talk.says();
    assert_eq!(said.len(), 4);
    assert!(said.iter().flat_map(Frame::payload).eq(prepared.as_bytes()));
}

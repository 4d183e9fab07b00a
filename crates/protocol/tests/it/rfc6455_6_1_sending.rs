//! RFC 6455 §6.1: sending data: only while open, framed by type, in order.

use offhook_protocol::{Message, Outgoing, ReadyState, SendError};
use offhook_testkit::frames::{binary, text};
use offhook_testkit::{Heard, Pair, Talk};

/// "The endpoint MUST ensure the WebSocket connection is in the OPEN state."
#[test]
fn nothing_is_sent_after_the_transport_ended() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        talk.connection.handle_transport_closed(talk.clock.now());
        assert_eq!(talk.connection.ready_state(), ReadyState::Closed);
        assert_eq!(talk.connection.send("late"), Err(SendError::NotOpen));
        assert_eq!(
            talk.connection.ping(talk.clock.now()),
            Err(SendError::NotOpen)
        );
        assert_eq!(talk.says(), []);
    }
}

#[test]
fn every_way_of_sending_frames_a_message_by_its_type() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let connection = &mut talk.connection;
        let owned = String::from("owned text");
        connection.send("borrowed text").expect("open");
        connection.send(&owned).expect("open");
        connection.send(owned).expect("open");
        connection.send(&[1, 2][..]).expect("open");
        connection.send(b"array").expect("open");
        connection.send(vec![3, 4]).expect("open");
        connection
            .send(bytes::Bytes::from_static(b"shared"))
            .expect("open");
        let shared = bytes::Bytes::from_static("geteilt ß".as_bytes());
        let shared = Outgoing::shared_text(shared).expect("UTF-8");
        connection.send(shared).expect("open");
        let received = Message::Text("received".into());
        connection.send(&received).expect("open");
        connection
            .send(Message::Binary((&b"passed on"[..]).into()))
            .expect("open");
        let expected = [
            text("borrowed text"),
            text("owned text"),
            text("owned text"),
            binary([1, 2]),
            binary("array"),
            binary([3, 4]),
            binary("shared"),
            text("geteilt ß"),
            text("received"),
            binary("passed on"),
        ];
        assert_eq!(talk.says(), expected);
    }
}

#[test]
fn shared_bytes_that_are_not_utf_8_cannot_be_sent_as_text() {
    let bytes = bytes::Bytes::from_static(b"\xff");
    assert_eq!(Outgoing::shared_text(bytes.clone()).err(), Some(bytes));
}

#[test]
fn messages_of_every_size_arrive_at_the_other_end_in_order() {
    let mut pair = Pair::new(Default::default(), Default::default());
    let sizes = [
        0,
        1,
        125,
        126,
        4096,
        4097,
        65_535,
        65_536,
        65_537,
        300_000,
        1 << 20,
    ];
    for size in sizes {
        let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        pair.client.connection.send(payload.clone()).expect("open");
        pair.server.connection.send(payload).expect("open");
    }
    pair.settle();
    for end in [&pair.client, &pair.server] {
        assert_eq!(end.connection.buffered_amount(), 0);
        assert_eq!(end.heard.len(), sizes.len());
        for (heard, size) in end.heard.iter().zip(sizes) {
            let payload: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            assert!(*heard == Heard::binary(payload), "{size} bytes");
        }
    }
}

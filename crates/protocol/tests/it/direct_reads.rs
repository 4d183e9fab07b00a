//! Long messages that are read directly into their buffer.

use bytes::BufMut as _;
use offhook_protocol::{Error, Event, Input, Message, PeerError, ReceiveMode};
use offhook_testkit::frames::{binary, close, ping, rest, text};
use offhook_testkit::{Frame, Talk};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// Passes `wire` to the connection as a driver does that reads directly into messages where
/// possible, at most `piece` bytes at a time. Returns the messages, and the number of bytes read
/// directly.
fn drive(talk: &mut Talk, mut wire: &[u8], piece: usize) -> (Vec<Vec<u8>>, usize) {
    let now = talk.clock.now();
    let (mut messages, mut direct) = (Vec::new(), 0);
    let mut keep = |event: Option<Event<'_>>| {
        if let Some(Event::Message(message)) = event {
            messages.push(message.as_bytes().to_vec());
        }
    };
    while !wire.is_empty() {
        if let Some(mut room) = talk.connection.payload_room() {
            let (read, after) = wire.split_at(piece.min(room.remaining_mut()).min(wire.len()));
            room.put_slice(read);
            direct += read.len();
            wire = after;
            keep(talk.connection.payload_read(now).expect("valid"));
            continue;
        }
        let (read, after) = wire.split_at(piece.min(wire.len()));
        wire = after;
        let mut read = read.to_vec();
        let mut input = Input::new(&mut read, now);
        while let Some(event) = talk.connection.receive(&mut input).expect("valid") {
            keep(Some(event));
        }
    }
    (messages, direct)
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 31 / 7) as u8).collect()
}

#[test]
fn a_long_message_is_the_same_for_all_sizes_of_reads() {
    for role in ROLES {
        for piece in [1000, 4096, 60_001, 65_536, 1 << 20] {
            let mut talk = role();
            let long = payload(700_000);
            let wire = [
                binary(long.clone()),
                ping("?"),
                binary([1; 3]),
                binary(long.clone()),
            ];
            let wire: Vec<u8> = wire
                .into_iter()
                .flat_map(|frame| talk.encode([frame]))
                .collect();
            let (messages, direct) = drive(&mut talk, &wire, piece);
            assert!(messages == [long.clone(), vec![1; 3], long], "{piece}");
            // The read that completes a message also returns the bytes after it.
            assert!(piece >= 1 << 20 || direct > 1_200_000, "{piece}: {direct}");
        }
    }
}

#[test]
fn fragments_with_pings_between_them_make_one_message() {
    let mut talk = Talk::with_server();
    let long = payload(300_000);
    let (first, last) = long.split_at(100_001);
    let frames = [binary(first).more(), ping("?"), rest(last)];
    let wire: Vec<u8> = frames
        .into_iter()
        .flat_map(|frame| talk.encode([frame]))
        .collect();
    let (messages, direct) = drive(&mut talk, &wire, 5000);
    assert!(messages == [long]);
    assert!(direct > 250_000, "{direct}");
}

/// The beginning of a long frame has arrived.
fn begun(talk: &mut Talk, frame: Frame) {
    let mut wire = talk.encode([frame]);
    let mut input = Input::new(&mut wire[..1000], talk.clock.now());
    assert_eq!(talk.connection.receive(&mut input), Ok(None));
}

#[test]
fn the_room_offered_is_little_more_than_was_received() {
    let mut talk = Talk::with_server();
    begun(&mut talk, binary(payload(1_000_000)));
    let room = talk.connection.payload_room().expect("a long message");
    assert!(room.remaining_mut() <= 64 * 1024);
    assert!(room.get_ref().capacity() <= 1000 + 64 * 1024);
}

#[test]
fn no_room_is_offered_for_chunks_and_the_end_of_a_payload() {
    let mut talk = Talk::with_server();
    talk.connection.set_receive_mode(ReceiveMode::Chunks);
    let mut wire = talk.encode([binary(payload(100_000))]);
    let mut input = Input::new(&mut wire[..1000], talk.clock.now());
    assert!(matches!(
        talk.connection.receive(&mut input),
        Ok(Some(Event::Chunk(_)))
    ));
    assert!(talk.connection.payload_room().is_none());

    let mut talk = Talk::with_server();
    begun(&mut talk, binary(payload(10_000)));
    assert!(talk.connection.payload_room().is_none());
}

/// Characters are split by the reads, and validated all the same.
#[test]
fn a_long_text_is_the_same_for_all_sizes_of_reads() {
    let long = "€uro, 🦀 and plain ".repeat(20_000);
    for role in ROLES {
        for piece in [997, 4_096, 60_001, 65_536] {
            let mut talk = role();
            let wire = talk.encode([text(&long), text("after")]);
            let (messages, direct) = drive(&mut talk, &wire, piece);
            assert!(messages == [long.as_bytes(), b"after"], "{piece}");
            assert!(direct > 300_000, "{piece}: {direct}");
        }
    }
}

#[test]
fn invalid_text_read_directly_into_place_fails_at_its_first_invalid_byte() {
    for broken in [&b"\xff"[..], b"\xe2\x82x"] {
        let mut talk = Talk::with_server();
        let mut payload = vec![b'x'; 100_000];
        payload[50_000..50_000 + broken.len()].copy_from_slice(broken);
        let wire = talk.encode([text(payload)]);
        let now = talk.clock.now();
        let (head, tail) = wire.split_at(40_000);
        let mut head = head.to_vec();
        let mut input = Input::new(&mut head, now);
        assert_eq!(talk.connection.receive(&mut input), Ok(None));
        let mut room = talk.connection.payload_room().expect("a long message");
        room.put_slice(&tail[..20_000]);
        let error = Error::from(PeerError::InvalidUtf8);
        assert_eq!(talk.connection.payload_read(now), Err(error));
        assert_eq!(
            talk.says(),
            [close(1007, "peer sent text that is not UTF-8")]
        );
        assert!(talk.connection.payload_room().is_none());
        assert_eq!(talk.connection.payload_read(now), Ok(None));
    }
}

#[test]
fn an_empty_read_into_place_changes_nothing() {
    let mut talk = Talk::with_server();
    let mut wire = talk.encode([binary(payload(100_000))]);
    let (head, tail) = wire.split_at_mut(1000);
    let now = talk.clock.now();
    assert_eq!(
        talk.connection.receive(&mut Input::new(head, now)),
        Ok(None)
    );
    assert!(talk.connection.payload_room().is_some());
    assert_eq!(talk.connection.payload_read(now), Ok(None));
    let message = Message::Binary(payload(100_000).into());
    let received = talk.connection.receive(&mut Input::new(tail, now));
    assert_eq!(received, Ok(Some(Event::Message(message))));
}

//! How output is written: collected into few writes, long payloads by reference, in writes of any
//! length.

use std::io::IoSlice;

use bytes::Bytes;
use offhook_protocol::halves::{lend, reclaim};
use offhook_protocol::{Config, Connection, Prepared};
use offhook_testkit::Talk;
use offhook_testkit::frames::{binary, ping, pong, text};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

/// The number of slices in one write, and their bytes.
fn look(connection: &mut Connection) -> Vec<Vec<u8>> {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = connection.transmit(&mut slices);
    slices[..filled]
        .iter()
        .map(|slice| slice.to_vec())
        .collect()
}

#[test]
fn everything_sent_since_the_last_write_is_one_slice() {
    for role in ROLES {
        let mut talk = role();
        for i in 0..1000 {
            talk.connection.send(format!("message {i}")).expect("open");
        }
        talk.hears([ping("?")]);
        assert_eq!(look(&mut talk.connection).len(), 1);
        assert_eq!(talk.says().len(), 1001);
    }
}

#[test]
fn a_server_writes_long_shared_and_owned_payloads_without_copying() {
    let mut talk = Talk::with_server();
    let shared = Bytes::from(vec![1; 50_000]);
    let owned = vec![2; 50_000];
    let addresses = [shared.as_ptr(), owned.as_ptr()];
    talk.connection.send("before").expect("open");
    talk.connection.send(shared.clone()).expect("open");
    talk.connection.send(owned).expect("open");
    talk.connection.send("after").expect("open");
    let mut slices = [IoSlice::new(&[]); 8];
    let filled = talk.connection.transmit(&mut slices);
    let written: Vec<*const u8> = slices[..filled]
        .iter()
        .map(|slice| slice.as_ptr())
        .collect();
    assert_eq!(filled, 5, "headers and small ones corked, two placed");
    assert_eq!([written[1], written[3]], addresses);
    let expected = [
        text("before"),
        binary([1; 50_000]),
        binary([2; 50_000]),
        text("after"),
    ];
    assert_eq!(talk.says(), expected);
}

#[test]
fn a_prepared_message_is_written_without_copying() {
    let prepared = Prepared::new(vec![7; 50_000]);
    let payload = prepared.as_bytes().as_ptr();
    for _ in 0..3 {
        let mut talk = Talk::with_server();
        talk.connection.send(&prepared).expect("open");
        let mut slices = [IoSlice::new(&[]); 8];
        let filled = talk.connection.transmit(&mut slices);
        let inside = slices[..filled]
            .iter()
            .any(|s| s.as_ptr_range().contains(&payload));
        assert!(inside);
        assert_eq!(talk.says(), [binary([7; 50_000])]);
    }
}

/// A transport may accept any number of bytes, and the peer reads the same.
#[test]
fn writes_of_every_length_give_the_same_stream() {
    for role in ROLES {
        let say = |talk: &mut Talk| {
            talk.connection.send("small").expect("open");
            talk.connection
                .send(Bytes::from(vec![1; 5000]))
                .expect("open");
            talk.connection
                .send(&Prepared::new(vec![2; 5000]))
                .expect("open");
            talk.connection.send(vec![3; 300]).expect("open");
            talk.connection.ping_with(b"?").expect("open");
            let now = talk.clock.now();
            talk.connection
                .close(1000.into(), "bye", now)
                .expect("allowed");
        };
        let mut talk = role();
        say(&mut talk);
        let stream = talk.written();
        for most in (1..100).chain([4095, 4096, 4097, 5003, 5004, 5005, 10_000]) {
            let mut talk = role();
            say(&mut talk);
            let mut written = Vec::new();
            while talk.connection.has_output() {
                let before = talk.connection.buffered_amount();
                let some = talk.writes(most);
                assert_eq!(talk.connection.buffered_amount(), before - some.len());
                written.extend(some);
            }
            assert!(written == stream, "by {most}");
            assert_eq!(talk.connection.buffered_amount(), 0);
        }
    }
}

#[test]
fn a_write_of_zero_bytes_changes_nothing() {
    for role in ROLES {
        let mut talk = role();
        talk.connection.send("x").expect("open");
        talk.connection.transmitted(0);
        assert_eq!(look(&mut talk.connection), look(&mut talk.connection));
        assert_eq!(talk.says(), [text("x")]);
    }
}

#[test]
fn with_few_slices_several_writes_send_everything() {
    let mut talk = Talk::with_server();
    for i in 0..20_u8 {
        talk.connection.send(vec![i; 5000]).expect("open");
    }
    let mut written = Vec::new();
    while talk.connection.has_output() {
        let mut slices = [IoSlice::new(&[]); 1];
        assert_eq!(talk.connection.transmit(&mut slices), 1);
        let bytes = slices[0].to_vec();
        talk.connection.transmitted(bytes.len());
        written.extend(bytes);
    }
    let frames = offhook_testkit::Frame::decode_all(&written);
    let expected: Vec<_> = (0..20_u8).map(|i| (binary([i; 5000]), false)).collect();
    assert!(frames == expected);
}

/// The peer reads slowly while we continue to send: the stream is complete, and sent output is
/// freed.
#[test]
fn sending_during_a_partial_write_keeps_the_stream_intact() {
    for role in ROLES {
        let mut talk = role();
        let mut written = Vec::new();
        let mut expected = Vec::new();
        for i in 0..3000_u32 {
            let message = format!("{i}: {}", "x".repeat(i as usize % 300));
            talk.connection.send(&message).expect("open");
            expected.push(text(message));
            written.extend(talk.writes(i as usize % 293 + 1));
        }
        written.extend(talk.written());
        let frames = offhook_testkit::Frame::decode_all(&written);
        assert!(frames.into_iter().map(|(frame, _)| frame).eq(expected));
    }
}

/// The same with more than is kept at the front: collected bytes are freed once written, while
/// payloads by reference wait behind them.
#[test]
fn written_payloads_are_freed_without_moving_the_others() {
    let mut talk = Talk::with_server();
    let mut expected = Vec::new();
    for i in 0..300_u32 {
        let corked = format!("{i}: {}", "x".repeat(700));
        let placed = vec![i as u8; if i < 200 { 10 } else { 4100 }];
        talk.connection.send(&corked).expect("open");
        talk.connection
            .send(Bytes::from(placed.clone()))
            .expect("open");
        expected.extend([text(corked), binary(placed)]);
    }
    let mut written = Vec::new();
    while talk.connection.has_output() {
        written.extend(talk.writes(1000));
    }
    let frames = offhook_testkit::Frame::decode_all(&written);
    assert!(frames.into_iter().map(|(frame, _)| frame).eq(expected));
}

#[test]
fn buffered_amount_counts_queued_and_framed_bytes() {
    for role in ROLES {
        let mut talk = role();
        assert_eq!(talk.connection.buffered_amount(), 0);
        let mut sent = 0;
        for size in [100, 100_000, 1_000_000, 5_000_000] {
            talk.connection.send(vec![0; size]).expect("open");
            sent += size;
            let buffered = talk.connection.buffered_amount();
            assert!(
                buffered >= sent && buffered < sent + 200,
                "{buffered} of {sent}"
            );
        }
        talk.written();
        assert_eq!(talk.connection.buffered_amount(), 0);
        assert!(!talk.connection.has_output());
    }
}

#[test]
fn a_lent_buffer_collects_output_and_is_returned_when_it_is_written() {
    for role in ROLES {
        let mut talk = role();
        let buffer = Vec::with_capacity(10_000);
        let address = buffer.as_ptr();
        assert_eq!(lend(&mut talk.connection, buffer), None);
        assert!(
            lend(&mut talk.connection, Vec::new()).is_some(),
            "it has one"
        );
        talk.connection.send("corked").expect("open");
        talk.hears([ping("?")]);
        assert_eq!(reclaim(&mut talk.connection), None, "something is unsent");
        assert_eq!(talk.writes(3).len(), 3);
        assert_eq!(
            reclaim(&mut talk.connection),
            None,
            "something is still unsent"
        );
        talk.written();
        let back = reclaim(&mut talk.connection).expect("all has left");
        assert_eq!(
            (back.as_ptr(), back.capacity(), back.len()),
            (address, 10_000, 0)
        );
        assert_eq!(reclaim(&mut talk.connection), None, "there is no other");
    }
}

#[test]
fn a_buffer_that_is_not_empty_is_not_accepted() {
    for role in ROLES {
        let mut talk = role();
        assert_eq!(lend(&mut talk.connection, vec![1]), Some(vec![1]));
        talk.connection.send("own buffer").expect("open");
        assert!(lend(&mut talk.connection, Vec::with_capacity(10)).is_some());
        assert_eq!(talk.says(), [text("own buffer")]);
        assert_eq!(reclaim(&mut talk.connection), None);
    }
}

/// Whenever buffers are lent, the stream is the same.
#[test]
fn one_buffer_can_be_lent_to_several_connections_in_turn() {
    let mut buffer = Vec::with_capacity(100);
    let mut talks: Vec<Talk> = (0..10).map(|i| ROLES[i % 2]()).collect();
    for round in 0..10_u8 {
        for (index, talk) in talks.iter_mut().enumerate() {
            assert_eq!(lend(&mut talk.connection, buffer), None);
            let payload = vec![round; index * 700];
            talk.connection.send(&*payload).expect("open");
            talk.connection
                .send(Bytes::from(payload.clone()))
                .expect("open");
            talk.hears([ping([round])]);
            assert_eq!(
                talk.says(),
                [binary(&payload), binary(&payload), pong([round])]
            );
            buffer = reclaim(&mut talk.connection).expect("all has left");
        }
    }
}

#[test]
fn a_lent_buffer_is_returned_by_an_abandoned_connection() {
    let mut talk = Talk::with_server_of(Config::default());
    assert_eq!(lend(&mut talk.connection, Vec::with_capacity(10)), None);
    talk.connection.send("never taken").expect("open");
    talk.connection.handle_transport_closed(talk.clock.now());
    assert!(reclaim(&mut talk.connection).is_some());
}

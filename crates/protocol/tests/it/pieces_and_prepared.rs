//! Messages written piece by piece, and messages prepared once for many connections.

use allocation_counter::measure;
use offhook_protocol::deflate::{DeflateConfig, DeflatePool};
use offhook_protocol::{Config, Kind, Prepared, SendError};
use offhook_testkit::frames::{binary, close, ping, rest, text};
use offhook_testkit::{Frame, Heard, Pair, Talk, deflates};

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
fn messages_sent_while_pieces_are_written_follow_them_and_control_frames_do_not_wait() {
    for role in ROLES {
        let mut talk = role();
        talk.connection.send_piece("a", false).expect("open");
        talk.connection.send("one").expect("open");
        let two = Prepared::new("two");
        talk.connection.send(&two).expect("open");
        talk.connection.send_urgent("first").expect("open");
        talk.connection.ping_with(b"?").expect("open");
        assert_eq!(talk.says(), [text("a").more(), ping("?")]);
        assert_eq!(talk.connection.buffered_amount(), 11);
        assert_eq!(talk.connection.amount_behind_stream(), 11);
        talk.connection.send_piece("b", true).expect("open");
        assert_eq!(talk.connection.amount_behind_stream(), 0);
        talk.connection.send("again").expect("open");
        let expected = [
            rest("b"),
            text("first"),
            text("one"),
            text("two"),
            text("again"),
        ];
        assert_eq!(talk.says(), expected);
        assert_eq!(talk.connection.buffered_amount(), 0);
    }
}

/// RFC 6455 §5.5.1 does not require a message to be ended before a Close.
#[test]
fn a_close_may_be_sent_between_the_pieces_of_a_message() {
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
                talk.connection.send(&prepared).expect("open");
                assert!(talk.says() == [binary(&payload)]);
            }
        }
    }
    let words = Prepared::new("Wörter");
    assert_eq!(words.kind(), Kind::Text);
    for role in ROLES {
        let mut talk = role();
        talk.connection.send(&words).expect("open");
        assert_eq!(talk.says(), [text("Wörter")]);
    }
}

/// So that pings and pongs can be sent in between (RFC 6455 §5.4); a client also masks each frame.
#[test]
fn a_long_prepared_message_is_fragmented_like_others() {
    let prepared = Prepared::new(vec![9; 600_000]);
    for role in ROLES {
        let mut talk = role();
        talk.connection.send("before").expect("open");
        talk.connection.send(&prepared).expect("open");
        talk.connection.ping_with(b"?").expect("open");
        let mut said = talk.says();
        assert_eq!(said.remove(0), text("before"));
        assert_eq!(said.len(), 600_000_usize.div_ceil(65_536) + 1);
        let between = said.iter().position(|frame| *frame == ping("?"));
        let between = between.expect("a ping was sent");
        assert!(between < said.len() - 1, "before the message's end");
        said.remove(between);
        assert!(said.iter().flat_map(Frame::payload).eq(prepared.as_bytes()));
        assert_eq!(said[0].opcode(), 0x2);
        assert!(said[1..].iter().all(|frame| frame.opcode() == 0x0));
    }
}

#[test]
fn a_long_prepared_message_of_a_server_is_shared_by_its_connections() {
    let prepared = Prepared::new(vec![9; 1_000_000]);
    let used = measure(|| {
        for _ in 0..100 {
            let mut talk = Talk::with_server();
            talk.connection.send(&prepared).expect("open");
            drop(talk);
        }
    });
    assert!(used.bytes_max < 10_000, "{used:?}");
}

#[test]
fn a_long_prepared_message_is_fragmented_after_compression() {
    let mut noise = 1_u32;
    let words = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (b'a' + (noise >> 27) as u8) as char
    });
    let message: String = words.take(300_000).collect();
    let config = DeflateConfig::default();
    let pool = DeflatePool::default();
    let (of_client, of_server) = deflates(&config, &config);
    let mut server = Talk::with_server().deflating(of_server);
    let mut client = Talk::with_client().deflating(of_client);
    let prepared = Prepared::with_deflate(message.as_str(), &config, &pool);
    for _ in 0..2 {
        server.connection.ping_with(b"before").expect("open");
        server.connection.send(&prepared).expect("open");
        let mut said = server.says();
        assert_eq!(said.remove(0), ping("before"));
        assert!(said.len() > 2 && said.len() < 5, "{} frames", said.len());
        assert!(said[0].is_compressed() && !said[1].is_compressed());
        assert!(client.hears(said) == [Heard::text(&message)]);
    }
}

//! The order of output: control frames and urgent messages overtake messages that wait, between the
//! frames of a long one, and the rest keeps its order.
//!
//! RFC 6455 §5.4: "Control frames MAY be injected in the middle of a fragmented message"; "if
//! control frames could not be interjected, the latency of a ping, for example, would be very
//! long if behind a large message."

use offhook_protocol::{Config, Prepared};
use offhook_testkit::frames::{binary, close, ping, pong, rest, text};
use offhook_testkit::{Frame, Talk};

const BULK: usize = 1 << 18;
const ROLES: [fn(Config) -> Talk; 2] = [Talk::with_server_of, Talk::with_client_of];

/// What may be committed ahead of a control frame, plus a frame that was begun.
const AHEAD: usize = 256 * 1024 + 65 * 1024;

fn backed_up(role: fn(Config) -> Talk) -> Talk {
    let mut talk = role(Config {
        lone_frame_size: 0,
        ..Config::default()
    });
    talk.connection.send(vec![0; 4 * BULK]).expect("open");
    talk
}

/// The payload bytes that precede this frame.
fn before(said: &[Frame], frame: &Frame) -> usize {
    let index = said
        .iter()
        .position(|said| said == frame)
        .expect("it was said");
    said[..index]
        .iter()
        .map(|frame| frame.payload().len())
        .sum()
}

fn messages(said: &[Frame]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut message: Option<Vec<u8>> = None;
    for frame in said.iter().filter(|frame| !frame.is_control()) {
        assert_eq!(
            frame.opcode() == 0,
            message.is_some(),
            "{frame:?} in its place"
        );
        message.get_or_insert_default().extend(frame.payload());
        if frame.is_fin() {
            messages.extend(message.take());
        }
    }
    assert_eq!(message, None, "the last message ends");
    messages
}

#[test]
fn control_frames_are_sent_between_the_frames_of_a_long_message() {
    for role in ROLES {
        let mut talk = backed_up(role);
        talk.connection.ping_with(b"ours").expect("open");
        talk.connection.pong(b"unasked").expect("open");
        talk.hears([ping("theirs")]);
        let said = talk.says();
        for frame in [ping("ours"), pong("unasked"), pong("theirs")] {
            assert!(before(&said, &frame) <= AHEAD, "{frame:?}");
        }
        assert_eq!(messages(&said), [vec![0; 4 * BULK]]);
    }
}

#[test]
fn messages_keep_their_order_behind_a_long_one_and_are_not_mixed() {
    for role in ROLES {
        let mut talk = backed_up(role);
        talk.connection.send("first").expect("open");
        talk.connection.send(vec![1; BULK]).expect("open");
        talk.connection.send(&Prepared::new("third")).expect("open");
        talk.connection.send_piece("four", false).expect("open");
        talk.connection.send_piece("th", true).expect("open");
        talk.connection.send("fifth").expect("open");
        let expected = [
            vec![0; 4 * BULK],
            b"first".to_vec(),
            vec![1; BULK],
            b"third".to_vec(),
            b"fourth".to_vec(),
            b"fifth".to_vec(),
        ];
        assert!(messages(&talk.says()) == expected);
    }
}

#[test]
fn urgent_messages_overtake_messages_that_have_not_started_and_keep_their_order() {
    for role in ROLES {
        let mut talk = backed_up(role);
        talk.connection.send("later").expect("open");
        talk.connection
            .send(&Prepared::new("later still"))
            .expect("open");
        talk.connection.send_urgent("now").expect("open");
        talk.connection
            .send_urgent(&Prepared::new("and then"))
            .expect("open");
        talk.connection.send_urgent("at last").expect("open");
        let expected: [&[u8]; 6] = [
            &[0; 4 * BULK],
            b"now",
            b"and then",
            b"at last",
            b"later",
            b"later still",
        ];
        assert!(messages(&talk.says()) == expected);
    }
}

/// A message written in pieces is one message: urgent ones come before or after it, never inside.
#[test]
fn urgent_messages_overtake_pieces_that_have_not_started_but_do_not_split_messages() {
    for role in ROLES {
        let mut talk = backed_up(role);
        talk.connection.send_piece("pie", false).expect("open");
        talk.connection.send_piece("ces", true).expect("open");
        talk.connection.send_urgent("now").expect("open");
        let expected: [&[u8]; 3] = [&[0; 4 * BULK], b"now", b"pieces"];
        assert!(messages(&talk.says()) == expected);

        let mut talk = role(Config::default());
        talk.connection.send_piece("pie", false).expect("open");
        talk.connection
            .send_piece("c".repeat(BULK), false)
            .expect("open");
        talk.connection.send_piece("es", true).expect("open");
        talk.connection.send("later").expect("open");
        talk.connection.send_urgent("now").expect("open");
        let said = messages(&talk.says());
        assert_eq!(said[1..], [b"now".to_vec(), b"later".to_vec()]);
        assert_eq!(said[0].len(), 3 + BULK + 2);
    }
}

#[test]
fn an_urgent_message_on_an_idle_connection_is_sent_like_others() {
    for role in ROLES {
        let mut talk = role(Config::default());
        talk.connection.send("one").expect("open");
        talk.connection.send_urgent("two").expect("open");
        talk.connection.send("three").expect("open");
        assert_eq!(talk.says(), [text("one"), text("two"), text("three")]);
    }
}

#[test]
fn a_long_message_gives_way_repeatedly() {
    for role in ROLES {
        let mut talk = backed_up(role);
        let mut wire = Vec::new();
        for i in 0..8_u8 {
            wire.extend(talk.writes(BULK / 4));
            talk.connection.ping_with(&[i]).expect("open");
        }
        wire.extend(talk.written());
        let said: Vec<Frame> = Frame::decode_all(&wire)
            .into_iter()
            .map(|(f, _)| f)
            .collect();
        for i in 0..8_u8 {
            let sent = usize::from(i + 1) * BULK / 4;
            assert!(before(&said, &ping([i])) <= sent + AHEAD, "ping {i}");
        }
        assert_eq!(messages(&said), [vec![0; 4 * BULK]]);
    }
}

/// Of the pings that arrive while nothing can be written, the first sixteen are answered, because
/// their answers are already committed, and the latest one.
#[test]
fn at_most_sixteen_pongs_are_unsent_and_one_waits() {
    for role in ROLES {
        let mut talk = backed_up(role);
        for i in 0..200_u8 {
            talk.hears([ping([i])]);
        }
        let said = talk.says();
        let pongs: Vec<_> = said.iter().filter(|frame| frame.opcode() == 0xa).collect();
        let expected: Vec<_> = (0..16).chain([199]).map(|i| pong([i])).collect();
        assert!(pongs.into_iter().eq(&expected));
    }
}

#[test]
fn a_close_waits_for_queued_messages_and_pongs_do_not_wait_for_it() {
    for role in ROLES {
        let mut talk = backed_up(role);
        let now = talk.clock.now();
        talk.connection
            .close(1000.into(), "", now)
            .expect("allowed");
        talk.hears([ping("still there?")]);
        let said = talk.says();
        assert!(before(&said, &pong("still there?")) <= AHEAD);
        assert_eq!(said.last(), Some(&close(1000, "")));
        assert_eq!(messages(&said), [vec![0; 4 * BULK]]);
    }
}

#[test]
fn fragments_have_the_configured_size() {
    for role in ROLES {
        let mut talk = role(Config {
            fragment_size: 3,
            lone_frame_size: 0,
            ..Config::default()
        });
        talk.connection.send(b"abcdefgh").expect("open");
        talk.connection.ping_with(b"?").expect("open");
        let expected = [
            binary("abc").more(),
            rest("def").more(),
            rest("gh"),
            ping("?"),
        ];
        assert_eq!(talk.says(), expected);
    }
}

/// Fragments let other messages in between: where nothing else is to be sent, they only cost.
#[test]
fn a_long_message_is_one_frame_while_nothing_else_waits() {
    for (role, longest) in [
        (Talk::with_server as fn() -> Talk, 1024 * 1024),
        (Talk::with_client, 256 * 1024),
    ] {
        let mut talk = role();
        talk.connection.send(vec![1; longest]).expect("open");
        assert_eq!(talk.says(), [binary(vec![1; longest])]);
        talk.connection.send(vec![1; longest + 1]).expect("open");
        assert!(talk.says().len() > 1, "longer than a frame may be");
        talk.connection.send("before").expect("open");
        talk.connection.send(vec![1; longest]).expect("open");
        assert!(talk.says().len() > 2, "it is not alone");
    }
}

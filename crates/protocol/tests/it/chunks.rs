//! Messages received in chunks: any length in constant memory, text split between characters, and
//! changes of the receive mode within a message.

use offhook_protocol::{Config, Error, Event, Input, LimitError, Limits, PeerError, ReceiveMode};
use offhook_testkit::frames::{binary, close, ping, pong, rest, text};
use offhook_testkit::{Frame, Heard, Talk, fails_whatever_the_cut};

const ROLES: [fn() -> Talk; 2] = [Talk::with_server, Talk::with_client];

fn first(bytes: &str) -> Heard {
    Heard::Chunk(bytes.into(), true, false)
}

fn middle(bytes: &str) -> Heard {
    Heard::Chunk(bytes.into(), false, false)
}

fn last(bytes: &str) -> Heard {
    Heard::Chunk(bytes.into(), false, true)
}

fn only(bytes: &str) -> Heard {
    Heard::Chunk(bytes.into(), true, true)
}

/// Joins chunks into messages; each has exactly one beginning and one end, and the text of each
/// chunk consists of whole characters.
fn joined(heard: &[Heard]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut message: Option<Vec<u8>> = None;
    for event in heard {
        let Heard::Chunk(bytes, first, last) = event else {
            panic!("{event:?} is no chunk");
        };
        assert_eq!(*first, message.is_none());
        message.get_or_insert_default().extend(bytes);
        if *last {
            messages.extend(message.take());
        }
    }
    assert_eq!(message, None);
    messages
}

#[test]
fn each_frame_is_chunks_with_a_first_and_a_last() {
    for role in ROLES {
        let mut talk = role().chunked();
        assert_eq!(talk.hears([text("whole")]), [only("whole")]);
        assert_eq!(talk.hears([text("Hel").more()]), [first("Hel")]);
        assert_eq!(
            talk.hears([rest("l").more(), rest("o")]),
            [middle("l"), last("o")]
        );
        assert_eq!(talk.hears([binary("")]), [only("")]);
    }
}

/// An empty fragment in the middle causes no event; an empty last fragment causes the last chunk.
#[test]
fn empty_fragments_are_reported_only_at_the_end() {
    for role in ROLES {
        let mut talk = role().chunked();
        let frames = [
            text("").more(),
            rest("").more(),
            rest("a").more(),
            rest("").more(),
            rest(""),
        ];
        assert_eq!(talk.hears(frames), [first("a"), last("")]);
        let frames = [binary("").more(), rest("")];
        assert_eq!(talk.hears(frames), [only("")]);
    }
}

#[test]
fn the_chunks_join_to_the_messages_in_every_split() {
    let sentence = "aé€𝄞z κόσμε";
    for role in ROLES {
        let frames = || -> Vec<Frame> {
            let bytes = sentence.as_bytes();
            vec![
                text(sentence),
                text(&bytes[..2]).more(),
                rest(&bytes[2..5]).more(),
                rest(&bytes[5..]),
            ]
        };
        for size in 1..60 {
            let heard = role().chunked().hears_cut(frames(), size);
            for event in &heard {
                let Heard::Chunk(bytes, ..) = event else {
                    panic!("{event:?} is no chunk");
                };
                assert!(std::str::from_utf8(bytes).is_ok(), "cut inside a character");
            }
            assert_eq!(joined(&heard), [sentence.as_bytes(), sentence.as_bytes()]);
        }
    }
}

#[test]
fn control_frames_are_reported_between_chunks() {
    for role in ROLES {
        let mut talk = role().chunked();
        let frames = [text("a").more(), ping("?"), rest("b"), close(1000, "")];
        let heard = [
            first("a"),
            Heard::Ping(b"?".into()),
            last("b"),
            Heard::close(1000, ""),
        ];
        assert_eq!(talk.hears(frames), heard);
        assert_eq!(talk.says(), [pong("?"), close(1000, "")]);
    }
}

#[test]
fn a_message_in_chunks_may_be_longer_than_the_message_limit() {
    let small = || {
        Talk::with_server_of(Config {
            limits: Limits {
                message_size: 10,
                fragments: 5,
            },
            ..Config::default()
        })
        .chunked()
    };
    let heard = small().hears_cut([binary([7; 1000])], 100);
    assert_eq!(joined(&heard), [[7; 1000]]);
}

/// A 10 GB message at our own fragment size has more frames than `Limits::fragments`. In chunk
/// mode, only frames without data are limited.
#[test]
fn a_message_in_chunks_may_have_any_number_of_frames_that_are_not_empty() {
    let few = || {
        Talk::with_server_of(Config {
            limits: Limits {
                fragments: 5,
                ..Limits::default()
            },
            ..Config::default()
        })
        .chunked()
    };
    let mut frames = vec![text("a").more()];
    frames.resize(1000, rest("a").more());
    frames.push(rest("a"));
    for size in [1, 7, 100, 10_000] {
        let heard = few().hears_cut(frames.clone(), size);
        assert_eq!(joined(&heard), [vec![b'a'; 1001]]);
    }

    let mut empty = vec![text("a").more()];
    empty.resize(20, rest("").more());
    let heard = few().hears(empty);
    let error = LimitError::TooManyFragments { limit: 5 };
    assert_eq!(heard, [first("a"), Heard::Error(error.into())]);
}

#[test]
fn invalid_text_fails_in_its_chunk() {
    for role in ROLES {
        let mut talk = role().chunked();
        assert_eq!(talk.hears([text(b"ok\xe2\x82").more()]), [first("ok")]);
        let error = PeerError::InvalidUtf8;
        assert_eq!(talk.hears([rest(b"\x41")]), [Heard::Error(error.into())]);
        let new = || role().chunked();
        fails_whatever_the_cut(new, &[text(b"\xe2\x82")], &[], error);
    }
}

#[test]
fn a_message_started_whole_continues_in_chunks_with_the_held_part_first() {
    for role in ROLES {
        for held in ["", "held so far, and ", "𝄞"] {
            for cut in 0..=held.len() {
                let mut talk = role();
                let (a, b) = held.as_bytes().split_at(cut);
                assert_eq!(talk.hears([text(a).more()]), []);
                talk.connection.set_receive_mode(ReceiveMode::Chunks);
                let heard = talk.hears([rest(b).more(), rest("the rest").more(), rest("")]);
                assert_eq!(joined(&heard), [[held, "the rest"].concat().into_bytes()]);
                assert_eq!(talk.hears([text("next")]), [only("next")]);
            }
        }
    }
}

/// The mode may also change in the middle of a frame.
#[test]
fn a_frame_started_whole_can_continue_in_chunks_at_every_byte() {
    for role in ROLES {
        let bytes = role().encode([binary("0123456789"), text("next")]);
        for cut in 0..bytes.len() {
            let mut talk = role();
            let mut heard = talk.hears_bytes(&bytes[..cut]);
            talk.connection.set_receive_mode(ReceiveMode::Chunks);
            let rest = talk.hears_bytes(&bytes[cut..]);
            let whole = heard.len();
            heard.extend(rest);
            assert_eq!(
                joined(&heard[whole..]).last().map(Vec::as_slice),
                Some(&b"next"[..])
            );
            if whole == 1 {
                assert_eq!(heard[0], Heard::binary("0123456789"));
            } else {
                assert_eq!(joined(&heard)[0], b"0123456789");
            }
        }
    }
}

#[test]
fn a_message_started_in_chunks_ends_in_chunks_and_the_next_is_whole() {
    for role in ROLES {
        let mut talk = role().chunked();
        assert_eq!(talk.hears([text("a").more()]), [first("a")]);
        talk.connection.set_receive_mode(ReceiveMode::Whole);
        let frames = [rest("b").more(), rest("c"), text("d").more(), rest("e")];
        assert_eq!(
            talk.hears(frames),
            [middle("b"), last("c"), Heard::text("de")]
        );
    }
}

/// A message that was admitted in chunk mode is not held to the limit of whole messages;
/// conversely, the limit no longer applies after the change.
#[test]
fn the_message_limit_depends_on_the_mode_of_receiving() {
    let limited = || {
        Talk::with_client_of(Config {
            limits: Limits {
                message_size: 10,
                ..Limits::default()
            },
            ..Config::default()
        })
    };
    let mut talk = limited();
    assert_eq!(talk.hears([binary([0; 8]).more()]), []);
    talk.connection.set_receive_mode(ReceiveMode::Chunks);
    let heard = talk.hears([rest([0; 8])]);
    assert_eq!(joined(&heard), [[0; 16]]);

    let mut talk = limited().chunked();
    talk.hears([binary([0; 8]).more()]);
    talk.connection.set_receive_mode(ReceiveMode::Whole);
    let heard = talk.hears([rest([0; 8])]);
    assert_eq!(heard, [Heard::Chunk(vec![0; 8], false, true)]);
    let error = LimitError::MessageTooLong { limit: 10 };
    assert_eq!(talk.hears([binary([0; 11])]), [Heard::Error(error.into())]);
}

/// The limit is checked where bytes are added: the length in a header was not checked in chunk
/// mode, and the bytes that followed were not returned.
#[test]
fn a_message_switched_to_whole_before_its_first_chunk_keeps_the_limit() {
    let error = Error::from(LimitError::MessageTooLong { limit: 1_000 });
    for frame in [binary(vec![7; 5_000]), text("x".repeat(5_000))] {
        for seen in [0, 1] {
            let mut talk = Talk::with_server_of(Config {
                limits: Limits {
                    message_size: 1_000,
                    ..Limits::default()
                },
                ..Config::default()
            });
            let mut bytes = talk.encode([frame.clone()]);
            // The last byte of the header, so that no part of the message was returned in chunks.
            let header = bytes.len() - 5_000 - (1 - seen);
            talk.connection.set_receive_mode(ReceiveMode::Chunks);
            let now = talk.clock.now();
            let (first, rest) = bytes.split_at_mut(header);
            let mut input = Input::new(first, now);
            assert_eq!(talk.connection.receive(&mut input), Ok(None));
            talk.connection.set_receive_mode(ReceiveMode::Whole);
            assert!(talk.connection.payload_room().is_none());
            let mut input = Input::new(rest, now);
            assert_eq!(talk.connection.receive(&mut input), Err(error.clone()));
        }
    }
}

/// A character that is split in two is complete again, whatever the mode in which its halves
/// arrived.
#[test]
fn a_character_split_by_a_change_of_modes_is_complete() {
    for (before, after) in [
        (ReceiveMode::Chunks, ReceiveMode::Whole),
        (ReceiveMode::Whole, ReceiveMode::Chunks),
    ] {
        for cut in 1..=3 {
            let mut talk = Talk::with_client();
            let mut bytes = talk.encode([text("🦀!")]);
            let at = bytes.len() - 5 + cut;
            let now = talk.clock.now();
            talk.connection.set_receive_mode(before);
            let (first, rest) = bytes.split_at_mut(at);
            assert_eq!(
                talk.connection.receive(&mut Input::new(first, now)),
                Ok(None)
            );
            talk.connection.set_receive_mode(after);
            let event = talk.connection.receive(&mut Input::new(rest, now));
            let got = match event {
                Ok(Some(Event::Message(message))) => message.as_bytes().to_vec(),
                Ok(Some(Event::Chunk(chunk))) => chunk.data.as_bytes().to_vec(),
                other => panic!("{other:?}"),
            };
            assert_eq!(got, "🦀!".as_bytes());
        }
    }
}

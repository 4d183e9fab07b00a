//! RFC 6455 §6.2: receiving data: "the endpoint MUST listen on the underlying connection" and
//! process every frame, however many are in one read and however they are split.

use offhook_protocol::{Event, Input, Message};
use offhook_testkit::frames::{binary, close, ping, pong, rest, text};
use offhook_testkit::{Heard, Talk, whatever_the_cut};
use std::borrow::Cow;

#[test]
fn a_whole_conversation_gives_the_same_events_in_every_split() {
    let frames = [
        text("grüße"),
        binary([0, 1, 2]).more(),
        ping("?"),
        rest([3; 130]).more(),
        pong("!"),
        rest([]),
        text(""),
        close(3000, "ende"),
    ];
    let heard = [
        Heard::text("grüße"),
        Heard::Ping(b"?".into()),
        Heard::Pong(b"!".into(), false),
        Heard::binary([&[0, 1, 2][..], &[3; 130]].concat()),
        Heard::text(""),
        Heard::close(3000, "ende"),
    ];
    for role in [Talk::with_server, Talk::with_client] {
        whatever_the_cut(role, &frames, &heard, &[pong("?"), close(3000, "ende")]);
    }
}

/// A message that is complete in the bytes of a read is borrowed from them, not copied.
#[test]
fn a_message_complete_in_the_input_is_borrowed_from_it() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let mut bytes = talk.encode([binary("binary"), ping("ping")]);
        let lent = bytes.as_ptr_range();
        let mut input = Input::new(&mut bytes, talk.clock.now());
        let mut borrowed = 0;
        while let Some(event) = talk.connection.receive(&mut input).expect("well-formed") {
            let (Event::Message(Message::Binary(Cow::Borrowed(bytes)))
            | Event::Ping(Cow::Borrowed(bytes))) = event
            else {
                panic!("{event:?} is not borrowed");
            };
            assert!(lent.contains(&bytes.as_ptr()));
            borrowed += 1;
        }
        assert_eq!(borrowed, 2);

        let mut bytes = talk.encode([text("text")]);
        let mut input = Input::new(&mut bytes, talk.clock.now());
        let event = talk.connection.receive(&mut input).expect("well-formed");
        let text = Message::Text(Cow::Borrowed("text"));
        assert!(matches!(
            &event,
            Some(Event::Message(Message::Text(Cow::Borrowed(_))))
        ));
        assert_eq!(event, Some(Event::Message(text)));
    }
}

#[test]
fn messages_may_be_sent_between_two_events_of_one_input() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        let mut bytes = talk.encode([text("a"), text("b"), text("c")]);
        let mut input = Input::new(&mut bytes, talk.clock.now());
        while let Some(event) = talk.connection.receive(&mut input).expect("well-formed") {
            let Event::Message(message) = event else {
                panic!("{event:?} is no message");
            };
            talk.connection.send(message).expect("open");
        }
        assert!(input.is_empty());
        assert_eq!(talk.says(), [text("a"), text("b"), text("c")]);
    }
}

#[test]
fn an_empty_read_has_no_effect() {
    for mut talk in [Talk::with_server(), Talk::with_client()] {
        assert_eq!(talk.hears_bytes(&[]), []);
        let bytes = talk.encode([text("Hello")]);
        let (before, after) = bytes.split_at(3);
        assert_eq!(talk.hears_bytes(before), []);
        assert_eq!(talk.hears_bytes(&[]), []);
        assert_eq!(talk.hears_bytes(after), [Heard::text("Hello")]);
    }
}

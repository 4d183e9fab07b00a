//! The client's side writes what the server's side understands, and the reverse.

pub(crate) mod generated;

use std::{borrow::Cow, sync::Arc, time::Duration};

use offhook_dialects::native::{
    self, Rejection,
    client::{About, Member, Message, Payload, Refused, Said, encode_request, read},
    decode,
};
use offhook_engine::*;
use proptest::prelude::*;

use generated::*;

const PAGE: &str = include_str!("../../../../docs/protocol.md");

fn examples() -> impl Iterator<Item = &'static str> {
    let fences = PAGE.split("```json\n").skip(1);
    fences.map(|fence| fence.lines().next().unwrap())
}

proptest! {
    #[test]
    fn the_server_reads_what_the_client_writes(request in request()) {
        prop_assert_eq!(decode(&encode_request(&request)), Ok(request));
    }

    #[test]
    fn the_client_reads_what_the_server_publishes(publication in publication()) {
        let text = native::encode_publication(&publication);
        let Ok(Said::Message { about, message, .. }) = read(&text) else { panic!("{text}") };
        prop_assert_eq!(&*about.name, publication.channel.as_str());
        prop_assert_eq!(message.position, publication.position);
        match message.payload {
            Payload::Json(json) => prop_assert_eq!(json.as_bytes(), &*publication.data),
            Payload::Bytes(bytes) => prop_assert_eq!(bytes, &*publication.data),
        }
        let publisher = publication.publisher.as_ref();
        prop_assert_eq!(message.user.as_deref(), publisher.map(|p| &*p.user));
        let session = publisher.map(|p| p.session.to_string());
        prop_assert_eq!(message.session.as_deref(), session.as_deref());
        prop_assert_eq!(message.key.as_deref(), publication.key.as_ref().map(Key::as_str));
        let tags: Vec<_> = message.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        prop_assert_eq!(tags, publication.tags.iter().collect::<Vec<_>>());
        prop_assert_eq!(message.time_ms, publication.time_ms);
    }

    #[test]
    fn any_message_is_decoded_or_refused(text in "\\PC{0,80}") {
        let _either = read(&text);
    }

    #[test]
    fn a_truncated_or_changed_example_is_decoded_or_refused(
        which in 0..51_usize, at in 0..200_usize, byte in prop::option::of(0x20..0x7f_u8)
    ) {
        let example = examples().nth(which).unwrap();
        let mut bytes = example.as_bytes().to_vec();
        let at = at % bytes.len();
        match byte {
            Some(byte) => bytes[at] = byte,
            None => bytes.truncate(at),
        }
        if let Ok(text) = str::from_utf8(&bytes) {
            let _either = read(text);
        }
    }
}

/// An example is the server's if the server cannot read it itself, and `history`.
fn is_servers(example: &&str) -> bool {
    decode(example).is_err() || example.contains("\"head\"")
}

/// Messages that the client for Rust does not request, and ignores.
const PASSED_OVER: [&str; 1] = ["done"];

#[test]
fn every_server_message_on_the_page_is_decoded() {
    let mut understood = 0;
    for example in examples().filter(is_servers) {
        let said = read(example);
        let kind = example.split('"').nth(3).unwrap();
        if PASSED_OVER.contains(&kind) {
            assert_eq!(said, Ok(Said::Unknown), "{example}");
            continue;
        }
        assert!(
            !matches!(said, Err(_) | Ok(Said::Unknown)),
            "{example}: {said:?}"
        );
        understood += 1;
    }
    assert_eq!(understood, 34);
    assert_eq!(examples().count(), 53);
}

#[test]
fn every_client_message_on_the_page_is_encoded() {
    for example in examples().filter(|example| !is_servers(example)) {
        let request = decode(example).unwrap();
        assert_eq!(decode(&encode_request(&request)), Ok(request));
    }
}

fn at(offset: u64) -> Position {
    Position::new(17, offset)
}

fn chat() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

fn notice(notice: &Notice) -> String {
    native::encode_notice(notice)
}

fn reply(reply: Reply) -> String {
    notice(&Notice::Reply {
        id: Some(CommandId(3)),
        reply,
    })
}

#[test]
fn answers_have_the_id_of_their_request() {
    let text = reply(Reply::Published {
        position: at(4),
        duplicate: true,
    });
    let id = CommandId(3);
    assert_eq!(
        read(&text),
        Ok(Said::Published {
            id,
            position: at(4),
            duplicate: true
        })
    );
    let about = About::channel("chat");
    let text = reply(Reply::Unsubscribed {
        subscription: chat().into(),
    });
    assert_eq!(
        read(&text),
        Ok(Said::Unsubscribed {
            id,
            about: about.clone()
        })
    );
    let text = reply(Reply::Subscribed {
        subscription: chat().into(),
        position: at(4),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    let subscribed = |id| {
        Ok(Said::Subscribed {
            id,
            about: about.clone(),
            position: at(4),
            live: true,
            by_server: false,
        })
    };
    assert_eq!(read(&text), subscribed(Some(id)));
    let restored = Reply::Subscribed {
        subscription: chat().into(),
        position: at(4),
        live: true,
        by_server: false,
        acknowledged: false,
    };
    assert_eq!(
        read(&notice(&Notice::Reply {
            id: None,
            reply: restored
        })),
        subscribed(None)
    );
}

#[test]
fn a_subscription_that_the_server_makes_is_marked() {
    let made = Reply::Subscribed {
        subscription: chat().into(),
        position: at(4),
        live: true,
        by_server: true,
        acknowledged: false,
    };
    let text = notice(&Notice::Reply {
        id: None,
        reply: made,
    });
    assert!(text.ends_with(r#","by":"server"}"#), "{text}");
    let Ok(Said::Subscribed { id, by_server, .. }) = read(&text) else {
        panic!("{text}");
    };
    assert_eq!((id, by_server), (None, true));
}

#[test]
fn a_history_has_its_messages_and_the_reason_if_older_ones_are_missing() {
    let one = Draft {
        channel: chat(),
        data: "[1]".into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 5,
    };
    let text = reply(Reply::History {
        channel: chat(),
        head: at(9),
        publications: vec![Arc::new(one.at(Place::after(at(7), 8)))],
        gap: Some(GapReason::EvictedBySize),
        more: false,
    });
    let message = Message {
        position: at(8),
        previous: None,
        at: None,
        payload: Payload::Json("[1]"),
        user: None,
        session: None,
        key: None,
        tags: Vec::new(),
        time_ms: 5,
    };
    let expected = Said::History {
        id: CommandId(3),
        channel: "chat".into(),
        head: at(9),
        messages: vec![message],
        gap: Some("evicted_by_size".into()),
        more: false,
    };
    assert_eq!(read(&text), Ok(expected));
}

#[test]
fn members_have_a_session_a_user_and_info() {
    let session = SessionId::from_bytes([1; 16]);
    let info = r#"{"colour":"red"}"#;
    let ann = Member {
        session: session.to_string().into(),
        user: Some("ann".into()),
        info: Some(info),
    };
    let member = Arc::new(offhook_engine::Member {
        session,
        user: "ann".into(),
        info: info.into(),
    });
    let change = PresenceChange {
        channel: chat(),
        member: Arc::clone(&member),
        joined: false,
        user_sessions: 0,
    };
    let text = native::encode_presence(&change);
    assert_eq!(
        read(&text),
        Ok(Said::Leave {
            about: About::channel("chat"),
            member: ann.clone()
        })
    );
    let text = reply(Reply::Members {
        channel: chat(),
        subscription: None,
        members: vec![member],
        total: 7,
    });
    let Ok(Said::Members { members, total, .. }) = read(&text) else {
        panic!("{text}")
    };
    assert_eq!((members, total), (vec![ann], 7));
}

#[test]
fn acknowledgements_and_receipts_are_decoded() {
    let id = CommandId(3);
    let acked = |position| {
        reply(Reply::Acked {
            channel: chat(),
            position,
        })
    };
    assert_eq!(read(&acked(None)), Ok(Said::Acked { id, position: None }));
    let position = Some(at(4));
    assert_eq!(read(&acked(position)), Ok(Said::Acked { id, position }));
    let session = SessionId::from_bytes([1; 16]);
    let receipts = Receipts {
        received: 1,
        subscribers: 2,
        sessions: vec![session],
    };
    let text = reply(Reply::Receipts {
        channel: chat(),
        position: at(4),
        receipts,
    });
    let sessions = vec![session.to_string().into()];
    assert_eq!(
        read(&text),
        Ok(Said::Received {
            id,
            received: 1,
            subscribers: 2,
            sessions
        })
    );
}

#[test]
fn a_refusal_has_retry_advice() {
    let refusal = Refusal::new(ErrorCode::Busy, "too much").after(Duration::from_millis(70));
    let refused = Refused {
        code: "busy".into(),
        message: "too much".into(),
        retry: Retry::Later,
        retry_after: Some(Duration::from_millis(70)),
        backend: None,
    };
    let rejection = Rejection {
        id: None,
        refusal: refusal.clone(),
    };
    let text = native::encode_rejection(&rejection);
    assert_eq!(
        read(&text),
        Ok(Said::Error {
            id: None,
            refused: refused.clone()
        })
    );
    let ended = notice(&Notice::Unsubscribed {
        subscription: chat().into(),
        refusal,
    });
    assert_eq!(
        read(&ended),
        Ok(Said::Ended {
            about: About::channel("chat"),
            refused
        })
    );
}

#[test]
fn unknown_types_fields_and_codes_of_a_newer_server_are_tolerated() {
    for text in [
        r#"{"type":"forecast"}"#,
        r#"{"type":"forecast","position":{"lat":1.5},"id":"x","live":[]}"#,
    ] {
        assert_eq!(read(text), Ok(Said::Unknown), "{text}");
    }
    let text = r#"{"type":"pong","id":7,"mood":["good"]}"#;
    assert_eq!(read(text), Ok(Said::Pong { id: CommandId(7) }));
    let text = r#"{"type":"error","id":1,"code":"moon","message":"full","retry":"at_dawn"}"#;
    let Ok(Said::Error { refused, .. }) = read(text) else {
        panic!()
    };
    assert_eq!((&*refused.code, refused.retry), ("moon", Retry::Never));
}

#[test]
fn messages_name_their_subscription() {
    let numbered = |name: &'static str, is_filter| About {
        name: name.into(),
        is_filter,
        number: Some(7),
    };
    let text = r#"{"type":"message","subscription":7,"at":"1.9","channel":"a/b","position":"1.1",
        "data":1,"time":1}"#;
    let Ok(Said::Message { about, message, .. }) = read(text) else {
        panic!()
    };
    assert_eq!(
        (about, message.at),
        (numbered("a/b", false), Some(Position::new(1, 9)))
    );
    let text = r#"{"type":"gap","subscription":7,"filter":"a/+","from":"1.1","to":"1.9",
        "reason":"epoch_changed"}"#;
    assert!(matches!(read(text), Ok(Said::Gap { about, .. }) if about == numbered("a/+", true)));
    let text = r#"{"type":"unsubscribed","id":3,"subscription":7,"filter":"a/+"}"#;
    let left = read(text);
    assert!(matches!(left, Ok(Said::Unsubscribed { about, .. }) if about == numbered("a/+", true)));
}

#[test]
fn the_error_for_an_unreadable_message_says_what_and_where() {
    for (text, words) in [
        ("", "EOF while parsing"),
        ("[]", "invalid"),
        (r#"{"id":1}"#, "missing field `type`"),
        (r#"{"type":"pong"}"#, "id: is missing"),
        (r#"{"type":5,"id":1}"#, "expected a text"),
        (r#"{"type":"pong","id":-1}"#, "invalid value: integer `-1`"),
        (
            r#"{"type":"live","channel":"a","position":"+1.2"}"#,
            "position: a position has",
        ),
        (
            r#"{"type":"message","channel":"a","position":"1.2","time":1}"#,
            "data: is missing",
        ),
        (
            r#"{"type":"message","channel":"a","position":"1.2","time":1,"base64":"?"}"#,
            "base64: invalid",
        ),
        (
            r#"{"type":"message","channel":"a","position":"1.2","time":1,"base64":"","data":1}"#,
            "only one of them is allowed",
        ),
        (
            r#"{"type":"members","channel":"a","members":[{}],"total":1}"#,
            "missing field `session`",
        ),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn text_without_escapes_is_borrowed() {
    let Ok(Said::Live { about, .. }) = read(r#"{"type":"live","channel":"a","position":"1.2"}"#)
    else {
        panic!()
    };
    assert!(matches!(about.name, Cow::Borrowed("a")));
    let Ok(Said::Live { about, .. }) =
        read(r#"{"type":"live","channel":"\u0061","position":"1.2"}"#)
    else {
        panic!()
    };
    assert!(matches!(&about.name, Cow::Owned(name) if name == "a"));
}

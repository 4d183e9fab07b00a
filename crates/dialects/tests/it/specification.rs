//! docs/protocol.md and the code agree: every JSON example is read or written exactly so.

use std::{sync::Arc, time::Duration};

use offhook_dialects::{
    Dialect, Head, Payload, Recipient, Welcome,
    native::{self, Connect, Native, Rejection, Request},
};
use offhook_engine::*;

const PAGE: &str = include_str!("../../../../docs/protocol.md");

/// The first line within each JSON fence.
fn examples() -> Vec<&'static str> {
    let mut examples = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if line == "```json" {
            examples.extend(lines.next());
        }
    }
    examples
}

fn kind_of(example: &str) -> &str {
    example.split('"').nth(3).unwrap()
}

const FROM_CLIENT: [&str; 18] = [
    "connect",
    "subscribe",
    "subscribe",
    "subscribe",
    "subscribe",
    "unsubscribe",
    "publish",
    "history",
    "history",
    "presence",
    "presence_update",
    "ack",
    "done",
    "receipts",
    "state",
    "call",
    "refresh",
    "ping",
];

#[test]
fn every_client_message_on_the_page_is_decoded() {
    let is_answer = |example: &&&str| {
        let is_done = kind_of(example) == "done" && !example.contains("\"position\"");
        example.contains("\"head\"") || is_done
    };
    let mut understood = Vec::new();
    for example in examples().iter().filter(|example| !is_answer(example)) {
        if FROM_CLIENT.contains(&kind_of(example)) {
            assert!(native::decode(example).is_ok(), "{example}");
            understood.push(kind_of(example));
        }
    }
    assert_eq!(understood, FROM_CLIENT);
}

fn channel() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

fn session() -> SessionId {
    SessionId::from_bytes(std::array::from_fn(|n| n as u8))
}

fn at(offset: u64) -> Position {
    Position::new(1_700_000_000_000_000, offset)
}

fn publication(data: &'static str) -> Publication {
    Publication {
        channel: channel(),
        position: at(43),
        previous: at(42),
        sequence: 43,
        data: data.into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1_700_000_000_123,
    }
}

fn full_publication() -> Publication {
    Publication {
        publisher: Some(Publisher {
            session: session(),
            user: "ann".into(),
        }),
        key: Some(Key::new("5e1f").unwrap()),
        tags: Tags::new([("lang", "en")]).unwrap(),
        ..publication(r#"{"text":"hi"}"#)
    }
}

fn member() -> Arc<Member> {
    let info = r#"{"colour":"red"}"#.into();
    Arc::new(Member {
        session: session(),
        user: "ann".into(),
        info,
    })
}

fn reply(id: u64, reply: Reply) -> String {
    native::encode_notice(&Notice::Reply {
        id: Some(CommandId(id)),
        reply,
    })
}

/// A publication with the head of one recipient.
fn message_for(publication: &Publication, recipient: &Recipient) -> String {
    let connect = Connect {
        id: CommandId(1),
        token: None,
        resume: None,
        info: "".into(),
        positions: Vec::new(),
        lineage: true,
        named: None,
    };
    let mut native = Native::default();
    let shared = native.encoding(&connect).publication(publication);
    let Head::Insert(head) = native.head(recipient, &shared) else {
        panic!()
    };
    let Payload::Text(text) = shared.with_head(&head) else {
        panic!()
    };
    text
}

/// Everything the server can say, as on the page.
#[expect(clippy::too_many_lines, reason = "one list, read beside the page")]
fn everything_written() -> Vec<String> {
    let position = at(43);
    let change = |joined| PresenceChange {
        channel: channel(),
        member: member(),
        joined,
        user_sessions: u32::from(joined),
    };
    let slow = Refusal::new(
        ErrorCode::RateLimited,
        "too many commands in too short a time; slow down",
    );
    let history = Reply::History {
        channel: channel(),
        head: position,
        publications: vec![Arc::new(publication("\"hi\""))],
        gap: Some(GapReason::EvictedByAge),
        more: false,
    };
    let earlier = Reply::History {
        channel: channel(),
        head: position,
        publications: vec![Arc::new(Publication {
            position: at(41),
            previous: at(40),
            ..publication("\"ho\"")
        })],
        gap: None,
        more: true,
    };
    let value = Publication {
        channel: ChannelName::new("prices").unwrap(),
        tags: Tags::new([("key", "BTC")]).unwrap(),
        position: at(41),
        previous: at(40),
        ..publication("61200.5")
    };
    let state = Reply::State {
        channel: ChannelName::new("prices").unwrap(),
        head: position,
        values: vec![Arc::new(value.clone())],
        more: true,
    };
    let given = Recipient {
        state: true,
        ..Recipient::PLAIN
    };
    let value = message_for(&value, &given);
    let state_gap = Notice::Gap {
        subscription: ChannelName::new("prices").unwrap().into(),
        from: at(0),
        to: at(43),
        reason: GapReason::State,
        agreed: None,
    };
    let gap = Notice::Gap {
        subscription: channel().into(),
        from: at(20),
        to: at(40),
        reason: GapReason::EvictedBySize,
        agreed: None,
    };
    let diverged = Notice::Gap {
        subscription: channel().into(),
        from: at(90),
        to: at(60),
        reason: GapReason::Diverged,
        agreed: Some(at(60)),
    };
    let filter = Filter::new("sensors/#").unwrap();
    let restarted = Notice::Gap {
        subscription: SubscriptionName {
            target: filter.into(),
            id: Some(SubscriptionId(7)),
        },
        from: at(9001),
        to: Position::new(1_700_000_100_000_000, 9001),
        reason: GapReason::Restarted,
        agreed: None,
    };
    let after = Duration::from_millis(2750);
    let of_filter = Publication {
        position: at(1),
        previous: Position::new(1_699_990_000_000_000, 42),
        ..publication("\"hi\"")
    };
    let recipient = Recipient {
        subscription: Some(SubscriptionId(7)),
        at: Some(at(9002)),
        ..Recipient::PLAIN
    };
    let of_filter = message_for(&of_filter, &recipient);
    let called = Reply::Called {
        data: r#"{"cancelled":true}"#.into(),
        format: Format::Json,
    };
    let told = Notice::Told {
        data: r#"{"text":"your order has shipped"}"#.into(),
        format: Format::Json,
    };
    let own = Notice::Own {
        subscription: channel().into(),
        channel: channel(),
        position: at(44),
        previous: at(43),
        at: None,
    };
    let done = Reply::Done {
        subscription: SubscriptionName {
            target: channel().into(),
            id: Some(SubscriptionId(7)),
        },
    };
    vec![
        of_filter,
        value,
        native::encode_notice(&state_gap),
        reply(12, earlier),
        reply(15, state),
        reply(16, called),
        reply(13, Reply::InfoUpdated),
        reply(14, done),
        native::encode_notice(&told),
        native::encode_notice(&own),
        native::encode_notice(&Notice::Restored),
        native::encode_welcome(&Welcome {
            id: CommandId(1),
            session: session(),
            user: "ann",
            resume: "v1.Zm9v",
            expires_in: Some(Duration::from_secs(3600)),
            unix_ms: 0,
            named: None,
        }),
        native::encode_refreshed(CommandId(17), Some(Duration::from_secs(3600))),
        native::encode_expiring(Duration::from_secs(60)),
        native::encode_token("v1.YmFy"),
        native::encode_publication(&full_publication()),
        reply(
            2,
            Reply::Subscribed {
                subscription: channel().into(),
                position,
                live: false,
                by_server: false,
                acknowledged: false,
            },
        ),
        native::encode_notice(&Notice::Reply {
            id: None,
            reply: Reply::Subscribed {
                subscription: channel().into(),
                position,
                live: true,
                by_server: true,
                acknowledged: false,
            },
        }),
        native::encode_notice(&Notice::Live {
            subscription: channel().into(),
            position,
        }),
        native::encode_notice(&Notice::CatchingUp {
            subscription: channel().into(),
            position: at(20),
        }),
        native::encode_notice(&gap),
        native::encode_notice(&diverged),
        native::encode_notice(&restarted),
        reply(
            4,
            Reply::Published {
                position,
                duplicate: true,
            },
        ),
        reply(
            3,
            Reply::Unsubscribed {
                subscription: channel().into(),
            },
        ),
        reply(5, history),
        reply(
            6,
            Reply::Members {
                channel: channel(),
                subscription: None,
                members: vec![member()],
                total: 1,
            },
        ),
        reply(
            8,
            Reply::Acked {
                channel: channel(),
                position: Some(at(42)),
            },
        ),
        reply(
            9,
            Reply::Receipts {
                channel: channel(),
                position: at(42),
                receipts: Receipts {
                    received: 1,
                    subscribers: 2,
                    sessions: vec![session()],
                },
            },
        ),
        reply(7, Reply::Pong),
        native::encode_presence(&change(true)),
        native::encode_presence(&change(false)),
        reply(4, Reply::Refused(slow.after(Duration::from_millis(100)))),
        native::encode_notice(&Notice::Reconnect { after }),
        native::encode_notice(&Notice::Close {
            reason: CloseReason::Replaced,
        }),
    ]
}

#[test]
fn every_server_message_is_written_as_on_the_page() {
    let page = examples();
    let written = everything_written();
    let client = |example: &&&str| native::decode(example).is_ok();
    let from_server: Vec<_> = page.iter().filter(|example| !client(example)).collect();
    // Answers of history and state can be read as questions; all others can't.
    assert_eq!(from_server.len() + 3, written.len());
    for text in &written {
        assert!(page.contains(&text.as_str()), "not on the page: {text}");
    }
}

#[test]
fn every_error_code_is_in_the_table_with_its_retry_advice() {
    for code in ErrorCode::ALL {
        let row = format!("| `{}` | {} |", code.name(), code.retry().name());
        assert!(PAGE.contains(&row), "{row}");
    }
}

#[test]
fn every_gap_reason_and_close_reason_is_listed() {
    for reason in [
        GapReason::EpochChanged,
        GapReason::Diverged,
        GapReason::EvictedBySize,
        GapReason::EvictedByAge,
        GapReason::Damaged,
        GapReason::UnknownPosition,
        GapReason::Dropped,
        GapReason::Conflated,
        GapReason::State,
        GapReason::Restarted,
        GapReason::Permissions,
    ] {
        assert!(PAGE.contains(&format!("| `{}` |", reason.name())));
    }
    for reason in [
        CloseReason::TooSlow,
        CloseReason::Flood,
        CloseReason::Replaced,
    ] {
        assert!(PAGE.contains(&format!("`{}`", reason.name())));
        assert!(PAGE.contains(&native::close_code(reason).to_string()));
    }
}

#[test]
fn a_refusal_is_an_error_with_the_id_of_its_message() {
    let Err(rejection) = native::decode(r#"{"type":"shout","id":9}"#) else {
        panic!()
    };
    let Rejection { id, refusal } = &rejection;
    assert_eq!(
        (*id, refusal.code),
        (Some(CommandId(9)), ErrorCode::BadRequest)
    );
    let text = native::encode_rejection(&rejection);
    assert!(text.starts_with(r#"{"type":"error","id":9,"code":"bad_request","message":"type: "#));
    assert!(text.ends_with(r#""retry":"never"}"#), "{text}");
}

#[test]
fn a_position_is_sent_back_exactly_as_it_was_received() {
    let given = at(42).to_string();
    let text = format!(r#"{{"type":"subscribe","id":1,"channel":"chat","since":"{given}"}}"#);
    let Ok(Request::Command {
        command: Command::Subscribe(Subscribe { since, .. }),
        ..
    }) = native::decode(&text)
    else {
        panic!()
    };
    assert_eq!(since, Since::Position(at(42)));
}

//! The native dialect over WebTransport: its framing, and where each message goes.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test matches the variants that it expects"
)]

use std::sync::Arc;

use bytes::Bytes;
use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Payload, Readiness, Recipient,
    webtransport::{OverWebTransport, Placed, Settings, framed},
};
use offhook_engine::{
    ChannelName, ChannelRules, CommandId, ErrorCode, Format, Notice, Position, Publication,
    Refusal, Reply, RuleBook, SubscriptionId, SubscriptionName, Tags,
};
use proptest::prelude::*;

use crate::native_encode::sometime;

fn dialect() -> OverWebTransport {
    let unreliable = ChannelRules {
        unreliable: true,
        ..ChannelRules::default()
    };
    let rules = RuleBook::new()
        .with("cursors*", unreliable)
        .with("*", ChannelRules::default());
    OverWebTransport::new(Settings {
        message_bytes: 1_000,
        streams: 2,
        rules: Arc::new(rules),
    })
}

fn receive(dialect: &mut OverWebTransport, bytes: &[u8]) -> Vec<Intent> {
    let mut intents = Vec::new();
    dialect.receive(Incoming::Binary(bytes), sometime(), &mut intents);
    intents
}

/// A dialect whose client has sent this `connect`.
fn connected(connect: &str) -> OverWebTransport {
    let mut dialect = dialect();
    let intents = receive(&mut dialect, &framed(connect.as_bytes()));
    assert!(matches!(intents[..], [Intent::Connect(_)]), "{intents:?}");
    dialect
}

const STREAMS: &str = r#"{"type":"connect","id":1,"lineage":true,"streams":true,"datagrams":true}"#;

/// Where a message goes, and its text.
fn read(payload: &Payload) -> (String, String) {
    let text = |framed: &[u8]| String::from_utf8(framed[4..].to_vec()).unwrap();
    match Placed::read(payload.as_bytes()).unwrap() {
        Placed::Control(framed) => ("control".to_owned(), text(framed)),
        Placed::Stream {
            number,
            is_last,
            framed,
        } => (
            format!("{number}{}", if is_last { " last" } else { "" }),
            text(framed),
        ),
        Placed::Datagram { message, .. } => {
            let message = String::from_utf8(message.to_vec()).unwrap();
            ("datagram".to_owned(), message)
        }
    }
}

fn said(dialect: &mut OverWebTransport, notice: &Notice) -> (String, String) {
    let mut out = Vec::new();
    dialect.notice(notice, &mut out);
    read(&out[0])
}

fn name(channel: &str) -> ChannelName {
    ChannelName::new(channel).unwrap()
}

fn subscribed(channel: &str, id: Option<u64>) -> Notice {
    Notice::Reply {
        id: id.map(CommandId),
        reply: Reply::Subscribed {
            subscription: SubscriptionName::from(name(channel)),
            position: Position::new(1, 1),
            live: true,
            by_server: false,
            acknowledged: false,
        },
    }
}

/// Where a recipient's copy of a publication goes.
fn copy(dialect: &mut OverWebTransport, channel: &str, recipient: &Recipient) -> String {
    let publication = Publication {
        channel: name(channel),
        position: Position::new(1, 2),
        previous: Position::new(1, 1),
        sequence: 2,
        data: Bytes::from_static(b"7"),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    let intents = receive(&mut self::dialect(), &framed(STREAMS.as_bytes()));
    let [Intent::Connect(connect)] = &intents[..] else {
        panic!("{intents:?}");
    };
    let mut shared = dialect.encoding(connect).publication(&publication);
    shared.publication = Some(Arc::new(publication));
    let message = match dialect.head(recipient, &shared) {
        Head::None => shared.message.clone(),
        Head::Whole(message) => message,
        other => panic!("{other:?}"),
    };
    let (to, text) = read(&message);
    assert!(text.contains("\"data\":7"), "{text}");
    to
}

#[test]
fn messages_are_the_same_wherever_their_bytes_are_split() {
    let bytes = [
        framed(STREAMS.as_bytes()),
        framed(br#"{"type":"ping","id":2}"#),
    ]
    .concat();
    for step in 1..=bytes.len() {
        let mut dialect = dialect();
        let mut intents = Vec::new();
        for part in bytes.chunks(step) {
            intents.extend(receive(&mut dialect, part));
            while dialect.readiness() == Readiness::HasMore {
                intents.extend(receive(&mut dialect, &[]));
            }
        }
        assert!(
            matches!(intents[..], [Intent::Connect(_), Intent::Command { .. }]),
            "{step}"
        );
        assert_eq!(dialect.unfinished().bytes, 0);
    }
}

#[test]
fn after_a_connect_messages_are_handled_one_at_a_time() {
    let ping = framed(br#"{"type":"ping","id":2}"#);
    let mut dialect = connected(STREAMS);
    assert_eq!(receive(&mut dialect, &ping.repeat(3)).len(), 1);
    assert_eq!(dialect.readiness(), Readiness::HasMore);
    assert_eq!(receive(&mut dialect, &[]).len(), 1);
    assert_eq!(receive(&mut dialect, &[]).len(), 1);
    assert_eq!(dialect.readiness(), Readiness::Ready);
}

#[test]
fn a_length_above_the_limit_closes_before_the_message_arrives() {
    let mut dialect = connected(STREAMS);
    let intents = receive(&mut dialect, &1_001_u32.to_be_bytes());
    assert!(
        matches!(intents[..], [Intent::Close { code: 1009, .. }]),
        "{intents:?}"
    );
    assert!(
        receive(&mut dialect, &framed(b"{}")).is_empty(),
        "nothing more is read"
    );
}

#[test]
fn an_incomplete_message_is_reported() {
    let mut dialect = connected(STREAMS);
    assert!(receive(&mut dialect, &framed(b"{}")[..5]).is_empty());
    let held = dialect.unfinished();
    assert_eq!(held.bytes, 5);
    assert!(held.since.is_some());
}

#[test]
fn a_subscription_has_its_stream_from_its_answer_to_its_end() {
    let mut dialect = connected(STREAMS);
    receive(
        &mut dialect,
        &framed(br#"{"type":"subscribe","id":2,"channel":"a"}"#),
    );
    let (to, text) = said(&mut dialect, &subscribed("a", Some(2)));
    assert_eq!(to, "control");
    assert!(text.ends_with(",\"stream\":1}"), "{text}");
    assert_eq!(copy(&mut dialect, "a", &Recipient::PLAIN), "1");
    let live = Notice::Live {
        subscription: SubscriptionName::from(name("a")),
        position: Position::new(1, 2),
    };
    assert_eq!(said(&mut dialect, &live).0, "1");
    let unsubscribed = Notice::Reply {
        id: Some(CommandId(3)),
        reply: Reply::Unsubscribed {
            subscription: SubscriptionName::from(name("a")),
        },
    };
    assert_eq!(said(&mut dialect, &unsubscribed).0, "1 last");
    assert_eq!(copy(&mut dialect, "a", &Recipient::PLAIN), "control");
}

#[test]
fn restored_subscriptions_get_streams_up_to_the_limit() {
    let mut dialect = connected(STREAMS);
    for (channel, field) in [("a", ",\"stream\":1}"), ("b", ",\"stream\":2}"), ("c", "")] {
        let (to, text) = said(&mut dialect, &subscribed(channel, None));
        assert_eq!(to, "control");
        assert_eq!(text.contains("stream"), !field.is_empty(), "{text}");
        assert!(text.ends_with(field), "{text}");
    }
}

#[test]
fn a_refused_subscription_gets_no_stream() {
    let mut dialect = connected(STREAMS);
    receive(
        &mut dialect,
        &framed(br#"{"type":"subscribe","id":2,"channel":"a"}"#),
    );
    let refusal = Refusal::new(ErrorCode::Forbidden, "no");
    let refused = Notice::Reply {
        id: Some(CommandId(2)),
        reply: Reply::Refused(refusal),
    };
    assert_eq!(said(&mut dialect, &refused).0, "control");
    assert_eq!(copy(&mut dialect, "a", &Recipient::PLAIN), "control");
}

#[test]
fn only_clients_that_read_datagrams_get_unreliable_channels_in_them() {
    let mut reads = connected(STREAMS);
    assert_eq!(copy(&mut reads, "cursors", &Recipient::PLAIN), "datagram");
    assert_eq!(copy(&mut reads, "chat", &Recipient::PLAIN), "control");
    let state = Recipient {
        state: true,
        ..Recipient::PLAIN
    };
    assert_eq!(copy(&mut reads, "cursors", &state), "control");
    let mut other = connected(r#"{"type":"connect","id":1,"lineage":true}"#);
    assert_eq!(copy(&mut other, "cursors", &Recipient::PLAIN), "control");
}

/// A lost one would never be acknowledged, and its place in the window be gone.
#[test]
fn acknowledged_messages_of_a_restored_subscription_do_not_come_in_datagrams() {
    let mut dialect = connected(STREAMS);
    let subscription = SubscriptionName {
        target: name("cursors").into(),
        id: Some(SubscriptionId(7)),
    };
    let begun = |acknowledged| Notice::Reply {
        id: None,
        reply: Reply::Subscribed {
            subscription: subscription.clone(),
            position: Position::new(1, 1),
            live: true,
            by_server: false,
            acknowledged,
        },
    };
    let recipient = Recipient {
        subscription: Some(SubscriptionId(7)),
        ..Recipient::PLAIN
    };
    said(&mut dialect, &begun(true));
    assert_ne!(copy(&mut dialect, "cursors", &recipient), "datagram");
    // `unsubscribe` and `subscribe` may arrive in one write, before the first of them is answered.
    let unsubscribed = Notice::Reply {
        id: Some(CommandId(3)),
        reply: Reply::Unsubscribed {
            subscription: subscription.clone(),
        },
    };
    let again = br#"{"type":"subscribe","id":4,"channel":"cursors","subscription":7,"window":4}"#;
    receive(&mut dialect, &framed(again));
    said(&mut dialect, &unsubscribed);
    said(&mut dialect, &begun(true));
    assert_ne!(copy(&mut dialect, "cursors", &recipient), "datagram");
    said(&mut dialect, &unsubscribed);
    said(&mut dialect, &begun(false));
    assert_eq!(copy(&mut dialect, "cursors", &recipient), "datagram");
}

proptest! {
    #[test]
    fn any_bytes_are_received_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), step in 1_usize..40) {
        let mut dialect = dialect();
        for part in bytes.chunks(step) {
            receive(&mut dialect, part);
            let _ = (dialect.readiness(), dialect.unfinished());
        }
        let _ = Placed::read(&bytes);
    }
}

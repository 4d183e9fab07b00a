//! Output can be parsed by any JSON parser, whatever was published.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_dialects::{
    Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Welcome,
    native::{self, Native},
};
use offhook_engine::*;
use proptest::prelude::*;

/// The native dialect knows no time.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to have some instant"
)]
pub(crate) fn sometime() -> Instant {
    Instant::now()
}

fn publication(data: &str, format: Format) -> Publication {
    Publication {
        channel: ChannelName::new("a").unwrap(),
        position: Position::new(1, 2),
        previous: Position::new(1, 1),
        sequence: 2,
        data: data.to_owned().into(),
        format,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 3,
    }
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_message_is_compact() {
    let text = native::encode_publication(&publication("1", Format::Json));
    assert_eq!(
        text,
        r#"{"type":"message","channel":"a","position":"1.2","data":1,"time":3}"#
    );
}

#[test]
fn the_first_message_of_an_epoch_names_its_predecessor() {
    let mut publication = publication("1", Format::Json);
    assert_eq!(native::encode_new_epoch(&publication), None);
    publication.position = Position::new(7, 2);
    let message = parsed(&native::encode_publication(&publication));
    assert_eq!(message["previous"], "1.1");
    let gap = native::encode_new_epoch(&publication).unwrap();
    assert_eq!(
        gap,
        r#"{"type":"gap","channel":"a","from":"1.1","to":"7.1","reason":"epoch_changed"}"#
    );
}

/// Continuity for clients of the original `offhook.v1.json`: they compare offsets.
#[test]
fn only_a_client_without_lineage_gets_a_gap_before_the_first_message_of_an_epoch() {
    let mut first = publication("1", Format::Json);
    first.position = Position::new(7, 2);
    let shared_of = |connect: &str| {
        let (mut native, mut intents) = (Native::default(), Vec::new());
        native.receive(Incoming::Text(connect), sometime(), &mut intents);
        let Some(Intent::Connect(connect)) = intents.first() else {
            panic!("{intents:?}")
        };
        native.encoding(connect).publication(&first)
    };
    let new = shared_of(r#"{"type":"connect","id":1,"lineage":true}"#);
    assert_eq!(new.ahead, None);
    let old = shared_of(r#"{"type":"connect","id":1}"#);
    assert_eq!(old.message, new.message);
    let gap = r#"{"type":"gap","channel":"a","from":"1.1","to":"7.1","reason":"epoch_changed"}"#;
    assert_eq!(old.ahead, Some(Payload::Text(gap.to_owned())));
}

#[test]
fn a_divergence_reports_where_the_streams_agree() {
    let gap = parsed(&native::encode_notice(&Notice::Gap {
        subscription: ChannelName::new("a").unwrap().into(),
        from: Position::new(1, 90),
        to: Position::new(2, 70),
        reason: GapReason::Diverged,
        agreed: Some(Position::new(1, 60)),
    }));
    assert_eq!(
        (&gap["reason"], &gap["agreed"]),
        (&"diverged".into(), &"1.60".into())
    );
}

#[test]
fn text_of_other_dialects_becomes_a_json_string_and_bytes_become_base64() {
    let text = native::encode_publication(&publication("say \"hi\"", Format::Text));
    assert_eq!(parsed(&text)["data"], "say \"hi\"");
    let bytes = native::encode_publication(&publication("\0\u{1}", Format::Binary));
    assert_eq!(parsed(&bytes)["base64"], "AAE=");
}

#[test]
fn an_unsubscription_by_the_server_has_a_reason() {
    let refusal = Refusal::from(BrokerFailure::StorageCorrupt);
    let channel = ChannelName::new("a").unwrap();
    let text = parsed(&native::encode_notice(&Notice::Unsubscribed {
        subscription: channel.into(),
        refusal,
    }));
    assert_eq!(text["code"], "storage_corrupt");
    assert_eq!(text["id"], serde_json::Value::Null);
}

#[test]
fn an_empty_list_of_members_is_sent_as_a_list() {
    let channel = ChannelName::new("a").unwrap();
    let reply = Reply::Members {
        channel,
        subscription: None,
        members: vec![],
        total: 0,
    };
    let text = native::encode_notice(&Notice::Reply { id: None, reply });
    assert_eq!(
        text,
        r#"{"type":"members","channel":"a","members":[],"total":0}"#
    );
}

proptest! {
    #[test]
    fn every_text_round_trips(name in "[^\\p{Cc}*]{1,40}", value in ".{0,40}", user in ".{1,20}") {
        let mut sent = publication("{}", Format::Json);
        sent.channel = ChannelName::new(&name).unwrap();
        sent.tags = Tags::new([(&*name, &*value)]).unwrap();
        sent.key = Some(Key::new(&name).unwrap());
        let session = SessionId::from_bytes([1; 16]);
        sent.publisher = Some(Publisher { session, user: user.as_str().into() });
        let text = parsed(&native::encode_publication(&sent));
        prop_assert_eq!(&text["channel"], &name);
        prop_assert_eq!(&text["key"], &name);
        prop_assert_eq!(&text["tags"][&name], &value);
        prop_assert_eq!(&text["user"], &user);
        let member = Arc::new(Member { session, user: user.as_str().into(), info: "".into() });
        let change = PresenceChange { channel: sent.channel, member, joined: true, user_sessions: 1 };
        prop_assert_eq!(&parsed(&native::encode_presence(&change))["user"], &user);
    }
}

/// The encoding for a client that sent this with its `connect`.
fn encoding(lineage: bool) -> &'static dyn Encoding {
    let connect = format!(r#"{{"type":"connect","id":1,"lineage":{lineage}}}"#);
    let (mut native, mut intents) = (Native::default(), Vec::new());
    native.receive(Incoming::Text(&connect), sometime(), &mut intents);
    let Some(Intent::Connect(connect)) = intents.first() else {
        panic!("{intents:?}")
    };
    native.encoding(connect)
}

#[test]
fn clients_with_and_without_lineage_share_joins_and_no_messages() {
    let (new, old) = (encoding(true), encoding(false));
    assert_eq!(new.name(), "native json");
    assert_eq!(old.name(), "native json without lineage");
    let change = PresenceChange {
        channel: ChannelName::new("a").unwrap(),
        member: Arc::new(Member {
            session: SessionId::from_bytes([1; 16]),
            user: "ann".into(),
            info: "{}".into(),
        }),
        joined: true,
        user_sessions: 1,
    };
    let shared = new.presence(&change).unwrap();
    assert_eq!(
        shared.message,
        Payload::Text(native::encode_presence(&change))
    );
    assert_eq!(old.presence(&change), Some(shared));
}

#[test]
fn a_recipients_own_fields_follow_the_type() {
    let shared = encoding(true).publication(&publication("1", Format::Json));
    let head = |recipient: &Recipient| match Native::default().head(recipient, &shared) {
        Head::Insert(head) => String::from_utf8(head).unwrap(),
        Head::None => String::new(),
        Head::Whole(_) | Head::Several(_) | Head::Nothing => panic!("it shares its message"),
    };
    assert_eq!(head(&Recipient::PLAIN), "");
    let all = Recipient {
        subscription: Some(SubscriptionId(7)),
        at: Some(Position::new(1, 9)),
        redelivered: 1,
        state: true,
        ..Recipient::PLAIN
    };
    let expected = r#","subscription":7,"at":"1.9","redelivered":1,"state":true"#;
    assert_eq!(head(&all), expected);
    let Payload::Text(mut message) = shared.message.clone() else {
        panic!()
    };
    message.insert_str(shared.head, expected);
    let message = parsed(&message);
    assert_eq!(
        (&message["type"], &message["redelivered"]),
        (&"message".into(), &1.into())
    );
}

#[test]
fn a_connection_says_what_the_encoders_of_its_messages_return() {
    let mut native = Native::default();
    let mut said = |say: &dyn Fn(&mut Native, &mut Vec<Payload>)| {
        let mut out = Vec::new();
        say(&mut native, &mut out);
        match &out[..] {
            [Payload::Text(text)] => text.clone(),
            other => panic!("{other:?}"),
        }
    };
    let id = CommandId(3);
    let minute = Duration::from_secs(60);
    let welcome = Welcome {
        id,
        session: SessionId::from_bytes([1; 16]),
        user: "ann",
        resume: "token",
        expires_in: Some(minute),
        unix_ms: 1,
        named: None,
    };
    let text = said(&|native, out| native.welcome(&welcome, out));
    assert_eq!(text, native::encode_welcome(&welcome));
    let refusal = Refusal::new(ErrorCode::Busy, "later");
    let text = said(&|native, out| native.refused(Some(id), &refusal, out));
    assert_eq!(parsed(&text)["code"], "busy");
    assert_eq!(parsed(&text)["id"], 3);
    let text = said(&|native, out| native.token("next", out));
    assert_eq!(text, native::encode_token("next"));
    let text = said(&|native, out| native.refreshed(id, Some(minute), out));
    assert_eq!(text, native::encode_refreshed(id, Some(minute)));
    let text = said(&|native, out| native.expiring(minute, out));
    assert_eq!(text, native::encode_expiring(minute));
}

#[test]
fn a_client_learns_from_the_close_code_whether_it_may_come_back() {
    for (reason, code) in [
        (CloseReason::TooSlow, 1008),
        (CloseReason::Flood, 1008),
        (CloseReason::Replaced, 4001),
        (CloseReason::Disconnected, 4002),
        (CloseReason::Expired, 4003),
    ] {
        assert_eq!(Native::default().close_code(reason), code);
    }
}

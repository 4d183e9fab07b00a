//! Output can be parsed by any JSON parser, whatever was published.

use std::{sync::Arc, time::Instant};

use offhook_dialects::{
    Dialect, Incoming, Intent, Payload,
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

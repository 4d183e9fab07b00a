//! The binary form has the same messages as JSON, and refuses what is not one of them.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a test matches one variant, and needs a starting time"
)]

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use offhook_dialects::{
    Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Welcome,
    native::{
        Native, Request,
        client::{Said, encode_request, encode_request_binary, read, read_binary},
        decode, decode_binary, diagnostic,
    },
};
use offhook_engine::*;
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::native_client::generated::{publication, request};

const PAGE: &str = include_str!("../../../../docs/protocol.md");

fn examples() -> impl Iterator<Item = &'static str> {
    let fences = PAGE.split("```json\n").skip(1);
    fences.map(|fence| fence.lines().next().unwrap())
}

/// The message in CBOR, by the rules of the page and with definite lengths.
fn transcoded(json: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, json, false);
    out
}

fn put(out: &mut Vec<u8>, json: &str, is_foreign: bool) {
    match json.as_bytes()[0] {
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap();
            head(out, 5, fields.len());
            for (name, value) in &fields {
                let value = value.get();
                match &**name {
                    "data" | "info" | "backend" if !is_foreign => {
                        string(out, 3, name.as_bytes());
                        string(out, 3, value.as_bytes());
                    }
                    "base64" if !is_foreign => {
                        let text: String = serde_json::from_str(value).unwrap();
                        string(out, 3, b"data");
                        string(out, 2, &BASE64.decode(text.as_bytes()).unwrap());
                    }
                    _ => {
                        string(out, 3, name.as_bytes());
                        put(out, value, name == "tags");
                    }
                }
            }
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap();
            head(out, 4, items.len());
            for item in items {
                put(out, item.get(), false);
            }
        }
        b'"' => {
            let text: String = serde_json::from_str(json).unwrap();
            string(out, 3, text.as_bytes());
        }
        b't' => out.push(0xf5),
        b'f' => out.push(0xf4),
        _ => head(out, 0, json.parse().unwrap()),
    }
}

/// Always with eight bytes, which is not the shortest form, but valid.
fn head(out: &mut Vec<u8>, major: u8, argument: usize) {
    out.push((major << 5) | 27);
    out.extend((argument as u64).to_be_bytes());
}

fn string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(out, major, bytes.len());
    out.extend(bytes);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
}

#[test]
fn every_example_on_the_page_means_the_same_in_cbor() {
    let mut compared = 0;
    for example in examples() {
        let binary = transcoded(example);
        // Most of the server's messages are refused in both forms, for the same reason.
        assert_eq!(decode_binary(&binary), decode(example), "{example}");
        assert_eq!(read_binary(&binary).ok(), read(example).ok(), "{example}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn the_bytes_on_the_page_are_a_publication() {
    let fence = PAGE.split("```cbor\n").nth(1).unwrap();
    let fence = fence.split("```").next().unwrap();
    let columns = fence.lines().filter_map(|line| line.split('#').next());
    let binary = hex(&columns.collect::<Vec<_>>().join(" "));
    let request = decode(r#"{"type":"publish","id":3,"channel":"chat","base64":"AQI="}"#).unwrap();
    assert_eq!(decode_binary(&binary).as_ref(), Ok(&request));
    assert_eq!(encode_request_binary(&request), binary);
}

proptest! {
    #[test]
    fn a_request_means_the_same_in_both_forms(request in request()) {
        let binary = encode_request_binary(&request);
        prop_assert_eq!(decode_binary(&binary), Ok(request.clone()));
        let json = encode_request(&request);
        prop_assert_eq!(decode_binary(&transcoded(&json)), Ok(request));
    }

    #[test]
    fn a_publication_means_the_same_in_both_forms(publication in publication()) {
        let mut json = connected(&Native::default(), Form::Text);
        let mut cbor = connected(&Native::with_cbor(), Form::Binary);
        let mut mixed = connected(&Native::with_cbor(), Form::Text);
        let plain = json.publication(&publication, &Recipient::PLAIN);
        let binary = cbor.publication(&publication, &Recipient::PLAIN);
        let both = mixed.publication(&publication, &Recipient::PLAIN);
        let is_message = matches!(said(&plain), Said::Message { .. });
        prop_assert!(is_message);
        prop_assert_eq!(said(&binary), said(&plain));
        prop_assert_eq!(said(&both), said(&plain));
        let has_bytes = publication.format == Format::Binary;
        let is_binary = matches!(both, Payload::Binary(_));
        prop_assert_eq!(is_binary, has_bytes);
    }

    #[test]
    fn the_fields_of_a_recipient_mean_the_same_in_both_forms(
        publication in publication(),
        subscription in prop::option::of(0..u32::MAX), at in prop::option::of(0..1_u64 << 53),
        redelivered in any::<u16>(), state in any::<bool>(),
    ) {
        let recipient = Recipient {
            subscription: subscription.map(SubscriptionId),
            at: at.map(|offset| Position::new(3, offset)),
            redelivered,
            state,
            ..Recipient::PLAIN
        };
        let json = connected(&Native::default(), Form::Text).publication(&publication, &recipient);
        let cbor = connected(&Native::with_cbor(), Form::Binary).publication(&publication, &recipient);
        let mixed = connected(&Native::with_cbor(), Form::Text).publication(&publication, &recipient);
        prop_assert_eq!(said(&cbor), said(&json));
        prop_assert_eq!(said(&mixed), said(&json));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = decode_binary(&bytes);
        let _either = read_binary(&bytes);
    }

    #[test]
    fn a_truncated_or_changed_message_is_decoded_or_refused(
        request in request(), at in any::<prop::sample::Index>(), byte in prop::option::of(any::<u8>())
    ) {
        let mut bytes = encode_request_binary(&request);
        let at = at.index(bytes.len());
        match byte {
            Some(byte) => bytes[at] = byte,
            None => {
                bytes.truncate(at);
                prop_assert!(decode_binary(&bytes).is_err());
            }
        }
        let _either = decode_binary(&bytes);
        let _either = read_binary(&bytes);
    }
}

/// The form of a connection's first message.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Binary,
}

/// A connection that was accepted.
#[derive(Debug)]
struct Connected {
    native: Native,
    encoding: &'static dyn Encoding,
}

fn connected(native: &Native, form: Form) -> Connected {
    let mut native = *native;
    let mut intents = Vec::new();
    let connect = r#"{"type":"connect","id":1,"lineage":true}"#;
    let binary = transcoded(connect);
    let incoming = match form {
        Form::Text => Incoming::Text(connect),
        Form::Binary => Incoming::Binary(&binary),
    };
    native.receive(incoming, Instant::now(), &mut intents);
    let Some(Intent::Connect(connect)) = intents.pop() else {
        panic!("it connects")
    };
    let encoding = native.encoding(&connect);
    Connected { native, encoding }
}

impl Connected {
    fn publication(&mut self, publication: &Publication, recipient: &Recipient) -> Payload {
        let shared = self.encoding.publication(publication);
        assert!(shared.ahead.is_none());
        match self.native.head(recipient, &shared) {
            Head::None => shared.message,
            Head::Insert(head) => shared.with_head(&head),
            other => panic!("{other:?}"),
        }
    }

    fn says(&mut self, say: impl FnOnce(&mut Native, &mut Vec<Payload>)) -> Payload {
        let mut out = Vec::new();
        say(&mut self.native, &mut out);
        assert_eq!(out.len(), 1);
        out.remove(0)
    }
}

fn said(payload: &Payload) -> Said<'_> {
    match payload {
        Payload::Text(text) => read(text),
        Payload::Binary(bytes) => read_binary(bytes),
    }
    .unwrap_or_else(|error| panic!("{error}: {payload:?}"))
}

fn chat() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

fn at(offset: u64) -> Position {
    Position::new(17, offset)
}

fn of(data: &'static [u8], format: Format) -> Arc<Publication> {
    let draft = Draft {
        channel: chat(),
        data: data.into(),
        format,
        tags: Tags::new([("data", "[1]")]).unwrap(),
        publisher: None,
        key: None,
        time_ms: 5,
    };
    Arc::new(draft.at(Place::after(at(7), 8)))
}

fn member() -> Arc<Member> {
    Arc::new(Member {
        session: SessionId::from_bytes([1; 16]),
        user: "ann".into(),
        info: r#"{"a":1}"#.into(),
    })
}

/// All answers, with whether they contain bytes.
#[expect(clippy::too_many_lines, reason = "a list of them all")]
fn answers() -> Vec<(Reply, bool)> {
    let subscription = SubscriptionName {
        target: Filter::new("a/+").unwrap().into(),
        id: Some(SubscriptionId(7)),
    };
    let mut refusal =
        Refusal::new(ErrorCode::Rejected, "no").after(std::time::Duration::from_millis(70));
    refusal.backend = Some(r#"{"code":"full"}"#.into());
    let page = |publications| Reply::History {
        channel: chat(),
        head: at(9),
        publications,
        gap: Some(GapReason::EvictedBySize),
        more: true,
    };
    vec![
        (
            Reply::Published {
                position: at(4),
                duplicate: true,
            },
            false,
        ),
        (
            Reply::Subscribed {
                subscription: subscription.clone(),
                position: at(4),
                live: true,
                by_server: true,
                acknowledged: false,
            },
            false,
        ),
        (
            Reply::Unsubscribed {
                subscription: chat().into(),
            },
            false,
        ),
        (Reply::Done { subscription }, false),
        (Reply::InfoUpdated, false),
        (
            Reply::Called {
                data: "[1]".into(),
                format: Format::Json,
            },
            false,
        ),
        (
            Reply::Called {
                data: "\u{1}\"".into(),
                format: Format::Text,
            },
            false,
        ),
        (
            Reply::Called {
                data: (&b"\xff"[..]).into(),
                format: Format::Binary,
            },
            true,
        ),
        (
            page(vec![of(b"[1]", Format::Json), of(b"a\"b", Format::Text)]),
            false,
        ),
        (
            page(vec![of(b"[1]", Format::Json), of(b"\0", Format::Binary)]),
            true,
        ),
        (page(Vec::new()), false),
        (
            Reply::State {
                channel: chat(),
                head: at(9),
                values: vec![of(b"\0", Format::Binary)],
                more: false,
            },
            true,
        ),
        (
            Reply::Members {
                channel: chat(),
                subscription: Some(SubscriptionId(7)),
                members: vec![member(), member()],
                total: 70_000,
            },
            false,
        ),
        (
            Reply::Acked {
                channel: chat(),
                position: None,
            },
            false,
        ),
        (
            Reply::Acked {
                channel: chat(),
                position: Some(at(4)),
            },
            false,
        ),
        (
            Reply::Receipts {
                channel: chat(),
                position: at(4),
                receipts: Receipts {
                    received: 1,
                    subscribers: 300,
                    sessions: vec![SessionId::from_bytes([1; 16])],
                },
            },
            false,
        ),
        (Reply::Pong, false),
        (Reply::Refused(refusal), false),
    ]
}

#[test]
fn what_the_server_says_means_the_same_in_both_forms() {
    let mut json = connected(&Native::default(), Form::Text);
    let mut cbor = connected(&Native::with_cbor(), Form::Binary);
    let mut mixed = connected(&Native::with_cbor(), Form::Text);
    let subscription = || SubscriptionName::from(chat());
    let id = Some(CommandId(1 << 40));
    let mut notices: Vec<_> = answers()
        .into_iter()
        .map(|(reply, has_bytes)| (Notice::Reply { id, reply }, has_bytes))
        .collect();
    let gap = Notice::Gap {
        subscription: subscription(),
        from: at(1),
        to: at(2),
        reason: GapReason::Diverged,
        agreed: Some(at(1)),
    };
    let own = Notice::Own {
        subscription: SubscriptionName {
            target: Filter::new("a/+").unwrap().into(),
            id: Some(SubscriptionId(7)),
        },
        channel: chat(),
        position: at(4),
        previous: at(3),
        at: Some(at(9)),
    };
    let rest = [
        gap,
        own,
        Notice::Restored,
        Notice::CatchingUp {
            subscription: subscription(),
            position: at(4),
        },
        Notice::Live {
            subscription: subscription(),
            position: at(4),
        },
        Notice::Unsubscribed {
            subscription: subscription(),
            refusal: Refusal::new(ErrorCode::Forbidden, "no"),
        },
        Notice::Reconnect {
            after: std::time::Duration::from_millis(2_750),
        },
        Notice::Close {
            reason: CloseReason::Flood,
        },
        Notice::Told {
            data: "{}".into(),
            format: Format::Json,
        },
    ];
    notices.extend(rest.map(|notice| (notice, false)));
    let told = Notice::Told {
        data: (&b"\x01"[..]).into(),
        format: Format::Binary,
    };
    notices.push((told, true));
    for (notice, has_bytes) in notices {
        let say =
            |connected: &mut Connected| connected.says(|native, out| native.notice(&notice, out));
        let (json, cbor, mixed) = (say(&mut json), say(&mut cbor), say(&mut mixed));
        assert!(matches!(json, Payload::Text(_)) && matches!(cbor, Payload::Binary(_)));
        assert_eq!(matches!(mixed, Payload::Binary(_)), has_bytes, "{notice:?}");
        assert_eq!(said(&cbor), said(&json));
        assert_eq!(said(&mixed), said(&json));
    }
}

#[test]
fn the_handshake_joins_and_refusals_mean_the_same_in_both_forms() {
    let mut json = connected(&Native::default(), Form::Text);
    let mut cbor = connected(&Native::with_cbor(), Form::Binary);
    let welcome = Welcome {
        id: CommandId(1),
        session: SessionId::from_bytes([7; 16]),
        user: "ann",
        resume: "v1.token",
        expires_in: Some(std::time::Duration::from_secs(70)),
        unix_ms: 1,
        named: None,
    };
    let refusal = Refusal::new(ErrorCode::Unauthenticated, "no");
    type Say = fn(&mut Native, &Welcome<'_>, &Refusal, &mut Vec<Payload>);
    let says: [Say; 5] = [
        |native, welcome, _, out| native.welcome(welcome, out),
        |native, _, refusal, out| native.refused(None, refusal, out),
        |native, welcome, _, out| native.token(welcome.resume, out),
        |native, welcome, _, out| native.refreshed(welcome.id, welcome.expires_in, out),
        |native, welcome, _, out| native.expiring(welcome.expires_in.unwrap(), out),
    ];
    for say in says {
        let text = json.says(|native, out| say(native, &welcome, &refusal, out));
        let binary = cbor.says(|native, out| say(native, &welcome, &refusal, out));
        assert!(matches!(binary, Payload::Binary(_)));
        assert_eq!(said(&binary), said(&text));
    }
    for joined in [true, false] {
        let change = PresenceChange {
            channel: chat(),
            member: member(),
            joined,
            user_sessions: 1,
        };
        let recipient = Recipient {
            subscription: Some(SubscriptionId(7)),
            ..Recipient::PLAIN
        };
        let copy = |connected: &mut Connected| {
            let shared = connected.encoding.presence(&change).unwrap();
            let Head::Insert(head) = connected.native.head(&recipient, &shared) else {
                panic!()
            };
            shared.with_head(&head)
        };
        let (text, binary) = (copy(&mut json), copy(&mut cbor));
        assert_eq!(said(&binary), said(&text));
    }
}

#[test]
fn connections_of_one_form_share_their_messages_and_those_of_another_do_not() {
    let names = [
        connected(&Native::default(), Form::Text),
        connected(&Native::with_cbor(), Form::Text),
        connected(&Native::with_cbor(), Form::Binary),
    ]
    .map(|connected| connected.encoding.name());
    assert_eq!(
        names,
        ["native json", "native json and cbor", "native cbor"]
    );
}

#[test]
fn the_first_message_decides_the_form_of_the_answers() {
    let mut native = Native::with_cbor();
    let mut intents = Vec::new();
    let refusal = Refusal::new(ErrorCode::BadRequest, "no");
    let say = |native: &mut Native| {
        let mut out = Vec::new();
        native.refused(None, &refusal, &mut out);
        matches!(out[0], Payload::Binary(_))
    };
    native.receive(Incoming::Binary(b"\x00"), Instant::now(), &mut intents);
    assert!(say(&mut native));
    let ping = r#"{"type":"ping","id":1}"#;
    native.receive(Incoming::Text(ping), Instant::now(), &mut intents);
    assert!(say(&mut native), "it stays so");
    assert!(matches!(intents[1], Intent::Command { .. }), "{intents:?}");
}

#[test]
fn a_connection_with_cbor_understands_previous_without_saying_so() {
    let mut native = Native::with_cbor();
    let mut intents = Vec::new();
    let connect = transcoded(r#"{"type":"connect","id":1}"#);
    native.receive(Incoming::Binary(&connect), Instant::now(), &mut intents);
    assert!(matches!(&intents[0], Intent::Connect(connect) if connect.lineage));
    let subscribe = r#"{"type":"subscribe","id":2,"filter":"a/+","subscription":7}"#;
    native.receive(
        Incoming::Binary(&transcoded(subscribe)),
        Instant::now(),
        &mut intents,
    );
    assert!(matches!(intents[1], Intent::Command { .. }), "{intents:?}");
}

#[test]
fn binary_messages_are_refused_without_the_subprotocol() {
    let mut intents = Vec::new();
    let ping = transcoded(r#"{"type":"ping","id":1}"#);
    Native::default().receive(Incoming::Binary(&ping), Instant::now(), &mut intents);
    let Intent::Refuse { id: None, refusal } = &intents[0] else {
        panic!("{intents:?}")
    };
    assert!(refusal.detail.contains("offhook.v1.cbor"), "{refusal:?}");
}

#[test]
fn an_error_says_what_is_wrong_with_the_bytes() {
    // {"type":"publish","id":5,"channel":"a" …
    let publish = "bf 64 74797065 67 7075626c697368 62 6964 05 67 6368616e6e656c 61 61";
    let ping = "64 74797065 64 70696e67 62 6964";
    for (bytes, words, id) in [
        (String::new(), "one CBOR map", None),
        ("80".to_owned(), "one CBOR map", None),
        ("a0".to_owned(), "missing field `type`", None),
        ("a1 62 6964 05".to_owned(), "missing field `type`", Some(5)),
        (format!("{publish} ff"), "data: is missing", Some(5)),
        (
            format!("{publish} 64 64617461 61 7b ff"),
            "not JSON",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 f6 ff"),
            "JSON in a text string",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 5f 41 01 ff ff"),
            "definite length",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 7f 61 31 ff ff"),
            "definite length",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 5b 7fffffffffffffff 01"),
            "ends within",
            None,
        ),
        (format!("{publish} 64 64617461 43 01"), "ends within", None),
        (
            format!("{publish} 64 64617461 61 ff ff"),
            "not UTF-8",
            Some(5),
        ),
        (format!("{publish} 64 64617461 41 01"), "ends within", None),
        (
            format!("{publish} 62 6964 06 ff"),
            "duplicate field `id`",
            None,
        ),
        (
            format!("{publish} 64 64617461 41 01 ff 00"),
            "1 bytes follow",
            Some(5),
        ),
        (
            format!("{publish} 64 74616773 80 ff"),
            "expected map",
            Some(5),
        ),
        (format!("a2 {ping} 20"), "expected u64", None),
        (
            format!("a2 {ping} fb 3ff0000000000000"),
            "expected u64",
            None,
        ),
        (
            format!("a2 {ping} 1b ffffffffffffffff"),
            "id: a whole number",
            None,
        ),
        (
            format!("a3 {ping} 05 65 6c696d6974 1b 0000000100000000"),
            "expected u32",
            Some(5),
        ),
        (
            format!("a3 {ping} 05 61 78 {}00", "81".repeat(300)),
            "too deep",
            None,
        ),
        (
            format!("a3 {ping} 05 61 78 {}", "9f".repeat(100_000)),
            "too deep",
            None,
        ),
        (
            format!("a3 {ping} 05 65 73696e6365 01"),
            "since: \"now\"",
            Some(5),
        ),
        (
            format!("bb ffffffffffffffff {ping} 05"),
            "ends within",
            None,
        ),
    ] {
        let rejection = decode_binary(&hex(&bytes)).unwrap_err();
        let detail = &rejection.refusal.detail;
        assert!(detail.contains(words), "{bytes:.200}: {detail}");
        assert_eq!(rejection.id, id.map(CommandId), "{bytes:.200}: {detail}");
    }
}

#[test]
fn data_nests_no_deeper_than_in_json() {
    for (depth, is_taken) in [(64, true), (65, false)] {
        let json = format!(
            r#"{{"type":"publish","id":5,"channel":"a","data":{}1{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        assert_eq!(decode_binary(&transcoded(&json)).is_ok(), is_taken);
    }
}

#[test]
fn a_field_unknown_to_this_version_is_skipped() {
    // {"type":"ping","id":5,"x":{"a":[1,h'00',tag(1) 2,1.5,undefined]}}
    let message =
        "a3 64 74797065 64 70696e67 62 6964 05 61 78 a1 61 61 85 01 41 00 c1 02 f9 3e00 f7";
    let Ok(Request::Command {
        id,
        command: Command::Ping,
    }) = decode_binary(&hex(message))
    else {
        panic!()
    };
    assert_eq!(id, CommandId(5));
    // A type unknown to an older client.
    let news = hex("a2 64 74797065 64 6e657773 62 6964 41 00");
    assert_eq!(read_binary(&news), Ok(Said::Unknown));
}

#[test]
fn white_space_around_json_in_a_text_is_not_data() {
    let message = hex(
        "a4 64 74797065 67 7075626c697368 62 6964 05 67 6368616e6e656c 61 61 64 64617461 63 20 31 0a",
    );
    let Ok(Request::Command {
        command: Command::Publish { data, .. },
        ..
    }) = decode_binary(&message)
    else {
        panic!()
    };
    assert_eq!(&data[..], b"1");
}

#[test]
fn a_message_is_shown_in_diagnostic_notation() {
    for (bytes, shown) in [
        (
            "a4 64 74797065 64 746f6c64 61 61 83 01 20 f6 61 62 f5 64 64617461 42 00ff",
            r#"{"type": "told", "a": [1, -1, null], "b": true, "data": h'00ff'}"#,
        ),
        ("9f 61 22 fb 3ff8000000000000 ff", r#"["\"", 1.5]"#),
        ("a0", "{}"),
    ] {
        assert_eq!(diagnostic(&hex(bytes)).as_deref(), Ok(shown));
    }
    let long = format!("58 40 {}", "ab".repeat(64));
    let beginning = format!("h'{}…' /64 bytes/", "ab".repeat(32));
    assert_eq!(diagnostic(&hex(&long)), Ok(beginning));
    for wrong in ["", "a1", "00 00", "61 ff", &"81".repeat(1_000)] {
        assert!(diagnostic(&hex(wrong)).is_err(), "{wrong}");
    }
}

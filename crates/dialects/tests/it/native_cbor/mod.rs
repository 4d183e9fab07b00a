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

mod meaning;
mod messages;

const PAGE: &str = include_str!("../../../../../docs/protocol.md");

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

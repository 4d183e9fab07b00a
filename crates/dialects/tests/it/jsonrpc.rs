//! JSON-RPC 2.0: requests, responses and notifications.

use std::sync::Arc;

use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Payload, Recipient, Welcome,
    jsonrpc::{MAX_BATCH, Rpc},
};
use offhook_engine::*;
use proptest::prelude::*;

use crate::native_encode::sometime;

/// A connection, with an engine that answers as instructed.
#[derive(Default)]
struct Client {
    rpc: Rpc,
    asked: Vec<(CommandId, Command)>,
    /// Requests that the engine refuses.
    refused: Vec<(Option<CommandId>, Refusal)>,
    connects: Vec<Option<String>>,
    refreshes: Vec<(CommandId, String)>,
    /// Subscription tokens.
    granted: Vec<String>,
    heard: Vec<String>,
}

impl Client {
    fn connected() -> Self {
        let mut client = Self::default();
        client.send(r#"{"jsonrpc":"2.0","method":"ping"}"#);
        client.reply(Reply::Pong);
        assert_eq!(client.connects, [None]);
        assert!(client.heard.is_empty(), "a notification is not answered");
        client
    }

    fn send(&mut self, text: &str) {
        let mut intents = Vec::new();
        self.rpc
            .receive(Incoming::Text(text), sometime(), &mut intents);
        for intent in intents {
            match intent {
                Intent::Connect(connect) => {
                    self.connects.push(connect.token);
                    let welcome = Welcome {
                        id: connect.id,
                        session: SessionId::from_bytes([1; 16]),
                        user: "",
                        resume: "",
                        unix_ms: 0,
                        named: None,
                        expires_in: None,
                    };
                    let mut out = Vec::new();
                    self.rpc.welcome(&welcome, &mut out);
                    self.hear(out);
                }
                Intent::Command { id, command } => self.asked.push((id, command)),
                Intent::Refresh { id, token } => self.refreshes.push((id, token)),
                Intent::Granted { id, token, command } => {
                    self.granted.push(token);
                    self.asked.push((id, command));
                }
                Intent::Refuse { id, refusal } => self.refused.push((id, refusal)),
                Intent::Say(message) => self.hear(vec![message]),
                Intent::Permitted { .. }
                | Intent::Identify { .. }
                | Intent::Leave
                | Intent::Report(_)
                | Intent::Keep(_)
                | Intent::Consume { .. }
                | Intent::Settle { .. }
                | Intent::Quit { .. }
                | Intent::Channels { .. }
                | Intent::Close { .. } => panic!("nobody leaves"),
            }
        }
        for (id, refusal) in std::mem::take(&mut self.refused) {
            let reply = Reply::Refused(refusal);
            self.notice(&Notice::Reply { id, reply });
        }
    }

    /// Answers the oldest command.
    fn reply(&mut self, reply: Reply) {
        let (id, _) = self.asked.remove(0);
        self.notice(&Notice::Reply {
            id: Some(id),
            reply,
        });
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.rpc.notice(notice, &mut out);
        self.hear(out);
    }

    fn hear(&mut self, messages: Vec<Payload>) {
        for message in messages {
            let Payload::Text(text) = message else {
                panic!("{message:?}")
            };
            serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
            self.heard.push(text);
        }
    }

    fn takes(&mut self) -> String {
        assert_eq!(self.heard.len(), 1, "{:?}", self.heard);
        self.heard.remove(0)
    }

    /// Subscribes, and returns the number.
    fn subscribed(&mut self, channel: &str) -> u32 {
        self.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"subscribe","params":["{channel}"]}}"#
        ));
        let (_, command) = &self.asked[0];
        let Command::Subscribe(wish) = command else {
            panic!("{command:?}")
        };
        let reply = Reply::Subscribed {
            subscription: wish.name(),
            position: Position::new(17, 3),
            live: true,
            by_server: false,
            acknowledged: false,
        };
        let number = wish.id.unwrap().0;
        self.reply(reply);
        let live = self.heard.pop().unwrap();
        assert_eq!(
            live,
            format!(
                r#"{{"jsonrpc":"2.0","method":"live","params":{{"subscription":{number},"channel":"{channel}","epoch":"17","offset":3}}}}"#
            )
        );
        assert_eq!(
            self.takes(),
            format!(r#"{{"jsonrpc":"2.0","result":{number},"id":1}}"#)
        );
        number
    }

    fn told(&mut self, number: u32, publication: &Publication) -> String {
        let connect = offhook_dialects::Connect {
            id: CommandId(0),
            token: None,
            resume: None,
            info: "".into(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        };
        let shared = self.rpc.encoding(&connect).publication(publication);
        let recipient = Recipient {
            subscription: Some(SubscriptionId(number)),
            ..Recipient::PLAIN
        };
        let payload = match self.rpc.head(&recipient, &shared) {
            Head::None => shared.message,
            Head::Insert(head) => shared.with_head(&head),
            Head::Whole(payload) => payload,
            Head::Several(_) | Head::Nothing => panic!("every copy is one message"),
        };
        let Payload::Text(text) = payload else {
            panic!("{payload:?}")
        };
        text
    }
}

fn publication() -> Publication {
    let draft = Draft {
        channel: ChannelName::new("chat").unwrap(),
        data: r#"{"text":"hi"}"#.into(),
        format: Format::Json,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 5,
    };
    draft.at(Place::after(Position::new(17, 3), 9))
}

fn error_of(text: &str) -> i64 {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["error"]["code"].as_i64().unwrap()
}

#[test]
fn a_publish_is_answered_with_its_own_id_of_any_kind() {
    for id in ["1", "-7", "1.5", r#""a""#, "null"] {
        let mut client = Client::connected();
        client.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"publish","params":{{"channel":"chat","data":{{"a":1}},"key":"k"}}}}"#
        ));
        client.reply(Reply::Published {
            position: Position::new(17, 4),
            duplicate: false,
        });
        let expected =
            format!(r#"{{"jsonrpc":"2.0","result":{{"epoch":"17","offset":4}},"id":{id}}}"#);
        assert_eq!(client.takes(), expected);
    }
}

#[test]
fn parameters_by_name_and_by_position_mean_the_same() {
    let ask = |params: &str| {
        let mut client = Client::connected();
        client.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"history","params":{params}}}"#
        ));
        client.asked.remove(0).1
    };
    let named = ask(r#"{"limit":5,"channel":"chat","since":{"epoch":"17","offset":2}}"#);
    let listed = ask(r#"["chat","17.2",5]"#);
    assert_eq!(named, listed);
    let expected = Command::History {
        channel: ChannelName::new("chat").unwrap(),
        since: Since::Position(Position::new(17, 2)),
        limit: 5,
    };
    assert_eq!(named, expected);
}

#[test]
fn publications_are_sent_with_the_number_of_their_subscription() {
    let mut client = Client::connected();
    let number = client.subscribed("chat");
    let told = client.told(number, &publication());
    assert_eq!(
        told,
        format!(
            r#"{{"jsonrpc":"2.0","method":"subscription","params":{{"subscription":{number},"result":{{"channel":"chat","epoch":"17","offset":4,"data":{{"text":"hi"}},"time":5}}}}}}"#
        )
    );
    // The number is what `unsubscribe` takes.
    client.send(&format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"unsubscribe","params":[{number}]}}"#
    ));
    let refusal = Refusal::new(ErrorCode::NotSubscribed, "no such subscription");
    client.reply(Reply::Refused(refusal));
    assert_eq!(client.takes(), r#"{"jsonrpc":"2.0","result":false,"id":2}"#);
}

#[test]
fn events_requested_by_rpc_on_have_the_form_of_rpc_websockets() {
    let mut client = Client::connected();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.on","params":["chat","private"]}"#);
    let Command::Subscribe(wish) = client.asked[0].1.clone() else {
        panic!("{:?}", client.asked)
    };
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(17, 3),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    assert!(client.heard.is_empty(), "the other channel is yet to come");
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let answer = r#"{"jsonrpc":"2.0","result":{"chat":"ok","private":"refused"},"id":1}"#;
    assert_eq!(client.takes(), answer);

    let number = wish.id.unwrap().0;
    let told = client.told(number, &publication());
    assert_eq!(
        told,
        r#"{"notification":"chat","params":{"channel":"chat","epoch":"17","offset":4,"data":{"text":"hi"},"time":5}}"#
    );

    // Once is enough, and `rpc.off` ends it.
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"rpc.on","params":["chat"]}"#);
    assert!(client.asked.is_empty());
    assert_eq!(
        client.takes(),
        r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":2}"#
    );
    client.send(r#"{"jsonrpc":"2.0","id":3,"method":"rpc.off","params":["chat"]}"#);
    client.reply(Reply::Unsubscribed {
        subscription: wish.name(),
    });
    assert_eq!(
        client.takes(),
        r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":3}"#
    );
    assert!(
        client
            .told(number, &publication())
            .contains(r#""method":"subscription""#)
    );
}

#[test]
fn a_batch_gets_one_answer_once_its_last_answer_is_available() {
    let mut client = Client::connected();
    client.send(
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},
            {"jsonrpc":"2.0","method":"ping"},
            {"foo":"boo"},
            {"jsonrpc":"2.0","id":"x","method":"ack","params":["chat","billing"]}]"#,
    );
    client.reply(Reply::Pong);
    client.reply(Reply::Pong);
    assert!(client.heard.is_empty());
    client.reply(Reply::Acked {
        channel: ChannelName::new("chat").unwrap(),
        position: None,
    });
    let answers: Vec<serde_json::Value> = serde_json::from_str(&client.takes()).unwrap();
    assert_eq!(answers.len(), 3, "{answers:?}");
    let of = |id: serde_json::Value| answers.iter().find(|answer| answer["id"] == id).unwrap();
    assert_eq!(of(1.into())["result"], "pong");
    assert_eq!(of("x".into())["result"], serde_json::Value::Null);
    assert_eq!(of(serde_json::Value::Null)["error"]["code"], -32_600);
}

#[test]
fn a_batch_of_notifications_is_not_answered() {
    let mut client = Client::connected();
    client.send(r#"[{"jsonrpc":"2.0","method":"ping"},{"jsonrpc":"2.0","method":"ping"}]"#);
    client.reply(Reply::Pong);
    client.reply(Reply::Pong);
    assert!(client.heard.is_empty());
}

#[test]
fn an_empty_or_too_large_batch_is_refused_as_a_whole() {
    let mut client = Client::connected();
    client.send("[]");
    assert_eq!(error_of(&client.takes()), -32_600);
    let hundred_thousand = format!("[{}]", vec!["1"; 100_000].join(","));
    client.send(&hundred_thousand);
    let answer = client.takes();
    assert_eq!(error_of(&answer), -32_600);
    assert!(answer.contains(&MAX_BATCH.to_string()), "{answer}");
}

#[test]
fn the_collected_answers_of_a_batch_are_limited() {
    let mut client = Client::connected();
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"call","params":["large"]}"#;
    client.send(&format!("[{ask},{ask},{ask}]"));
    for _ in 0..3 {
        client.reply(Reply::Called {
            data: format!("\"{}\"", "x".repeat(600_000)).into(),
            format: Format::Json,
        });
    }
    let answers: Vec<serde_json::Value> = serde_json::from_str(&client.takes()).unwrap();
    assert!(answers[0]["result"].is_string());
    for refused in &answers[1..] {
        assert_eq!(refused["error"]["data"]["code"], "too_large", "{refused}");
    }
}

#[test]
fn invalid_requests_are_answered_with_the_codes_of_the_specification() {
    let cases = [
        ("rubbish", -32_700),
        (r#"{"jsonrpc":"2.0","method":"ping","id":1"#, -32_700),
        ("[1", -32_700),
        ("1", -32_600),
        (r#"{"jsonrpc":"1.0","method":"ping","id":1}"#, -32_600),
        (r#"{"jsonrpc":"2.0","method":1,"id":1}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32_600),
        (r#"{"jsonrpc":"2.0","method":"ping","id":{}}"#, -32_600),
        (r#"{"jsonrpc":"2.0","method":"ping","id":true}"#, -32_600),
        (
            r#"{"jsonrpc":"2.0","method":"ping","params":1,"id":1}"#,
            -32_600,
        ),
        (r#"{"jsonrpc":"2.0","method":"dance","id":1}"#, -32_601),
        (r#"{"jsonrpc":"2.0","method":"publish","id":1}"#, -32_602),
        (
            r#"{"jsonrpc":"2.0","method":"publish","params":["a*b",1],"id":1}"#,
            -32_602,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"history","params":["chat","yesterday"],"id":1}"#,
            -32_602,
        ),
        (r#"{"jsonrpc":"2.0","method":"rpc.login","id":1}"#, -32_600),
    ];
    for (text, code) in cases {
        let mut client = Client::connected();
        client.send(text);
        assert_eq!(error_of(&client.takes()), code, "{text}");
        assert!(client.asked.is_empty());
    }
}

/// They were ignored: a window made an ordinary subscription.
#[test]
fn parameters_that_a_method_does_not_have_are_refused_by_name() {
    for (method, params, words) in [
        (
            "subscribe",
            r#"{"channel":"chat","window":4}"#,
            r#"\"window\" is unknown"#,
        ),
        (
            "subscribe",
            r#"{"channel":"chat","filter":"a/+"}"#,
            "only one",
        ),
        ("publish", r#"["chat",1,"key",{},5]"#, "5 were given"),
        ("ping", r#"{"x":1}"#, "there are none"),
        ("rpc.login", r#"["a","b"]"#, "2 were given"),
    ] {
        let mut client = Client::connected();
        client.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ));
        let answer = client.takes();
        assert_eq!(error_of(&answer), -32_602, "{answer}");
        assert!(answer.contains(words), "{answer}");
        assert!(client.asked.is_empty());
    }
}

#[test]
fn every_parameter_that_is_wrong_has_the_code_of_the_native_protocol() {
    for (method, params, code) in [
        ("publish", r#"{"channel":"chat"}"#, "bad_request"),
        ("receipts", r#"["chat","x"]"#, "bad_request"),
        ("publish", r#"["a*b",1]"#, "bad_channel_name"),
        (
            "publish",
            r#"{"channel":"chat","data":1,"key":""}"#,
            "bad_key",
        ),
    ] {
        let mut client = Client::connected();
        client.send(&format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#
        ));
        let answer: serde_json::Value = serde_json::from_str(&client.takes()).unwrap();
        let error = &answer["error"];
        assert_eq!(
            (error["code"].as_i64(), error["data"]["code"].as_str()),
            (Some(-32_602), Some(code))
        );
        assert_eq!(error["data"]["retry"], "never");
    }
}

#[test]
fn each_channel_of_rpc_on_has_its_own_answer_also_one_with_a_bad_name() {
    let mut client = Client::connected();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.on","params":["chat","b*"]}"#);
    let Command::Subscribe(wish) = client.asked[0].1.clone() else {
        panic!("{:?}", client.asked)
    };
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(17, 3),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    let answer: serde_json::Value = serde_json::from_str(&client.takes()).unwrap();
    assert_eq!(
        answer["result"],
        serde_json::json!({"chat": "ok", "b*": "refused"})
    );
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"rpc.off","params":["b*"]}"#);
    let answer: serde_json::Value = serde_json::from_str(&client.takes()).unwrap();
    assert_eq!(answer["result"], serde_json::json!({"b*": "refused"}));
}

#[test]
fn a_refusal_of_the_engine_is_an_error_with_its_code() {
    let mut client = Client::connected();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"presence","params":["chat"]}"#);
    let pause = std::time::Duration::from_millis(250);
    let refusal = Refusal::new(ErrorCode::RateLimited, "slowly").after(pause);
    client.reply(Reply::Refused(refusal));
    assert_eq!(
        client.takes(),
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"slowly","data":{"code":"rate_limited","retry":"later","retry_after_ms":250}},"id":1}"#
    );
}

#[test]
fn rpc_login_starts_the_session_with_a_token() {
    let mut client = Client::default();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.login","params":{"token":"t"}}"#);
    assert_eq!(client.connects, [Some("t".to_owned())]);
    assert_eq!(client.takes(), r#"{"jsonrpc":"2.0","result":true,"id":1}"#);
}

#[test]
fn a_later_rpc_login_refreshes_the_token_and_its_refusal_is_an_error() {
    let mut client = Client::connected();
    let later = r#"{"jsonrpc":"2.0","id":1,"method":"rpc.login","params":["newer"]}"#;
    client.send(later);
    let (id, token) = client.refreshes.remove(0);
    assert_eq!(token, "newer");
    let mut out = Vec::new();
    client.rpc.refreshed(id, None, &mut out);
    client.hear(out);
    assert_eq!(client.takes(), r#"{"jsonrpc":"2.0","result":true,"id":1}"#);

    client.send(later);
    let (id, _) = client.refreshes.remove(0);
    let reply = Reply::Refused(Refusal::new(ErrorCode::Unauthenticated, "forged"));
    client.notice(&Notice::Reply {
        id: Some(id),
        reply,
    });
    assert_eq!(error_of(&client.takes()), -32_000);
}

#[test]
fn the_client_is_notified_before_its_token_expires() {
    let mut client = Client::connected();
    let mut out = Vec::new();
    let left = std::time::Duration::from_secs(60);
    client.rpc.expiring(left, &mut out);
    client.hear(out);
    assert_eq!(
        client.takes(),
        r#"{"jsonrpc":"2.0","method":"expiring","params":{"expires_in_ms":60000}}"#
    );
}

#[test]
fn requests_of_a_refused_session_are_refused_for_the_same_reason() {
    let mut rpc = Rpc::default();
    let mut intents = Vec::new();
    rpc.receive(
        Incoming::Text(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        sometime(),
        &mut intents,
    );
    let [Intent::Connect(connect), Intent::Command { id, .. }] = &intents[..] else {
        panic!("{intents:?}")
    };
    let mut out = Vec::new();
    let why = Refusal::new(ErrorCode::Forbidden, "strangers are not welcome");
    rpc.refused(Some(connect.id), &why, &mut out);
    let first = Refusal::new(ErrorCode::BadRequest, "connect comes first");
    rpc.refused(Some(*id), &first, &mut out);
    let [Payload::Text(text)] = &out[..] else {
        panic!("{out:?}")
    };
    assert!(text.contains("strangers are not welcome"), "{text}");
    // The next message tries again.
    intents.clear();
    rpc.receive(
        Incoming::Text(r#"{"jsonrpc":"2.0","id":2,"method":"rpc.login","params":["t"]}"#),
        sometime(),
        &mut intents,
    );
    assert!(matches!(&intents[..], [Intent::Connect(c)] if c.token.as_deref() == Some("t")));
}

#[test]
fn a_gap_is_sent_with_its_reason() {
    let mut client = Client::connected();
    let number = client.subscribed("chat");
    client.notice(&Notice::Gap {
        subscription: SubscriptionName {
            target: ChannelName::new("chat").unwrap().into(),
            id: Some(SubscriptionId(number)),
        },
        from: Position::new(17, 2),
        to: Position::new(18, 9),
        reason: GapReason::EvictedBySize,
        agreed: None,
    });
    assert_eq!(
        client.takes(),
        format!(
            r#"{{"jsonrpc":"2.0","method":"gap","params":{{"subscription":{number},"channel":"chat","from":{{"epoch":"17","offset":2}},"to":{{"epoch":"18","offset":9}},"reason":"evicted_by_size"}}}}"#
        )
    );
}

#[test]
fn every_kind_of_publication_can_be_sent() {
    let mut client = Client::connected();
    let number = client.subscribed("chat");
    let publisher = Publisher {
        session: SessionId::from_bytes([7; 16]),
        user: Arc::from("ann"),
    };
    for (data, format, field) in [
        ("plain \"text\"", Format::Text, r#""data":"plain \"text\"""#),
        ("\u{1}\u{2}", Format::Binary, r#""base64":"AQI=""#),
        ("null", Format::Json, r#""data":null"#),
    ] {
        let publication = Publication {
            data: data.into(),
            format,
            tags: Tags::new([("key", "a"), ("ü", "\"")]).unwrap(),
            publisher: Some(publisher.clone()),
            previous: Position::new(16, 3),
            ..publication()
        };
        let told = client.told(number, &publication);
        let value: serde_json::Value = serde_json::from_str(&told).unwrap();
        let result = &value["params"]["result"];
        assert!(told.contains(field), "{told}");
        assert_eq!(result["tags"]["ü"], "\"");
        assert_eq!(result["user"], "ann");
        assert_eq!(result["previous"]["epoch"], "16");
    }
}

proptest! {
    #[test]
    fn any_text_is_answered_with_json_and_the_connection_stays_usable(
        text in prop_oneof![
            any::<String>(),
            "\\PC*",
            r#"\[?\{"jsonrpc":"2.0","(id|method|params)":.{0,20},?"(id|method)":"?(ping|subscribe|publish)"?\}\]?"#,
        ],
    ) {
        let mut client = Client::connected();
        client.send(&text);
        while !client.asked.is_empty() {
            client.reply(Reply::Pong);
        }
        client.heard.clear();
        client.send(r#"{"jsonrpc":"2.0","id":"last","method":"ping"}"#);
        client.reply(Reply::Pong);
        prop_assert_eq!(client.takes(), r#"{"jsonrpc":"2.0","result":"pong","id":"last"}"#);
    }
}

#[test]
fn a_subscribe_may_have_a_token_for_its_channel() {
    let mut client = Client::connected();
    client.send(
        r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"channel":"private/7","token":"a.b.c"}}"#,
    );
    assert_eq!(client.granted, ["a.b.c"]);
    let Command::Subscribe(wish) = &client.asked[0].1 else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(wish.target.as_str(), "private/7");
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::Unauthenticated,
        "token: has expired",
    )));
    assert!(client.takes().contains("\"code\":\"unauthenticated\""));
}

#[test]
fn the_error_of_the_backend_is_passed_on_to_the_client_unchanged() {
    let mut client = Client::connected();
    client
        .send(r#"{"jsonrpc":"2.0","id":1,"method":"call","params":{"method":"sum","key":"once"}}"#);
    let Command::Call { key, .. } = &client.asked[0].1 else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(key.as_ref().map(Key::as_str), Some("once"));
    let refusal = Refusal::new(ErrorCode::Rejected, "no such order")
        .told_by_backend(r#"{"code":"gone","data":[1]}"#);
    client.reply(Reply::Refused(refusal));
    let heard = client.takes();
    assert!(
        heard.contains("\"backend\":{\"code\":\"gone\",\"data\":[1]}"),
        "{heard}"
    );
    assert!(heard.contains("\"message\":\"no such order\""), "{heard}");
}

fn begins(client: &mut Client) {
    let Some((_, Command::Subscribe(wish))) = client.asked.first() else {
        panic!("{:?}", client.asked);
    };
    let subscription = wish.name();
    client.reply(Reply::Subscribed {
        subscription,
        position: Position::new(17, 3),
        live: true,
        by_server: false,
        acknowledged: false,
    });
}

#[test]
fn a_channel_named_twice_by_rpc_on_is_subscribed_to_once() {
    let mut client = Client::connected();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.on","params":["chat","chat"]}"#);
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"rpc.on","params":["chat"]}"#);
    assert_eq!(client.asked.len(), 1, "{:?}", client.asked);
    assert!(client.heard.is_empty(), "nothing has begun yet");
    begins(&mut client);
    assert_eq!(
        client.heard,
        [
            r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":1}"#,
            r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":2}"#
        ]
    );
}

#[test]
fn a_refused_channel_of_rpc_on_is_refused_to_all_who_asked_for_it() {
    let mut client = Client::connected();
    for id in [1, 2] {
        client.send(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"rpc.on","params":["chat"]}}"#
        ));
    }
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    assert_eq!(
        client.heard,
        [
            r#"{"jsonrpc":"2.0","result":{"chat":"refused"},"id":1}"#,
            r#"{"jsonrpc":"2.0","result":{"chat":"refused"},"id":2}"#
        ]
    );
    client.heard.clear();
    client.send(r#"{"jsonrpc":"2.0","id":3,"method":"rpc.on","params":["chat"]}"#);
    assert_eq!(client.asked.len(), 1, "it can be asked for again");
}

#[test]
fn rpc_off_ends_what_rpc_on_is_still_asking_for() {
    let mut client = Client::connected();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"rpc.on","params":["chat"]}"#);
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"rpc.off","params":["chat"]}"#);
    let ends = client.asked.iter();
    let ends = ends.filter(|(_, command)| matches!(command, Command::Unsubscribe { .. }));
    assert_eq!(ends.count(), 1, "{:?}", client.asked);
    // The engine ends it before it began, or afterwards: the answers are the same.
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::NotSubscribed,
        "unsubscribed before the subscription began",
    )));
    client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("chat").unwrap().into(),
    });
    assert_eq!(
        client.heard[1],
        r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":2}"#
    );
    client.heard.clear();
    client.send(r#"{"jsonrpc":"2.0","id":3,"method":"rpc.on","params":["chat"]}"#);
    begins(&mut client);
    assert_eq!(
        client.takes(),
        r#"{"jsonrpc":"2.0","result":{"chat":"ok"},"id":3}"#
    );
}

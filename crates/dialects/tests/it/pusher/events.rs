//! Events: those of clients, their data, and messages that no client sends.

use super::*;

#[test]
fn the_rules_decide_about_a_public_channel_and_its_events_have_data_in_strings() {
    let mut client = Client::connected();
    let wish = client.asks("chat", None);
    assert_eq!(
        wish,
        Subscribe::new(name("chat"), Since::Now).without_echo()
    );
    assert!(client.permitted.is_empty());
    client.accept(&wish);
    assert_eq!(
        client.takes(),
        json!({"event": "pusher_internal:subscription_succeeded", "channel": "chat", "data": "{}"})
    );
    let cases = [
        (r#"{"a":1}"#, Format::Json, r#"{"a":1}"#),
        ("\"hi\"", Format::Json, "\"hi\""),
        ("hi", Format::Text, "hi"),
        ("hi", Format::Binary, "\"aGk=\""),
    ];
    for (given, format, expected) in cases {
        client.deliver(&publication("chat", Some("new"), given, format), false);
        let event = client.takes();
        assert_eq!(
            event,
            json!({"event": "new", "channel": "chat", "data": expected})
        );
    }
}

#[test]
fn other_clients_cannot_forge_events_of_the_protocol() {
    let mut client = Client::connected();
    client.subscribe("chat", None);
    client.takes();
    for forged in ["pusher:error", "pusher_internal:member_added", ""] {
        client.deliver(&publication("chat", Some(forged), "1", Format::Json), false);
        assert_eq!(client.takes()["event"], "message");
    }
    client.deliver(&publication("chat", None, "1", Format::Json), false);
    assert_eq!(client.takes()["event"], "message");
}

#[test]
fn a_client_event_is_published_to_private_and_presence_channels_only() {
    let mut client = Client::connected();
    client.subscribe("private-chat", None);
    client.subscribe("private-cache-chat", None);
    client.subscribe("chat", None);
    client.subscribe("private-encrypted-chat", None);
    client.heard.clear();
    let event =
        |channel: &str| json!({"event": "client-typing", "channel": channel, "data": {"on": true}});
    client.send(&event("private-chat"));
    let (id, command) = client.permitted.remove(0);
    let expected = Command::Publish {
        channel: name("private-chat"),
        data: r#"{"on":true}"#.into(),
        format: Format::Json,
        tags: Tags::new([("event", "client-typing")]).unwrap(),
        key: None,
    };
    assert_eq!(command, expected);
    client.reply(
        id,
        Reply::Published {
            position: Position::new(1, 1),
            duplicate: false,
        },
    );
    assert!(client.heard.is_empty());

    client.send(&event("private-cache-chat"));
    let (id, command) = client.permitted.remove(0);
    let Command::Publish { tags, .. } = command else {
        panic!("{command:?}")
    };
    assert_eq!(tags.get("key"), Some(CACHE_KEY));
    client.reply(
        id,
        Reply::Refused(Refusal::new(ErrorCode::RateLimited, "slow down")),
    );
    let error = client.takes();
    assert_eq!(
        (&error["event"], &error["data"]["code"]),
        (&json!("pusher:error"), &json!(4301))
    );

    for channel in [
        "chat",
        "private-encrypted-chat",
        "private-other",
        "#server-to-user-7",
    ] {
        client.send(&event(channel));
        let error = client.takes();
        assert_eq!(
            (&error["event"], &error["data"]["code"]),
            (&json!("pusher:error"), &Value::Null)
        );
    }
    assert!(client.permitted.is_empty());
}

#[test]
fn client_events_are_refused_unless_they_are_enabled() {
    let mut client = Client::connected();
    client.subscribe("private-chat", None);
    client.heard.clear();
    let mut silent = Client::of(Settings {
        client_events: false,
        ..settings("")
    });
    silent.send(&json!({"event": "client-a", "channel": "private-chat", "data": 1}));
    let message = silent.takes()["data"]["message"].clone();
    assert!(message.as_str().unwrap().contains("pusher.client_events"));
}

#[test]
fn the_sender_of_a_client_event_is_named_in_presence_channels() {
    let mut client = Client::connected();
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    client.heard.clear();
    let by = |event: &str, channel: &str| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([9; 16]),
            user: "bob".into(),
        }),
        ..publication(channel, Some(event), "1", Format::Json)
    };
    client.deliver(&by("client-x", "presence-a"), false);
    assert_eq!(client.takes()["user_id"], "bob");
    client.deliver(&by("x", "presence-a"), false);
    assert_eq!(client.takes().get("user_id"), None);
    client.deliver(&by("client-x", "private-a"), false);
    assert_eq!(client.takes().get("user_id"), None);
}

#[test]
fn invalid_messages_are_refused() {
    let mut client = Client::connected();
    let deep = format!(
        r#"{{"event":"client-a","channel":"private-a","data":{}1{}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    for text in [
        "",
        "[]",
        "7",
        "{",
        "{}",
        r#"{"event":7}"#,
        r#"{"event":"pusher:unknown","data":{}}"#,
        r#"{"event":"event","channel":"a","data":{}}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":[]}"#,
        r#"{"event":"pusher:subscribe","data":"x"}"#,
        r#"{"event":"pusher:signin","data":{"auth":1,"user_data":2}}"#,
        r#"{"event":"client-a","data":{}}"#,
        &deep,
    ] {
        client.send_text(text);
        assert_eq!(client.takes()["event"], "pusher:error", "{text}");
    }
    let mut intents = Vec::new();
    client
        .pusher
        .receive(Incoming::Binary(b"{}"), sometime(), &mut intents);
    assert!(
        matches!(intents[..], [Intent::Refuse { .. }]),
        "{intents:?}"
    );
    // Some clients send the fields as a string.
    client.send(&json!({"event": "pusher:subscribe", "data": "{\"channel\":\"chat\"}"}));
    assert_eq!(client.asked.len(), 1);
}

#[test]
fn the_name_of_an_event_is_checked() {
    assert!(check_event("order.shipped").is_ok());
    assert!(check_event("client-typing").is_ok());
    for name in ["", "pusher:x", "pusher_internal:x", &"x".repeat(201)] {
        assert!(check_event(name).is_err());
    }
}

#[test]
fn data_is_json_if_it_is_valid_json_and_text_otherwise() {
    assert_eq!(data_of("{\"a\":1}".to_owned()).1, Format::Json);
    assert_eq!(data_of("7".to_owned()).1, Format::Json);
    assert_eq!(data_of("hello".to_owned()).1, Format::Text);
    assert_eq!(data_of(String::new()).1, Format::Text);
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(data_of(deep).1, Format::Text);
}

proptest! {
    #[test]
    fn data_arrives_as_it_was_published(text in ".{0,60}", event in "[a-z\"\\\\]{1,10}") {
        let (bytes, format) = data_of(text.clone());
        let mut client = Client::connected();
        let text_of = String::from_utf8(bytes.to_vec()).unwrap();
        client.deliver(&publication("a", Some(&event), &text_of, format), false);
        let heard = client.takes();
        prop_assert_eq!(&heard["data"], &Value::from(text));
        prop_assert_eq!(&heard["event"], &Value::from(event));
    }

    #[test]
    fn no_message_causes_a_panic_or_invalid_json(
        event in "(pusher:[a-z]{0,12}|client-[a-z]{0,5}|[a-z]{0,5})",
        data in "(\\{\"channel\":\"[a-z#-]{0,20}\"\\}|[\\[\\]{}\",0-9a-z]{0,20})",
        raw in ".{0,60}",
    ) {
        let mut client = Client::connected();
        client.send_text(&format!("{{\"event\":\"{event}\",\"channel\":\"private-a\",\"data\":{data}}}"));
        client.send_text(&raw);
        for (id, _) in std::mem::take(&mut client.asked) {
            client.reply(id, Reply::Pong);
        }
    }

    #[test]
    fn users_are_listed_once(users in proptest::collection::vec("[ab]{0,2}", 0..20)) {
        let members: Vec<_> = users
            .iter()
            .zip(0_u8..)
            .map(|(user, session)| member(session, user, ""))
            .collect();
        let named: std::collections::BTreeSet<_> = users.iter().filter(|user| !user.is_empty()).collect();
        let nameless = users.iter().filter(|user| user.is_empty()).count();
        prop_assert_eq!(users_of("", &members).len(), named.len() + nameless);
    }
}

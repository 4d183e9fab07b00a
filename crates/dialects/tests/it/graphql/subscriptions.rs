//! Subscriptions: publications, positions and gaps.

use super::*;

#[test]
fn a_subscription_selects_the_fields_of_each_publication() {
    let mut client = Client::connected();
    let query = r#"subscription S($name: String!) { m: channel(name: $name) { __typename id c: channel epoch offset
        data base64 time key tags user session at { epoch offset } } }"#;
    client.subscribe("one", query, &json!({"name": "chat"}));
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(*wish, Subscribe::new(chat(), Since::Now).numbered(1));
    let number = client.accept();
    client.deliver(
        number,
        &publication(4, r#"{"text":"grün"}"#, Format::Json),
        None,
    );
    let message = json!({"__typename": "Message", "id": "chat@17.4", "c": "chat", "epoch": "17", "offset": "4",
        "data": {"text": "grün"}, "base64": null, "time": 1_764_470_001_000_u64, "key": "k", "tags": {"lang": "de"},
        "user": "bob", "session": "02".repeat(16), "at": {"epoch": "17", "offset": "4"}});
    assert_eq!(
        client.takes(),
        json!({"type": "next", "id": "one", "payload": {"data": {"m": message}}})
    );
    for (data, format, expected) in [
        (
            "a \"text\"",
            Format::Text,
            json!({"data": "a \"text\"", "base64": null}),
        ),
        (
            "\u{1}",
            Format::Binary,
            json!({"data": null, "base64": "AQ=="}),
        ),
    ] {
        client.subscribe(
            data,
            r#"subscription { channel(name: "chat") { data base64 } }"#,
            &Value::Null,
        );
        let number = client.accept();
        client.deliver(number, &publication(5, data, format), None);
        assert_eq!(client.takes()["payload"]["data"]["channel"], expected);
    }
}

#[test]
fn a_subscription_starts_where_the_client_says() {
    let mut client = Client::connected();
    for (field, variables, expected) in [
        (
            r#"channel(name: "chat", since: {epoch: "17", offset: "4"})"#,
            Value::Null,
            Subscribe::new(chat(), Since::Position(Position::new(17, 4))),
        ),
        (
            r#"channel(name: "chat", since: $since)"#,
            json!({"since": {"epoch": "17", "offset": "4"}}),
            Subscribe::new(chat(), Since::Position(Position::new(17, 4))),
        ),
        (
            r#"channel(name: "chat", since: $since)"#,
            json!({"since": null}),
            Subscribe::new(chat(), Since::Now),
        ),
        (
            r#"channel(name: "chat", last: 5)"#,
            Value::Null,
            Subscribe::new(chat(), Since::Last(5)),
        ),
        (
            r#"filter(pattern: "a/+/b", since: $since)"#,
            json!({"since": {"epoch": "1", "offset": "2"}}),
            Subscribe::new(
                Filter::new("a/+/b").unwrap(),
                Since::Position(Position::new(1, 2)),
            ),
        ),
    ] {
        let variable = if field.contains('$') {
            "($since: Since)"
        } else {
            ""
        };
        let query = format!("subscription{variable} {{ {field} {{ data }} }}");
        client.subscribe(field, &query, &variables);
        let (_, Command::Subscribe(wish)) = &client.asked[0] else {
            panic!("{:?}", client.asked)
        };
        let number = wish.id.unwrap().0;
        assert_eq!(*wish, expected.numbered(number), "{field}");
        client.accept();
        client.send(&json!({"type": "complete", "id": field}));
        client.reply(Reply::Pong);
        assert!(client.heard.is_empty());
    }
    for (field, words) in [
        (r#"channel(name: "")"#, "name: a channel's name is empty"),
        (r#"filter(pattern: "a/b+")"#, "pattern: "),
        (
            r#"channel(name: "a", since: {epoch: "x", offset: "1"})"#,
            "since: expected the epoch and offset",
        ),
        (r#"channel(name: "a", last: -1)"#, "last: is negative"),
        (
            r#"channel(name: "a", last: 1, since: {epoch: "1", offset: "1"})"#,
            "only one of them",
        ),
    ] {
        let query = format!("subscription {{ {field} {{ data }} }}");
        let message = client.refused(&query, &Value::Null);
        assert!(message.contains(words), "{field}: {message}");
    }
}

#[test]
fn a_filter_continues_at_its_own_position() {
    let mut client = Client::connected();
    let query = "subscription { filter(pattern: \"#\") { offset at { epoch offset } } }";
    client.subscribe("f", query, &Value::Null);
    let number = client.accept();
    client.deliver(
        number,
        &publication(4, "1", Format::Json),
        Some(Position::new(9, 70)),
    );
    assert_eq!(
        client.takes()["payload"]["data"]["filter"],
        json!({"offset": "4", "at": {"epoch": "9", "offset": "70"}})
    );
}

#[test]
fn a_message_that_is_too_large_says_where_to_continue() {
    let mut client = Client::connected();
    let query = "subscription { m: channel(name: \"chat\") { data } }";
    client.subscribe("l", query, &Value::Null);
    let number = client.accept();
    let data = json!("x".repeat(1024 * 1024)).to_string();
    client.deliver(number, &publication(4, &data, Format::Json), None);
    let payload = client.takes()["payload"].take();
    assert_eq!(payload["data"], json!({"m": null}));
    let error = &payload["errors"][0];
    assert_eq!(error["path"], json!(["m"]));
    assert_eq!(
        error["extensions"],
        json!({"code": "too_large", "retry": "never", "to": {"epoch": "17", "offset": "4"}})
    );
}

#[test]
fn a_gap_is_a_result_with_an_error_before_the_next_message() {
    let mut client = Client::connected();
    client.subscribe(
        "g",
        "subscription { m: channel(name: \"chat\") { data } }",
        &Value::Null,
    );
    let number = client.accept();
    let subscription = SubscriptionName {
        target: chat().into(),
        id: Some(SubscriptionId(number)),
    };
    client.notice(&Notice::Gap {
        subscription: subscription.clone(),
        from: Position::new(17, 4),
        to: Position::new(17, 9),
        reason: GapReason::EvictedBySize,
        agreed: None,
    });
    let gap = client.takes();
    assert_eq!(gap["payload"]["data"], json!({"m": null}));
    let error = &gap["payload"]["errors"][0];
    assert_eq!(error["path"], json!(["m"]));
    assert_eq!(
        error["extensions"],
        json!({"code": "gap", "reason": "evicted_by_size", "from": {"epoch": "17", "offset": "4"}, "to": {"epoch": "17", "offset": "9"}})
    );
    client.notice(&Notice::ChannelGap {
        subscription,
        channel: chat(),
        from: Position::new(17, 4),
        to: Position::new(17, 9),
        reason: GapReason::Dropped,
    });
    assert_eq!(
        client.takes()["payload"]["errors"][0]["extensions"]["channel"],
        "chat"
    );
}

#[test]
fn an_id_can_be_used_again_as_soon_as_its_operation_is_complete() {
    let mut client = Client::connected();
    let query = "subscription { channel(name: \"chat\") { data } }";
    client.subscribe("1", query, &Value::Null);
    let first = client.accept();
    client.send(&json!({"type": "complete", "id": "1"}));
    client.subscribe("1", query, &Value::Null);
    assert_eq!(
        client.asked.remove(0).1,
        Command::Unsubscribe {
            subscription: SubscriptionKey::Id(SubscriptionId(first))
        }
    );
    let second = client.accept();
    assert_ne!(first, second);
    // What was on its way to the first is not taken for the second's.
    client.deliver(first, &publication(1, "1", Format::Json), None);
    assert!(client.heard.is_empty());
    client.deliver(second, &publication(1, "1", Format::Json), None);
    assert_eq!(client.takes()["id"], "1");
    // An operation that the server ended.
    assert_eq!(
        client.asks("{ __typename }"),
        json!({"data": {"__typename": "Query"}})
    );
    assert_eq!(
        client.asks("{ __typename }"),
        json!({"data": {"__typename": "Query"}})
    );
    client.refused("{", &Value::Null);
    client.refused("{", &Value::Null);
    // An unknown id may be one whose operation has just ended.
    client.send(&json!({"type": "complete", "id": "other"}));
    assert!(client.closed.is_none());
}

#[test]
fn a_subscription_that_is_refused_or_ends_is_an_error() {
    let mut client = Client::connected();
    let query = "subscription { channel(name: \"chat\") { data } }";
    client.subscribe("1", query, &Value::Null);
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::Forbidden,
        "ann may not",
    )));
    let error = client.takes();
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("1"))
    );
    assert_eq!(
        error["payload"][0]["extensions"],
        json!({"code": "forbidden", "retry": "never"})
    );
    client.subscribe("1", query, &Value::Null);
    let number = client.accept();
    client.notice(&Notice::Unsubscribed {
        subscription: SubscriptionName {
            target: chat().into(),
            id: Some(SubscriptionId(number)),
        },
        refusal: Refusal::new(ErrorCode::Forbidden, "no longer"),
    });
    assert_eq!(client.takes()["payload"][0]["message"], "no longer");
    client.subscribe("1", query, &Value::Null);
    client.accept();
    assert!(client.heard.is_empty() && client.closed.is_none());
}

#[test]
fn presence_is_a_list_and_then_changes() {
    let mut client = Client::connected();
    let query = "subscription { presence(channel: \"chat\") { event channel member { session user info } members { user } total } }";
    client.subscribe("p", query, &Value::Null);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked)
    };
    assert!(wish.presence && wish.members);
    let number = client.accept();
    let member = Arc::new(Member {
        session: SessionId::from_bytes([3; 16]),
        user: "eve".into(),
        info: r#"{"n":1}"#.into(),
    });
    client.notice(&Notice::Reply {
        id: None,
        reply: Reply::Members {
            channel: chat(),
            subscription: Some(SubscriptionId(number)),
            members: vec![Arc::clone(&member)],
            total: 1,
        },
    });
    assert_eq!(
        client.takes()["payload"]["data"]["presence"],
        json!({"event": "MEMBERS", "channel": "chat", "member": null, "members": [{"user": "eve"}], "total": 1})
    );
    let change = PresenceChange {
        channel: chat(),
        member,
        joined: false,
        user_sessions: 0,
    };
    let mut shared = offhook_dialects::Shared::whole(String::new());
    shared.change = Some(Arc::new(change));
    let recipient = Recipient {
        subscription: Some(SubscriptionId(number)),
        ..Recipient::PLAIN
    };
    let Head::Whole(message) = client.dialect.head(&recipient, &shared) else {
        panic!("a message")
    };
    client.hear(vec![message]);
    assert_eq!(
        client.takes()["payload"]["data"]["presence"],
        json!({"event": "LEAVE", "channel": "chat", "member": {"session": "03".repeat(16), "user": "eve", "info": {"n": 1}}, "members": null, "total": null})
    );
    // It gets no publications.
    client.deliver(number, &publication(1, "1", Format::Json), None);
    assert!(client.heard.is_empty());
}

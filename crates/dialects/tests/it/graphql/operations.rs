//! Queries, mutations and requests over HTTP.

use super::*;

#[test]
fn the_fields_of_a_query_are_answered_together_whatever_their_order() {
    let mut client = Client::connected();
    let query = r#"query Q($limit: Int = 2, $with: Boolean!) {
        a: history(channel: "chat", limit: $limit) { epoch offset gap more messages { ...M } }
        presence(channel: "chat") @include(if: $with) { total members { session user info } }
        state(channel: "chat") { offset more messages { ...M } }
        h: history(channel: "chat", before: {epoch: "17", offset: "3"}) { more }
        skipped: presence(channel: "chat") @skip(if: $with) { total }
    }
    fragment M on Message { data ... on Message { offset } ... @include(if: true) { offset key } }"#;
    client.subscribe("q", query, &json!({"with": true}));
    let commands: Vec<_> = client
        .asked
        .iter()
        .map(|(_, command)| command.clone())
        .collect();
    assert_eq!(
        commands,
        [
            Command::History {
                channel: chat(),
                since: Since::Last(2),
                limit: 2
            },
            Command::Presence { channel: chat() },
            Command::State {
                channel: chat(),
                after: None,
                limit: 100
            },
            Command::HistoryBefore {
                channel: chat(),
                before: Position::new(17, 3),
                limit: 100
            },
        ]
    );
    // The last comes first, and one is refused.
    let (before, _) = client.asked.pop().unwrap();
    client.notice(&Notice::Reply {
        id: Some(before),
        reply: Reply::Refused(Refusal::new(ErrorCode::NoHistory, "chat keeps none")),
    });
    client.reply(Reply::History {
        channel: chat(),
        head: Position::new(17, 4),
        publications: vec![Arc::new(publication(4, "[1]", Format::Json))],
        gap: Some(GapReason::EvictedByAge),
        more: false,
    });
    client.reply(Reply::Members {
        channel: chat(),
        subscription: None,
        members: Vec::new(),
        total: 0,
    });
    assert!(client.heard.is_empty());
    client.reply(Reply::State {
        channel: chat(),
        head: Position::new(17, 4),
        values: Vec::new(),
        more: true,
    });
    let result = client.result();
    assert_eq!(
        result["data"],
        json!({
            "a": {"epoch": "17", "offset": "4", "gap": "evicted_by_age", "more": false,
                "messages": [{"data": [1], "offset": "4", "key": "k"}]},
            "presence": {"total": 0, "members": []},
            "state": {"offset": "4", "more": true, "messages": []},
            "h": null,
        })
    );
    assert_eq!(
        result["errors"],
        json!([{"message": "chat keeps none", "locations": [{"line": 5, "column": 9}], "path": ["h"],
            "extensions": {"code": "no_history", "retry": "never"}}])
    );
}

#[test]
fn the_fields_of_a_mutation_are_executed_one_after_the_other() {
    let mut client = Client::connected();
    let query = r#"mutation($text: String!, $data: JSON!) {
        one: publish(channel: "chat", data: {text: $text, n: [1, 2.50, true, null]}, key: "k", tags: {lang: "de"}) { epoch offset duplicate }
        two: publish(channel: "chat", data: $data) { offset }
        three: publish(channel: "", data: 1) { offset }
    }"#;
    client.subscribe("m", query, &json!({"text": "grün", "data": {"n": 1.10}}));
    let publish = |data: &str, key: Option<&str>, tags: &[(&str, &str)]| Command::Publish {
        channel: chat(),
        data: data.to_owned().into(),
        format: Format::Json,
        tags: Tags::new(tags.iter().copied()).unwrap(),
        key: key.map(|key| Key::new(key).unwrap()),
    };
    assert_eq!(client.asked.len(), 1);
    assert_eq!(
        client.asked[0].1,
        publish(
            r#"{"text":"grün","n":[1,2.50,true,null]}"#,
            Some("k"),
            &[("lang", "de")]
        )
    );
    client.reply(Reply::Published {
        position: Position::new(17, 1),
        duplicate: true,
    });
    assert_eq!(client.asked.len(), 1);
    assert_eq!(client.asked[0].1, publish(r#"{"n":1.1}"#, None, &[]));
    client.reply(Reply::Published {
        position: Position::new(17, 2),
        duplicate: false,
    });
    let result = client.result();
    assert_eq!(
        result["data"],
        json!({"one": {"epoch": "17", "offset": "1", "duplicate": true}, "two": {"offset": "2"}, "three": null})
    );
    assert_eq!(result["errors"][0]["path"], json!(["three"]));
    assert_eq!(
        result["errors"][0]["extensions"]["code"],
        "bad_channel_name"
    );
}

#[test]
fn data_that_a_variable_gives_is_published_as_it_was_written() {
    let mut client = Client::connected();
    let data = r#"{"n":1.10,"big":12345678901234567890123,"text":"\u00fc"}"#;
    client.say(&format!(
        r#"{{"id":"1","type":"subscribe","payload":{{"query":"mutation($d: JSON!) {{ publish(channel: \"chat\", data: $d) {{ offset }} }}","variables":{{"d":{data}}}}}}}"#
    ));
    let (
        _,
        Command::Publish {
            data: published, ..
        },
    ) = &client.asked[0]
    else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(&published[..], data.as_bytes());
}

#[test]
fn channels_are_listed_once_the_request_has_counted() {
    let mut client = Client::connected();
    let query =
        "{ channels(prefix: \"a\", after: \"ab\", limit: 5) { next channels { name members } } }";
    client.subscribe("l", query, &Value::Null);
    assert_eq!(client.asked[0].1, Command::Ping);
    assert!(client.listings.is_empty());
    client.reply(Reply::Pong);
    let (id, prefix, after, limit) = client.listings.remove(0);
    assert_eq!((&*prefix, after.as_deref(), limit), ("a", Some("ab"), 5));
    let mut out = Vec::new();
    let secret = ChannelName::new("secret").unwrap();
    client.dialect.channels(
        id,
        &[(chat(), Some(3)), (secret, None)],
        Some("chat"),
        &mut out,
    );
    client.hear(out);
    assert_eq!(
        client.result(),
        json!({"data": {"channels": {"next": "chat", "channels": [
            {"name": "chat", "members": 3}, {"name": "secret", "members": null}]}}})
    );
    client.subscribe("l", query, &Value::Null);
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::RateLimited,
        "slowly",
    )));
    assert!(client.listings.is_empty());
    assert_eq!(
        client.result()["errors"][0]["extensions"]["code"],
        "rate_limited"
    );
}

#[test]
fn the_introspection_of_stock_tools_is_answered_in_full() {
    let mut client = Client::connected();
    let result = client.asks(INTROSPECTION);
    assert_eq!(result.get("errors"), None);
    let schema = &result["data"]["__schema"];
    assert_eq!(
        schema["queryType"],
        json!({"name": "Query", "kind": "OBJECT"})
    );
    let types = schema["types"].as_array().unwrap();
    let find = |name: &str| types.iter().find(|one| one["name"] == name).unwrap();
    let channel = &find("Subscription")["fields"][0];
    assert_eq!(channel["name"], "channel");
    assert_eq!(channel["type"]["name"], "Message");
    assert_eq!(
        channel["args"][0]["type"],
        json!({"kind": "NON_NULL", "name": null, "ofType": {"kind": "SCALAR", "name": "String", "ofType": null}})
    );
    assert_eq!(find("Query")["fields"][0]["args"][3]["defaultValue"], "100");
    assert_eq!(find("Since")["inputFields"].as_array().unwrap().len(), 2);
    assert_eq!(find("PresenceEvent")["enumValues"][1]["name"], "JOIN");
    assert_eq!(find("JSON")["fields"], Value::Null);
    // Every type that is named is there.
    fn names(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("ofType")
                    && let Some(name) = fields["name"].as_str()
                {
                    found.push(name.to_owned());
                }
                fields.values().for_each(|value| names(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let mut named = Vec::new();
    names(schema, &mut named);
    assert!(named.len() > 100);
    named.iter().for_each(|name| {
        find(name);
    });
    let one = client.asks(
        r#"{ __type(name: "Place") { name fields { name } } none: __type(name: "X") { name } }"#,
    );
    assert_eq!(
        one["data"],
        json!({"__type": {"name": "Place", "fields": [{"name": "epoch"}, {"name": "offset"}]}, "none": null})
    );
}

#[test]
fn the_schema_is_not_shown_if_the_operator_does_not_want_that() {
    let settings = Settings {
        introspection: false,
        ..SETTINGS
    };
    let refused = Once::post(r#"{"query":"{ __schema { description } }"}"#, &settings).unwrap_err();
    let Unexecuted::Document(body) = refused else {
        panic!("{refused:?}")
    };
    assert!(body.contains("graphql.introspection"), "{body}");
    assert!(Once::post(r#"{"query":"{ __typename }"}"#, &settings).is_ok());
}

#[test]
fn an_operation_is_chosen_by_its_name() {
    let document = "query A { __typename } mutation B { __typename }";
    for (name, expected) in [("A", "Query"), ("B", "Mutation")] {
        let mut client = Client::connected();
        let payload = json!({"query": document, "operationName": name});
        client.send(&json!({"type": "subscribe", "id": "1", "payload": payload}));
        client.reply(Reply::Pong);
        assert_eq!(client.result()["data"]["__typename"], expected);
    }
    let mut client = Client::connected();
    assert!(
        client
            .refused(document, &Value::Null)
            .contains("operationName")
    );
    let payload = json!({"query": document, "operationName": "C"});
    client.send(&json!({"type": "subscribe", "id": "1", "payload": payload}));
    assert!(
        client.takes()["payload"][0]["message"]
            .as_str()
            .unwrap()
            .contains("no operation named \"C\"")
    );
}

#[test]
fn a_request_over_http_has_one_answer() {
    let published = |offset| Reply::Published {
        position: Position::new(1, offset),
        duplicate: false,
    };
    let mutation = "mutation { a: publish(channel: \"chat\", data: 1) { offset } b: publish(channel: \"chat\", data: 2) { offset } }";
    assert_eq!(
        posted(
            &json!({"query": mutation}),
            vec![published(1), published(2)]
        ),
        json!({"data": {"a": {"offset": "1"}, "b": {"offset": "2"}}})
    );
    let batch = json!([
        {"query": "{ __typename }"},
        {"query": "{ nothing }"},
        {"query": mutation},
        7,
        {"query": "subscription { channel(name: \"chat\") { id } }"},
    ]);
    let answers = posted(&batch, vec![Reply::Pong, published(1), published(2)]);
    assert_eq!(answers[0], json!({"data": {"__typename": "Query"}}));
    assert!(
        answers[1]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("Query has no field \"nothing\"")
    );
    assert_eq!(answers[2]["data"]["b"]["offset"], "2");
    assert!(
        answers[3]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("not a JSON object")
    );
    assert!(
        answers[4]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("needs a WebSocket")
    );
}

#[test]
fn a_request_over_http_that_is_none_is_not_executed() {
    for (body, expected) in [
        ("", "not a JSON object"),
        ("{", "not JSON"),
        ("7", "not a JSON object"),
        ("{}", "query: is missing"),
        ("[]", "the batch has 0 operations"),
        ("[1", "the batch is not JSON"),
        (r#"{"query":null}"#, "query: expected text"),
        (r#"{"query":"{a}","variables":7}"#, "variables: expected"),
    ] {
        let Err(Unexecuted::Request(answer)) = Once::post(body, &SETTINGS) else {
            panic!("{body}")
        };
        assert!(answer.contains(expected), "{body}: {answer}");
    }
    let many = format!("[{}]", vec!["1"; 100_000].join(","));
    let Err(Unexecuted::Request(answer)) = Once::post(&many, &SETTINGS) else {
        panic!("it is too many")
    };
    assert!(answer.contains("100000 operations; 1 to 16"), "{answer}");
    let Err(Unexecuted::Batch(answer)) = Once::post("[1,2]", &SETTINGS) else {
        panic!("both are wrong")
    };
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&answer).unwrap().len(),
        2
    );
    let get = |query, variables| Once::get(query, None, variables, None, &SETTINGS);
    assert!(get(Some("{ __typename }"), None).is_ok());
    let typed = Some("query($n: String!) { __type(name: $n) { name } }");
    assert!(get(typed, Some(r#"{"n":"X"}"#)).is_ok());
    assert!(matches!(get(typed, None), Err(Unexecuted::Document(_))));
    assert!(matches!(get(typed, Some("[")), Err(Unexecuted::Request(_))));
    assert!(matches!(get(None, None), Err(Unexecuted::Request(_))));
    assert!(matches!(
        get(Some("mutation { __typename }"), None),
        Err(Unexecuted::Mutation(_))
    ));
}

#[test]
fn a_session_that_is_refused_is_the_answer_with_its_status() {
    for (code, status) in [
        (ErrorCode::Unauthenticated, 401),
        (ErrorCode::Rejected, 403),
        (ErrorCode::Busy, 503),
        (ErrorCode::RateLimited, 429),
    ] {
        let mut once = Once::post(r#"[{"query":"{ __typename }"},1]"#, &SETTINGS).unwrap();
        let mut intents = Vec::new();
        once.receive(Incoming::Text(""), sometime(), &mut intents);
        let Intent::Connect(connect) = &intents[0] else {
            panic!("{intents:?}")
        };
        let mut out = Vec::new();
        once.refused(Some(connect.id), &Refusal::new(code, "no"), &mut out);
        let [Payload::Text(text)] = &*out else {
            panic!("{out:?}")
        };
        assert_eq!(status_of(text), status, "{text}");
        assert!(matches!(
            once.poll_intent(),
            Some(Intent::Close { code: 1000, .. })
        ));
    }
}

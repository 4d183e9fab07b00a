//! GraphQL over real sockets and requests, together with native clients in the same channels.

use std::time::Duration;

use offhook::WebSocket;
use offhook_server::Config;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    authentication::granted,
    hall::{Hall, NEVER, config, with_connections},
    issuer::{of, token, with_tokens},
};

pub(crate) async fn dial(hall: &Hall) -> WebSocket {
    let connect = hall.number_at("/graphql");
    connect
        .subprotocol("graphql-transport-ws")
        .open()
        .await
        .unwrap()
}

pub(crate) async fn send(socket: &mut WebSocket, message: Value) {
    socket.send(message.to_string()).await.unwrap();
}

pub(crate) async fn next(socket: &mut WebSocket) -> Value {
    let message = timeout(NEVER, socket.recv()).await.unwrap().unwrap();
    let message = message.expect("the connection is open");
    serde_json::from_str(message.as_text().unwrap()).unwrap()
}

/// The code with which the server closes the connection.
async fn closed(socket: &mut WebSocket) -> u16 {
    while let Ok(Some(_)) = timeout(NEVER, socket.recv()).await.unwrap() {}
    socket.closed().unwrap().code.get()
}

/// A connection that is acknowledged.
pub(crate) async fn open(hall: &Hall, payload: Value) -> WebSocket {
    let mut socket = dial(hall).await;
    send(
        &mut socket,
        json!({"type": "connection_init", "payload": payload}),
    )
    .await;
    assert_eq!(next(&mut socket).await["type"], "connection_ack");
    socket
}

pub(crate) async fn subscribe(socket: &mut WebSocket, id: &str, query: &str, variables: Value) {
    let payload = json!({"query": query, "variables": variables});
    send(
        socket,
        json!({"type": "subscribe", "id": id, "payload": payload}),
    )
    .await;
}

/// The result of a query or a mutation; other operations may send something before it.
pub(crate) async fn ask(socket: &mut WebSocket, query: &str) -> Value {
    subscribe(socket, "ask", query, Value::Null).await;
    loop {
        let message = next(socket).await;
        if message["id"] == "ask" {
            assert_eq!(message["type"], "next", "{message}");
            assert_eq!(next(socket).await, json!({"type": "complete", "id": "ask"}));
            return message["payload"].clone();
        }
    }
}

/// The next message of a subscription to a channel.
async fn heard(socket: &mut WebSocket) -> Value {
    let message = next(socket).await;
    assert_eq!(message["type"], "next", "{message}");
    message["payload"]["data"]["channel"].clone()
}

/// A request over HTTP: status, head in lower case, and body.
pub(crate) async fn request(
    hall: &Hall,
    method: &str,
    path: &str,
    fields: &str,
    body: &str,
) -> (u16, String, Value) {
    let (length, host) = (body.len(), hall.address());
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    let (status, head, body) = hall.raw(&request).await;
    (
        status,
        head,
        serde_json::from_str(&body).unwrap_or(Value::Null),
    )
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

async fn post(hall: &Hall, fields: &str, query: &str) -> (u16, String, Value) {
    let fields = format!("{JSON}{fields}");
    request(
        hall,
        "POST",
        "/graphql",
        &fields,
        &json!({ "query": query }).to_string(),
    )
    .await
}

const CHAT: &str = "subscription($since: Since) { channel(name: \"chat\", since: $since) { data offset at { epoch offset } } }";

#[tokio::test(flavor = "multi_thread")]
async fn graphql_and_native_clients_exchange_messages_in_one_channel() {
    let hall = Hall::open(config()).await;
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    let mut socket = open(&hall, Value::Null).await;
    subscribe(&mut socket, "s", CHAT, Value::Null).await;
    let published =
        "mutation { publish(channel: \"chat\", data: {from: \"graphql\"}) { offset duplicate } }";
    subscribe(&mut socket, "m", published, Value::Null).await;
    let (mut own, mut answer) = (Value::Null, Value::Null);
    while own.is_null() || answer.is_null() {
        let message = next(&mut socket).await;
        match (message["id"].as_str(), message["type"].as_str()) {
            (Some("s"), Some("next")) => own = message["payload"]["data"]["channel"].clone(),
            (Some("m"), Some("next")) => answer = message["payload"].clone(),
            _ => {}
        }
    }
    assert_eq!(own["data"], json!({"from": "graphql"}));
    assert_eq!(
        answer,
        json!({"data": {"publish": {"offset": "1", "duplicate": false}}})
    );
    assert_eq!(
        native.hear_a("message").await["data"],
        json!({"from": "graphql"})
    );
    let other = open(&hall, Value::Null).await;
    drop(other);
    native.publish("chat", json!("from native")).await;
    let message = loop {
        let message = next(&mut socket).await;
        if message["id"] == "s" {
            break message;
        }
    };
    assert_eq!(message["payload"]["data"]["channel"]["data"], "from native");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graphql_subscription_continues_from_its_position_on_another_connection() {
    let hall = Hall::open(config()).await;
    let mut first = open(&hall, Value::Null).await;
    let head = ask(
        &mut first,
        "{ history(channel: \"chat\", limit: 0) { epoch offset messages { id } } }",
    )
    .await;
    let head = &head["data"]["history"];
    assert_eq!(head["messages"], json!([]));
    drop(first);
    let mut publisher = hall.caller().await;
    for n in 0..10 {
        publisher.publish("chat", json!(n)).await;
    }
    let since = json!({"since": {"epoch": head["epoch"], "offset": head["offset"]}});
    let mut second = open(&hall, Value::Null).await;
    subscribe(&mut second, "s", CHAT, since).await;
    let mut last = Value::Null;
    for n in 0..5 {
        last = heard(&mut second).await;
        assert_eq!(last["data"], n);
    }
    drop(second);
    let mut third = open(&hall, Value::Null).await;
    subscribe(&mut third, "s", CHAT, json!({"since": last["at"]})).await;
    for n in 5..10 {
        assert_eq!(heard(&mut third).await["data"], n);
    }
    // A position that the server never gave is announced.
    let since = json!({"since": {"epoch": "1", "offset": "1"}});
    subscribe(&mut third, "t", CHAT, since).await;
    let gap = next(&mut third).await;
    assert_eq!(
        gap["payload"]["errors"][0]["extensions"]["code"], "gap",
        "{gap}"
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_receives_every_channel_that_matches() {
    let hall = Hall::open(config()).await;
    let mut socket = open(&hall, Value::Null).await;
    let query = "subscription { filter(pattern: \"chat/+\") { channel data at { epoch offset } } }";
    subscribe(&mut socket, "f", query, Value::Null).await;
    // Answered after the subscription began.
    assert_eq!(
        ask(&mut socket, "{ __typename }").await["data"]["__typename"],
        "Query"
    );
    let mut native = hall.caller().await;
    for channel in ["chat/a", "chat/b", "chat/a"] {
        native.publish(channel, json!(channel)).await;
    }
    let mut at = Value::Null;
    for channel in ["chat/a", "chat/b", "chat/a"] {
        let message = next(&mut socket).await["payload"]["data"]["filter"].clone();
        assert_eq!(
            (&message["channel"], &message["data"]),
            (&json!(channel), &json!(channel))
        );
        assert_ne!(message["at"], at);
        at = message["at"].clone();
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_told_to_graphql_clients() {
    let hall = Hall::open(config()).await;
    let mut socket = open(&hall, json!({"info": {"name": "Ann"}})).await;
    let query = "subscription { presence(channel: \"chat\") { event total members { info } member { session info } } }";
    subscribe(&mut socket, "p", query, Value::Null).await;
    let mut events = Vec::new();
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    while !events.iter().any(|event: &Value| {
        event["event"] == "JOIN" && event["member"]["session"] == native.session
    }) {
        let message = next(&mut socket).await;
        events.push(message["payload"]["data"]["presence"].clone());
    }
    assert!(
        events.iter().any(|event| event["event"] == "MEMBERS"),
        "{events:?}"
    );
    let found = ask(
        &mut socket,
        "{ presence(channel: \"chat\") { total members { info } } }",
    )
    .await;
    assert_eq!(found["data"]["presence"]["total"], 2);
    let infos = found["data"]["presence"]["members"].to_string();
    assert!(infos.contains(r#"{"name":"Ann"}"#), "{infos}");
    let found = ask(&mut socket, "{ channels { channels { name members } } }").await;
    assert_eq!(
        found["data"]["channels"]["channels"],
        json!([{"name": "chat", "members": 2}])
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_channels_that_a_client_may_read_are_listed() {
    let hall = Hall::open(with_tokens(|auth| auth.anonymous = Some(true))).await;
    let mut ann = open(&hall, json!({"token": of("ann")})).await;
    for (id, channel) in [("1", "chat/a"), ("2", "chat/b"), ("3", "silent/x")] {
        let query = format!("subscription {{ channel(name: \"{channel}\") {{ id }} }}");
        subscribe(&mut ann, id, &query, Value::Null).await;
    }
    let list = "{ channels { next channels { name } } page: channels(prefix: \"chat\", limit: 1) { next channels { name } } }";
    // The subscriptions may begin after the first answers.
    let found = loop {
        let found = ask(&mut ann, list).await;
        if found["data"]["channels"]["channels"]
            .as_array()
            .map(Vec::len)
            == Some(3)
        {
            break found;
        }
    };
    assert_eq!(
        found["data"]["channels"],
        json!({"next": null, "channels": [{"name": "chat/a"}, {"name": "chat/b"}, {"name": "silent/x"}]})
    );
    assert_eq!(
        found["data"]["page"],
        json!({"next": "chat/a", "channels": [{"name": "chat/a"}]})
    );
    let mut anonymous = open(&hall, Value::Null).await;
    let found = ask(&mut anonymous, "{ channels { channels { name } } }").await;
    assert_eq!(
        found["data"]["channels"]["channels"],
        json!([{"name": "chat/a"}, {"name": "chat/b"}])
    );
    let (_, _, found) = post(
        &hall,
        "",
        "{ channels(after: \"chat/a\") { channels { name } } }",
    )
    .await;
    assert_eq!(
        found["data"]["channels"]["channels"],
        json!([{"name": "chat/b"}])
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_listed_channels_are_counted_only_for_clients_that_may_ask_for_them() {
    let hall = Hall::open(granted(with_tokens(|_| {}))).await;
    let with = |verbs: &str| token(json!({"sub": "ann", "grants": {"private/news": verbs}}));
    let list = "{ channels(prefix: \"private/\") { channels { name members } } }";
    let mut ann = open(&hall, json!({"token": with("subscribe+presence")})).await;
    let query = "subscription { channel(name: \"private/news\") { id } }";
    subscribe(&mut ann, "s", query, Value::Null).await;
    // The subscription may begin after the first answers.
    let found = loop {
        let found = ask(&mut ann, list).await;
        if found["data"]["channels"]["channels"] != json!([]) {
            break found;
        }
    };
    let channels = &found["data"]["channels"]["channels"];
    assert_eq!(channels[0]["name"], "private/news");
    assert!(channels[0]["members"].is_u64(), "{found}");
    let mut other = open(&hall, json!({"token": with("subscribe")})).await;
    let found = ask(&mut other, list).await;
    let channels = &found["data"]["channels"]["channels"];
    assert_eq!(
        *channels,
        json!([{"name": "private/news", "members": null}])
    );
    let refused = ask(
        &mut other,
        "{ presence(channel: \"private/news\") { total } }",
    )
    .await;
    assert_eq!(refused["errors"][0]["extensions"]["code"], "forbidden");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_first_message_is_the_identity() {
    let hall = Hall::open(with_tokens(|auth| auth.anonymous = Some(false))).await;
    for payload in [
        Value::Null,
        json!({"token": "x"}),
        json!({"authorization": "Bearer x"}),
    ] {
        let mut socket = dial(&hall).await;
        send(
            &mut socket,
            json!({"type": "connection_init", "payload": payload}),
        )
        .await;
        assert_eq!(closed(&mut socket).await, 4403, "{payload}");
    }
    let token = of("ann");
    for payload in [
        json!({"token": token}),
        json!({"authorization": format!("Bearer {token}")}),
    ] {
        let mut socket = open(&hall, payload).await;
        ask(
            &mut socket,
            "mutation { publish(channel: \"chat\", data: 1) { offset } }",
        )
        .await;
        let found = ask(
            &mut socket,
            "{ history(channel: \"chat\", limit: 1) { messages { user } } }",
        )
        .await;
        assert_eq!(
            found["data"]["history"]["messages"],
            json!([{"user": "ann"}])
        );
    }
    assert_eq!(post(&hall, "", "{ __typename }").await.0, 401);
    assert_eq!(
        post(&hall, "Authorization: Bearer x\r\n", "{ __typename }")
            .await
            .0,
        401
    );
    let fields = format!("Authorization: Bearer {token}\r\n");
    let (status, _, answer) = post(
        &hall,
        &fields,
        "mutation { publish(channel: \"silent/x\", data: 1) { offset } }",
    )
    .await;
    assert_eq!((status, &answer["data"]), (200, &json!({"publish": null})));
    let error = &answer["errors"][0];
    assert_eq!(error["extensions"]["code"], "forbidden");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("ann may not publish"),
        "{error}"
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_begin_in_time_is_closed_with_4408() {
    let hall = Hall::open(with_connections(|connections| {
        connections.connect_timeout = Duration::from_millis(50);
    }))
    .await;
    let mut socket = dial(&hall).await;
    assert_eq!(closed(&mut socket).await, 4408);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn violations_close_with_the_codes_of_the_protocol() {
    let hall = Hall::open(config()).await;
    let init = json!({"type": "connection_init"});
    let subscribe = json!({"type": "subscribe", "id": "1", "payload": {"query": CHAT}});
    for (messages, code) in [
        (vec![subscribe.clone()], 4401),
        (vec![init.clone(), init.clone()], 4429),
        (vec![init.clone(), subscribe.clone(), subscribe], 4409),
        (vec![json!("x")], 4400),
        (vec![init, json!({"type": "x"})], 4400),
    ] {
        let mut socket = dial(&hall).await;
        for message in &messages {
            send(&mut socket, message.clone()).await;
        }
        assert_eq!(closed(&mut socket).await, code, "{messages:?}");
    }
    let mut socket = open(&hall, Value::Null).await;
    socket.send(b"binary".to_vec()).await.unwrap();
    assert_eq!(closed(&mut socket).await, 4400);
    let offered = hall
        .number_at("/graphql")
        .subprotocol("graphql-ws")
        .open()
        .await;
    assert!(offered.is_err());
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_closes_with_a_code_after_which_clients_return() {
    let hall = Hall::open(Config {
        drain: Duration::from_millis(20),
        ..config()
    })
    .await;
    let mut socket = open(&hall, Value::Null).await;
    let mut early = dial(&hall).await;
    let (code, before, ()) = tokio::join!(closed(&mut socket), closed(&mut early), hall.close());
    assert_eq!((code, before), (1012, 1012));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_used_again_and_thousands_of_operations_end() {
    let hall = Hall::open(config()).await;
    let mut socket = open(&hall, Value::Null).await;
    for round in 0..500 {
        subscribe(&mut socket, "same", CHAT, Value::Null).await;
        send(&mut socket, json!({"type": "complete", "id": "same"})).await;
        if round % 100 == 0 {
            assert!(ask(&mut socket, "{ __schema { description } }").await["data"].is_object());
        }
    }
    subscribe(&mut socket, "same", CHAT, Value::Null).await;
    // Answered after the subscription began.
    ask(&mut socket, "{ __typename }").await;
    let published = post(
        &hall,
        "",
        "mutation { publish(channel: \"chat\", data: \"last\") { offset } }",
    )
    .await;
    assert_eq!(published.2["data"]["publish"]["offset"], "1");
    assert_eq!(heard(&mut socket).await["data"], "last");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_have_the_statuses_of_graphql_over_http() {
    let hall = Hall::open(config()).await;
    let newer = "Accept: application/json;q=0.5, application/graphql-response+json\r\n";
    for (query, fields, status, kind) in [
        ("{ __typename }", "", 200, "application/json"),
        (
            "{ __typename }",
            newer,
            200,
            "application/graphql-response+json",
        ),
        ("{", "", 200, "application/json"),
        ("{", newer, 400, "application/graphql-response+json"),
        ("{ nothing }", "", 200, "application/json"),
        (
            "{ nothing }",
            newer,
            400,
            "application/graphql-response+json",
        ),
        (
            "{ presence(channel: \"\") { total } }",
            newer,
            200,
            "application/graphql-response+json",
        ),
        (
            "subscription { channel(name: \"chat\") { id } }",
            newer,
            400,
            "application/graphql-response+json",
        ),
    ] {
        let (found, head, answer) = post(&hall, fields, query).await;
        assert_eq!(found, status, "{query}: {answer}");
        assert!(
            head.contains(&format!("content-type: {kind}; charset=utf-8")),
            "{head}"
        );
        assert_eq!(
            answer.get("data").is_some(),
            status == 200 && query.contains("__typename") || query.contains("presence"),
            "{answer}"
        );
    }
    for (body, fields, status) in [
        ("{", JSON, 400),
        ("{}", JSON, 400),
        ("", JSON, 400),
        (r#"{"query":7}"#, JSON, 400),
        (r#"{"query":"{ __typename }"}"#, "", 415),
        (
            r#"{"query":"{ __typename }"}"#,
            "Content-Type: text/plain\r\n",
            415,
        ),
    ] {
        let (found, _, answer) = request(&hall, "POST", "/graphql", fields, body).await;
        assert_eq!(found, status, "{body}: {answer}");
    }
    for (target, status) in [
        ("/graphql?query=%7B__typename%7D", 200),
        (
            "/graphql?query=query(%24n%3AString!)%7B__type(name%3A%24n)%7Bname%7D%7D&variables=%7B%22n%22%3A%22Place%22%7D",
            200,
        ),
        ("/graphql", 400),
        ("/graphql?query=mutation%7B__typename%7D", 405),
        ("/graphql?query=%7B__typename%7D&query=x", 400),
    ] {
        let (found, head, answer) = request(&hall, "GET", target, "", "").await;
        assert_eq!(found, status, "{target}: {answer}");
        assert_eq!(status == 405, head.contains("\r\nallow: post"), "{head}");
    }
    let (status, head, _) = request(&hall, "DELETE", "/graphql", "", "").await;
    assert_eq!((status, head.contains("allow: get, post")), (405, true));
    let large = format!("{{\"query\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(
        request(&hall, "POST", "/graphql", JSON, &large).await.0,
        413
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_may_not_connect_are_refused_and_others_may_ask_first() {
    let hall = Hall::open(config()).await;
    let other = "Origin: https://other.example\r\n";
    let (status, head, _) = post(&hall, other, "{ __typename }").await;
    assert_eq!(status, 403, "{head}");
    let own = format!(
        "Origin: http://{}\r\nAccess-Control-Request-Method: POST\r\n",
        hall.address()
    );
    let (status, head, _) = request(&hall, "OPTIONS", "/graphql", &own, "").await;
    assert_eq!(status, 204);
    assert!(
        head.contains("access-control-allow-methods: get, post"),
        "{head}"
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_in_order() {
    let hall = Hall::open(config()).await;
    let publish = |n: u64| json!({"query": format!("mutation {{ publish(channel: \"chat\", data: {n}) {{ offset }} }}")});
    let batch = json!([publish(1), {"query": "{"}, publish(2), {"query": "{ history(channel: \"other\") { more } }"}]);
    let (status, _, answers) = request(&hall, "POST", "/graphql", JSON, &batch.to_string()).await;
    assert_eq!(status, 200);
    assert_eq!(answers.as_array().unwrap().len(), 4, "{answers}");
    assert_eq!(answers[0]["data"]["publish"]["offset"], "1");
    assert_eq!(answers[2]["data"]["publish"]["offset"], "2");
    assert_eq!(
        answers[3]["errors"][0]["extensions"]["code"],
        "unknown_channel"
    );
    let many = Value::from(vec![publish(1); 17]);
    assert_eq!(
        request(&hall, "POST", "/graphql", JSON, &many.to_string())
            .await
            .0,
        400
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn graphql_can_be_turned_off() {
    let mut config = config();
    config.graphql.enabled = false;
    let hall = Hall::open(config).await;
    let connect = hall
        .number_at("/graphql")
        .subprotocol("graphql-transport-ws");
    assert!(connect.open().await.is_err());
    assert_eq!(hall.get("/graphql?query=%7B__typename%7D").await.0, 404);
    hall.close().await;
}

//! JSON-RPC over a real socket, together with a native client in the same channel.

use offhook::WebSocket;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    hall::{Hall, NEVER, config},
    issuer::{of, with_tokens},
};

async fn open(hall: &Hall) -> WebSocket {
    hall.number_at("/rpc").open().await.unwrap()
}

async fn next(socket: &mut WebSocket) -> Value {
    let message = timeout(NEVER, socket.recv()).await.unwrap().unwrap();
    let message = message.expect("the connection is open");
    serde_json::from_str(message.as_text().unwrap()).unwrap()
}

async fn ask(socket: &mut WebSocket, id: u64, method: &str, params: Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    socket.send(request.to_string()).await.unwrap();
    loop {
        let message = next(socket).await;
        if message["id"] == id {
            return message["result"].clone();
        }
    }
}

/// The next notification of a method.
async fn told(socket: &mut WebSocket, method: &str) -> Value {
    loop {
        let message = next(socket).await;
        if message["method"] == method {
            return message["params"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_rpc_and_native_clients_exchange_messages_in_one_channel() {
    let hall = Hall::open(config()).await;
    let mut rpc = open(&hall).await;
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    let number = ask(&mut rpc, 1, "subscribe", json!(["chat"])).await;
    assert_eq!(number, 1);

    let at = ask(
        &mut rpc,
        2,
        "publish",
        json!({"channel": "chat", "data": "from rpc"}),
    )
    .await;
    let heard = native.hear_a("message").await;
    assert_eq!(heard["data"], "from rpc");
    assert_eq!(at["offset"], 1);

    native.publish("chat", json!("from native")).await;
    let mut data = Vec::new();
    while data.last() != Some(&json!("from native")) {
        data.push(told(&mut rpc, "subscription").await["result"]["data"].clone());
    }
    assert_eq!(data, [json!("from rpc"), json!("from native")]);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_rpc_client_continues_from_its_position_on_another_connection() {
    let hall = Hall::open(config()).await;
    let mut first = open(&hall).await;
    ask(&mut first, 1, "subscribe", json!(["chat"])).await;
    // Nothing was published: the position to keep is that of `live`.
    let live = told(&mut first, "live").await;
    drop(first);
    let mut publisher = open(&hall).await;
    for n in 0..10 {
        ask(&mut publisher, n, "publish", json!(["chat", n])).await;
    }
    let mut second = open(&hall).await;
    let since = json!({"epoch": live["epoch"], "offset": live["offset"]});
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "subscribe",
        "params": {"channel": "chat", "since": since}});
    second.send(request.to_string()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let message = next(&mut second).await;
        match message["method"].as_str() {
            Some("subscription") => heard.push(message["params"]["result"]["data"].clone()),
            Some("live") => break,
            Some("gap") => panic!("{message}"),
            _ => {}
        }
    }
    assert_eq!(heard, (0..10).map(|n| json!(n)).collect::<Vec<_>>());
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_rpc_client_that_watches_a_channel_is_told_who_is_there_at_the_beginning() {
    let hall = Hall::open(config()).await;
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    let there = native.session.clone();
    let mut rpc = open(&hall).await;
    let number = ask(
        &mut rpc,
        1,
        "subscribe",
        json!({"channel": "chat", "presence": true}),
    )
    .await;
    let members = told(&mut rpc, "members").await;
    assert_eq!(members["subscription"], number);
    let sessions: Vec<_> = members["members"].as_array().unwrap().iter().collect();
    assert!(
        sessions.iter().any(|member| member["session"] == there),
        "{members}"
    );
    hall.close().await;
}

/// A `POST` to the path: status and body.
async fn post(hall: &Hall, fields: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let host = hall.address();
    let request = format!(
        "POST /rpc HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    let (status, _, body) = hall.raw(&request).await;
    (status, body)
}

async fn posted(hall: &Hall, body: &Value) -> Value {
    let (status, answer) = post(hall, "", &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_http_publish_and_read() {
    let hall = Hall::open(config()).await;
    let mut rpc = open(&hall).await;
    ask(&mut rpc, 1, "subscribe", json!(["chat"])).await;
    let request =
        json!({"jsonrpc": "2.0", "id": 7, "method": "publish", "params": ["chat", "by post"]});
    let answer = posted(&hall, &request).await;
    assert_eq!(
        (&answer["id"], &answer["result"]["offset"]),
        (&json!(7), &json!(1))
    );
    let heard = told(&mut rpc, "subscription").await;
    assert_eq!(heard["result"]["data"], "by post");

    let call = |id: u64, method: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let batch = json!([
        call(1, "history", json!(["chat"])),
        call(2, "presence", json!(["chat"])),
        call(3, "state", json!(["chat"])),
        call(4, "ping", json!([])),
        {"jsonrpc": "2.0", "method": "publish", "params": ["chat", "a notification"]},
        call(5, "subscribe", json!(["chat"])),
        call(6, "dance", json!([])),
        7,
    ]);
    let answers = posted(&hall, &batch).await;
    let answer = |id: u64| {
        let all = answers.as_array().unwrap();
        all.iter().find(|answer| answer["id"] == id).unwrap()
    };
    assert_eq!(answers.as_array().unwrap().len(), 7, "{answers}");
    assert_eq!(answer(1)["result"]["publications"][0]["data"], "by post");
    assert_eq!(answer(2)["result"]["total"], 1);
    assert_eq!(answer(3)["error"]["data"]["code"], "no_state");
    assert_eq!(answer(4)["result"], "pong");
    let refused = &answer(5)["error"];
    assert_eq!(refused["code"], -32_000);
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("needs a connection")
    );
    assert_eq!(answer(6)["error"]["code"], -32_601);
    assert_eq!(
        told(&mut rpc, "subscription").await["result"]["data"],
        "a notification"
    );
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_http_that_is_none_has_the_codes_of_the_specification() {
    let hall = Hall::open(config()).await;
    for (body, code) in [
        ("{", -32_700),
        ("", -32_700),
        ("[]", -32_600),
        ("7", -32_600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32_600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"nothing"}"#, -32_601),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"publish","params":[]}"#,
            -32_602,
        ),
    ] {
        let (status, answer) = post(&hall, "", body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["error"]["code"]),
            (200, &json!(code)),
            "{body}: {answer}"
        );
    }
    // Each of many is answered.
    let many = Value::from(vec![json!(1); 64]);
    assert_eq!(posted(&hall, &many).await.as_array().unwrap().len(), 64);
    let too_many = Value::from(vec![json!(1); 100_000]);
    assert_eq!(posted(&hall, &too_many).await["error"]["code"], -32_600);
    let notification = r#"{"jsonrpc":"2.0","method":"publish","params":["chat",1]}"#;
    assert_eq!(post(&hall, "", notification).await, (204, String::new()));
    let large = "x".repeat(300_000);
    assert_eq!(post(&hall, "", &large).await.0, 413);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_the_header_is_the_identity_of_a_request_over_http() {
    let hall = Hall::open(with_tokens(|auth| auth.anonymous = Some(false))).await;
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(post(&hall, "", ping).await.0, 401);
    assert_eq!(
        post(&hall, "Authorization: Bearer x\r\n", ping).await.0,
        401
    );
    let fields = format!("Authorization: Bearer {}\r\n", of("ann"));
    let publish = r#"{"jsonrpc":"2.0","id":1,"method":"publish","params":["silent/x",1]}"#;
    let (_, answer) = post(&hall, &fields, publish).await;
    assert!(
        answer.contains("ann may not publish to channel silent/x"),
        "{answer}"
    );
    let publish = r#"{"jsonrpc":"2.0","id":1,"method":"publish","params":["chat",1]}"#;
    assert!(
        post(&hall, &fields, publish)
            .await
            .1
            .contains("\"offset\":1")
    );
    let history = r#"{"jsonrpc":"2.0","id":1,"method":"history","params":["chat"]}"#;
    let (_, answer) = post(&hall, &fields, history).await;
    assert!(answer.contains("\"user\":\"ann\""), "{answer}");
    hall.close().await;
}

//! JSON-RPC over a real socket, together with a native client in the same channel.

use offhook::WebSocket;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::hall::{Hall, NEVER, config};

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

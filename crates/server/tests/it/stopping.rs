//! Stopping the server: every client is told, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use offhook_server::Config;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::hall::{Hall, config, on_disk};

#[tokio::test]
async fn every_client_is_told_when_to_reconnect_and_closed_with_1012() {
    let mut spread = config();
    // Ten connections at half of this rate are closed over a second.
    spread.connections.handshakes_per_second = 20;
    spread.connections.handshake_burst = 100;
    let hall = Hall::open(spread).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        let mut caller = hall.caller().await;
        caller.subscribe("chat", json!("now")).await;
        callers.push(caller);
    }
    let silent = hall.dial().await;
    let address = hall.address();
    let closing = tokio::spawn(hall.close());
    let mut pauses = Vec::new();
    for caller in &mut callers {
        let (heard, closed) = caller.end().await;
        let advice = heard.iter().find(|message| message["type"] == "reconnect");
        pauses.push(advice.expect("advice")["after_ms"].as_u64().unwrap());
        assert_eq!(closed.code.get(), 1012);
    }
    let mut silent = silent;
    assert_eq!(
        silent.end().await.1.code.get(),
        1012,
        "including a client that has not sent connect yet"
    );
    closing.await.unwrap();
    pauses.sort_unstable();
    assert!(pauses.iter().all(|pause| *pause <= 1_000), "{pauses:?}");
    pauses.dedup();
    assert!(pauses.len() > 5, "the times differ: {pauses:?}");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "the server no longer listens"
    );
}

#[tokio::test]
async fn each_client_is_served_until_its_own_time() {
    let mut spread = config();
    spread.connections.handshakes_per_second = 20;
    spread.connections.handshake_burst = 100;
    let hall = Hall::open(spread).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        callers.push(hall.caller().await);
    }
    let closing = tokio::spawn(hall.close());
    let mut told = Vec::new();
    for mut caller in callers {
        let advice = caller.hear_a("reconnect").await;
        told.push((advice["after_ms"].as_u64().unwrap(), caller));
    }
    told.sort_by_key(|(after, _)| *after);
    let (_, mut last) = told.pop().unwrap();
    let (_, mut first) = told.swap_remove(0);
    assert_eq!(first.end().await.1.code.get(), 1012);
    // It is very unlikely that ten random times within a second are all in one tenth of it.
    last.publish("chat", json!("still served")).await;
    assert_eq!(last.end().await.1.code.get(), 1012);
    for (_, mut caller) in told {
        caller.end().await;
    }
    closing.await.unwrap();
}

#[tokio::test]
async fn while_the_server_stops_only_operators_are_accepted_and_it_is_not_ready() {
    let mut stopping = config();
    stopping.admin.listen = vec![([127, 0, 0, 1], 0).into()];
    let hall = Hall::open(stopping).await;
    let (address, admin) = (hall.address(), hall.admin_address());
    let ready = async || {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(ready().await.starts_with("HTTP/1.1 200"));
    // This client reads nothing, which keeps the server from ending.
    let stubborn = hall.caller().await;
    let closing = tokio::spawn(hall.close());
    let answer = loop {
        let answer = ready().await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
    };
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("stopped"),
        "{answer}"
    );
    while tokio::net::TcpStream::connect(address).await.is_ok() {}
    drop(stubborn);
    closing.await.unwrap();
}

#[tokio::test]
async fn connections_that_do_not_close_are_cut_off_in_time() {
    let hall = Hall::open(Config {
        drain: Duration::from_millis(100),
        ..config()
    })
    .await;
    // This client reads nothing, so it never answers the Close.
    let stubborn = hall.caller().await;
    let begun = Instant::now();
    hall.close().await;
    // Far less than the time a client may take for its Close, 10 s.
    assert!(begun.elapsed() < Duration::from_secs(9));
    drop(stubborn);
}

#[tokio::test]
async fn acknowledged_publications_survive_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(on_disk(directory.path())).await;
    let mut publisher = hall.caller().await;
    for n in 0..200 {
        let publish = json!({"type": "publish", "channel": "chat", "data": n});
        publisher.send(publish).await;
    }
    let mut acknowledged = 0;
    // The server is stopped while clients publish.
    while acknowledged < 50 {
        publisher.hear_a("published").await;
        acknowledged += 1;
    }
    let closing = tokio::spawn(hall.close());
    let (heard, _) = publisher.end().await;
    acknowledged += heard
        .iter()
        .filter(|message| message["type"] == "published")
        .count();
    closing.await.unwrap();

    let hall = Hall::open(on_disk(directory.path())).await;
    let mut caller = hall.caller().await;
    let ask = json!({"type": "history", "channel": "chat", "since": "start", "limit": 300});
    let history = caller.ask(ask).await;
    let data: Vec<_> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["data"].clone())
        .collect();
    assert!(
        data.len() >= acknowledged,
        "{} of {acknowledged}",
        data.len()
    );
    for (n, data) in data.iter().enumerate() {
        assert_eq!(data, n);
    }
}

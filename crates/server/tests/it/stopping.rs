//! A stop is an ordinary event: every client is told, and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use offhook_server::Config;
use serde_json::json;

use crate::hall::{Hall, config, on_disk};

#[tokio::test]
async fn every_client_is_told_when_to_reconnect_and_closed_with_1012() {
    let mut spread = config();
    // Ten connections at half of this rate are closed over some seconds.
    spread.connections.handshakes_per_second = 4;
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
        "also who has not connected yet"
    );
    closing.await.unwrap();
    pauses.sort_unstable();
    assert!(pauses.iter().all(|pause| *pause <= 5_000), "{pauses:?}");
    pauses.dedup();
    assert!(pauses.len() > 5, "each its own: {pauses:?}");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn connections_that_do_not_close_are_cut_off_in_time() {
    let hall = Hall::open(Config {
        drain: Duration::from_millis(100),
        ..config()
    })
    .await;
    // It reads nothing, and so never answers the Close.
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
    // In the middle of the publishing.
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

//! Another server takes over the listening sockets and the data of a running one.

use std::num::NonZeroUsize;

use offhook::Connect;
use offhook_server::{
    Config, Server,
    config::{Listen, ListenAt},
};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, on_disk},
};

fn with_workers(config: Config, workers: usize) -> Config {
    Config {
        workers: NonZeroUsize::new(workers).unwrap(),
        ..config
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_told_when_to_reconnect_and_resume_at_the_next_server() {
    let directory = tempfile::tempdir().unwrap();
    let config = on_disk(directory.path());
    let hall = Hall::open(config.clone()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    hall.caller().await.publish("chat", json!(1)).await;
    let first = caller.hear_a("message").await;
    let token = caller.resume.clone();
    let sockets = hall.hand_over().await;
    let (heard, closed) = caller.end().await;
    assert_eq!(closed.code.get(), 1012);
    let advice = heard.iter().find(|message| message["type"] == "reconnect");
    assert!(advice.unwrap()["after_ms"].is_u64(), "{heard:?}");

    let hall = Hall::open_on(config, sockets).await;
    let mut caller = hall.dial().await;
    let positions = json!({"chat": first["position"]});
    let answer = caller.resume(&token, positions).await;
    assert_eq!(answer["type"], "welcome", "{answer}");
    hall.caller().await.publish("chat", json!(2)).await;
    let next = loop {
        let heard = caller.hear().await;
        if heard["type"] == "message" {
            break heard;
        }
    };
    assert_eq!(next["data"], 2);
    hall.close().await;
}

/// A connection is complete for its client before it is accepted. It waits in the queue of its socket
/// until the next server accepts it, whichever worker's socket that is.
#[tokio::test(flavor = "multi_thread")]
async fn connections_opened_between_two_servers_are_served_by_the_second() {
    let directory = tempfile::tempdir().unwrap();
    for (before, after) in [(1, 1), (3, 1), (1, 3)] {
        let config = on_disk(directory.path());
        let hall = Hall::open(with_workers(config.clone(), before)).await;
        let (address, number) = (hall.address(), hall.number());
        let sockets = hall.hand_over().await;
        let mut waiting = Vec::new();
        for _ in 0..30 {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
        let opening: Vec<_> = waiting
            .into_iter()
            .map(|stream| {
                let number: Connect = number.clone();
                tokio::spawn(async move { number.over(stream).open().await })
            })
            .collect();
        // The port is the same, although the configuration lets the system choose one.
        let hall = Hall::open_on(with_workers(config, after), sockets).await;
        assert_eq!(hall.address(), address);
        for opened in opening {
            let opened = timeout(NEVER, opened).await.unwrap().unwrap();
            let mut caller = Caller::new(opened.unwrap());
            caller.connect().await;
        }
        hall.close().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_the_hand_over_is_there_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let config = on_disk(directory.path());
    let mut hall = Hall::open(config.clone()).await;
    let mut sent = 0;
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        let mut publisher = hall.caller().await;
        for _ in 0..100 {
            let publish = json!({"type": "publish", "channel": "chat", "data": sent});
            publisher.send(publish).await;
            sent += 1;
        }
        let first = publisher.hear_a("published").await;
        acknowledged.push(first["position"].clone());
        // The server is handed over while it publishes.
        let handing = tokio::spawn(hall.hand_over());
        let (heard, _) = publisher.end().await;
        let published = heard
            .iter()
            .filter(|message| message["type"] == "published");
        acknowledged.extend(published.map(|message| message["position"].clone()));
        hall = Hall::open_on(config.clone(), handing.await.unwrap()).await;
    }
    let mut reader = hall.caller().await;
    let ask = json!({"type": "history", "channel": "chat", "since": "start", "limit": 1000});
    let history = reader.ask(ask).await;
    let messages = history["messages"].as_array().unwrap();
    for position in &acknowledged {
        let found = messages
            .iter()
            .filter(|message| message["position"] == *position);
        assert_eq!(found.count(), 1, "{position}");
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_resumes_has_the_settings_that_were_in_effect_and_does_not_read_files_again()
{
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("api.key");
    let hash = "ab".repeat(32);
    std::fs::write(&key, format!("publish+read sha256:{hash}\n")).unwrap();
    let data = directory.path().join("data");
    let mut config = on_disk(&data);
    config.api.key_files = vec![key.clone()];
    let running = Server::start(config.clone()).await.unwrap();
    let mut newer = config.clone();
    newer.hosts = vec!["chat.example.com".to_owned()];
    newer.data = directory.path().join("other");
    newer.listen.clear();
    for _ in 0..2 {
        let changes = running.reload(newer.clone()).await.unwrap();
        let later = changes.iter().filter(|change| !change.is_live);
        let later: Vec<_> = later.map(|change| change.key.as_str()).collect();
        // The next reload says again what waits for a restart.
        assert_eq!(later, ["data", "listen"]);
    }
    let address = running.addresses();
    let paused = running.pause().await;
    std::fs::remove_file(&key).unwrap();
    let running = paused.resume().await.unwrap();
    assert_eq!(running.addresses(), address);
    let now = running.config().await;
    assert_eq!(now.data, data);
    assert_eq!(now.listen, config.listen);
    assert_eq!(now.hosts, newer.hosts);
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_could_not_start_leaves_the_socket_s_file_to_the_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("offhook.sock");
    let data = directory.path().join("data");
    let config = Config {
        listen: vec![Listen::new(ListenAt::Unix(path.clone()))],
        ..on_disk(&data)
    };
    let first = Server::start(config.clone()).await.unwrap();
    let prepared = Server::prepare(config.clone(), first.sockets().unwrap())
        .await
        .unwrap();
    // The log is still in use by the first one.
    prepared.start().await.unwrap_err();
    assert!(path.exists());
    let sockets = first.hand_over().await;
    assert!(path.exists());
    let second = Hall::open_on(config, sockets).await;
    second.close().await;
    assert!(!path.exists());
}

//! Connections over HTTP requests: how they end, and requests that are lost, repeated or too many.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    carried::{Poller, ask, publish},
    hall::{Hall, config},
};

/// A connection that the server has closed, because its client sent too much before `connect`.
async fn closed(hall: &Hall) -> Poller {
    let mut poller = Poller::begin(hall).await;
    let pings: Vec<_> = (0..20)
        .map(|id| json!({"type": "ping", "id": id}))
        .collect();
    poller.say(hall, &pings).await;
    poller
}

#[tokio::test]
async fn an_answer_that_reports_the_close_can_be_repeated() {
    let hall = Hall::open(config()).await;
    let poller = closed(&hall).await;
    let (status, lost) = poller.poll(&hall, 0, 60).await;
    assert_eq!((status, &lost["closed"]["code"]), (200, &json!(1008)));
    let (_, repeated) = poller.poll(&hall, 0, 60).await;
    assert_eq!(repeated, lost);
    let last = lost["messages"].as_array().unwrap().len() as u64;
    let (_, known) = poller.poll(&hall, last, 60).await;
    assert_eq!(known["closed"], lost["closed"]);
    // The client knows now that the connection is closed, so it is removed.
    while poller.poll(&hall, last, 60).await.0 != 404 {}
}

#[tokio::test]
async fn a_closed_connection_refuses_later_messages_of_its_client() {
    let hall = Hall::open(config()).await;
    let poller = closed(&hall).await;
    let connect = json!({"type": "connect", "id": 30});
    let (status, answer) = poller.post(&hall, 2, &[connect]).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("unknown_connection"))
    );
}

#[tokio::test]
async fn a_repeated_request_is_answered_once_its_messages_were_handled() {
    let mut narrow = config();
    narrow.messages.outbox_bytes = 32 * 1024;
    let hall = Hall::open(narrow).await;
    let mut poller = Poller::connected(&hall).await;
    let mut caller = hall.caller().await;
    let padding = "x".repeat(1_000);
    for n in 0..100 {
        caller.publish("chat", json!([n, padding])).await;
    }
    // The requests ask for more than fits: the rest waits until the client has received the
    // answers.
    let histories = (10..30)
        .map(|id| json!({"type": "history", "id": id, "channel": "chat", "limit": 100}))
        .chain([publish(30, "chat/done", 1)]);
    let messages: Vec<_> = histories.collect();
    let asking = Poller {
        id: poller.id.clone(),
        number: 0,
        after: 0,
    };
    let number = poller.number + 1;
    let first = asking.post(&hall, number, &messages);
    tokio::pin!(first);
    // Once the next request is refused as too early, the server has received this one.
    let busy = loop {
        tokio::select! {
            biased;
            answered = &mut first => panic!("{answered:?}"),
            (status, answer) = asking.post(&hall, number + 1, &[]) => match status {
                409 if answer["code"] == "busy" => break answer,
                409 => assert_eq!(answer["code"], "bad_number"),
                _ => panic!("{status} {answer}"),
            },
        }
    };
    assert_eq!(busy["code"], "busy");
    let repeated = asking.post(&hall, number, &messages);
    tokio::pin!(repeated);
    let (status, answer) = loop {
        tokio::select! {
            biased;
            answered = &mut repeated => break answered,
            _heard = poller.hear(&hall) => {}
        }
    };
    assert_eq!(status, 204, "{answer}");
    let history = json!({"type": "history", "channel": "chat/done"});
    let done = caller.ask(history).await;
    let done = done["messages"].as_array().unwrap().len();
    assert_eq!(done, 1, "all messages of the request were handled, once");
    assert_eq!(first.await.0, 204);
}

#[tokio::test]
async fn a_subscription_catches_up_although_a_request_waits_for_room_as_well() {
    let mut narrow = config();
    narrow.messages.outbox_bytes = 32 * 1024;
    let hall = Hall::open(narrow).await;
    let mut poller = Poller::connected(&hall).await;
    let subscribe = json!({"type": "subscribe", "id": 2, "channel": "chat"});
    poller.say(&hall, &[subscribe]).await;
    poller.until(&hall, "subscribed").await;
    let mut caller = hall.caller().await;
    let padding = "x".repeat(9_000);
    for n in 0..100 {
        caller.publish("chat", json!([n, padding])).await;
    }
    let histories: Vec<_> = (10..16)
        .map(|id| json!({"type": "history", "id": id, "channel": "chat", "limit": 100}))
        .collect();
    poller.number += 1;
    let asking = Poller {
        id: poller.id.clone(),
        number: 0,
        after: 0,
    };
    let posted = asking.post(&hall, poller.number, &histories);
    tokio::pin!(posted);
    let (mut next, mut answered) = (0, 0);
    let mut is_posted = false;
    while next < 100 || answered < 6 {
        let heard = tokio::select! {
            posted = &mut posted, if !is_posted => {
                assert_eq!(posted.0, 204, "{}", posted.1);
                is_posted = true;
                continue;
            }
            heard = poller.hear(&hall) => heard,
        };
        answered += heard.iter().filter(|m| m["type"] == "history").count();
        for message in heard.iter().filter(|m| m["type"] == "message") {
            assert_eq!(message["data"][0], next);
            next += 1;
        }
    }
}

#[tokio::test]
async fn a_body_for_an_unknown_connection_is_not_received() {
    let hall = Hall::open(config()).await;
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let id = "0".repeat(36);
    let head = format!(
        "POST /connection/{id}?n=1 HTTP/1.1\r\nHost: {}\r\nContent-Length: 200000\r\n\r\n",
        hall.address()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 404");
}

async fn incomplete_bytes(hall: &Hall) -> u64 {
    let (_, health) = ask(hall, "GET /healthz", "").await;
    health["unfinished_bytes"].as_u64().unwrap()
}

#[tokio::test]
async fn incomplete_bodies_count_against_the_memory_and_are_refused_when_it_is_short() {
    let mut small = config();
    small.memory.bytes = 4 << 20;
    let hall = Hall::open(small).await;
    let poller = Poller::connected(&hall).await;
    let head = format!(
        "POST /connection/{}?n=9 HTTP/1.1\r\nHost: {}\r\nContent-Length: 200000\r\n\r\n",
        poller.id,
        hall.address()
    );
    let most = vec![b' '; 199_999];
    let mut sending = JoinSet::new();
    // Three quarters of the budget are 16 of them.
    for _ in 0..24 {
        let (head, most, address) = (head.clone(), most.clone(), hall.address());
        sending.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The request may be refused, and the connection closed, before everything is written.
            let _refused = stream.write_all(&most).await;
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            status
        });
    }
    // The others wait for the rest of their bodies.
    assert_eq!(
        &sending.join_next().await.unwrap().unwrap(),
        b"HTTP/1.1 503"
    );
    drop(sending);
    while incomplete_bytes(&hall).await > 0 {}
}

#[tokio::test]
async fn a_polled_connection_whose_client_is_gone_does_not_delay_the_stop() {
    let mut config = config();
    config.drain = Duration::from_secs(120);
    let hall = Hall::open(config).await;
    let poller = Poller::connected(&hall).await;
    hall.close().await;
    let _gone: Value = json!(poller.id);
}

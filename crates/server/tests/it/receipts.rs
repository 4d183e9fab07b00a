//! Who has a message, known from the pongs of any WebSocket client.

use std::num::NonZeroUsize;

use offhook_server::Config;
use serde_json::json;

use crate::hall::{Hall, config};

/// Before, they were counted and named, although they never received it.
#[tokio::test]
async fn later_subscribers_do_not_count_as_having_received() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let mut early = hall.caller().await;
    early.subscribe("chat", json!("now")).await;
    let position = publisher.publish("chat", json!("read me")).await;
    early.hear_a("message").await;
    // One that starts after it, and one that reads it from history.
    let (mut late, mut reader) = (hall.caller().await, hall.caller().await);
    late.subscribe("chat", json!("now")).await;
    reader.subscribe("chat", json!("start")).await;
    let mut expected = vec![early.session.clone(), reader.session.clone()];
    expected.sort();
    let newer = publisher.publish("chat", json!("newer")).await;
    let late_session = late.session.clone();
    let mut reading = Vec::new();
    for mut caller in [early, late, reader] {
        reading.push(tokio::spawn(async move {
            while caller
                .socket
                .recv()
                .await
                .is_ok_and(|message| message.is_some())
            {}
        }));
    }
    // Until all three have the newer one, the older one may still be on its way to some.
    for (position, count) in [(&newer, 3), (&position, 2)] {
        let ask = json!({"type": "receipts", "channel": "chat", "position": position});
        let answer = loop {
            let answer = publisher.ask(ask.clone()).await;
            if answer["type"] == "error" {
                assert_eq!(answer["code"], "busy", "{answer}");
                continue;
            }
            if answer["received"].as_u64().unwrap() >= count {
                break answer;
            }
        };
        assert_eq!(answer["received"], count, "{answer}");
        let mut named: Vec<_> = answer["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session.as_str().unwrap().to_owned())
            .collect();
        named.sort();
        assert_eq!(named.contains(&late_session), count == 3);
        if count == 2 {
            assert_eq!(named, expected);
        }
    }
    drop(publisher);
    hall.close().await;
    for task in reading {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn only_connections_that_have_read_a_message_count_as_having_received_it() {
    let workers = NonZeroUsize::new(2).unwrap();
    let hall = Hall::open(Config {
        workers,
        ..config()
    })
    .await;
    let mut readers = Vec::new();
    for _ in 0..6 {
        let mut caller = hall.caller().await;
        caller.subscribe("chat", json!("now")).await;
        readers.push(caller);
    }
    let mut sleeper = hall.caller().await;
    sleeper.subscribe("chat", json!("now")).await;
    let mut publisher = hall.caller().await;
    let position = publisher.publish("chat", json!("read me")).await;
    let mut sessions: Vec<_> = readers
        .iter()
        .map(|caller| caller.session.clone())
        .collect();
    sessions.sort();
    let mut reading = Vec::new();
    for mut caller in readers {
        // A client answers pings while it reads.
        reading.push(tokio::spawn(async move {
            while caller
                .socket
                .recv()
                .await
                .is_ok_and(|message| message.is_some())
            {}
        }));
    }
    let ask = json!({"type": "receipts", "channel": "chat", "position": position});
    loop {
        let answer = publisher.ask(ask.clone()).await;
        if answer["type"] == "error" {
            assert_eq!(answer["code"], "busy", "{answer}");
            continue;
        }
        assert_eq!(
            (&answer["type"], &answer["subscribers"]),
            (&json!("received"), &json!(7))
        );
        let received = answer["received"].as_u64().unwrap();
        assert!(received < 7, "who has not read has not received: {answer}");
        if received == 6 {
            let mut named: Vec<_> = answer["sessions"].as_array().unwrap().clone();
            named.sort_by_key(|session| session.to_string());
            assert_eq!(named, sessions);
            break;
        }
    }
    sleeper.hear_a("message").await;
    drop((sleeper, publisher));
    hall.close().await;
    for task in reading {
        task.await.unwrap();
    }
}

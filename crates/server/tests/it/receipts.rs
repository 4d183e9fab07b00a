//! Who has a message, known from the pongs of any WebSocket client.

use std::num::NonZeroUsize;

use offhook_server::Config;
use serde_json::json;

use crate::hall::{Hall, config};

#[tokio::test]
async fn a_receipt_comes_from_who_has_read_and_not_from_who_has_not() {
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

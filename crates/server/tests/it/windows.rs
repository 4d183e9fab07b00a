//! Subscriptions with a window of unacknowledged messages, over connections and servers that go.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::{Hall, on_disk},
};

async fn hall(directory: &Path) -> Hall {
    Hall::open(on_disk(directory)).await
}

/// Subscribes with a window of ten, and publishes five messages.
async fn five(hall: &Hall, target: Value) -> Caller {
    let mut caller = hall.caller().await;
    let mut subscribe = json!({"type": "subscribe", "subscription": 7, "window": 10});
    for (name, value) in target.as_object().unwrap() {
        subscribe[name] = value.clone();
    }
    assert_eq!(caller.ask(subscribe).await["type"], "subscribed");
    caller.fresh_token().await;
    let mut other = hall.caller().await;
    for n in 1..=5 {
        other.publish("chat/a", json!(n)).await;
    }
    caller
}

/// Acknowledges the next message; returns its data.
async fn handle(caller: &mut Caller) -> Value {
    let message = caller.hear_a("message").await;
    let position = &message["position"];
    let done = json!({"type": "done", "subscription": 7, "position": position});
    let id = caller.send(done).await;
    let mut answer = caller.hear().await;
    // With the last one, everything has been delivered.
    if answer["type"] == "live" {
        answer = caller.hear().await;
    }
    assert_eq!(answer["id"], id);
    message["data"].clone()
}

/// Reconnects, and returns what is delivered before it is live: the data, and how often it was
/// delivered before.
async fn come_back(hall: &Hall, token: &str) -> Vec<(Value, Value)> {
    let mut caller = hall.dial().await;
    assert_eq!(caller.resume(token, json!({})).await["type"], "welcome");
    caller.hear_a("subscribed").await;
    let mut came = Vec::new();
    loop {
        let message = caller.hear().await;
        match message["type"].as_str().unwrap() {
            "message" => came.push((message["data"].clone(), message["redelivered"].clone())),
            "live" => return came,
            _ => panic!("{message}"),
        }
    }
}

#[tokio::test]
async fn after_a_reconnect_only_unacknowledged_messages_are_redelivered_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let hall = hall(directory.path()).await;
    let mut caller = five(&hall, json!({"channel": "chat/a"})).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(caller.hear_a("message").await);
    }
    for n in [0, 1, 3] {
        let position = messages[n]["position"].clone();
        let done = json!({"type": "done", "subscription": 7, "position": position});
        assert_eq!(caller.ask(done).await["type"], "done");
    }
    let token = caller.resume.clone();
    caller.cut();
    assert_eq!(
        come_back(&hall, &token).await,
        [(json!(3), json!(1)), (json!(5), json!(1))]
    );
    hall.close().await;
}

#[tokio::test]
async fn unacknowledged_messages_of_a_filter_are_redelivered_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let running = hall(directory.path()).await;
    let mut caller = five(&running, json!({"filter": "chat/+"})).await;
    let mut messages = Vec::new();
    for _ in 0..5 {
        messages.push(caller.hear_a("message").await);
    }
    for n in [0, 3] {
        let position = messages[n]["at"].clone();
        let done = json!({"type": "done", "subscription": 7, "position": position});
        assert_eq!(caller.ask(done).await["type"], "done");
    }
    let token = caller.resume.clone();
    caller.cut();
    running.close().await;

    let running = hall(directory.path()).await;
    let came = come_back(&running, &token).await;
    let expected: Vec<_> = [2, 3, 5].map(|n| (json!(n), json!(1))).into();
    assert_eq!(came, expected);
    running.close().await;
}

#[tokio::test]
async fn a_session_with_many_full_windows_has_a_short_token() {
    let directory = tempfile::tempdir().unwrap();
    let hall = hall(directory.path()).await;
    let mut other = hall.caller().await;
    for n in 0..600 {
        other.publish("chat/a", json!(n)).await;
    }
    let mut caller = hall.caller().await;
    for number in 0..8 {
        let subscribe = json!({
            "type": "subscribe", "channel": "chat/a", "subscription": number, "window": 1000,
            "since": "start",
        });
        caller.send(subscribe).await;
    }
    let (mut messages, mut live) = (0, 0);
    while live < 8 {
        match caller.hear().await["type"].as_str().unwrap() {
            "message" => messages += 1,
            "live" => live += 1,
            "subscribed" => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(messages, 8 * 600);
    if caller.fresh_tokens == 0 {
        caller.fresh_token().await;
    }
    assert!(caller.resume.len() < 1024, "{}", caller.resume.len());
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    assert_eq!(back.resume(&token, json!({})).await["type"], "welcome");
    hall.close().await;
}

#[tokio::test]
async fn a_window_of_one_delivers_message_after_message() {
    let directory = tempfile::tempdir().unwrap();
    let hall = hall(directory.path()).await;
    let mut other = hall.caller().await;
    for n in 0..20 {
        other.publish("chat/a", json!(n)).await;
    }
    let mut caller = hall.caller().await;
    let subscribe = json!({
        "type": "subscribe", "channel": "chat/a", "subscription": 7, "window": 1, "since": "start",
    });
    assert_eq!(caller.ask(subscribe).await["type"], "subscribed");
    for n in 0..20 {
        assert_eq!(handle(&mut caller).await, n);
    }
    hall.close().await;
}

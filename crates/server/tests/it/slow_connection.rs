//! One subscriber that does not read, among many that do.

use offhook_server::Config;
use serde_json::json;

use crate::hall::{Hall, config};

const SUBSCRIBERS: usize = 100;
const PUBLICATIONS: usize = 1_000;

/// Small outboxes and small kernel buffers, so that a slow connection is slow soon.
fn narrow() -> Config {
    let mut config = config();
    config.messages.outbox_bytes = 32 * 1024;
    config.connections.send_buffer = Some(16 * 1024);
    // On a busy machine, the client that does not read would not answer a ping in time.
    config.keepalive.interval = None;
    config
}

#[tokio::test]
async fn a_client_that_does_not_read_delays_nobody_and_gets_everything_later() {
    let hall = Hall::open(narrow()).await;
    let mut sleeper = hall.narrow_caller().await;
    sleeper.subscribe("chat", json!("now")).await;
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut caller = hall.caller().await;
        caller.subscribe("chat", json!("now")).await;
        subscribers.push(caller);
    }
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    for n in 0..PUBLICATIONS {
        publisher
            .publish("chat", json!({"n": n, "padding": padding}))
            .await;
        // All others keep pace, each reading continuously.
        for caller in &mut subscribers {
            assert_eq!(caller.hear_a("message").await["data"]["n"], n);
        }
    }

    // The publications were not all kept in memory for the one that does not read: at some point it
    // has fallen behind.
    let (mut next, mut fell_behind) = (0, false);
    while next < PUBLICATIONS {
        let message = sleeper.hear().await;
        if message["type"] == "catching_up" {
            fell_behind = true;
        } else {
            assert_eq!(message["type"], "message", "{message}");
            assert_eq!(message["data"]["n"], next);
            next += 1;
        }
    }
    assert!(fell_behind);
    sleeper.hear_a("live").await;
    publisher.publish("chat", json!("after")).await;
    assert_eq!(sleeper.hear_a("message").await["data"], "after");
}

#[tokio::test]
async fn in_a_channel_without_history_a_slow_connection_gets_a_gap() {
    let hall = Hall::open(narrow()).await;
    let mut sleeper = hall.narrow_caller().await;
    sleeper.subscribe("fleeting/a", json!("now")).await;
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    for n in 0..PUBLICATIONS {
        let data = json!({"n": n, "padding": padding});
        publisher.publish("fleeting/a", data).await;
    }
    let (mut last, mut missed) = (None, 0);
    while last != Some(PUBLICATIONS as u64) {
        let message = sleeper.hear().await;
        match message["type"].as_str().unwrap() {
            "message" => {
                let offset = offset_of(&message["position"]);
                assert_eq!(offset, last.map_or(offset, |last| last + 1));
                last = Some(offset);
            }
            "gap" => {
                assert_eq!(message["reason"], "dropped");
                let (from, to) = (offset_of(&message["from"]), offset_of(&message["to"]));
                assert_eq!(Some(from), last);
                missed += to - from;
                last = Some(to);
            }
            "catching_up" | "live" => {}
            other => panic!("{other}"),
        }
    }
    assert!(missed > 0);
}

fn offset_of(position: &serde_json::Value) -> u64 {
    let (_, offset) = position.as_str().unwrap().split_once('.').unwrap();
    offset.parse().unwrap()
}

#[tokio::test]
async fn no_more_commands_are_read_from_a_client_that_does_not_read_its_answers() {
    let hall = Hall::open(narrow()).await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!("x".repeat(10_000))).await;
    let mut caller = hall.narrow_caller().await;
    // Megabytes of answers to kilobytes of requests.
    let questions = 1_000_u64;
    let sender = caller.socket.sender();
    let asking = tokio::spawn(async move {
        for id in 0..questions {
            let ask = format!(r#"{{"type":"history","id":{id},"channel":"chat"}}"#);
            sender.send(ask).await.unwrap();
        }
    });
    // The server serves others meanwhile.
    for _ in 0..100 {
        assert_eq!(publisher.ask(json!({"type": "ping"})).await["type"], "pong");
    }
    for id in 0..questions {
        let history = caller.hear_a("history").await;
        assert_eq!(history["id"], id);
    }
    asking.await.unwrap();
}

/// Before, a filter's subscriber went on from what the worker still had, and what it had missed in
/// channels without history was announced by nothing.
#[tokio::test]
async fn a_slow_filter_subscriber_gets_gaps_for_channels_without_history() {
    let hall = Hall::open(narrow()).await;
    let mut sleeper = hall.narrow_caller().await;
    let wish = json!({ "type": "subscribe", "filter": "#", "subscription": 1 });
    assert_eq!(sleeper.ask(wish).await["type"], "subscribed");
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    for n in 0..PUBLICATIONS {
        for channel in ["fleeting/a", "chat"] {
            let data = json!({"n": n, "padding": padding});
            publisher.publish(channel, data).await;
        }
    }
    // What was delivered and what was announced as missing, by channel.
    let mut known = [0, 0];
    let mut missed = 0;
    while known != [PUBLICATIONS as u64; 2] {
        let message = sleeper.hear().await;
        let of = match message["channel"].as_str() {
            Some("fleeting/a") => 0,
            Some("chat") => 1,
            _ => continue,
        };
        match message["type"].as_str().unwrap() {
            "message" => {
                let offset = offset_of(&message["position"]);
                assert_eq!(offset, known[of] + 1, "{message}");
                known[of] = offset;
            }
            "gap" => {
                assert_eq!(of, 0, "a channel with history loses nothing: {message}");
                let to = offset_of(&message["to"]);
                missed += to.saturating_sub(known[of]);
                known[of] = known[of].max(to);
            }
            _ => panic!("{message}"),
        }
    }
    assert!(missed > 0);
}

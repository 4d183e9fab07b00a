//! Sessions with thousands of subscriptions.

use std::{collections::BTreeSet, num::NonZeroUsize, path::Path};

use offhook::Message;
use offhook_engine::Limits;
use offhook_server::Config;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, on_disk},
};

/// The longest message that this server accepts; none of its own answers here may be longer.
const LONGEST_MESSAGE: usize = 256 * 1024;

fn roomy(directory: &Path) -> Config {
    let config = on_disk(directory);
    Config {
        workers: NonZeroUsize::new(2).unwrap(),
        limits: Limits {
            subscriptions: 10_000,
            ..config.limits.clone()
        },
        ..config
    }
}

/// Subscribes to this many channels, with as many channels in one message as are allowed.
async fn subscribe_to(caller: &mut Caller, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("chat/room/{n}")).collect();
    for (n, part) in names.chunks(256).enumerate() {
        let id = 1_000 + 1_000 * n;
        let subscribe = json!({"type": "subscribe", "id": id, "channels": part, "since": "now"});
        caller.say(&subscribe.to_string()).await;
        for _ in part {
            caller.hear_a("subscribed").await;
        }
    }
}

/// Reconnects with a token; returns the restored channels.
async fn come_back(hall: &Hall, token: &str) -> (Caller, BTreeSet<String>) {
    let mut caller = hall.dial().await;
    let connect = json!({"type": "connect", "id": 1, "resume": token, "lineage": true});
    assert!(connect.to_string().len() < LONGEST_MESSAGE);
    caller.say(&connect.to_string()).await;
    let mut restored = BTreeSet::new();
    loop {
        let received = timeout(NEVER, caller.socket.recv()).await;
        let message = received.expect("everything is restored").unwrap();
        let Some(Message::Text(text)) = message else {
            panic!("{message:?}, {:?}", caller.socket.closed());
        };
        assert!(text.len() < LONGEST_MESSAGE);
        let message: Value = serde_json::from_str(&text).unwrap();
        match message["type"].as_str().unwrap() {
            "welcome" => {
                caller.resume = message["resume"].as_str().unwrap().to_owned();
                caller.session = message["session"].as_str().unwrap().to_owned();
            }
            "subscribed" => {
                let channel = message["channel"].as_str().unwrap();
                assert!(restored.insert(channel.to_owned()), "{channel} twice");
            }
            "token" => caller.resume = message["resume"].as_str().unwrap().to_owned(),
            "restored" => return (caller, restored),
            _ => panic!("{message}"),
        }
    }
}

/// Before, every resume of such a session ended with 1009.
#[tokio::test]
async fn a_session_with_thousands_of_subscriptions_is_resumed_with_a_short_token_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(roomy(directory.path())).await;
    let mut caller = hall.caller().await;
    subscribe_to(&mut caller, 5_000).await;
    // The token that contains all subscriptions is sent once they no longer change.
    caller.fresh_token().await;
    let session = caller.session.clone();
    assert!(caller.resume.len() < 1024, "{}", caller.resume.len());
    let token = caller.resume.clone();
    caller.cut();
    let mut other = hall.caller().await;
    other.publish("chat/room/4711", json!("while away")).await;
    hall.close().await;

    let hall = Hall::open(roomy(directory.path())).await;
    let (mut caller, restored) = come_back(&hall, &token).await;
    assert_eq!(caller.session, session);
    assert_eq!(restored.len(), 5_000);
    assert!(caller.resume.len() < 1024);
    assert_eq!(caller.hear_a("message").await["data"], "while away");
    hall.close().await;
}

#[tokio::test]
async fn a_large_session_is_resumed_on_any_worker() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(roomy(directory.path())).await;
    let mut caller = hall.caller().await;
    subscribe_to(&mut caller, 1_000).await;
    caller.fresh_token().await;
    for _ in 0..8 {
        let token = caller.resume.clone();
        caller.cut();
        let (back, restored) = come_back(&hall, &token).await;
        assert_eq!(restored.len(), 1_000);
        caller = back;
    }
    hall.close().await;
}

#[tokio::test]
async fn ended_subscriptions_of_a_large_session_are_not_restored_after_an_immediate_disconnect() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(roomy(directory.path())).await;
    let mut caller = hall.caller().await;
    subscribe_to(&mut caller, 1_000).await;
    caller.fresh_token().await;
    let (session, token) = (caller.session.clone(), caller.resume.clone());
    let unsubscribe = json!({"type": "unsubscribe", "channel": "chat/room/7"});
    assert_eq!(caller.ask(unsubscribe).await["type"], "unsubscribed");
    caller.cut();
    let (caller, restored) = come_back(&hall, &token).await;
    assert_eq!(caller.session, session, "the session is the same");
    assert!(!restored.contains("chat/room/7"));
    hall.close().await;
}

#[tokio::test]
async fn a_large_session_is_stored_again_after_a_subscription_ended() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(roomy(directory.path())).await;
    let mut caller = hall.caller().await;
    subscribe_to(&mut caller, 1_000).await;
    caller.fresh_token().await;
    let unsubscribe = json!({"type": "unsubscribe", "channel": "chat/room/7"});
    caller.ask(unsubscribe).await;
    caller.fresh_token().await;
    let token = caller.resume.clone();
    caller.cut();
    let (_, restored) = come_back(&hall, &token).await;
    assert_eq!(restored.len(), 999);
    hall.close().await;
}

//! A channel's state, and history backward, over a real connection.

use offhook_engine::{ChannelRules, State};
use offhook_server::{Config, config::ChannelRule};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::{Hall, config, on_disk},
};

/// Channels under `prices` have state and history.
fn with_state(mut config: Config) -> Config {
    let rules = ChannelRules {
        state: State {
            count: 1_000,
            bytes: 1 << 20,
            age: None,
        },
        ..ChannelRules::default()
    };
    let pattern = "prices*".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    config
}

async fn set(caller: &mut Caller, key: &str, value: Value) -> String {
    let publish = json!({
        "type": "publish", "channel": "prices", "data": value, "tags": {"key": key}
    });
    let answer = caller.ask(publish).await;
    assert_eq!(answer["type"], "published", "{answer}");
    answer["position"].as_str().unwrap().to_owned()
}

async fn set_all(caller: &mut Caller) -> Vec<String> {
    let all = [
        ("BTC", json!(1)),
        ("ETH", json!(2)),
        ("BTC", json!(3)),
        ("OLD", json!(4)),
        ("OLD", json!(null)),
    ];
    let mut positions = Vec::new();
    for (key, value) in all {
        positions.push(set(caller, key, value).await);
    }
    positions
}

async fn a_state_is_subscribed_to_and_read(config: Config) {
    let hall = Hall::open(with_state(config)).await;
    let mut other = hall.caller().await;
    let positions = set_all(&mut other).await;

    let mut caller = hall.caller().await;
    let subscribed = caller.subscribe("prices", json!("state")).await;
    assert_eq!(
        (&subscribed["position"], &subscribed["live"]),
        (&json!(positions[4]), &json!(false))
    );
    for (key, value, position) in [("ETH", 2, &positions[1]), ("BTC", 3, &positions[2])] {
        let message = caller.hear_a("message").await;
        assert_eq!(message["state"], true);
        assert_eq!(message["data"], value);
        assert_eq!(message["tags"]["key"], key);
        assert_eq!(message["position"], *position);
    }
    let gap = caller.hear_a("gap").await;
    assert_eq!(
        (&gap["reason"], &gap["to"]),
        (&json!("state"), &json!(positions[4]))
    );
    assert_eq!(caller.hear_a("live").await["position"], positions[4]);
    set(&mut other, "ETH", json!(5)).await;
    let message = caller.hear_a("message").await;
    assert_eq!((&message["data"], message.get("state")), (&json!(5), None));

    let state = json!({"type": "state", "channel": "prices", "limit": 1});
    let first = other.ask(state).await;
    assert_eq!(
        (&first["type"], &first["more"]),
        (&json!("state"), &json!(true))
    );
    assert_eq!(first["messages"][0]["data"], 3);
    assert_eq!(first["messages"][0].get("channel"), None);
    let since = first["messages"][0]["position"].clone();
    let state = json!({"type": "state", "channel": "prices", "since": since});
    let rest = other.ask(state).await;
    assert_eq!(
        (rest["messages"].as_array().unwrap().len(), rest.get("more")),
        (1, None)
    );
    assert_eq!(rest["messages"][0]["data"], 5);
    assert_eq!(rest["head"], rest["messages"][0]["position"]);
    hall.close().await;
}

#[tokio::test]
async fn a_state_in_memory_can_be_subscribed_to_and_read() {
    Box::pin(a_state_is_subscribed_to_and_read(config())).await;
}

#[tokio::test]
async fn a_state_on_disk_can_be_subscribed_to_and_read() {
    let directory = tempfile::tempdir().unwrap();
    Box::pin(a_state_is_subscribed_to_and_read(on_disk(directory.path()))).await;
}

#[tokio::test]
async fn a_state_survives_a_restart_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(with_state(on_disk(directory.path()))).await;
    set_all(&mut hall.caller().await).await;
    hall.close().await;
    let hall = Hall::open(with_state(on_disk(directory.path()))).await;
    let mut caller = hall.caller().await;
    caller.subscribe("prices", json!("state")).await;
    let values = [
        caller.hear_a("message").await,
        caller.hear_a("message").await,
    ];
    assert_eq!(
        (&values[0]["data"], &values[1]["data"]),
        (&json!(2), &json!(3))
    );
    caller.hear_a("gap").await;
    hall.close().await;
}

#[tokio::test]
async fn reading_state_in_a_channel_without_state_is_refused() {
    let hall = Hall::open(with_state(config())).await;
    let mut caller = hall.caller().await;
    for request in [
        json!({"type": "state", "channel": "chat"}),
        json!({"type": "subscribe", "channel": "chat", "since": "state"}),
    ] {
        assert_eq!(caller.refused(request).await["code"], "no_state");
    }
    let history = json!({"type": "history", "channel": "prices", "since": "state"});
    assert_eq!(caller.refused(history).await["code"], "bad_request");
}

async fn history_is_read_backward(config: Config) {
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    let mut positions = Vec::new();
    for n in 0..10 {
        positions.push(caller.publish("chat", json!(n)).await);
    }
    let mut before = positions[9].clone();
    let mut read = Vec::new();
    loop {
        let history = json!({"type": "history", "channel": "chat", "before": before, "limit": 4});
        let answer = caller.ask(history).await;
        let page = answer["messages"].as_array().unwrap();
        let data = page.iter().map(|message| message["data"].clone());
        read.splice(0..0, data);
        assert_eq!(answer.get("gap"), None);
        if answer.get("more").is_none() {
            break;
        }
        before = page[0]["position"].as_str().unwrap().to_owned();
    }
    assert_eq!(read, (0..9).map(|n| json!(n)).collect::<Vec<_>>());
    hall.close().await;
}

#[tokio::test]
async fn history_in_memory_can_be_read_backward() {
    history_is_read_backward(config()).await;
}

#[tokio::test]
async fn history_on_disk_can_be_read_backward() {
    let directory = tempfile::tempdir().unwrap();
    history_is_read_backward(on_disk(directory.path())).await;
}

//! Every command of docs/protocol.md, over a real connection.

use std::num::NonZeroUsize;

use offhook_server::Config;
use serde_json::json;

use crate::hall::{Hall, config, on_disk};

#[tokio::test]
async fn a_connecting_client_gets_a_session_and_a_token() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.dial().await;
    caller.say(r#"{"type":"connect","id":1}"#).await;
    let welcome = caller.hear_a("welcome").await;
    assert_eq!(welcome["id"], 1);
    assert_eq!(welcome["session"].as_str().unwrap().len(), 32);
    assert!(welcome["resume"].as_str().unwrap().starts_with("v3."));
    assert_eq!(welcome.get("user"), None, "a stranger has no name");
    let (_, health) = hall.health().await;
    assert_eq!(health["connections"], 1);
}

#[tokio::test]
async fn the_conversation_of_the_specification() {
    let hall = Hall::open(config()).await;
    let mut other = hall.caller().await;
    let first = other.publish("chat", json!("hello")).await;

    let mut caller = hall.caller().await;
    let subscribed = caller.subscribe("chat", json!({"last": 50})).await;
    assert_eq!(
        (&subscribed["position"], &subscribed["live"]),
        (&json!(first), &json!(false))
    );
    let message = caller.hear_a("message").await;
    assert_eq!(
        (&message["data"], &message["position"]),
        (&json!("hello"), &json!(first))
    );
    assert_eq!(message["session"], other.session);
    assert_eq!(caller.hear_a("live").await["position"], first);

    let id = caller
        .send(json!({"type": "publish", "channel": "chat", "data": "hi", "key": "a1"}))
        .await;
    let (one, two) = (caller.hear().await, caller.hear().await);
    let (published, message) = if one["type"] == "published" {
        (one, two)
    } else {
        (two, one)
    };
    assert_eq!(published["id"], id);
    assert_eq!(published["position"], message["position"]);
    assert_eq!(
        (&message["data"], &message["key"]),
        (&json!("hi"), &json!("a1"))
    );

    // The same key again means the same message.
    let again = json!({"type": "publish", "channel": "chat", "data": "hi", "key": "a1"});
    let again = caller.ask(again).await;
    assert_eq!(again["position"], published["position"]);
    assert_eq!(again["duplicate"], true);
}

#[tokio::test]
async fn members_see_the_info_of_a_session_even_after_a_resume() {
    let hall = Hall::open(config()).await;
    let mut watcher = hall.caller().await;
    let presence = json!({"type": "subscribe", "channel": "chat", "presence": true});
    watcher.ask(presence).await;
    let mut other = hall.dial().await;
    other
        .say(r#"{"type":"connect","id":1,"info":{"name":"Ann"}}"#)
        .await;
    let token = other.hear_a("welcome").await["resume"].clone();
    other.subscribe("chat", json!("now")).await;
    let mut join = watcher.hear_a("join").await;
    if join["session"] == watcher.session {
        join = watcher.hear_a("join").await;
    }
    assert_eq!(join["info"], json!({"name": "Ann"}));

    other.cut();
    let mut other = hall.dial().await;
    other.resume(token.as_str().unwrap(), json!({})).await;
    other.subscribe("chat 2", json!("now")).await;
    let members = json!({"type": "presence", "channel": "chat 2"});
    let members = watcher.ask(members).await;
    assert_eq!(members["members"][0]["info"], json!({"name": "Ann"}));
}

#[tokio::test]
async fn data_arrives_unchanged_with_its_tags_and_binary_as_base64() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("fleeting/a", json!("now")).await;
    let data = r#"{ "spaces":  "stay", "n": 1e5 }"#;
    let tags = r#"{"lang":"en"}"#;
    let publish = format!(
        r#"{{"type":"publish","id":1,"channel":"fleeting/a","data":{data},"tags":{tags}}}"#
    );
    let mut other = hall.caller().await;
    other.say(&publish).await;
    other.hear_a("published").await;
    let text = caller.hear_text().await;
    assert!(text.contains(data) && text.contains(tags), "{text}");

    let bytes = json!({"type": "publish", "channel": "fleeting/a", "base64": "AAH/"});
    other.ask(bytes).await;
    assert_eq!(caller.hear_a("message").await["base64"], "AAH/");
}

#[tokio::test]
async fn history_can_be_read_without_subscribing() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(caller.publish("chat", json!(n)).await);
    }
    let ask = json!({"type": "history", "channel": "chat", "since": positions[1], "limit": 2});
    let history = caller.ask(ask).await;
    assert_eq!(history["head"], positions[4]);
    let data: Vec<_> = history["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["data"])
        .collect();
    assert_eq!(data, [&json!(2), &json!(3)]);
    assert_eq!(history.get("gap"), None);

    let newest = caller
        .ask(json!({"type": "history", "channel": "chat", "limit": 1}))
        .await;
    assert_eq!(newest["messages"][0]["data"], 4);
    let unknown = json!({"type": "history", "channel": "chat", "since": "17.3"});
    assert_eq!(caller.ask(unknown).await["gap"], "epoch_changed");
}

#[tokio::test]
async fn members_are_reported_and_a_client_that_closes_leaves_immediately() {
    let hall = Hall::open(config()).await;
    let mut watcher = hall.caller().await;
    watcher
        .ask(json!({"type": "subscribe", "channel": "chat", "presence": true}))
        .await;
    let mut other = hall.caller().await;
    other.subscribe("chat", json!("now")).await;
    loop {
        let join = watcher.hear_a("join").await;
        assert_eq!(join["channel"], "chat");
        if join["session"] == other.session {
            break;
        }
        assert_eq!(
            join["session"], watcher.session,
            "one's own join may be heard, too"
        );
    }
    let members = watcher
        .ask(json!({"type": "presence", "channel": "chat"}))
        .await;
    assert_eq!(members["total"], 2);

    let session = other.session.clone();
    other
        .socket
        .close(offhook::protocol::CloseCode::NORMAL, "")
        .await
        .unwrap();
    assert_eq!(watcher.hear_a("leave").await["session"], session);
    let members = watcher
        .ask(json!({"type": "presence", "channel": "chat"}))
        .await;
    assert_eq!(members["members"][0]["session"], watcher.session);
    assert_eq!(members["total"], 1);
}

#[tokio::test]
async fn own_messages_in_a_filter_have_the_positions_of_channel_and_filter() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let mut other = hall.caller().await;
    let wish = json!({ "type": "subscribe", "filter": "chat/#", "subscription": 4, "echo": false });
    assert_eq!(caller.ask(wish).await["type"], "subscribed");
    let first = other.publish("chat/1", json!("theirs")).await;
    let theirs = caller.hear_a("message").await;
    let second = caller.publish("chat/1", json!("mine")).await;
    let own = caller.hear_a("own").await;
    assert_eq!(
        (
            &own["channel"],
            &own["subscription"],
            &own["position"],
            &own["previous"]
        ),
        (&json!("chat/1"), &json!(4), &json!(second), &json!(first))
    );
    other.publish("chat/2", json!("elsewhere")).await;
    let elsewhere = caller.hear_a("message").await;
    let place = |message: &serde_json::Value| {
        let at = message["at"].as_str().unwrap();
        at.split_once('.').unwrap().1.parse::<u64>().unwrap()
    };
    assert!(
        place(&theirs) < place(&own) && place(&own) < place(&elsewhere),
        "{own}"
    );
}

#[tokio::test]
async fn after_unsubscribing_nothing_more_is_received() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    let gone = caller
        .ask(json!({"type": "unsubscribe", "channel": "chat"}))
        .await;
    assert_eq!(
        (&gone["type"], &gone["channel"]),
        (&json!("unsubscribed"), &json!("chat"))
    );
    caller.publish("chat", json!("nobody hears")).await;
    assert_eq!(caller.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn a_consumer_continues_where_it_acknowledged() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let ask = json!({"type": "ack", "channel": "chat", "consumer": "billing"});
    let acked = caller.ask(ask.clone()).await;
    assert_eq!(
        (&acked["type"], acked.get("position")),
        (&json!("acked"), None)
    );
    let position = caller.publish("chat", json!(1)).await;
    let ack =
        json!({"type": "ack", "channel": "chat", "consumer": "billing", "position": position});
    assert_eq!(caller.ask(ack).await["position"], position);
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    back.resume(&token, json!({})).await;
    assert_eq!(back.ask(ask.clone()).await["position"], position);
    // Before this was fixed, one stranger stopped everybody's "billing".
    let acked = hall.caller().await.ask(ask).await;
    assert_eq!(acked.get("position"), None, "a stranger's is its own");
}

/// Before, such a cursor could never be moved back, and stopped its consumer permanently.
#[tokio::test]
async fn an_acknowledgement_beyond_the_head_is_refused_and_moves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for config in [config(), on_disk(directory.path())] {
        let hall = Hall::open(config).await;
        let mut caller = hall.caller().await;
        let first = caller.publish("chat", json!(1)).await;
        let ack = |position: &str| json!({"type": "ack", "channel": "chat", "consumer": "billing", "position": position});
        assert_eq!(caller.ask(ack(&first)).await["position"], first);
        let (epoch, _) = first.split_once('.').unwrap();
        for beyond in [
            format!("{epoch}.2"),
            format!("{epoch}.1000000"),
            "17.1".to_owned(),
        ] {
            let refused = caller.refused(ack(&beyond)).await;
            assert_eq!(
                (&refused["code"], &refused["retry"]),
                (&json!("bad_request"), &json!("never"))
            );
        }
        let ask = json!({"type": "ack", "channel": "chat", "consumer": "billing"});
        assert_eq!(caller.ask(ask).await["position"], first);
        let second = caller.publish("chat", json!(2)).await;
        assert_eq!(
            caller.ask(ack(&second)).await["position"],
            second,
            "it goes on"
        );
        hall.close().await;
    }
}

/// Before this was fixed, messages 3 and 5 were published, and 4 after them.
#[tokio::test]
async fn pipelined_publishes_keep_their_order_when_one_is_rate_limited() {
    let mut slow = config();
    slow.limits.publishes_per_second = 20;
    slow.limits.publish_burst = 3;
    slow.limits.flood = 1_000_000;
    let hall = Hall::open(slow).await;
    let mut reader = hall.caller().await;
    reader.subscribe("chat", json!("now")).await;
    let mut caller = hall.caller().await;
    let publish =
        |n: u64| json!({"type": "publish", "channel": "chat", "data": n, "key": n.to_string()});
    // All at once; refused ones are sent again in order, all at once again.
    let mut left: Vec<u64> = (0..12).collect();
    let mut refusals = 0;
    while !left.is_empty() {
        let mut ids = Vec::new();
        for n in &left {
            ids.push((caller.send(publish(*n)).await, *n));
        }
        let mut refused = Vec::new();
        for _ in 0..ids.len() {
            let answer = caller.hear().await;
            let (_, n) = ids.iter().find(|(id, _)| answer["id"] == *id).unwrap();
            if answer["type"] == "error" {
                assert_eq!(answer["code"], "rate_limited", "{answer}");
                refused.push(*n);
                refusals += 1;
            }
        }
        refused.sort_unstable();
        left = refused;
    }
    assert!(refusals > 0);
    for n in 0..12 {
        assert_eq!(reader.hear_a("message").await["data"], n);
    }
    hall.close().await;
}

/// Before this was fixed, the second message vanished, acknowledged.
#[tokio::test]
async fn two_anonymous_clients_with_the_same_key_publish_two_messages() {
    let hall = Hall::open(config()).await;
    let (mut ann, mut ben) = (hall.caller().await, hall.caller().await);
    let publish = json!({"type": "publish", "channel": "chat", "data": 1, "key": "a1"});
    let first = ann.ask(publish.clone()).await;
    let second = ben.ask(publish.clone()).await;
    assert_ne!(first["position"], second["position"]);
    assert_eq!(second.get("duplicate"), None);
    let token = ann.resume.clone();
    ann.cut();
    let mut back = hall.dial().await;
    back.resume(&token, json!({})).await;
    let again = back.ask(publish).await;
    assert_eq!(
        (&again["position"], &again["duplicate"]),
        (&first["position"], &json!(true))
    );
}

#[tokio::test]
async fn clients_of_different_workers_share_a_channel() {
    let workers = NonZeroUsize::new(2).unwrap();
    let hall = Hall::open(Config {
        workers,
        ..config()
    })
    .await;
    // The kernel spreads connections over the workers; this many are never all on one.
    let mut callers = Vec::new();
    for _ in 0..40 {
        let mut caller = hall.caller().await;
        caller.subscribe("chat", json!("now")).await;
        callers.push(caller);
    }
    let mut publishers = [
        hall.caller().await,
        hall.caller().await,
        hall.caller().await,
    ];
    let mut positions = Vec::new();
    for n in 0..30 {
        positions.push(publishers[n % 3].publish("chat", json!(n)).await);
    }
    for caller in &mut callers {
        for (n, position) in positions.iter().enumerate() {
            let message = caller.hear_a("message").await;
            assert_eq!(
                (&message["data"], &message["position"]),
                (&json!(n), &json!(position))
            );
        }
    }
}

#[tokio::test]
async fn compressed_and_plain_connections_get_the_same_messages() {
    let mut deflating = config();
    deflating.messages.deflate = true;
    let hall = Hall::open(deflating).await;
    let compressed = hall
        .number()
        .deflate(offhook::protocol::deflate::DeflateConfig::default());
    let mut compressed = crate::caller::Caller::new(compressed.open().await.unwrap());
    assert!(compressed.socket.deflate().is_some());
    compressed.connect().await;
    let mut plain = hall.caller().await;
    for caller in [&mut compressed, &mut plain] {
        caller.subscribe("chat", json!("now")).await;
    }
    let data = json!("the same again and again ".repeat(100));
    let mut publisher = hall.caller().await;
    for _ in 0..3 {
        publisher.publish("chat", data.clone()).await;
    }
    for caller in [&mut compressed, &mut plain] {
        for _ in 0..3 {
            assert_eq!(caller.hear_a("message").await["data"], data);
        }
    }
}

#[tokio::test]
async fn a_call_without_a_backend_is_refused_immediately() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let refused = caller
        .refused(json!({"type": "call", "method": "orders.cancel", "data": 7}))
        .await;
    assert_eq!(refused["code"], "forbidden");
    assert_eq!(caller.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn changed_info_of_a_session_survives_a_reconnect() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    let info = json!({"name": "Ann", "away": true});
    let update = json!({"type": "presence_update", "info": info});
    assert_eq!(caller.ask(update).await["type"], "presence_updated");
    caller.fresh_token().await;
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    back.resume(&token, json!({})).await;
    back.hear_a("subscribed").await;
    let members = back
        .ask(json!({"type": "presence", "channel": "chat"}))
        .await;
    assert_eq!(members["members"][0]["info"], info);
}

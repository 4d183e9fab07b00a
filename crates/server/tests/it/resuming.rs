//! Reconnecting with a token, with positions, over restarts, and to another worker.

use std::{num::NonZeroUsize, time::Duration};

use offhook::protocol::CloseCode;
use offhook_server::{
    Config,
    config::{Resume, ResumeKey},
};
use serde_json::{Value, json};

use crate::{
    caller::Caller,
    hall::{Hall, config, on_disk},
};

#[tokio::test]
async fn a_session_continues_where_its_connection_was_lost() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!(1)).await;
    let heard = caller.hear_a("message").await;
    let (token, session) = (caller.resume.clone(), caller.session.clone());
    caller.cut();
    publisher.publish("chat", json!(2)).await;

    let mut back = hall.dial().await;
    let positions = json!({"chat": heard["position"]});
    let welcome = back.resume(&token, positions).await;
    assert_eq!(welcome["session"], session);
    let subscribed = back.hear_a("subscribed").await;
    assert_eq!(
        (subscribed.get("id"), &subscribed["live"]),
        (None, &json!(false))
    );
    assert_eq!(back.hear_a("message").await["data"], 2);
    assert!(back.restored, "it is said when all subscriptions are back");
    back.hear_a("live").await;
    publisher.publish("chat", json!(3)).await;
    assert_eq!(back.hear_a("message").await["data"], 3);
}

#[tokio::test]
async fn without_positions_a_session_continues_where_its_token_was_sealed() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!(1)).await;
    caller.hear_a("message").await;
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    back.resume(&token, json!({})).await;
    back.hear_a("subscribed").await;
    assert_eq!(
        back.hear_a("message").await["data"],
        1,
        "again: the token is older"
    );
}

#[tokio::test]
async fn a_client_that_returns_within_the_grace_time_neither_leaves_nor_joins() {
    let hall = Hall::open(config()).await;
    let mut watcher = hall.caller().await;
    watcher.subscribe("chat", json!("now")).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    watcher
        .ask(json!({"type": "unsubscribe", "channel": "chat"}))
        .await;
    watcher
        .ask(json!({"type": "subscribe", "channel": "chat", "presence": true}))
        .await;
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    back.resume(&token, json!({})).await;
    back.hear_a("subscribed").await;
    let mut newcomer = hall.caller().await;
    newcomer.subscribe("chat", json!("now")).await;
    // The first one announced, except for the watcher itself.
    loop {
        let change = watcher.hear_a("join").await;
        if change["session"] != watcher.session {
            assert_eq!(change["session"], newcomer.session);
            break;
        }
    }
}

#[tokio::test]
async fn a_session_resumed_while_its_old_connection_is_open_replaces_it() {
    let hall = Hall::open(config()).await;
    let mut old = hall.caller().await;
    let mut new = hall.dial().await;
    assert_eq!(
        new.resume(&old.resume.clone(), json!({})).await["session"],
        old.session
    );
    let (heard, closed) = old.end().await;
    assert_eq!(heard, [json!({"type": "closing", "reason": "replaced"})]);
    assert_eq!(closed.code.get(), 4001);
    assert_eq!(new.ask(json!({"type": "ping"})).await["type"], "pong");
}

/// Before, a connection cut within half a second undid the unsubscribe.
#[tokio::test]
async fn an_ended_subscription_is_not_restored_after_an_immediate_disconnect() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller.subscribe("chat1", json!("now")).await;
    caller.subscribe("chat2", json!("now")).await;
    caller.fresh_token().await;
    let unsubscribe = json!({"type": "unsubscribe", "channel": "chat1"});
    assert_eq!(caller.ask(unsubscribe).await["type"], "unsubscribed");
    let token = caller.resume.clone();
    caller.cut();
    let mut back = hall.dial().await;
    assert_eq!(back.resume(&token, json!({})).await["type"], "welcome");
    assert_eq!(back.hear_a("subscribed").await["channel"], "chat2");
    assert_eq!(back.ask(json!({"type": "ping"})).await["type"], "pong");
}

/// Connections of one client reach any worker. Before this was fixed, 11 of 20 stayed open.
#[tokio::test]
async fn a_session_resumed_on_another_worker_replaces_its_older_connection() {
    let hall = Hall::open(Config {
        workers: NonZeroUsize::new(4).unwrap(),
        ..config()
    })
    .await;
    let mut watcher = hall.caller().await;
    let request = json!({"type": "subscribe", "channel": "chat", "presence": true});
    assert_eq!(watcher.ask(request).await["type"], "subscribed");
    watcher.hear_a("join").await;
    for _ in 0..20 {
        let mut old = hall.caller().await;
        old.subscribe("chat", json!("now")).await;
        old.fresh_token().await;
        assert_eq!(watcher.hear_a("join").await["session"], old.session);
        let mut new = hall.dial().await;
        let welcome = new.resume(&old.resume.clone(), json!({})).await;
        assert_eq!(welcome["session"], old.session);
        let (heard, closed) = old.end().await;
        assert_eq!(heard, [json!({"type": "closing", "reason": "replaced"})]);
        assert_eq!(closed.code.get(), 4001);
        new.hear_a("subscribed").await;
        // The session leaves when its newer connection does, and has not left before.
        new.socket.close(CloseCode::NORMAL, "").await.unwrap();
        assert_eq!(watcher.hear_a("leave").await["session"], new.session);
    }
}

/// Before this was fixed, the newer connection was displaced permanently.
#[tokio::test]
async fn a_late_connect_with_an_older_token_does_not_displace_the_newer_connection() {
    let hall = Hall::open(config()).await;
    let caller = hall.caller().await;
    let older = caller.resume.clone();
    caller.cut();
    let mut newer = hall.dial().await;
    assert_eq!(newer.resume(&older, json!({})).await["type"], "welcome");
    // It has what the server told it, including a newer token.
    assert_eq!(newer.ask(json!({"type": "ping"})).await["type"], "pong");
    let mut late = hall.dial().await;
    let refused = late.resume(&older, json!({})).await;
    assert_eq!(refused["code"], "bad_token", "{refused}");
    assert_eq!(newer.ask(json!({"type": "ping"})).await["type"], "pong");
    // The refused one can still connect as a new session.
    late.connect().await;
    assert_ne!(late.session, newer.session);
}

#[tokio::test]
async fn keys_can_be_replaced_while_running_and_older_tokens_stay_valid_as_configured() {
    let key = |byte| ResumeKey([byte; 32]);
    let hall = Hall::open(Config {
        resume: Resume {
            key: Some(key(1)),
            ..Resume::default()
        },
        ..config()
    })
    .await;
    let caller = hall.caller().await;
    let sealed_before = caller.resume.clone();
    caller.cut();
    hall.set_resume_keys(&[key(2), key(1)]);
    let mut back = hall.dial().await;
    assert_eq!(
        back.resume(&sealed_before, json!({})).await["type"],
        "welcome"
    );
    let sealed_after = back.resume.clone();
    back.cut();
    hall.set_resume_keys(&[key(2)]);
    let mut again = hall.dial().await;
    assert_eq!(
        again.resume(&sealed_before, json!({})).await["code"],
        "bad_token"
    );
    assert_eq!(
        again.resume(&sealed_after, json!({})).await["type"],
        "welcome"
    );
}

#[tokio::test]
async fn after_an_unusable_token_is_refused_the_client_can_connect_without_one() {
    let mut short = config();
    short.resume.expiry = Duration::ZERO;
    let hall = Hall::open(short).await;
    let expired = hall.caller().await.resume.clone();
    let mut caller = hall.dial().await;
    for token in ["v3.Zm9v", "r3.Zm9v", "nonsense", "", &expired] {
        let refused = caller.resume(token, json!({})).await;
        assert_eq!(
            (&refused["code"], &refused["retry"]),
            (&json!("bad_token"), &json!("never"))
        );
    }
    caller.connect().await;
}

#[tokio::test]
async fn nodes_with_the_same_key_accept_each_others_tokens() {
    let shared = |key: u8| Config {
        resume: Resume {
            key: Some(ResumeKey([key; 32])),
            ..Resume::default()
        },
        ..config()
    };
    let (one, other) = (Hall::open(shared(1)).await, Hall::open(shared(1)).await);
    let stranger = Hall::open(shared(2)).await;
    let mut caller = one.caller().await;
    let session = caller.session.clone();
    caller.subscribe("chat", json!("now")).await;
    caller.fresh_token().await;
    let token = caller.resume.clone();

    let mut back = other.dial().await;
    assert_eq!(back.resume(&token, json!({})).await["session"], session);
    // Its stream is a different one, and the client is told.
    back.hear_a("subscribed").await;
    let refused = stranger.dial().await.resume(&token, json!({})).await;
    assert_eq!(refused["code"], "bad_token");
}

#[tokio::test]
async fn numbered_subscriptions_are_restored_with_their_numbers_and_positions() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    for number in [7, 8] {
        let request = json!({"type": "subscribe", "channel": "chat", "subscription": number});
        let subscribed = caller.ask(request).await;
        assert_eq!(
            (&subscribed["type"], &subscribed["subscription"]),
            (&json!("subscribed"), &json!(number))
        );
    }
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!(1)).await;
    let mut numbers = Vec::new();
    let mut position = json!(null);
    for _ in 0..2 {
        let message = caller.hear_a("message").await;
        numbers.push(message["subscription"].as_u64());
        position = message["position"].clone();
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(7), Some(8)]);
    caller.fresh_token().await;
    let token = caller.resume.clone();
    caller.cut();
    publisher.publish("chat", json!(2)).await;

    let mut back = hall.dial().await;
    let connect = json!({
        "type": "connect", "resume": token, "lineage": true,
        "subscription_positions": {"7": position, "8": position},
    });
    assert_eq!(back.ask(connect).await["type"], "welcome");
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let message = back.hear().await;
        assert_ne!(message["type"], "gap", "{message}");
        if message["type"] == "message" {
            heard.push((message["subscription"].as_u64(), message["data"].as_u64()));
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, [(Some(7), Some(2)), (Some(8), Some(2))]);
}

/// Everything until `live`, as data; a gap would be a message without data.
async fn caught_up(caller: &mut Caller) -> Vec<Value> {
    let mut data = Vec::new();
    loop {
        let message = caller.hear().await;
        if message["type"] == "live" {
            return data;
        }
        assert_eq!(message["type"], "message", "{message}");
        data.push(message["data"].clone());
    }
}

#[tokio::test]
async fn a_restart_on_the_same_data_loses_nothing_and_causes_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let mut token = None::<(String, String)>;
    let mut epochs = Vec::new();
    let mut expected = 0;
    for life in 0..3 {
        let hall = Hall::open(on_disk(directory.path())).await;
        let mut publisher = hall.caller().await;
        let mut caller = hall.dial().await;
        match &token {
            None => {
                caller.connect().await;
                caller.subscribe("chat", json!("start")).await;
                caller.fresh_token().await;
            }
            Some((token, position)) => {
                let welcome = caller.resume(token, json!({"chat": position})).await;
                assert_eq!(
                    welcome["type"], "welcome",
                    "the key outlived the restart: {welcome}"
                );
                caller.hear_a("subscribed").await;
                // Publications made while it was disconnected.
                for data in caught_up(&mut caller).await {
                    assert_eq!(data, expected);
                    expected += 1;
                }
            }
        }
        for n in 0..10 {
            publisher.publish("chat", json!(life * 20 + n)).await;
            let message = caller.hear_a("message").await;
            assert_eq!(message["data"], expected);
            expected += 1;
            let position = message["position"].as_str().unwrap().to_owned();
            epochs.push(position.split('.').next().unwrap().to_owned());
            token = Some((caller.resume.clone(), position));
        }
        caller.cut();
        for n in 10..20 {
            publisher.publish("chat", json!(life * 20 + n)).await;
        }
        drop(publisher);
        hall.close().await;
    }
    assert_eq!(expected, 50);
    epochs.dedup();
    assert_eq!(epochs.len(), 3, "each start begins an epoch: {epochs:?}");
}

/// Clients of the original `offhook.v1.json` compare offsets, and take another epoch for a gap.
#[tokio::test]
async fn a_client_without_lineage_is_told_of_a_new_epoch_by_an_empty_gap() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(on_disk(directory.path())).await;
    let before = hall.caller().await.publish("chat", json!(1)).await;
    hall.close().await;
    let hall = Hall::open(on_disk(directory.path())).await;
    let mut old = hall.dial().await;
    old.ask(json!({"type": "connect"})).await;
    old.subscribe("chat", json!(before)).await;
    let position = hall.caller().await.publish("chat", json!(2)).await;
    let gap = old.hear_a("gap").await;
    let epoch = position.split('.').next().unwrap();
    assert_eq!(
        (&gap["from"], &gap["to"], &gap["reason"]),
        (
            &json!(before),
            &json!(format!("{epoch}.1")),
            &json!("epoch_changed")
        )
    );
    assert_eq!(old.hear_a("message").await["position"], position);
    hall.close().await;
}

/// A filter's subscription that began, and its token.
async fn filtering(hall: &Hall, filter: &str) -> Caller {
    let mut caller = hall.caller().await;
    let subscribe = json!({"type": "subscribe", "filter": filter, "subscription": 7});
    assert_eq!(caller.ask(subscribe).await["type"], "subscribed");
    caller
}

/// The new process knows nothing of channels that were only in the memory of the one before.
#[tokio::test]
async fn a_filter_that_was_away_over_a_restart_is_told_if_channels_without_history_may_have_lost_something()
 {
    let directory = tempfile::tempdir().unwrap();
    for (filter, is_told) in [("#", true), ("fleeting/+", true), ("chat/#", false)] {
        let hall = Hall::open(on_disk(directory.path())).await;
        let mut away = filtering(&hall, filter).await;
        let mut publisher = hall.caller().await;
        publisher.publish("chat/a", json!("before")).await;
        publisher.publish("fleeting/a", json!("before")).await;
        let mut at = Value::Null;
        let matching = if filter == "#" { 2 } else { 1 };
        for _ in 0..matching {
            at = away.hear_a("message").await["at"].clone();
        }
        drop(away);
        publisher.publish("fleeting/a", json!("lost")).await;
        publisher.publish("chat/a", json!("missed")).await;
        drop(publisher);
        hall.close().await;
        let hall = Hall::open(on_disk(directory.path())).await;
        let mut back = hall.caller().await;
        let subscribe = json!({
            "type": "subscribe", "filter": filter, "subscription": 7, "since": at,
        });
        assert_eq!(back.ask(subscribe).await["live"], false);
        if is_told {
            let gap = back.hear_a("gap").await;
            assert_eq!(
                (
                    &gap["filter"],
                    &gap["reason"],
                    &gap["from"],
                    &gap["channel"]
                ),
                (&json!(filter), &json!("restarted"), &at, &Value::Null)
            );
        }
        if filter != "fleeting/+" {
            assert_eq!(back.hear_a("message").await["data"], "missed");
        }
        back.hear_a("live").await;
        hall.close().await;
    }
}

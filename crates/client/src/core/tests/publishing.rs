//! Publications: queued, sent, sent again, answered once.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn published(harness: &mut Harness, asked: &Value, offset: u64) {
    harness.says(json!({"type": "published", "id": asked["id"], "position": at(offset)}));
}

fn keys(sent: &[Value]) -> Vec<&str> {
    sent.iter()
        .filter_map(|message| message["key"].as_str())
        .collect()
}

#[test]
fn publications_made_while_disconnected_are_sent_in_order_each_after_the_previous_answer() {
    let mut harness = Harness::new();
    for key in ["a", "b", "c"] {
        harness.publish("chat", key);
    }
    harness.come_online("r1");
    for (key, offset) in [("a", 1), ("b", 2), ("c", 3)] {
        let asked = harness.sent_one("publish");
        assert_eq!(asked["key"], key);
        published(&mut harness, &asked, offset);
    }
    assert_eq!(harness.answers.len(), 3);
    assert_eq!(harness.core.unanswered(), 0);
}

#[test]
fn other_channels_and_unordered_publications_do_not_wait() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    harness.publish("chat", "b");
    harness.publish("news", "c");
    harness.try_publish("chat", "d", false).expect("room");
    assert_eq!(keys(&harness.sent()), ["a", "c", "d"]);
}

#[test]
fn unanswered_publications_are_sent_again_with_their_keys_on_the_next_connection() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    harness.publish("chat", "b");
    harness.publish("news", "c");
    let sent = harness.sent();
    published(&mut harness, &sent[1], 9);
    harness.is_lost();
    harness.come_online("r2");
    let asked = harness.sent_one("publish");
    assert_eq!(asked["key"], "a");
    harness.says(json!({
        "type": "published", "id": asked["id"], "position": at(4), "duplicate": true,
    }));
    assert_eq!(keys(&harness.sent()), ["b"]);
    let Ok(Answer::Published(answer)) = &harness.answers[1].1 else {
        panic!()
    };
    assert!(answer.duplicate);
    assert_eq!(answer.position.to_string(), at(4));
}

#[test]
fn a_temporary_refusal_delays_everything_until_the_time_given_by_the_server() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    harness.publish("chat", "b");
    let asked = harness.sent_one("publish");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "rate_limited", "message": "",
        "retry": "later", "retry_after_ms": 100,
    }));
    harness.publish("news", "c");
    assert!(harness.sent().is_empty());
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Held { .. }
    ));
    harness.wait(Duration::from_millis(99));
    assert!(harness.sent().is_empty());
    harness.wait(Duration::from_millis(1));
    assert_eq!(keys(&harness.sent()), ["a", "c"]);
    assert!(harness.answers.is_empty());
}

#[test]
fn without_a_time_from_the_server_the_pauses_grow() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let asked = harness.sent_one("publish");
        harness.says(json!({
            "type": "error", "id": asked["id"], "code": "storage_full", "message": "",
            "retry": "later",
        }));
        let ConnectionEvent::Held { pause, .. } = *harness.last_connection() else {
            panic!("{:?}", harness.last_connection())
        };
        longest = longest.max(pause);
        harness.now += pause;
        harness.core.handle_timeout(harness.now);
        // Messages keep arriving, so the heartbeat sends no ping.
        harness.says(json!({"type": "token", "resume": "r1"}));
        harness.core.todo.clear();
    }
    assert!(
        longest > Duration::from_secs(10) && longest <= Duration::from_secs(30),
        "{longest:?}"
    );
}

#[test]
fn a_final_refusal_is_the_answer_and_the_next_publication_is_sent() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    harness.publish("chat", "b");
    let asked = harness.sent_one("publish");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "forbidden", "message": "no",
        "retry": "never",
    }));
    assert!(matches!(
        &harness.answers[..],
        [(_, Err(Error::Refused(_)))]
    ));
    assert_eq!(keys(&harness.sent()), ["b"]);
}

#[test]
fn the_queue_is_limited_and_has_room_again_after_an_answer() {
    let mut harness = Harness::online("r1");
    for n in 0..10 {
        harness.publish("chat", &n.to_string());
    }
    assert_eq!(harness.try_publish("chat", "too many", true), None);
    let asked = harness.sent_one("publish");
    published(&mut harness, &asked, 1);
    assert!(harness.try_publish("chat", "welcome", true).is_some());
}

#[test]
fn no_more_publications_are_in_flight_than_a_server_accepts_per_connection() {
    let mut harness = Harness::with(Settings {
        queue: usize::MAX,
        ..settings()
    });
    for n in 0..100 {
        harness.publish(&format!("channel {n}"), "a");
    }
    harness.come_online("r1");
    let sent = harness.sent();
    assert_eq!(sent.len(), 64);
    published(&mut harness, &sent[0], 1);
    harness.sent_one("publish");
}

#[test]
fn closing_ends_unanswered_requests() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    harness.sent_one("publish");
    harness.core.end(&Error::Closed);
    harness.settle();
    assert!(matches!(&harness.answers[..], [(_, Err(Error::Closed))]));
    assert_eq!(harness.core.step(), Step::End);
}

#[test]
fn a_request_is_repeated_until_it_is_answered_or_dropped() {
    let mut harness = Harness::new();
    let ask = |harness: &mut Harness, name| {
        let command = Command::Presence {
            channel: channel(name),
        };
        harness
            .core
            .question(command, Repeat::Yes)
            .expect("not ended")
    };
    ask(&mut harness, "a");
    let forgotten = ask(&mut harness, "b");
    ask(&mut harness, "c");
    harness.come_online("r1");
    assert_eq!(harness.sent().len(), 3);
    harness.core.forget(forgotten);
    harness.is_lost();
    harness.come_online("r2");
    let sent = harness.sent();
    assert_eq!(sent.len(), 2, "{sent:?}");
    harness.says(json!({
        "type": "error", "id": sent[0]["id"], "code": "busy", "message": "", "retry": "later",
        "retry_after_ms": 50,
    }));
    harness.says(json!({
        "type": "members", "id": sent[1]["id"], "channel": "c", "members": [], "total": 0,
    }));
    assert!(matches!(
        &harness.answers[..],
        [(_, Ok(Answer::Members(_)))]
    ));
    harness.wait(Duration::from_millis(50));
    assert_eq!(harness.sent_one("presence")["channel"], "a");
}

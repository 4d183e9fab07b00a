//! Publications: queued, sent, sent again, answered once.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

fn published(desk: &mut Desk, asked: &Value, offset: u64) {
    desk.says(json!({"type": "published", "id": asked["id"], "position": at(offset)}));
}

fn keys(sent: &[Value]) -> Vec<&str> {
    sent.iter()
        .filter_map(|message| message["key"].as_str())
        .collect()
}

#[test]
fn what_is_published_while_away_goes_out_in_order_each_after_the_answer_to_the_one_before() {
    let mut desk = Desk::new();
    for key in ["a", "b", "c"] {
        desk.publish("chat", key);
    }
    desk.come_online("r1");
    for (key, offset) in [("a", 1), ("b", 2), ("c", 3)] {
        let asked = desk.sent_one("publish");
        assert_eq!(asked["key"], key);
        published(&mut desk, &asked, offset);
    }
    assert_eq!(desk.answers.len(), 3);
    assert_eq!(desk.core.unanswered(), 0);
}

#[test]
fn other_channels_and_the_unordered_do_not_wait() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    desk.publish("chat", "b");
    desk.publish("news", "c");
    desk.try_publish("chat", "d", false).expect("room");
    assert_eq!(keys(&desk.sent()), ["a", "c", "d"]);
}

#[test]
fn what_was_not_answered_goes_again_with_its_key_on_the_next_line() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    desk.publish("chat", "b");
    desk.publish("news", "c");
    let sent = desk.sent();
    published(&mut desk, &sent[1], 9);
    desk.is_lost();
    desk.come_online("r2");
    let asked = desk.sent_one("publish");
    assert_eq!(asked["key"], "a");
    desk.says(json!({
        "type": "published", "id": asked["id"], "position": at(4), "duplicate": true,
    }));
    assert_eq!(keys(&desk.sent()), ["b"]);
    let Ok(Answer::Published(answer)) = &desk.answers[1].1 else {
        panic!()
    };
    assert!(answer.duplicate);
    assert_eq!(answer.position.to_string(), at(4));
}

#[test]
fn a_refusal_for_now_holds_everything_back_until_the_server_wants_it_again() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    desk.publish("chat", "b");
    let asked = desk.sent_one("publish");
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "rate_limited", "message": "",
        "retry": "later", "retry_after_ms": 100,
    }));
    desk.publish("news", "c");
    assert!(desk.sent().is_empty());
    assert!(matches!(
        desk.last_connection(),
        ConnectionEvent::Held { .. }
    ));
    desk.wait(Duration::from_millis(99));
    assert!(desk.sent().is_empty());
    desk.wait(Duration::from_millis(1));
    assert_eq!(keys(&desk.sent()), ["a", "c"]);
    assert!(desk.answers.is_empty());
}

#[test]
fn without_a_time_the_pauses_are_our_own_and_grow() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let asked = desk.sent_one("publish");
        desk.says(json!({
            "type": "error", "id": asked["id"], "code": "storage_full", "message": "",
            "retry": "later",
        }));
        let ConnectionEvent::Held { pause, .. } = *desk.last_connection() else {
            panic!("{:?}", desk.last_connection())
        };
        longest = longest.max(pause);
        desk.now += pause;
        desk.core.handle_timeout(desk.now);
        // Something is heard all the time: the heartbeat is content.
        desk.says(json!({"type": "token", "resume": "r1"}));
        desk.core.todo.clear();
    }
    assert!(
        longest > Duration::from_secs(10) && longest <= Duration::from_secs(30),
        "{longest:?}"
    );
}

#[test]
fn a_refusal_for_good_is_the_answer_and_the_next_one_goes() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    desk.publish("chat", "b");
    let asked = desk.sent_one("publish");
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "forbidden", "message": "no",
        "retry": "never",
    }));
    assert!(matches!(&desk.answers[..], [(_, Err(Error::Refused(_)))]));
    assert_eq!(keys(&desk.sent()), ["b"]);
}

#[test]
fn the_queue_is_bounded_and_has_room_again_after_an_answer() {
    let mut desk = Desk::online("r1");
    for n in 0..10 {
        desk.publish("chat", &n.to_string());
    }
    assert_eq!(desk.try_publish("chat", "too many", true), None);
    let asked = desk.sent_one("publish");
    published(&mut desk, &asked, 1);
    assert!(desk.try_publish("chat", "welcome", true).is_some());
}

#[test]
fn no_more_are_under_way_than_a_server_takes_of_one_connection() {
    let mut desk = Desk::with(Settings {
        queue: usize::MAX,
        ..settings()
    });
    for n in 0..100 {
        desk.publish(&format!("channel {n}"), "a");
    }
    desk.come_online("r1");
    let sent = desk.sent();
    assert_eq!(sent.len(), 64);
    published(&mut desk, &sent[0], 1);
    desk.sent_one("publish");
}

#[test]
fn closing_ends_what_was_not_answered() {
    let mut desk = Desk::online("r1");
    desk.publish("chat", "a");
    desk.sent_one("publish");
    desk.core.end(&Error::Closed);
    desk.settle();
    assert!(matches!(&desk.answers[..], [(_, Err(Error::Closed))]));
    assert_eq!(desk.core.step(), Step::End);
}

#[test]
fn a_question_is_asked_again_until_it_is_answered_or_forgotten() {
    let mut desk = Desk::new();
    let ask = |desk: &mut Desk, name| {
        let command = Command::Presence {
            channel: channel(name),
        };
        desk.core.question(command).expect("not ended")
    };
    ask(&mut desk, "a");
    let forgotten = ask(&mut desk, "b");
    ask(&mut desk, "c");
    desk.come_online("r1");
    assert_eq!(desk.sent().len(), 3);
    desk.core.forget(forgotten);
    desk.is_lost();
    desk.come_online("r2");
    let sent = desk.sent();
    assert_eq!(sent.len(), 2, "{sent:?}");
    desk.says(json!({
        "type": "error", "id": sent[0]["id"], "code": "busy", "message": "", "retry": "later",
        "retry_after_ms": 50,
    }));
    desk.says(json!({
        "type": "members", "id": sent[1]["id"], "channel": "c", "members": [], "total": 0,
    }));
    assert!(matches!(&desk.answers[..], [(_, Ok(Answer::Members(_)))]));
    desk.wait(Duration::from_millis(50));
    assert_eq!(desk.sent_one("presence")["channel"], "a");
}

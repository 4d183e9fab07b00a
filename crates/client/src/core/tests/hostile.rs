//! Hostile or broken servers must not cause panics, memory growth or busy loops.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn breaks_the_rules(harness: &mut Harness) {
    let last = harness.last_connection();
    assert!(
        matches!(
            last,
            ConnectionEvent::Lost {
                cause: Error::Server(_),
                ..
            }
        ),
        "{last:?}"
    );
}

#[test]
fn an_invalid_message_ends_the_connection() {
    for text in ["", "{}", "[1]", "\"hello\"", r#"{"type":"pong"}"#] {
        let mut harness = Harness::online("r1");
        harness.core.handle_message(text, harness.now);
        harness.settle();
        breaks_the_rules(&mut harness);
    }
    let mut harness = Harness::online("r1");
    harness
        .core
        .handle_binary(b"\xa1\x64type\x68restored", harness.now);
    harness.settle();
    breaks_the_rules(&mut harness);
}

#[test]
fn answers_to_unknown_requests_are_ignored() {
    let mut harness = Harness::online("r1");
    harness.publish("chat", "a");
    let asked = harness.sent_one("publish");
    for message in [
        json!({"type": "welcome", "id": 1, "session": "x", "resume": "y"}),
        json!({"type": "published", "id": 99, "position": at(1)}),
        json!({"type": "unsubscribed", "id": asked["id"], "channel": "chat"}),
        json!({"type": "pong", "id": asked["id"]}),
        json!({"type": "members", "id": asked["id"], "channel": "chat", "members": [], "total": 0}),
        json!({"type": "history", "id": asked["id"], "channel": "chat", "head": at(1),
            "messages": []}),
        json!({"type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(1)}),
        json!({"type": "error", "code": "busy", "message": "", "retry": "later"}),
    ] {
        harness.says(message);
    }
    assert_eq!(harness.core.step(), Step::Talk);
    harness.says(json!({"type": "published", "id": asked["id"], "position": at(1)}));
    assert_eq!(harness.answers.len(), 1);
}

#[test]
fn too_many_restored_subscriptions_end_the_connection() {
    let mut harness = Harness::online("r1");
    for n in 0..20_000 {
        harness.says(json!({
            "type": "subscribed", "channel": format!("c{n}"), "position": at(1), "live": true,
        }));
    }
    breaks_the_rules(&mut harness);
}

#[test]
fn no_advised_pause_causes_a_busy_loop_or_an_endless_wait() {
    for (asked, least, most) in [(0, 10, 10), (u64::MAX, 3_600_000, 3_600_000)] {
        let mut harness = Harness::online("r1");
        harness.publish("chat", "a");
        let publish = harness.sent_one("publish");
        harness.says(json!({
            "type": "error", "id": publish["id"], "code": "busy", "message": "",
            "retry": "later", "retry_after_ms": asked,
        }));
        let ConnectionEvent::Held { pause, .. } = harness.last_connection() else {
            panic!()
        };
        let range = Duration::from_millis(least)..=Duration::from_millis(most);
        assert!(range.contains(pause), "{pause:?}");
    }
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "reconnect", "after_ms": u64::MAX}));
    harness.is_lost();
    let ConnectionEvent::Lost { pause, .. } = harness.last_connection() else {
        panic!()
    };
    assert!(*pause <= Duration::from_secs(3_600));
}

#[test]
fn nothing_follows_the_highest_offset() {
    let mut harness = Harness::online("r1");
    let highest = (1 << 53) - 1;
    let chat = harness.following("chat", highest);
    harness.message("chat", highest);
    harness.message("chat", 0);
    assert!(harness.taken(chat).is_empty());
    assert_eq!(harness.core.repeats(), 2);
}

#[test]
fn a_flood_of_members_pauses_reading_like_a_flood_of_messages() {
    let mut harness = Harness::online("r1");
    harness.following("chat", 0);
    let mut joined = 0;
    while harness.core.may_read() {
        joined += 1;
        harness.says(json!({"type": "join", "channel": "chat", "session": joined.to_string()}));
        assert!(joined < 100);
    }
}

fn said() -> impl Strategy<Value = Value> {
    let id = 0..12_u64;
    let name = prop_oneof![Just("chat"), Just("news"), Just("*")];
    let place = (0..3_u64, 0..6_u64).prop_map(|(epoch, offset)| format!("{epoch}.{offset}"));
    let kinds = prop_oneof![
        Just("welcome"),
        Just("token"),
        Just("message"),
        Just("subscribed"),
        Just("unsubscribed"),
        Just("live"),
        Just("catching_up"),
        Just("gap"),
        Just("published"),
        Just("history"),
        Just("members"),
        Just("join"),
        Just("leave"),
        Just("pong"),
        Just("error"),
        Just("reconnect"),
        Just("closing"),
    ];
    let verdict = prop_oneof![Just("never"), Just("later"), Just("reconnect")];
    (
        kinds,
        prop::option::of(id),
        name,
        place.clone(),
        place,
        any::<bool>(),
        verdict,
        0..3_000_u64,
    )
        .prop_map(|(kind, id, name, position, other, live, retry, ms)| {
            let mut message = json!({
                "type": kind, "channel": name, "position": position, "from": position,
                "to": other, "head": other, "reason": "dropped", "live": live, "session": name,
                "resume": other, "messages": [], "members": [], "total": ms, "data": ms,
                "time": ms, "code": "busy", "message": "", "retry": retry, "after_ms": ms,
            });
            if let Some(id) = id {
                message["id"] = id.into();
            }
            message
        })
}

proptest! {
    #[test]
    fn no_server_message_causes_a_panic_or_stops_the_client(
        said in prop::collection::vec((said(), any::<bool>()), 1..120)
    ) {
        let mut harness = Harness::new();
        for name in ["chat", "news"] {
            harness.core.subscribe(wish(name, true)).expect("new");
            harness.publish(name, "a");
        }
        for (message, wait) in said {
            if wait {
                harness.wait(Duration::from_millis(500));
            }
            match harness.core.step() {
                Step::Open { .. } => harness.core.handle_opened(None, Form::Json, harness.now),
                Step::Wait => harness.open(),
                Step::Talk => {}
                Step::End => break,
            }
            harness.sent();
            harness.says(message);
        }
        let names = harness.core.asked.len() + harness.core.todo.len() + harness.core.again.len();
        prop_assert!(names < 200, "{names}");
    }
}

//! Readers that do not take their events.

use std::time::Duration;

use serde_json::json;

use super::*;

/// Fills the inbox until the connection is no longer read; returns the offset of the last
/// publication.
fn fill(harness: &mut Harness, name: &str, mut offset: u64) -> u64 {
    while harness.core.may_read() {
        offset += 1;
        harness.message(name, offset);
    }
    offset
}

#[test]
fn a_full_inbox_pauses_reading_until_its_reader_takes_an_event() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 0);
    let last = fill(&mut harness, "chat", 0);
    assert!(last < 100, "{last}");
    assert_eq!(harness.take(chat), Some(at(1)));
    assert!(harness.core.may_read());
    harness.message("chat", last + 1);
    assert_eq!(harness.taken(chat).len() as u64, last);
}

#[test]
fn a_reader_that_takes_nothing_for_a_second_is_paused_and_gets_the_rest_from_history() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 0);
    let last = fill(&mut harness, "chat", 0);
    harness.wait(Duration::from_millis(999));
    assert!(!harness.core.may_read());
    harness.wait(Duration::from_millis(1));
    assert!(harness.core.may_read());
    let leave = harness.sent_one("unsubscribe");
    // Publications in flight are not for it.
    harness.message("chat", last + 1);
    harness.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    assert!(harness.sent().is_empty(), "not before it has taken half");
    assert_eq!(harness.taken(chat).len() as u64, last);
    assert_eq!(harness.sent_one("subscribe")["since"], at(last));
}

#[test]
fn a_slow_reader_that_makes_progress_is_not_paused() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 0);
    let mut last = fill(&mut harness, "chat", 0);
    for _ in 0..10 {
        harness.wait(Duration::from_millis(900));
        assert!(harness.take(chat).is_some());
        last = fill(&mut harness, "chat", last);
    }
    assert!(harness.sent().is_empty());
}

#[test]
fn a_request_behind_the_callers_own_full_inbox_does_not_block() {
    let mut harness = Harness::online("r1");
    harness.following("chat", 0);
    fill(&mut harness, "chat", 0);
    harness.publish("chat", "from within the loop");
    harness.sent_one("publish");
    harness.wait(Duration::from_millis(20));
    assert!(harness.core.may_read());
    harness.sent_one("unsubscribe");
}

#[test]
fn a_full_inbox_is_paused_when_the_connection_is_lost_and_resumed_when_there_is_room() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 0);
    harness.says(json!({"type": "token", "resume": "r2"}));
    let last = fill(&mut harness, "chat", 0);
    harness.is_lost();
    harness.come_online("r3");
    // The sealed session contains it.
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(last + 5), "live": false,
    }));
    harness.message("chat", last + 1);
    let leave = harness.sent_one("unsubscribe");
    assert_eq!(harness.taken(chat).len() as u64, last);
    assert!(harness.sent().is_empty(), "it is being left still");
    harness.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    assert_eq!(harness.sent_one("subscribe")["since"], at(last));
}

#[test]
fn dropping_a_full_subscription_lets_the_others_continue() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 0);
    fill(&mut harness, "chat", 0);
    harness.core.unsubscribe(chat);
    assert!(harness.core.may_read());
}

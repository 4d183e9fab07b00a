//! Readers that do not take what comes.

use std::time::Duration;

use serde_json::json;

use super::*;

/// Fills the inbox until the connection is not read any more; the offset of the last publication.
fn fill(desk: &mut Desk, name: &str, mut offset: u64) -> u64 {
    while desk.core.may_read() {
        offset += 1;
        desk.message(name, offset);
    }
    offset
}

#[test]
fn a_full_inbox_stops_reading_until_its_reader_takes_something() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 0);
    let last = fill(&mut desk, "chat", 0);
    assert!(last < 100, "{last}");
    assert_eq!(desk.take(chat), Some(at(1)));
    assert!(desk.core.may_read());
    desk.message("chat", last + 1);
    assert_eq!(desk.taken(chat).len() as u64, last);
}

#[test]
fn a_reader_that_takes_nothing_for_a_second_is_set_aside_and_gets_the_rest_from_history() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 0);
    let last = fill(&mut desk, "chat", 0);
    desk.wait(Duration::from_millis(999));
    assert!(!desk.core.may_read());
    desk.wait(Duration::from_millis(1));
    assert!(desk.core.may_read());
    let leave = desk.sent_one("unsubscribe");
    // What was under way is not for it.
    desk.message("chat", last + 1);
    desk.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    assert!(desk.sent().is_empty(), "not before it has taken half");
    assert_eq!(desk.taken(chat).len() as u64, last);
    assert_eq!(desk.sent_one("subscribe")["since"], at(last));
}

#[test]
fn a_slow_reader_that_takes_something_keeps_its_place() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 0);
    let mut last = fill(&mut desk, "chat", 0);
    for _ in 0..10 {
        desk.wait(Duration::from_millis(900));
        assert!(desk.take(chat).is_some());
        last = fill(&mut desk, "chat", last);
    }
    assert!(desk.sent().is_empty());
}

#[test]
fn who_waits_for_an_answer_behind_its_own_full_inbox_is_not_stuck() {
    let mut desk = Desk::online("r1");
    desk.following("chat", 0);
    fill(&mut desk, "chat", 0);
    desk.publish("chat", "from within the loop");
    desk.sent_one("publish");
    desk.wait(Duration::from_millis(20));
    assert!(desk.core.may_read());
    desk.sent_one("unsubscribe");
}

#[test]
fn a_full_inbox_is_set_aside_when_the_connection_is_lost_and_comes_back_when_there_is_room() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 0);
    desk.says(json!({"type": "token", "resume": "r2"}));
    let last = fill(&mut desk, "chat", 0);
    desk.is_lost();
    desk.come_online("r3");
    // The sealed session has it.
    desk.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(last + 5), "live": false,
    }));
    desk.message("chat", last + 1);
    let leave = desk.sent_one("unsubscribe");
    assert_eq!(desk.taken(chat).len() as u64, last);
    assert!(desk.sent().is_empty(), "it is being left still");
    desk.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    assert_eq!(desk.sent_one("subscribe")["since"], at(last));
}

#[test]
fn dropping_a_full_subscription_lets_the_others_go_on() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 0);
    fill(&mut desk, "chat", 0);
    desk.core.unsubscribe(chat);
    assert!(desk.core.may_read());
}

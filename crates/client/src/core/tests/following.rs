//! Subscriptions over connections that come and go.

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn publications_come_once_in_order_and_a_gap_is_told() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.message("chat", 6);
    desk.message("chat", 7);
    desk.message("chat", 7);
    desk.message("chat", 6);
    desk.says(json!({
        "type": "gap", "channel": "chat", "from": at(7), "to": at(9), "reason": "evicted_by_age",
    }));
    desk.message("chat", 10);
    let gap = format!("gap {} {} evicted_by_age", at(7), at(9));
    assert_eq!(desk.taken(chat), [at(6), at(7), gap, at(10)]);
    assert_eq!(desk.core.repeats(), 2);
}

#[test]
fn a_hole_that_no_gap_announced_costs_the_connection_and_is_filled_on_the_next() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.message("chat", 7);
    let ConnectionEvent::Lost { cause, .. } = desk.last_connection() else {
        panic!()
    };
    assert_eq!(
        cause.to_string(),
        "the server broke the protocol: chat: 17.7 came after 17.5 without a gap"
    );
    let hello = desk.come_online("r2");
    assert_eq!(hello["resume"], "r1");
    assert_eq!(desk.sent_one("subscribe")["since"], at(5));
    assert!(desk.taken(chat).is_empty());
}

#[test]
fn what_the_sealed_session_knows_is_not_asked_for_again() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.says(json!({"type": "token", "resume": "r2"}));
    let news = desk.following("news", 1);
    desk.message("chat", 6);
    desk.is_lost();
    let hello = desk.come_online("r3");
    assert_eq!(hello["positions"], json!({"chat": at(6), "news": at(1)}));
    assert_eq!(desk.sent_one("subscribe")["channel"], "news");
    desk.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(8), "live": false,
    }));
    desk.message("chat", 7);
    desk.message("chat", 8);
    desk.says(json!({"type": "live", "channel": "chat", "position": at(8)}));
    let live = format!("live {}", at(8));
    assert_eq!(
        desk.taken(chat),
        [at(6), "catching up".into(), at(7), at(8), live]
    );
    assert!(desk.taken(news).is_empty());
}

#[test]
fn what_should_have_been_restored_and_was_not_is_asked_for_after_a_while() {
    let mut desk = Desk::online("r1");
    desk.following("chat", 5);
    desk.says(json!({"type": "token", "resume": "r2"}));
    desk.is_lost();
    desk.come_online("r3");
    assert!(desk.sent().is_empty());
    desk.wait(Duration::from_secs(10));
    let leave = desk.sent_one("unsubscribe");
    desk.says(json!({
        "type": "error", "id": leave["id"], "code": "not_subscribed", "message": "",
        "retry": "never",
    }));
    assert_eq!(desk.sent_one("subscribe")["since"], at(5));
}

#[test]
fn a_subscription_that_the_server_has_already_is_waited_for() {
    let mut desk = Desk::online("r1");
    let chat = desk.subscribe("chat", Since::After(at(3).parse().expect("a position")));
    let asked = desk.sent_one("subscribe");
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "already_subscribed", "message": "",
        "retry": "never",
    }));
    desk.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(3), "live": true,
    }));
    assert_eq!(desk.taken(chat), [format!("live {}", at(3))]);
}

#[test]
fn a_restored_subscription_that_nobody_wants_is_left() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.says(json!({"type": "token", "resume": "r2"}));
    desk.is_lost();
    desk.core.unsubscribe(chat);
    desk.come_online("r3");
    desk.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(8), "live": false,
    }));
    desk.message("chat", 6);
    assert_eq!(desk.sent_one("unsubscribe")["channel"], "chat");
}

#[test]
fn a_restored_subscription_begins_where_the_new_one_wants_to() {
    let mut desk = Desk::online("r1");
    let old = desk.following("chat", 5);
    desk.says(json!({"type": "token", "resume": "r2"}));
    desk.is_lost();
    desk.core.unsubscribe(old);
    let new = desk.subscribe("chat", Since::Last(2));
    desk.come_online("r3");
    let asked = desk.sent_one("subscribe");
    desk.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(9), "live": false,
    }));
    desk.message("chat", 6);
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "already_subscribed", "message": "",
        "retry": "never",
    }));
    let leave = desk.sent_one("unsubscribe");
    desk.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    let again = desk.sent_one("subscribe");
    assert_eq!(again["since"], json!({"last": 2}));
    desk.says(json!({
        "type": "subscribed", "id": again["id"], "channel": "chat", "position": at(9),
        "live": false,
    }));
    desk.message("chat", 8);
    assert_eq!(desk.taken(new), [at(8)]);
}

#[test]
fn a_channel_that_is_left_and_wanted_again_gets_nothing_of_before() {
    let mut desk = Desk::online("r1");
    let old = desk.following("chat", 5);
    desk.core.unsubscribe(old);
    let new = desk.subscribe("chat", Since::Now);
    let leave = desk.sent_one("unsubscribe");
    desk.message("chat", 6);
    assert!(desk.sent().is_empty());
    desk.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    let asked = desk.sent_one("subscribe");
    desk.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(7),
        "live": true,
    }));
    desk.message("chat", 8);
    assert_eq!(desk.taken(new), [format!("live {}", at(7)), at(8)]);
    assert!(desk.taken(old).is_empty());
}

#[test]
fn a_channel_has_one_subscription_at_a_time() {
    let mut desk = Desk::new();
    let chat = desk.subscribe("chat", Since::Now);
    let second = desk.core.subscribe(channel("chat"), Since::Now, false);
    assert!(matches!(second, Err(Error::AlreadySubscribed(_))));
    desk.core.unsubscribe(chat);
    desk.subscribe("chat", Since::Now);
}

#[test]
fn a_refused_subscription_says_why_once_and_frees_its_channel() {
    let mut desk = Desk::online("r1");
    let chat = desk.subscribe("chat", Since::Now);
    let asked = desk.sent_one("subscribe");
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "forbidden", "message": "no",
        "retry": "never",
    }));
    assert!(matches!(desk.core.has_begun(chat), Err(Error::Refused(_))));
    desk.subscribe("chat", Since::Now);
}

#[test]
fn a_subscription_that_is_refused_or_ended_for_now_is_asked_for_again_with_its_position() {
    let mut desk = Desk::online("r1");
    desk.following("chat", 5);
    desk.message("chat", 6);
    desk.says(json!({
        "type": "unsubscribed", "channel": "chat", "code": "busy", "message": "",
        "retry": "later", "retry_after_ms": 50,
    }));
    assert!(desk.sent().is_empty());
    desk.wait(Duration::from_millis(50));
    let asked = desk.sent_one("subscribe");
    assert_eq!(asked["since"], at(6));
    desk.says(json!({
        "type": "error", "id": asked["id"], "code": "rate_limited", "message": "",
        "retry": "later", "retry_after_ms": 50,
    }));
    desk.wait(Duration::from_millis(50));
    desk.sent_one("subscribe");
}

#[test]
fn a_subscription_that_the_server_ends_says_why() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.message("chat", 6);
    desk.says(json!({
        "type": "unsubscribed", "channel": "chat", "code": "storage_corrupt",
        "message": "look", "retry": "never",
    }));
    assert_eq!(
        desk.taken(chat),
        [at(6), "ended: storage_corrupt: look".into()]
    );
    assert!(desk.taken(chat).is_empty());
}

#[test]
fn with_presence_the_members_come_first_and_again_on_each_connection() {
    let mut desk = Desk::online("r1");
    let chat = desk
        .core
        .subscribe(channel("chat"), Since::Now, true)
        .expect("new");
    let asked = desk.sent_one("subscribe");
    assert_eq!(asked["presence"], true);
    desk.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(5),
        "live": true,
    }));
    desk.says(json!({"type": "join", "channel": "chat", "session": "ann"}));
    let roster = desk.sent_one("presence");
    desk.says(json!({
        "type": "members", "id": roster["id"], "channel": "chat",
        "members": [{"session": "ann"}], "total": 1,
    }));
    desk.says(json!({"type": "leave", "channel": "chat", "session": "ann"}));
    let live = format!("live {}", at(5));
    assert_eq!(
        desk.taken(chat),
        [&live, "ann joined", "1 members", "ann left"]
    );
    desk.is_lost();
    desk.come_online("r2");
    let asked = desk.sent_one("subscribe");
    desk.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(5),
        "live": true,
    }));
    desk.sent_one("presence");
}

#[test]
fn closing_ends_subscriptions_without_an_error() {
    let mut desk = Desk::online("r1");
    let chat = desk.following("chat", 5);
    desk.message("chat", 6);
    desk.core.end(&Error::Closed);
    assert_eq!(desk.taken(chat), [at(6)]);
    assert!(matches!(
        desk.core.take(chat, desk.now).0,
        Taken::Ended(None)
    ));
}

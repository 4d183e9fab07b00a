//! Subscriptions over several connections.

use std::time::Duration;

use serde_json::json;

use super::*;

#[test]
fn publications_arrive_once_in_order_and_gaps_are_reported() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.message("chat", 6);
    harness.message("chat", 7);
    harness.message("chat", 7);
    harness.message("chat", 6);
    harness.says(json!({
        "type": "gap", "channel": "chat", "from": at(7), "to": at(9), "reason": "evicted_by_age",
    }));
    harness.message("chat", 10);
    let gap = format!("gap {} {} evicted_by_age", at(7), at(9));
    assert_eq!(harness.taken(chat), [at(6), at(7), gap, at(10)]);
    assert_eq!(harness.core.repeats(), 2);
}

#[test]
fn an_unannounced_hole_ends_the_connection_and_is_filled_on_the_next() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.message("chat", 7);
    let ConnectionEvent::Lost { cause, .. } = harness.last_connection() else {
        panic!()
    };
    assert_eq!(
        cause.to_string(),
        "the server broke the protocol: chat: 17.7 followed 17.5 without a gap"
    );
    let hello = harness.come_online("r2");
    assert_eq!(hello["resume"], "r1");
    assert_eq!(harness.sent_one("subscribe")["since"], at(5));
    assert!(harness.taken(chat).is_empty());
}

#[test]
fn subscriptions_in_the_sealed_session_are_not_requested_again() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.says(json!({"type": "token", "resume": "r2"}));
    let news = harness.following("news", 1);
    harness.message("chat", 6);
    harness.is_lost();
    let hello = harness.come_online("r3");
    assert_eq!(hello["positions"], json!({"chat": at(6), "news": at(1)}));
    assert_eq!(harness.sent_one("subscribe")["channel"], "news");
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(8), "live": false,
    }));
    harness.message("chat", 7);
    harness.message("chat", 8);
    harness.says(json!({"type": "live", "channel": "chat", "position": at(8)}));
    let live = format!("live {}", at(8));
    assert_eq!(
        harness.taken(chat),
        [at(6), "catching up".into(), at(7), at(8), live]
    );
    assert!(harness.taken(news).is_empty());
}

#[test]
fn subscriptions_that_were_not_restored_in_time_are_requested() {
    let mut harness = Harness::online("r1");
    harness.following("chat", 5);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.come_online("r3");
    assert!(harness.sent().is_empty());
    harness.wait(Duration::from_secs(10));
    let leave = harness.sent_one("unsubscribe");
    harness.says(json!({
        "type": "error", "id": leave["id"], "code": "not_subscribed", "message": "",
        "retry": "never",
    }));
    assert_eq!(harness.sent_one("subscribe")["since"], at(5));
}

#[test]
fn a_subscription_that_already_exists_is_awaited() {
    let mut harness = Harness::online("r1");
    let chat = harness.subscribe("chat", Since::After(at(3).parse().expect("a position")));
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "already_subscribed", "message": "",
        "retry": "never",
    }));
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(3), "live": true,
    }));
    assert_eq!(harness.taken(chat), [format!("live {}", at(3))]);
}

#[test]
fn an_unwanted_restored_subscription_is_ended() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.core.unsubscribe(chat);
    harness.come_online("r3");
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(8), "live": false,
    }));
    harness.message("chat", 6);
    assert_eq!(harness.sent_one("unsubscribe")["channel"], "chat");
}

#[test]
fn a_restored_subscription_starts_where_the_new_subscriber_requests() {
    let mut harness = Harness::online("r1");
    let old = harness.following("chat", 5);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.core.unsubscribe(old);
    let new = harness.subscribe("chat", Since::Last(2));
    harness.come_online("r3");
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(9), "live": false,
    }));
    harness.message("chat", 6);
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "already_subscribed", "message": "",
        "retry": "never",
    }));
    let leave = harness.sent_one("unsubscribe");
    harness.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    let again = harness.sent_one("subscribe");
    assert_eq!(again["since"], json!({"last": 2}));
    harness.says(json!({
        "type": "subscribed", "id": again["id"], "channel": "chat", "position": at(9),
        "live": false,
    }));
    harness.message("chat", 8);
    assert_eq!(harness.taken(new), [at(8)]);
}

#[test]
fn a_channel_subscribed_again_gets_nothing_from_before() {
    let mut harness = Harness::online("r1");
    let old = harness.following("chat", 5);
    harness.core.unsubscribe(old);
    let new = harness.subscribe("chat", Since::Now);
    let leave = harness.sent_one("unsubscribe");
    harness.message("chat", 6);
    assert!(harness.sent().is_empty());
    harness.says(json!({"type": "unsubscribed", "id": leave["id"], "channel": "chat"}));
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(7),
        "live": true,
    }));
    harness.message("chat", 8);
    assert_eq!(harness.taken(new), [format!("live {}", at(7)), at(8)]);
    assert!(harness.taken(old).is_empty());
}

#[test]
fn a_channel_has_one_subscription_at_a_time() {
    let mut harness = Harness::new();
    let chat = harness.subscribe("chat", Since::Now);
    let second = harness.core.subscribe(wish("chat", false));
    assert!(matches!(second, Err(Error::AlreadySubscribed(_))));
    harness.core.unsubscribe(chat);
    harness.subscribe("chat", Since::Now);
}

#[test]
fn a_refused_subscription_reports_the_reason_once_and_frees_its_channel() {
    let mut harness = Harness::online("r1");
    let chat = harness.subscribe("chat", Since::Now);
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "forbidden", "message": "no",
        "retry": "never",
    }));
    assert!(matches!(
        harness.core.has_begun(chat),
        Err(Error::Refused(_))
    ));
    harness.subscribe("chat", Since::Now);
}

#[test]
fn a_temporarily_refused_or_ended_subscription_is_requested_again_with_its_position() {
    let mut harness = Harness::online("r1");
    harness.following("chat", 5);
    harness.message("chat", 6);
    harness.says(json!({
        "type": "unsubscribed", "channel": "chat", "code": "busy", "message": "",
        "retry": "later", "retry_after_ms": 50,
    }));
    assert!(harness.sent().is_empty());
    harness.wait(Duration::from_millis(50));
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["since"], at(6));
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "rate_limited", "message": "",
        "retry": "later", "retry_after_ms": 50,
    }));
    harness.wait(Duration::from_millis(50));
    harness.sent_one("subscribe");
}

#[test]
fn a_subscription_ended_by_the_server_reports_the_reason() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.message("chat", 6);
    harness.says(json!({
        "type": "unsubscribed", "channel": "chat", "code": "storage_corrupt",
        "message": "look", "retry": "never",
    }));
    assert_eq!(
        harness.taken(chat),
        [at(6), "ended: storage_corrupt: look".into()]
    );
    assert!(harness.taken(chat).is_empty());
}

#[test]
fn with_presence_the_members_arrive_first_and_again_on_each_connection() {
    let mut harness = Harness::online("r1");
    let chat = harness.core.subscribe(wish("chat", true)).expect("new");
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["presence"], true);
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(5),
        "live": true,
    }));
    harness.says(json!({"type": "join", "channel": "chat", "session": "ann"}));
    let roster = harness.sent_one("presence");
    harness.says(json!({
        "type": "members", "id": roster["id"], "channel": "chat",
        "members": [{"session": "ann"}], "total": 1,
    }));
    harness.says(json!({"type": "leave", "channel": "chat", "session": "ann"}));
    let live = format!("live {}", at(5));
    assert_eq!(
        harness.taken(chat),
        [&live, "ann joined", "1 members", "ann left"]
    );
    harness.is_lost();
    harness.come_online("r2");
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(5),
        "live": true,
    }));
    harness.sent_one("presence");
}

#[test]
fn closing_ends_subscriptions_without_an_error() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.message("chat", 6);
    harness.core.end(&Error::Closed);
    assert_eq!(harness.taken(chat), [at(6)]);
    assert!(matches!(
        harness.core.take(chat, harness.now).0,
        Taken::Ended(None)
    ));
}

fn follows(harness: &mut Harness, position: &str, previous: &str) {
    harness.says(json!({
        "type": "message", "channel": "chat", "position": position, "previous": previous,
        "data": 1, "time": 1,
    }));
}

#[test]
fn a_publication_of_a_new_epoch_follows_the_one_that_it_names() {
    let mut harness = Harness::new();
    let hello = harness.come_online("r1");
    assert_eq!(hello["lineage"], true);
    let chat = harness.following("chat", 5);
    follows(&mut harness, "18.6", &at(5));
    harness.says(json!({
        "type": "message", "channel": "chat", "position": "18.7", "data": 1, "time": 1,
    }));
    assert_eq!(harness.taken(chat), ["18.6", "18.7"]);
    assert_eq!(harness.core.step(), Step::Talk);
}

#[test]
fn a_publication_that_names_another_predecessor_is_a_hole() {
    for (position, previous) in [("18.7", "18.6"), ("18.6", "17.4"), ("17.7", "17.6")] {
        let mut harness = Harness::online("r1");
        let chat = harness.following("chat", 5);
        follows(&mut harness, position, previous);
        let ConnectionEvent::Lost { cause, .. } = harness.last_connection() else {
            panic!("{position}: the connection goes on")
        };
        assert!(cause.to_string().contains("without a gap"), "{cause}");
        assert!(harness.taken(chat).is_empty());
    }
}

#[test]
fn offsets_may_have_holes_if_the_server_names_the_predecessor() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    follows(&mut harness, &at(9), &at(5));
    assert_eq!(harness.taken(chat), [at(9)]);
}

#[test]
fn a_diverged_stream_reports_where_both_agree_and_continues_there() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 90);
    harness.is_lost();
    harness.come_online("r2");
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": "18.61",
        "live": false,
    }));
    harness.says(json!({
        "type": "gap", "channel": "chat", "from": at(90), "to": at(60), "reason": "diverged",
        "agreed": at(60),
    }));
    follows(&mut harness, "18.61", &at(60));
    harness.says(json!({"type": "live", "channel": "chat", "position": "18.61"}));
    let gap = format!("gap {} {} diverged", at(90), at(60));
    assert_eq!(
        harness.taken(chat),
        ["catching up", &gap, "18.61", "live 18.61"]
    );
}

#[test]
fn a_server_without_lineage_announces_a_new_epoch_by_a_gap() {
    let mut harness = Harness::online("r1");
    let chat = harness.following("chat", 5);
    harness.says(json!({
        "type": "gap", "channel": "chat", "from": at(5), "to": "18.0", "reason": "epoch_changed",
    }));
    harness.says(json!({
        "type": "message", "channel": "chat", "position": "18.1", "data": 1, "time": 1,
    }));
    let gap = format!("gap {} 18.0 epoch_changed", at(5));
    assert_eq!(harness.taken(chat), [gap.as_str(), "18.1"]);
}

//! Subscriptions that the server's side makes for the session.

use serde_json::json;

use super::*;

fn made(harness: &mut Harness, offset: u64) {
    harness.says(json!({
        "type": "subscribed", "channel": "news", "position": at(offset), "live": true,
        "by": "server",
    }));
}

#[test]
fn a_subscription_that_the_server_makes_is_read_and_restored_like_others() {
    let mut harness = Harness::online("r1");
    harness.core.accept_made();
    made(&mut harness, 7);
    assert!(harness.sent().is_empty(), "it is not given back");
    let (news, target) = harness.core.next_made().expect("it is for a reader");
    assert_eq!(target.as_str(), "news");
    harness.message("news", 8);
    assert_eq!(harness.taken(news), [format!("live {}", at(7)), at(8)]);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.come_online("r3");
    harness.says(json!({
        "type": "subscribed", "channel": "news", "position": at(9), "live": false,
    }));
    harness.message("news", 9);
    assert!(harness.taken(news).contains(&at(9)));
    assert!(harness.core.next_made().is_none());
    harness.core.unsubscribe(news);
    assert_eq!(harness.sent_one("unsubscribe")["channel"], "news");
}

#[test]
fn a_subscription_that_the_server_makes_and_nobody_reads_is_kept() {
    let mut harness = Harness::online("r1");
    made(&mut harness, 7);
    harness.message("news", 8);
    assert!(harness.sent().is_empty());
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.come_online("r3");
    harness.says(json!({
        "type": "subscribed", "channel": "news", "position": at(8), "live": true,
    }));
    assert!(harness.sent().is_empty(), "it is kept when it is restored");
    // Once the server has ended it, another of that name is a leftover.
    harness.says(json!({
        "type": "unsubscribed", "channel": "news", "code": "forbidden", "message": "",
        "retry": "never",
    }));
    harness.says(json!({
        "type": "subscribed", "channel": "news", "position": at(8), "live": true,
    }));
    assert_eq!(harness.sent_one("unsubscribe")["channel"], "news");
}

#[test]
fn what_was_not_taken_stays_unread_once_nobody_accepts_it() {
    let mut harness = Harness::online("r1");
    harness.core.accept_made();
    made(&mut harness, 7);
    harness.core.ignore_made();
    assert!(harness.core.next_made().is_none());
    harness.message("news", 8);
    assert!(harness.sent().is_empty());
}

#[test]
fn a_client_that_subscribes_while_the_server_does_begins_where_it_wanted() {
    for (since, is_taken) in [(Since::Now, true), (Since::Start, false)] {
        let mut harness = Harness::online("r1");
        let news = harness.core.subscribe(Subscribe {
            target: channel("news").into(),
            since,
            presence: false,
            echo: true,
            tokens: None,
        });
        let news = news.unwrap();
        let id = harness.sent_one("subscribe")["id"].clone();
        made(&mut harness, 7);
        harness.says(json!({
            "type": "error", "id": id, "code": "already_subscribed", "message": "",
            "retry": "never",
        }));
        let sent = harness.sent();
        let kinds: Vec<_> = sent.iter().map(|message| &message["type"]).collect();
        assert_eq!(kinds.is_empty(), is_taken, "{since:?}: {sent:?}");
        if is_taken {
            assert_eq!(harness.taken(news), [format!("live {}", at(7))]);
        } else {
            assert_eq!(kinds.first(), Some(&&json!("unsubscribe")), "{sent:?}");
        }
    }
}

#[test]
fn a_client_that_subscribes_to_what_it_has_unread_begins_where_it_wants() {
    let mut harness = Harness::online("r1");
    made(&mut harness, 7);
    let news = harness.core.subscribe(wish("news", false)).unwrap();
    let left = harness.sent_one("unsubscribe");
    harness.says(json!({"type": "unsubscribed", "id": left["id"], "channel": "news"}));
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "news", "position": at(9), "live": true,
    }));
    assert_eq!(harness.taken(news), [format!("live {}", at(9))]);
}

//! Tokens that are fetched over an open connection.

use serde_json::json;

use super::*;
use crate::token::ChannelTokens;

fn renewing() -> ChannelTokens {
    ChannelTokens::source(|_: &str| async { Ok::<_, std::io::Error>(String::new()) })
}

fn failed() -> Error {
    Error::Token(std::sync::Arc::new(std::io::Error::other("away")))
}

/// A client with a source of tokens, online.
fn with_source() -> Harness {
    let mut harness = Harness::with(Settings {
        has_token_source: true,
        ..settings()
    });
    harness.come_online("v1.first");
    harness
}

fn private(harness: &mut Harness, tokens: ChannelTokens) -> SubscriptionKey {
    harness.subscribe_as(Subscribe {
        tokens: Some(tokens),
        ..wish("private/7", false)
    })
}

/// The subscription whose token has to be fetched.
fn wanted(harness: &mut Harness) -> Option<SubscriptionKey> {
    assert_eq!(harness.sent(), Vec::<Value>::new());
    match harness.core.poll_fetch()? {
        Fetch::Subscription { key, channel, .. } => {
            assert_eq!(&*channel, "private/7");
            Some(key)
        }
        Fetch::Session => panic!("the session needs no token"),
    }
}

/// A subscription with a token that is live at 7.
fn live(harness: &mut Harness, tokens: ChannelTokens) -> SubscriptionKey {
    let key = private(harness, tokens);
    assert_eq!(wanted(harness), Some(key));
    let now = harness.now;
    harness
        .core
        .handle_subscription_token(key, Ok("first".to_owned()), now);
    let asked = harness.sent_one("subscribe");
    assert_eq!(
        (&asked["channel"], &asked["token"]),
        (&json!("private/7"), &json!("first"))
    );
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "private/7", "position": at(7),
        "live": true,
    }));
    assert_eq!(harness.taken(key), [format!("live {}", at(7))]);
    key
}

fn expired(harness: &mut Harness) {
    harness.says(json!({
        "type": "unsubscribed", "channel": "private/7", "code": "forbidden",
        "message": "the subscription token has expired", "retry": "never",
    }));
}

#[test]
fn a_session_whose_token_expires_soon_sends_a_newer_one_once() {
    let mut harness = with_source();
    for _ in 0..3 {
        harness.says(json!({ "type": "expiring", "expires_in_ms": 60_000 }));
    }
    assert!(matches!(harness.core.poll_fetch(), Some(Fetch::Session)));
    assert!(
        harness.core.poll_fetch().is_none(),
        "a fetch is in progress"
    );
    let now = harness.now;
    harness
        .core
        .handle_session_token(Ok("newer".to_owned()), now);
    let asked = harness.sent_one("refresh");
    assert_eq!(asked["token"], "newer");
    harness.says(json!({ "type": "refreshed", "id": asked["id"], "expires_in_ms": 1 }));
    harness.says(json!({ "type": "expiring", "expires_in_ms": 1 }));
    assert!(matches!(harness.core.poll_fetch(), Some(Fetch::Session)));
}

#[test]
fn without_a_source_nothing_is_fetched() {
    let mut harness = Harness::online("v1.first");
    harness.says(json!({ "type": "expiring", "expires_in_ms": 60_000 }));
    assert!(harness.core.poll_fetch().is_none());
}

#[test]
fn a_token_that_cannot_be_fetched_or_is_refused_is_fetched_again_later_and_reported() {
    let mut harness = with_source();
    harness.says(json!({ "type": "expiring", "expires_in_ms": 60_000 }));
    harness.core.poll_fetch().expect("a fetch");
    let now = harness.now;
    harness.core.handle_session_token(Err(failed()), now);
    harness.settle();
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::TokenFailed { .. }
    ));
    assert!(harness.core.poll_fetch().is_none());
    harness.wait(Duration::from_secs(2));
    assert_eq!(harness.sent(), Vec::<Value>::new());
    harness.core.poll_fetch().expect("another fetch");
    let now = harness.now;
    harness
        .core
        .handle_session_token(Ok("wrong".to_owned()), now);
    let asked = harness.sent_one("refresh");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "unauthenticated", "message": "no", "retry": "never",
    }));
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::TokenFailed { .. }
    ));
    harness.wait(Duration::from_secs(5));
    assert_eq!(harness.sent(), Vec::<Value>::new());
    harness.core.poll_fetch().expect("a third fetch");
}

#[test]
fn a_session_that_expired_is_not_resumed_and_its_next_connection_gets_a_new_token() {
    let mut harness = with_source();
    harness.says(json!({ "type": "closing", "reason": "expired" }));
    harness.is_lost();
    harness.wait(Duration::from_secs(10));
    assert_eq!(harness.core.step(), Step::Open { token_wanted: true });
}

#[test]
fn a_subscription_with_a_token_is_requested_separately_once_its_token_was_fetched() {
    let mut harness = Harness::online("v1.first");
    let key = live(&mut harness, renewing());
    harness.message("private/7", 8);
    assert_eq!(harness.taken(key), [at(8)]);
    let others = ["a", "b"].map(|name| wish(name, false)).to_vec();
    let more = Subscribe {
        target: channel("private/8").into(),
        tokens: Some(renewing()),
        ..wish("a", false)
    };
    harness
        .core
        .subscribe_all([others, vec![more]].concat())
        .expect("new");
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["channels"], json!(["a", "b"]));
}

#[test]
fn a_subscription_whose_token_expired_continues_with_a_new_one() {
    let mut harness = Harness::online("v1.first");
    let key = live(&mut harness, renewing());
    harness.message("private/7", 8);
    expired(&mut harness);
    assert_eq!(wanted(&mut harness), None, "not at once");
    harness.wait(Duration::from_secs(2));
    assert_eq!(wanted(&mut harness), Some(key));
    let now = harness.now;
    harness
        .core
        .handle_subscription_token(key, Ok("second".to_owned()), now);
    let asked = harness.sent_one("subscribe");
    assert_eq!(
        (&asked["token"], &asked["since"]),
        (&json!("second"), &json!(at(8)))
    );
    assert_eq!(harness.taken(key), [at(8)], "it has not ended");
}

#[test]
fn a_fixed_token_that_expired_ends_its_subscription() {
    let mut harness = Harness::online("v1.first");
    let key = live(&mut harness, ChannelTokens::fixed("first".to_owned()));
    expired(&mut harness);
    let taken = harness.taken(key);
    assert!(taken[0].starts_with("ended: forbidden"), "{taken:?}");
}

#[test]
fn a_fresh_token_that_the_server_refuses_ends_its_subscription() {
    let mut harness = Harness::online("v1.first");
    let key = private(&mut harness, renewing());
    wanted(&mut harness);
    let now = harness.now;
    harness
        .core
        .handle_subscription_token(key, Ok("of another channel".to_owned()), now);
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "error", "id": asked["id"], "code": "unauthenticated", "message": "no", "retry": "never",
    }));
    let taken = harness.taken(key);
    assert!(taken[0].starts_with("ended: unauthenticated"), "{taken:?}");
}

#[test]
fn a_failed_fetch_is_repeated_and_the_result_of_an_earlier_connections_fetch_is_ignored() {
    let mut harness = Harness::online("");
    let key = private(&mut harness, renewing());
    assert_eq!(wanted(&mut harness), Some(key));
    let now = harness.now;
    harness
        .core
        .handle_subscription_token(key, Err(failed()), now);
    harness.settle();
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::TokenFailed { .. }
    ));
    harness.wait(Duration::from_secs(2));
    assert_eq!(wanted(&mut harness), Some(key));
    // The connection is lost while the token is fetched: the next one needs another.
    harness.is_lost();
    harness.come_online("");
    assert_eq!(wanted(&mut harness), Some(key));
}

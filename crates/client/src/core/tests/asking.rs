//! State, calls, presence info, and subscriptions without their own publications.

use serde_json::json;

use super::*;

#[test]
fn a_state_arrives_value_by_value_and_ends_with_a_gap() {
    let mut harness = Harness::online("r1");
    let prices = harness.subscribe("prices", Since::State);
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["since"], "state");
    begin_state(&mut harness, &asked);
    harness.says(json!({
        "type": "gap", "channel": "prices", "from": at(0), "to": at(9), "reason": "state",
    }));
    harness.message("prices", 10);
    harness.says(json!({"type": "live", "channel": "prices", "position": at(10)}));
    let gap = format!("gap {} {} state", at(0), at(9));
    let live = format!("live {}", at(10));
    let values = [2, 7].map(|offset| format!("value {}", at(offset)));
    let [first, second] = values;
    assert_eq!(harness.taken(prices), [first, second, gap, at(10), live]);

    // After that, it continues from its position like any other.
    harness.is_lost();
    harness.come_online("r2");
    assert_eq!(harness.sent_one("subscribe")["since"], at(10));
}

/// The server accepts, and sends two values.
fn begin_state(harness: &mut Harness, asked: &Value) {
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "prices", "position": at(9),
        "live": false,
    }));
    for offset in [2, 7] {
        harness.says(json!({
            "type": "message", "state": true, "channel": "prices", "position": at(offset),
            "data": offset, "time": 1,
        }));
    }
}

#[test]
fn an_incomplete_state_is_requested_again() {
    let mut harness = Harness::online("r1");
    harness.subscribe("prices", Since::State);
    let asked = harness.sent_one("subscribe");
    begin_state(&mut harness, &asked);
    harness.is_lost();
    let hello = harness.come_online("r2");
    assert_eq!(
        hello.get("positions"),
        None,
        "values have no position to go on from"
    );
    assert_eq!(harness.sent_one("subscribe")["since"], "state");
}

#[test]
fn without_echo_own_publications_are_used_only_for_continuity() {
    let mut harness = Harness::online("r1");
    let chat = harness.subscribe_as(Subscribe {
        target: channel("chat").into(),
        since: Since::Now,
        presence: false,
        echo: false,
        tokens: None,
    });
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["echo"], false);
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "chat", "position": at(5), "live": true,
    }));
    harness.says(json!({
        "type": "own", "channel": "chat", "position": at(6), "previous": at(5),
    }));
    harness.message("chat", 7);
    let (live, own) = (format!("live {}", at(5)), format!("own {}", at(6)));
    assert_eq!(harness.taken(chat), [live, own, at(7)]);
    // One that does not follow is a hole like any other.
    harness.says(json!({
        "type": "own", "channel": "chat", "position": at(9), "previous": at(8),
    }));
    assert!(matches!(
        harness.last_connection(),
        ConnectionEvent::Lost { .. }
    ));
}

#[test]
fn subscriptions_that_were_not_restored_are_requested_after_the_restored_message() {
    let mut harness = Harness::online("r1");
    harness.following("chat", 5);
    harness.following("news", 1);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.come_online("r3");
    assert!(harness.sent().is_empty());
    harness.says(json!({
        "type": "subscribed", "channel": "chat", "position": at(5), "live": true,
    }));
    harness.says(json!({"type": "restored"}));
    let asked = harness.sent_one("subscribe");
    assert_eq!(
        (&asked["channel"], &asked["since"]),
        (&json!("news"), &json!(at(1)))
    );
}

fn call() -> Command {
    Command::Call {
        method: "orders.cancel".into(),
        data: "{}".into(),
        format: Format::Json,
        within: None,
        key: None,
    }
}

#[test]
fn a_call_is_answered_once() {
    let mut harness = Harness::online("r1");
    let ticket = harness.core.question(call(), Repeat::No).unwrap();
    let asked = harness.sent_one("call");
    assert_eq!(asked["method"], "orders.cancel");
    harness.says(json!({"type": "called", "id": asked["id"], "data": {"done": true}}));
    let (answered, answer) = harness.answers.remove(0);
    assert_eq!(answered, ticket);
    let Ok(Answer::Called(data)) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(data.as_bytes(), br#"{"done":true}"#);
}

#[test]
fn a_call_lost_with_its_connection_is_not_repeated_and_an_unsent_one_is_sent_later() {
    let mut harness = Harness::online("r1");
    harness.core.question(call(), Repeat::No).unwrap();
    harness.sent_one("call");
    harness.is_lost();
    let (_, answer) = harness.answers.remove(0);
    assert!(matches!(answer, Err(Error::Unanswered)), "{answer:?}");
    harness.core.question(call(), Repeat::No).unwrap();
    harness.come_online("r2");
    harness.sent_one("call");
    assert!(harness.answers.is_empty());
}

#[test]
fn a_change_of_the_sessions_info_is_repeated_until_it_is_answered() {
    let mut harness = Harness::online("r1");
    let info = r#"{"name":"Ann"}"#.into();
    let update = Command::UpdateInfo { info };
    harness.core.question(update, Repeat::Yes).unwrap();
    assert_eq!(harness.sent_one("presence_update")["info"]["name"], "Ann");
    harness.is_lost();
    harness.come_online("r2");
    let asked = harness.sent_one("presence_update");
    harness.says(json!({"type": "presence_updated", "id": asked["id"]}));
    assert!(matches!(harness.answers[0].1, Ok(Answer::InfoUpdated)));
}

#[test]
fn the_connect_of_a_client_with_thousands_of_subscriptions_fits_the_servers_limit() {
    let mut harness = Harness::online("r1");
    for n in 0..10_000 {
        let position = at(n).parse().unwrap();
        harness.subscribe(&format!("room/{n}"), Since::After(position));
    }
    harness.is_lost();
    harness.open();
    let hello = text(harness.core.poll_transmit().unwrap());
    assert!(hello.contains("positions"));
    assert!(hello.len() < 200 * 1024, "{}", hello.len());
}

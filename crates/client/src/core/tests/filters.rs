//! Subscriptions to filters, and to several channels with one request.

use offhook_dialects::native::client::Filter;
use serde_json::json;

use super::*;

fn filter(pattern: &str) -> Subscribe {
    Subscribe {
        target: Filter::new(pattern).expect("a filter").into(),
        since: Since::Now,
        presence: false,
        echo: true,
        tokens: None,
    }
}

/// A filter that is live at this place.
fn following(harness: &mut Harness, place: u64) -> (SubscriptionKey, Value) {
    let key = harness.subscribe_as(filter("sensors/+"));
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["filter"], "sensors/+");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "filter": "sensors/+",
        "subscription": asked["subscription"], "position": at(place), "live": true,
    }));
    assert_eq!(harness.taken(key), [format!("live {}", at(place))]);
    (key, asked["subscription"].clone())
}

fn message(harness: &mut Harness, number: &Value, (channel, offset): (&str, u64), place: u64) {
    harness.says(json!({
        "type": "message", "subscription": number, "channel": channel, "position": at(offset),
        "at": at(place), "data": 1, "time": 1,
    }));
}

#[test]
fn a_filter_gets_the_publications_of_all_channels_and_resumes_at_its_own_position() {
    let mut harness = Harness::online("r1");
    let (sensors, number) = following(&mut harness, 100);
    message(&mut harness, &number, ("sensors/a", 7), 105);
    message(&mut harness, &number, ("sensors/b", 2), 106);
    message(&mut harness, &number, ("sensors/b", 2), 106);
    for (channel, place) in [("sensors/a", 105), ("sensors/b", 106)] {
        let Taken::Event(Event::Publication(came)) = harness.core.take(sensors, harness.now).0
        else {
            panic!("nothing came of {channel}")
        };
        assert_eq!(
            (&*came.channel, came.at.expect("a place").to_string()),
            (channel, at(place))
        );
    }
    assert_eq!(harness.core.repeats(), 1);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    let hello = harness.come_online("r3");
    assert_eq!(
        hello["subscription_positions"],
        json!({number.to_string(): at(106)})
    );
    harness.says(json!({
        "type": "subscribed", "filter": "sensors/+", "subscription": number, "position": at(108),
        "live": false,
    }));
    message(&mut harness, &number, ("sensors/new", 1), 108);
    harness.says(json!({
        "type": "live", "filter": "sensors/+", "subscription": number, "position": at(109),
    }));
    assert_eq!(
        harness.taken(sensors),
        ["catching up", &at(1), &format!("live {}", at(109))]
    );
    assert!(harness.sent().is_empty());
}

#[test]
fn a_filter_that_is_not_restored_is_requested_again_from_its_position() {
    let mut harness = Harness::online("r1");
    let (_, number) = following(&mut harness, 100);
    message(&mut harness, &number, ("sensors/a", 7), 105);
    harness.is_lost();
    harness.come_online("r2");
    let asked = harness.sent_one("subscribe");
    assert_eq!(
        (&asked["filter"], &asked["subscription"], &asked["since"]),
        (&json!("sensors/+"), &number, &json!(at(105)))
    );
}

#[test]
fn only_a_gap_of_the_whole_filter_changes_its_position() {
    let mut harness = Harness::online("r1");
    let (sensors, number) = following(&mut harness, 100);
    harness.says(json!({
        "type": "gap", "subscription": number, "channel": "sensors/a", "from": at(1), "to": at(9),
        "reason": "evicted_by_size",
    }));
    harness.is_lost();
    harness.come_online("r2");
    assert_eq!(harness.sent_one("subscribe")["since"], at(100));
    harness.is_lost();
    harness.come_online("r3");
    let asked = harness.sent_one("subscribe");
    harness.says(json!({
        "type": "subscribed", "id": asked["id"], "filter": "sensors/+", "subscription": number,
        "position": "18.1", "live": false,
    }));
    harness.says(json!({
        "type": "gap", "subscription": number, "filter": "sensors/+", "from": at(100),
        "to": "18.1", "reason": "epoch_changed",
    }));
    harness.is_lost();
    harness.come_online("r4");
    assert_eq!(harness.sent_one("subscribe")["since"], "18.1");
    let mut channels = Vec::new();
    while let Taken::Event(event) = harness.core.take(sensors, harness.now).0 {
        if let Event::Gap(gap) = event {
            channels.push(gap.channel.map(|channel| channel.to_string()));
        }
    }
    assert_eq!(channels, [Some("sensors/a".to_owned()), None]);
}

#[test]
fn a_message_of_a_filter_without_a_position_is_a_protocol_error() {
    let mut harness = Harness::online("r1");
    let (_, number) = following(&mut harness, 100);
    harness.says(json!({
        "type": "message", "subscription": number, "channel": "sensors/a", "position": at(1),
        "data": 1, "time": 1,
    }));
    let ConnectionEvent::Lost { cause, .. } = harness.last_connection() else {
        panic!("the connection goes on")
    };
    assert!(
        cause.to_string().contains("does not say where it is"),
        "{cause}"
    );
}

#[test]
fn a_filter_is_unsubscribed_by_its_number() {
    let mut harness = Harness::online("r1");
    let (sensors, number) = following(&mut harness, 100);
    let other = harness.subscribe_as(filter("sensors/+"));
    assert_ne!(harness.sent_one("subscribe")["subscription"], number);
    harness.core.unsubscribe(sensors);
    let left = harness.sent_one("unsubscribe");
    assert_eq!(left["subscription"], number);
    harness.says(json!({
        "type": "unsubscribed", "id": left["id"], "filter": "sensors/+", "subscription": number,
    }));
    message(&mut harness, &number, ("sensors/a", 1), 101);
    assert!(harness.taken(sensors).is_empty());
    assert!(harness.taken(other).is_empty());
}

#[test]
fn an_unwanted_restored_filter_is_unsubscribed() {
    let mut harness = Harness::online("r1");
    let (sensors, number) = following(&mut harness, 100);
    harness.says(json!({"type": "token", "resume": "r2"}));
    harness.is_lost();
    harness.core.unsubscribe(sensors);
    harness.come_online("r3");
    harness.says(json!({
        "type": "subscribed", "filter": "sensors/+", "subscription": number, "position": at(8),
        "live": true,
    }));
    assert_eq!(harness.sent_one("unsubscribe")["subscription"], number);
}

#[test]
fn several_channels_are_requested_with_one_message_and_answered_separately() {
    let mut harness = Harness::online("r1");
    let wishes = ["a", "b", "c"].map(|name| wish(name, false)).to_vec();
    let keys = harness.core.subscribe_all(wishes).expect("new");
    let asked = harness.sent_one("subscribe");
    assert_eq!(asked["channels"], json!(["a", "b", "c"]));
    assert_eq!(asked["since"], "now");
    let first = asked["id"].as_u64().expect("a number");
    harness.says(json!({
        "type": "error", "id": first + 1, "code": "forbidden", "message": "no", "retry": "never",
    }));
    for (id, name, offset) in [(first, "a", 5), (first + 2, "c", 7)] {
        harness.says(json!({
            "type": "subscribed", "id": id, "channel": name, "position": at(offset), "live": true,
        }));
    }
    assert_eq!(harness.taken(keys[0]), [format!("live {}", at(5))]);
    assert_eq!(harness.taken(keys[1]), ["ended: forbidden: no"]);
    assert_eq!(harness.taken(keys[2]), [format!("live {}", at(7))]);
    harness.is_lost();
    harness.come_online("r2");
    let again = harness.sent_one("subscribe");
    assert_eq!(again["channels"], json!(["a", "c"]));
    assert_eq!(again["positions"], json!({"a": at(5), "c": at(7)}));
}

#[test]
fn subscriptions_with_different_options_are_requested_separately() {
    let mut harness = Harness::online("r1");
    harness.subscribe("a", Since::Now);
    harness.subscribe("b", Since::Start);
    harness.subscribe("c", Since::Start);
    harness.subscribe_as(wish("d", true));
    harness.subscribe_as(filter("e/#"));
    for name in ["f", "g"] {
        harness.subscribe_as(Subscribe {
            echo: false,
            ..wish(name, false)
        });
    }
    let sent = harness.sent();
    let names: Vec<_> = sent
        .iter()
        .map(|asked| ["channel", "channels", "filter"].map(|field| &asked[field]))
        .map(|fields| {
            fields
                .into_iter()
                .find(|field| !field.is_null())
                .expect("one")
                .clone()
        })
        .collect();
    let expected = [
        json!("a"),
        json!(["b", "c"]),
        json!("d"),
        json!("e/#"),
        json!(["f", "g"]),
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_message_requests_at_most_as_many_channels_as_a_server_accepts() {
    let mut harness = Harness::online("r1");
    for number in 0..300 {
        harness.subscribe(&format!("{number}-{}", "\u{1f512}".repeat(40)), Since::Now);
    }
    let sent = harness.sent();
    let counts = sent
        .iter()
        .map(|asked| asked["channels"].as_array().expect("several").len());
    assert_eq!(counts.collect::<Vec<_>>(), [128, 128, 44]);
    assert!(
        sent.iter()
            .all(|asked| asked.to_string().len() < 256 * 1024)
    );
}

#[test]
fn subscribing_to_several_channels_fails_if_one_is_already_subscribed() {
    let mut harness = Harness::online("r1");
    harness.following("b", 1);
    let wishes = ["a", "b", "c"].map(|name| wish(name, false)).to_vec();
    let refused = harness.core.subscribe_all(wishes);
    assert!(matches!(refused, Err(Error::AlreadySubscribed(name)) if &*name == "b"));
    assert!(harness.sent().is_empty());
    harness.subscribe("a", Since::Now);
}

#[test]
fn data_sent_to_the_session_by_the_backend_is_an_event_of_the_connection() {
    let mut harness = Harness::online("r1");
    harness.says(json!({"type": "told", "data": {"text": "your order has shipped"}}));
    let ConnectionEvent::Told { data } = harness.last_connection() else {
        panic!("nothing was told")
    };
    assert_eq!(data.as_bytes(), br#"{"text":"your order has shipped"}"#);
}

//! Sessions of programs that speak the dialect themselves.

use offhook_webtransport::{Event, Session};
use serde_json::{Value, json};

use crate::place::{Place, within};

async fn say(session: &mut Session, message: Value) {
    within(session.send(&message.to_string())).await.unwrap();
}

/// The next message of this type on the control stream.
async fn hear(session: &mut Session, kind: &str) -> Value {
    loop {
        let event = within(session.recv()).await.unwrap();
        let Some(Event::Control(text)) = event else {
            panic!("expected {kind}, got {event:?}");
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        if message["type"] == kind {
            return message;
        }
    }
}

async fn connected(place: &Place, fields: Value) -> Session {
    welcomed(place, fields).await.0
}

/// A session, and the server's welcome.
async fn welcomed(place: &Place, fields: Value) -> (Session, Value) {
    let mut session = within(place.at("/ws").session()).await.unwrap();
    let mut connect = json!({"type": "connect", "id": 1, "lineage": true});
    for (name, value) in fields.as_object().unwrap() {
        connect[name] = value.clone();
    }
    say(&mut session, connect).await;
    let welcome = hear(&mut session, "welcome").await;
    (session, welcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_with_a_stream_gets_its_messages_there_in_order() {
    let place = Place::open().await;
    let mut session = connected(&place, json!({"streams": true})).await;
    say(
        &mut session,
        json!({"type": "subscribe", "id": 2, "channel": "chat"}),
    )
    .await;
    let number = hear(&mut session, "subscribed").await["stream"].as_u64();
    let number = u32::try_from(number.unwrap()).unwrap();
    let publisher = within(place.over_websocket().connect()).await.unwrap();
    for n in 0..20 {
        publisher.publish("chat", n.to_string()).await.unwrap();
    }
    for n in 0..20 {
        let event = within(session.recv()).await.unwrap();
        let Some(Event::Stream(own, text)) = event else {
            panic!("{event:?}");
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((own, &message["data"]), (number, &json!(n.to_string())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreliable_channel_comes_in_datagrams_to_a_session_that_asks_for_them() {
    let place = Place::open().await;
    let mut session = connected(&place, json!({"datagrams": true})).await;
    say(
        &mut session,
        json!({"type": "subscribe", "id": 2, "channel": "cursors"}),
    )
    .await;
    hear(&mut session, "subscribed").await;
    say(
        &mut session,
        json!({"type": "publish", "id": 3, "channel": "cursors", "data": [1, 2]}),
    )
    .await;
    loop {
        match within(session.recv()).await.unwrap().unwrap() {
            Event::Datagram(text) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                return assert_eq!(message["data"], json!([1, 2]));
            }
            // The answer to `publish`.
            Event::Control(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_the_server_ends_says_how() {
    let place = Place::open().await;
    let mut session = within(place.at("/ws").session()).await.unwrap();
    // RFC 6455 §7.4.1: 1008 for whoever speaks before it is connected.
    say(
        &mut session,
        json!({"type": "subscribe", "id": 2, "channel": "chat"}),
    )
    .await;
    while within(session.recv()).await.unwrap().is_some() {}
    let closed = session.closed().unwrap();
    assert!(
        closed.code >= 1000 && !closed.reason.is_empty(),
        "{closed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_session_says_the_status_and_the_servers_sentence() {
    let place = Place::open().await;
    let error = within(place.at("/elsewhere").session()).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("HTTP 404"), "{error}");
    assert!(
        error.contains("WebTransport sessions are served at /ws"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_is_unknown_is_not_trusted() {
    let (place, other) = (Place::open().await, Place::open().await);
    let address = place.running.addresses()[0];
    let to = other.at("/ws").address(address);
    assert!(within(to.session()).await.is_err());
}

/// Its streams are not finished, which would mean that the client leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_stays_a_member_until_it_is_resumed() {
    let place = Place::open().await;
    let watcher = within(place.over_websocket().connect()).await.unwrap();
    let mut room = watcher.subscribe("room").presence().await.unwrap();
    for _ in 0..10 {
        let (mut session, welcome) = welcomed(&place, json!({})).await;
        let subscribe = json!({"type": "subscribe", "id": 2, "channel": "room"});
        say(&mut session, subscribe).await;
        hear(&mut session, "subscribed").await;
        // The newest token contains the subscription.
        let resume = hear(&mut session, "token").await["resume"].clone();
        drop(session);
        let mut session = connected(&place, json!({"resume": resume})).await;
        hear(&mut session, "restored").await;
        let unsubscribe = json!({"type": "unsubscribe", "id": 2, "channel": "room"});
        say(&mut session, unsubscribe).await;
        hear(&mut session, "unsubscribed").await;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let (member, joined) = match within(room.next()).await.unwrap().unwrap() {
                offhook_client::Event::Joined(member) => (member, true),
                offhook_client::Event::Left(member) => (member, false),
                _ => continue,
            };
            // The watcher is a member as well.
            if welcome["session"] == *member.session {
                seen.push(joined);
            }
        }
        assert_eq!(seen, [true, false]);
    }
}

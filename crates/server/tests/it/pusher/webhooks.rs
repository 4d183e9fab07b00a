//! Webhooks in the form of Pusher, received by a real HTTP server.

use std::sync::mpsc::sync_channel;

use super::*;
use crate::{
    asked::{Does, Request, TestBackend},
    metrics,
};

const ALL: &str = "channel_occupied channel_vacated member_added member_removed client_event \
                   cache_miss subscription_count";
const KEY: &str = "a-key-of-the-api";

fn accept(_: &Request) -> Does {
    Does::Says(json!({}))
}

fn writes(status: &str) -> Does {
    Does::Writes(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

fn with_webhook(hook: &str, backend: &TestBackend) -> Config {
    let mut config = two_workers();
    let (app, events) = hook.split_once(' ').unwrap();
    let hook = format!("{app} {} {events}", backend.url());
    config.pusher.webhooks = vec![hook.parse().unwrap()];
    config
}

/// What a webhook has received.
struct Heard<'a> {
    backend: &'a mut TestBackend,
    events: Vec<Value>,
}

impl<'a> Heard<'a> {
    fn of(backend: &'a mut TestBackend) -> Self {
        let events = Vec::new();
        Self { backend, events }
    }

    /// Waits for an event. Earlier ones stay.
    async fn hear(&mut self, event: Value) {
        loop {
            if let Some(index) = self.events.iter().position(|one| *one == event) {
                self.events.remove(index);
                return;
            }
            let request = self.backend.next_of_all().await;
            assert_eq!(request.pusher_key.as_deref(), Some("app-key"));
            assert!(request.body["time_ms"].as_u64().unwrap() > 1_600_000_000_000);
            let events = request.body["events"].as_array().unwrap();
            assert!(!events.is_empty());
            self.events.extend(events.iter().cloned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_members_client_events_and_misses_are_reported_and_signed_by_the_first_key() {
    let mut backend = TestBackend::new(accept).await;
    let mut config = with_webhook(&format!("1 {ALL}"), &backend);
    let newer = "1 newer-key newer-secret-of-20-bytes".parse().unwrap();
    config.pusher.apps.push(newer);
    let hall = Hall::open(config).await;
    let mut heard = Heard::of(&mut backend);

    let mut ann = Client::open(&hall).await;
    ann.join("presence-room", "ann").await;
    heard
        .hear(json!({"name": "channel_occupied", "channel": "presence-room"}))
        .await;
    let member = json!({"name": "member_added", "channel": "presence-room", "user_id": "ann"});
    heard.hear(member).await;
    let event = json!({"event": "client-typing", "channel": "presence-room", "data": {"on": true}});
    ann.send(event).await;
    heard
        .hear(json!({
            "name": "client_event", "channel": "presence-room", "event": "client-typing",
            "data": "{\"on\":true}", "socket_id": ann.socket_id, "user_id": "ann",
        }))
        .await;
    // A second tab of the same user is not another member.
    let mut tab = Client::open(&hall).await;
    tab.join("presence-room", "ann").await;
    let leave = json!({"event": "pusher:unsubscribe", "data": {"channel": "presence-room"}});
    tab.send(leave.clone()).await;
    tab.hears_nothing().await;
    ann.send(leave).await;
    let member = json!({"name": "member_removed", "channel": "presence-room", "user_id": "ann"});
    heard.hear(member).await;
    heard
        .hear(json!({"name": "channel_vacated", "channel": "presence-room"}))
        .await;
    ann.subscribe("private-cache-price").await;
    ann.hear_a("pusher:cache_miss").await;
    heard
        .hear(json!({"name": "cache_miss", "channel": "private-cache-price"}))
        .await;
    let count = json!({"name": "subscription_count", "channel": "private-cache-price", "subscription_count": 1});
    heard.hear(count).await;
    heard
        .hear(json!({"name": "channel_occupied", "channel": "private-cache-price"}))
        .await;
    assert!(heard.events.is_empty(), "{:?}", heard.events);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_receives_the_wanted_events_of_its_own_app_under_its_names() {
    let mut backend = TestBackend::new(accept).await;
    let hook = format!("1 {} channel_occupied", backend.url());
    let mut config = two_workers();
    // The webhook of the app whose signature the test backend knows.
    config.pusher.apps = vec![
        "2 other-key another-secret-of-20".parse().unwrap(),
        "1 app-key a-secret-of-20-bytes acme/".parse().unwrap(),
    ];
    config.pusher.webhooks = vec![hook.parse().unwrap()];
    let hall = Hall::open(config).await;
    let mut native = hall.caller().await;
    native.subscribe("elsewhere", json!("now")).await;
    native.subscribe("acme/chat", json!("now")).await;
    let mut client = Client::open(&hall).await;
    client.join("presence-room", "ann").await;
    client
        .send(json!({"event": "client-a", "channel": "presence-room", "data": 1}))
        .await;
    client.hears_nothing().await;
    hall.close().await;
    let mut heard = Heard::of(&mut backend);
    let occupied = |channel| json!({"name": "channel_occupied", "channel": channel});
    heard.hear(occupied("chat")).await;
    heard.hear(occupied("presence-room")).await;
    assert!(heard.events.is_empty(), "{:?}", heard.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_event_that_is_refused_is_not_reported() {
    let mut backend = TestBackend::new(accept).await;
    let mut config = with_webhook("1 client_event", &backend);
    config.limits.data_bytes = 1024;
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("private-a").await;
    let event = |data: String| json!({"event": "client-a", "channel": "private-a", "data": data});
    client.send(event("x".repeat(2000))).await;
    client.hear_a("pusher:error").await;
    client.send(event("small".to_owned())).await;
    let mut heard = Heard::of(&mut backend);
    heard
        .hear(json!({
            "name": "client_event", "channel": "private-a", "event": "client-a",
            "data": "\"small\"", "socket_id": client.socket_id,
        }))
        .await;
    assert!(heard.events.is_empty(), "{:?}", heard.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_repeated_until_the_webhook_accepts_them() {
    let mut fails = vec!["429 Later", "503 No", "408 Late"];
    let mut backend =
        TestBackend::new(move |_| fails.pop().map_or_else(|| writes("204 Fine"), writes)).await;
    let hall = Hall::open(with_webhook("1 channel_occupied", &backend)).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    let first = backend.next_of_all().await.body;
    for _ in 0..3 {
        let again = backend.next_of_all().await.body;
        assert_eq!(again["events"], first["events"]);
    }
    client.subscribe("next").await;
    let next = backend.next_of_all().await.body;
    assert_eq!(next["events"][0]["channel"], "next");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_beyond_the_limit_are_dropped_and_counted_and_delay_no_client() {
    let (open, opened) = sync_channel::<()>(1);
    let mut is_open = false;
    let mut backend = TestBackend::new(move |_| {
        is_open = is_open || opened.try_recv().is_ok();
        match is_open {
            true => writes("400 Bad"),
            false => writes("503 No"),
        }
    })
    .await;
    let mut config = metrics::operated(with_webhook("1 channel_occupied", &backend));
    config.backend.events = 10;
    let hall = Hall::open(config).await;
    hall.set_api_keys(vec![ApiKey::of_everything(KEY)]);
    let mut client = Client::open(&hall).await;
    client.subscribe("first").await;
    backend.next_of_all().await;
    for n in 0..30 {
        client.subscribe(&format!("c{n}")).await;
    }
    let stats = || async { hall.api(KEY, "GET /api/v1/stats", "").await.2["pusher"].clone() };
    while stats().await["events_dropped"] != 20 {
        tokio::task::yield_now().await;
    }
    let metrics = metrics::text(&hall).await;
    let dropped = "offhook_pusher_events_total{outcome=\"dropped\"} 20";
    assert!(metrics.contains(dropped), "{metrics}");
    // What the webhook refuses is dropped, and does not hold up what follows.
    open.send(()).unwrap();
    while stats().await["events_dropped"] != 31 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stats().await["events_waiting"], 0);
}

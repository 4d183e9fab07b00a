//! `GET /sse`: streams of channels for clients other than Offhook's.

use std::{num::NonZeroUsize, time::Duration};

use offhook::OriginPolicy;
use offhook_engine::{ChannelRules, State};
use offhook_server::{Config, config::ChannelRule};
use serde_json::json;

use crate::{
    hall::{Hall, config, on_disk, with_connections},
    issuer::{now, of, token, with_tokens},
    reader::Reader,
};

#[tokio::test]
async fn the_first_thing_sent_is_a_named_event_with_data_and_an_id() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let position = publisher.publish("chat", json!("before")).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    assert_eq!(reader.status, 200);
    for field in [
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store, no-transform",
        "x-accel-buffering: no",
    ] {
        assert!(reader.head.contains(field), "{}", reader.head);
    }
    let subscribed = reader.a("subscribed").await;
    assert_eq!(subscribed.id, position);
    assert_eq!(subscribed.data["channel"], "chat");
    assert_eq!(subscribed.data["live"], true);
    assert!((1_500..3_000).contains(&reader.retry.unwrap()));

    let position = publisher.publish("chat", json!({"text": "hi"})).await;
    let message = reader.a("message").await;
    assert_eq!(message.id, position);
    let (epoch, offset) = position.split_once('.').unwrap();
    assert_eq!(message.data["epoch"].to_string(), epoch);
    assert_eq!(message.data["offset"].to_string(), offset);
    assert_eq!(message.data["channel"], "chat");
    assert_eq!(message.data["data"], json!({"text": "hi"}));
    assert!(message.data["time"].is_u64());
}

#[tokio::test]
async fn the_last_event_id_resumes_one_channel_without_loss_or_repetition() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    let mut id = reader.a("subscribed").await.id;
    let mut seen = Vec::new();
    for n in 0..20 {
        publisher.publish("chat", json!(n)).await;
        if n % 3 == 0 {
            // The connection is lost, with everything that was in transit.
            drop(reader);
            let path = "/sse?channel=chat";
            let field = format!("Last-Event-ID: {id}\r\n");
            reader = match n % 2 {
                0 => Reader::ask(&hall, path, &field).await,
                _ => Reader::get(&hall, &format!("{path}&last_event_id={id}")).await,
            };
        }
        while seen.len() <= n {
            let event = reader.event().await.unwrap();
            if event.name == "message" {
                seen.push(event.data["data"].as_u64().unwrap() as usize);
            }
            assert_ne!(event.name, "gap");
            id = event.id;
        }
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_id_resumes_all_channels_and_filters_of_a_stream() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let channels: String = (0..15).map(|n| format!("channel=chat{n}&")).collect();
    let path = format!("/sse?{channels}filter=chat/%23");
    let mut reader = Reader::get(&hall, &path).await;
    for _ in 0..16 {
        reader.a("subscribed").await;
    }
    let mut seen = Vec::new();
    let mut expected = Vec::new();
    for n in 0..60 {
        let channel = match n % 4 {
            0 => format!("chat/{n}"),
            _ => format!("chat{}", n % 15),
        };
        publisher.publish(&channel, json!(n)).await;
        expected.push((channel, n));
        if n % 7 == 6 {
            while seen.len() < n - 1 {
                let event = reader.event().await.unwrap();
                if event.name == "message" {
                    assert!(event.id.len() <= 128, "{}", event.id);
                    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
                    assert!(event.id.bytes().all(unreserved), "{}", event.id);
                    let channel = event.data["channel"].as_str().unwrap().to_owned();
                    seen.push((channel, event.data["data"].as_u64().unwrap() as usize));
                }
            }
            let id = reader.last_id();
            drop(reader);
            reader = Reader::ask(&hall, &path, &format!("Last-Event-ID: {id}\r\n")).await;
        }
    }
    while seen.len() < expected.len() {
        let event = reader.event().await.unwrap();
        assert_ne!(event.name, "gap", "{event:?}");
        if event.name == "message" {
            let channel = event.data["channel"].as_str().unwrap().to_owned();
            seen.push((channel, event.data["data"].as_u64().unwrap() as usize));
        }
    }
    // Each channel is in order; nothing is lost or repeated.
    for n in 0..15 {
        let of = |all: &[(String, usize)]| -> Vec<usize> {
            let name = format!("chat{n}");
            all.iter()
                .filter(|(c, _)| *c == name)
                .map(|(_, n)| *n)
                .collect()
        };
        assert_eq!(of(&seen), of(&expected), "chat{n}");
    }
    seen.sort_by_key(|(_, n)| *n);
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_event_id_stays_valid_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(on_disk(directory.path())).await;
    let mut publisher = hall.caller().await;
    let path = "/sse?channel=chat1&channel=chat2";
    let mut reader = Reader::get(&hall, path).await;
    reader.a("subscribed").await;
    reader.a("subscribed").await;
    publisher.publish("chat1", json!("one")).await;
    let id = reader.a("message").await.id;
    publisher.publish("chat2", json!("two")).await;
    drop(reader);
    publisher.cut();
    hall.close().await;

    let hall = Hall::open(on_disk(directory.path())).await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat1", json!("three")).await;
    let mut reader = Reader::ask(&hall, path, &format!("Last-Event-ID: {id}\r\n")).await;
    let mut data = Vec::new();
    while data.len() < 2 {
        let event = reader.event().await.unwrap();
        assert_ne!(event.name, "gap", "{event:?}");
        if event.name == "message" {
            data.push(event.data["data"].as_str().unwrap().to_owned());
        }
    }
    data.sort();
    assert_eq!(data, ["three", "two"]);
}

#[tokio::test]
async fn an_unknown_event_id_is_answered_by_a_gap() {
    let hall = Hall::open(config()).await;
    hall.caller().await.publish("chat", json!(1)).await;
    let unknown = ["x", "rubbish", "17", "%00", "1.2.3"];
    for id in unknown {
        let path = format!("/sse?channel=chat&last_event_id={id}");
        let mut reader = Reader::get(&hall, &path).await;
        reader.a("subscribed").await;
        let gap = reader.a("gap").await;
        assert_eq!(gap.data["reason"], "unknown_id", "{id}");
        assert!(gap.data["to"].is_string());
    }
    // A position of another log.
    let mut reader = Reader::get(&hall, "/sse?channel=chat&last_event_id=17.4").await;
    reader.a("subscribed").await;
    assert_eq!(reader.a("gap").await.data["reason"], "epoch_changed");
    assert_eq!(reader.a("message").await.data["data"], 1);
    // An id of other channels.
    let mut reader = Reader::get(&hall, "/sse?channel=chat&channel=chat2").await;
    reader.a("subscribed").await;
    let id = reader.a("subscribed").await.id;
    let path = format!("/sse?channel=chat2&channel=chat&last_event_id={id}");
    let mut reader = Reader::get(&hall, &path).await;
    for _ in 0..2 {
        reader.a("subscribed").await;
        assert_eq!(reader.a("gap").await.data["reason"], "unknown_id");
    }
}

#[tokio::test]
async fn a_stream_cut_before_its_first_message_starts_again_as_requested() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    for n in 0..5 {
        publisher.publish("chat", json!(n)).await;
    }
    let path = "/sse?channel=chat&since=last:3";
    let mut reader = Reader::get(&hall, path).await;
    let id = reader.a("subscribed").await.id;
    drop(reader);
    publisher.publish("chat", json!(5)).await;
    let mut reader = Reader::ask(&hall, path, &format!("Last-Event-ID: {id}\r\n")).await;
    reader.a("subscribed").await;
    for n in 3..=5 {
        assert_eq!(reader.a("message").await.data["data"], n);
    }
    let live = reader.a("live").await;
    // With `since=now`, messages in between are not lost, either.
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    let id = reader.a("subscribed").await.id;
    assert_eq!(id, live.id);
    drop(reader);
    publisher.publish("chat", json!(6)).await;
    let field = format!("Last-Event-ID: {id}\r\n");
    let mut reader = Reader::ask(&hall, "/sse?channel=chat", &field).await;
    reader.a("subscribed").await;
    assert_eq!(reader.a("message").await.data["data"], 6);
}

#[tokio::test]
async fn each_channel_may_have_its_own_since() {
    let hall = Hall::open(config()).await;
    let mut publisher = hall.caller().await;
    let first = publisher.publish("chat1", json!(1)).await.replace('.', ":");
    publisher.publish("chat1", json!(2)).await;
    publisher.publish("chat2", json!(3)).await;
    let path = format!("/sse?channel=chat1&channel=chat2&since={first}&since=start");
    let mut reader = Reader::get(&hall, &path).await;
    let mut data = Vec::new();
    while data.len() < 2 {
        let event = reader.event().await.unwrap();
        if event.name == "message" {
            data.push(event.data["data"].as_u64().unwrap());
        }
    }
    data.sort_unstable();
    assert_eq!(data, [2, 3]);
}

#[tokio::test]
async fn joins_and_leaves_are_events() {
    let hall = Hall::open(config()).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat&presence=true").await;
    reader.a("subscribed").await;
    let own = reader.a("join").await;
    let mut member = hall.caller().await;
    member.subscribe("chat", json!("now")).await;
    let join = reader.a("join").await;
    assert_ne!(join.data["session"], own.data["session"]);
    assert_eq!(join.data["session"], member.session.as_str());
    member
        .ask(json!({"type": "unsubscribe", "channel": "chat"}))
        .await;
    let leave = reader.a("leave").await;
    assert_eq!(leave.data["session"], join.data["session"]);
    assert_eq!(leave.id, join.id, "joins and leaves do not change the id");
}

#[tokio::test]
async fn a_stream_may_start_with_the_state_of_a_channel_whose_values_have_no_id() {
    let mut with_state = config();
    let rules = ChannelRules {
        state: State {
            count: 100,
            bytes: 1 << 20,
            age: None,
        },
        ..ChannelRules::default()
    };
    let pattern = "prices*".to_owned();
    with_state.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(with_state).await;
    let mut publisher = hall.caller().await;
    for (key, price) in [("a", 1), ("b", 2), ("a", 3)] {
        let publish = json!({
            "type": "publish", "channel": "prices", "data": price, "tags": {"key": key}
        });
        publisher.ask(publish).await;
    }
    for path in [
        "/sse?channel=prices&since=state",
        "/sse?channel=prices&channel=chat&since=state&since=now",
    ] {
        let mut reader = Reader::get(&hall, path).await;
        let mut values = Vec::new();
        let mut before = String::new();
        let gap = loop {
            let event = reader.event().await.unwrap();
            if event.data["channel"] != "prices" {
                before = event.id;
                continue;
            }
            match &*event.name {
                "subscribed" => before = event.id,
                "message" => {
                    assert_eq!(event.data["state"], true);
                    assert_eq!(event.id, before);
                    values.push(event.data["data"].as_u64().unwrap());
                }
                _ => break event,
            }
        };
        assert_eq!(values, [2, 3], "{path}");
        assert_eq!((&*gap.name, &gap.data["reason"]), ("gap", &json!("state")));
        assert_ne!(gap.id, before);
    }
}

#[tokio::test]
async fn data_with_line_breaks_arrives_whole() {
    let hall = Hall::open(config()).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    reader.a("subscribed").await;
    let publisher = hall.caller().await;
    let publish =
        "{\"type\":\"publish\",\"id\":7,\"channel\":\"chat\",\"data\":{\n\"a\":\r\n[1,\r2]}}";
    publisher.say(publish).await;
    assert_eq!(reader.a("message").await.data["data"], json!({"a": [1, 2]}));
}

#[tokio::test]
async fn a_quiet_stream_has_heartbeats_as_comments() {
    let mut brisk = config();
    brisk.keepalive.interval = Some(Duration::from_millis(20));
    let hall = Hall::open(brisk).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    reader.a("subscribed").await;
    reader.until_comments(3).await;
    hall.caller().await.publish("chat", json!(1)).await;
    assert_eq!(reader.a("message").await.data["data"], 1);
}

#[tokio::test]
async fn padding_gets_the_first_event_through_a_buffering_proxy() {
    let hall = Hall::open(config()).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat&padding=65536").await;
    reader.a("subscribed").await;
    reader.until_comments(1).await;
    let (status, _, body) = hall.get("/sse?channel=chat&padding=65537").await;
    assert_eq!((status, body.contains("padding")), (400, true), "{body}");
}

#[tokio::test]
async fn a_forbidden_stream_is_refused_with_a_status_and_a_reason() {
    let hall = Hall::open(config()).await;
    for (path, status, word) in [
        ("/sse", 400, "channel and filter"),
        ("/sse?channel=", 400, "channel"),
        ("/sse?channel=a*b", 400, "channel"),
        ("/sse?filter=a%23b", 400, "filter"),
        ("/sse?channel=chat&since=yesterday", 400, "since"),
        ("/sse?channel=chat&since=last:x", 400, "since"),
        ("/sse?channel=a&channel=b&since=1:2", 400, "last_event_id"),
        ("/sse?channel=a&since=now&since=now", 400, "since"),
        ("/sse?channel=a&presence=perhaps", 400, "presence"),
        ("/sse?channel=silent/1", 403, "silent/1"),
        ("/sse?channel=chat&channel=silent/1", 403, "silent/1"),
        ("/sse?channel=fleeting/1&presence=true", 404, "fleeting/1"),
    ] {
        let (answered, head, body) = hall.get(path).await;
        assert_eq!(answered, status, "{path}: {body}");
        assert!(head.contains("application/problem+json"), "{head}");
        assert!(body.contains(word), "{path}: {body}");
    }
    let many: String = (0..17).map(|n| format!("channel=c{n}&")).collect();
    assert_eq!(hall.get(&format!("/sse?{many}")).await.0, 400);
    let (status, head, _) = hall.request("DELETE /sse?channel=chat HTTP/1.1").await;
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, options"), "{head}");
    // No connection of the refused stream remains.
    assert_eq!(hall.health().await.1["connections"], 0);
}

#[tokio::test]
async fn a_token_may_be_in_a_header_or_if_short_lived_in_the_url() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let path = "/sse?channel=silent/1";
    let field = format!("Authorization: Bearer {}\r\n", of("ann"));
    let mut reader = Reader::ask(&hall, path, &field).await;
    reader.a("subscribed").await;
    let soon = token(json!({ "sub": "ann", "exp": now() + 600 }));
    let mut reader = Reader::get(&hall, &format!("{path}&token={soon}")).await;
    reader.a("subscribed").await;
    let (status, head, body) = hall.get(&format!("{path}&token={}", of("ann"))).await;
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: bearer"), "{head}");
    assert!(body.contains("15 minutes"), "{body}");
    for (path, status) in [
        (path.to_owned(), 401),
        (format!("{path}&token=rubbish"), 401),
        (format!("{path}&token={soon}&token={soon}"), 400),
    ] {
        assert_eq!(hall.get(&path).await.0, status, "{path}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_gives_the_reason() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let soon = token(json!({ "sub": "ann", "exp": now() + 2 }));
    let mut reader = Reader::get(&hall, &format!("/sse?channel=chat&token={soon}")).await;
    reader.a("subscribed").await;
    let closing = reader.a("closing").await;
    assert_eq!(closing.data["reason"], "expired");
    assert_eq!(reader.event().await, None);
}

#[tokio::test]
async fn a_cookie_is_accepted_only_from_the_own_origin() {
    let mut with_cookie = with_tokens(|auth| auth.cookie = Some("session".to_owned()));
    with_cookie.origins = OriginPolicy::Any;
    let hall = Hall::open(with_cookie).await;
    let cookie = format!("Cookie: session={}\r\n", of("ann"));
    let own = format!("Origin: http://{}\r\n", hall.address());
    for (fields, status) in [
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        (own.as_str(), 200),
        ("", 401),
        ("Sec-Fetch-Site: same-site\r\n", 401),
        ("Sec-Fetch-Site: cross-site\r\n", 401),
        ("Origin: https://evil.example\r\n", 401),
        (
            "Origin: https://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
            401,
        ),
    ] {
        let fields = format!("{cookie}{fields}");
        let reader = Reader::ask(&hall, "/sse?channel=chat", &fields).await;
        assert_eq!(reader.status, status, "{fields}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_a_stream_only_if_they_may_connect() {
    let mut listed = config();
    listed.origins = OriginPolicy::allow_list(["https://app.example"]).unwrap();
    let hall = Hall::open(listed).await;
    let path = "/sse?channel=chat";
    let ask = async |method: &str, origin: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nOrigin: {origin}");
        hall.request(&request).await
    };
    let (status, head, body) = ask("OPTIONS", "https://app.example").await;
    assert_eq!((status, body.as_str()), (204, ""));
    for field in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-methods: get",
        "access-control-allow-headers: authorization, cache-control, content-type, last-event-id",
        "access-control-max-age: 7200",
        "vary: origin",
    ] {
        assert!(head.contains(field), "{head}");
    }
    let field = "Origin: https://app.example\r\n";
    let reader = Reader::ask(&hall, path, field).await;
    assert_eq!(reader.status, 200);
    assert!(
        reader
            .head
            .contains("access-control-allow-origin: https://app.example")
    );
    assert!(!reader.head.contains("allow-credentials"));
    for method in ["OPTIONS", "GET"] {
        let (status, _, body) = ask(method, "https://evil.example").await;
        assert_eq!(status, 403, "{body}");
        assert!(
            body.contains("evil.example") && body.contains("`origins`"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn dns_rebinding_does_not_let_a_page_read_a_stream() {
    let hall = Hall::open(with_tokens(|auth| auth.anonymous = Some(true))).await;
    // Browsers send no origin with a page's requests to its own origin.
    let request = |fields: &str| {
        format!(
            "GET /poll?channel=chat HTTP/1.1\r\nHost: evil.example\r\n{fields}Connection: close\r\n\r\n"
        )
    };
    assert_eq!(hall.raw(&request("")).await.0, 421);
    // A token shows that the client is not such a page.
    let field = format!("Authorization: Bearer {}\r\n", of("ann"));
    assert_eq!(hall.raw(&request(&field)).await.0, 200);
}

#[tokio::test]
async fn streams_above_the_limit_are_told_when_to_retry() {
    let hall = Hall::open(with_connections(|limits| limits.max = 1)).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    reader.a("subscribed").await;
    let (status, head, body) = hall.get("/sse?channel=chat").await;
    assert_eq!(status, 503, "{body}");
    assert!(head.contains("retry-after: "), "{head}");
    // An EventSource never reconnects after a 503, so it gets a stream that says when to retry.
    let field = "Accept: text/event-stream\r\n";
    let mut turned_away = Reader::ask(&hall, "/sse?channel=chat", field).await;
    assert_eq!(turned_away.status, 200);
    let refused = turned_away.a("refused").await;
    assert_eq!(refused.data["code"], "busy");
    assert!(turned_away.retry.unwrap() >= 1_000);
}

#[tokio::test]
async fn requests_on_one_connection_are_counted_separately() {
    let strict = with_connections(|limits| {
        limits.handshakes_per_second = 1;
        limits.handshake_burst = 3;
    });
    let hall = Hall::open(strict).await;
    let request = format!(
        "GET /poll?channel=chat HTTP/1.1\r\nHost: {}\r\n\r\n",
        hall.address()
    );
    let last = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (_, _, answers) = hall.raw(&(request.repeat(20) + last)).await;
    assert!(answers.contains("HTTP/1.1 503 "), "{answers}");
}

fn narrow() -> Config {
    let mut config = config();
    config.messages.outbox_bytes = 32 * 1024;
    config.connections.send_buffer = Some(16 * 1024);
    config
}

#[tokio::test]
async fn a_slow_stream_falls_behind_and_gets_everything_at_its_own_pace() {
    let hall = Hall::open(narrow()).await;
    for path in ["/sse?channel=chat", "/sse?channel=chat&channel=chat2"] {
        let mut reader = Reader::narrow(&hall, path).await;
        let mut publisher = hall.caller().await;
        let padding = "x".repeat(1_000);
        reader.a("subscribed").await;
        for n in 0..1_000 {
            publisher
                .publish("chat", json!({"n": n, "padding": padding}))
                .await;
        }
        let (mut next, mut fell_behind) = (0, false);
        while next < 1_000 {
            let event = reader.event().await.unwrap();
            match &*event.name {
                "message" => {
                    assert_eq!(event.data["data"]["n"], next);
                    next += 1;
                }
                "catching_up" => fell_behind = true,
                "subscribed" => {}
                other => panic!("{other}"),
            }
        }
        assert!(fell_behind, "{path}");
        reader.a("live").await;
        publisher.publish("chat", json!("after")).await;
        assert_eq!(reader.a("message").await.data["data"], "after");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_disconnected() {
    let mut brisk = narrow();
    brisk.keepalive.interval = Some(Duration::from_millis(100));
    brisk.keepalive.pong_timeout = Duration::from_millis(100);
    let hall = Hall::open(brisk).await;
    let mut reader = Reader::narrow(&hall, "/sse?channel=chat").await;
    reader.a("subscribed").await;
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(10_000);
    while hall.health().await.1["connections"] != 1 {
        publisher.publish("chat", json!(padding)).await;
    }
    // It received the beginning of the stream, and the id of the last event resumes it.
    let mut last = String::new();
    while let Some(event) = reader.event().await {
        last = event.id;
    }
    let mut reader = Reader::ask(
        &hall,
        "/sse?channel=chat",
        &format!("Last-Event-ID: {last}\r\n"),
    )
    .await;
    reader.a("subscribed").await;
    reader.a("message").await;
}

#[tokio::test]
async fn streams_of_different_workers_share_a_channel() {
    let mut several = config();
    several.workers = NonZeroUsize::new(3).unwrap();
    let hall = Hall::open(several).await;
    let mut readers = Vec::new();
    for n in 0..12 {
        let path = match n % 2 {
            0 => "/sse?channel=chat",
            _ => "/sse?filter=%2B",
        };
        let mut reader = Reader::get(&hall, path).await;
        reader.a("subscribed").await;
        readers.push(reader);
    }
    hall.caller().await.publish("chat", json!("to all")).await;
    for reader in &mut readers {
        assert_eq!(reader.a("message").await.data["data"], "to all");
    }
}

#[tokio::test]
async fn a_stopping_server_tells_streams_when_to_reconnect() {
    let hall = Hall::open(config()).await;
    let mut reader = Reader::get(&hall, "/sse?channel=chat").await;
    reader.a("subscribed").await;
    let before = reader.retry;
    let (_, rest) = tokio::join!(hall.close(), reader.event());
    assert_eq!(rest, None);
    assert_ne!(reader.retry, before);
}

#[tokio::test]
async fn data_sent_to_a_user_by_the_backend_is_an_event() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let field = format!("Authorization: Bearer {}\r\n", of("ann"));
    let mut reader = Reader::ask(&hall, "/sse?channel=chat", &field).await;
    reader.a("subscribed").await;
    let whom = offhook_engine::Whom::User("ann".into());
    let data = bytes::Bytes::from_static(b"{\"order\":7}");
    let format = offhook_engine::Format::Json;
    assert_eq!(hall.sessions().tell(whom.clone(), data, format).await, 1);
    assert_eq!(reader.a("told").await.data["data"], json!({"order": 7}));
    assert_eq!(hall.sessions().disconnect(whom).await, 1);
    assert_eq!(reader.a("closing").await.data["reason"], "disconnected");
    assert_eq!(reader.event().await, None);
}

//! `/metrics`: who may read it, and whether its figures are correct.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use offhook::protocol::CloseCode;
use offhook_engine::ChannelRules;
use offhook_server::{
    Config,
    config::{Admin, Api, ChannelRule},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::hall::{Hall, NEVER, config, on_disk};

const KEY: &str = "ohk_metrics";
const OTHER_KEY: &str = "ohk_read";

/// Adds a listener for operators, and a key for each of two scopes.
pub(crate) fn operated(config: Config) -> Config {
    let key = |scope: &str, key: &str| {
        let everything = offhook_auth::ApiKey::of_everything(key).to_string();
        let (_, hash) = everything.rsplit_once(' ').unwrap();
        format!("{scope} {hash}").parse().unwrap()
    };
    Config {
        admin: Admin {
            listen: vec![([127, 0, 0, 1], 0).into()],
        },
        api: Api {
            keys: vec![key("metrics", KEY), key("read", OTHER_KEY)],
            ..config.api.clone()
        },
        ..config
    }
}

/// Status, head in lower case, and body.
async fn get(address: SocketAddr, line: &str, fields: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

pub(crate) async fn text(hall: &Hall) -> String {
    let (status, _, body) = get(hall.admin_address(), "GET /metrics", "Host: localhost\r\n").await;
    assert_eq!(status, 200, "{body}");
    body
}

/// All samples by their names and labels.
async fn samples(hall: &Hall) -> BTreeMap<String, f64> {
    let text = text(hall).await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Reads the metrics until they satisfy a condition.
async fn until(hall: &Hall, wanted: impl Fn(&BTreeMap<String, f64>) -> bool) {
    let reading = async {
        while !wanted(&samples(hall).await) {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, reading)
        .await
        .expect("the metrics satisfy the condition");
}

#[tokio::test]
async fn the_figures_agree_with_what_was_done() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(operated(on_disk(directory.path()))).await;
    let before = samples(&hall).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = hall.caller().await;
        caller.subscribe("chat", json!("now")).await;
        callers.push(caller);
    }
    let mut publisher = hall.caller().await;
    for n in 0..10 {
        publisher.publish("chat", json!(n)).await;
    }
    let again = json!({"type": "publish", "channel": "chat", "data": 1, "key": "once"});
    for _ in 0..2 {
        publisher.ask(again.clone()).await;
    }
    for caller in &mut callers {
        for _ in 0..11 {
            caller.hear_a("message").await;
        }
    }
    publisher
        .refused(json!({"type": "subscribe", "channel": "silent/x"}))
        .await;
    let _health = hall.get("/healthz").await;
    let _nothing = hall.get("/nowhere").await;
    let mut leaving = callers.pop().unwrap();
    leaving.socket.close(CloseCode::NORMAL, "").await.unwrap();

    let closed = r#"offhook_websockets_closed_total{code="1000"}"#;
    until(&hall, |now| {
        now[closed] >= 1.0
            && now["offhook_subscriptions"] == 2.0
            && now["offhook_stored_channels"] >= 1.0
    })
    .await;
    let now = samples(&hall).await;
    let grown = |name: &str| now[name] - before.get(name).copied().unwrap_or_default();
    for (name, expected) in [
        ("offhook_connections", 3.0),
        ("offhook_connections_opened_total", 4.0),
        ("offhook_connections_ended_total", 1.0),
        ("offhook_subscriptions", 2.0),
        (
            r#"offhook_clients{dialect="native json",transport="websocket"}"#,
            3.0,
        ),
        (closed, 1.0),
        ("offhook_published_total", 12.0),
        ("offhook_published_before_total", 1.0),
        ("offhook_deliveries_total", 33.0),
        (r#"offhook_refused_total{kind="forbidden"}"#, 1.0),
        ("offhook_publish_to_fsync_seconds_count", 11.0),
        ("offhook_publish_to_write_seconds_count", 11.0),
        (
            r#"offhook_publish_to_write_seconds_bucket{le="+Inf"}"#,
            11.0,
        ),
        (
            r#"offhook_http_answers_total{to="health",status="2xx"}"#,
            1.0,
        ),
        (r#"offhook_http_answers_total{to="page",status="4xx"}"#, 1.0),
        ("offhook_stored_channels", 1.0),
    ] {
        assert_eq!(grown(name), expected, "{name}");
    }
    assert_eq!(now["offhook_healthy"], 1.0);
    // Ten publications one after another cannot have shared all of their batches.
    assert!(grown("offhook_log_commit_seconds_count") >= 10.0);
    assert!(grown("offhook_delivered_bytes_total") >= 33.0 * 20.0);
    assert!(now["offhook_publish_to_fsync_seconds_sum"] > 0.0);
}

#[tokio::test]
async fn pings_and_the_delay_of_the_event_loop_are_measured() {
    let mut config = operated(config());
    config.keepalive.interval = Some(Duration::from_millis(50));
    let hall = Hall::open(config).await;
    let mut caller = hall.caller().await;
    // The caller answers pings while it waits for a message.
    let answering = tokio::spawn(async move { caller.socket.recv().await });
    until(&hall, |now| {
        now["offhook_ping_round_trip_seconds_count"] >= 2.0
            && now["offhook_event_loop_delay_seconds_count"] >= 2.0
    })
    .await;
    let now = samples(&hall).await;
    assert!(now["offhook_ping_round_trip_seconds_sum"] > 0.0);
    answering.abort();
}

#[tokio::test]
async fn the_metrics_require_a_key_at_the_clients_address_and_none_at_the_operators_address() {
    let hall = Hall::open(operated(config())).await;
    let ask = async |authorization: &str| {
        let fields = format!("Host: localhost\r\n{authorization}");
        get(hall.address(), "GET /metrics", &fields).await
    };
    let (status, head, _) = ask("").await;
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: bearer"), "{head}");
    assert_eq!(ask("Authorization: Bearer wrong\r\n").await.0, 401);
    let (status, _, body) = ask(&format!("Authorization: Bearer {OTHER_KEY}\r\n")).await;
    assert_eq!(status, 403);
    assert!(body.contains("metrics"), "{body}");
    let (status, head, body) = ask(&format!("Authorization: Bearer {KEY}\r\n")).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(body.contains("offhook_connections 0\n"), "{body}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn without_a_configured_key_the_clients_address_serves_no_metrics() {
    let hall = Hall::open(config()).await;
    let (status, _, body) = hall.get("/metrics").await;
    assert_eq!(status, 404);
    assert!(body.contains("admin.listen"), "{body}");
}

#[tokio::test]
async fn the_operators_address_serves_health_readiness_and_the_api() {
    let hall = Hall::open(operated(config())).await;
    let address = hall.admin_address();
    let ask = async |line: &str| get(address, line, "Host: 127.0.0.1\r\n").await;
    assert_eq!(ask("GET /readyz").await.2, "ready\n");
    assert!(ask("GET /healthz").await.2.contains("\"status\":\"good\""));
    assert_eq!(ask("GET /api/v1/stats").await.0, 401);
    assert_eq!(ask("GET /talk/").await.0, 404);
    let (status, head, _) = ask("GET /").await;
    assert_eq!(status, 302);
    assert!(head.contains("location: /dashboard/"), "{head}");
    let (status, head, page) = ask("GET /dashboard/").await;
    assert_eq!(status, 200);
    assert!(head.contains("frame-ancestors 'none'"), "{head}");
    assert!(page.contains("dashboard.js"), "{page}");
    assert_eq!(ask("POST /metrics").await.0, 405);
    // A page whose own host name resolves to this address (DNS rebinding).
    let rebound = get(address, "GET /metrics", "Host: evil.example\r\n").await;
    assert_eq!(rebound.0, 421);
    assert!(rebound.2.contains("hosts"), "{}", rebound.2);
    let two = get(address, "GET /metrics", "Host: localhost\r\nHost: x\r\n").await;
    assert_eq!(two.0, 400);
}

#[tokio::test]
async fn no_label_contains_a_text_from_a_client() {
    let everything = ChannelRule {
        pattern: "*".to_owned(),
        rules: ChannelRules::default(),
        ..ChannelRule::default()
    };
    let hall = Hall::open(operated(Config {
        channels: vec![everything],
        ..config()
    }))
    .await;
    let mut caller = hall.caller().await;
    let lines = text(&hall).await.lines().count();
    for n in 0..50 {
        let channel = format!("chosen-by-a-client-{n}");
        caller.publish(&channel, json!(n)).await;
        caller.subscribe(&channel, json!("now")).await;
    }
    let _chosen = hall.get("/chosen-by-a-client").await;
    caller.refused(json!({"type": "chosen-by-a-client"})).await;
    let text = text(&hall).await;
    assert!(!text.contains("chosen-by-a-client"), "{text}");
    // Only the counter of this kind of refusal is new.
    assert_eq!(text.lines().count(), lines + 1);
}

#[tokio::test]
async fn every_metric_is_documented_and_every_documented_metric_exists() {
    let hall = Hall::open(operated(config())).await;
    let text = text(&hall).await;
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut served: Vec<&str> = types.map(|line| line.split(' ').next().unwrap()).collect();
    // Only a server with a backend or with webhooks in the form of Pusher has these.
    served.extend([
        "offhook_backend_answers",
        "offhook_backend_failures",
        "offhook_backend_events",
        "offhook_backend_events_waiting",
        "offhook_backend_away",
        "offhook_pusher_events",
        "offhook_pusher_events_waiting",
        "offhook_pusher_away",
    ]);
    let page = include_str!("../../../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let mut documented: Vec<&str> = rows.map(|row| row.split('`').next().unwrap()).collect();
    served.sort_unstable();
    documented.sort_unstable();
    assert_eq!(served, documented);
}

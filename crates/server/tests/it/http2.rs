//! HTTP/2: every path as over HTTP/1.1, and many WebSockets over one connection (RFC 8441).

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hyper::Method;
use offhook::{Connect, Error, Http2, HttpVersion, Message, Tls, protocol::CloseCode};
use offhook_auth::ApiKey;
use offhook_server::{
    Config,
    config::{Proxies, TlsFiles},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config, with_connections},
    http2_peer::{Events, NO_ERROR, Peer, Raw, data, request, text},
};

const KEY: &str = "ohk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

/// Options for WebSockets over HTTP/2, with prior knowledge.
fn multiplexed(hall: &Hall) -> Connect {
    hall.number().version(HttpVersion::Http2)
}

async fn connected(connection: &Http2) -> Caller {
    let mut caller = Caller::new(connection.open("/ws").await.unwrap());
    caller.connect().await;
    caller
}

/// The status with which a WebSocket is refused.
async fn refused(connection: &Http2, target: &str) -> u16 {
    match connection.open(target).await {
        Err(Error::Refused(refused)) => refused.status(),
        other => panic!("{other:?}"),
    }
}

/// Waits until the server's health report meets this condition.
async fn until(hall: &Hall, wanted: impl Fn(&Value) -> bool) {
    let waiting = async {
        while !wanted(&hall.health().await.1) {
            tokio::task::yield_now().await;
        }
    };
    timeout(NEVER, waiting).await.expect("the condition is met");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_websockets_share_ten_connections() {
    let hall = Hall::open(config()).await;
    let mut callers = Vec::new();
    for _ in 0..10 {
        let connection = multiplexed(&hall).http2().await.unwrap();
        for _ in 0..100 {
            let mut caller = connected(&connection).await;
            caller.subscribe("chat", json!("now")).await;
            callers.push(caller);
        }
    }
    assert_eq!(hall.health().await.1["connections"], 1_000);
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!("to all")).await;
    for caller in &mut callers {
        assert_eq!(caller.hear_a("message").await["data"], "to all");
    }
    let (first, rest) = callers.split_first_mut().unwrap();
    first
        .send(json!({"type": "publish", "channel": "chat", "data": "mine"}))
        .await;
    for caller in rest {
        assert_eq!(caller.hear_a("message").await["data"], "mine");
    }
    drop(callers);
    until(&hall, |health| health["connections"] == 1).await;
}

#[tokio::test]
async fn every_dialect_is_supported_over_a_websocket_over_http_2() {
    let hall = Hall::open(config()).await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let mut native = connected(&connection).await;
    native.subscribe("chat", json!("now")).await;

    let rpc = connection
        .open_as(&hall.number_at("/rpc"), "/rpc")
        .await
        .unwrap();
    let publish = json!({"jsonrpc": "2.0", "id": 1, "method": "publish",
                         "params": {"channel": "chat", "data": "from rpc"}});
    rpc.send(publish.to_string()).await.unwrap();
    assert_eq!(native.hear_a("message").await["data"], "from rpc");

    let mqtt = hall.number_at("/mqtt").subprotocol("mqtt");
    let mut mqtt = connection.open_as(&mqtt, "/mqtt").await.unwrap();
    assert_eq!(mqtt.protocol(), Some("mqtt"));
    // CONNECT of 3.1.1 with a clean session.
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    mqtt.send(&connect[..]).await.unwrap();
    let connack = timeout(NEVER, mqtt.recv()).await.unwrap().unwrap().unwrap();
    assert_eq!(connack.as_bytes(), [0x20, 2, 0, 0]);

    let target = "/socket.io/?EIO=4&transport=websocket";
    let mut socketio = connection
        .open_as(&hall.number_at(target), target)
        .await
        .unwrap();
    let open = timeout(NEVER, socketio.recv()).await.unwrap().unwrap();
    let Some(Message::Text(open)) = open else {
        panic!("{open:?}");
    };
    assert!(open.starts_with("0{\"sid\":\""), "{open}");
}

#[tokio::test]
async fn a_refused_websocket_affects_only_its_own_stream() {
    let hall = Hall::open(config()).await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    assert_eq!(refused(&connection, "/nowhere").await, 404);
    let foreign = hall.number().origin("https://evil.example");
    let error = connection.open_as(&foreign, "/ws").await.unwrap_err();
    let Error::Refused(refusal) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refusal.status(), 403);
    let body = String::from_utf8_lossy(refusal.body()).into_owned();
    assert!(body.contains("https://evil.example"), "{body}");
    let bare = hall.number_at("/ws");
    let error = connection.open_as(&bare, "/ws").await.unwrap_err();
    assert!(matches!(error, Error::Refused(refused) if refused.status() == 400));
    connected(&connection).await;
}

#[tokio::test]
async fn each_stream_counts_as_a_connection() {
    // The connection itself is the first of them.
    let hall = Hall::open(with_connections(|limits| limits.max = 3)).await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let first = connected(&connection).await;
    let _second = connected(&connection).await;
    assert_eq!(refused(&connection, "/ws").await, 503);
    first.cut();
    // The place becomes free as soon as the server has noticed the end.
    loop {
        match connection.open("/ws").await {
            Ok(socket) => break Caller::new(socket).connect().await,
            Err(Error::Refused(refused)) => assert_eq!(refused.status(), 503),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn each_websocket_counts_as_a_handshake_and_towards_its_address() {
    let hall = Hall::open(with_connections(|limits| {
        limits.handshakes_per_second = 1;
        limits.handshake_burst = 2;
    }))
    .await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let _two = (connected(&connection).await, connected(&connection).await);
    assert_eq!(refused(&connection, "/ws").await, 503);

    let hall = Hall::open(with_connections(|limits| limits.max_per_address = Some(2))).await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let _one = connected(&connection).await;
    assert_eq!(refused(&connection, "/ws").await, 503);
}

#[tokio::test]
async fn a_trusted_proxy_s_streams_have_the_addresses_of_its_clients() {
    let hall = Hall::open(Config {
        proxies: Proxies {
            trusted: vec!["127.0.0.0/8".parse().unwrap()],
            protocol: false,
        },
        ..with_connections(|connections| connections.max_per_address = Some(1))
    })
    .await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let from = |address: &str| hall.number().header("X-Forwarded-For", address);
    let one = connection.open_as(&from("203.0.113.7"), "/ws").await;
    let two = connection.open_as(&from("203.0.113.8"), "/ws").await;
    let again = connection.open_as(&from("203.0.113.7"), "/ws").await;
    assert!(one.is_ok() && two.is_ok(), "{one:?}, {two:?}");
    assert!(matches!(again, Err(Error::Refused(refused)) if refused.status() == 503));
}

#[tokio::test]
async fn a_session_moves_between_the_versions_of_http() {
    let hall = Hall::open(config()).await;
    let mut old = hall.caller().await;
    old.subscribe("chat", json!("now")).await;
    old.fresh_token().await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let mut new = Caller::new(connection.open("/ws").await.unwrap());
    let token = old.resume.clone();
    assert_eq!(new.resume(&token, json!({})).await["type"], "welcome");
    assert_eq!(old.end().await.1.code.get(), 4001);
    new.hear_a("subscribed").await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!("moved")).await;
    assert_eq!(new.hear_a("message").await["data"], "moved");
    let closed = new.socket.close(CloseCode::NORMAL, "").await.unwrap();
    assert_eq!(closed.code, CloseCode::NORMAL);
}

#[tokio::test]
async fn every_path_is_answered_as_over_http_1_1() {
    let mut with_api = config();
    with_api.api.keys = vec![ApiKey::of_everything(KEY)];
    let hall = Hall::open(with_api).await;
    let peer = Peer::new(&hall).await;
    for path in [
        "/",
        "/talk/",
        "/examples/",
        "/client/index.js",
        "/healthz",
        "/readyz",
        "/nothing",
        "/ws",
        "/rpc",
        "/metrics",
        "/poll?channel=chat",
        "/poll",
        "/sse?channel=nowhere%2F%23&since=state",
        "/api/v1/openapi.json",
        "/api/v1/channels",
        "/socket.io/?EIO=3&transport=polling",
    ] {
        let (status, head, body) = hall.get(path).await;
        let answer = peer.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        for name in ["content-type", "cache-control", "location", "vary", "etag"] {
            let field = head.lines().find_map(|line| {
                let (found, value) = line.split_once(": ")?;
                (found == name).then_some(value)
            });
            let over_2 = answer.field(name).map(str::to_lowercase);
            assert_eq!(over_2.as_deref(), field, "{name} of {path}");
        }
        let length = answer.body.len().to_string();
        assert_eq!(answer.field("content-length"), Some(&*length), "{path}");
        assert!(answer.field("date").is_some(), "{path}");
        // RFC 9113 §8.2.2.
        for name in ["connection", "transfer-encoding", "upgrade"] {
            assert_eq!(answer.field(name), None, "{path}");
        }
        // These bodies differ: the health report contains the time, and a poll's answer the newest
        // position.
        if !path.starts_with("/healthz") {
            assert_eq!(String::from_utf8_lossy(&answer.body), body, "{path}");
        }
    }
    let (_, _, script) = hall.get("/client/index.js").await;
    let head = peer.request(Method::HEAD, "/client/index.js");
    let head = peer.ask(head.body(()).unwrap(), None).await;
    let length = script.len().to_string();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), Some(&*length));
    let other = peer.request(Method::DELETE, "/healthz").body(()).unwrap();
    assert_eq!(peer.ask(other, None).await.status, 405);
}

#[tokio::test]
async fn a_request_must_name_exactly_one_host() {
    let hall = Hall::open(config()).await;
    let peer = Peer::new(&hall).await;
    let other = peer
        .request(Method::GET, "/healthz")
        .header("host", "other.example");
    let answer = peer.ask(other.body(()).unwrap(), None).await;
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("differs from :authority"));
    // The same for a WebSocket.
    let socket = async |host: &str| {
        let request = peer
            .request(Method::CONNECT, "/ws")
            .header("host", host)
            .header("sec-websocket-version", "13")
            .header("sec-websocket-protocol", "offhook.v1.json");
        let mut request = request.body(()).unwrap();
        let protocol = h2::ext::Protocol::from_static("websocket");
        request.extensions_mut().insert(protocol);
        peer.head(request).await.status()
    };
    assert_eq!(socket("other.example").await, 400);
    assert_eq!(socket(&hall.address().to_string()).await, 200);
    // A request for a name that is not the server's may come from a page of another site.
    let rebound = hyper::Request::get("http://evil.example/sse?channel=chat");
    assert_eq!(peer.ask(rebound.body(()).unwrap(), None).await.status, 421);
}

#[tokio::test]
async fn the_http_api_publishes_and_reads_over_http_2() {
    let mut with_api = config();
    with_api.api.keys = vec![ApiKey::of_everything(KEY)];
    let hall = Hall::open(with_api).await;
    let peer = Peer::new(&hall).await;
    let mut subscriber = hall.caller().await;
    subscriber.subscribe("chat", json!("now")).await;
    let authorised = |method, path: &str| {
        peer.request(method, path)
            .header("authorization", format!("Bearer {KEY}"))
            .header("content-type", "application/json")
            .body(())
            .unwrap()
    };
    let body = json!({"channel": "chat", "data": {"text": "hi"}}).to_string();
    let publish = authorised(Method::POST, "/api/v1/publish");
    let answer = peer.ask(publish, Some(body.into())).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let heard = subscriber.hear_a("message").await;
    assert_eq!(heard["position"], answer.json()["position"]);

    // Several times the window of a stream.
    let padding = "x".repeat(60_000);
    let one = json!({"channel": "chat", "data": padding});
    let batch = json!({"publications": vec![one; 12]}).to_string();
    let answer = peer
        .ask(
            authorised(Method::POST, "/api/v1/batch"),
            Some(batch.into()),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let history = authorised(
        Method::GET,
        "/api/v1/history?channel=chat&since=start&limit=100",
    );
    let history = peer.ask(history, None).await;
    assert_eq!(history.status, 200);
    assert!(history.body.len() > 100_000, "{} bytes", history.body.len());

    let too_long = "x".repeat(with_long_body());
    let answer = peer
        .ask(
            authorised(Method::POST, "/api/v1/publish"),
            Some(too_long.into()),
        )
        .await;
    assert_eq!(answer.status, 413);
    // The connection is not affected.
    assert_eq!(peer.get("/healthz").await.status, 200);
}

/// More than `api.max_body`.
fn with_long_body() -> usize {
    Config::default().api.max_body + 1
}

#[tokio::test]
async fn events_are_streamed_and_resumed_over_http_2() {
    let hall = Hall::open(config()).await;
    let peer = Peer::new(&hall).await;
    let mut publisher = hall.caller().await;
    let stream = async |id: Option<&str>| {
        let mut request = peer.request(Method::GET, "/sse?channel=chat");
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let answer = peer.head(request.body(()).unwrap()).await;
        assert_eq!(answer.status(), 200);
        let kind = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(kind, "text/event-stream; charset=utf-8");
        Events::of(answer.into_body())
    };
    let mut events = stream(None).await;
    let subscribed = events.next().await.unwrap();
    assert!(subscribed.contains("event: subscribed"), "{subscribed}");
    let position = publisher.publish("chat", json!("one")).await;
    let message = events.message().await;
    assert_eq!(message["position"], position);
    // Another stream on the same connection.
    let mut others = stream(None).await;
    others.next().await.unwrap();
    until(&hall, |health| health["connections"] == 3).await;
    // The client ends the first stream by resetting it.
    drop(events);
    until(&hall, |health| health["connections"] == 2).await;
    publisher.publish("chat", json!("two")).await;
    assert_eq!(others.message().await["data"], "two");
    let mut events = stream(Some(&position)).await;
    assert_eq!(events.message().await["data"], "two");
}

#[tokio::test]
async fn connections_over_requests_and_polls_share_one_http_2_connection() {
    let hall = Hall::open(config()).await;
    let peer = Peer::new(&hall).await;
    let mut publisher = hall.caller().await;
    let position = publisher.publish("chat", json!("before")).await;
    let since = position.replacen('.', ":", 1);
    let path = format!("/poll?channel=chat&since={since}&wait=60");
    // The poll waits, while other requests are answered.
    let waiting = peer.get(&path);
    let begun = async {
        until(&hall, |health| health["connections"] == 2).await;
        let answer = peer.post("/connection", String::new()).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let id = answer.json()["connection"].as_str().unwrap().to_owned();
        let connect = json!({"type": "connect", "id": 1, "lineage": true}).to_string();
        let sent = peer.post(&format!("/connection/{id}?n=1"), connect).await;
        assert_eq!((sent.status, sent.body.len()), (204, 0));
        assert_eq!(sent.field("content-length"), None);
        let heard = peer.get(&format!("/connection/{id}?after=0&wait=25")).await;
        assert_eq!(heard.json()["messages"][0]["type"], "welcome");
        publisher.publish("chat", json!("polled")).await;
    };
    let (answer, ()) = tokio::join!(waiting, begun);
    assert_eq!(answer.json()["publications"][0]["data"], "polled");

    let open = peer.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(open.status, 200);
    assert!(open.body.starts_with(b"0{\"sid\":\""));
}

/// A server with small outboxes, so that a client that does not read soon counts as slow.
fn narrow() -> Config {
    let mut config = config();
    config.messages.outbox_bytes = 32 * 1024;
    config
}

#[tokio::test]
async fn a_stream_of_events_that_is_not_read_uses_bounded_memory_and_delays_no_other() {
    let hall = Hall::open(narrow()).await;
    let peer = Peer::with(&hall, |client| {
        client
            .initial_window_size(16 * 1024)
            .initial_connection_window_size(1 << 20);
    })
    .await;
    let request = peer.request(Method::GET, "/sse?channel=chat");
    let answer = peer.head(request.body(()).unwrap()).await;
    let mut unread = Events::of(answer.into_body());
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    let mut most = 0;
    for n in 0..1_000 {
        let message = json!({"n": n, "padding": padding});
        publisher.publish("chat", message).await;
        if n % 100 == 99 {
            let health = peer.get("/healthz").await.json();
            most = most.max(health["unsent_bytes"].as_u64().unwrap());
        }
    }
    assert!(most <= 64 * 1024, "{most} bytes are unsent");
    for n in 0..1_000 {
        assert_eq!(unread.message().await["data"]["n"], n);
    }
}

#[tokio::test]
async fn a_websocket_that_is_not_read_uses_bounded_memory_and_delays_no_other() {
    let hall = Hall::open(narrow()).await;
    let peer = Peer::with(&hall, |client| {
        client
            .initial_window_size(16 * 1024)
            .initial_connection_window_size(1 << 20);
    })
    .await;
    let (mut send, mut unread) = peer.websocket().await;
    let connect = json!({"type": "connect", "id": 1, "lineage": true}).to_string();
    let subscribe = json!({"type": "subscribe", "id": 2, "channel": "chat"}).to_string();
    send.send_data(text(&connect), false).unwrap();
    send.send_data(text(&subscribe), false).unwrap();
    until(&hall, |health| health["connections"] == 1).await;
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    let mut most = 0;
    for n in 0..1_000 {
        let message = json!({"n": n, "padding": padding});
        publisher.publish("chat", message).await;
        if n % 100 == 99 {
            let health = peer.get("/healthz").await.json();
            most = most.max(health["unsent_bytes"].as_u64().unwrap());
        }
    }
    assert!(most <= 128 * 1024, "{most} bytes are unsent");
    // All messages arrive once the client reads.
    let (mut received, mut last) = (Vec::new(), false);
    while !last {
        let searched = received.len().saturating_sub(9);
        let data = data(&mut unread).await;
        received.extend_from_slice(&data.expect("the stream is open"));
        last = received[searched..]
            .windows(9)
            .any(|bytes| bytes == b"{\"n\":999,");
    }
}

#[tokio::test]
async fn while_the_server_stops_each_websocket_has_its_own_time_and_no_stream_is_cut() {
    let mut spread = config();
    // Ten connections at half of this rate are closed over a second.
    spread.connections.handshakes_per_second = 20;
    spread.connections.handshake_burst = 100;
    let hall = Hall::open(spread).await;
    let connection = multiplexed(&hall).http2().await.unwrap();
    let mut callers = Vec::new();
    for _ in 0..10 {
        callers.push(connected(&connection).await);
    }
    let idle = Peer::new(&hall).await;
    assert_eq!(idle.get("/readyz").await.status, 200);
    let peer = Peer::new(&hall).await;
    let request = peer.request(Method::GET, "/sse?channel=chat");
    let answer = peer.head(request.body(()).unwrap()).await;
    let mut events = Events::of(answer.into_body());
    let closing = tokio::spawn(hall.close());
    let mut pauses = Vec::new();
    for caller in &mut callers {
        let (heard, closed) = caller.end().await;
        let advice = heard.iter().find(|message| message["type"] == "reconnect");
        pauses.push(advice.expect("advice")["after_ms"].as_u64().unwrap());
        assert_eq!(closed.code.get(), 1012);
    }
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 5, "each its own: {pauses:?}");
    let mut advised = false;
    while let Some(event) = events.next().await {
        advised |= event.contains("retry: ");
    }
    assert!(advised, "a stream is told when to return, and ends");
    // GOAWAY without an error, and the end.
    for ended in [idle.ended, peer.ended] {
        timeout(NEVER, ended).await.unwrap().unwrap().unwrap();
    }
    assert!(connection.open("/ws").await.is_err());
    closing.await.unwrap();
}

#[tokio::test]
async fn streams_that_do_not_end_are_cut_off_in_time() {
    let hall = Hall::open(Config {
        drain: Duration::from_millis(100),
        ..config()
    })
    .await;
    let peer = Peer::new(&hall).await;
    let (mut send, _unread) = peer.websocket().await;
    let connect = json!({"type": "connect", "id": 1}).to_string();
    send.send_data(text(&connect), false).unwrap();
    until(&hall, |health| health["connections"] == 1).await;
    hall.close().await;
    // The stream ends regularly or by a reset.
    let _how = timeout(NEVER, peer.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_ends_with_goaway() {
    let mut short = config();
    short.http2.idle_timeout = Duration::from_millis(50);
    let hall = Hall::open(short).await;
    let mut used = Raw::new(&hall).await;
    used.send(&request(1, "/readyz")).await;
    assert_eq!(used.end().await, Some(NO_ERROR));

    // Before its first request, a connection has the time of a handshake.
    let short = Duration::from_millis(50);
    let hall = Hall::open(with_connections(|limits| limits.handshake_timeout = short)).await;
    let mut unused = Raw::new(&hall).await;
    assert_eq!(unused.end().await, Some(NO_ERROR));
    // The rest of a preface must arrive within the same time.
    let mut silent = TcpStream::connect(hall.address()).await.unwrap();
    silent
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n")
        .await
        .unwrap();
    let mut heard = Vec::new();
    let read = timeout(NEVER, silent.read_to_end(&mut heard)).await;
    read.unwrap().unwrap();
}

fn with_tls(directory: &Path) -> (Config, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: directory.join("cert.pem"),
        key: directory.join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.cert, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let config = Config {
        tls: Some(files),
        ..config()
    };
    (config, own.cert.pem())
}

fn secure(hall: &Hall, cert: &str) -> Connect {
    let tls = Tls::builder().pinned_pem(cert).unwrap().build().unwrap();
    let port = hall.address().port();
    Connect::to(format!("wss://localhost:{port}/ws"))
        .subprotocol("offhook.v1.json")
        .origin(format!("https://localhost:{port}"))
        .no_proxy()
        .tls(tls)
}

#[tokio::test]
async fn over_tls_the_client_s_offer_decides_about_the_version() {
    let directory = tempfile::tempdir().unwrap();
    let (config, cert) = with_tls(directory.path());
    let hall = Hall::open(config.clone()).await;
    let connection = secure(&hall, &cert).http2().await.unwrap();
    let mut callers = [connected(&connection).await, connected(&connection).await];
    let http1 = secure(&hall, &cert).version(HttpVersion::Http1);
    let mut other = Caller::new(http1.open().await.unwrap());
    other.connect().await;
    for caller in &mut callers {
        caller.subscribe("chat", json!("now")).await;
    }
    other.publish("chat", json!("hi")).await;
    for caller in &mut callers {
        assert_eq!(caller.hear_a("message").await["data"], "hi");
    }

    let mut without = config;
    without.http2.enabled = false;
    let hall = Hall::open(without).await;
    assert!(secure(&hall, &cert).http2().await.is_err());
    // The client falls back.
    let mut caller = Caller::new(secure(&hall, &cert).open().await.unwrap());
    caller.connect().await;
}

#[tokio::test]
async fn http_2_is_disabled_without_the_setting() {
    let mut without = config();
    without.http2.enabled = false;
    let hall = Hall::open(without).await;
    assert!(multiplexed(&hall).http2().await.is_err());
    hall.caller().await;
}

#[tokio::test]
async fn curl_speaks_http_2_with_the_server() {
    let features = Command::new("curl").arg("--version").output();
    let is_there = features.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("HTTP2"));
    if !is_there {
        println!("curl with HTTP/2: not run, it is not installed");
        return;
    }
    let curl = async |arguments: Vec<String>| {
        let run = move || {
            let mut command = Command::new("curl");
            command.args([
                "--silent",
                "--noproxy",
                "*",
                "--write-out",
                "\n%{http_version} %{http_code}",
            ]);
            let output = command.args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        spawn_blocking(run).await.unwrap()
    };
    let hall = Hall::open(config()).await;
    let address = hall.address();
    let url = format!("http://{address}/healthz");
    let said = curl(vec!["--http2-prior-knowledge".into(), url]).await;
    assert!(
        said.contains("\"status\":\"good\"") && said.ends_with("2 200"),
        "{said}"
    );
    // An upgrade to h2c, which RFC 9113 has removed, is ignored.
    let url = format!("http://{address}/readyz");
    let said = curl(vec!["--http2".into(), url]).await;
    assert!(said.ends_with("1.1 200"), "{said}");

    let mut publisher = hall.caller().await;
    let events = spawn_blocking(move || {
        let mut curl = Command::new("curl")
            .args([
                "--silent",
                "--no-buffer",
                "--noproxy",
                "*",
                "--http2-prior-knowledge",
            ])
            .arg(format!("http://{address}/sse?channel=chat&since=start"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(curl.stdout.take().unwrap());
        let mut lines = output.lines().map_while(Result::ok);
        let found = lines.find(|line| line.contains("for curl"));
        curl.kill().unwrap();
        curl.wait().unwrap();
        found
    });
    publisher.publish("chat", json!("for curl")).await;
    assert!(timeout(NEVER, events).await.unwrap().unwrap().is_some());

    let directory = tempfile::tempdir().unwrap();
    let (config, _) = with_tls(directory.path());
    let hall = Hall::open(config).await;
    let url = format!("https://localhost:{}/healthz", hall.address().port());
    let said = curl(vec!["--http2".into(), "--insecure".into(), url]).await;
    assert!(said.ends_with("2 200"), "{said}");
}

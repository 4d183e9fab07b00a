//! Socket.IO over long-polling, and its upgrade to a WebSocket, with requests on any worker.

use std::{net::SocketAddr, num::NonZeroUsize};

use offhook::{OriginPolicy, WebSocket};
use offhook_server::{
    Config,
    config::{ChannelRule, Rooms},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    hall::{Hall, NEVER, config},
    metrics,
};

/// Sends each request over a new connection, so that it reaches any worker.
fn on_three_workers() -> Config {
    Config {
        workers: NonZeroUsize::new(3).unwrap(),
        ..config()
    }
}

/// One request: its status, head and body.
async fn request(
    address: SocketAddr,
    line: &str,
    fields: &str,
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

/// A polled client.
struct Polled {
    address: SocketAddr,
    sid: String,
    records: Vec<String>,
}

impl Polled {
    async fn open(hall: &Hall) -> Self {
        let address = hall.address();
        let line = "GET /socket.io/?EIO=4&transport=polling";
        let (status, _, body) = request(address, line, "", "").await;
        assert_eq!(status, 200, "{body}");
        let open: Value = serde_json::from_str(body.strip_prefix('0').unwrap()).unwrap();
        assert_eq!(open["upgrades"], json!(["websocket"]));
        Self {
            address,
            sid: open["sid"].as_str().unwrap().to_owned(),
            records: Vec::new(),
        }
    }

    /// Connects a client to the main namespace.
    async fn connected(hall: &Hall) -> Self {
        let mut client = Self::open(hall).await;
        client.post("40").await;
        assert!(client.record().await.starts_with("40{\"sid\""));
        client
    }

    fn line(&self, method: &str) -> String {
        format!(
            "{method} /socket.io/?EIO=4&transport=polling&sid={}",
            self.sid
        )
    }

    async fn post(&self, payload: &str) {
        let (status, _, body) = request(self.address, &self.line("POST"), "", payload).await;
        assert_eq!((status, &*body), (200, "ok"));
    }

    async fn poll(&self) -> (u16, String) {
        let (status, _, body) = request(self.address, &self.line("GET"), "", "").await;
        (status, body)
    }

    /// Returns the next record, and polls if there is none.
    async fn record(&mut self) -> String {
        while self.records.is_empty() {
            let (status, body) = self.poll().await;
            assert_eq!(status, 200, "{body}");
            self.records = body.split('\u{1e}').map(str::to_owned).collect();
        }
        self.records.remove(0)
    }

    async fn probe(&self, hall: &Hall) -> WebSocket {
        let path = format!("/socket.io/?EIO=4&transport=websocket&sid={}", self.sid);
        hall.number_at(&path).open().await.unwrap()
    }
}

async fn text(socket: &mut WebSocket) -> String {
    let message = timeout(NEVER, socket.recv()).await.unwrap().unwrap();
    message.unwrap().as_text().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn polled_and_native_clients_exchange_messages_although_each_poll_reaches_any_worker() {
    let hall = Hall::open(on_three_workers()).await;
    let mut native = hall.caller().await;
    let mut polled = Polled::connected(&hall).await;
    polled.post(r#"421["subscribe","chat"]"#).await;
    assert!(polled.record().await.starts_with("431[{\"epoch\""));
    for n in 0..20 {
        native.publish("chat", json!(n)).await;
        let event = polled.record().await;
        let event: Value = serde_json::from_str(event.strip_prefix("42").unwrap()).unwrap();
        assert_eq!(event[1]["data"], n);
    }
    // Several records in one payload, with an attachment among them.
    polled
        .post("451-7[\"publish\",{\"channel\":\"chat/other\",\"data\":{\"_placeholder\":true,\"num\":0}}]\u{1e}bAQL/\u{1e}428[\"history\",\"chat/other\"]")
        .await;
    let mut answers = [polled.record().await, polled.record().await];
    answers.sort_unstable();
    assert!(answers[0].starts_with("437[{\"epoch\""), "{answers:?}");
    native.subscribe("chat/other", json!("start")).await;
    assert_eq!(native.hear_a("message").await["base64"], "AQL/");
    // And in the other direction.
    polled
        .post(r#"429["subscribe",{"channel":"chat/other","since":"start"}]"#)
        .await;
    let mut records = Vec::new();
    while !records.iter().any(|record: &String| record == "bAQL/") {
        records.push(polled.record().await);
    }
    polled.post("1").await;
    drop(native);
    hall.close().await;
}

/// The transports of connected Socket.IO clients, with how many have each.
async fn transports(hall: &Hall) -> Vec<String> {
    let text = metrics::text(hall).await;
    let clients = text
        .lines()
        .filter(|line| line.starts_with("offhook_clients{"));
    let transports = clients.filter_map(|line| line.split_once("transport="));
    transports.map(|(_, count)| count.to_owned()).collect()
}

#[tokio::test]
async fn a_polled_client_that_upgrades_is_counted_by_its_websocket() {
    let hall = Hall::open(metrics::operated(config())).await;
    let polled = Polled::connected(&hall).await;
    assert_eq!(transports(&hall).await, ["\"http\"} 1"]);
    let mut socket = polled.probe(&hall).await;
    socket.send("2probe").await.unwrap();
    assert_eq!(text(&mut socket).await, "3probe");
    socket.send("5").await.unwrap();
    socket.send("421[\"subscribe\",\"chat/1\"]").await.unwrap();
    assert!(text(&mut socket).await.starts_with("431["));
    assert_eq!(transports(&hall).await, ["\"http\"} 0", "\"websocket\"} 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polled_client_upgrades_to_a_websocket_on_whichever_worker_it_is_opened() {
    let hall = Hall::open(on_three_workers()).await;
    let mut native = hall.caller().await;
    for n in 0..9 {
        let mut polled = Polled::connected(&hall).await;
        let channel = format!("chat/{n}");
        polled
            .post(&format!("421[\"subscribe\",\"{channel}\"]"))
            .await;
        assert!(polled.record().await.starts_with("431[{\"epoch\""));
        let mut socket = polled.probe(&hall).await;
        let waiting = {
            let (address, line) = (polled.address, polled.line("GET"));
            tokio::spawn(async move { request(address, &line, "", "").await })
        };
        socket.send("2probe").await.unwrap();
        assert_eq!(text(&mut socket).await, "3probe");
        let (status, _, body) = waiting.await.unwrap();
        assert_eq!((status, &*body), (200, "6"));
        // Messages that arrive before the client upgrades are not lost.
        native.publish(&channel, json!("before")).await;
        socket.send("5").await.unwrap();
        assert!(text(&mut socket).await.contains("\"data\":\"before\""));
        native.publish(&channel, json!("after")).await;
        assert!(text(&mut socket).await.contains("\"data\":\"after\""));
        socket
            .send(format!(
                "422[\"publish\",{{\"channel\":\"{channel}\",\"data\":1}}]"
            ))
            .await
            .unwrap();
        let answers = [text(&mut socket).await, text(&mut socket).await];
        assert!(answers.iter().any(|answer| answer.starts_with("432[")));
        // Polls of an upgraded connection are answered like those of an unknown one.
        assert_eq!(polled.poll().await.0, 400);
        let mut second = polled.probe(&hall).await;
        assert!(
            timeout(NEVER, second.recv())
                .await
                .unwrap()
                .unwrap()
                .is_none()
        );
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upgrade_leaves_a_polled_client_as_it_was() {
    let hall = Hall::open(on_three_workers()).await;
    let mut native = hall.caller().await;
    let mut polled = Polled::connected(&hall).await;
    polled.post(r#"421["subscribe","chat"]"#).await;
    polled.record().await;
    let mut socket = polled.probe(&hall).await;
    socket.send("2probe").await.unwrap();
    assert_eq!(text(&mut socket).await, "3probe");
    drop(socket);
    native.publish("chat", json!("still here")).await;
    loop {
        let record = polled.record().await;
        if record != "6" {
            assert!(record.contains("still here"), "{record}");
            break;
        }
    }
    polled.post("1").await;
    drop(native);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_are_refused_with_the_errors_of_engine_io() {
    let hall = Hall::open(config()).await;
    for (line, code) in [
        ("GET /socket.io/?EIO=3&transport=polling", 5),
        ("GET /socket.io/?transport=polling", 5),
        ("GET /socket.io/?EIO=4&transport=abc", 0),
        ("GET /socket.io/?EIO=4", 0),
        ("GET /socket.io/?EIO=4&transport=websocket", 3),
        ("POST /socket.io/?EIO=4&transport=polling", 2),
        ("GET /socket.io/?EIO=4&transport=polling&sid=unknown", 1),
        ("POST /socket.io/?EIO=4&transport=polling&sid=unknown", 1),
        ("PUT /socket.io/?EIO=4&transport=polling", 2),
    ] {
        let (status, _, body) = request(hall.address(), line, "", "").await;
        assert_eq!(status, 400, "{line}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["code"], code, "{line}");
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_polls_at_once_end_the_connection() {
    let hall = Hall::open(config()).await;
    let polled = Polled::connected(&hall).await;
    let first = polled.poll();
    let second = polled.poll();
    let (first, second) = tokio::join!(first, second);
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
    let last = if first.0 == 200 { first.1 } else { second.1 };
    assert_eq!(last, "1");
    assert_eq!(polled.poll().await.0, 400);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_poll_of_a_client_that_closes_is_answered_with_a_noop() {
    let hall = Hall::open(config()).await;
    let polled = Polled::connected(&hall).await;
    let (waiting, ()) = tokio::join!(polled.poll(), polled.post("1"));
    assert_eq!(waiting, (200, "6".to_owned()));
    assert_eq!(polled.poll().await.0, 400);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_packet_closes_a_polled_connection() {
    let hall = Hall::open(config()).await;
    for payload in ["nonsense", "b?", "4nonsense", "", "42[\"a\"]\u{1e}\u{1e}"] {
        let polled = Polled::connected(&hall).await;
        let (status, _, _) = request(hall.address(), &polled.line("POST"), "", payload).await;
        assert_eq!(status, 400, "{payload:?}");
        let mut ended = false;
        while !ended {
            let (status, body) = polled.poll().await;
            ended = status == 400 || body.ends_with('1');
        }
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_invalid_packet_the_session_of_a_polled_client_is_unknown() {
    let hall = Hall::open(config()).await;
    for payload in ["nonsense", "4nonsense", ""] {
        let polled = Polled::connected(&hall).await;
        let (status, _, _) = request(hall.address(), &polled.line("POST"), "", payload).await;
        assert_eq!(status, 400, "{payload:?}");
        assert_eq!(polled.poll().await.0, 400, "{payload:?}");
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_poll_and_others_may_not() {
    let origin = "Origin: https://app.example\r\n";
    let line = "GET /socket.io/?EIO=4&transport=polling";
    let hall = Hall::open(Config {
        origins: OriginPolicy::Any,
        ..config()
    })
    .await;
    let (status, head, _) = request(hall.address(), line, origin, "").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("access-control-allow-origin: https://app.example"),
        "{head}"
    );
    let preflight = "OPTIONS /socket.io/?EIO=4&transport=polling&sid=x";
    let (status, head, _) = request(hall.address(), preflight, origin, "").await;
    assert_eq!(status, 204);
    assert!(
        head.contains("access-control-allow-methods: get, post"),
        "{head}"
    );
    hall.close().await;
    let hall = Hall::open(config()).await;
    let (status, _, body) = request(hall.address(), line, origin, "").await;
    assert_eq!(status, 403, "{body}");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_larger_than_a_message_is_refused() {
    let hall = Hall::open(config()).await;
    let polled = Polled::connected(&hall).await;
    let large = "4".repeat(2 * 1024 * 1024);
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let head = format!(
        "{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        polled.line("POST"),
        large.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(NEVER, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_posts_publishes_no_more_than_the_rate_allows_and_delays_no_other_client() {
    let mut config = config();
    config.limits.publish_burst = 20;
    config.limits.publishes_per_second = 1;
    let hall = Hall::open(config).await;
    let client = Polled::connected(&hall).await;
    let events: Vec<_> = (0..60)
        .map(|n| format!("42{n}[\"publish\",{{\"channel\":\"chat\",\"data\":{n}}}]"))
        .collect();
    client.post(&events.join("\u{1e}")).await;
    let (mut published, mut refused) = (0, 0);
    while published + refused < 60 {
        let (status, body) = client.poll().await;
        assert_eq!(status, 200, "{body}");
        published += body.matches("\"epoch\"").count();
        refused += body.matches("\"rate_limited\"").count();
    }
    assert!((20..30).contains(&published), "{published}");
    // Like the original server, it ends a connection with several posts at once.
    let posts = (0..50).map(|_| {
        let (address, line) = (client.address, client.line("POST"));
        tokio::spawn(async move { request(address, &line, "", "42[\"x\"]").await.0 })
    });
    for status in posts.collect::<Vec<_>>() {
        let status = status.await.unwrap();
        assert!([200, 400].contains(&status), "{status}");
    }
    let mut other = Polled::connected(&hall).await;
    other.post("421[\"subscribe\",\"chat\"]").await;
    assert!(other.record().await.starts_with("431["));
    hall.close().await;
}

/// python-engineio closes its connection if an answer has more packets.
#[tokio::test]
async fn an_answer_to_a_poll_has_at_most_16_packets() {
    let hall = Hall::open(config()).await;
    let client = Polled::connected(&hall).await;
    let events: Vec<_> = (0..40)
        .map(|n| format!("42{n}[\"publish\",{{\"channel\":\"chat\",\"data\":{n}}}]"))
        .collect();
    client.post(&events.join("\u{1e}")).await;
    let mut answers = Vec::new();
    while answers.len() < 40 {
        let (status, body) = client.poll().await;
        assert_eq!(status, 200, "{body}");
        let records: Vec<_> = body.split('\u{1e}').map(str::to_owned).collect();
        assert!(records.len() <= 16, "{} records", records.len());
        answers.extend(records);
    }
    assert!(answers.iter().all(|answer| answer.starts_with("43")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_post_may_join_a_room_leave_it_and_join_it_again() {
    let mut config = config();
    let names = |name: &str| vec![name.to_owned()];
    config.channels.insert(
        0,
        ChannelRule {
            pattern: "room/*".to_owned(),
            rooms: Rooms {
                join: names("join"),
                leave: names("leave"),
                events: names("chat message"),
                ..Rooms::default()
            },
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(config).await;
    let mut client = Polled::connected(&hall).await;
    let (join, leave) = (r#"42["join","7"]"#, r#"42["leave","7"]"#);
    client.post(&[join, join, leave, join].join("\u{1e}")).await;
    client.post(r#"421["chat message","hi"]"#).await;
    let (first, second) = (client.record().await, client.record().await);
    assert!(
        first.starts_with("431[") || second.starts_with("431["),
        "{first} {second}"
    );
    let message = r#"42["chat message","hi"]"#;
    assert!(first == message || second == message, "{first} {second}");
    client.post(&[join, leave].join("\u{1e}")).await;
    client.post(r#"422["chat message","alone"]"#).await;
    let refused = client.record().await;
    assert!(
        refused.starts_with("432[") && refused.contains("not_subscribed"),
        "{refused}"
    );
    hall.close().await;
}

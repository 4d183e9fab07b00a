//! `/connection`: connections over ordinary requests, which reach any of the workers.

use std::{net::SocketAddr, num::NonZeroUsize, time::Duration};

use offhook_engine::Limits;
use offhook_server::Config;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    hall::{Hall, NEVER, config, with_connections},
    issuer::{of, with_tokens},
    metrics::text,
    reader::Reader,
};

/// Sends each request over a new connection, so that the system distributes them over the workers.
pub(crate) async fn ask(hall: &Hall, request: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}",
        hall.address()
    );
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(NEVER, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn four_workers() -> Config {
    let mut config = config();
    config.workers = NonZeroUsize::new(4).unwrap();
    config
}

/// A connection that is polled.
pub(crate) struct Poller {
    pub(crate) id: String,
    /// The number of the newest batch.
    pub(crate) number: u64,
    /// The number of the newest message.
    pub(crate) after: u64,
}

impl Poller {
    pub(crate) async fn begin(hall: &Hall) -> Self {
        let (status, answer) = ask(hall, "POST /connection", "").await;
        assert_eq!(status, 201, "{answer}");
        Self {
            id: answer["connection"].as_str().unwrap().to_owned(),
            number: 0,
            after: 0,
        }
    }

    /// Opens a connection, and sends `connect`.
    pub(crate) async fn connected(hall: &Hall) -> Self {
        let mut poller = Self::begin(hall).await;
        poller
            .say(
                hall,
                &[json!({"type": "connect", "id": 1, "lineage": true})],
            )
            .await;
        assert_eq!(poller.hear(hall).await[0]["type"], "welcome");
        poller
    }

    pub(crate) async fn post(&self, hall: &Hall, number: u64, messages: &[Value]) -> (u16, Value) {
        let lines: Vec<_> = messages.iter().map(Value::to_string).collect();
        let request = format!("POST /connection/{}?n={number}", self.id);
        ask(hall, &request, &lines.join("\n")).await
    }

    pub(crate) async fn say(&mut self, hall: &Hall, messages: &[Value]) {
        self.number += 1;
        let (status, answer) = self.post(hall, self.number, messages).await;
        assert_eq!(status, 204, "{answer}");
    }

    pub(crate) async fn poll(&self, hall: &Hall, after: u64, wait: u64) -> (u16, Value) {
        let request = format!("GET /connection/{}?after={after}&wait={wait}", self.id);
        ask(hall, &request, "").await
    }

    /// The next messages, without new tokens.
    pub(crate) async fn hear(&mut self, hall: &Hall) -> Vec<Value> {
        loop {
            let (status, answer) = self.poll(hall, self.after, 60).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["first"], self.after + 1);
            let messages = answer["messages"].as_array().unwrap();
            self.after += messages.len() as u64;
            let heard = messages.iter().filter(|message| message["type"] != "token");
            let heard: Vec<_> = heard.cloned().collect();
            if !heard.is_empty() {
                return heard;
            }
        }
    }

    /// Returns the messages up to the first one of this type.
    pub(crate) async fn until(&mut self, hall: &Hall, kind: &str) -> Vec<Value> {
        let mut all = Vec::new();
        while !all.iter().any(|message: &Value| message["type"] == kind) {
            all.extend(self.hear(hall).await);
        }
        all
    }
}

pub(crate) fn subscribe(id: u64, channel: &str) -> Value {
    json!({"type": "subscribe", "id": id, "channel": channel})
}

pub(crate) fn publish(id: u64, channel: &str, data: impl Into<Value>) -> Value {
    json!({"type": "publish", "id": id, "channel": channel, "data": data.into()})
}

#[tokio::test]
async fn a_stream_with_posts_is_one_connection_over_all_workers() {
    let hall = Hall::open(four_workers()).await;
    let mut reader = Reader::get(&hall, "/connection").await;
    let open = reader.a("open").await;
    let id = open.data["connection"].as_str().unwrap().to_owned();
    let poster = Poller {
        id,
        number: 0,
        after: 0,
    };
    let connect = json!({"type": "connect", "id": 1, "lineage": true});
    assert_eq!(
        poster
            .post(&hall, 1, &[connect, subscribe(2, "chat")])
            .await
            .0,
        204
    );
    assert_eq!(reader.a("message").await.data["type"], "welcome");
    assert_eq!(reader.a("message").await.data["type"], "subscribed");
    for n in 2..20 {
        assert_eq!(poster.post(&hall, n, &[publish(n, "chat", n)]).await.0, 204);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let message = reader.a("message").await.data;
            if message["type"] != "token" {
                seen.push(message);
            }
        }
        let message = seen.iter().find(|message| message["type"] == "message");
        assert_eq!(message.unwrap()["data"], n);
        assert!(seen.iter().any(|message| message["type"] == "published"));
    }
    assert_eq!(hall.health().await.1["connections"], 1);
    // The connection ends with its stream.
    drop(reader);
    while hall.health().await.1["connections"] != 0 {}
    let (status, answer) = poster.post(&hall, 20, &[]).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("unknown_connection"))
    );
}

#[tokio::test]
async fn polls_and_posts_are_one_connection_over_all_workers() {
    let hall = Hall::open(four_workers()).await;
    let mut poller = Poller::connected(&hall).await;
    poller.say(&hall, &[subscribe(2, "chat")]).await;
    poller.until(&hall, "subscribed").await;
    let mut publisher = hall.caller().await;
    for n in 0..20 {
        let publish = publisher.publish("chat", json!(n));
        let (heard, _) = tokio::join!(poller.until(&hall, "message"), publish);
        assert_eq!(heard.last().unwrap()["data"], n);
    }
    let batch: Vec<_> = (0..50).map(|n| publish(100 + n, "chat2", n)).collect();
    poller.say(&hall, &batch).await;
    let mut answers = Vec::new();
    while answers.len() < 50 {
        answers.extend(poller.hear(&hall).await);
    }
    let ids: Vec<_> = answers
        .iter()
        .map(|answer| answer["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (100..150).collect::<Vec<_>>(), "in order");
}

#[tokio::test]
async fn a_repeated_request_has_no_second_effect_and_loses_nothing() {
    let hall = Hall::open(config()).await;
    let mut poller = Poller::connected(&hall).await;
    // Without a key, a second attempt would publish again.
    poller.say(&hall, &[publish(2, "chat", "once")]).await;
    for _ in 0..3 {
        let again = poller
            .post(&hall, poller.number, &[publish(2, "chat", "once")])
            .await;
        assert_eq!(again.0, 204);
    }
    let answers = poller.hear(&hall).await;
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["type"], "published");
    // The answer was lost. It is repeated until a poll acknowledges it.
    poller.say(&hall, &[json!({"type": "ping", "id": 3})]).await;
    let first = poller.poll(&hall, poller.after, 60).await;
    let second = poller.poll(&hall, poller.after, 60).await;
    assert_eq!(first, second);
    assert_eq!(first.1["messages"][0]["type"], "pong");
    let (_, nothing) = poller.poll(&hall, poller.after + 1, 0).await;
    assert_eq!(nothing["messages"], json!([]));
    let history = hall
        .caller()
        .await
        .ask(json!({"type": "history", "channel": "chat"}))
        .await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn requests_with_a_wrong_number_are_refused_with_the_expected_number() {
    let hall = Hall::open(config()).await;
    let poller = Poller::connected(&hall).await;
    for number in [0, 3, 1 << 52] {
        let (status, answer) = poller.post(&hall, number, &[publish(2, "chat", 1)]).await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("bad_number")),
            "{number}"
        );
    }
    for after in [poller.after + 1, 1 << 52] {
        let (status, answer) = poller.poll(&hall, after, 0).await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("bad_number")),
            "{after}"
        );
    }
    // The client cannot request messages again that it has acknowledged.
    assert_eq!(poller.poll(&hall, poller.after, 0).await.0, 200);
    assert_eq!(poller.poll(&hall, poller.after - 1, 0).await.0, 409);
    for request in ["n=-1", "n=x", "n=9007199254740992", ""] {
        let request = format!("POST /connection/{}?{request}", poller.id);
        assert_eq!(ask(&hall, &request, "").await.0, 400, "{request}");
    }
    assert_eq!(
        poller.post(&hall, 2, &[]).await.0,
        204,
        "it goes on as before"
    );
}

#[tokio::test]
async fn the_older_of_two_simultaneous_polls_is_refused_and_the_newer_answered() {
    let hall = Hall::open(four_workers()).await;
    let mut poller = Poller::connected(&hall).await;
    let first = Poller {
        id: poller.id.clone(),
        number: 0,
        after: 0,
    };
    let older = first.poll(&hall, poller.after, 60);
    tokio::pin!(older);
    let ping = json!({"type": "ping", "id": 7});
    let newer = async {
        // Newer polls are sent until the older one has been answered.
        loop {
            let newer = poller.poll(&hall, poller.after, 0);
            tokio::select! {
                answer = &mut older => return answer,
                (status, _) = newer => assert!(status == 200 || status == 409),
            }
        }
    };
    let (status, answer) = newer.await;
    assert_eq!((status, &answer["code"]), (409, &json!("replaced")));
    poller.say(&hall, &[ping]).await;
    assert_eq!(poller.hear(&hall).await[0]["type"], "pong");
}

#[tokio::test]
async fn requests_of_unknown_connections_are_refused() {
    let hall = Hall::open(config()).await;
    let poller = Poller::connected(&hall).await;
    let mut foreign = poller.id.clone();
    foreign.replace_range(..4, "ffff");
    let mut other = poller.id.clone();
    let digit = if other.ends_with('0') { "1" } else { "0" };
    other.replace_range(35.., digit);
    for id in [&foreign, &other, "", "x", &"0".repeat(36), "%C3%A9"] {
        for (request, body) in [("POST", "{}"), ("GET", "")] {
            let request = format!("{request} /connection/{id}?n=1&after=0&wait=60");
            let (status, answer) = ask(&hall, &request, body).await;
            assert_eq!(
                (status, &answer["code"]),
                (404, &json!("unknown_connection")),
                "{id}"
            );
        }
    }
    // A connection with a stream cannot be polled.
    let mut reader = Reader::get(&hall, "/connection").await;
    let open = reader.a("open").await;
    let id = open.data["connection"].as_str().unwrap().to_owned();
    let streamed = Poller {
        id,
        number: 0,
        after: 0,
    };
    let (status, answer) = streamed.poll(&hall, 0, 0).await;
    assert_eq!((status, &answer["code"]), (409, &json!("streamed")));
}

#[tokio::test]
async fn a_connection_that_is_not_polled_expires_and_its_session_can_be_resumed() {
    let mut brisk = config();
    brisk.keepalive.interval = Some(Duration::from_millis(50));
    brisk.keepalive.pong_timeout = Duration::from_millis(50);
    let hall = Hall::open(brisk).await;
    let mut poller = Poller::begin(&hall).await;
    poller
        .say(
            &hall,
            &[json!({"type": "connect", "id": 1, "lineage": true})],
        )
        .await;
    let welcome = poller.hear(&hall).await[0].clone();
    while hall.health().await.1["connections"] != 0 {}
    let (status, answer) = poller.poll(&hall, poller.after, 0).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("unknown_connection"))
    );
    let mut caller = hall.dial().await;
    let token = welcome["resume"].as_str().unwrap();
    let resumed = caller.resume(token, json!({})).await;
    assert_eq!(resumed["session"], welcome["session"]);
}

#[tokio::test]
async fn a_connection_without_a_connect_is_closed_in_time() {
    let hall = Hall::open(with_connections(|limits| {
        limits.connect_timeout = Duration::from_millis(50);
    }))
    .await;
    let poller = Poller::begin(&hall).await;
    let (status, answer) = poller.poll(&hall, 0, 60).await;
    match status {
        200 => assert_eq!(answer["closed"]["code"], 1008, "{answer}"),
        // It was closed before it was polled.
        _ => assert_eq!(status, 404),
    }
    // Once the client has acknowledged that, the connection is forgotten.
    while poller.poll(&hall, 0, 0).await.0 != 404 {}
    let mut reader = Reader::get(&hall, "/connection").await;
    reader.a("open").await;
    assert_eq!(reader.a("close").await.data["code"], 1008);
    assert_eq!(reader.event().await, None);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_not_text_is_refused() {
    let mut small = config();
    small.messages.max_bytes = 10_000;
    let hall = Hall::open(small).await;
    let mut poller = Poller::connected(&hall).await;
    let large = publish(2, "chat", "x".repeat(10_000));
    let (status, answer) = poller.post(&hall, 2, &[large]).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
    // The body was not accepted, so its number can still be used.
    poller
        .say(
            &hall,
            &[json!("no object"), json!({"type": "ping", "id": 7})],
        )
        .await;
    let heard = poller.until(&hall, "pong").await;
    assert_eq!(heard[0]["type"], "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_after_the_one_that_ends_the_connection_are_not_handled() {
    let mut config = config();
    config.admin.listen = vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()];
    config.limits = Limits::default();
    let hall = Hall::open(config).await;
    let poller = Poller::connected(&hall).await;
    // Far more than a client may send at once.
    let request = format!("POST /connection/{}?n=2", poller.id);
    let count = 50_000;
    assert_eq!(ask(&hall, &request, &"{}\n".repeat(count)).await.0, 204);
    let page = text(&hall).await;
    let received = |line: &str| {
        line.strip_prefix("offhook_received_messages_total ")?
            .parse::<f64>()
            .ok()
    };
    let received = page.lines().find_map(received).unwrap();
    assert!(received > 100.0 && received < 10_000.0, "{received}");
    hall.close().await;
}

#[tokio::test]
async fn a_slowly_polled_connection_uses_bounded_memory_and_loses_nothing() {
    let mut narrow = config();
    narrow.messages.outbox_bytes = 32 * 1024;
    let hall = Hall::open(narrow).await;
    let mut poller = Poller::connected(&hall).await;
    poller.say(&hall, &[subscribe(2, "chat")]).await;
    poller.until(&hall, "subscribed").await;
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(1_000);
    for n in 0..500 {
        publisher.publish("chat", json!([n, padding])).await;
    }
    let heard = poller.until(&hall, "live").await;
    let messages: Vec<_> = heard.iter().filter(|m| m["type"] == "message").collect();
    assert_eq!(messages.len(), 500);
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message["data"][0], n);
    }
    assert!(heard.iter().any(|message| message["type"] == "catching_up"));
    // One request asks for more than fits: the rest waits until the client has received the
    // answers.
    let histories: Vec<_> = (10..30)
        .map(|id| json!({"type": "history", "id": id, "channel": "chat", "limit": 100}))
        .collect();
    poller.number += 1;
    let number = poller.number;
    let asking = Poller {
        id: poller.id.clone(),
        number: 0,
        after: 0,
    };
    let posted = asking.post(&hall, number, &histories);
    tokio::pin!(posted);
    let mut count = 0;
    // The client keeps polling, because only a poll acknowledges what has arrived.
    let (status, answer) = loop {
        tokio::select! {
            posted = &mut posted => break posted,
            heard = poller.hear(&hall) => count += heard.len(),
        }
    };
    assert_eq!(status, 204, "{answer}");
    while count < 20 {
        count += poller.hear(&hall).await.len();
    }
    assert_eq!(count, 20);
}

#[tokio::test]
async fn connections_over_requests_count_as_connections() {
    let hall = Hall::open(with_connections(|limits| limits.max = 4)).await;
    let mut begun = Vec::new();
    loop {
        let (status, answer) = ask(&hall, "POST /connection", "").await;
        if status == 503 {
            break;
        }
        assert_eq!(status, 201, "{answer}");
        begun.push(answer);
        assert!(begun.len() <= 4);
    }
    assert!(begun.len() >= 3, "{}", begun.len());
}

#[tokio::test]
async fn thousands_of_connections_of_one_address_are_limited() {
    let strict = with_connections(|limits| {
        limits.handshakes_per_second = 1;
        limits.handshake_burst = 10;
    });
    let hall = Hall::open(strict).await;
    let request = format!(
        "POST /connection HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        hall.address()
    );
    let last = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let (_, _, answers) = hall.raw(&(request.repeat(1_000) + last)).await;
    assert!(answers.matches("HTTP/1.1 503 ").count() > 900);
}

#[tokio::test]
async fn a_client_that_leaves_is_removed_immediately() {
    let hall = Hall::open(four_workers()).await;
    let mut watcher = hall.caller().await;
    watcher
        .ask(json!({"type": "subscribe", "channel": "chat", "presence": true}))
        .await;
    watcher.hear_a("join").await;
    let mut poller = Poller::connected(&hall).await;
    poller.say(&hall, &[subscribe(2, "chat")]).await;
    let join = watcher.hear_a("join").await;
    let request = format!("DELETE /connection/{}", poller.id);
    assert_eq!(ask(&hall, &request, "").await.0, 204);
    assert_eq!(watcher.hear_a("leave").await["session"], join["session"]);
    assert_eq!(poller.poll(&hall, poller.after, 0).await.0, 404);
}

#[tokio::test]
async fn a_session_can_move_from_a_websocket_to_polls_and_back() {
    let hall = Hall::open(four_workers()).await;
    let mut caller = hall.caller().await;
    let session = caller.session.clone();
    let position = caller.subscribe("chat", json!("now")).await["position"].clone();
    caller.fresh_token().await;
    let mut publisher = hall.caller().await;
    publisher.publish("chat", json!(1)).await;
    let resume = json!({
        "type": "connect", "id": 1, "lineage": true, "resume": caller.resume,
        "positions": {"chat": position},
    });
    let mut poller = Poller::begin(&hall).await;
    poller.say(&hall, &[resume]).await;
    let mut heard = poller.until(&hall, "message").await;
    assert_eq!(heard[0]["session"], session.as_str());
    assert_eq!(u16::from(caller.end().await.1.code), 4001);
    publisher.publish("chat", json!(2)).await;
    while heard.iter().filter(|m| m["type"] == "message").count() < 2 {
        heard.extend(poller.hear(&hall).await);
    }
    let last = heard.iter().rfind(|m| m["type"] == "message").unwrap();
    assert_eq!(last["data"], 2);
    publisher.publish("chat", json!(3)).await;
    let mut back = hall.dial().await;
    let token = heard[0]["resume"].as_str().unwrap();
    let welcome = back.resume(token, json!({"chat": last["position"]})).await;
    assert_eq!(welcome["session"], session.as_str(), "{welcome}");
    loop {
        let message = back.hear().await;
        if message["type"] == "message" {
            assert_eq!(message["data"], 3);
            break;
        }
    }
}

#[tokio::test]
async fn a_token_names_the_user_of_a_connection() {
    let hall = Hall::open(with_tokens(|_| {})).await;
    let field = format!("Authorization: Bearer {}\r\n", of("ann"));
    let mut reader = Reader::ask(&hall, "/connection", &field).await;
    let open = reader.a("open").await;
    let id = open.data["connection"].as_str().unwrap().to_owned();
    let poster = Poller {
        id,
        number: 0,
        after: 0,
    };
    poster
        .post(&hall, 1, &[json!({"type": "connect", "id": 1})])
        .await;
    assert_eq!(reader.a("message").await.data["user"], "ann");
    assert_eq!(
        Reader::get(&hall, "/connection?token=rubbish").await.status,
        401
    );
}

#[tokio::test]
async fn a_stopping_server_notifies_polling_and_reading_clients() {
    let hall = Hall::open(config()).await;
    let poller = Poller::connected(&hall).await;
    let mut reader = Reader::get(&hall, "/connection").await;
    let open = reader.a("open").await;
    let id = open.data["connection"].as_str().unwrap().to_owned();
    let poster = Poller {
        id,
        number: 0,
        after: 0,
    };
    poster
        .post(&hall, 1, &[json!({"type": "connect", "id": 1})])
        .await;
    assert_eq!(reader.a("message").await.data["type"], "welcome");
    let address = hall.address();
    let target = format!("/connection/{}?after={}", poller.id, poller.after);
    let poll = |wait| format!("GET {target}&wait={wait} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let requests = poll(0) + &poll(60);
    stream.write_all(requests.as_bytes()).await.unwrap();
    // Once the first one is answered, the server has received the second one.
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    hall.close().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"reconnect\""), "{answer}");
    assert_eq!(reader.a("message").await.data["type"], "reconnect");
    assert_eq!(reader.a("close").await.data["code"], 1012);
    assert_eq!(reader.event().await, None);
}

fn connect() -> Value {
    json!({"type": "connect", "id": 1, "lineage": true})
}

/// A stream, and a sender on the same connection.
async fn streamed(hall: &Hall, mut reader: Reader) -> (Reader, Poller) {
    let open = reader.a("open").await;
    let id = open.data["connection"].as_str().unwrap().to_owned();
    let mut poster = Poller {
        id,
        number: 0,
        after: 0,
    };
    poster.say(hall, &[connect()]).await;
    assert_eq!(reader.a("message").await.data["type"], "welcome");
    (reader, poster)
}

#[tokio::test]
async fn a_stream_that_its_client_does_not_read_is_ended() {
    let mut brisk = config();
    brisk.messages.outbox_bytes = 32 * 1024;
    brisk.connections.send_buffer = Some(16 * 1024);
    brisk.keepalive.interval = Some(Duration::from_millis(100));
    brisk.keepalive.pong_timeout = Duration::from_millis(100);
    let hall = Hall::open(brisk).await;
    let reader = Reader::narrow(&hall, "/connection").await;
    let (_reader, mut poster) = streamed(&hall, reader).await;
    poster.say(&hall, &[subscribe(2, "chat")]).await;
    let mut publisher = hall.caller().await;
    let padding = "x".repeat(10_000);
    while hall.health().await.1["connections"] != 1 {
        publisher.publish("chat", json!(padding)).await;
    }
    let (status, answer) = poster.post(&hall, 3, &[]).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("unknown_connection"))
    );
}

/// The request waits for room for its answers, but the client never polls.
#[tokio::test]
async fn a_connection_with_large_answers_that_is_not_polled_expires() {
    let mut brisk = config();
    brisk.messages.outbox_bytes = 8 * 1024;
    brisk.keepalive.interval = Some(Duration::from_millis(100));
    brisk.keepalive.pong_timeout = Duration::from_millis(100);
    let hall = Hall::open(brisk).await;
    let padding = "x".repeat(1_000);
    let mut publisher = hall.caller().await;
    for _ in 0..100 {
        publisher.publish("chat", json!(padding)).await;
    }
    let poller = Poller::begin(&hall).await;
    let histories =
        (2..40).map(|id| json!({"type": "history", "id": id, "channel": "chat", "limit": 100}));
    let messages: Vec<_> = std::iter::once(connect()).chain(histories).collect();
    let (status, answer) = poller.post(&hall, 1, &messages).await;
    assert_eq!(
        (status, &answer["code"]),
        (404, &json!("unknown_connection"))
    );
    while hall.health().await.1["connections"] != 1 {}
}

#[tokio::test]
async fn a_poll_is_the_receipt_of_everything_before_it() {
    let hall = Hall::open(config()).await;
    let mut poller = Poller::connected(&hall).await;
    poller.say(&hall, &[subscribe(2, "chat")]).await;
    poller.until(&hall, "subscribed").await;
    let mut publisher = hall.caller().await;
    let position = publisher.publish("chat", json!("read me")).await;
    let ask = json!({"type": "receipts", "channel": "chat", "position": position});
    // The message was sent, but its receipt has not been acknowledged.
    let (_, answer) = poller.poll(&hall, poller.after, 60).await;
    assert_eq!(answer["messages"][0]["type"], "message", "{answer}");
    assert_eq!(publisher.ask(ask.clone()).await["received"], 0);
    poller.after += answer["messages"].as_array().unwrap().len() as u64;
    loop {
        assert_eq!(poller.poll(&hall, poller.after, 0).await.0, 200);
        let answer = publisher.ask(ask.clone()).await;
        if answer["received"] == 1 {
            break;
        }
        assert!(answer["type"] == "received" || answer["code"] == "busy");
    }
}

#[tokio::test]
async fn a_session_of_another_server_is_refused() {
    let (hall, elsewhere) = (Hall::open(config()).await, Hall::open(config()).await);
    let foreign = elsewhere.caller().await.resume.clone();
    let mut poller = Poller::begin(&hall).await;
    let mut resume = connect();
    resume["resume"] = json!(foreign);
    poller.say(&hall, &[resume]).await;
    let answers = poller.hear(&hall).await;
    assert_eq!(answers[0]["code"], "bad_token", "{answers:?}");
}

//! STOMP over TCP, TLS and WebSocket against a server with two workers.

use std::{fs, num::NonZeroUsize, path::Path, sync::Arc};

use offhook::{Message, WebSocket};
use offhook_dialects::stomp::frame::{Decoder, Frame, Version};
use offhook_engine::{
    Access, ChannelRules, ErrorCode, History, Limits, Refusal, SessionId, SubscriptionId,
    SubscriptionKey, Whom,
};
use offhook_server::{
    Config,
    config::{ChannelRule, Stomp, TlsFiles},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs},
};

use crate::{
    hall::{Hall, NEVER, config, on_disk},
    metrics::text,
};

/// Two workers, so that the consumers of a queue are on both.
fn with_stomp(config: Config) -> Config {
    let rule = |pattern: &str, rules| ChannelRule {
        pattern: pattern.to_owned(),
        rules,
        ..ChannelRule::default()
    };
    let fleeting = ChannelRules {
        history: History::NONE,
        ..ChannelRules::default()
    };
    let closed = ChannelRules {
        subscribe: Access::Users,
        ..ChannelRules::default()
    };
    Config {
        workers: NonZeroUsize::new(2).unwrap(),
        stomp: Stomp {
            listen: vec![([127, 0, 0, 1], 0).into()],
            ..Stomp::default()
        },
        channels: vec![
            rule("queue/fleeting", fleeting),
            rule("queue/closed", closed),
            rule("*", ChannelRules::default()),
        ],
        ..config
    }
}

/// A client of STOMP 1.2.
struct Client {
    stream: Transport,
    decoder: Decoder,
}

enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    WebSocket(Box<WebSocket>),
}

fn frame(command: &str, headers: &[(&str, &str)]) -> Frame {
    let frame = Frame::new(command);
    headers
        .iter()
        .fold(frame, |frame, (name, value)| frame.with(name, value))
}

impl Client {
    fn of(stream: Transport) -> Self {
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(Version::V12);
        Self { stream, decoder }
    }

    /// Connects over TCP, with these headers in its CONNECT.
    async fn with(hall: &Hall, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(hall.stomp_address()).await.unwrap();
        let mut client = Self::of(Transport::Tcp(stream));
        client.connect(headers).await;
        client
    }

    async fn open(hall: &Hall) -> Self {
        Self::with(hall, &[]).await
    }

    async fn over_websocket(hall: &Hall) -> Self {
        let connect = hall.number_at("/stomp").subprotocol("v12.stomp");
        let socket = connect.open().await.unwrap();
        let mut client = Self::of(Transport::WebSocket(Box::new(socket)));
        client.connect(&[]).await;
        client
    }

    async fn connect(&mut self, headers: &[(&str, &str)]) {
        let connect = frame("CONNECT", &[("accept-version", "1.2")]);
        let headers = headers.iter();
        let connect = headers.fold(connect, |frame, (name, value)| frame.with(name, value));
        self.send(&connect).await;
        let connected = self.next().await;
        assert_eq!(&*connected.command, "CONNECTED", "{connected:?}");
    }

    async fn send(&mut self, frame: &Frame) {
        let bytes = frame.encode(Version::V12);
        match &mut self.stream {
            Transport::Tcp(stream) => stream.write_all(&bytes).await.unwrap(),
            Transport::Tls(stream) => stream.write_all(&bytes).await.unwrap(),
            Transport::WebSocket(socket) => socket.send(bytes).await.unwrap(),
        }
    }

    /// Sends a frame and waits for its receipt. Returns the messages that came before.
    async fn ask(&mut self, frame: Frame) -> Vec<Frame> {
        self.send(&frame.with("receipt", "done")).await;
        let mut before = Vec::new();
        loop {
            let frame = self.next().await;
            match &*frame.command {
                "RECEIPT" => return before,
                "MESSAGE" => before.push(frame),
                _ => panic!("{frame:?}"),
            }
        }
    }

    /// The next frame; none at the end of the connection.
    async fn poll(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            let read = match &mut self.stream {
                Transport::Tcp(stream) => timeout(NEVER, stream.read(&mut bytes)).await,
                Transport::Tls(stream) => timeout(NEVER, stream.read(&mut bytes)).await,
                Transport::WebSocket(socket) => {
                    match timeout(NEVER, socket.recv()).await.unwrap() {
                        Ok(Some(Message::Text(text))) => self.decoder.push(text.as_bytes()),
                        Ok(Some(Message::Binary(bytes))) => self.decoder.push(&bytes),
                        Ok(None) | Err(_) => return None,
                    }
                    continue;
                }
            };
            match read.unwrap() {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.push(&bytes[..len]),
            }
        }
    }

    async fn next(&mut self) -> Frame {
        self.poll().await.expect("the connection is open")
    }

    async fn message(&mut self) -> Frame {
        let frame = self.next().await;
        assert_eq!(&*frame.command, "MESSAGE", "{frame:?}");
        frame
    }

    async fn text(&mut self) -> String {
        body(&self.message().await)
    }

    async fn subscribe(&mut self, destination: &str, ack: &str) {
        self.subscribe_as(destination, ack, &[]).await;
    }

    async fn subscribe_as(&mut self, destination: &str, ack: &str, headers: &[(&str, &str)]) {
        let subscribe = frame(
            "SUBSCRIBE",
            &[
                ("id", destination),
                ("destination", destination),
                ("ack", ack),
            ],
        );
        let headers = headers.iter();
        let subscribe = headers.fold(subscribe, |frame, (name, value)| frame.with(name, value));
        let before = self.ask(subscribe).await;
        assert!(before.is_empty(), "{before:?}");
    }

    /// Sends a message, and waits until it is durable.
    async fn publish(&mut self, destination: &str, text: &str) {
        let send = frame("SEND", &[("destination", destination)]).body(text.to_owned());
        self.ask(send).await;
    }

    async fn settle(&mut self, command: &str, message: &Frame) {
        let ack = message.header("ack").expect("it is to be acknowledged");
        self.send(&frame(command, &[("id", ack)])).await;
    }

    /// Disconnects, and waits until all earlier frames have been handled.
    async fn leave(mut self) {
        self.ask(Frame::new("DISCONNECT")).await;
        assert_eq!(self.poll().await, None);
    }

    async fn error(&mut self) -> String {
        let frame = self.next().await;
        assert_eq!(&*frame.command, "ERROR", "{frame:?}");
        assert_eq!(self.poll().await, None);
        frame.header("message").unwrap().to_owned()
    }
}

fn body(frame: &Frame) -> String {
    String::from_utf8(frame.body.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn stomp_and_native_clients_exchange_messages_in_one_channel() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut native = hall.caller().await;
    native.subscribe("room/1", json!("now")).await;
    let mut tcp = Client::open(&hall).await;
    tcp.subscribe("/topic/room/1", "auto").await;
    let mut web = Client::over_websocket(&hall).await;
    web.subscribe("/topic/room/+", "client").await;
    let send = frame("SEND", &[("destination", "/topic/room/1"), ("a", "b")]);
    let mut sender = Client::open(&hall).await;
    sender.ask(send.body("{\"from\":\"stomp\"}")).await;
    for client in [&mut tcp, &mut web] {
        let message = client.message().await;
        assert_eq!(message.header("destination"), Some("/topic/room/1"));
        assert_eq!(message.header("a"), Some("b"));
        assert_eq!(body(&message), "{\"from\":\"stomp\"}");
    }
    let heard = native.hear_a("message").await;
    assert_eq!(heard["data"], json!({"from": "stomp"}));
    assert_eq!(heard["tags"]["a"], "b");
    let publish = json!({"type": "publish", "channel": "room/1", "base64": "/wA="});
    native.send(publish).await;
    assert_eq!(&*tcp.message().await.body, &[0xff, 0]);
    assert_eq!(&*web.message().await.body, &[0xff, 0]);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stomp_is_supported_over_tls_with_the_certificate_of_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        cert: directory.path().join("cert.pem"),
        key: directory.path().join("key.pem"),
        ..TlsFiles::default()
    };
    fs::write(&files.cert, own.cert.pem()).unwrap();
    fs::write(&files.key, own.signing_key.serialize_pem()).unwrap();
    let mut config = with_stomp(config());
    config.tls = Some(files);
    config.stomp.tls_listen = std::mem::take(&mut config.stomp.listen);
    let hall = Hall::open(config).await;

    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(hall.stomp_address()).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream);
    let mut client = Client::of(Transport::Tls(Box::new(stream.await.unwrap())));
    client.connect(&[]).await;
    client.subscribe("/topic/a", "auto").await;
    client
        .send(&frame("SEND", &[("destination", "/topic/a")]).body("hi"))
        .await;
    assert_eq!(client.text().await, "hi");
    client.leave().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumers_of_a_queue_share_its_messages() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut consumers = Vec::new();
    // Connections are distributed over the workers, so that some of these are on the other one.
    for n in 0..4 {
        let mut client = match n % 2 {
            0 => Client::open(&hall).await,
            _ => Client::over_websocket(&hall).await,
        };
        let one = [("prefetch-count", "1")];
        client
            .subscribe_as("/queue/jobs", "client-individual", &one)
            .await;
        consumers.push(client);
    }
    let mut sender = Client::open(&hall).await;
    for n in 0..8 {
        sender.publish("/queue/jobs", &format!("job {n}")).await;
    }
    // Each consumer may have one message: none receives a second one before it has acknowledged the
    // first.
    let mut jobs = Vec::new();
    for _ in 0..2 {
        let mut round = Vec::new();
        for client in &mut consumers {
            let message = client.message().await;
            assert_eq!(message.header("redelivered"), None);
            jobs.push(body(&message));
            round.push(message);
        }
        for (client, message) in consumers.iter_mut().zip(&round) {
            client.settle("ACK", message).await;
        }
    }
    jobs.sort_unstable();
    let all: Vec<_> = (0..8).map(|n| format!("job {n}")).collect();
    assert_eq!(jobs, all);
    // The queue is empty.
    for client in consumers {
        client.leave().await;
    }
    let mut late = Client::open(&hall).await;
    late.subscribe("/queue/jobs", "auto").await;
    sender.publish("/queue/jobs", "a new one").await;
    assert_eq!(late.text().await, "a new one");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_messages_of_a_lost_consumer_go_to_another_with_a_count() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut dies = Client::open(&hall).await;
    dies.subscribe("/queue/jobs", "client").await;
    let mut sender = Client::open(&hall).await;
    for job in ["1", "2"] {
        sender.publish("/queue/jobs", job).await;
    }
    let first = dies.message().await;
    assert_eq!((body(&first), dies.text().await), ("1".into(), "2".into()));
    let mut other = Client::over_websocket(&hall).await;
    other.subscribe("/queue/jobs", "client-individual").await;
    drop(dies);
    // A message that is refused is delivered again.
    for (deliveries, command) in [("2", "NACK"), ("3", "ACK")] {
        let messages = [other.message().await, other.message().await];
        for (job, message) in ["1", "2"].iter().zip(&messages) {
            assert_eq!(body(message), *job);
            assert_eq!(message.header("redelivered"), Some("true"));
            assert_eq!(message.header("deliveries"), Some(deliveries));
            other.settle(command, message).await;
        }
    }
    other.leave().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_keeps_its_messages_without_consumers_and_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = |directory: &Path| Hall::open(with_stomp(on_disk(directory)));
    let hall = open(directory.path()).await;
    let mut sender = Client::open(&hall).await;
    for job in ["1", "2", "3"] {
        sender.publish("/queue/jobs", job).await;
    }
    let mut consumer = Client::open(&hall).await;
    let two = [("prefetch-count", "2")];
    consumer
        .subscribe_as("/queue/jobs", "client-individual", &two)
        .await;
    let first = consumer.message().await;
    let second = consumer.message().await;
    assert_eq!((body(&first), body(&second)), ("1".into(), "2".into()));
    consumer.settle("ACK", &second).await;
    // The third message takes the place of the acknowledged one.
    assert_eq!(consumer.text().await, "3");
    sender.publish("/queue/jobs", "4").await;
    consumer.leave().await;
    sender.publish("/queue/jobs", "5").await;
    hall.close().await;

    let hall = open(directory.path()).await;
    let mut consumer = Client::open(&hall).await;
    consumer.subscribe("/queue/jobs", "client-individual").await;
    // The last two messages were not delivered to any consumer, although the queue may have read
    // them.
    for (job, deliveries) in [("1", Some("2")), ("3", Some("2")), ("4", None), ("5", None)] {
        let message = consumer.message().await;
        assert_eq!(body(&message), job);
        assert_eq!(message.header("deliveries"), deliveries, "{job}");
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_subscription_gets_its_messages_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = |directory: &Path| Hall::open(with_stomp(on_disk(directory)));
    let hall = open(directory.path()).await;
    let me = [("client-id", "me")];
    let durable = [("durable", "true")];
    let mut client = Client::with(&hall, &me).await;
    client.subscribe_as("/topic/news", "client", &durable).await;
    let mut sender = Client::open(&hall).await;
    sender.publish("/topic/news", "1").await;
    assert_eq!(client.text().await, "1");
    client.leave().await;
    sender.publish("/topic/news", "2").await;
    hall.close().await;

    let hall = open(directory.path()).await;
    let mut client = Client::with(&hall, &me).await;
    let subscribe = frame(
        "SUBSCRIBE",
        &[
            ("id", "/topic/news"),
            ("destination", "/topic/news"),
            ("ack", "client"),
            ("durable", "true"),
        ],
    );
    client.send(&subscribe).await;
    let first = client.message().await;
    assert_eq!(body(&first), "1");
    assert_eq!(first.header("redelivered"), Some("true"));
    let second = client.message().await;
    assert_eq!(body(&second), "2");
    client.settle("ACK", &second).await;
    // The durable subscription ends, and no messages are kept for it.
    let end = frame("UNSUBSCRIBE", &[("id", "/topic/news"), ("durable", "true")]);
    client.ask(end).await;
    client.leave().await;
    let mut sender = Client::open(&hall).await;
    sender.publish("/topic/news", "3").await;
    let mut client = Client::with(&hall, &me).await;
    client.subscribe_as("/topic/news", "client", &durable).await;
    sender.publish("/topic/news", "4").await;
    assert_eq!(client.text().await, "4");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_reported_before_the_messages_that_follow_them() {
    let mut config = with_stomp(config());
    let brief = History {
        count: 2,
        ..History::default()
    };
    let rules = ChannelRules {
        history: brief,
        ..ChannelRules::default()
    };
    let pattern = "brief/*".to_owned();
    let rule = ChannelRule {
        pattern,
        rules,
        ..ChannelRule::default()
    };
    config.channels.insert(0, rule);
    let hall = Hall::open(config).await;
    let mut sender = Client::open(&hall).await;
    let me = [("client-id", "me")];
    let mut durable = Client::with(&hall, &me).await;
    let mut reader = Client::open(&hall).await;
    let headers = [("durable", "true"), ("gaps", "true")];
    durable
        .subscribe_as("/topic/brief/a", "client", &headers)
        .await;
    reader.subscribe("/topic/brief/a", "auto").await;
    sender.publish("/topic/brief/a", "1").await;
    let first = durable.message().await;
    durable.settle("ACK", &first).await;
    durable.leave().await;
    let position = reader
        .message()
        .await
        .header("position")
        .unwrap()
        .to_owned();
    reader.leave().await;
    for text in ["2", "3", "4", "5"] {
        sender.publish("/topic/brief/a", text).await;
    }

    let subscribe = frame(
        "SUBSCRIBE",
        &[
            ("id", "/topic/brief/a"),
            ("destination", "/topic/brief/a"),
            ("ack", "client"),
            ("gaps", "true"),
        ],
    );
    let mut reader = Client::open(&hall).await;
    reader
        .send(&subscribe.clone().with("since", &position))
        .await;
    let mut durable = Client::with(&hall, &me).await;
    durable
        .send(&subscribe.clone().with("durable", "true"))
        .await;
    for client in [&mut reader, &mut durable] {
        let gap = client.message().await;
        assert_eq!(gap.header("gap"), Some("evicted_by_size"), "{gap:?}");
        assert_eq!(gap.header("from"), Some(&*position));
        assert_eq!(client.text().await, "4");
        assert_eq!(client.text().await, "5");
    }
    hall.close().await;
}

/// Many clients send `client-id` in every CONNECT. The session then outlives the connection, but the
/// client makes its subscriptions again.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_an_id_makes_its_subscriptions_again_after_every_reconnect() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut sender = Client::open(&hall).await;
    let durable: &[(&str, &str)] = &[("durable", "true")];
    for (name, has_durable, is_orderly) in [
        ("lost", false, false),
        ("left", false, true),
        ("lost-durable", true, false),
        ("left-durable", true, true),
    ] {
        let me = [("client-id", name)];
        let of = |kind: &str| format!("/{kind}/{name}");
        for round in 0..3 {
            let mut client = Client::with(&hall, &me).await;
            if has_durable {
                let kept = of("topic/kept");
                client.subscribe_as(&kept, "client", durable).await;
            }
            client.subscribe(&of("queue"), "client-individual").await;
            client.subscribe(&of("topic"), "client").await;
            // The engine has no subscription that the client has not made on this connection.
            let text = format!("{name} {round}");
            sender.publish(&of("topic"), &text).await;
            assert_eq!(client.text().await, text);
            sender.publish(&of("queue"), &text).await;
            let message = client.message().await;
            assert_eq!(body(&message), text);
            client
                .ask(frame("ACK", &[("id", message.header("ack").unwrap())]))
                .await;
            if is_orderly {
                client.leave().await;
            }
        }
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscriptions_to_a_topic_receive_each_message_twice_until_one_of_them_ends() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut client = Client::open(&hall).await;
    let mut sender = Client::open(&hall).await;
    let subscribe = |id: &str| frame("SUBSCRIBE", &[("id", id), ("destination", "/topic/chat")]);
    let unsubscribe = |id: &str| frame("UNSUBSCRIBE", &[("id", id)]);
    let subscriptions = |messages: Vec<Frame>| {
        let ids = messages
            .iter()
            .map(|message| message.header("subscription").unwrap().to_owned());
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids
    };
    client.ask(subscribe("0")).await;
    client.ask(subscribe("1")).await;
    sender.publish("/topic/chat", "for both").await;
    let heard = vec![client.message().await, client.message().await];
    assert_eq!(subscriptions(heard), ["0", "1"]);
    client.ask(unsubscribe("0")).await;
    sender.publish("/topic/chat", "for one").await;
    assert_eq!(subscriptions(vec![client.message().await]), ["1"]);
    // Without waiting for receipts, as the stock clients do.
    for frame in [
        unsubscribe("1"),
        subscribe("1"),
        unsubscribe("1"),
        subscribe("1"),
        subscribe("2"),
    ] {
        client.send(&frame).await;
    }
    client.ask(unsubscribe("2")).await;
    sender.publish("/topic/chat", "for one again").await;
    assert_eq!(subscriptions(vec![client.message().await]), ["1"]);
    // The same id twice is an error, as with other brokers.
    client.send(&subscribe("1")).await;
    assert_eq!(client.error().await, "subscription exists");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_published_in_order_when_it_is_committed() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut reader = Client::open(&hall).await;
    reader.subscribe("/topic/a", "auto").await;
    let mut sender = Client::open(&hall).await;
    sender.ask(frame("BEGIN", &[("transaction", "t")])).await;
    let send = |n: u32| {
        frame("SEND", &[("destination", "/topic/a"), ("transaction", "t")]).body(n.to_string())
    };
    // More messages than may wait for the broker at the same time.
    for n in 0..200 {
        sender.send(&send(n)).await;
    }
    let mut other = Client::open(&hall).await;
    other.publish("/topic/a", "before the COMMIT").await;
    sender.ask(frame("COMMIT", &[("transaction", "t")])).await;
    assert_eq!(reader.text().await, "before the COMMIT");
    for n in 0..200 {
        assert_eq!(reader.text().await, n.to_string());
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_needs_history_and_the_permission_to_subscribe() {
    let hall = Hall::open(with_stomp(config())).await;
    for (queue, code) in [("fleeting", "no_history"), ("closed", "forbidden")] {
        let mut client = Client::open(&hall).await;
        let queue = format!("/queue/{queue}");
        let subscribe = frame("SUBSCRIBE", &[("id", "1"), ("destination", &queue)]);
        client.send(&subscribe).await;
        assert_eq!(client.error().await, code);
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_followed_by_the_end_of_the_connection() {
    let hall = Hall::open(with_stomp(config())).await;
    for mut client in [
        Client::open(&hall).await,
        Client::over_websocket(&hall).await,
    ] {
        client.send(&Frame::new("SHOUT")).await;
        assert_eq!(client.error().await, "unknown command");
    }
    let stream = TcpStream::connect(hall.stomp_address()).await.unwrap();
    let mut stranger = Client::of(Transport::Tcp(stream));
    let connect = frame("CONNECT", &[("passcode", "no token")]);
    stranger.send(&connect).await;
    assert_eq!(stranger.error().await, "unauthenticated");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_may_be_split_over_messages_and_several_be_in_one() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut client = Client::over_websocket(&hall).await;
    client.subscribe("/topic/a", "auto").await;
    let send = |text: &'static str| {
        let frame = frame("SEND", &[("destination", "/topic/a")]).body(text);
        frame.encode(Version::V12)
    };
    let bytes = [send("1"), send("2"), send("3")].concat();
    let Transport::WebSocket(socket) = &mut client.stream else {
        unreachable!("it is one");
    };
    for piece in bytes.chunks(30) {
        socket.send(piece.to_vec()).await.unwrap();
    }
    for text in ["1", "2", "3"] {
        assert_eq!(client.text().await, text);
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_gets_no_more_than_its_outbox_and_window() {
    let hall = Hall::open(with_stomp(Config {
        limits: Limits {
            data_bytes: 48 * 1024,
            ..config().limits
        },
        ..config()
    }))
    .await;
    let mut slow = Client::open(&hall).await;
    slow.subscribe_as("/queue/jobs", "auto", &[("prefetch-count", "4")])
        .await;
    let mut sender = Client::open(&hall).await;
    let large = "x".repeat(40 * 1024);
    // More than the buffers of the sockets on both sides, the outbox and the window hold.
    let count = 400;
    for _ in 0..count {
        sender.publish("/queue/jobs", &large).await;
    }
    let mut quick = Client::open(&hall).await;
    quick.subscribe("/queue/jobs", "auto").await;
    // Messages that the slow consumer did not receive go to the other one.
    assert_eq!(quick.text().await, large);
    let mut got = 1;
    let mut first = slow.message().await;
    let mut slow_got = 1;
    while got + slow_got < count {
        tokio::select! {
            message = quick.message() => {
                got += 1;
                first = message;
            }
            message = slow.message() => {
                slow_got += 1;
                first = message;
            }
        }
    }
    assert_eq!(first.body.len(), large.len());
    assert!(got > 0 && slow_got > 0);
    hall.close().await;
}

/// Otherwise, a client that reads and acknowledges nothing could fill the memory with all the
/// messages that its window allows.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_queue_wait_for_room_in_the_outbox_of_their_consumer() {
    let mut config = with_stomp(config());
    config.limits.data_bytes = 64 * 1024;
    config.workers = NonZeroUsize::MIN;
    config.admin.listen = vec![([127, 0, 0, 1], 0).into()];
    let hall = Hall::open(config).await;
    let mut slow = Client::open(&hall).await;
    let many = [("prefetch-count", "256")];
    slow.subscribe_as("/queue/jobs", "client-individual", &many)
        .await;
    let mut sender = Client::open(&hall).await;
    let large = "x".repeat(60 * 1024);
    // More than the buffers of the sockets on both sides hold.
    let count = 250;
    for _ in 0..count {
        sender.publish("/queue/jobs", &large).await;
        let page = text(&hall).await;
        let gauge = |line: &str| {
            line.strip_prefix("offhook_unsent_bytes ")?
                .parse::<f64>()
                .ok()
        };
        let unsent = page.lines().find_map(gauge).unwrap();
        assert!(unsent < 1024.0 * 1024.0, "{unsent} bytes are unsent");
    }
    // All messages arrive once the client reads, in order and without duplicates.
    for _ in 0..count {
        let message = slow.message().await;
        assert_eq!(message.body.len(), large.len());
        assert_eq!(message.header("redelivered"), None);
        slow.settle("ACK", &message).await;
    }
    sender.publish("/queue/jobs", "the end").await;
    assert_eq!(slow.text().await, "the end");
    hall.close().await;
}

/// Sends so many messages to a queue that the buffers of two sockets and an outbox cannot hold them, and
/// returns their number. Each begins with its own.
async fn publish_many(hall: &Hall, queue: &str) -> usize {
    let mut sender = Client::open(hall).await;
    let rest = "x".repeat(60 * 1024);
    let count = 250;
    for n in 0..count {
        sender.publish(queue, &format!("{n:03}{rest}")).await;
    }
    count
}

fn number_of(message: &Frame) -> usize {
    body(message)[..3].parse().unwrap()
}

fn large_messages() -> Config {
    let mut config = with_stomp(config());
    config.limits.data_bytes = 64 * 1024;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_leaves_messages_to_others_whatever_its_window() {
    let hall = Hall::open(large_messages()).await;
    let mut slow = Client::open(&hall).await;
    let many = [("prefetch-count", "256")];
    slow.subscribe_as("/queue/jobs", "client-individual", &many)
        .await;
    let count = publish_many(&hall, "/queue/jobs").await;
    let mut quick = Client::open(&hall).await;
    quick.subscribe("/queue/jobs", "client-individual").await;
    let mut numbers = Vec::new();
    let first = quick.message().await;
    quick.settle("ACK", &first).await;
    numbers.push(number_of(&first));
    // Everything arrives once, at either of them.
    while numbers.len() < count {
        let (client, message) = tokio::select! {
            message = quick.message() => (&mut quick, message),
            message = slow.message() => (&mut slow, message),
        };
        assert_eq!(message.header("redelivered"), None);
        client.settle("ACK", &message).await;
        numbers.push(number_of(&message));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, Vec::from_iter(0..count));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_ack_has_a_receipt_is_not_delivered_again() {
    for end in ["UNSUBSCRIBE", "DISCONNECT"] {
        let hall = Hall::open(large_messages()).await;
        let mut slow = Client::open(&hall).await;
        let many = [("prefetch-count", "256")];
        slow.subscribe_as("/queue/jobs", "client-individual", &many)
            .await;
        publish_many(&hall, "/queue/jobs").await;
        let first = slow.message().await;
        assert_eq!(number_of(&first), 0);
        // Much is unsent when the server receives these.
        let ack = frame("ACK", &[("id", first.header("ack").unwrap())]);
        slow.send(&ack.with("receipt", "acked")).await;
        slow.send(&frame(end, &[("id", "/queue/jobs"), ("receipt", "ended")]))
            .await;
        let mut receipts = Vec::new();
        while receipts.len() < 2 {
            let frame = slow.next().await;
            if &*frame.command == "RECEIPT" {
                receipts.push(frame.header("receipt-id").unwrap().to_owned());
            }
        }
        assert_eq!(receipts, ["acked", "ended"]);
        let mut next = Client::open(&hall).await;
        next.subscribe("/queue/jobs", "client-individual").await;
        // The others that the first consumer had come back, in order. It may still be leaving.
        loop {
            let message = next.message().await;
            assert_ne!(number_of(&message), 0, "{end}");
            if number_of(&message) == 1 {
                break;
            }
            next.settle("ACK", &message).await;
        }
        hall.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_subscription_the_server_ended_does_not_deliver_its_history_again() {
    let hall = Hall::open(with_stomp(config())).await;
    let mut consumer = Client::open(&hall).await;
    consumer.subscribe("/queue/jobs", "client-individual").await;
    let mut sender = Client::open(&hall).await;
    for job in ["1", "2", "3"] {
        sender.publish("/queue/jobs", job).await;
    }
    for job in ["1", "2", "3"] {
        let message = consumer.message().await;
        assert_eq!(body(&message), job);
        if job != "3" {
            consumer.settle("ACK", &message).await;
        }
    }
    // The receipt follows the acknowledgements.
    consumer.publish("/topic/a", "").await;
    let mut native = hall.caller().await;
    let members = json!({"type": "presence", "channel": "queue/jobs"});
    let members = native.ask(members).await;
    for member in members["members"].as_array().unwrap() {
        let id = u128::from_str_radix(member["session"].as_str().unwrap(), 16).unwrap();
        let session = SessionId::from_bytes(id.to_be_bytes());
        let subscription = SubscriptionKey::Id(SubscriptionId(0));
        let why = Refusal::new(ErrorCode::Forbidden, "the server ends it");
        hall.sessions()
            .unsubscribe(Whom::Session(session), subscription, why)
            .await;
    }
    assert_eq!(consumer.error().await, "forbidden");
    let mut next = Client::open(&hall).await;
    next.subscribe("/queue/jobs", "client-individual").await;
    assert_eq!(next.text().await, "3");
    hall.close().await;
}

//! MQTT over TCP and WebSocket against a server with two workers.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use offhook_dialects::mqtt::{
    Reason,
    packet::{
        Ack, ConnAck, Connect, Decoder, Options, Packet, Properties, Publish, Qos, Reasoned,
        Subscribe, Unsubscribe, Version, Will,
    },
};
use offhook_engine::{ChannelRules, State};
use offhook_server::{
    Config,
    config::{ChannelRule, Mqtt},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    hall::{Hall, NEVER, config, on_disk},
    metrics,
};

/// Two workers, so that sessions are resumed on another worker, and state in every channel, for
/// retained messages.
fn with_mqtt(config: Config) -> Config {
    let everything = ChannelRule {
        pattern: "*".to_owned(),
        rules: ChannelRules {
            state: State {
                count: 10,
                ..State::default()
            },
            ..ChannelRules::default()
        },
        ..ChannelRule::default()
    };
    Config {
        workers: NonZeroUsize::new(2).unwrap(),
        mqtt: Mqtt {
            listen: vec![([127, 0, 0, 1], 0).into()],
            ..Mqtt::default()
        },
        channels: vec![everything],
        ..config
    }
}

fn durable(directory: &Path) -> Config {
    with_mqtt(on_disk(directory))
}

/// A client of 5.0 over TCP.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
}

fn connect(name: &str, expiry: u32) -> Connect {
    Connect {
        version: Version::V5,
        clean: false,
        keep_alive: 0,
        properties: Some(Box::new(Properties {
            session_expiry: Some(expiry),
            ..Properties::default()
        })),
        client_id: name.into(),
        will: None,
        user: None,
        password: None,
    }
}

impl Client {
    async fn open(hall: &Hall, connect: Connect) -> (Self, ConnAck) {
        let stream = TcpStream::connect(hall.mqtt_address()).await.unwrap();
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(Version::V5);
        let mut client = Self { stream, decoder };
        client.send(Packet::Connect(Box::new(connect))).await;
        let Packet::ConnAck(connack) = client.next().await else {
            panic!("no CONNACK");
        };
        (client, connack)
    }

    async fn named(hall: &Hall, name: &str) -> Self {
        Self::open(hall, connect(name, 1000)).await.0
    }

    async fn send(&mut self, packet: Packet) {
        let bytes = packet.encode(Version::V5);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next packet; none at the end of the connection.
    async fn poll(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.next_packet().unwrap() {
                return Some(packet);
            }
            let mut bytes = [0; 4096];
            let read = timeout(NEVER, self.stream.read(&mut bytes)).await.unwrap();
            match read {
                Ok(0) | Err(_) => return None,
                Ok(len) => self.decoder.push(&bytes[..len]),
            }
        }
    }

    async fn next(&mut self) -> Packet {
        self.poll().await.expect("the connection is open")
    }

    async fn subscribe(&mut self, filter: &str, qos: Qos) {
        let options = Options {
            qos,
            ..Options::default()
        };
        self.send(Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: None,
            filters: vec![(filter.into(), options)],
        }))
        .await;
        // §3.8.4: messages may come before it.
        let acks = loop {
            let packet = self.next().await;
            if let Packet::SubAck(acks) = packet {
                break acks;
            }
            assert!(matches!(packet, Packet::Publish(_)), "{packet:?}");
        };
        assert_eq!(acks.reasons, [Reason(qos.number())]);
    }

    /// Publishes with QoS 1, and waits for the acknowledgement.
    async fn publish(&mut self, topic: &str, payload: &str, retain: bool) {
        self.send(Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain,
            topic: topic.into(),
            packet_id: 7,
            properties: None,
            payload: payload.to_owned().into(),
        }))
        .await;
        let acknowledged = Packet::PubAck(Ack::new(7, Reason::SUCCESS));
        assert_eq!(self.next().await, acknowledged);
    }

    /// The next message, which is acknowledged if its QoS is 1.
    async fn message(&mut self) -> Publish {
        let Packet::Publish(message) = self.next().await else {
            panic!("no message");
        };
        if message.qos == Qos::AtLeastOnce {
            let ack = Ack::new(message.packet_id, Reason::SUCCESS);
            self.send(Packet::PubAck(ack)).await;
        }
        message
    }

    async fn text(&mut self) -> String {
        let message = self.message().await;
        String::from_utf8(message.payload.to_vec()).unwrap()
    }

    async fn leave(mut self) {
        self.send(Packet::Disconnect(Reasoned::default())).await;
        assert_eq!(self.poll().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_and_native_clients_exchange_messages_in_one_channel() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut native = hall.caller().await;
    native.subscribe("room/1", json!("now")).await;
    let mut mqtt = Client::named(&hall, "device").await;
    mqtt.subscribe("room/+", Qos::AtMostOnce).await;
    let mut other = Client::named(&hall, "other").await;
    other.publish("room/1", r#"{"from":"mqtt"}"#, false).await;
    assert_eq!(mqtt.text().await, r#"{"from":"mqtt"}"#);
    let heard = native.hear_a("message").await;
    assert_eq!(
        (&heard["data"], &heard["tags"]["mqtt"]),
        (&json!({"from": "mqtt"}), &json!("1"))
    );
    let publish = json!({"type": "publish", "channel": "room/1", "data": "hi", "tags": {"a": "b"}});
    native.send(publish).await;
    let message = mqtt.message().await;
    assert_eq!(&message.payload[..], b"\"hi\"");
    let user = message.properties.unwrap().user;
    assert_eq!(user, [("a".into(), "b".into())]);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_gets_its_messages_after_a_restart_on_any_worker() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(durable(directory.path())).await;
    let mut device = Client::named(&hall, "device").await;
    device.subscribe("a/#", Qos::AtLeastOnce).await;
    device.leave().await;
    let mut other = Client::named(&hall, "other").await;
    other.publish("a/1", "first", false).await;
    hall.close().await;

    let hall = Hall::open(durable(directory.path())).await;
    let mut other = Client::named(&hall, "other").await;
    other.publish("a/2", "second", false).await;
    let (mut device, connack) = Client::open(&hall, connect("device", 1000)).await;
    assert!(connack.session_present);
    assert_eq!(device.text().await, "first");
    assert_eq!(device.text().await, "second");
    device.leave().await;

    // A clean start discards the session.
    let mut clean = connect("device", 1000);
    clean.clean = true;
    let (device, connack) = Client::open(&hall, clean).await;
    assert!(!connack.session_present);
    device.leave().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_takes_over_the_session_on_any_worker() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut older = Client::named(&hall, "device").await;
    older.subscribe("a", Qos::AtLeastOnce).await;
    // Connections are distributed over the workers, so that some of these are on the other one.
    for _ in 0..8 {
        let (newer, connack) = Client::open(&hall, connect("device", 1000)).await;
        assert!(connack.session_present);
        let Packet::Disconnect(disconnect) = older.next().await else {
            panic!("no DISCONNECT");
        };
        assert_eq!(disconnect.reason, Reason::SESSION_TAKEN_OVER);
        older = newer;
    }
    let mut other = Client::named(&hall, "other").await;
    other.publish("a", "still subscribed", false).await;
    assert_eq!(older.text().await, "still subscribed");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retained_message_is_the_state_of_its_channel() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut device = Client::named(&hall, "device").await;
    for n in 0..40 {
        device.publish(&format!("kept/{n:02}"), "value", true).await;
    }
    device.publish("kept/00", "", true).await;
    let mut late = Client::named(&hall, "late").await;
    late.subscribe("kept/#", Qos::AtLeastOnce).await;
    // More than one page.
    let mut topics = Vec::new();
    for _ in 1..40 {
        let message = late.message().await;
        assert!(message.retain);
        topics.push(message.topic.to_string());
    }
    let expected: Vec<_> = (1..40).map(|n| format!("kept/{n:02}")).collect();
    assert_eq!(topics, expected);
    let mut native = hall.caller().await;
    let state = native
        .ask(json!({"type": "state", "channel": "kept/07"}))
        .await;
    assert_eq!(state["messages"][0]["data"], "value");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_is_published_when_its_client_is_lost_but_not_when_it_disconnects() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut watcher = Client::named(&hall, "watcher").await;
    watcher.subscribe("gone", Qos::AtLeastOnce).await;
    let with_will = |name: &str, delay| {
        let mut connect = connect(name, 1000);
        connect.will = Some(Will {
            topic: "gone".into(),
            payload: name.to_owned().into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Some(Box::new(Properties {
                will_delay: Some(delay),
                ..Properties::default()
            })),
        });
        connect
    };
    let (leaves, _) = Client::open(&hall, with_will("leaves", 0)).await;
    leaves.leave().await;
    let (dies, _) = Client::open(&hall, with_will("dies", 0)).await;
    drop(dies);
    assert_eq!(watcher.text().await, "dies");
    // The will of a client that returns within the delay is not published; the other one is.
    let (returns, _) = Client::open(&hall, with_will("returns", 1000)).await;
    drop(returns);
    let (late, _) = Client::open(&hall, with_will("late", 1)).await;
    drop(late);
    let (returns, _) = Client::open(&hall, connect("returns", 1000)).await;
    assert_eq!(watcher.text().await, "late");
    returns.leave().await;
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_start_publishes_the_delayed_will_of_the_connection_whose_session_it_ends() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut watcher = Client::named(&hall, "watcher").await;
    watcher.subscribe("gone", Qos::AtLeastOnce).await;
    // The connections are distributed over the workers.
    for n in 0..6 {
        let will = |payload: String| Will {
            topic: "gone".into(),
            payload: payload.into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Some(Box::new(Properties {
                will_delay: Some(1000),
                ..Properties::default()
            })),
        };
        let mut older = connect("device", 1000);
        older.will = Some(will(format!("{n}")));
        let (mut older, _) = Client::open(&hall, older).await;
        let mut newer = connect("device", 1000);
        newer.clean = true;
        let (newer, connack) = Client::open(&hall, newer).await;
        assert!(!connack.session_present);
        let Packet::Disconnect(disconnect) = older.next().await else {
            panic!("no DISCONNECT");
        };
        assert_eq!(disconnect.reason, Reason::SESSION_TAKEN_OVER);
        assert_eq!(watcher.text().await, format!("{n}"));
        newer.leave().await;
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_ended_in_the_same_packet_of_tcp_is_granted_first() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut client = Client::named(&hall, "device").await;
    let both = [
        Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: None,
            filters: vec![("b".into(), Options::default())],
        })
        .encode(Version::V5),
        Packet::Unsubscribe(Unsubscribe {
            packet_id: 2,
            properties: None,
            filters: vec!["b".into()],
        })
        .encode(Version::V5),
    ];
    client.stream.write_all(&both.concat()).await.unwrap();
    let mut answers = [client.next().await, client.next().await];
    answers.sort_unstable_by_key(|packet| matches!(packet, Packet::UnsubAck(_)));
    let [Packet::SubAck(granted), Packet::UnsubAck(ended)] = &answers else {
        panic!("{answers:?}");
    };
    assert_eq!(granted.reasons, [Reason::SUCCESS]);
    assert_eq!(ended.reasons, [Reason::SUCCESS]);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_start_with_a_connect_is_closed_without_an_answer() {
    let hall = Hall::open(with_mqtt(config())).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0xc0, 0],
        &[0x10, 0xff, 0xff, 0xff, 0xff],
    ] {
        let mut stream = TcpStream::connect(hall.mqtt_address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(NEVER, stream.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert!(answer.is_empty());
    }
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_nothing_is_closed_after_the_connect_timeout() {
    let mut config = with_mqtt(config());
    config.connections.connect_timeout = Duration::from_millis(50);
    let hall = Hall::open(config).await;
    let mut stream = TcpStream::connect(hall.mqtt_address()).await.unwrap();
    let mut answer = Vec::new();
    timeout(NEVER, stream.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.is_empty());
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_websocket_packets_may_be_split_across_messages() {
    let hall = Hall::open(with_mqtt(config())).await;
    let opened = hall.number_at("/mqtt").subprotocol("mqtt").open().await;
    let mut socket = opened.unwrap();
    let bytes = [
        Packet::Connect(Box::new(connect("cut", 0))).encode(Version::V5),
        Packet::PingReq.encode(Version::V5),
    ]
    .concat();
    for piece in bytes.chunks(3) {
        socket.send(piece.to_vec()).await.unwrap();
    }
    let mut decoder = Decoder::new(1 << 20);
    decoder.set_version(Version::V5);
    let mut packets = Vec::new();
    while packets.len() < 2 {
        let message = timeout(NEVER, socket.recv()).await.unwrap().unwrap();
        decoder.push(message.expect("it is open").as_bytes());
        while let Some(packet) = decoder.next_packet().unwrap() {
            packets.push(packet);
        }
    }
    assert!(matches!(
        packets[..],
        [Packet::ConnAck(_), Packet::PingResp]
    ));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_takes_too_long_to_arrive_ends_its_connection() {
    let mut config = with_mqtt(config());
    config.messages.receive_within = Duration::from_millis(50);
    let hall = Hall::open(config).await;
    let mut client = Client::named(&hall, "slow").await;
    let packet = Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "a".into(),
        packet_id: 0,
        properties: None,
        payload: vec![0; 100].into(),
    });
    let bytes = packet.encode(Version::V5);
    client.stream.write_all(&bytes[..50]).await.unwrap();
    let Packet::Disconnect(Reasoned { reason, .. }) = client.next().await else {
        panic!("not disconnected");
    };
    assert_eq!(reason, Reason::QUOTA_EXCEEDED);
    assert_eq!(client.poll().await, None);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_packets_count_against_the_memory_and_the_largest_is_dropped() {
    let mut config = with_mqtt(config());
    config.workers = NonZeroUsize::MIN;
    config.memory.bytes = 64 * 1024;
    let hall = Hall::open(config).await;
    let mut small = Client::named(&hall, "small").await;
    let mut large = Client::named(&hall, "large").await;
    let packet = |len: usize| {
        let packet = Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: "a".into(),
            packet_id: 0,
            properties: None,
            payload: vec![0; len].into(),
        });
        packet.encode(Version::V5)
    };
    let (ours, theirs) = (packet(20_000), packet(100_000));
    small.stream.write_all(&ours[..10_000]).await.unwrap();
    large.stream.write_all(&theirs[..80_000]).await.unwrap();
    assert!(matches!(large.next().await, Packet::Disconnect(_)));
    assert_eq!(large.poll().await, None);
    // The other one is served once its packet is complete.
    small.stream.write_all(&ours[10_000..]).await.unwrap();
    small.send(Packet::PingReq).await;
    assert_eq!(small.next().await, Packet::PingResp);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_on_several_workers_gets_each_message_once_and_again_when_a_member_is_lost() {
    let hall = Hall::open(with_mqtt(config())).await;
    let mut members = Vec::new();
    // Connections are distributed over the workers, so that both have members.
    for n in 0..6 {
        let mut member = Client::named(&hall, &format!("member {n}")).await;
        member
            .subscribe("$share/workers/jobs/+", Qos::AtLeastOnce)
            .await;
        members.push(member);
    }
    let mut publisher = Client::named(&hall, "publisher").await;
    for n in 0..60 {
        publisher
            .publish(&format!("jobs/{}", n % 7), &n.to_string(), false)
            .await;
    }
    // One of them acknowledges nothing, and is lost.
    let mut silent = members.pop().unwrap();
    let Packet::Publish(_) = silent.next().await else {
        panic!("no message");
    };
    drop(silent);
    let (sender, mut received) = tokio::sync::mpsc::channel(100);
    for mut member in members {
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                let text = member.text().await;
                if sender.send(text).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut all = Vec::new();
    while all.len() < 60 {
        let text = timeout(NEVER, received.recv()).await.unwrap().unwrap();
        all.push(text.parse::<u32>().unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..60).collect::<Vec<_>>());
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_durable_sessions_misses_nothing_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(durable(directory.path())).await;
    let mut member = Client::named(&hall, "member").await;
    member
        .subscribe("$share/workers/jobs", Qos::AtLeastOnce)
        .await;
    let mut publisher = Client::named(&hall, "publisher").await;
    publisher.publish("jobs", "1", false).await;
    assert_eq!(member.text().await, "1");
    member.leave().await;
    publisher.publish("jobs", "2", false).await;
    hall.close().await;

    let hall = Hall::open(durable(directory.path())).await;
    let mut publisher = Client::named(&hall, "publisher").await;
    publisher.publish("jobs", "3", false).await;
    let (mut member, connack) = Client::open(&hall, connect("member", 1000)).await;
    assert!(connack.session_present);
    assert_eq!(member.text().await, "2");
    assert_eq!(member.text().await, "3");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_topics_are_published_for_those_that_a_rule_allows() {
    let everybody = |config: &mut Config| {
        let rules = config.channels[0].rules.clone();
        let pattern = "$SYS/*".to_owned();
        config.channels.insert(
            0,
            ChannelRule {
                pattern,
                rules,
                ..ChannelRule::default()
            },
        );
    };
    let mut config = with_mqtt(config());
    config.mqtt.sys_interval = Some(Duration::from_millis(20));
    // Without a rule of its own, a grant is needed, and nobody may publish.
    let hall = Hall::open(config.clone()).await;
    let mut client = Client::named(&hall, "curious").await;
    client.send(subscription("$SYS/broker/version")).await;
    let Packet::SubAck(acks) = client.next().await else {
        panic!("no SUBACK");
    };
    assert_eq!(acks.reasons, [Reason::NOT_AUTHORIZED]);
    let mut native = hall.caller().await;
    let publish = json!({"type": "publish", "channel": "$SYS/broker/version", "data": "mine"});
    let refused = native.ask(publish).await;
    assert_eq!(refused["code"], "forbidden");
    hall.close().await;

    everybody(&mut config);
    let hall = Hall::open(config).await;
    let mut of_version = Client::named(&hall, "of version").await;
    of_version
        .subscribe("$SYS/broker/version", Qos::AtMostOnce)
        .await;
    let version = format!("offhook {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(of_version.text().await, version);
    let mut of_clients = Client::named(&hall, "of clients").await;
    of_clients
        .subscribe("$SYS/broker/clients/+", Qos::AtMostOnce)
        .await;
    let message = of_clients.message().await;
    assert_eq!(&*message.topic, "$SYS/broker/clients/connected");
    assert_eq!(&message.payload[..], b"2");
    hall.close().await;
}

fn subscription(filter: &str) -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id: 1,
        properties: None,
        filters: vec![(filter.into(), Options::default())],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_client_keep_their_order_while_the_queue_of_the_log_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = metrics::operated(durable(directory.path()));
    config.storage.queue_count = 40;
    let hall = Hall::open(config).await;
    let mut subscriber = Client::named(&hall, "subscriber").await;
    subscriber.subscribe("room/1", Qos::AtLeastOnce).await;
    let mut publisher = Client::named(&hall, "publisher").await;
    // Twice as many as the dialect passes on at once, in one write.
    let ids = 1..=128_u16;
    let packets: Vec<u8> = ids
        .clone()
        .flat_map(|id| {
            let message = Publish {
                dup: false,
                qos: Qos::AtLeastOnce,
                retain: false,
                topic: "room/1".into(),
                packet_id: id,
                properties: None,
                payload: id.to_string().into(),
            };
            Packet::Publish(message).encode(Version::V5)
        })
        .collect();
    publisher.stream.write_all(&packets).await.unwrap();
    for id in ids.clone() {
        let acknowledged = Packet::PubAck(Ack::new(id, Reason::SUCCESS));
        assert_eq!(publisher.next().await, acknowledged);
    }
    for id in ids {
        assert_eq!(subscriber.text().await, id.to_string());
    }
    let metrics = metrics::text(&hall).await;
    let busy = r#"offhook_refused_total{kind="busy"}"#;
    assert!(metrics.contains(busy), "the queue was full: {metrics}");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_filters_of_one_packet_are_answered_within_the_limit_of_subscriptions() {
    let mut config = with_mqtt(config());
    config.limits.subscriptions = 100;
    let hall = Hall::open(config).await;
    let mut client = Client::named(&hall, "greedy").await;
    let filters = (0..10_000).map(|n| (format!("f/{n}/#").into(), Options::default()));
    client
        .send(Packet::Subscribe(Subscribe {
            packet_id: 1,
            properties: None,
            filters: filters.collect(),
        }))
        .await;
    let Packet::SubAck(acks) = client.next().await else {
        panic!("no SUBACK");
    };
    let granted = acks.reasons.iter().take_while(|one| **one == Reason(0));
    assert_eq!((granted.count(), acks.reasons.len()), (100, 10_000));
    let refused = &acks.reasons[100..];
    assert!(refused.iter().all(|one| *one == Reason::QUOTA_EXCEEDED));
    client.publish("f/7/x", "hi", false).await;
    assert_eq!(client.text().await, "hi");
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_match_everything_deliver_one_copy_each_and_nothing_of_the_server() {
    let mut config = with_mqtt(config());
    config.mqtt.sys_interval = Some(Duration::from_millis(20));
    let hall = Hall::open(config).await;
    let mut client = Client::named(&hall, "curious").await;
    for filter in ["#", "+/#", "+/+", "#"] {
        client.subscribe(filter, Qos::AtLeastOnce).await;
    }
    let mut other = Client::named(&hall, "other").await;
    other.publish("a/b", "1", false).await;
    other.publish("a/b", "2", false).await;
    let mut copies = Vec::new();
    for _ in 0..6 {
        let message = client.message().await;
        assert_eq!(&*message.topic, "a/b");
        copies.push(message.payload);
    }
    copies.sort_unstable();
    assert_eq!(copies, ["1", "1", "1", "2", "2", "2"]);
    client.send(Packet::PingReq).await;
    assert_eq!(client.next().await, Packet::PingResp);
    hall.close().await;
}

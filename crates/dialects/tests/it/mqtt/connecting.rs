//! The beginning and the end of a connection: CONNECT, the keep-alive, wills, and errors.

use super::*;

#[test]
fn packets_after_the_connect_wait_until_it_is_answered() {
    let mut client = Client::unconnected(Version::V3);
    let both = [
        Packet::Connect(Box::new(connect(Version::V3))).encode(Version::V3),
        Packet::PingReq.encode(Version::V3),
    ];
    client.send_bytes(&both.concat());
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    client.welcome(None, false, &[]);
    assert_eq!(client.mqtt.readiness(), Readiness::HasMore);
    client.send_bytes(&[]);
    assert!(matches!(
        client.take()[..],
        [Packet::ConnAck(_), Packet::PingResp]
    ));
}

#[test]
fn a_silent_client_is_disconnected_after_one_and_a_half_times_the_keep_alive() {
    let mut client = Client::of(Version::V5);
    let begun = client.now;
    assert_eq!(
        client.mqtt.poll_timeout(),
        Some(begun + Duration::from_secs(15))
    );
    client.now = begun + Duration::from_secs(10);
    client.send(Packet::PingReq);
    client.take();
    let tick = |client: &mut Client, seconds| {
        let mut intents = Vec::new();
        let now = begun + Duration::from_secs(seconds);
        client.mqtt.handle_timeout(now, &mut intents);
        intents
            .into_iter()
            .for_each(|intent| client.carry_out(intent));
    };
    tick(&mut client, 15);
    assert_eq!(client.closed, None);
    assert_eq!(
        client.mqtt.poll_timeout(),
        Some(begun + Duration::from_secs(25))
    );
    tick(&mut client, 25);
    let [Packet::Disconnect(Reasoned { reason, .. })] = &client.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(
        (*reason, client.closed),
        (Reason::KEEP_ALIVE_TIMEOUT, Some(1008))
    );
    assert!(
        !client.others.contains(&Intent::Leave),
        "its will must be published"
    );
}

#[test]
fn a_disconnect_keeps_the_will_from_being_published_unless_it_asks_for_it() {
    for (reason, leaves) in [
        (Reason::SUCCESS, true),
        (Reason::DISCONNECT_WITH_WILL, false),
    ] {
        let mut client = Client::of(Version::V5);
        let properties = None;
        client.send(Packet::Disconnect(Reasoned { reason, properties }));
        assert_eq!(client.others.contains(&Intent::Leave), leaves);
        assert_eq!(client.closed, Some(1000));
    }
}

#[test]
fn a_will_becomes_a_publication_with_a_delay() {
    let mut client = Client::unconnected(Version::V5);
    let mut connect = connect(Version::V5);
    connect.will = Some(Will {
        topic: "gone".into(),
        payload: "device".into(),
        qos: Qos::ExactlyOnce,
        retain: true,
        properties: Some(Box::new(Properties {
            will_delay: Some(3),
            ..Properties::default()
        })),
    });
    client.send(Packet::Connect(Box::new(connect)));
    let Some(Intent::Connect(connect)) = client.others.pop() else {
        panic!("not connected");
    };
    let will = connect.named.unwrap().will.unwrap();
    assert_eq!(
        (will.channel.as_str(), will.delay),
        ("gone", Duration::from_secs(3))
    );
    assert_eq!(will.tags.get(CONFLATION_TAG), Some("retained"));
}

#[test]
fn a_refused_connect_is_answered_with_a_connack_and_closed() {
    for (version, code) in [(Version::V3, 4), (Version::V5, 0x86)] {
        let mut client = Client::unconnected(version);
        let mut connect = connect(version);
        connect.user = Some("ann".into());
        connect.password = Some(Bytes::from_static(b"wrong"));
        client.send(Packet::Connect(Box::new(connect)));
        let refusal = Refusal::new(ErrorCode::Unauthenticated, "token: is wrong");
        let mut out = Vec::new();
        client.mqtt.refused(Some(CommandId(0)), &refusal, &mut out);
        client.hear(out);
        client.poll();
        let [Packet::ConnAck(connack)] = &client.take()[..] else {
            panic!("no answer");
        };
        assert_eq!((connack.reason, client.closed), (Reason(code), Some(1008)));
    }
}

#[test]
fn invalid_packets_end_the_connection_with_their_reason() {
    let suback = Packet::PingResp.encode(Version::V5);
    let second = Packet::Connect(Box::new(connect(Version::V5))).encode(Version::V5);
    for (bytes, reason) in [
        (second, Reason::PROTOCOL_ERROR),
        (suback, Reason::PROTOCOL_ERROR),
        (vec![0xf0, 0], Reason::PROTOCOL_ERROR),
        (vec![0x36, 0], Reason::MALFORMED),
        (vec![0x30, 0xff, 0xff, 0x7f], Reason::PACKET_TOO_LARGE),
        // An alias beyond the maximum, and an undefined one.
        (
            vec![0x30, 7, 0, 1, b'a', 3, 0x23, 0, 99],
            Reason::TOPIC_ALIAS_INVALID,
        ),
        (
            vec![0x30, 6, 0, 0, 3, 0x23, 0, 1],
            Reason::TOPIC_ALIAS_INVALID,
        ),
    ] {
        let mut client = Client::of(Version::V5);
        client.send_bytes(&bytes);
        let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
            panic!("not disconnected: {bytes:?}");
        };
        assert_eq!(disconnect.reason, reason, "{bytes:?}");
        assert!(client.closed.is_some());
        // Everything after it is ignored.
        client.send(Packet::PingReq);
        assert_eq!(client.take(), []);
    }
}

#[test]
fn a_5_0_client_that_exceeds_the_receive_maximum_is_disconnected() {
    let mut client = Client::of(Version::V5);
    for id in 1..=64 {
        client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, id, "x")));
        client.reply(PUBLISHED);
    }
    assert_eq!(client.closed, None);
    client.packets.clear();
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 65, "x")));
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(disconnect.reason, Reason::RECEIVE_MAXIMUM_EXCEEDED);
}

#[test]
fn topic_aliases_work_in_both_directions_where_both_sides_allow_them() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        topic_alias_maximum: Some(1),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    client.take();
    let mut message = publish("a", Qos::AtMostOnce, 0, "x");
    let alias = |message: &mut Publish| {
        message.properties.get_or_insert_default().topic_alias = Some(1);
    };
    alias(&mut message);
    client.send(Packet::Publish(message.clone()));
    client.reply(PUBLISHED);
    message.topic = "".into();
    client.send(Packet::Publish(message));
    let Command::Publish { channel, .. } = client.reply(PUBLISHED) else {
        panic!("not published");
    };
    assert_eq!(channel.as_str(), "a");

    let number = client.subscribe("b/+", qos(Qos::AtMostOnce)).unwrap();
    client.take();
    for topic in ["b/1", "b/1", "b/2"] {
        client.deliver(number, &publication(topic, "hi", &[]), 7, 0);
    }
    let sent: Vec<_> = client
        .take()
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(sent) => {
                let alias = sent.properties.and_then(|all| all.topic_alias);
                (sent.topic.to_string(), alias)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("b/1", Some(1)), ("", Some(1)), ("b/2", None)];
    assert_eq!(
        sent,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}

#[test]
fn a_message_above_the_clients_maximum_packet_size_is_skipped_and_counts_as_delivered() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        maximum_packet_size: Some(50),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    let long = publication(
        "b",
        "a text of more than fifty bytes, with the topic and all",
        &[],
    );
    client.deliver(number, &long, 7, 0);
    assert_eq!(
        (client.take(), client.told),
        (vec![], vec![done(number, 7)])
    );
}

#[test]
fn a_client_that_takes_no_packet_of_the_size_of_an_answer_is_closed_without_it() {
    let with = |size| {
        let mut connect = connect(Version::V5);
        connect.properties = Some(Box::new(Properties {
            maximum_packet_size: Some(size),
            ..Properties::default()
        }));
        Client::new(connect)
    };
    // The CONNACK contains what the client must know.
    let mut client = with(10);
    assert_eq!((client.take(), client.closed), (vec![], Some(1009)));
    // The SUBACK has a reason for each filter.
    let mut client = with(50);
    client.packets.clear();
    let options = Options {
        retain_handling: RetainHandling::Never,
        ..Options::default()
    };
    let filters = (0..60).map(|n| (format!("b/{n}").into(), options));
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 7,
        properties: None,
        filters: filters.collect(),
    }));
    while let Some((_, command)) = client.asked.first() {
        let reply = match command {
            Command::Subscribe(wish) => Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(1, 1),
                live: true,
                by_server: false,
                acknowledged: false,
            },
            other => panic!("{other:?}"),
        };
        client.reply(reply);
    }
    assert_eq!((client.take(), client.closed), (vec![], Some(1009)));
    // Every other answer fits.
    let mut client = with(50);
    client.packets.clear();
    client.send(Packet::PingReq);
    assert_eq!(
        (client.take(), client.closed),
        (vec![Packet::PingResp], None)
    );
}

#[test]
fn a_client_whose_session_is_taken_over_gets_the_reason() {
    let mut client = Client::of(Version::V5);
    client.notice(Notice::Close {
        reason: CloseReason::Replaced,
    });
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("not told");
    };
    assert_eq!(disconnect.reason, Reason::SESSION_TAKEN_OVER);
}

#[test]
fn a_text_message_is_closed_with_1003() {
    let mut client = Client::unconnected(Version::V3);
    let mut intents = Vec::new();
    let now = client.now;
    client.mqtt.receive(Incoming::Text("hi"), now, &mut intents);
    intents
        .into_iter()
        .for_each(|intent| client.carry_out(intent));
    assert_eq!(client.closed, Some(1003));
}

#[test]
fn a_will_for_a_topic_of_the_server_is_refused() {
    let mut connect = connect(Version::V5);
    connect.will = Some(Will {
        topic: "$SYS/broker/version".into(),
        payload: "x".into(),
        qos: Qos::AtMostOnce,
        retain: false,
        properties: None,
    });
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let [Packet::ConnAck(connack)] = &client.take()[..] else {
        panic!("not refused");
    };
    assert_eq!(connack.reason, Reason::NOT_AUTHORIZED);
}

#[test]
fn authentication_data_without_a_method_is_a_protocol_error() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        authentication_data: Some("x".into()),
        ..Properties::default()
    }));
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let [Packet::ConnAck(connack)] = &client.take()[..] else {
        panic!("not refused");
    };
    assert_eq!(connack.reason, Reason::PROTOCOL_ERROR);
}

#[test]
fn a_client_that_is_not_read_is_not_silent() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Publish(publish("a", Qos::AtMostOnce, 0, "x")));
    let busy = Refusal::new(ErrorCode::RateLimited, "wait").after(Duration::from_secs(60));
    client.reply(Reply::Refused(busy));
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    client.tick(client.now + Duration::from_secs(15));
    assert_eq!(client.closed, None);
}

#[test]
fn an_incomplete_packet_is_reported_with_its_beginning() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.mqtt.unfinished(), Unfinished::default());
    let begun = client.now;
    let packet = Packet::Publish(publish("a", Qos::AtMostOnce, 0, "hello"));
    let bytes = packet.encode(Version::V5);
    client.send_bytes(&bytes[..3]);
    client.now += Duration::from_secs(1);
    client.send_bytes(&bytes[3..5]);
    let since = Some(begun);
    assert_eq!(client.mqtt.unfinished(), Unfinished { bytes: 5, since });
    client.send_bytes(&[&bytes[5..], &bytes[..2]].concat());
    let since = Some(client.now);
    assert_eq!(client.mqtt.unfinished(), Unfinished { bytes: 2, since });
    client.send_bytes(&bytes[2..]);
    assert_eq!(client.mqtt.unfinished(), Unfinished::default());
}

#[test]
fn when_the_server_stops_a_client_of_5_0_is_referred_to_another_server() {
    let reconnect = || Notice::Reconnect {
        after: Duration::from_secs(1),
    };
    let stopped = |version, packet_size| {
        let mut connect = connect(version);
        connect.properties = (version == Version::V5).then(|| {
            Box::new(Properties {
                maximum_packet_size: packet_size,
                ..Properties::default()
            })
        });
        let mut client = Client::unconnected(version);
        client.mqtt = Mqtt::new(1 << 16).with_server_reference(Some("other.example:8883"));
        client.send(Packet::Connect(Box::new(connect)));
        client.others.clear();
        client.welcome(None, false, &[]);
        client.packets.clear();
        client.notice(reconnect());
        assert_eq!(client.closed, Some(1012));
        client.take()
    };
    let [Packet::Disconnect(disconnect)] = &stopped(Version::V5, None)[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::USE_ANOTHER_SERVER);
    let reference = disconnect
        .properties
        .as_ref()
        .unwrap()
        .server_reference
        .clone();
    assert_eq!(reference.as_deref(), Some("other.example:8883"));
    // It does not fit, or is unknown to the version.
    let [Packet::Disconnect(disconnect)] = &stopped(Version::V5, Some(50))[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::SERVER_SHUTTING_DOWN);
    assert_eq!(stopped(Version::V3, None), []);
    // Without another server, nothing changes.
    let mut client = Client::of(Version::V5);
    client.notice(reconnect());
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::SERVER_SHUTTING_DOWN);
}

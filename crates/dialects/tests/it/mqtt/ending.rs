//! Subscriptions and messages that end, expire or are replaced while something is awaited.

use super::*;

fn unsubscribe(packet_id: u16, filter: &str) -> Packet {
    Packet::Unsubscribe(Unsubscribe {
        packet_id,
        properties: None,
        filters: vec![filter.into()],
    })
}

fn subscribe(packet_id: u16, filter: &str, options: Options) -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id,
        properties: None,
        filters: vec![(filter.into(), options)],
    })
}

/// The packet identifiers and the reasons of SUBACKs.
fn granted(packets: Vec<Packet>) -> Vec<(u16, Vec<Reason>)> {
    let acks = packets.into_iter().filter_map(|packet| match packet {
        Packet::SubAck(acks) => Some((acks.packet_id, acks.reasons)),
        _ => None,
    });
    acks.collect()
}

#[test]
fn a_subscription_that_the_client_ends_or_replaces_before_the_answer_was_granted() {
    let unanswered = || Refusal::new(ErrorCode::NotSubscribed, "unsubscribed before it began");
    for version in [Version::V3, Version::V5] {
        let mut client = Client::of(version);
        client.send(subscribe(9, "b", qos(Qos::AtLeastOnce)));
        client.send(unsubscribe(10, "b"));
        client.reply(Reply::Refused(unanswered()));
        // 5.0 §3.9.3 and 3.1.1 §3.9.3 allow only some codes; MQTT.js ends the connection otherwise.
        assert_eq!(granted(client.take()), [(9, vec![Reason::GRANTED_1])]);

        let mut client = Client::of(version);
        client.send(subscribe(9, "b", qos(Qos::AtMostOnce)));
        client.send(subscribe(10, "b", qos(Qos::ExactlyOnce)));
        client.reply(Reply::Refused(unanswered()));
        assert_eq!(granted(client.take()), [(9, vec![Reason::SUCCESS])]);
    }
}

#[test]
fn a_released_message_of_an_ended_subscription_is_gone_once_the_client_has_completed_it() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let id = messages(client.take())[0].packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    client.send(unsubscribe(10, "b"));
    client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("b").unwrap().into(),
    });
    client.reply(Reply::Remembered);
    let mut after = client.comes_back();
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(id))]);
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(
        after.comes_back().take()[1..],
        [],
        "it is not released again"
    );

    // The same, if the subscription ends on the connection that released it again.
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    let mut after = client.comes_back();
    after.send(Packet::PubComp(ack(id)));
    after.send(unsubscribe(10, "b"));
    after.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("b").unwrap().into(),
    });
    after.reply(Reply::Remembered);
    assert_eq!(
        after.comes_back().take()[1..],
        [],
        "it is not released again"
    );
}

#[test]
fn a_client_cannot_pile_up_subscriptions_to_a_filter_whose_answer_it_awaits() {
    let mut client = Client::of(Version::V5);
    for packet_id in 1..=5_000 {
        client.send(subscribe(packet_id, "b", qos(Qos::AtLeastOnce)));
        while client.mqtt.readiness() == Readiness::HasMore {
            client.send_bytes(&[]);
        }
    }
    assert_eq!(client.asked.len(), 1, "each would be asked for");
    let answers = granted(client.take());
    assert!(answers.len() > 3_000, "{} were refused", answers.len());
    assert_eq!(answers[0].1, [Reason::QUOTA_EXCEEDED]);
}

#[test]
fn a_filter_subscribed_to_again_while_it_is_restored_is_answered_even_if_it_is_ended() {
    let mut client = Client::durable(Version::V3);
    client.send(subscribe(9, "b", qos(Qos::AtMostOnce)));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    let pause = Duration::from_secs(1);
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast").after(pause);
    after.reply(Reply::Refused(refusal));
    after.send(subscribe(20, "b", qos(Qos::AtMostOnce)));
    after.send(unsubscribe(21, "b"));
    after.tick(after.now + pause);
    while let Some((_, command)) = after.asked.first() {
        let reply = match command {
            Command::Unsubscribe { .. } => Reply::Unsubscribed {
                subscription: ChannelName::new("b").unwrap().into(),
            },
            _ => Reply::Remembered,
        };
        after.reply(reply);
    }
    assert_eq!(granted(after.take()), [(20, vec![Reason::SUCCESS])]);
}

#[test]
fn a_message_of_qos_2_that_was_published_is_not_published_again_however_late_it_is_repeated() {
    let mut client = Client::durable(Version::V3);
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    client.reply(Reply::Remembered);
    client.reply(PUBLISHED);
    assert_eq!(client.take(), [Packet::PubRec(ack(5))]);
    // By now the broker may have forgotten the key.
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    let published = after
        .asked
        .iter()
        .any(|(_, c)| matches!(c, Command::Publish { .. }));
    assert!(!published, "{:?}", after.asked);
    assert_eq!(after.take(), [Packet::PubRec(ack(5))]);
    // A client that has lost its state uses the identifier for another message.
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::Publish(publish(
        "a",
        Qos::ExactlyOnce,
        5,
        "another",
    )));
    let published = after
        .asked
        .iter()
        .any(|(_, c)| matches!(c, Command::Publish { .. }));
    assert!(published, "{:?}", after.asked);
}

#[test]
fn a_stored_subscription_that_the_session_does_not_know_does_not_continue() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let snapshot = |number| SubscriptionSnapshot {
        target: ChannelName::new("b").unwrap().into(),
        id: Some(SubscriptionId(number)),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let mut all = vec![snapshot(number), snapshot(number + 1)];
    client.mqtt.select_restored(&client.note, &mut all);
    assert_eq!(all, [snapshot(number)]);
    client
        .mqtt
        .select_restored(b"a note of another dialect", &mut all);
    assert!(all.is_empty());
}

#[test]
fn retained_messages_of_qos_0_do_not_wait_for_acknowledgements_of_others() {
    let mut client = Client::new(narrow());
    let number = client.subscribe("a", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    for offset in 1..=3 {
        client.deliver(number, &publication("a", "hi", &[]), offset, 0);
    }
    assert_eq!(client.take().len(), 2, "the window is full");
    client.send(subscribe(10, "b", qos(Qos::AtMostOnce)));
    let value = publication("b", "old", &[("key", "retained")]);
    retained(&mut client, &[value]);
    // Otherwise newer messages of the topic, which do not wait, would overtake it.
    let sent = client.take().into_iter();
    let sent = sent.filter(|packet| matches!(packet, Packet::Publish(_)));
    assert_eq!(payloads(sent.collect()), ["old"]);
}

#[test]
fn a_message_that_expires_at_once_is_delivered_to_those_who_are_there() {
    let connect = Connect {
        properties: None,
        ..connect(Version::V5)
    };
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let Some(Intent::Connect(connect)) = client.others.pop() else {
        panic!("no connect");
    };
    let message = publication("b", "now", &[("expiry", "0")]);
    let shared = client.mqtt.encoding(&connect).publication(&message);
    client.hear(vec![shared.message]);
    assert_eq!(payloads(client.take()), ["now"]);
}

#[test]
fn a_session_whose_note_cannot_be_read_is_not_present() {
    for (note, is_present) in [(&b""[..], true), (b"a note of a newer version", false)] {
        let mut client = Client::unconnected(Version::V5);
        client.send(Packet::Connect(Box::new(connect(Version::V5))));
        client.welcome(Some(Duration::from_secs(9)), true, note);
        let [Packet::ConnAck(connack)] = &client.take()[..] else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.session_present, is_present);
    }
}

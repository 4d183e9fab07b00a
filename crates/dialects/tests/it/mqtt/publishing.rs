//! Messages of the client, and their acknowledgements.

use super::*;

#[test]
fn a_message_of_qos_1_is_acknowledged_once_it_is_published() {
    let mut client = Client::of(Version::V3);
    client.send(Packet::Publish(publish(
        "a/b",
        Qos::AtLeastOnce,
        5,
        "{\"x\":1}",
    )));
    assert_eq!(client.take(), []);
    let Command::Publish {
        channel,
        data,
        format,
        tags,
        key,
    } = client.reply(PUBLISHED)
    else {
        panic!("not published");
    };
    assert_eq!(
        (channel.as_str(), &data[..], format),
        ("a/b", &b"{\"x\":1}"[..], Format::Json)
    );
    assert_eq!((tags.get("mqtt"), key), (Some("1"), None));
    assert_eq!(client.take(), [Packet::PubAck(ack(5))]);
}

#[test]
fn a_message_of_qos_2_is_published_once_even_if_it_is_received_several_times() {
    let mut client = Client::durable(Version::V5);
    let message = publish("a", Qos::ExactlyOnce, 5, "x");
    client.send(Packet::Publish(message.clone()));
    // The number of its key is stored before it is published.
    assert!(matches!(
        client.reply(Reply::Remembered),
        Command::Remember { .. }
    ));
    client.send(Packet::Publish(message.clone()));
    let Command::Publish { key: Some(key), .. } = client.reply(PUBLISHED) else {
        panic!("not published under a key");
    };
    assert!(client.asked.is_empty(), "published twice");
    client.send(Packet::Publish(message.clone()));
    assert_eq!(
        client.take(),
        [Packet::PubRec(ack(5)), Packet::PubRec(ack(5))]
    );
    client.send(Packet::PubRel(ack(5)));
    assert_eq!(
        client.take(),
        [],
        "the identifier is still in the stored note"
    );
    client.reply(Reply::Remembered);
    assert_eq!(client.take(), [Packet::PubComp(ack(5))]);
    // From now on, the same identifier is a different message.
    client.send(Packet::Publish(message));
    client.reply(Reply::Remembered);
    let Command::Publish { key: next, .. } = client.reply(PUBLISHED) else {
        panic!("not published");
    };
    assert_ne!(next, Some(key));
}

#[test]
fn a_message_of_qos_2_repeated_after_a_crash_has_the_same_key() {
    let mut before = Client::durable(Version::V5);
    let mut message = publish("a", Qos::ExactlyOnce, 5, "x");
    before.send(Packet::Publish(message.clone()));
    let Command::Remember { note, .. } = before.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let Some((_, Command::Publish { key, .. })) = before.asked.pop() else {
        panic!("not published");
    };
    let again = |dup, payload: &'static str| {
        let mut after = Client::unconnected(Version::V5);
        after.send(Packet::Connect(Box::new(connect(Version::V5))));
        after.welcome(Some(Duration::from_secs(9)), true, &note);
        after.packets.clear();
        message.dup = dup;
        message.payload = payload.into();
        after.send(Packet::Publish(message.clone()));
        match after.asked.pop() {
            Some((_, Command::Publish { key, .. })) => key,
            other => panic!("{other:?}"),
        }
    };
    let mut again = again;
    assert_eq!(again(true, "x"), key);
    assert_eq!(again(false, "x"), key, "MQTT.js omits the DUP flag");
    assert_ne!(again(false, "y"), key, "it is a different message");
}

#[test]
fn a_new_session_of_the_same_client_does_not_reuse_keys() {
    let mut keys = Vec::new();
    for unix_ms in [1_000_000, 1_000_001] {
        let mut client = Client::unconnected(Version::V5);
        client.unix_ms = unix_ms;
        client.send(Packet::Connect(Box::new(connect(Version::V5))));
        client.welcome(Some(Duration::from_secs(9)), false, &[]);
        client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 1, "x")));
        client.reply(Reply::Remembered);
        let Some((_, Command::Publish { key: Some(key), .. })) = client.asked.pop() else {
            panic!("not published under a key");
        };
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_refused_message_gets_a_reason_code_in_5_0_and_ends_the_connection_in_3_1_1() {
    let refused = || {
        let detail = "no";
        Reply::Refused(Refusal::new(ErrorCode::Forbidden, detail))
    };
    let mut new = Client::of(Version::V5);
    new.send(Packet::Publish(publish("a", Qos::AtLeastOnce, 5, "x")));
    new.reply(refused());
    let [Packet::PubAck(ack)] = &new.take()[..] else {
        panic!("no acknowledgement");
    };
    assert_eq!((ack.packet_id, ack.reason), (5, Reason::NOT_AUTHORIZED));
    assert_eq!(new.closed, None);
    let mut old = Client::of(Version::V3);
    old.send(Packet::Publish(publish("a", Qos::AtLeastOnce, 5, "x")));
    old.reply(refused());
    assert_eq!((old.take(), old.closed), (vec![], Some(1008)));
}

#[test]
fn a_rate_limited_client_is_not_read_until_its_messages_are_published() {
    let mut client = Client::of(Version::V3);
    for id in 1..=2 {
        client.send(Packet::Publish(publish("a", Qos::AtLeastOnce, id, "x")));
    }
    let limited = Refusal::new(ErrorCode::RateLimited, "slow down");
    let limited = limited.after(Duration::from_secs(1));
    client.reply(Reply::Refused(limited.clone()));
    client.reply(Reply::Refused(limited));
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    let due = client.mqtt.poll_timeout().unwrap();
    let mut intents = Vec::new();
    client.mqtt.handle_timeout(due, &mut intents);
    intents
        .into_iter()
        .for_each(|intent| client.carry_out(intent));
    client.reply(PUBLISHED);
    client.reply(PUBLISHED);
    assert_eq!(
        client.take(),
        [Packet::PubAck(ack(1)), Packet::PubAck(ack(2))]
    );
    assert_eq!(client.mqtt.readiness(), Readiness::Ready);
}

#[test]
fn messages_refused_temporarily_are_published_later_in_the_order_in_which_they_were_sent() {
    let mut client = Client::of(Version::V5);
    for (id, text) in [(1, "1"), (2, "2"), (3, "3")] {
        client.send(Packet::Publish(publish("a", Qos::AtLeastOnce, id, text)));
    }
    let asked = std::mem::take(&mut client.asked);
    let mut answer = |which: usize, reply| {
        let id = Some(asked[which].0);
        client.notice(Notice::Reply { id, reply });
    };
    let refused = |code| Reply::Refused(Refusal::new(code, "later"));
    // The engine refuses the third for its rate, and then the broker has no room for the second.
    answer(2, refused(ErrorCode::RateLimited));
    answer(0, PUBLISHED);
    answer(1, refused(ErrorCode::Busy));
    let due = client.mqtt.poll_timeout().unwrap();
    client.tick(due);
    let again = client.asked.iter().map(|(_, command)| match command {
        Command::Publish { data, .. } => data.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(again.collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn a_message_is_delivered_with_the_lower_of_both_qos() {
    let mut client = Client::of(Version::V3);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    for (said, expected) in [
        ("0", Qos::AtMostOnce),
        ("1", Qos::AtLeastOnce),
        ("2", Qos::ExactlyOnce),
    ] {
        client.deliver(number, &publication("b", "hi", &[("mqtt", said)]), 7, 0);
        let [Packet::Publish(message)] = &client.take()[..] else {
            panic!("not delivered");
        };
        assert_eq!(message.qos, expected);
        let id = message.packet_id;
        match expected {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => client.send(Packet::PubAck(ack(id))),
            Qos::ExactlyOnce => {
                client.send(Packet::PubRec(ack(id)));
                assert_eq!(client.take(), [Packet::PubRel(ack(id))]);
                client.send(Packet::PubComp(ack(id)));
            }
        }
    }
    assert_eq!(client.told, vec![done(number, 7); 3]);
}

#[test]
fn a_message_of_qos_0_that_waited_is_delivered_with_the_time_that_is_left_or_not_at_all() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.subscribe("b", qos(Qos::AtMostOnce)), None);
    client.take();
    let publication = publication("b", "hi", &[("mqtt", "0"), ("expiry", "5")]);
    let shared = Shared {
        publication: Some(Arc::clone(&publication)),
        ..Shared::whole("".to_owned())
    };
    let mut late = |unix_ms| {
        let recipient = Recipient {
            unix_ms,
            ..Recipient::PLAIN
        };
        client.mqtt.head(&recipient, &shared)
    };
    let Head::Whole(payload) = late(3_000) else {
        panic!("not delivered");
    };
    assert_eq!(late(5_000), Head::Nothing);
    client.hear(vec![payload]);
    let [message] = &messages(client.take())[..] else {
        panic!("no message");
    };
    let left = message
        .properties
        .as_ref()
        .and_then(|all| all.message_expiry);
    assert_eq!(left, Some(2));
}

//! Subscriptions, their answers, and retained messages.

use super::*;

#[test]
fn subscriptions_of_qos_0_share_encoded_messages_and_those_of_qos_1_are_acknowledged() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.subscribe("a/+", qos(Qos::AtMostOnce)), None);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let suback = |packet: &Packet| match packet {
        Packet::SubAck(acks) => acks.reasons.clone(),
        other => panic!("{other:?}"),
    };
    let granted: Vec<_> = client.take().iter().map(suback).collect();
    assert_eq!(granted, [[Reason::SUCCESS], [Reason::GRANTED_1]]);
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    assert_eq!(
        (message.qos, &message.payload[..]),
        (Qos::AtLeastOnce, &b"hi"[..])
    );
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn retained_messages_are_sent_after_the_suback_with_the_retain_flag() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b/#".into(), qos(Qos::AtLeastOnce))],
    }));
    let Some((_, Command::Subscribe(wish))) = client.asked.first().cloned() else {
        panic!("not subscribed");
    };
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    client.take();
    let Some((_, Command::Values { filter, after, .. })) = client.asked.first().cloned() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!((filter.as_str(), after), ("b/#", None));
    let next = ChannelName::new("b/x").ok();
    client.reply(Reply::Values {
        filter: filter.clone(),
        values: vec![publication("b/x", "old", &[("key", "retained")])],
        next: next.clone(),
    });
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("nothing was retained");
    };
    assert!(message.retain && !message.dup && message.qos == Qos::AtLeastOnce);
    // The next page is requested after the first.
    let Some((_, Command::Values { after, .. })) = client.asked.first() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(*after, next);
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [], "the engine did not deliver it");
}

#[test]
fn a_subscription_to_a_channel_without_history_is_granted_qos_0() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::ExactlyOnce))],
    }));
    let no = Refusal::new(ErrorCode::NoHistory, "none");
    client.reply(Reply::Refused(no));
    let Some((_, Command::Subscribe(wish))) = client.asked.first().cloned() else {
        panic!("not asked again");
    };
    assert_eq!(wish.flow, Flow::Pushed);
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SUCCESS]);
}

#[test]
fn each_filter_has_its_own_answer() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![
            ("$share/g".into(), Options::default()),
            ("a+".into(), Options::default()),
        ],
    }));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::TOPIC_FILTER_INVALID; 2]);
    client.send(Packet::Unsubscribe(Unsubscribe {
        packet_id: 10,
        properties: None,
        filters: vec!["a".into()],
    }));
    let [Packet::UnsubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::NO_SUBSCRIPTION_EXISTED]);
}

#[test]
fn a_released_message_of_a_filter_is_not_sent_again_in_the_epoch_after_a_crash() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::PubComp(ack(id)));
    // The order of a filter continues in the epoch of the new start.
    after.epoch = 2;
    after.deliver(number, &publication("b/x", "hi", &[]), 7, 1);
    assert_eq!(after.take(), []);
    let done = Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(number)),
        position: Position::new(2, 7),
        cumulative: false,
    };
    assert_eq!(after.told, [done]);
}

#[test]
fn retained_messages_that_the_client_has_not_acknowledged_come_again_on_the_next_connection() {
    let mut client = Client::durable(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b/#".into(), qos(Qos::ExactlyOnce))],
    }));
    let value = |name: &str, sequence| {
        let value = publication(name, "old", &[("key", "retained")]);
        Arc::new(Publication {
            sequence,
            ..Publication::clone(&value)
        })
    };
    let values = [value("b/x", 3), value("b/y", 4)];
    retained(&mut client, &values);
    let sent = messages(client.take());
    assert_eq!(sent.len(), 2);
    let (first, second) = (sent[0].packet_id, sent[1].packet_id);
    client.send(Packet::PubRec(ack(first)));

    let mut after = client.comes_back();
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(first))]);
    retained(&mut after, &values);
    let again = messages(after.take());
    let [again] = &again[..] else {
        panic!("{again:?}");
    };
    assert_eq!((again.packet_id, &*again.topic), (second, "b/y"));
    after.send(Packet::PubComp(ack(first)));
    after.send(Packet::PubRec(ack(second)));
    after.send(Packet::PubComp(ack(second)));
    // All have arrived: nothing comes again.
    let last = after.comes_back();
    assert!(last.asked.is_empty(), "{:?}", last.asked);
}

#[test]
fn a_subscription_of_qos_0_that_is_refused_for_its_rate_on_the_next_connection_is_made_later() {
    let mut client = Client::durable(Version::V3);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtMostOnce))],
    }));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    let pause = Duration::from_secs(1);
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast").after(pause);
    after.reply(Reply::Refused(refusal));
    assert!(after.asked.is_empty());
    after.tick(after.now + pause);
    let Some((_, Command::Subscribe(wish))) = after.asked.first() else {
        panic!("the subscription is lost: {:?}", after.asked);
    };
    assert_eq!(wish.target.as_str(), "b");
}

#[test]
fn a_client_is_disconnected_when_a_subscription_of_qos_0_is_not_allowed_any_more() {
    let mut client = Client::durable(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtMostOnce))],
    }));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    after.take();
    after.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let [Packet::Disconnect(Reasoned { reason, .. })] = &after.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(*reason, Reason::NOT_AUTHORIZED);
}

#[test]
fn messages_that_wait_for_the_client_are_not_lost_when_it_lowers_the_qos() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let never = Options {
        retain_handling: RetainHandling::Never,
        ..Options::default()
    };
    let [Packet::SubAck(acks)] = &renew(&mut client, "b", never)[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SUCCESS]);
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [message] = &messages(client.take())[..] else {
        panic!("not delivered");
    };
    assert_eq!(message.qos, Qos::AtMostOnce);
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn no_local_may_change_while_messages_wait() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let no_local = Options {
        no_local: true,
        retain_handling: RetainHandling::Never,
        ..qos(Qos::AtLeastOnce)
    };
    renew(&mut client, "b", no_local);
    let own = |session| {
        Arc::new(Publication {
            publisher: Some(Publisher {
                session: SessionId::from_bytes([session; 16]),
                user: "".into(),
            }),
            ..Publication::clone(&publication("b", "hi", &[]))
        })
    };
    client.deliver(number, &own(7), 7, 0);
    assert_eq!(
        (client.take(), &client.told[..]),
        (vec![], &[done(number, 7)][..])
    );
    client.deliver(number, &own(8), 8, 0);
    assert_eq!(messages(client.take()).len(), 1);
}

#[test]
fn a_filter_that_is_subscribed_to_again_before_the_answer_shares_the_answer() {
    let mut client = Client::of(Version::V5);
    for packet_id in [9, 10] {
        client.send(Packet::Subscribe(Subscribe {
            packet_id,
            properties: None,
            filters: vec![("b".into(), qos(Qos::AtLeastOnce))],
        }));
    }
    assert_eq!(client.take(), [], "nothing is granted yet");
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let reasons: Vec<_> = client
        .take()
        .into_iter()
        .map(|packet| match packet {
            Packet::SubAck(acks) => (acks.packet_id, acks.reasons),
            other => panic!("{other:?}"),
        })
        .collect();
    let no = vec![Reason::NOT_AUTHORIZED];
    assert_eq!(reasons, [(9, no.clone()), (10, no)]);
}

#[test]
fn subscribing_again_counts_against_the_rate_and_stores_nothing_if_it_is_refused() {
    let mut client = Client::durable(Version::V5);
    client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 10,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtLeastOnce))],
    }));
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast");
    assert_eq!(client.reply(Reply::Refused(refusal)), Command::Ping);
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::QUOTA_EXCEEDED]);
    assert!(client.asked.is_empty(), "{:?}", client.asked);
}

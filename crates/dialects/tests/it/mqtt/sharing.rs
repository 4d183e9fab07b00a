//! Shared subscriptions: a client as a member of a group.

use super::*;

#[test]
fn a_shared_filter_becomes_a_member_of_a_group_beside_the_clients_own_subscription() {
    for version in [Version::V3, Version::V5] {
        let mut client = Client::of(version);
        let own = client.subscribe("a/+", qos(Qos::AtLeastOnce));
        ask_for(&mut client, "$share/g/a/+", qos(Qos::AtLeastOnce));
        let share = group_asked(&client).unwrap();
        assert_eq!((share.group.as_str(), share.keep), ("g", Duration::ZERO));
        let Some((_, Command::Subscribe(wish))) = client.asked.last() else {
            panic!("nothing is asked");
        };
        assert_eq!(wish.target.as_str(), "a/+");
        assert!(matches!(wish.flow, Flow::Acknowledged { .. }));
        assert_ne!(wish.id.map(|id| id.0), own);
        let subscription = wish.name();
        client.reply(Reply::Subscribed {
            subscription,
            position: Position::new(1, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        let [Packet::SubAck(_), Packet::SubAck(acks)] = &client.take()[..] else {
            panic!("no answers");
        };
        assert_eq!(acks.reasons, [Reason::GRANTED_1]);
        // §3.8.3.1: it gets no retained messages.
        assert!(client.asked.is_empty(), "{:?}", client.asked);
        client.send(Packet::Unsubscribe(Unsubscribe {
            packet_id: 10,
            properties: None,
            filters: vec!["$share/other/a/+".into(), "$share/g/a/+".into()],
        }));
        let [(_, Command::Unsubscribe { subscription })] = &client.asked[..] else {
            panic!("{:?}", client.asked);
        };
        assert_ne!(
            *subscription,
            SubscriptionKey::Id(SubscriptionId(own.unwrap()))
        );
    }
}

#[test]
fn a_shared_subscription_of_qos_0_acknowledges_what_it_sends() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("$share/g/a", Options::default()).unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 1);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    assert_eq!((message.qos, message.dup), (Qos::AtMostOnce, false));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_that_another_member_had_before_is_no_duplicate() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::AtLeastOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 3);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    assert_eq!((message.qos, message.dup), (Qos::AtLeastOnce, false));
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_of_qos_2_belongs_to_its_member_once_it_is_received() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::ExactlyOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    let id = message.packet_id;
    assert_eq!(client.told, []);
    client.send(Packet::PubRec(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
    assert_eq!(client.take(), [Packet::PubRel(ack(id))]);
    client.send(Packet::PubComp(ack(id)));
    assert_eq!(client.told, [done(number, 7)], "acknowledged twice");
}

#[test]
fn a_session_that_outlives_its_connection_shares_with_qos_1_at_most() {
    let mut client = Client::durable(Version::V5);
    client.subscribe("$share/g/a", qos(Qos::ExactlyOnce));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::GRANTED_1]);
    // It is a member again, without being asked.
    let after = client.comes_back();
    assert!(after.asked.is_empty(), "{:?}", after.asked);
}

#[test]
fn a_channel_without_history_cannot_be_shared() {
    let mut client = Client::of(Version::V5);
    ask_for(&mut client, "$share/g/a", qos(Qos::AtLeastOnce));
    client.reply(Reply::Refused(Refusal::new(ErrorCode::NoHistory, "none")));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED]);
}

#[test]
fn a_gap_of_its_group_does_not_keep_a_member_from_acknowledging_what_it_has() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::AtLeastOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    client.notice(Notice::Gap {
        subscription: SubscriptionName {
            target: ChannelName::new("a").unwrap().into(),
            id: Some(SubscriptionId(number)),
        },
        from: Position::new(1, 2),
        to: Position::new(1, 9),
        reason: GapReason::EvictedBySize,
        agreed: None,
    });
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

//! Messages of QoS 1 and 2 on their way to the client, over lost connections and crashes.

use super::*;

#[test]
fn a_client_that_has_lost_its_state_may_use_an_unreleased_identifier_for_another_message() {
    let mut client = Client::durable(Version::V5);
    let key = |client: &Client| match &client.asked.last().unwrap().1 {
        Command::Publish { key, .. } => key.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    let before = key(&client);
    let again = |payload| {
        let mut after = client.comes_back();
        after.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, payload)));
        key(&after)
    };
    assert_eq!(again("x"), before, "it is the same message");
    assert_ne!(again("another"), before);
}

#[test]
fn a_pubrel_is_stored_before_it_is_sent_and_is_sent_again_after_a_crash() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    assert_eq!(client.take(), []);
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    assert_eq!(client.take(), [Packet::PubRel(ack(id))]);

    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(id))]);
    // The engine delivers it again, because it was not completed.
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    assert_eq!(after.take(), []);
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(after.told, [done(number, 7)]);
}

#[test]
fn releases_are_repeated_in_the_order_in_which_the_client_received_the_messages() {
    for version in [Version::V3, Version::V5] {
        let mut client = Client::durable(version);
        let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
        client.take();
        for offset in 1..=40 {
            client.deliver(number, &publication("b", "hi", &[]), offset, 0);
        }
        let sent = messages(client.take());
        let ids: Vec<_> = sent.iter().map(|message| message.packet_id).collect();
        assert_eq!(ids.len(), 40);
        for id in &ids {
            client.send(Packet::PubRec(ack(*id)));
        }
        // A client such as MQTT.js passes a message on when it gets the PUBREL.
        let again = client.comes_back().comes_back().take();
        let releases: Vec<_> = ids.iter().map(|id| Packet::PubRel(ack(*id))).collect();
        assert_eq!(again[1..], releases);
    }
}

#[test]
fn a_message_that_the_client_has_completed_is_not_released_again_on_the_next_connection() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let id = messages(client.take())[0].packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    assert_eq!(client.comes_back().take()[1..], [Packet::PubRel(ack(id))]);
    client.send(Packet::PubComp(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
    assert_eq!(client.comes_back().take()[1..], []);
}

#[test]
fn a_message_completed_before_its_redelivery_is_not_sent_again() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    after.take();
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(
        after.told,
        [],
        "the engine has not delivered it on this connection"
    );
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    assert_eq!((after.take(), after.told), (vec![], vec![done(number, 7)]));
}

#[test]
fn done_commands_are_stored_together_with_the_note_that_omits_their_messages() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    // In one read: a message, which is published after a note, and the completion of the other.
    let bytes = [
        Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")).encode(Version::V5),
        Packet::PubComp(ack(id)).encode(Version::V5),
    ]
    .concat();
    let mut intents = Vec::new();
    let incoming = Incoming::Binary(&bytes);
    client.mqtt.receive(incoming, client.now, &mut intents);
    let commands: Vec<_> = intents
        .iter()
        .map(|intent| match intent {
            Intent::Command { command, .. } => match command {
                Command::Done { .. } => "done",
                Command::Remember { .. } => "remember",
                Command::Publish { .. } => "publish",
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commands, ["done", "remember", "publish"]);
}

#[test]
fn a_message_completed_before_a_crash_does_not_stay_in_flight() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        receive_maximum: Some(1),
        session_expiry: Some(100),
        ..Properties::default()
    }));
    let mut client = Client::new(connect.clone());
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect)));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    after.send(Packet::PubComp(ack(id)));
    after.take();
    // The engine was told that it is done, and continues with the next message.
    after.deliver(number, &publication("b", "next", &[]), 8, 0);
    assert!(matches!(after.take()[..], [Packet::Publish(_)]));
}

#[test]
fn an_unacknowledged_message_is_sent_again_with_the_same_identifier() {
    let mut first = Client::durable(Version::V5);
    let number = first.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    first.take();
    let note = {
        first.send(Packet::PingReq);
        first.take();
        first.subscribe("c", qos(Qos::AtLeastOnce));
        first.take();
        first.deliver(number, &publication("b", "hi", &[]), 7, 0);
        first.take()
    };
    let [Packet::Publish(before)] = &note[..] else {
        panic!("not delivered");
    };
    let mut after = Client::durable(Version::V5);
    let number = after.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    after.take();
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    let [Packet::Publish(again)] = &after.take()[..] else {
        panic!("not delivered again");
    };
    assert_eq!((again.packet_id, again.dup), (before.packet_id, true));
}

#[test]
fn no_more_messages_are_in_flight_than_the_receive_maximum() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        receive_maximum: Some(2),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    for offset in 1..=4 {
        client.deliver(number, &publication("b", "hi", &[]), offset, 0);
    }
    let sent = client.take();
    assert_eq!(sent.len(), 2);
    let Packet::Publish(first) = &sent[0] else {
        panic!("{sent:?}");
    };
    client.send(Packet::PubAck(ack(first.packet_id)));
    assert_eq!(client.take().len(), 1);
}

#[test]
fn a_message_that_was_held_is_sent_before_the_engine_may_deliver_the_next_one() {
    let mut client = Client::new(narrow());
    let number = client.subscribe("a", qos(Qos::AtLeastOnce)).unwrap();
    client.subscribe("b", qos(Qos::AtLeastOnce));
    client.take();
    for (offset, data) in [(1, "1"), (2, "2"), (3, "3")] {
        client.deliver(number, &publication("a", data, &[]), offset, 0);
    }
    let sent = messages(client.take());
    assert_eq!(sent.len(), 2);
    // In one read: the client acknowledges both.
    let acks = sent.iter().map(|message| ack(message.packet_id));
    let bytes: Vec<_> = acks
        .flat_map(|ack| Packet::PubAck(ack).encode(Version::V5))
        .collect();
    let mut intents = Vec::new();
    let incoming = Incoming::Binary(&bytes);
    client.mqtt.receive(incoming, client.now, &mut intents);
    let mut next = [(4, "4"), (5, "5")].into_iter();
    for intent in intents {
        let is_command = matches!(intent, Intent::Command { .. });
        client.carry_out(intent);
        if is_command && let Some((offset, data)) = next.next() {
            // The engine has room for another message.
            client.deliver(number, &publication("a", data, &[]), offset, 0);
        }
    }
    assert_eq!(next.next(), None, "both are done");
    assert_eq!(payloads(client.take()), ["3", "4"]);
}

#[test]
fn messages_do_not_wait_for_those_of_an_earlier_connection_that_the_client_has_completed() {
    let mut client = Client::new(narrow());
    let a = client.subscribe("a", qos(Qos::ExactlyOnce)).unwrap();
    let b = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    for offset in 1..=2 {
        client.deliver(a, &publication("a", "a", &[]), offset, 0);
    }
    let sent = messages(client.take());
    for message in &sent {
        client.send(Packet::PubRec(ack(message.packet_id)));
    }
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(narrow())));
    after.others.clear();
    after.welcome(Some(Duration::from_secs(9)), true, &client.note);
    after.take();
    for (offset, data) in [(1, "1"), (2, "2"), (3, "3")] {
        after.deliver(b, &publication("b", data, &[]), offset, 0);
    }
    assert_eq!(after.take(), [], "two are released and not completed");
    // The engine has not delivered it on this connection.
    after.send(Packet::PubComp(ack(sent[0].packet_id)));
    assert_eq!(payloads(after.take()), ["1"]);
    // It delivers the other one, behind what is held for `b`.
    after.deliver(a, &publication("a", "a", &[]), 2, 1);
    assert_eq!(after.take(), []);
    after.send(Packet::PubComp(ack(sent[1].packet_id)));
    assert_eq!(payloads(after.take()), ["2"]);
    assert_eq!(after.told, [done(a, 2)]);
}

#[test]
fn messages_in_flight_before_a_gap_are_done_once_the_client_acknowledges_them() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 2, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.notice(gap(number, (2, 9), GapReason::EvictedBySize, None));
    client.send(Packet::PubAck(ack(id)));
    assert_eq!(client.told, [done(number, 2)]);
}

/// Such a gap says that channels without history may have lost something, and nothing else has.
#[test]
fn a_gap_after_a_restart_leaves_messages_in_flight() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.notice(gap(number, (6, 6), GapReason::Restarted, None));
    client.send(Packet::PubAck(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_of_a_stream_that_has_ended_keeps_its_identifier_and_is_not_taken_for_a_new_one() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "old", &[]), 5, 0);
    let [Packet::Publish(old)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let agreed = Some(Position::new(1, 3));
    client.notice(gap(number, (5, 3), GapReason::Diverged, agreed));
    client.epoch = 2;
    client.deliver(number, &publication("b/x", "new", &[]), 5, 0);
    let [Packet::Publish(new)] = &client.take()[..] else {
        panic!("the new message is not delivered");
    };
    assert_ne!(new.packet_id, old.packet_id);
    client.send(Packet::PubRec(ack(old.packet_id)));
    client.send(Packet::PubComp(ack(old.packet_id)));
    assert_eq!(client.told, [], "the engine does not wait for it any more");
}

#[test]
fn what_a_new_connection_sends_waits_until_the_note_of_the_one_before_is_on_disk() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [message] = &messages(client.take())[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    // The connection is lost while the release is being stored.
    client.send(Packet::PubRec(ack(id)));
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome_unstored(Some(Duration::from_secs(9)), true, &client.note);
    // A release that the client repeats, of a message that is not known any more.
    after.send(Packet::PubRel(ack(77)));
    assert!(matches!(after.take()[..], [Packet::ConnAck(_)]));
    assert!(matches!(
        after.reply(Reply::Remembered),
        Command::Remember { .. }
    ));
    // The PUBCOMP may have been lost with the earlier connection, so this is no error.
    let expected = [Packet::PubRel(ack(id)), Packet::PubComp(ack(77))];
    assert_eq!(after.take(), expected);
}

#[test]
fn a_release_of_nothing_is_an_error_if_the_session_ends_with_its_connection() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::PubRel(ack(77)));
    let not_found = Ack::new(77, Reason::PACKET_ID_NOT_FOUND);
    assert_eq!(client.take(), [Packet::PubComp(not_found)]);
}

//! Recovery of a session after a lost connection.

use super::*;

#[test]
fn a_session_is_recovered_from_the_last_event() {
    let (pid, offset, note) = cut(2);
    let (client, again) = Client::recoverable(&back(&pid, offset.as_deref()), Some(&note), 2000);
    assert_eq!(again, pid, "the stock client compares the ids");
    let named = client.connects[0].named.as_ref().unwrap();
    assert_eq!((&*named.name, named.fresh), (NAME, false));
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 5)));
}

#[test]
fn a_session_is_recovered_even_if_no_event_was_sent_before_the_cut() {
    let (pid, offset, note) = cut(0);
    assert_eq!(offset, None);
    let (client, again) = Client::recoverable(&back(&pid, None), Some(&note), 2000);
    assert_eq!(again, pid);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 3)));
}

#[test]
fn a_session_without_subscriptions_is_recovered() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40{"recover":true}"#);
    client.welcome_at(Some(None), 1000);
    let entered = arguments(&client.text(), "40");
    let pid = entered["pid"].as_str().unwrap();
    let [Command::Remember { note, .. }] = &client.told[..] else {
        panic!("{:?}", client.told);
    };
    let (client, again) = Client::recoverable(&back(pid, None), Some(note), 2000);
    assert_eq!(again, pid);
    assert_eq!((client.asked, client.told), (vec![], vec![]));
}

/// The stock client keeps its last offset when it receives a new id.
#[test]
fn the_offset_of_an_earlier_session_is_ignored() {
    let (_, older, _) = cut(2);
    let (mut client, pid) = Client::recoverable(r#"{"recover":true}"#, None, 5000);
    client.subscribe("1", &json!({"channel": "b"}), true);
    let note = client.remember();
    let (client, again) = Client::recoverable(&back(&pid, older.as_deref()), Some(&note), 6000);
    assert_eq!(again, pid);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 3)));
}

#[test]
fn a_client_whose_session_has_ended_gets_a_new_id() {
    let (pid, offset, _) = cut(1);
    for unix_ms in [2000, 1000, 500] {
        let (client, again) = Client::recoverable(&back(&pid, offset.as_deref()), None, unix_ms);
        assert_ne!(again, pid);
        assert!(client.asked.is_empty());
    }
    let (_, none) = Client::recoverable(&back("rubbish", Some("rubbish")), None, 2000);
    assert!(none.starts_with(NAME));
}

#[test]
fn one_offset_contains_the_positions_of_all_channels() {
    let (mut client, pid) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    let mut note = Vec::new();
    let mut numbers = Vec::new();
    for channel in ["a", "b", "c"] {
        numbers.push(client.subscribe("1", &json!({"channel": channel}), true));
        note = client.remember();
        client.text();
    }
    client.deliver(numbers[0], &publication("a", 9, b"1", Format::Json));
    client.text();
    let name = SubscriptionName {
        target: ChannelName::new("b").unwrap().into(),
        id: numbers[1].map(SubscriptionId),
    };
    client.notice(&Notice::Live {
        subscription: name,
        position: Position::new(18, 30),
    });
    let live = arguments(&client.text(), "42");
    assert_eq!(live[0], "live");
    let auth = back(&pid, live[2].as_str());
    let (client, _) = Client::recoverable(&auth, Some(&note), 2000);
    let sinces = client.asked.iter().map(|(_, command)| {
        let Command::Subscribe(wish) = command else {
            panic!("{command:?}");
        };
        wish.since
    });
    let at = |epoch, offset| Since::Position(Position::new(epoch, offset));
    assert_eq!(
        sinces.collect::<Vec<_>>(),
        [at(17, 9), at(18, 30), at(17, 3)]
    );
}

/// The server may have been killed between a subscription and the storing of its note. If another
/// subscription got the number, the client's position would be used for the wrong one.
#[test]
fn a_subscription_number_that_the_client_has_seen_is_not_used_again() {
    let (pid, _, note) = cut(0);
    let (mut client, _) = Client::recoverable(&back(&pid, None), Some(&note), 2000);
    client.asked.clear();
    let number = client.subscribe("1", &json!({"channel": "b"}), true);
    client.deliver(number, &publication("b", 9, b"1", Format::Json));
    let event = arguments(&client.text(), "42");
    let auth = back(&pid, event[2].as_str());
    let (mut client, _) = Client::recoverable(&auth, Some(&note), 3000);
    client.asked.clear();
    let next = client.subscribe("1", &json!({"channel": "c"}), true);
    assert!(next > number, "{next:?}, {number:?}");
}

#[test]
fn a_subscription_that_cannot_be_recovered_is_reported() {
    let (pid, offset, note) = cut(1);
    let (mut client, _) = Client::recoverable(&back(&pid, offset.as_deref()), Some(&note), 2000);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let event = arguments(&client.text(), "42");
    assert_eq!(event[0], "unsubscribed");
    assert_eq!(event[1]["code"], "forbidden");
    let note: Value = serde_json::from_slice(&client.remember()).unwrap();
    assert_eq!(note["subscriptions"], json!([]));
}

#[test]
fn a_subscription_whose_note_cannot_be_stored_is_refused() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    client.subscribe("1", &json!({"channel": "a"}), true);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Busy, "later")));
    let error = &arguments(&client.text(), "431")[0]["error"];
    assert_eq!(error["code"], "busy");
    assert!(matches!(client.told[..], [Command::Unsubscribe { .. }]));
}

#[test]
fn a_client_that_disconnects_is_not_recovered() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    assert!(!client.sio.leaves_with_its_transport());
    client.send("41");
    assert_eq!(client.others, [Intent::Keep(None), Intent::Leave]);
}

/// python-socketio calls a handler with all arguments of an event; with one too many, the event is
/// lost.
#[test]
fn only_clients_that_requested_recovery_get_an_offset_and_they_get_it_with_every_event() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    client.remember();
    client.text();
    client.notice(&Notice::Told {
        data: "\"volatile\"".into(),
        format: Format::Json,
    });
    client.send(r#"42["dance"]"#);
    client.deliver(number, &publication("a", 4, &[1], Format::Binary));
    client.deliver(None, &publication("b", 4, b"1", Format::Json));
    let mut events = 0;
    for message in std::mem::take(&mut client.heard) {
        let Payload::Text(text) = message else {
            continue;
        };
        let array = text.get(text.find('[').unwrap()..).unwrap();
        let event = parsed(array);
        assert_eq!(event.as_array().unwrap().len(), 3, "{event}");
        assert!(event[2].as_str().unwrap().contains('~'), "{event}");
        events += 1;
    }
    assert_eq!(events, 4);
    let mut plain = Client::connected();
    plain.notice(&Notice::Told {
        data: "1".into(),
        format: Format::Json,
    });
    assert_eq!(plain.text(), r#"42["told",{"data":1}]"#);
}

//! What is ended and begun again before the end is answered.

use super::*;

fn unsubscribed(client: &mut Client, channel: &str) {
    let command = client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new(channel).unwrap().into(),
    });
    assert!(
        matches!(command, Command::Unsubscribe { .. }),
        "{command:?}"
    );
}

#[test]
fn a_room_that_is_left_and_joined_again_at_once_is_joined() {
    for auth in ["", r#"{"recover":true}"#] {
        let mut client = with_rooms([room("room/*")], auth);
        joined(&mut client, r#"42["join","a"]"#);
        client.asked.clear();
        client.heard.clear();
        client.send(r#"421["leave","a"]"#);
        client.send(r#"422["join","a"]"#);
        let joins = client
            .asked
            .iter()
            .any(|(_, c)| matches!(c, Command::Subscribe(_)));
        assert!(joins, "the client is not in the room: {:?}", client.asked);
        unsubscribed(&mut client, "room/a");
        // It is in the room after both answers: joining again asks for nothing.
        let (id, Command::Subscribe(wish)) = client.asked.remove(0) else {
            panic!("the room is not joined");
        };
        client.notice(&Notice::Reply {
            id: Some(id),
            reply: Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(17, 3),
                live: true,
                by_server: false,
                acknowledged: false,
            },
        });
        client.asked.clear();
        client.send(r#"423["join","a"]"#);
        assert!(
            matches!(client.asked[..], [(_, Command::Ping)]),
            "{:?}",
            client.asked
        );
    }
}

#[test]
fn a_channel_can_be_subscribed_to_again_before_unsubscribing_is_answered() {
    for prefix in ["", "/n,"] {
        let mut client = Client::connected();
        if !prefix.is_empty() {
            client.send("40/n,");
        }
        client.subscribe(prefix, &json!("a"), true);
        client.heard.clear();
        client.send(&format!("42{prefix}1[\"unsubscribe\",\"a\"]"));
        client.send(&format!("42{prefix}2[\"subscribe\",\"a\"]"));
        client.says_nothing();
        unsubscribed(&mut client, "a");
        assert_eq!(client.text(), format!("43{prefix}1[{{}}]"));
        let Command::Subscribe(wish) = client.asked[0].1.clone() else {
            panic!("{:?}", client.asked);
        };
        client.reply(Reply::Subscribed {
            subscription: wish.name(),
            position: Position::new(17, 3),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        assert!(
            client
                .text()
                .starts_with(&format!("43{prefix}2[{{\"epoch\""))
        );
        // What follows refers to the second one.
        client.send(&format!("42{prefix}3[\"unsubscribe\",\"a\"]"));
        let Some((_, Command::Unsubscribe { subscription })) = client.asked.first() else {
            panic!("{:?}", client.asked);
        };
        assert_eq!(*subscription, wish.name().key());
    }
}

#[test]
fn a_subscription_whose_end_is_refused_is_still_there() {
    let mut client = Client::connected();
    client.subscribe("", &json!("a"), true);
    client.heard.clear();
    client.send(r#"421["unsubscribe","a"]"#);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Busy, "no")));
    assert_eq!(error_code(&client.text(), "431"), "busy");
    client.send(r#"422["subscribe","a"]"#);
    assert_eq!(error_code(&client.text(), "432"), "already_subscribed");
}

#[test]
fn namespaces_that_are_being_entered_count_as_entered() {
    let mut client = Client::connected();
    for n in 0..40 {
        client.send(&format!("40/n{n},{{\"token\":\"t\"}}"));
    }
    let refreshes = client.others.iter();
    let refreshes = refreshes.filter(|other| matches!(other, Intent::Refresh { .. }));
    assert_eq!(refreshes.count(), 15);
}

#[test]
fn a_client_that_leaves_a_room_and_joins_another_may_speak_at_once() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","a"]"#);
    client.heard.clear();
    client.send(r#"421["leave"]"#);
    client.send(r#"422["join","b"]"#);
    client.send(r#"423["chat message","hi"]"#);
    client.says_nothing();
    let Some((_, Command::Publish { channel, .. })) = client.asked.last() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(channel.as_str(), "room/b");
}

#[test]
fn only_subscriptions_of_the_session_that_the_client_recovers_continue() {
    let (pid, offset, note) = cut(1);
    let snapshot = |number| SubscriptionSnapshot {
        target: ChannelName::new("a").unwrap().into(),
        id: Some(SubscriptionId(number)),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let select = |auth: &str| {
        let mut client = Client::new();
        client.send(&format!("40{auth}"));
        let mut all = vec![snapshot(1), snapshot(2)];
        client.sio.select_restored(&note, &mut all);
        all
    };
    let auth = back(&pid, offset.as_deref());
    assert_eq!(select(&auth), [snapshot(1)], "the client knows one of them");
    let earlier = back(&format!("{NAME}.1"), None);
    assert_eq!(select(&earlier), [], "it was another session");
}

//! Rooms by rule.

use super::*;

#[test]
fn events_of_a_rule_join_a_room_and_are_published_in_it() {
    let mut client = with_rooms([room("room/*")], "");
    assert_eq!(joined(&mut client, r#"421["join","7"]"#), "room/7");
    assert_eq!(client.text(), r#"431[{"epoch":"17","offset":3}]"#);
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let named = tag("event", "chat message");
    for (event, data, more) in [
        (r#"42["chat message","hi"]"#, r#""hi""#, None),
        (r#"42["chat message",{"a":[1]}]"#, r#"{"a":[1]}"#, None),
        (
            r#"42["chat message"]"#,
            "[]",
            Some(tag("arguments", "several")),
        ),
        (
            r#"42["chat message",1,"b"]"#,
            r#"[1,"b"]"#,
            Some(tag("arguments", "several")),
        ),
    ] {
        let tags: Vec<_> = [named.clone()].into_iter().chain(more).collect();
        let expected = ("room/7".to_owned(), data.to_owned(), tags);
        assert_eq!(emitted(&mut client, event), expected);
    }
    let (_, _, tags) = emitted(&mut client, r#"42["typing",true]"#);
    assert_eq!(tags, [tag("event", "typing"), tag("to", "others")]);
    client.send(r#"422["leave"]"#);
    let command = client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("room/7").unwrap().into(),
    });
    assert!(
        matches!(command, Command::Unsubscribe { .. }),
        "{command:?}"
    );
    assert_eq!(client.text(), "432[{}]");
    client.send(r#"423["chat message","to nobody"]"#);
    assert_eq!(error_code(&client.text(), "433"), "not_subscribed");
}

#[test]
fn a_room_is_joined_by_a_text_a_number_or_a_field_and_by_nothing_else() {
    for (argument, channel) in [
        (r#""7""#, "room/7"),
        ("7", "room/7"),
        (r#"{"room":"7","name":"Ann"}"#, "room/7"),
        (r#"{"room":7}"#, "room/7"),
        (r#""Zoë's room""#, "room/Zoë's room"),
    ] {
        let mut client = with_rooms([room("room/*")], "");
        assert_eq!(
            joined(&mut client, &format!("42[\"join\",{argument}]")),
            channel
        );
    }
    let mut client = with_rooms([room("room/*")], "");
    for bad in [
        "null",
        "true",
        "[]",
        "{}",
        r#"{"room":{}}"#,
        r#""""#,
        r#""*""#,
    ] {
        client.send(&format!("421[\"join\",{bad}]"));
        let code = error_code(&client.text(), "431");
        assert!(
            ["bad_request", "bad_channel_name"].contains(&&*code),
            "{bad}: {code}"
        );
    }
    client.send(r#"421["join"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
}

#[test]
fn joining_twice_and_leaving_twice_succeed() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","7"]"#);
    client.send(r#"421["join","7"]"#);
    assert_eq!(client.reply(Reply::Pong), Command::Ping);
    assert_eq!(client.text(), "431[{}]");
    client.send(r#"422["leave","8"]"#);
    assert_eq!(client.reply(Reply::Pong), Command::Ping);
    assert_eq!(client.text(), "432[{}]");
}

#[test]
fn an_event_for_one_of_several_rooms_has_to_name_it() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","7"]"#);
    joined(&mut client, r#"42["join","8"]"#);
    client.send(r#"421["chat message","hi"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");

    let by = |named_by| Room {
        named_by,
        ..room("room/*")
    };
    let mut client = with_rooms([by(NamedBy::Argument)], "");
    let (channel, data, _) = emitted(&mut client, r#"42["chat message","8","hi"]"#);
    assert_eq!((&*channel, &*data), ("room/8", r#""hi""#));
    client.send(r#"421["chat message"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");

    let mut client = with_rooms([by(NamedBy::Field)], "");
    let message = r#"{"room":"8","text":"hi"}"#;
    let (channel, data, _) = emitted(&mut client, &format!("42[\"chat message\",{message}]"));
    assert_eq!((&*channel, &*data), ("room/8", message));
    client.send(r#"421["chat message",{"text":"hi"}]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
}

#[test]
fn every_client_is_in_a_room_of_everyone_and_only_in_the_main_namespace() {
    let lobby = Room {
        everyone: true,
        ..room("lobby")
    };
    let mut client = with_rooms([lobby.clone(), room("room/*")], "");
    let Command::Subscribe(wish) = client.asked.remove(0).1 else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.target.channel().unwrap().as_str(), "lobby");
    let (channel, ..) = emitted(&mut client, r#"42["chat message","hi"]"#);
    assert_eq!(
        channel, "lobby",
        "the first rule that lists an event applies"
    );
    client.send("40/other");
    assert!(client.asked.is_empty(), "{:?}", client.asked);
}

#[test]
fn an_event_of_a_room_arrives_with_its_arguments_unless_the_client_wants_publications() {
    let tagged = |data: &str, tags: &[(&str, &str)]| {
        let mut publication = publication("room/7", 4, data.as_bytes(), Format::Json);
        publication.tags = Tags::new(tags.iter().copied()).unwrap();
        publication
    };
    let several = [("event", "chat message"), ("arguments", "several")];
    let mut client = with_rooms([room("room/*")], "");
    for (data, event) in [
        (r#" [1, {"a":"]"}] "#, r#"42["chat message",1, {"a":"]"}]"#),
        ("[]", r#"42["chat message"]"#),
        ("[ ]", r#"42["chat message"]"#),
        (r#""no array""#, r#"42["chat message","no array"]"#),
    ] {
        client.deliver(None, &tagged(data, &several));
        assert_eq!(client.text(), event);
    }
    client.deliver(None, &tagged("[1]", &[("event", "x")]));
    assert_eq!(client.text(), r#"42["x",[1]]"#);

    let mut client = with_rooms([room("room/*")], r#"{"events":false}"#);
    client.deliver(None, &tagged("[1]", &several));
    assert!(
        client
            .text()
            .starts_with(r#"42["publication",{"channel":"room/7""#)
    );
}

#[test]
fn a_broadcast_is_not_delivered_to_its_sender() {
    let mut typing = publication("room/7", 4, b"true", Format::Json);
    typing.tags = Tags::new([("event", "typing"), ("to", "others")]).unwrap();
    let by = |number| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([number; 16]),
            user: "".into(),
        }),
        ..typing.clone()
    };
    let mut client = with_rooms([room("room/*")], "");
    client.deliver(None, &by(1));
    client.says_nothing();
    client.deliver(None, &by(2));
    assert_eq!(client.text(), r#"42["typing",true]"#);
    let mut usual = publication("room/7", 5, b"1", Format::Json);
    usual.publisher = by(1).publisher;
    client.deliver(None, &usual);
    assert!(client.text().starts_with("42[\"publication\""));
}

#[test]
fn bytes_are_the_only_argument_of_an_event_of_a_room() {
    let mut client = with_rooms(
        [Room {
            everyone: true,
            ..room("lobby")
        }],
        "",
    );
    client.asked.clear();
    client.send(r#"451-["chat message",{"_placeholder":true,"num":0}]"#);
    client.receive(Incoming::Binary(&[1, 2]));
    let Command::Publish { data, format, .. } = client.asked.remove(0).1 else {
        panic!("not published");
    };
    assert_eq!((&*data, format), (&[1, 2][..], Format::Binary));
    client.send(r#"451-1["chat message","x",{"_placeholder":true,"num":0}]"#);
    client.receive(Incoming::Binary(&[1, 2]));
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
}

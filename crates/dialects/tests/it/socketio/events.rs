//! Events, their acknowledgements, and attachments.

use super::*;

#[test]
fn an_event_is_acknowledged_with_its_number_in_its_namespace() {
    let mut client = Client::connected();
    client.send(r#"4212["publish",{"channel":"a","data":{"x":1},"key":"k"}]"#);
    let command = client.reply(Reply::Published {
        position: Position::new(17, 4),
        duplicate: false,
    });
    let Command::Publish {
        data, format, key, ..
    } = command
    else {
        panic!("{command:?}");
    };
    assert_eq!((&*data, format), (&br#"{"x":1}"#[..], Format::Json));
    assert_eq!(key.unwrap().as_str(), "k");
    assert_eq!(client.text(), r#"4312[{"epoch":"17","offset":4}]"#);

    client.send("40/n,");
    assert!(client.text().starts_with("40/n,{\"sid\""));
    client.send(r#"42/n,3["presence","a"]"#);
    client.reply(Reply::Members {
        channel: ChannelName::new("a").unwrap(),
        subscription: None,
        members: Vec::new(),
        total: 0,
    });
    assert_eq!(client.text(), r#"43/n,3[{"members":[],"total":0}]"#);
}

#[test]
fn an_event_without_a_number_is_answered_only_if_it_is_refused() {
    let mut client = Client::connected();
    client.send(r#"42["publish",{"channel":"a","data":1}]"#);
    client.reply(Reply::Published {
        position: Position::new(17, 4),
        duplicate: false,
    });
    client.says_nothing();
    client.send(r#"42["publish",{"channel":"a","data":1}]"#);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    assert_eq!(
        client.text(),
        r#"42["refused",{"event":"publish","code":"forbidden","message":"no","retry":"never"}]"#
    );
}

#[test]
fn the_error_for_a_refused_event_says_why() {
    let mut client = Client::connected();
    for (event, code, words) in [
        (r#"["dance"]"#, "bad_request", "expected one of subscribe"),
        ("[7]", "bad_request", "unknown event \"7\""),
        (r#"["subscribe"]"#, "bad_request", "channel: is missing"),
        (r#"["subscribe",7]"#, "bad_request", "one object"),
        (r#"["subscribe",{},1]"#, "bad_request", "one object"),
        (r#"["subscribe",""]"#, "bad_channel_name", "is empty"),
        (
            r#"["subscribe",{"channel":"a","window":0}]"#,
            "bad_request",
            "at least 1",
        ),
        (r#"["unsubscribe","a"]"#, "not_subscribed", "not subscribed"),
        (
            r#"["publish",{"channel":"a"}]"#,
            "bad_request",
            "data and base64",
        ),
        (
            r#"["publish",{"channel":"a","data":1,"key":""}]"#,
            "bad_key",
            "0 bytes",
        ),
    ] {
        client.send(&format!("421{event}"));
        let error = &arguments(&client.text(), "431")[0]["error"];
        assert_eq!(error["code"], code, "{event}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
    }
}

#[test]
fn a_refusal_says_when_to_retry() {
    let mut client = Client::connected();
    client.send(r#"421["publish",{"channel":"a","data":1}]"#);
    let refusal = Refusal::new(ErrorCode::RateLimited, "slower");
    let refusal = refusal.after(Duration::from_millis(20));
    client.reply(Reply::Refused(refusal));
    let error = &arguments(&client.text(), "431")[0]["error"];
    assert_eq!(error["retry"], "later");
    assert_eq!(error["retry_after_ms"], 20);
}

#[test]
fn bytes_are_published_and_received_as_attachments() {
    let mut client = Client::connected();
    client.send(r#"451-7["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]"#);
    assert!(client.asked.is_empty(), "the attachment has not arrived");
    // A pong in between is not part of the packet.
    client.send("3");
    client.receive(Incoming::Binary(&[1, 2, 255]));
    let command = client.reply(Reply::Pong);
    let Command::Publish { data, format, .. } = command else {
        panic!("{command:?}");
    };
    assert_eq!((&*data, format), (&[1, 2, 255][..], Format::Binary));
    client.text();

    client.deliver(None, &publication("a", 5, &[1, 2, 255], Format::Binary));
    assert_eq!(
        arguments(&client.text(), "451-"),
        json!(["publication", {"channel": "a", "epoch": "17", "offset": 5, "data": {"_placeholder": true, "num": 0}, "time": 3}])
    );
    assert_eq!(client.bytes(), [1, 2, 255]);
}

#[test]
fn a_packet_whose_attachments_have_not_come_is_reported_with_its_beginning() {
    let mut client = Client::connected();
    let begun = client.now;
    let text = r#"52-["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]"#;
    client.send(&format!("4{text}"));
    client.now += Duration::from_secs(1);
    client.receive(Incoming::Binary(&[0; 100]));
    let incomplete = Unfinished {
        bytes: text.len() + 100,
        since: Some(begun),
    };
    assert_eq!(client.sio.unfinished(), incomplete);
    client.receive(Incoming::Binary(&[0; 100]));
    assert_eq!(client.sio.unfinished(), Unfinished::default());
}

#[test]
fn an_attachment_inside_the_data_is_refused() {
    let mut client = Client::connected();
    client.send(r#"451-7["publish",{"channel":"a","data":[{"_placeholder":true,"num":0}]}]"#);
    client.receive(Incoming::Binary(&[1]));
    let error = &arguments(&client.text(), "437")[0]["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the whole `data`")
    );
}

/// The stock clients look for placeholders anywhere in a packet, and close the connection if one has
/// no attachment.
#[test]
fn pages_contain_bytes_as_base64_and_never_as_attachments() {
    let mut client = Client::connected();
    client.send(r#"421["history","a"]"#);
    client.reply(Reply::History {
        channel: ChannelName::new("a").unwrap(),
        head: Position::new(17, 2),
        publications: vec![
            Arc::new(publication("a", 1, &[1], Format::Binary)),
            Arc::new(publication(
                "a",
                2,
                br#"{"_placeholder":true,"num":9}"#,
                Format::Json,
            )),
        ],
        gap: None,
        more: false,
    });
    let all = &arguments(&client.text(), "431")[0]["publications"];
    assert_eq!(all[0]["base64"], "AQ==");
    client.says_nothing();
}

#[test]
fn all_subscribers_of_the_main_namespace_share_their_bytes() {
    let mut client = Client::connected();
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    assert_eq!(number, None);
    assert_eq!(client.text(), r#"431[{"epoch":"17","offset":3}]"#);
    client.deliver(None, &publication("a", 4, b"\"hi\"", Format::Json));
    assert_eq!(
        client.text(),
        r#"42["publication",{"channel":"a","epoch":"17","offset":4,"data":"hi","time":3}]"#
    );
}

#[test]
fn a_publication_has_the_namespace_of_its_subscription() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let number = client.subscribe("/n,1", &json!({"channel": "a"}), true);
    client.text();
    client.deliver(number, &publication("a", 4, b"text", Format::Text));
    assert_eq!(
        client.text(),
        r#"42/n,["publication",{"channel":"a","epoch":"17","offset":4,"data":"text","time":3}]"#
    );
    client.deliver(number, &publication("a", 5, &[9], Format::Binary));
    assert!(
        client
            .text()
            .starts_with(r#"451-/n,["publication",{"channel":"a","#)
    );
    assert_eq!(client.bytes(), [9]);
}

#[test]
fn the_acknowledgement_of_subscribe_says_whether_it_continues_without_a_gap() {
    let mut client = Client::connected();
    let since = json!({"epoch": "17", "offset": 1});
    for (gap, expected) in [
        (None, json!({"epoch": "17", "offset": 3, "recovered": true})),
        (
            Some(GapReason::EvictedBySize),
            json!({"epoch": "17", "offset": 3, "recovered": false, "reason": "evicted_by_size"}),
        ),
    ] {
        let channel = if gap.is_some() { "b" } else { "a" };
        client.subscribe("5", &json!({"channel": channel, "since": since}), false);
        client.says_nothing();
        let subscription = SubscriptionName::from(ChannelName::new(channel).unwrap());
        client.notice(&match gap {
            Some(reason) => Notice::Gap {
                subscription,
                from: Position::new(17, 1),
                to: Position::new(17, 2),
                reason,
                agreed: None,
            },
            None => Notice::Live {
                subscription,
                position: Position::new(17, 3),
            },
        });
        assert_eq!(arguments(&client.text(), "435"), json!([expected]));
        let event = if gap.is_some() { "gap" } else { "live" };
        assert_eq!(arguments(&client.text(), "42")[0], event);
    }
}

#[test]
fn a_second_subscription_of_a_namespace_to_a_channel_is_refused() {
    let mut client = Client::connected();
    client.subscribe("1", &json!({"channel": "a"}), true);
    client.text();
    client.send(r#"422["subscribe","a"]"#);
    let error = &arguments(&client.text(), "432")[0]["error"];
    assert_eq!(error["code"], "already_subscribed");
    client.send(r#"423["unsubscribe","a"]"#);
    let subscription = SubscriptionName::from(ChannelName::new("a").unwrap());
    client.reply(Reply::Unsubscribed { subscription });
    assert_eq!(client.text(), "433[{}]");
    client.subscribe("4", &json!("a"), true);
    assert!(client.text().starts_with("434[{\"epoch\""));
}

#[test]
fn a_publication_of_a_window_is_acknowledged_by_the_client() {
    let mut client = Client::connected();
    let number = client.subscribe("1", &json!({"channel": "a", "window": 2}), true);
    client.text();
    client.deliver(number, &publication("a", 4, b"1", Format::Json));
    client.deliver(number, &publication("a", 5, &[1], Format::Binary));
    assert!(client.text().starts_with(r#"421["publication","#));
    assert!(client.text().starts_with(r#"451-2["publication","#));
    client.bytes();
    client.send("432[]");
    client.send("432[]");
    client.send("439[]");
    let done = Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(number.unwrap())),
        position: Position::new(17, 5),
        cumulative: false,
    };
    assert_eq!(client.told, [done]);
}

#[test]
fn the_token_of_another_namespace_has_to_be_the_sessions() {
    let mut client = Client::connected();
    client.send(r#"40/admin,{"token":"newer"}"#);
    client.says_nothing();
    let Some(Intent::Refresh { id, .. }) = client.others.pop() else {
        panic!("no refresh");
    };
    let id = Some(id);
    let reply = Reply::Refused(Refusal::new(ErrorCode::Unauthenticated, "of another user"));
    client.notice(&Notice::Reply { id, reply });
    assert!(
        client
            .text()
            .starts_with("44/admin,{\"message\":\"of another user\"")
    );
    client.send(r#"40/admin,{"token":"newest"}"#);
    let Some(Intent::Refresh { id, .. }) = client.others.pop() else {
        panic!("no refresh");
    };
    let mut out = Vec::new();
    client.sio.refreshed(id, None, &mut out);
    client.heard.extend(out);
    assert!(client.text().starts_with("40/admin,{\"sid\""));
}

#[test]
fn a_custom_event_is_a_call_whose_answer_is_the_acknowledgement() {
    let mut client = Client::connected();
    client.sio = SocketIo::new(Settings {
        calls_backend: true,
        ..settings()
    });
    client.send("40");
    client.welcome(None);
    client.heard.clear();
    for (event, data) in [
        ("[\"chat message\",\"hi\"]", "\"hi\""),
        ("[\"chat message\"]", "[]"),
        ("[\"chat message\",1,{\"a\":2}]", "[1,{\"a\":2}]"),
    ] {
        client.send(&format!("425{event}"));
        let command = client.reply(Reply::Called {
            data: "\"ok\"".into(),
            format: Format::Json,
        });
        let Command::Call {
            method,
            data: given,
            ..
        } = command
        else {
            panic!("{command:?}");
        };
        assert_eq!((&*method, &*given), ("chat message", data.as_bytes()));
        assert_eq!(client.text(), "435[\"ok\"]");
    }
    // The dialect's own names are not custom events.
    client.send("426[\"gap\",{}]");
    assert!(client.text().contains("unknown event"));
}

#[test]
fn a_publication_with_a_tag_event_arrives_as_that_event_if_the_client_requested_it() {
    let mut tagged = publication("a", 4, b"\"hi\"", Format::Json);
    tagged.tags = Tags::new([("event", "chat message")]).unwrap();
    let mut spoof = publication("a", 5, b"1", Format::Json);
    spoof.tags = Tags::new([("event", "disconnect")]).unwrap();
    let mut client = Client::new();
    client.text();
    client.send("40{\"events\":true}");
    client.welcome(None);
    client.text();
    client.deliver(None, &tagged);
    assert_eq!(client.text(), "42[\"chat message\",\"hi\"]");
    client.deliver(None, &spoof);
    assert!(client.text().starts_with("42[\"publication\","));

    let (mut client, _) = Client::recoverable("{\"events\":true,\"recover\":true}", None, 1000);
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    client.remember();
    client.text();
    client.deliver(number, &tagged);
    let event = arguments(&client.text(), "42");
    assert_eq!(
        (&event[0], &event[1]),
        (&json!("chat message"), &json!("hi"))
    );
    assert!(event[2].as_str().unwrap().contains('~'));

    let mut plain = Client::connected();
    plain.deliver(None, &tagged);
    assert!(plain.text().starts_with("42[\"publication\","));
}

proptest! {
    #[test]
    fn any_messages_end_in_an_answer_or_a_close(
        messages in prop::collection::vec(
            prop_oneof![
                "4[0-6][0-9]?-?(/n,)?[0-9]{0,2}(\\[\"(subscribe|publish|call|unsubscribe)\",.{0,20}\\])?",
                "[0-9].{0,20}",
                Just("42[\"publish\",{\"channel\":\"a\",\"data\":1}]".to_owned()),
                Just("40/n,{\"recover\":true}".to_owned()),
            ],
            0..12,
        ),
        bytes: Vec<u8>,
    ) {
        let mut client = Client::connected();
        for message in messages {
            client.send(&message);
            client.receive(Incoming::Binary(&bytes));
            if client.closed.is_some() {
                client.heard.clear();
                client.send(&message);
                client.says_nothing();
            }
        }
    }
}

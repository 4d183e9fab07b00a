//! Subscribing to channels, and signatures, members and events of channels.

use super::*;

#[test]
fn a_private_channel_needs_the_signature_of_this_connection_and_this_channel() {
    let mut client = Client::connected();
    for auth in [
        None,
        Some("key:1.1:private-chat".to_owned()),
        Some(format!("key:{SOCKET}:private-other")),
        Some(format!("{SOCKET}:private-chat")),
    ] {
        let data = json!({"channel": "private-chat", "auth": auth});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        let error = client.takes();
        assert_eq!(error["event"], "pusher:subscription_error");
        assert_eq!(error["channel"], "private-chat");
        assert_eq!(
            (&error["data"]["type"], &error["data"]["status"]),
            (&json!("AuthError"), &json!(401))
        );
        assert!(client.permitted.is_empty() && client.asked.is_empty());
    }
    client.subscribe("private-chat", None);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.subscribe("private-encrypted-chat", None);
    assert_eq!(client.takes()["channel"], "private-encrypted-chat");
}

#[test]
fn a_presence_channel_counts_its_members_by_user() {
    let mut client = Client::connected();
    let wish = client.asks(
        "presence-room",
        Some(r#"{"user_id":7,"user_info":{"n":"ann"}}"#),
    );
    let face = wish.face.clone().unwrap();
    assert_eq!((&*face.user, &face.info[..]), ("7", &br#"{"n":"ann"}"#[..]));
    assert!(wish.presence && wish.members);
    client.accept(&wish);
    // A join before the list is contained in the list.
    let bob = member(2, "bob", r#"{"n":"bob"}"#);
    client.change(PresenceChange {
        channel: name("presence-room"),
        member: Arc::clone(&bob),
        joined: true,
        user_sessions: 1,
    });
    assert!(client.heard.is_empty());
    let ann = member(1, "7", r#"{"n":"ann"}"#);
    let again = member(3, "bob", r#"{"n":"bob"}"#);
    let nameless = member(4, "", "");
    client.members("presence-room", vec![ann.clone(), bob, again, nameless]);
    let succeeded = client.takes();
    assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded");
    let id = "04040404040404040404040404040404";
    assert_eq!(
        data(&succeeded),
        json!({"presence": {
            "count": 3,
            "ids": [id, "7", "bob"],
            "hash": {"7": {"n": "ann"}, "bob": {"n": "bob"}, id: null},
        }})
    );

    let change = |session, user, joined, user_sessions| PresenceChange {
        channel: name("presence-room"),
        member: member(session, user, ""),
        joined,
        user_sessions,
    };
    // The client's own join, and a second session of a user.
    client.change(change(1, "7", true, 1));
    client.change(change(6, "bob", true, 2));
    client.change(change(6, "bob", false, 1));
    assert!(client.heard.is_empty());
    client.change(change(5, "eve", true, 1));
    let added = client.takes();
    assert_eq!(added["event"], "pusher_internal:member_added");
    assert_eq!(data(&added), json!({"user_id": "eve", "user_info": null}));
    client.change(change(5, "eve", false, 0));
    let removed = client.takes();
    assert_eq!(removed["event"], "pusher_internal:member_removed");
    assert_eq!(data(&removed), json!({"user_id": "eve"}));

    // After changes were lost, the whole list is sent again.
    client.members("presence-room", vec![ann]);
    assert_eq!(data(&client.takes())["presence"]["count"], 1);
}

#[test]
fn a_member_needs_a_valid_id() {
    let mut client = Client::connected();
    let long = json!({"user_id": "x".repeat(129)}).to_string();
    let info = json!({"user_id": "x", "user_info": "x".repeat(1024)}).to_string();
    for data in [
        "{}",
        "7",
        "[]",
        r#"{"user_id":null}"#,
        r#"{"user_id":{}}"#,
        r#"{"user_id":""}"#,
        r#"{"user_id":"a\u0000b"}"#,
        &long,
        &info,
    ] {
        let auth = format!("key:{SOCKET}:presence-a:{data}");
        let fields = json!({"channel": "presence-a", "auth": auth, "channel_data": data});
        client.send(&json!({"event": "pusher:subscribe", "data": fields}));
        let error = client.takes();
        assert_eq!(error["event"], "pusher:subscription_error", "{data}");
        assert_eq!(error["data"]["status"], 400);
    }
}

#[test]
fn a_cache_channel_begins_with_its_last_event_or_with_a_miss() {
    let mut client = Client::connected();
    let wish = client.subscribe("cache-price", None);
    assert_eq!(wish.since, Since::State);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.deliver(
        &publication("cache-price", Some("p"), "1", Format::Json),
        true,
    );
    assert_eq!(client.takes()["data"], "1");
    client.is_live(&wish);
    assert!(client.heard.is_empty());

    let wish = client.subscribe("private-cache-price", None);
    client.takes();
    client.is_live(&wish);
    let miss = client.takes();
    assert_eq!(
        miss,
        json!({"event": "pusher:cache_miss", "channel": "private-cache-price"})
    );
    // The client may fall behind later.
    client.is_live(&wish);
    assert!(client.heard.is_empty());
}

#[test]
fn a_cache_channel_without_state_can_be_subscribed_to() {
    let mut client = Client::connected();
    client.asks("cache-price", None);
    let (id, _) = client.asked.remove(0);
    let refusal = Refusal::new(ErrorCode::NoState, "no state");
    client.reply(id, Reply::Refused(refusal));
    let Some((_, Command::Subscribe(again))) = client.asked.first().cloned() else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(again.since, Since::Now);
    client.accept(&again);
    let events: Vec<_> = client
        .heard
        .drain(..)
        .map(|event| event["event"].clone())
        .collect();
    assert_eq!(
        events,
        [
            "pusher_internal:subscription_succeeded",
            "pusher:cache_miss"
        ]
    );
}

#[test]
fn the_miss_of_a_presence_channel_follows_its_list_of_members() {
    let mut client = Client::connected();
    let wish = client.subscribe("presence-cache-a", Some(r#"{"user_id":"ann"}"#));
    client.is_live(&wish);
    assert!(client.heard.is_empty());
    client.members("presence-cache-a", vec![member(1, "ann", "")]);
    let events: Vec<_> = client
        .heard
        .drain(..)
        .map(|event| event["event"].clone())
        .collect();
    assert_eq!(
        events,
        [
            "pusher_internal:subscription_succeeded",
            "pusher:cache_miss"
        ]
    );
}

#[test]
fn an_unsubscription_is_silent_and_a_late_answer_of_the_subscription_is_ignored() {
    let mut client = Client::connected();
    client.asks("chat", None);
    let (first, _) = client.asked.remove(0);
    client.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": "chat"}}));
    let (ended, command) = client.asked.remove(0);
    assert_eq!(
        command,
        Command::Unsubscribe {
            subscription: name("chat").into()
        }
    );
    let wish = client.asks("chat", None);
    client.reply(
        first,
        Reply::Refused(Refusal::new(ErrorCode::NotSubscribed, "ended")),
    );
    client.reply(
        ended,
        Reply::Unsubscribed {
            subscription: name("chat").into(),
        },
    );
    assert!(client.heard.is_empty());
    client.accept(&wish);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.send(&json!({"event": "pusher:subscribe", "data": {"channel": "chat"}}));
    assert_eq!(client.takes()["event"], "pusher:subscription_error");
}

#[test]
fn missing_publications_are_reported_as_an_event() {
    let mut client = Client::connected();
    let wish = client.subscribe("chat", None);
    client.heard.clear();
    let gap = |reason| Notice::Gap {
        subscription: wish.name(),
        from: Position::new(17, 3),
        to: Position::new(17, 9),
        reason,
        agreed: None,
    };
    client.notice(&gap(GapReason::Dropped));
    let told = client.takes();
    assert_eq!(
        (&told["event"], &told["channel"]),
        (&json!("offhook:gap"), &json!("chat"))
    );
    assert_eq!(
        data(&told),
        json!({"from": "17.3", "to": "17.9", "reason": "dropped"})
    );
    client.notice(&gap(GapReason::State));
    assert!(client.heard.is_empty());
}

#[test]
fn the_ends_of_a_subscription_and_of_the_connection_are_reported() {
    let mut client = Client::connected();
    let wish = client.subscribe("chat", None);
    client.heard.clear();
    client.notice(&Notice::Unsubscribed {
        subscription: wish.name(),
        refusal: Refusal::new(ErrorCode::Forbidden, "not any more"),
    });
    let error = client.takes();
    assert_eq!(
        (&error["event"], &error["data"]["status"]),
        (&json!("pusher:subscription_error"), &json!(403))
    );
    for (reason, code) in [
        (CloseReason::TooSlow, 4100),
        (CloseReason::Flood, 4100),
        (CloseReason::Replaced, 4200),
        (CloseReason::Expired, 4200),
        (CloseReason::Disconnected, 4009),
    ] {
        assert_eq!(client.pusher.close_code(reason), code);
        client.notice(&Notice::Close { reason });
        assert_eq!(client.takes()["data"]["code"], code);
    }
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    assert!(client.asked.is_empty());
}

#[test]
fn a_signature_of_one_app_opens_no_channel_of_another() {
    let mut client = Client::connected();
    let auth = format!("key:{SOCKET}:private-acme-private-x");
    let fields = json!({"channel": "private-acme-private-x", "auth": auth});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
    assert!(client.permitted.is_empty());
}

#[test]
fn a_signature_for_a_name_with_a_colon_opens_nothing_else() {
    let mut client = Client::connected();
    // Signed for the channel `private-room:7`.
    let auth = format!("key:{SOCKET}:private-room:7");
    for channel in ["private-room", "private-encrypted-room"] {
        let auth = auth.replace("private-room", channel);
        let fields = json!({"channel": channel, "auth": auth, "channel_data": "7"});
        client.send(&json!({"event": "pusher:subscribe", "data": fields}));
        assert_eq!(client.takes()["data"]["status"], 400);
        assert!(client.permitted.is_empty());
    }
    client.subscribe("private-room:7", None);
    assert_eq!(client.takes()["channel"], "private-room:7");
    // Some libraries sign data for every channel.
    client.subscribe("private-room", Some("{\"user_id\":1}"));
    assert_eq!(client.takes()["channel"], "private-room");
}

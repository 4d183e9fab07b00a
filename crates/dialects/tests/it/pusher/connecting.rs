//! Connections, users and apps.

use super::*;

#[test]
fn a_connection_to_no_app_is_told_so_and_closed() {
    for (refused, code) in [
        (Refused::NoApp, 4001),
        (Refused::InvalidVersion, 4006),
        (Refused::UnsupportedVersion, 4007),
        (Refused::NoVersion, 4008),
    ] {
        let mut client = Client::of(Settings {
            app: Err(refused),
            ..settings("")
        });
        let error = client.takes();
        assert_eq!(error["event"], "pusher:error");
        assert_eq!(error["data"]["code"], code);
        assert_eq!(client.closed, Some(code));
        assert!(client.connects.is_empty());
        client.send(&json!({"event": "pusher:ping", "data": {}}));
        assert!(client.asked.is_empty());
    }
}

#[test]
fn versions_5_to_7_are_accepted() {
    for version in ["5", "6", "7"] {
        assert_eq!(Refused::check_version(Some(version)), Ok(()));
    }
    for (version, refused) in [
        (None, Refused::NoVersion),
        (Some(""), Refused::InvalidVersion),
        (Some("seven"), Refused::InvalidVersion),
        (Some("4"), Refused::UnsupportedVersion),
        (Some("8"), Refused::UnsupportedVersion),
    ] {
        assert_eq!(Refused::check_version(version), Err(refused));
    }
}

#[test]
fn a_socket_id_names_the_session() {
    let session = SessionId::from_bytes([1; 16]);
    assert_eq!(Pusher::session_of(SOCKET), Some(session));
    for wrong in [
        "",
        "1",
        "1.",
        ".1",
        "1.x",
        "-1.1",
        "+1.1",
        "99999999999999999999.1",
    ] {
        assert_eq!(Pusher::session_of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_ping_is_answered() {
    let mut client = Client::connected();
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    let (id, command) = client.asked.remove(0);
    assert_eq!(command, Command::Ping);
    client.reply(id, Reply::Pong);
    assert_eq!(client.takes()["event"], "pusher:pong");
}

#[test]
fn a_user_signs_in_with_a_signature_and_may_subscribe_to_its_own_channel() {
    let mut client = Client::connected();
    let subscribe =
        json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-7", "auth": ""}});
    client.send(&subscribe);
    assert_eq!(client.takes()["data"]["status"], 403);
    let user = r#"{"id":"7","name":"ann"}"#;
    let auth = format!("key:{SOCKET}::user::{user}");
    let sign_in = json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user}});
    client.send(&sign_in);
    let (id, name) = client.identified.remove(0);
    assert_eq!(name, "7");
    let mut out = Vec::new();
    client.pusher.refreshed(id, None, &mut out);
    client.hear(out);
    let success = client.takes();
    assert_eq!(success["event"], "pusher:signin_success");
    assert_eq!(data(&success), json!({"user_data": user}));
    client.send(&subscribe);
    assert_eq!(client.permitted.len(), 1);
    client.send(&json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-8"}}));
    assert_eq!(client.takes()["data"]["status"], 403);
    client.send(&sign_in);
    assert!(
        client.takes()["data"]["message"]
            .as_str()
            .unwrap()
            .contains("already")
    );
}

#[test]
fn a_user_of_another_app_is_refused() {
    let mut client = Client::connected();
    let user = r#"{"id":"acme/x/ann"}"#;
    let auth = format!("key:{SOCKET}::user::{user}");
    client.send(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user}}));
    assert_eq!(client.takes()["event"], "pusher:error");
    assert!(client.identified.is_empty());
    let data = r#"{"user_id":"acme/x/ann"}"#;
    let auth = format!("key:{SOCKET}:presence-a:{data}");
    let fields = json!({"channel": "presence-a", "auth": auth, "channel_data": data});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
    assert!(client.permitted.is_empty());
}

#[test]
fn a_forged_signature_of_a_user_ends_the_connection() {
    let mut client = Client::connected();
    let data = json!({"auth": "key:1.1::user::{\"id\":\"7\"}", "user_data": "{\"id\":\"7\"}"});
    client.send(&json!({"event": "pusher:signin", "data": data}));
    assert_eq!(client.takes()["data"]["code"], 4009);
    assert_eq!(client.closed, Some(4009));
    assert!(client.identified.is_empty());
}

#[test]
fn clients_of_an_app_with_a_prefix_see_their_own_names() {
    let mut client = Client::connected_to("acme/");
    let wish = client.subscribe("chat", None);
    assert_eq!(wish.target.as_str(), "acme/chat");
    assert_eq!(client.takes()["channel"], "chat");
    client.deliver(
        &publication("acme/chat", Some("a\"b"), "1", Format::Json),
        false,
    );
    assert_eq!(
        client.takes(),
        json!({"event": "a\"b", "channel": "chat", "data": "1"})
    );
    let wish = client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    assert_eq!(&*wish.face.unwrap().user, "acme/ann");
    client.members("acme/presence-a", vec![member(1, "acme/ann", "")]);
    assert_eq!(data(&client.takes())["presence"]["ids"], json!(["ann"]));
    client.change(PresenceChange {
        channel: name("acme/presence-a"),
        member: member(2, "acme/bob", ""),
        joined: true,
        user_sessions: 1,
    });
    let added = client.takes();
    assert_eq!(
        (&added["channel"], data(&added)["user_id"].as_str()),
        (&json!("presence-a"), Some("bob"))
    );
    let by_bob = Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([2; 16]),
            user: "acme/bob".into(),
        }),
        ..publication("acme/presence-a", Some("client-x"), "1", Format::Json)
    };
    client.deliver(&by_bob, false);
    let event = client.takes();
    assert_eq!(
        (&event["channel"], &event["user_id"]),
        (&json!("presence-a"), &json!("bob"))
    );
}

#[test]
fn a_refused_connection_is_closed_with_a_code_that_says_when_to_reconnect() {
    for (code, closed) in [
        (ErrorCode::Unauthenticated, 4009),
        (ErrorCode::TooManyConnections, 4100),
        (ErrorCode::Draining, 4200),
    ] {
        let mut client = Client::of(settings(""));
        let (id, refusal) = (client.connects[0].id, Refusal::new(code, "no"));
        let mut out = Vec::new();
        client.pusher.refused(Some(id), &refusal, &mut out);
        client.hear(out);
        client.poll();
        assert_eq!(client.takes()["data"]["code"], closed);
        assert_eq!(client.closed, Some(closed));
    }
}

#[test]
fn a_pong_that_nobody_asked_for_counts_and_is_not_answered() {
    let mut client = Client::connected();
    client.send(&json!({"event": "pusher:pong", "data": {}}));
    let (id, command) = client.asked.remove(0);
    assert_eq!(command, Command::Ping);
    client.reply(id, Reply::Pong);
    assert!(client.heard.is_empty());
    let mut intents = Vec::new();
    client
        .pusher
        .receive(Incoming::Binary(&[]), sometime(), &mut intents);
    assert!(
        matches!(intents[..], [Intent::Refuse { .. }]),
        "{intents:?}"
    );
}

#[test]
fn users_that_are_not_of_the_app_cannot_be_taken_for_its_own() {
    let mut client = Client::connected_to("acme/");
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    let members = vec![member(2, "acme/bob", ""), member(3, "bob", "")];
    client.members("acme/presence-a", members);
    let list = data(&client.takes());
    assert_eq!(list["presence"]["ids"], json!(["bob", "offhook:bob"]));
    client.change(PresenceChange {
        channel: name("acme/presence-a"),
        member: member(3, "bob", ""),
        joined: false,
        user_sessions: 0,
    });
    assert_eq!(data(&client.takes()), json!({"user_id": "offhook:bob"}));
    let by = |user: &str| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([3; 16]),
            user: user.into(),
        }),
        ..publication("acme/presence-a", Some("client-x"), "1", Format::Json)
    };
    client.deliver(&by("bob"), false);
    assert_eq!(client.takes().get("user_id"), None);
    client.deliver(&by("acme/bob"), false);
    assert_eq!(client.takes()["user_id"], "bob");
    let data = r#"{"user_id":"offhook:bob"}"#;
    let auth = format!("key:{SOCKET}:presence-b:{data}");
    let fields = json!({"channel": "presence-b", "auth": auth, "channel_data": data});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
}

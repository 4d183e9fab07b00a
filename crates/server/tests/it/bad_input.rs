//! Invalid input causes an error that says what is wrong and where, and the connection stays open;
//! floods and violations of the protocol close it, with a reason.

use std::time::Duration;

use offhook::{Connect, protocol::CloseCode};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    caller::Caller,
    hall::{Hall, NEVER, config, with_connections},
};

#[tokio::test]
async fn an_unreadable_message_is_answered_with_what_and_where_and_the_connection_stays_open() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let name = "x".repeat(201);
    let deep = "[".repeat(65) + &"]".repeat(65);
    let cases: &[(&str, Option<u64>, &str, &str)] = &[
        ("", None, "bad_request", "one JSON object"),
        ("{", None, "bad_request", "line 1 column 1"),
        (r#"["ping",7]"#, None, "bad_request", "one JSON object"),
        (r#"{"id":1}"#, Some(1), "bad_request", "type"),
        (
            r#"{"type":"dance","id":2}"#,
            Some(2),
            "bad_request",
            "dance",
        ),
        (r#"{"type":"ping"}"#, None, "bad_request", "id"),
        (r#"{"type":"ping","id":-1}"#, None, "bad_request", "-1"),
        (
            r#"{"type":"ping","id":9007199254740992}"#,
            None,
            "bad_request",
            "2^53",
        ),
        (
            r#"{"type":"subscribe","id":3,"channel":7}"#,
            Some(3),
            "bad_request",
            "column",
        ),
        (
            r#"{"type":"subscribe","id":4}"#,
            Some(4),
            "bad_request",
            "channel",
        ),
        (
            r#"{"type":"subscribe","id":5,"channel":"chat","since":{}}"#,
            Some(5),
            "bad_request",
            "since",
        ),
        (
            r#"{"type":"subscribe","id":6,"channel":""}"#,
            Some(6),
            "bad_channel_name",
            "empty",
        ),
        (
            r#"{"type":"subscribe","id":7,"channel":"chat/*"}"#,
            Some(7),
            "bad_channel_name",
            "byte 5",
        ),
        (
            &format!(r#"{{"type":"subscribe","id":8,"channel":"{name}"}}"#),
            Some(8),
            "bad_channel_name",
            "201 bytes",
        ),
        (
            r#"{"type":"publish","id":9,"channel":"chat"}"#,
            Some(9),
            "bad_request",
            "data",
        ),
        (
            &format!(r#"{{"type":"publish","id":10,"channel":"chat","data":{deep}}}"#),
            Some(10),
            "bad_request",
            "deeper",
        ),
        (
            r#"{"type":"publish","id":11,"channel":"chat","base64":"?"}"#,
            Some(11),
            "bad_request",
            "base64",
        ),
        (
            r#"{"type":"publish","id":12,"channel":"chat","data":1,"key":""}"#,
            Some(12),
            "bad_key",
            "0 bytes",
        ),
        (
            r#"{"type":"publish","id":13,"channel":"chat","data":1,"tags":{"":"x"}}"#,
            Some(13),
            "bad_tags",
            "tag",
        ),
        (
            r#"{"type":"connect","id":14}"#,
            Some(14),
            "bad_request",
            "connected already",
        ),
    ];
    for (text, id, code, words) in cases {
        caller.say(text).await;
        let error = caller.hear_a("error").await;
        assert_eq!(
            error.get("id").and_then(|id| id.as_u64()),
            *id,
            "{text}: {error}"
        );
        assert_eq!(
            (&error["code"], &error["retry"]),
            (&json!(code), &json!("never")),
            "{text}: {error}"
        );
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{text}: {error}"
        );
    }
    caller.socket.send(&b"binary"[..]).await.unwrap();
    assert!(
        caller.hear_a("error").await["message"]
            .as_str()
            .unwrap()
            .contains("binary")
    );
    assert_eq!(caller.ask(json!({"type": "ping"})).await["type"], "pong");
}

/// A client waited for ever for the answers to the others.
#[tokio::test]
async fn one_bad_name_among_several_channels_is_refused_alone() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    let names = ["chat1", "chat2", "chat*", "chat3"];
    caller
        .say(&json!({"type": "subscribe", "id": 10, "channels": names}).to_string())
        .await;
    let mut answers = Vec::new();
    for _ in names {
        let answer = caller.hear().await;
        let kind = answer["type"].as_str().unwrap().to_owned();
        answers.push((answer["id"].as_u64().unwrap(), kind));
    }
    answers.sort();
    let expected = ["subscribed", "subscribed", "error", "subscribed"];
    let expected: Vec<_> = (10..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(answers, expected);
}

#[tokio::test]
async fn a_forbidden_command_is_refused_and_the_connection_stays_open() {
    let mut few = config();
    few.limits.subscriptions = 1;
    let hall = Hall::open(few).await;
    let mut caller = hall.caller().await;
    let large = json!({"type": "publish", "channel": "chat", "data": "x".repeat(64 * 1024)});
    caller.subscribe("chat", json!("now")).await;
    for (request, code) in [
        (
            json!({"type": "publish", "channel": "silent/a", "data": 1}),
            "forbidden",
        ),
        (
            json!({"type": "subscribe", "channel": "silent/a"}),
            "forbidden",
        ),
        (
            json!({"type": "subscribe", "channel": "nowhere"}),
            "unknown_channel",
        ),
        (
            json!({"type": "subscribe", "channel": "chat"}),
            "already_subscribed",
        ),
        (
            json!({"type": "subscribe", "channel": "chat2"}),
            "too_many_subscriptions",
        ),
        (
            json!({"type": "unsubscribe", "channel": "chat2"}),
            "not_subscribed",
        ),
        (
            json!({"type": "history", "channel": "fleeting/a"}),
            "no_history",
        ),
        (
            json!({"type": "presence", "channel": "fleeting/a"}),
            "no_presence",
        ),
        (large, "too_large"),
    ] {
        let error = caller.refused(request.clone()).await;
        assert_eq!(
            (&error["code"], &error["retry"]),
            (&json!(code), &json!("never")),
            "{request}"
        );
    }
    assert_eq!(caller.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn a_client_that_is_too_fast_is_told_when_to_continue_and_closed_if_it_does_not_slow_down() {
    let mut slow = config();
    slow.limits.commands_per_second = 10;
    slow.limits.command_burst = 5;
    slow.limits.flood = 20;
    let hall = Hall::open(slow).await;
    let mut polite = hall.caller().await;
    let mut refused = 0;
    for _ in 0..10 {
        let answer = polite.ask(json!({"type": "ping"})).await;
        if answer["type"] == "error" {
            assert_eq!(
                (&answer["code"], &answer["retry"]),
                (&json!("rate_limited"), &json!("later"))
            );
            let pause = answer["retry_after_ms"].as_u64().unwrap();
            assert!((1..=1_000).contains(&pause), "{answer}");
            refused += 1;
        }
    }
    assert!(refused > 0);

    for flood in ["rubbish", r#"{"type":"ping","id":1}"#] {
        let mut caller = hall.caller().await;
        for _ in 0..2_000 {
            if caller.socket.put(flood).is_err() {
                break;
            }
        }
        let (heard, closed) = caller.end().await;
        assert_eq!(closed.code, CloseCode::POLICY_VIOLATION);
        assert_eq!(&*closed.reason, "flood");
        assert_eq!(
            heard.last().unwrap(),
            &json!({"type": "closing", "reason": "flood"})
        );
        assert!(heard.len() < 100, "the rest is not answered");
    }
}

#[tokio::test]
async fn before_connect_every_command_is_refused_and_the_time_is_limited() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.dial().await;
    let error = caller.refused(json!({"type": "ping"})).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("send connect first")
    );
    caller.connect().await;

    let mut caller = hall.dial().await;
    for _ in 0..30 {
        if caller.socket.put("rubbish").is_err() {
            break;
        }
    }
    let (heard, closed) = caller.end().await;
    assert_eq!(
        (heard.len(), closed.code),
        (16, CloseCode::POLICY_VIOLATION)
    );

    let impatient = with_connections(|c| c.connect_timeout = Duration::from_millis(50));
    let hall = Hall::open(impatient).await;
    let (_, closed) = hall.dial().await.end().await;
    assert_eq!(closed.code, CloseCode::POLICY_VIOLATION);
    assert_eq!(&*closed.reason, "no connect was received in time");
}

#[tokio::test]
async fn a_message_above_the_limit_closes_with_1009_and_invalid_utf_8_with_1007() {
    let hall = Hall::open(config()).await;
    let mut caller = hall.caller().await;
    caller
        .socket
        .send("x".repeat(256 * 1024 + 1))
        .await
        .unwrap();
    assert_eq!(caller.end().await.1.code, CloseCode::TOO_BIG);

    // None of our clients sends text that is not UTF-8; these are its bytes on the wire.
    let mut stream = hall.upgraded_by_hand().await;
    stream
        .write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe])
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // RFC 6455 §5.5.1: a Close frame begins with its code.
    assert_eq!(
        (answer[0], &answer[2..4]),
        (0x88, &1007_u16.to_be_bytes()[..])
    );
}

#[tokio::test]
async fn refused_handshakes_name_the_right_path_subprotocol_or_origin() {
    let hall = Hall::open(config()).await;
    let refused = async |connect: Connect| match connect.open().await {
        Err(offhook::Error::Refused(refused)) => {
            let body = String::from_utf8(refused.body().to_vec()).unwrap();
            (refused.status(), body)
        }
        other => panic!("{other:?}"),
    };
    let (status, body) = refused(hall.number_at("/elsewhere")).await;
    assert_eq!(status, 404);
    assert!(body.contains("/ws"), "{body}");
    for offer in [
        hall.number_at("/ws"),
        hall.number_at("/ws").subprotocol("mqtt"),
    ] {
        let (status, body) = refused(offer).await;
        assert_eq!(status, 400);
        assert!(body.contains("offhook.v1.json"), "{body}");
    }
    let foreign = hall.number().origin("https://evil.example");
    let (status, body) = refused(foreign).await;
    assert_eq!(status, 403);
    assert!(body.contains("origin"), "{body}");

    let own = hall.number().origin(format!("http://{}", hall.address()));
    Caller::new(own.open().await.unwrap()).connect().await;
}

/// A page of `evil.example` whose name resolves to this server's address.
#[tokio::test]
async fn a_foreign_host_name_is_refused_even_if_origin_and_host_agree() {
    let mut known = config();
    known.hosts = vec!["chat.example".to_owned()];
    let hall = Hall::open(known).await;
    let port = hall.address().port();
    for (name, status) in [
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("chat.example", 101),
        ("localhost", 101),
        ("127.0.0.1", 101),
    ] {
        let own = format!("Host: {name}:{port}\r\nOrigin: http://{name}:{port}\r\n");
        let head = String::from_utf8(hall.handshake()).unwrap();
        let head = head.replace("Host: server\r\n", &own);
        let mut stream = TcpStream::connect(hall.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let count = timeout(NEVER, stream.read(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{name}: {answer}"
        );
        if status == 421 {
            assert!(
                answer.contains(name) && answer.contains("`hosts`"),
                "{answer}"
            );
        }
    }
}

#[tokio::test]
async fn origins_can_be_allowed() {
    let mut open = config();
    open.origins = offhook::OriginPolicy::allow_list(["https://chat.example"]).unwrap();
    let hall = Hall::open(open).await;
    let friend = hall.number().origin("https://chat.example");
    Caller::new(friend.open().await.unwrap()).connect().await;
    let own = hall.number().origin(format!("http://{}", hall.address()));
    assert!(own.open().await.is_err(), "the list is all there is");
}

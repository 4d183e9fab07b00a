//! The beginning and the end of a connection.

use super::*;

#[test]
fn a_connection_begins_with_its_token_and_is_acknowledged() {
    for (payload, token, info) in [
        (json!(null), None, ""),
        (json!({"token": "t"}), Some("t"), ""),
        (json!({"authorization": "Bearer t"}), Some("t"), ""),
        (
            json!({"Authorization": "bearer  t", "info": {"name": "Ann"}}),
            Some("t"),
            r#"{"name":"Ann"}"#,
        ),
        (
            json!({"headers": {"Authorization": "Bearer t"}}),
            Some("t"),
            "",
        ),
        (json!({"token": null}), None, ""),
    ] {
        let mut client = Client::new();
        client.send(&json!({"type": "connection_init", "payload": payload}));
        let (_, given, told) = &client.connects[0];
        assert_eq!((given.as_deref(), &**told), (token, info), "{payload}");
        client.welcome();
        let ack = json!({"type": "connection_ack", "payload": {"session": "01".repeat(16), "user": "ann"}});
        assert_eq!(client.takes(), ack);
    }
}

#[test]
fn connections_are_closed_with_the_codes_of_the_protocol() {
    let init = json!({"type": "connection_init"});
    let subscribe = json!({"type": "subscribe", "id": "1", "payload": {"query": "subscription { channel(name: \"chat\") { id } }"}});
    for (messages, code) in [
        (vec![subscribe.clone()], 4401),
        (vec![json!({"type": "complete", "id": "1"})], 4401),
        (vec![init.clone(), init.clone()], 4429),
        (vec![json!(7)], 4400),
        (vec![json!({"type": "start"})], 4400),
        (vec![json!({})], 4400),
        (
            vec![json!({"type": "connection_init", "payload": []})],
            4400,
        ),
        (
            vec![json!({"type": "connection_init", "payload": {"token": 7}})],
            4400,
        ),
        (vec![json!({"type": "ping", "payload": 7})], 4400),
    ] {
        let mut client = Client::new();
        for message in &messages {
            client.send(message);
        }
        assert_eq!(client.closed.unwrap().0, code, "{messages:?}");
    }
    for message in [
        json!({"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "a".repeat(257), "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "1"}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": 7}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "variables": []}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "operationName": 7}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "extensions": "x"}}),
        json!({"type": "complete"}),
        json!({"type": "next", "id": "1"}),
    ] {
        let mut client = Client::connected();
        client.send(&message);
        assert_eq!(client.closed.unwrap().0, 4400, "{message}");
    }
    let mut client = Client::connected();
    client.say("{");
    assert_eq!(client.closed.unwrap().0, 4400);
    let mut client = Client::connected();
    client.send(&subscribe);
    client.send(&subscribe);
    assert_eq!(client.closed.unwrap().0, 4409);
    assert_eq!(Client::new().dialect.late().0, 4408);
}

#[test]
fn a_refused_connection_is_closed_with_a_code_that_says_whether_to_return() {
    for (code, expected) in [
        (ErrorCode::Unauthenticated, 4403),
        (ErrorCode::Busy, 1013),
        (ErrorCode::Draining, 1012),
    ] {
        let mut client = Client::new();
        client.send(&json!({"type": "connection_init"}));
        let (id, ..) = client.connects[0];
        let refusal = Refusal::new(code, "no");
        client.dialect.refused(Some(id), &refusal, &mut Vec::new());
        client.poll();
        assert_eq!(client.closed, Some((expected, code.name())));
    }
    for (reason, expected) in [
        (CloseReason::TooSlow, 1013),
        (CloseReason::Flood, 1013),
        (CloseReason::Replaced, 1012),
        (CloseReason::Expired, 4403),
        (CloseReason::Disconnected, 4401),
    ] {
        assert_eq!(Client::new().dialect.close_code(reason), expected);
    }
}

#[test]
fn pings_are_answered_before_and_after_the_acknowledgement() {
    let mut client = Client::new();
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.takes(), json!({"type": "pong"}));
    let mut client = Client::connected();
    client.send(&json!({"type": "ping", "payload": {"a": [1]}}));
    client.reply(Reply::Pong);
    assert_eq!(
        client.takes(),
        json!({"type": "pong", "payload": {"a": [1]}})
    );
    client.send(&json!({"type": "pong"}));
    client.reply(Reply::Pong);
    assert!(client.heard.is_empty() && client.closed.is_none());
    let mut client = Client::new();
    for _ in 0..17 {
        client.send(&json!({"type": "ping"}));
    }
    assert_eq!(client.closed.unwrap().0, 4400);
}

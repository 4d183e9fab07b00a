//! The beginning and the end of a connection.

use super::*;

#[test]
fn the_first_packet_of_the_server_contains_its_limits() {
    let mut client = Client::new();
    let open = client.text();
    assert_eq!(
        arguments(&open, "0"),
        json!({"sid": "abc", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 65536})
    );
}

#[test]
fn connect_takes_the_token_and_the_info_from_auth() {
    let mut client = Client::new();
    client.send(r#"40{"token":"t","info":{"name":"Zoë"},"pid":"x","other":[1]}"#);
    let connect = &client.connects[0];
    assert_eq!(connect.token.as_deref(), Some("t"));
    assert_eq!(connect.info, r#"{"name":"Zoë"}"#);
    assert!(connect.named.is_none(), "it did not request recovery");
}

#[test]
fn a_refused_connect_gets_a_connect_error_and_may_be_repeated() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40/admin,{"token":"wrong"}"#);
    client.refuse_connect(ErrorCode::Unauthenticated);
    assert_eq!(
        arguments(&client.text(), "44/admin,"),
        json!({"message": "no", "data": {"code": "unauthenticated", "retry": "never"}})
    );
    client.send(r#"40{"token":"right"}"#);
    client.welcome(None);
    assert!(client.text().starts_with("40{"));
    assert_eq!(client.closed, None);
}

#[test]
fn a_connect_that_may_succeed_later_closes_the_connection_so_that_the_stock_client_retries() {
    let mut client = Client::new();
    client.text();
    client.send("40");
    client.refuse_connect(ErrorCode::Busy);
    client.says_nothing();
    assert_eq!(client.closed, Some(1013));
}

#[test]
fn invalid_auth_gets_a_connect_error() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40{"token":7}"#);
    let error = arguments(&client.text(), "44");
    assert!(error["message"].as_str().unwrap().starts_with("auth: "));
    let long = "x".repeat(300);
    client.send(&format!("40{{\"info\":\"{long}\"}}"));
    let error = arguments(&client.text(), "44");
    assert!(error["message"].as_str().unwrap().contains("256 bytes"));
}

#[test]
fn leaving_a_namespace_ends_its_subscriptions_and_leaving_the_last_one_the_connection() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let number = client
        .subscribe("/n,1", &json!({"channel": "a"}), true)
        .unwrap();
    client.text();
    client.send("41/n,");
    let (_, command) = client.asked.pop().unwrap();
    let subscription = SubscriptionKey::Id(SubscriptionId(number));
    assert_eq!(command, Command::Unsubscribe { subscription });
    client.deliver(Some(number), &publication("a", 4, b"1", Format::Json));
    client.says_nothing();
    assert_eq!(client.closed, None);
    client.send("41");
    assert_eq!(client.others, [Intent::Leave]);
    assert_eq!(client.closed, Some(1000));
}

#[test]
fn a_disconnect_by_the_server_tells_the_client_not_to_reconnect() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let reason = CloseReason::Disconnected;
    client.notice(&Notice::Close { reason });
    assert_eq!([client.text(), client.text()], ["41", "41/n,"]);
    let mut client = Client::connected();
    let reason = CloseReason::TooSlow;
    client.notice(&Notice::Close { reason });
    client.says_nothing();
}

#[test]
fn the_server_pings_and_closes_the_connection_if_no_pong_arrives() {
    let mut client = Client::connected();
    let begun = client.now;
    let seconds = |n| begun + Duration::from_secs(n);
    assert_eq!(client.sio.poll_timeout(), Some(seconds(25)));
    let mut intents = Vec::new();
    client.sio.handle_timeout(seconds(25), &mut intents);
    assert_eq!(intents, [Intent::Say("2".to_owned().into())]);
    assert_eq!(client.sio.poll_timeout(), Some(seconds(45)));
    client.now = seconds(30);
    client.send("3");
    assert_eq!(client.sio.poll_timeout(), Some(seconds(55)));
    intents.clear();
    client.sio.handle_timeout(seconds(55), &mut intents);
    intents.clear();
    client.sio.handle_timeout(seconds(75), &mut intents);
    assert!(matches!(intents[..], [Intent::Close { code: 1008, .. }]));
    assert_eq!(client.sio.poll_timeout(), None);
}

#[test]
fn a_violation_of_the_protocol_ends_the_connection() {
    for text in ["4abc", "x", "2", "5", "0{}", "44{}", "45[\"a\"]"] {
        let mut client = Client::connected();
        client.send(text);
        assert_eq!(client.closed, Some(1002), "{text}");
        client.send("421[\"subscribe\",\"a\"]");
        assert!(client.asked.is_empty());
    }
    for text in ["42[\"subscribe\",\"a\"]", "41", "431[]"] {
        let mut client = Client::new();
        client.send(text);
        assert_eq!(client.closed, Some(1002), "{text}");
    }
}

//! The request as seen by the server, and the answers a server may give.

use std::error::Error as _;

use offhook::Error;
use offhook::protocol::handshake::HandshakeFailure;

use crate::scripted::{Reply, Server, field, to};

#[tokio::test]
async fn the_request_has_the_configured_fields() {
    let mut server = Server::with([Reply::open_with("Sec-WebSocket-Protocol: b\r\n", b"")]).await;
    let url = format!(
        "http://ada:se%63ret@127.0.0.1:{}/chat?room=7",
        server.port()
    );
    let open = to(url)
        .header("X-Ticket", "42")
        .origin("https://example.com")
        .subprotocol("a")
        .subprotocol("b")
        .deflate(offhook::protocol::deflate::DeflateConfig::default())
        .open()
        .await
        .unwrap();
    assert_eq!(open.protocol(), Some("b"));
    let head = server.request().await;
    assert!(head.starts_with("GET /chat?room=7 HTTP/1.1\r\n"), "{head}");
    assert_eq!(
        field(&head, "Host"),
        Some(server.address.to_string().as_str())
    );
    assert_eq!(field(&head, "X-Ticket"), Some("42"));
    assert_eq!(field(&head, "Origin"), Some("https://example.com"));
    assert_eq!(field(&head, "Sec-WebSocket-Protocol"), Some("a, b"));
    // base64 of ada:secret
    assert_eq!(
        field(&head, "Authorization"),
        Some("Basic YWRhOnNlY3JldA==")
    );
    let extensions = field(&head, "Sec-WebSocket-Extensions").unwrap();
    assert!(extensions.starts_with("permessage-deflate"), "{extensions}");
}

#[tokio::test]
async fn a_header_of_the_caller_takes_precedence_over_the_user_name_in_the_url() {
    let mut server = Server::with([Reply::open()]).await;
    let url = format!("ws://ada:secret@127.0.0.1:{}/", server.port());
    let connect = to(url).header("authorization", "Bearer 42");
    connect.open().await.unwrap();
    let head = server.request().await;
    assert_eq!(field(&head, "Authorization"), Some("Bearer 42"));
    assert_eq!(head.matches("uthorization").count(), 1, "{head}");
}

#[tokio::test]
async fn one_connect_can_open_several_connections_each_with_a_new_key() {
    let mut server = Server::with([Reply::open(), Reply::open()]).await;
    let connect = server.connect();
    let again = connect.clone();
    let _first = connect.open().await.unwrap();
    let _second = again.open().await.unwrap();
    let (first, second) = (server.request().await, server.request().await);
    let key = |head| field(head, "Sec-WebSocket-Key").map(str::to_owned);
    assert_ne!(key(&first), key(&second));
}

#[tokio::test]
async fn an_invalid_request_is_an_error_before_anything_is_sent() {
    // Nothing listens on port 1, and no connection is attempted.
    let url = "ws://127.0.0.1:1/";
    for connect in [
        to(url).header("X-Evil", "a\r\nInjected: yes"),
        to(url).header("Upgrade", "h2c"),
        to(url).subprotocol("two words"),
        to(url).subprotocol("a").subprotocol("a"),
        to(url).origin("two words"),
        to("ws://a%3Ab:c@127.0.0.1:1/"),
    ] {
        let error = connect.open().await.unwrap_err();
        assert!(matches!(error, Error::Request(_)), "{error:?}");
        assert!(!error.is_retryable());
    }
    let error = to("ws://127.0.0.1:1/#fragment").open().await.unwrap_err();
    assert!(matches!(error, Error::Url(_)), "{error:?}");
}

#[tokio::test]
async fn a_refusal_has_status_headers_and_body() {
    let server = Server::with([
        Reply::say("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\ncome back"),
        // The body ends with the connection.
        Reply::say("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n\r\nwho are you?").and_close(),
    ])
    .await;
    let busy = server.connect().open().await.unwrap_err();
    assert!(busy.is_retryable());
    assert_eq!(busy.retry_after().map(|wait| wait.as_secs()), Some(7));
    assert_eq!(
        busy.to_string(),
        "the server refused with status 503: come back"
    );
    let unknown = server.connect().open().await.unwrap_err();
    assert!(!unknown.is_retryable());
    let Error::Refused(refused) = unknown else {
        panic!("{unknown:?}");
    };
    assert_eq!(refused.headers().get_str("www-authenticate"), Some("Basic"));
    assert_eq!(refused.body(), b"who are you?");
}

#[tokio::test]
async fn an_answer_that_is_not_a_handshake_is_an_error() {
    let server = Server::with([
        Reply::say(
            "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        ),
        Reply::say("220 mail.example ESMTP\r\n\r\n"),
        Reply::say(format!(
            "HTTP/1.1 200 Yes\r\nX: {}\r\n",
            "x".repeat(100_000)
        )),
    ])
    .await;
    let error = server.connect().open().await.unwrap_err();
    assert!(
        matches!(error, Error::Handshake(HandshakeFailure::WrongAccept)),
        "{error:?}"
    );
    let error = server.connect().open().await.unwrap_err();
    assert!(
        matches!(error, Error::Handshake(HandshakeFailure::HttpVersion)),
        "{error:?}"
    );
    let error = server.connect().open().await.unwrap_err();
    let too_large = matches!(
        error,
        Error::Handshake(HandshakeFailure::HeadTooLarge { .. })
    );
    assert!(too_large, "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_connection_closed_before_the_answer_is_lost() {
    let server = Server::with([
        Reply::say("").and_close(),
        Reply::say("HTTP/1.1 101 Y").and_close(),
    ])
    .await;
    for _ in 0..2 {
        let error = server.connect().open().await.unwrap_err();
        assert!(matches!(error, Error::Lost(_)), "{error:?}");
        assert!(error.is_retryable());
        let source = error.source().unwrap().to_string();
        assert!(source.contains("instead of answering"), "{source}");
    }
}

#[tokio::test]
async fn frames_that_arrive_with_the_answer_are_received_first() {
    // RFC 6455 §5.7: a text message that contains "Hello".
    let server = Server::with([Reply::open_with("", b"\x81\x05Hello")]).await;
    let mut socket = server.connect().open().await.unwrap();
    let message = socket.recv().await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some("Hello"));
}

/// Text from a server is shown escaped: it cannot forge log lines or control a terminal.
#[tokio::test]
async fn control_characters_in_a_servers_text_are_escaped() {
    let body = "down\u{1b}]0;title\u{7}\rfine";
    let reply = format!(
        "HTTP/1.1 503 No\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let server = Server::with([Reply::say(reply)]).await;
    let said = server.connect().open().await.unwrap_err().to_string();
    assert!(said.contains("down\\u{1b}]0;title\\u{7}"), "{said}");
    assert!(!said.contains(char::is_control), "{said:?}");

    let (mut client, server) = offhook::pair();
    let reason = "bye\u{1b}[2J\nERROR all is lost\u{202e}";
    tokio::spawn(async move { client.recv().await });
    server
        .sender()
        .close(offhook::CloseCode::NORMAL, reason)
        .unwrap();
    let closed = server.sender().send("late").await.unwrap_err();
    assert!(!closed.to_string().contains(char::is_control));
}

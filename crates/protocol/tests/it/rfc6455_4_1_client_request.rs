//! RFC 6455 §4.1: the request a client sends.

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::handshake::{
    ClientRequest, InvalidHeader, InvalidRequest, InvalidSubprotocol,
};

use crate::handshake_heads::{KEY, NONCE, client_request};

fn sent(request: ClientRequest) -> String {
    String::from_utf8(request.start(NONCE).0).expect("ASCII")
}

#[test]
fn the_request_equals_the_example_of_section_1_2() {
    let request = client_request()
        .origin("http://example.com")
        .and_then(|request| request.subprotocol("chat"))
        .and_then(|request| request.subprotocol("superchat"))
        .expect("valid");
    assert_eq!(
        sent(request),
        format!(
            "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\n\r\n"
        )
    );
}

#[test]
fn the_key_is_the_base64_of_the_bytes_given() {
    let (bytes, _) = client_request().start([0xff; 16]);
    let text = String::from_utf8(bytes).expect("ASCII");
    assert!(
        text.contains("\r\nSec-WebSocket-Key: /////////////////////w==\r\n"),
        "{text}"
    );
}

#[test]
fn deflate_is_offered_as_it_was_configured() {
    let config = DeflateConfig::default();
    let offer = format!("\r\nSec-WebSocket-Extensions: {}\r\n", config.offer());
    assert!(sent(client_request().deflate(config)).contains(&offer));
}

#[test]
fn basic_auth_is_the_example_of_rfc_7617() {
    let request = client_request()
        .basic_auth("Aladdin", "open sesame")
        .expect("valid");
    assert!(sent(request).contains("\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
}

#[test]
fn basic_auth_with_a_colon_in_the_user_or_control_characters_is_an_error() {
    for (user, password) in [("a:b", "c"), ("a\n", "c"), ("a", "c\0")] {
        let error = client_request()
            .basic_auth(user, password)
            .expect_err("a mistake");
        assert_eq!(error, InvalidRequest::Credentials);
    }
    client_request().basic_auth("", "pass:word").expect("valid");
}

#[test]
fn an_invalid_authority_is_an_error() {
    for authority in [
        "",
        "a b",
        "a/b",
        "u@a",
        "a:b",
        "http://a",
        "a\r\nX: y",
        "::1",
    ] {
        let error = ClientRequest::new(authority, "/").expect_err("a mistake");
        assert_eq!(error, InvalidRequest::Authority(authority.to_owned()));
    }
}

#[test]
fn a_target_that_is_not_a_path_or_could_inject_headers_is_an_error() {
    for target in [
        "",
        "chat",
        "/a b",
        "/a#b",
        "/a\r\nX: y",
        "/é",
        "/\0",
        "http://a/",
    ] {
        let error = ClientRequest::new("a", target).expect_err("a mistake");
        assert_eq!(error, InvalidRequest::Target(target.to_owned()));
    }
}

#[test]
fn an_origin_that_could_inject_headers_is_an_error() {
    for origin in ["", "a b", "a\r\nX: y", "é"] {
        let error = client_request().origin(origin).expect_err("a mistake");
        assert_eq!(error, InvalidRequest::Origin(origin.to_owned()));
    }
}

#[test]
fn a_subprotocol_that_is_not_a_token_or_a_duplicate_is_an_error() {
    for name in ["", "a b", "a,b", "a\r\n"] {
        let error = client_request().subprotocol(name).expect_err("a mistake");
        let why = InvalidSubprotocol::NotAToken(name.to_owned());
        assert_eq!(error, InvalidRequest::Subprotocol(why));
    }
    let twice = client_request()
        .subprotocol("a")
        .and_then(|request| request.subprotocol("a"));
    let why = InvalidSubprotocol::Repeated("a".to_owned());
    assert_eq!(
        twice.expect_err("a mistake"),
        InvalidRequest::Subprotocol(why)
    );
}

#[test]
fn extra_headers_are_sent_and_do_not_override_those_of_the_handshake() {
    let request = client_request()
        .header("X-One", "1")
        .and_then(|more| more.header("x-one", "2"));
    assert!(sent(request.expect("valid")).ends_with("\r\nX-One: 1\r\nx-one: 2\r\n\r\n"));
    for name in [
        "host",
        "Upgrade",
        "Connection",
        "Origin",
        "Content-Length",
        "sec-websocket-key",
    ] {
        let error = client_request().header(name, "x").expect_err("a mistake");
        let why = InvalidHeader::Reserved(name.to_owned());
        assert_eq!(error, InvalidRequest::Header(why));
    }
    assert!(client_request().header("X", "a\r\nHost: evil").is_err());
    assert!(client_request().header("X y", "a").is_err());
}

#[test]
fn secrets_are_not_in_the_debug_output() {
    let request = client_request().basic_auth("ada", "secret").expect("valid");
    let shown = format!("{request:?}");
    assert!(!shown.contains("YWRhOnNlY3JldA"), "{shown}");
    assert!(shown.contains("Authorization"), "{shown}");
}

//! RFC 6455 §4.1: what a client requires of the answer.

use offhook_protocol::handshake::{
    ClientStep, Culprit, HandshakeFailure, HeadLimits, MalformedHead,
};

use crate::handshake_heads::{Head, NONCE, client, client_request, failure, open, refused};

fn missing(name: &'static str) -> HandshakeFailure {
    HandshakeFailure::HeaderMissing { name }
}

fn invalid(name: &'static str) -> HandshakeFailure {
    HandshakeFailure::HeaderInvalid { name }
}

fn repeated(name: &'static str) -> HandshakeFailure {
    HandshakeFailure::HeaderRepeated { name }
}

#[test]
fn the_example_of_section_1_3_opens_the_connection() {
    let opened = open(client(), &Head::response().add("Server", "x")).expect("valid");
    assert_eq!(opened.negotiated.protocol, None);
    assert_eq!(opened.headers.get_str("server"), Some("x"));
}

#[test]
fn upgrade_must_be_websocket_in_any_case_once() {
    open(client(), &Head::response().set("Upgrade", "WebSocket")).expect("valid");
    assert_eq!(
        failure(&Head::response().without("Upgrade")),
        missing("Upgrade")
    );
    assert_eq!(
        failure(&Head::response().add("upgrade", "websocket")),
        repeated("Upgrade")
    );
    for upgrade in ["", "h2c", "websocket, h2c", "websockets"] {
        assert_eq!(
            failure(&Head::response().set("Upgrade", upgrade)),
            invalid("Upgrade")
        );
    }
}

#[test]
fn connection_must_name_upgrade_in_any_case() {
    for connection in ["upgrade", "keep-alive, UPGRADE"] {
        open(client(), &Head::response().set("Connection", connection)).expect("valid");
    }
    assert_eq!(
        failure(&Head::response().without("Connection")),
        missing("Connection")
    );
    for connection in ["", "close", "upgraded"] {
        assert_eq!(
            failure(&Head::response().set("Connection", connection)),
            invalid("Connection")
        );
    }
}

#[test]
fn accept_must_be_exactly_the_hash_of_our_key_once() {
    let name = "Sec-WebSocket-Accept";
    assert_eq!(failure(&Head::response().without(name)), missing(name));
    assert_eq!(failure(&Head::response().add(name, "x")), repeated(name));
    let wrong = [
        "",
        "S3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo",
        "\"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\"",
        "dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for accept in wrong {
        let found = failure(&Head::response().set(name, accept));
        assert_eq!(found, HandshakeFailure::WrongAccept, "{accept:?}");
        assert_eq!(found.culprit(), Culprit::Peer);
    }
}

#[test]
fn space_around_accept_is_not_part_of_it() {
    let padded = Head::response().set("Sec-WebSocket-Accept", " \ts3pPLMBiTxaQ9kYGzzhZRbK+xOo=  ");
    open(client(), &padded).expect("valid");
}

#[test]
fn a_101_in_another_version_of_http_fails() {
    let head = Head::response().start("HTTP/1.0 101 Switching Protocols");
    assert_eq!(failure(&head), HandshakeFailure::HttpVersion);
    let head = Head::response().start("HTTP/2.0 101 Switching Protocols");
    assert_eq!(failure(&head), HandshakeFailure::HttpVersion);
}

#[test]
fn a_selected_subprotocol_must_be_an_offered_one_in_the_same_case() {
    let client = || {
        let request = client_request()
            .subprotocol("a")
            .and_then(|more| more.subprotocol("b"));
        request.expect("tokens").start(NONCE).1
    };
    let answer = |name| Head::response().add("Sec-WebSocket-Protocol", name);
    let opened = open(client(), &answer("b")).expect("offered");
    assert_eq!(opened.negotiated.protocol.as_deref(), Some("b"));
    for other in ["c", "B"] {
        let found = open(client(), &answer(other)).expect_err("not offered");
        assert_eq!(
            found,
            HandshakeFailure::SubprotocolNotOffered(other.to_owned())
        );
    }
    for no_token in ["", "a, b", "a b"] {
        let found = open(client(), &answer(no_token)).expect_err("no token");
        assert_eq!(found, invalid("Sec-WebSocket-Protocol"));
    }
    let twice = answer("a").add("Sec-WebSocket-Protocol", "a");
    assert_eq!(
        open(client(), &twice).expect_err("twice"),
        repeated("Sec-WebSocket-Protocol")
    );
}

#[test]
fn an_unoffered_subprotocol_fails() {
    let found = failure(&Head::response().add("Sec-WebSocket-Protocol", "a"));
    assert_eq!(
        found,
        HandshakeFailure::SubprotocolNotOffered("a".to_owned())
    );
}

#[test]
fn an_answer_without_a_subprotocol_is_accepted_unless_one_is_required() {
    let request = || client_request().subprotocol("a").expect("a token");
    let opened = open(request().start(NONCE).1, &Head::response()).expect("valid");
    assert_eq!(opened.negotiated.protocol, None);
    let strict = request().require_subprotocol().start(NONCE).1;
    let found = open(strict, &Head::response()).expect_err("none");
    assert_eq!(found, HandshakeFailure::SubprotocolMissing);
}

#[test]
fn bytes_after_the_head_are_passed_on() {
    let head = Head::response().bytes();
    let mut bytes = head.clone();
    bytes.extend_from_slice(b"\x81\x02hi");
    let Ok(ClientStep::Open { consumed, .. }) = client().receive(&bytes) else {
        panic!("the answer is valid")
    };
    assert_eq!(bytes.split_off(consumed), b"\x81\x02hi");
    assert_eq!(consumed, head.len());
}

#[test]
fn interim_responses_are_skipped() {
    let mut bytes =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
    bytes.extend_from_slice(&Head::response().bytes());
    bytes.push(0x81);
    let Ok(ClientStep::Open { consumed, opened }) = client().receive(&bytes) else {
        panic!("the answer is valid")
    };
    assert_eq!(consumed, bytes.len() - 1);
    assert!(!opened.headers.contains("Link"));
}

#[test]
fn endless_interim_responses_fail() {
    let bytes = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(9);
    let found = client().receive(&bytes).expect_err("too many");
    assert_eq!(found, HandshakeFailure::TooManyInterim { limit: 8 });
    assert_eq!(found.culprit(), Culprit::Limit);
}

#[test]
fn a_redirect_has_its_location() {
    let found =
        refused(b"HTTP/1.1 302 Found\r\nLocation: wss://b.example/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(found.status(), 302);
    assert_eq!(
        found.headers().get_str("location"),
        Some("wss://b.example/")
    );
    assert!(found.body_is_complete());
}

#[test]
fn retry_after_is_available_even_from_http_1_0() {
    let found = refused(b"HTTP/1.0 503 Busy\r\nRetry-After: 7\r\n\r\nlater");
    assert_eq!(found.headers().get_str("Retry-After"), Some("7"));
    assert_eq!(found.body(), b"later");
    assert!(
        !found.body_is_complete(),
        "it ends when the connection closes"
    );
}

#[test]
fn a_body_of_known_length_ends_at_its_length() {
    let mut found = refused(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 8\r\n\r\nno ");
    assert!(!found.body_is_complete());
    found.receive_body(b"way!!trailing");
    assert_eq!(found.body(), b"no way!!");
    assert!(found.body_is_complete());
}

#[test]
fn a_chunked_body_is_decoded_in_any_split() {
    let head = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = b"3\r\nno \r\nA;name=value\r\nthank you.\r\n0\r\n\r\n";
    for size in 1..body.len() {
        let mut found = refused(head);
        body.chunks(size)
            .for_each(|piece| found.receive_body(piece));
        assert_eq!(found.body(), b"no thank you.", "in pieces of {size}");
        assert!(found.body_is_complete());
    }
}

#[test]
fn a_malformed_chunk_ends_the_body() {
    for body in [
        "2\r\nokZZ",
        "2\r\nok\r\nxyz\r\n",
        "2\r\nok\r\n11111111111111111\r\n",
    ] {
        let mut found = refused(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n");
        found.receive_body(body.as_bytes());
        assert_eq!(found.body(), b"ok", "{body:?}");
        assert!(found.body_is_complete(), "{body:?}");
    }
}

#[test]
fn a_body_is_truncated_at_the_limit() {
    for framing in [
        "Content-Length: 100",
        "X: until close",
        "Transfer-Encoding: chunked",
    ] {
        let bytes = format!("HTTP/1.1 500 Oops\r\n{framing}\r\n\r\n");
        let client = client_request().body_limit(5).start(NONCE).1;
        let Ok(ClientStep::Refused(mut found)) = client.receive(bytes.as_bytes()) else {
            panic!("a refusal")
        };
        found.receive_body(if framing.contains("chunked") {
            b"64\r\n"
        } else {
            b""
        });
        for _ in 0..10 {
            found.receive_body(b"abc");
        }
        assert_eq!(found.body(), b"abcab", "{framing}");
        assert!(found.body_is_complete());
    }
}

#[test]
fn statuses_without_a_body_have_none() {
    for status in ["204 No Content", "304 Not Modified"] {
        let bytes = format!("HTTP/1.1 {status}\r\n\r\nsomething else");
        let found = refused(bytes.as_bytes());
        assert!(found.body_is_complete() && found.body().is_empty());
    }
}

#[test]
fn an_answer_that_is_not_http_fails_immediately() {
    use MalformedHead::{BareLineFeed, ControlCharacter, LooksLikeTls};
    let table: [(&[u8], MalformedHead); 4] = [
        (b"\x16\x03\x01", LooksLikeTls),
        (b"HTTP/1.1 101\n", BareLineFeed),
        (b"\x00\x00\x12\x04", ControlCharacter(0)),
        (b"HTTP/1.1 101 Switching\r\nA: b\x07", ControlCharacter(7)),
    ];
    for (bytes, why) in table {
        let found = client().receive(bytes).expect_err("no HTTP");
        assert_eq!(found, HandshakeFailure::Malformed(why));
    }
}

#[test]
fn a_malformed_status_line_fails() {
    for line in [
        "HTTP/1.1 10",
        "HTTP/1.1 abc OK",
        "HTTP/1.1  101 x",
        "HTTP/1.1",
        "SSH-2.0-x",
        "",
    ] {
        let found = client().receive(&Head::response().start(line).bytes());
        assert!(found.is_err(), "{line:?}: {found:?}");
    }
}

#[test]
fn an_empty_line_before_the_status_line_fails() {
    let bytes = [b"\r\n", Head::response().bytes().as_slice()].concat();
    let found = client().receive(&bytes).expect_err("no status line");
    assert_eq!(
        found,
        HandshakeFailure::Malformed(MalformedHead::StatusLine)
    );
}

#[test]
fn heads_above_the_limits_fail_with_the_limit() {
    let limits = HeadLimits {
        bytes: 200,
        headers: 4,
    };
    let client = || client_request().head_limits(limits).start(NONCE).1;
    let large = client().receive(&[b'x'; 201]).expect_err("too large");
    assert_eq!(large, HandshakeFailure::HeadTooLarge { limit: 200 });
    assert_eq!(large.culprit(), Culprit::Limit);
    let many = Head::response().add("A", "1").add("B", "2");
    let many = client().receive(&many.bytes()).expect_err("too many");
    assert_eq!(many, HandshakeFailure::TooManyHeaders { limit: 4 });
}

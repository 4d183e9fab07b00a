//! RFC 6455 §4.2.1: what a server requires of the request.

use offhook_protocol::handshake::{Carrier, Rejection, RequestLine, ServerConfig, ServerDecision};

use crate::handshake_heads::{ACCEPT, Head, answer, assert_accepted, decide, decision, rejection};

fn missing(name: &'static str) -> Rejection {
    Rejection::HeaderMissing { name }
}

fn invalid(name: &'static str) -> Rejection {
    Rejection::HeaderInvalid { name }
}

fn repeated(name: &'static str) -> Rejection {
    Rejection::HeaderRepeated { name }
}

#[test]
fn the_application_sees_the_clients_request() {
    let head = Head::request()
        .start("GET /chat/%C3%A9?room=7&x=? HTTP/1.1")
        .add("Origin", "http://server.example.com")
        .add("Sec-WebSocket-Protocol", "chat, superchat")
        .add("Sec-WebSocket-Extensions", "x-one; a=1, x-two")
        .add("Cookie", "a=1")
        .add("cookie", "b=2");
    let decision = decision(&head);
    let request = decision.request();
    assert_eq!(request.carrier(), Carrier::Upgrade);
    assert_eq!(request.method(), "GET");
    assert_eq!(request.target(), "/chat/%C3%A9?room=7&x=?");
    assert_eq!(request.path(), "/chat/%C3%A9");
    assert_eq!(request.query(), Some("room=7&x=?"));
    assert_eq!(request.authority(), "server.example.com");
    assert_eq!(request.origin(), Some("http://server.example.com"));
    assert_eq!(
        request.subprotocols().collect::<Vec<_>>(),
        ["chat", "superchat"]
    );
    let extensions: Vec<_> = request
        .extensions()
        .iter()
        .map(|found| found.name)
        .collect();
    assert_eq!(extensions, ["x-one", "x-two"]);
    assert_eq!(
        request.headers().get_all("COOKIE").collect::<Vec<_>>(),
        [b"a=1", b"b=2"]
    );
}

#[test]
fn any_method_other_than_get_is_405_with_allow_get() {
    for method in ["POST", "HEAD", "OPTIONS", "CONNECT", "get", "GETS"] {
        let head = Head::request().start(&format!("{method} /chat HTTP/1.1"));
        assert_eq!(
            rejection(&head),
            Rejection::Method { allowed: "GET" },
            "{method}"
        );
    }
    let answer = answer(&Head::request().start("POST /chat HTTP/1.1"));
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nAllow: GET\r\n"), "{answer}");
}

#[test]
fn http_below_or_above_1_1_is_505() {
    for version in ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9"] {
        let head = Head::request().start(&format!("GET /chat {version}"));
        assert_eq!(rejection(&head), Rejection::HttpVersion, "{version}");
    }
    assert!(
        answer(&Head::request().start("GET / HTTP/1.0"))
            .starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n")
    );
}

#[test]
fn an_http2_preface_is_505() {
    let preface = decide(ServerConfig::default(), b"PRI * HTTP/2.0\r\n\r\n");
    assert_eq!(preface.expect_err("no HTTP/1.1"), Rejection::HttpVersion);
}

#[test]
fn the_authority_of_an_absolute_target_overrides_host() {
    let table = [
        (
            "http://other.example:81/a?b",
            "/a",
            Some("b"),
            "other.example:81",
        ),
        ("HTTPS://other.example", "/", None, "other.example"),
        ("http://other.example?q", "/", Some("q"), "other.example"),
        ("http://[::1]:80/", "/", None, "[::1]:80"),
    ];
    for (target, path, query, authority) in table {
        let decision = decision(&Head::request().start(&format!("GET {target} HTTP/1.1")));
        let request = decision.request();
        assert_eq!(request.path(), path, "{target}");
        assert_eq!(request.query(), query, "{target}");
        assert_eq!(request.authority(), authority, "{target}");
    }
}

#[test]
fn a_target_that_is_not_a_path_or_has_a_fragment_is_400() {
    for target in [
        "*",
        "chat",
        "server.example.com:80",
        "ftp://x/",
        "/a#b",
        "http://x/#f",
    ] {
        let head = Head::request().start(&format!("GET {target} HTTP/1.1"));
        assert_eq!(rejection(&head).status(), 400, "{target}");
    }
}

#[test]
fn host_must_be_present_once_and_valid() {
    assert_eq!(rejection(&Head::request().without("Host")), missing("Host"));
    assert_eq!(
        rejection(&Head::request().add("host", "server.example.com")),
        repeated("Host")
    );
    for host in [
        "",
        "a b",
        "a/b",
        "user@host",
        "host:port",
        "host:65536",
        "host:+1",
        "[::1",
        "[x]",
        "é",
    ] {
        let head = Head::request().set("Host", host);
        assert_eq!(rejection(&head), invalid("Host"), "{host:?}");
    }
    for host in [
        "a",
        "a:",
        "a:1",
        "127.0.0.1:65535",
        "[::1]",
        "[::1]:8080",
        "a_b.example.",
    ] {
        let head = Head::request().set("Host", host);
        assert_eq!(decision(&head).request().authority(), host);
    }
}

#[test]
fn host_must_be_present_and_valid_even_with_an_absolute_target() {
    let head = Head::request().start("GET http://other.example/ HTTP/1.1");
    assert_eq!(rejection(&head.clone().set("Host", "a b")), invalid("Host"));
    assert_eq!(rejection(&head.without("Host")), missing("Host"));
    let head = Head::request().start("GET http://a:b/ HTTP/1.1");
    assert_eq!(rejection(&head), invalid("Host"));
}

#[test]
fn upgrade_is_found_in_any_case_and_among_others() {
    for upgrade in [
        "WebSocket",
        "WEBSOCKET",
        "h2c, websocket",
        "foo/1 ,\twebsocket,",
        ",websocket",
    ] {
        assert_accepted(&Head::request().set("Upgrade", upgrade));
    }
    assert_accepted(
        &Head::request()
            .set("Upgrade", "h2c")
            .add("upgrade", "websocket"),
    );
}

#[test]
fn an_ordinary_request_is_426_with_the_protocol_to_upgrade_to() {
    for upgrade in ["h2c", "websockets", "websocket/13", "web socket", ""] {
        let head = Head::request().set("Upgrade", upgrade);
        assert_eq!(rejection(&head), Rejection::NotAnUpgrade, "{upgrade:?}");
    }
    let answer = answer(&Head::new("GET / HTTP/1.1").add("Host", "a"));
    assert!(
        answer.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nUpgrade: websocket\r\n"), "{answer}");
    assert!(
        answer.contains("\r\nConnection: Upgrade, close\r\n"),
        "{answer}"
    );
}

#[test]
fn connection_may_contain_upgrade_among_others_in_several_lines() {
    for connection in [
        "upgrade",
        "UPGRADE",
        "keep-alive, Upgrade",
        "Upgrade,keep-alive",
        ", ,upgrade",
    ] {
        assert_accepted(&Head::request().set("Connection", connection));
    }
    assert_accepted(
        &Head::request()
            .set("Connection", "keep-alive")
            .add("connection", "Upgrade"),
    );
}

#[test]
fn a_connection_header_without_upgrade_is_400() {
    assert_eq!(
        rejection(&Head::request().without("Connection")),
        missing("Connection")
    );
    for connection in ["keep-alive", "upgraded", "not-upgrade", "up grade", ""] {
        let head = Head::request().set("Connection", connection);
        assert_eq!(rejection(&head), missing("Connection"), "{connection:?}");
    }
}

#[test]
fn the_key_is_required_exactly_once() {
    let name = "Sec-WebSocket-Key";
    assert_eq!(rejection(&Head::request().without(name)), missing(name));
    assert_eq!(
        rejection(&Head::request().add(name, "AAAAAAAAAAAAAAAAAAAAAA==")),
        repeated(name)
    );
}

#[test]
fn the_key_is_the_canonical_base64_of_16_bytes() {
    let bad = [
        "",
        "dGhlIHNhbXBsZSBub25jZQ",   // no padding
        "dGhlIHNhbXBsZSBub25jZR==", // bits left over
        "dGhlIHNhbXBsZSBub25jZ===", // padding in place of a digit
        "dGhlIHNhbXBsZSBub25jZSE=", // 17 bytes
        "dGhlIHNhbXBsZSBub25j",     // 15 bytes
        "dGhlIHNhbXBsZSBub25jZSEh", // 18 bytes, of the right length
        "dGhlIHNhbXBsZSBub25j Q==", // a space
        "____________________ZQ==", // the URL-safe alphabet
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for key in bad {
        let head = Head::request().set("Sec-WebSocket-Key", key);
        assert_eq!(rejection(&head), invalid("Sec-WebSocket-Key"), "{key:?}");
    }
    assert_accepted(&Head::request().set("Sec-WebSocket-Key", "/////////////////////w=="));
}

#[test]
fn space_around_the_key_is_not_part_of_it() {
    let head = Head::request().set("Sec-WebSocket-Key", " \t dGhlIHNhbXBsZSBub25jZQ== \t");
    assert!(answer(&head).contains(ACCEPT));
}

#[test]
fn any_version_other_than_13_is_426_and_the_answer_names_13() {
    for version in ["8", "0", "14", "013", "13, 8", "+13", "", "thirteen"] {
        let head = Head::request().set("Sec-WebSocket-Version", version);
        assert_eq!(rejection(&head), Rejection::Version, "{version:?}");
    }
    let without = Head::request().without("Sec-WebSocket-Version");
    assert_eq!(rejection(&without), Rejection::Version);
    let answer = answer(&without);
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    assert!(
        answer.contains("\r\nSec-WebSocket-Version: 13\r\n"),
        "{answer}"
    );
}

#[test]
fn a_repeated_version_is_400() {
    let name = "Sec-WebSocket-Version";
    assert_eq!(rejection(&Head::request().add(name, "13")), repeated(name));
}

#[test]
fn a_body_is_400_and_a_content_length_of_0_is_not() {
    for (name, value) in [
        ("Content-Length", "1"),
        ("Content-Length", "00"),
        ("Content-Length", "-0"),
        ("Content-Length", "0, 5"),
        ("Transfer-Encoding", "chunked"),
        ("Transfer-Encoding", "identity"),
    ] {
        assert_eq!(
            rejection(&Head::request().add(name, value)),
            Rejection::Body,
            "{name}: {value}"
        );
    }
    assert_accepted(&Head::request().add("Content-Length", "0"));
    let hidden = Head::request()
        .add("Content-Length", "0")
        .add("Content-Length", "9");
    assert_eq!(rejection(&hidden), Rejection::Body);
}

#[test]
fn unknown_headers_are_ignored() {
    // RFC 6455 §4.2.1 point 10.
    assert_accepted(
        &Head::request()
            .add("Sec-WebSocket-Unheard-Of", "x")
            .add("X-Any", "thing"),
    );
}

#[test]
fn a_head_parsed_by_an_http_library_follows_the_same_rules() {
    let config = ServerConfig::default();
    let decide = |method, version, head: &Head| {
        let line = RequestLine {
            method,
            target: "/chat",
            version,
        };
        ServerDecision::from_parsed(&config, line, head.fields()).map(ServerDecision::accept)
    };
    let valid = Head::request();
    let accepted = decide("GET", (1, 1), &valid).expect("valid");
    assert_eq!(accepted.request.path(), "/chat");
    assert_eq!(
        accepted.response.headers().get_str("Sec-WebSocket-Accept"),
        Some(ACCEPT)
    );

    let rejected = |method, version, head: &Head| decide(method, version, head).expect_err("bad");
    assert_eq!(
        rejected("POST", (1, 1), &valid),
        Rejection::Method { allowed: "GET" }
    );
    assert_eq!(rejected("GET", (1, 0), &valid), Rejection::HttpVersion);
    for name in ["Host", "Connection", "Sec-WebSocket-Key"] {
        assert_eq!(
            rejected("GET", (1, 1), &valid.clone().without(name)),
            missing(name)
        );
    }
    let just = (5..64).fold(valid.clone(), |head, _| head.add("X", "y"));
    assert!(decide("GET", (1, 1), &just).is_ok());
    let many = (5..65).fold(valid.clone(), |head, _| head.add("X", "y"));
    assert_eq!(
        rejected("GET", (1, 1), &many),
        Rejection::TooManyHeaders { limit: 64 }
    );
    let large = valid.add("X", &"y".repeat(20_000));
    assert_eq!(
        rejected("GET", (1, 1), &large),
        Rejection::HeadTooLarge { limit: 16 * 1024 }
    );
}

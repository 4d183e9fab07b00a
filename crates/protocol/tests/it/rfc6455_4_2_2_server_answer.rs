//! RFC 6455 §4.2.2: what a server answers.

use offhook_protocol::handshake::{InvalidHeader, InvalidSubprotocol, Refusal};

use crate::handshake_heads::{ACCEPT, Head, answer, decision};

#[test]
fn the_example_of_section_1_3_is_answered_exactly() {
    assert_eq!(
        answer(&Head::request()),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        )
    );
}

#[test]
fn a_rejection_closes_has_a_length_and_does_not_repeat_the_request() {
    let head = Head::request().set("Sec-WebSocket-Key", "<script>");
    let answer = answer(&head);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(
        head.contains(&format!("\r\nContent-Length: {}", body.len())),
        "{head}"
    );
    assert!(
        head.contains("\r\nContent-Type: text/plain; charset=utf-8"),
        "{head}"
    );
    assert_eq!(body, "the Sec-WebSocket-Key header is malformed\n");
}

#[test]
fn a_refusal_of_the_application_carries_its_status_fields_and_body() {
    let refusal = Refusal::new(401).expect("a status").body("log in first\n");
    let refusal = refusal
        .header("WWW-Authenticate", "Basic realm=\"chat\"")
        .expect("a header");
    let bytes = decision(&Head::request()).reject(refusal).into_bytes();
    assert_eq!(
        String::from_utf8(bytes).expect("ASCII"),
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"chat\"\r\n\
         Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\nContent-Length: 13\r\n\r\n\
         log in first\n"
    );
}

#[test]
fn a_refusal_keeps_the_content_type_it_was_given() {
    let refusal = Refusal::new(403).expect("a status").body("{}");
    let refusal = refusal
        .header("content-type", "application/json")
        .expect("a header");
    let response = decision(&Head::request()).reject(refusal);
    assert_eq!(response.headers().get_all("Content-Type").count(), 1);
}

#[test]
fn a_refusal_whose_status_has_no_body_is_sent_without_one() {
    for status in [204, 304] {
        let refusal = Refusal::new(status).expect("a status").body("not sent");
        let response = decision(&Head::request()).reject(refusal);
        assert!(!response.headers().contains("Content-Length"), "{status}");
        assert!(response.into_bytes().ends_with(b"\r\n\r\n"), "{status}");
    }
}

#[test]
fn a_refusal_can_neither_switch_protocols_nor_be_interim() {
    for status in [0, 100, 101, 199, 600, 999] {
        assert!(Refusal::new(status).is_err(), "{status}");
    }
}

#[test]
fn extra_fields_of_the_answer_cannot_inject_headers() {
    let mut decision = decision(&Head::request());
    for (name, value) in [
        ("X", "a\r\nb: c"),
        ("X", "a\r\n"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0b"),
        ("X", "\u{7f}"),
    ] {
        let error = decision.add_header(name, value).expect_err("an injection");
        assert_eq!(error, InvalidHeader::Value("X".to_owned()), "{value:?}");
    }
    for name in ["", "a b", "a:", "a\r\n", "é", "(x)"] {
        let error = decision.add_header(name, "v").expect_err("no token");
        assert_eq!(error, InvalidHeader::Name(name.to_owned()));
    }
    assert_eq!(decision.accept().response.headers().len(), 3);
}

#[test]
fn extra_fields_cannot_override_those_of_the_handshake() {
    for name in [
        "Upgrade",
        "CONNECTION",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Sec-WebSocket-Accept",
        "sec-websocket-protocol",
        "Sec-WebSocket-Anything",
    ] {
        let reserved = InvalidHeader::Reserved(name.to_owned());
        assert_eq!(
            decision(&Head::request()).add_header(name, "x"),
            Err(reserved.clone())
        );
        let refusal = Refusal::new(403).expect("a status").header(name, "x");
        assert_eq!(refusal.expect_err("reserved"), reserved);
    }
}

#[test]
fn extra_fields_of_the_answer_are_sent_as_often_as_they_were_added() {
    let mut decision = decision(&Head::request());
    decision.add_header("Set-Cookie", "a=1").expect("a header");
    decision
        .add_header("Set-Cookie", "b=\u{e9}")
        .expect("a header");
    let bytes = decision.accept().response.into_bytes();
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert!(
        text.ends_with("\r\nSet-Cookie: a=1\r\nSet-Cookie: b=\u{e9}\r\n\r\n"),
        "{text}"
    );
}

#[test]
fn the_application_may_select_only_an_offered_subprotocol() {
    let head = Head::request().add("Sec-WebSocket-Protocol", "a, b");
    let mut decision = decision(&head);
    let not_offered = InvalidSubprotocol::NotOffered("c".to_owned());
    assert_eq!(decision.select_subprotocol(Some("c")), Err(not_offered));
    decision.select_subprotocol(Some("b")).expect("offered");
    let accepted = decision.accept();
    assert_eq!(accepted.negotiated.protocol.as_deref(), Some("b"));
    assert_eq!(
        accepted
            .response
            .headers()
            .get_str("Sec-WebSocket-Protocol"),
        Some("b")
    );
}

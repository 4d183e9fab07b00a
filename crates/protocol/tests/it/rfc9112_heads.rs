//! RFC 9112: how a head is framed, what is malformed, and the limits.

use std::sync::Arc;

use offhook_protocol::handshake::{
    Carrier, HeadLimits, MalformedHead, Rejection, ServerConfig, ServerHandshake, ServerStep,
};

use crate::handshake_heads::{Head, decide, decision, rejection};

fn raw(bytes: &[u8]) -> Result<ServerStep, Rejection> {
    ServerHandshake::new(Arc::new(ServerConfig::default())).receive(bytes)
}

fn malformed(bytes: &[u8]) -> MalformedHead {
    let Err(Rejection::Malformed(why)) = raw(bytes) else {
        panic!("expected a malformed head")
    };
    why
}

/// The valid request with one more raw line.
fn with_line(line: &[u8]) -> Vec<u8> {
    let mut bytes = Head::request().bytes();
    bytes.truncate(bytes.len() - 2);
    [&bytes, line, b"\r\n\r\n"].concat()
}

#[test]
fn every_split_in_two_gives_the_same_request() {
    let bytes = Head::request().bytes();
    for at in 0..bytes.len() {
        let Ok(ServerStep::Incomplete(waiting)) = raw(&bytes[..at]) else {
            panic!("incomplete after {at} bytes")
        };
        let Ok(ServerStep::Request { decision, consumed }) = waiting.receive(&bytes[at..]) else {
            panic!("complete after the rest of {at}")
        };
        assert_eq!(consumed, bytes.len() - at);
        assert_eq!(decision.request().path(), "/chat");
    }
}

#[test]
fn a_head_may_arrive_byte_by_byte() {
    let bytes = Head::request().bytes();
    let (last, first) = bytes.split_last().expect("bytes");
    let mut handshake = ServerHandshake::new(Arc::new(ServerConfig::default()));
    for byte in first {
        let Ok(ServerStep::Incomplete(waiting)) = handshake.receive(&[*byte]) else {
            panic!("not whole yet")
        };
        handshake = waiting;
    }
    assert!(matches!(
        handshake.receive(&[*last]),
        Ok(ServerStep::Request { consumed: 1, .. })
    ));
}

#[test]
fn bytes_after_the_head_are_passed_on() {
    let mut bytes = Head::request().bytes();
    let length = bytes.len();
    bytes.extend_from_slice(b"\x81\x85\r\n\r\n\x00\xff\r\n\r\n");
    let Ok(ServerStep::Request { consumed, .. }) = raw(&bytes) else {
        panic!("valid")
    };
    assert_eq!(consumed, length);
}

#[test]
fn an_empty_line_before_the_request_line_is_skipped() {
    // RFC 9112 §2.2.
    let bytes = [b"\r\n", Head::request().bytes().as_slice()].concat();
    assert!(decide(ServerConfig::default(), &bytes).is_ok());
    assert!(matches!(malformed(b"\r\n\r\n"), MalformedHead::RequestLine));
}

#[test]
fn lines_that_end_with_a_bare_line_feed_are_400() {
    assert_eq!(
        malformed(b"GET / HTTP/1.1\nHost: a\n\n"),
        MalformedHead::BareLineFeed
    );
    assert_eq!(
        malformed(&with_line(b"A: b\nC: d")),
        MalformedHead::BareLineFeed
    );
    assert_eq!(malformed(b"\n"), MalformedHead::BareLineFeed);
}

#[test]
fn a_bare_carriage_return_is_400() {
    assert_eq!(
        malformed(&with_line(b"A: b\rC: d")),
        MalformedHead::HeaderValue
    );
    assert_eq!(
        raw(b"GET /\r HTTP/1.1\r\n\r\n").expect_err("bad").status(),
        400
    );
}

#[test]
fn control_characters_are_400_before_the_head_ends() {
    assert_eq!(malformed(b"GET /\0"), MalformedHead::ControlCharacter(0));
    assert_eq!(
        malformed(b"GET / HTTP/1.1\r\nA: \x7f"),
        MalformedHead::ControlCharacter(0x7f)
    );
}

#[test]
fn tls_on_a_plain_port_is_detected_at_the_first_byte() {
    assert_eq!(malformed(b"\x16"), MalformedHead::LooksLikeTls);
}

#[test]
fn folded_lines_are_400() {
    // RFC 9112 §5.2.
    assert_eq!(
        malformed(&with_line(b"A: b\r\n c")),
        MalformedHead::HeaderName
    );
    assert_eq!(
        malformed(&with_line(b"A: b\r\n\tc")),
        MalformedHead::HeaderName
    );
}

#[test]
fn malformed_names_are_400() {
    for line in ["A b: c", "A : c", ": c", "no colon", "(A): c", "\u{e9}: c"] {
        assert_eq!(
            malformed(&with_line(line.as_bytes())),
            MalformedHead::HeaderName,
            "{line:?}"
        );
    }
}

#[test]
fn obs_text_and_tabs_in_values_are_kept_as_bytes() {
    // RFC 9110 §5.5.
    let bytes = with_line(b"X-Name: caf\xe9\tau lait");
    let decision = decide(ServerConfig::default(), &bytes).expect("valid");
    let headers = decision.request().headers();
    assert_eq!(headers.get("x-name"), Some(&b"caf\xe9\tau lait"[..]));
    assert_eq!(headers.get_str("x-name"), None);
}

#[test]
fn a_malformed_request_line_is_400() {
    for line in [
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/1",
        "GET / http/1.1",
        "G(T / HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
    ] {
        assert_eq!(
            rejection(&Head::request().start(line)).status(),
            400,
            "{line:?}"
        );
    }
}

#[test]
fn a_head_at_the_limit_is_accepted_and_one_byte_more_is_431() {
    let bytes = Head::request().bytes();
    let config = |limit| ServerConfig {
        limits: HeadLimits {
            bytes: limit,
            ..HeadLimits::default()
        },
        ..ServerConfig::default()
    };
    assert!(decide(config(bytes.len()), &bytes).is_ok());
    let limit = bytes.len() - 1;
    let rejection = decide(config(limit), &bytes).expect_err("beyond it");
    assert_eq!(rejection, Rejection::HeadTooLarge { limit });
    let answer = rejection.response(Carrier::Upgrade).into_bytes();
    assert!(answer.starts_with(b"HTTP/1.1 431 Request Header Fields Too Large\r\n"));
}

#[test]
fn an_endless_head_is_431_in_any_split() {
    let limit = HeadLimits::default().bytes;
    let endless = vec![b'x'; limit + 1];
    let too_large = Rejection::HeadTooLarge { limit };
    assert_eq!(raw(&endless).expect_err("too large"), too_large);
    let Ok(ServerStep::Incomplete(waiting)) = raw(&endless[..limit]) else {
        panic!("within the limit")
    };
    assert_eq!(waiting.receive(b"x").expect_err("too large"), too_large);
}

#[test]
fn bytes_after_the_head_do_not_count_against_the_limit() {
    let mut bytes = Head::request().bytes();
    bytes.resize(HeadLimits::default().bytes * 4, 0);
    assert!(matches!(raw(&bytes), Ok(ServerStep::Request { .. })));
}

#[test]
fn fields_up_to_the_limit_are_accepted_and_one_more_is_431() {
    let allowed = HeadLimits::default().headers;
    let fill = |count: usize| {
        (5..count).fold(Head::request(), |head, number| {
            head.add("X", &number.to_string())
        })
    };
    assert_eq!(decision(&fill(allowed)).request().headers().len(), allowed);
    let too_many = rejection(&fill(allowed + 1));
    assert_eq!(too_many, Rejection::TooManyHeaders { limit: allowed });
    assert_eq!(too_many.status(), 431);
}

#[test]
fn no_configuration_allows_more_than_128_fields() {
    let limits = HeadLimits {
        bytes: 1 << 20,
        headers: 1000,
    };
    let config = ServerConfig {
        limits,
        ..ServerConfig::default()
    };
    let head = (0..200).fold(Head::request(), |head, _| head.add("X", "y"));
    let rejection = decide(config, &head.bytes()).expect_err("too many");
    assert_eq!(rejection, Rejection::TooManyHeaders { limit: 128 });
}

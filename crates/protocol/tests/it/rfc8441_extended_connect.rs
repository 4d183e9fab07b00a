//! RFC 8441: WebSocket over HTTP/2.

use offhook_protocol::deflate::DeflateConfig;
use offhook_protocol::handshake::{
    Accepted, Carrier, ClientRequest, ConnectHandshake, ConnectOutcome, ConnectRequest,
    HandshakeFailure, Headers, MalformedHead, Refusal, Rejection, Scheme, ServerConfig,
    ServerDecision, Subprotocols,
};

use crate::handshake_heads::client_request;

const CONNECT: ConnectRequest<'_> = ConnectRequest {
    method: "CONNECT",
    protocol: Some("websocket"),
    scheme: "https",
    authority: "server.example.com",
    path: "/chat",
};

type Fields<'a> = &'a [(&'a str, &'a str)];

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

fn decide(
    config: &ServerConfig,
    connect: ConnectRequest<'_>,
    fields: Fields<'_>,
) -> Result<ServerDecision, Rejection> {
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    ServerDecision::from_extended_connect(config, connect, fields)
}

fn rejection(connect: ConnectRequest<'_>, fields: Fields<'_>) -> Rejection {
    decide(&ServerConfig::default(), connect, fields).expect_err("a request to reject")
}

fn answered(
    client: ConnectHandshake,
    status: u16,
    headers: &Headers,
) -> Result<ConnectOutcome, HandshakeFailure> {
    client.answered(status, headers.iter())
}

/// The server's answer to what this client sends.
fn accept(config: &ServerConfig, client: &ConnectHandshake) -> Accepted {
    ServerDecision::from_extended_connect(config, client.request(), client.headers().iter())
        .expect("a valid request")
        .accept()
}

#[test]
fn the_example_of_section_5_1_is_accepted() {
    let client = client_request()
        .subprotocol("chat")
        .and_then(|request| request.subprotocol("superchat"))
        .and_then(|request| request.origin("https://server.example.com"))
        .expect("valid")
        .deflate(DeflateConfig::default())
        .extended_connect(Scheme::Https);
    assert_eq!(client.request(), CONNECT);
    let names: Vec<_> = client.headers().iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "sec-websocket-version",
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "origin"
        ]
    );

    let config = ServerConfig {
        scheme: Scheme::Https,
        subprotocols: Subprotocols::new(["superchat", "chat"]).expect("tokens"),
        deflate: Some(DeflateConfig::default()),
        ..ServerConfig::default()
    };
    let accepted = accept(&config, &client);
    assert_eq!(accepted.response.status(), 200);
    let names: Vec<_> = accepted
        .response
        .headers()
        .iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        ["sec-websocket-protocol", "sec-websocket-extensions"]
    );
    assert_eq!(accepted.request.carrier(), Carrier::ExtendedConnect);
    assert_eq!(accepted.request.method(), "CONNECT");
    assert_eq!(accepted.request.path(), "/chat");

    let outcome = answered(client, 200, accepted.response.headers()).expect("valid");
    let ConnectOutcome::Open(opened) = outcome else {
        panic!("expected open: {outcome:?}")
    };
    assert_eq!(opened.negotiated, accepted.negotiated);
    assert_eq!(opened.negotiated.protocol.as_deref(), Some("chat"));
    assert!(opened.negotiated.deflate.is_some());
}

#[test]
fn neither_side_sends_the_fields_of_the_http_1_1_upgrade() {
    let client = client_request().extended_connect(Scheme::Http);
    let accepted = accept(&ServerConfig::default(), &client);
    for name in [
        "sec-websocket-key",
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "host",
    ] {
        assert!(!client.headers().contains(name), "{name}");
        assert!(!accepted.response.headers().contains(name), "{name}");
    }
}

#[test]
fn the_method_must_be_connect() {
    let get = ConnectRequest {
        method: "GET",
        ..CONNECT
    };
    assert_eq!(
        rejection(get, &[VERSION]),
        Rejection::Method { allowed: "CONNECT" }
    );
}

#[test]
fn another_protocol_or_none_is_501() {
    for protocol in [None, Some("connect-udp"), Some("webtransport"), Some("")] {
        let rejection = rejection(
            ConnectRequest {
                protocol,
                ..CONNECT
            },
            &[VERSION],
        );
        assert_eq!(rejection, Rejection::UnknownProtocol, "{protocol:?}");
        assert_eq!(rejection.status(), 501);
    }
}

#[test]
fn the_scheme_must_be_http_or_https() {
    for scheme in ["ws", "wss", ""] {
        let found = rejection(ConnectRequest { scheme, ..CONNECT }, &[VERSION]);
        assert_eq!(
            found,
            Rejection::HeaderInvalid { name: ":scheme" },
            "{scheme:?}"
        );
    }
}

#[test]
fn path_and_authority_must_be_valid() {
    for path in ["", "chat", "*", "/a#b", "/a b", "https://x/"] {
        let found = rejection(ConnectRequest { path, ..CONNECT }, &[VERSION]);
        assert_eq!(
            found,
            Rejection::Malformed(MalformedHead::Target),
            "{path:?}"
        );
    }
    for authority in ["", "a b", "u@a", "a:b"] {
        let found = rejection(
            ConnectRequest {
                authority,
                ..CONNECT
            },
            &[VERSION],
        );
        assert_eq!(
            found,
            Rejection::HeaderInvalid { name: ":authority" },
            "{authority:?}"
        );
    }
}

#[test]
fn fields_of_the_connection_make_the_request_malformed() {
    // RFC 9113 §8.2.2.
    for name in ["Connection", "Upgrade", "Transfer-Encoding"] {
        let found = rejection(CONNECT, &[VERSION, (name, "x")]);
        assert_eq!(found, Rejection::HeaderInvalid { name });
    }
}

#[test]
fn another_version_is_400_and_names_13() {
    for fields in [&[("sec-websocket-version", "8")][..], &[]] {
        let found = rejection(CONNECT, fields);
        assert_eq!(found, Rejection::Version);
        let response = found.response(Carrier::ExtendedConnect);
        assert_eq!(response.status(), 400);
        assert_eq!(
            response.headers().get_str("sec-websocket-version"),
            Some("13")
        );
        assert!(!response.headers().contains("upgrade"));
        assert!(!response.headers().contains("connection"));
    }
}

#[test]
fn origin_subprotocol_and_extensions_follow_the_same_rules() {
    let table: [((&str, &str), u16); 4] = [
        (("origin", "https://evil.example"), 403),
        (("sec-websocket-protocol", "a, a"), 400),
        (("sec-websocket-extensions", "a b"), 400),
        (("x\r\n", "a"), 400),
    ];
    for (field, status) in table {
        assert_eq!(
            rejection(CONNECT, &[VERSION, field]).status(),
            status,
            "{field:?}"
        );
    }
}

#[test]
fn a_refusal_has_no_fields_of_the_connection_and_lower_case_names() {
    let decision = decide(&ServerConfig::default(), CONNECT, &[VERSION]).expect("valid");
    let refusal = Refusal::new(401).expect("a status").body("no\n");
    let refusal = refusal
        .header("WWW-Authenticate", "Basic")
        .expect("a header");
    let response = decision.reject(refusal);
    let fields: Vec<_> = response.headers().iter().collect();
    let expected: [(&str, &[u8]); 3] = [
        ("www-authenticate", b"Basic"),
        ("content-type", b"text/plain; charset=utf-8"),
        ("content-length", b"3"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(response.body(), b"no\n");
}

#[test]
fn a_client_accepts_every_2xx_and_nothing_else() {
    let client = || client_request().extended_connect(Scheme::Https);
    for status in [200, 204, 299] {
        let outcome = answered(client(), status, &Headers::new()).expect("valid");
        assert!(matches!(outcome, ConnectOutcome::Open(_)), "{status}");
    }
    for status in [101, 302, 401, 501, 503] {
        let mut headers = Headers::new();
        headers.append("retry-after", "7").expect("a header");
        match answered(client(), status, &headers).expect("valid") {
            ConnectOutcome::Refused(mut refused) => {
                assert_eq!(refused.status(), status);
                assert_eq!(refused.headers().get_str("Retry-After"), Some("7"));
                refused.receive_body(b"later");
                assert_eq!(refused.body(), b"later");
            }
            ConnectOutcome::Open(_) => panic!("{status} opened"),
        }
    }
}

#[test]
fn a_client_fails_on_unoffered_fields() {
    let answer = |name: &str, value: &str| {
        let mut headers = Headers::new();
        headers.append(name, value).expect("a header");
        let client = ClientRequest::new("a", "/")
            .expect("valid")
            .extended_connect(Scheme::Http);
        answered(client, 200, &headers).expect_err("not offered")
    };
    let found = answer("sec-websocket-protocol", "chat");
    assert_eq!(
        found,
        HandshakeFailure::SubprotocolNotOffered("chat".to_owned())
    );
    let found = answer("sec-websocket-extensions", "permessage-deflate");
    assert!(
        matches!(found, HandshakeFailure::Negotiation(_)),
        "{found:?}"
    );
}

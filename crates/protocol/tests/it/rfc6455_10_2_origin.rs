//! RFC 6455 §10.2: which web pages may connect.

use offhook_protocol::handshake::{Carrier, OriginPolicy, Rejection, Scheme, ServerConfig};

use crate::handshake_heads::{Head, decide};

fn allowed(policy: OriginPolicy, scheme: Scheme, host: &str, origin: &str) -> bool {
    let config = ServerConfig {
        origin: policy,
        scheme,
        ..ServerConfig::default()
    };
    let head = Head::request().set("Host", host).add("Origin", origin);
    match decide(config, &head.bytes()) {
        Ok(_) => true,
        Err(Rejection::OriginDenied { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_same_origin_is_the_same_scheme_host_and_port() {
    use Scheme::{Http, Https};
    let table = [
        (Http, "a.example", "http://a.example", true),
        (Http, "A.Example", "HTTP://a.eXample", true),
        (Http, "a.example:80", "http://a.example", true),
        (Http, "a.example", "http://a.example:80", true),
        (Https, "a.example", "https://a.example:443", true),
        (Https, "a.example:8443", "https://a.example:8443", true),
        (Http, "[::1]:8080", "http://[::1]:8080", true),
        (Http, "[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080", true),
        (Http, "localhost:3000", "http://localhost:3000", true),
        (Http, "a.example", "https://a.example", false),
        (Https, "a.example", "http://a.example", false),
        (Https, "a.example", "https://a.example:80", false),
        (Http, "a.example", "https://a.example:80", false),
        (Http, "a.example:8080", "https://a.example:8080", false),
        (Http, "a.example", "http://a.example:8080", false),
        (Http, "a.example", "http://b.example", false),
        (Http, "a.example", "http://a.example.evil.example", false),
        (Http, "a.example", "http://sub.a.example", false),
        (Http, "a.example", "null", false),
        (Http, "a.example", "", false),
        (Http, "a.example", "a.example", false),
        (Http, "a.example", "http://a.example/", false),
        (Http, "a.example", "http://user@a.example", false),
        (
            Http,
            "a.example",
            "http://a.example http://b.example",
            false,
        ),
        (Http, "a.example", "ws://a.example", false),
        (Http, "[::1]", "http://[::2]", false),
    ];
    for (scheme, host, origin, expected) in table {
        let found = allowed(OriginPolicy::SameOrigin, scheme, host, origin);
        assert_eq!(
            found, expected,
            "Host: {host}, Origin: {origin}, {scheme:?}"
        );
    }
}

#[test]
fn the_default_is_the_same_origin() {
    assert!(allowed(
        OriginPolicy::default(),
        Scheme::Http,
        "a.example",
        "http://a.example"
    ));
    assert!(!allowed(
        OriginPolicy::default(),
        Scheme::Http,
        "a.example",
        "http://b.example"
    ));
}

#[test]
fn an_allow_list_contains_complete_origins() {
    let list = [
        "https://a.example",
        "http://localhost:3000",
        "chrome-extension://abc",
    ];
    let policy = || OriginPolicy::allow_list(list).expect("origins");
    let table = [
        ("https://a.example", true),
        ("https://A.EXAMPLE:443", true),
        ("http://localhost:3000", true),
        ("chrome-extension://abc", true),
        ("http://a.example", false),
        ("https://b.a.example", false),
        ("http://localhost", false),
        ("chrome-extension://abcd", false),
        ("null", false),
        ("http://server.example.com", false),
    ];
    for (origin, expected) in table {
        let found = allowed(policy(), Scheme::Http, "server.example.com", origin);
        assert_eq!(found, expected, "{origin}");
    }
}

#[test]
fn an_allow_list_with_an_invalid_origin_is_an_error_of_the_caller() {
    for bad in [
        "null",
        "a.example",
        "https://a.example/",
        "https://",
        "://a",
        "1a://b",
        "*",
        "https://*",
        "https://a.*.example",
        "https://*a.example",
        "https://a.example:80*",
        "*://a.example",
    ] {
        let error = OriginPolicy::allow_list([bad]).expect_err(bad);
        assert!(
            error.to_string().contains("expected scheme://host"),
            "{error}"
        );
    }
}

#[test]
fn a_wildcard_stands_for_every_name_below_a_domain_and_for_nothing_else() {
    let list = [
        "https://*.a.example",
        "http://localhost:*",
        "http://*.localhost:*",
        "http://[::1]:*",
    ];
    let policy = || OriginPolicy::allow_list(list).expect("patterns");
    let table = [
        ("https://b.a.example", true),
        ("https://C.B.A.Example:443", true),
        ("http://localhost", true),
        ("http://localhost:3000", true),
        ("http://app.localhost:5173", true),
        ("http://[::1]:3000", true),
        ("https://a.example", false),
        ("https://.a.example", false),
        ("https://b..a.example", false),
        ("https://evila.example", false),
        ("https://b.a.example:8443", false),
        ("http://b.a.example", false),
        ("https://a.example.evil.example", false),
        ("https://b.a.example.", false),
        ("https://evil.example/.a.example", false),
        ("https://evil.example%2f.a.example", false),
        ("https://evil.example;.a.example", false),
        ("https://user@b.a.example", false),
        ("https://localhost:3000", false),
        ("http://localhost.evil.example", false),
        ("http://127.0.0.1:3000", false),
        ("http://[::2]:3000", false),
        ("null", false),
        ("http://server.example.com", false),
    ];
    for (origin, expected) in table {
        let found = allowed(policy(), Scheme::Http, "server.example.com", origin);
        assert_eq!(found, expected, "{origin}");
    }
}

#[test]
fn the_word_same_adds_the_own_pages_to_a_list() {
    let policy = || OriginPolicy::allow_list(["same", "http://localhost:*"]).expect("patterns");
    for (origin, expected, everywhere) in [
        ("http://a.example", true, false),
        ("http://localhost:3000", true, true),
        ("http://b.example", false, false),
        ("null", false, false),
    ] {
        let found = allowed(policy(), Scheme::Http, "a.example", origin);
        assert_eq!(found, expected, "{origin}");
        assert_eq!(policy().allows_everywhere(origin), everywhere, "{origin}");
    }
    assert!(OriginPolicy::Any.allows_everywhere("null"));
    assert!(!OriginPolicy::SameOrigin.allows_everywhere("http://a.example"));
}

#[test]
fn a_wildcard_below_a_name_that_everybody_shares_is_the_callers_mistake() {
    for bad in [
        "https://*.com",
        "https://*.com:*",
        "https://*.",
        "https://*..com",
        "https://*.127.0.0.1",
        "https://*.[::1]",
        "https://a.example:443:*",
        "https://*.*.example",
    ] {
        OriginPolicy::allow_list([bad]).expect_err(bad);
    }
    for good in ["https://*.test", "http://*.internal:*"] {
        OriginPolicy::allow_list([good]).expect(good);
    }
}

#[test]
fn a_refusal_names_the_origin_without_what_could_break_a_line_or_fill_a_log() {
    let refuse = |origin: &str| {
        let head = Head::request().add("Origin", origin);
        let rejection = decide(ServerConfig::default(), &head.bytes()).expect_err(origin);
        rejection.to_string()
    };
    let plain = refuse("https://evil.example");
    assert_eq!(
        plain,
        "pages from https://evil.example may not connect here"
    );
    let odd = refuse("https://\u{e9}vil.example\t<b>");
    assert_eq!(
        odd,
        "pages from https://??vil.example?<b> may not connect here"
    );
    let long = refuse(&format!("https://{}", "a".repeat(2_000)));
    assert!(long.len() < 250, "{long}");
}

#[test]
fn any_accepts_every_origin_including_null() {
    for origin in ["https://evil.example", "null", "what?"] {
        assert!(allowed(
            OriginPolicy::Any,
            Scheme::Http,
            "a.example",
            origin
        ));
    }
}

#[test]
fn a_request_without_origin_does_not_come_from_a_browser_and_is_accepted() {
    let list = OriginPolicy::allow_list(["https://a.example"]).expect("an origin");
    for origin in [OriginPolicy::SameOrigin, list, OriginPolicy::Any] {
        let config = ServerConfig {
            origin,
            ..ServerConfig::default()
        };
        assert!(decide(config, &Head::request().bytes()).is_ok());
    }
}

#[test]
fn a_request_without_origin_is_403_where_it_is_required() {
    let config = ServerConfig {
        require_origin: true,
        ..ServerConfig::default()
    };
    let rejection = decide(config, &Head::request().bytes()).expect_err("no origin");
    assert_eq!(rejection, Rejection::OriginMissing);
    assert_eq!(rejection.status(), 403);
}

#[test]
fn a_denied_origin_is_403() {
    let head = Head::request().add("Origin", "https://evil.example");
    let rejection = decide(ServerConfig::default(), &head.bytes()).expect_err("denied");
    let bytes = rejection.response(Carrier::Upgrade).into_bytes();
    assert!(bytes.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
}

#[test]
fn two_origins_are_400_under_every_policy() {
    for origin in [OriginPolicy::SameOrigin, OriginPolicy::Any] {
        let config = ServerConfig {
            origin,
            ..ServerConfig::default()
        };
        let own = "http://server.example.com";
        let head = Head::request().add("Origin", own).add("Origin", own);
        let rejection = decide(config, &head.bytes()).expect_err("two");
        assert_eq!(rejection, Rejection::HeaderRepeated { name: "Origin" });
    }
}

#[test]
fn the_host_of_an_absolute_target_counts_as_the_own_host() {
    let decide = |origin| {
        let head = Head::request().start("GET http://real.example/ HTTP/1.1");
        decide(ServerConfig::default(), &head.add("Origin", origin).bytes()).is_ok()
    };
    assert!(decide("http://real.example"));
    assert!(!decide("http://server.example.com"));
}

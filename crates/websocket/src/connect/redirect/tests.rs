use super::{resolve, trusts};
use crate::connect::url::Url;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn led(base: &str, reference: &str) -> String {
    resolve(&url(base), reference).unwrap().to_string()
}

#[test]
fn references_are_resolved_as_rfc_3986_5_4_shows() {
    // The examples of the RFC, normal and abnormal, with WebSocket schemes.
    for (reference, expected) in [
        ("g", "ws://a/b/c/g"),
        ("./g", "ws://a/b/c/g"),
        ("g/", "ws://a/b/c/g/"),
        ("/g", "ws://a/g"),
        ("//g", "ws://g/"),
        ("?y", "ws://a/b/c/d;p?y"),
        ("g?y", "ws://a/b/c/g?y"),
        (";x", "ws://a/b/c/;x"),
        ("g;x", "ws://a/b/c/g;x"),
        ("", "ws://a/b/c/d;p?q"),
        (".", "ws://a/b/c/"),
        ("./", "ws://a/b/c/"),
        ("..", "ws://a/b/"),
        ("../", "ws://a/b/"),
        ("../g", "ws://a/b/g"),
        ("../..", "ws://a/"),
        ("../../g", "ws://a/g"),
        ("../../../g", "ws://a/g"),
        ("../../../../g", "ws://a/g"),
        ("/./g", "ws://a/g"),
        ("/../g", "ws://a/g"),
        ("g.", "ws://a/b/c/g."),
        ("..g", "ws://a/b/c/..g"),
        ("./../g", "ws://a/b/g"),
        ("g/./h", "ws://a/b/c/g/h"),
        ("g/../h", "ws://a/b/c/h"),
        ("g?y/../x", "ws://a/b/c/g?y/../x"),
    ] {
        assert_eq!(
            led("ws://a/b/c/d;p?q", reference),
            expected,
            "{reference:?}"
        );
    }
}

#[test]
fn a_reference_keeps_scheme_and_port_until_it_names_its_own() {
    assert_eq!(led("wss://a:81/x", "y"), "wss://a:81/y");
    assert_eq!(led("wss://a:81/x", "//b/y"), "wss://b/y");
    assert_eq!(led("ws://a/x", "https://b:444/y?z"), "wss://b:444/y?z");
    assert_eq!(led("ws://[::1]:81/", "/y"), "ws://[::1]:81/y");
}

#[test]
fn redirects_to_other_urls_than_those_of_websockets_are_not_followed() {
    for reference in [
        "javascript:alert(1)",
        "ftp://a/",
        "/a b",
        "//",
        "http:///x",
        "/ä",
    ] {
        assert!(
            resolve(&url("ws://a/"), reference).is_err(),
            "{reference:?}"
        );
    }
}

#[test]
fn headers_are_sent_only_to_their_host() {
    for (from, to, expected) in [
        ("ws://a/x", "ws://a/y", true),
        ("ws://a/x", "wss://a/x", true),
        ("wss://a/x", "ws://a/x", false),
        ("ws://a:81/x", "ws://a:82/x", false),
        ("ws://a:81/x", "wss://a:82/x", false),
        ("ws://a:81/x", "wss://a:81/x", true),
        ("ws://a/x", "ws://b/x", false),
        ("ws://a/x", "ws://b.a/x", false),
        ("wss://a/x", "wss://a:444/x", false),
    ] {
        assert_eq!(trusts(&url(from), &url(to)), expected, "{from} -> {to}");
    }
}

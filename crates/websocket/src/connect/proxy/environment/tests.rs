use super::proxy_for;
use crate::connect::url::Url;

/// The proxy chosen for a URL in an environment with these variables.
fn chosen(url: &str, environment: &[(&str, &str)]) -> Option<String> {
    let url = Url::parse(url).unwrap();
    proxy_for(&url, |name| {
        let mut found = environment.iter().filter(|(known, _)| *known == name);
        found.next().map(|(_, value)| (*value).to_owned())
    })
}

fn is_direct(url: &str, no_proxy: &str) -> bool {
    chosen(url, &[("all_proxy", "p:1"), ("no_proxy", no_proxy)]).is_none()
}

#[test]
fn ws_uses_http_proxy_and_wss_uses_https_proxy() {
    let environment = [("http_proxy", "p:1"), ("https_proxy", "p:2")];
    assert_eq!(chosen("ws://a/", &environment).as_deref(), Some("p:1"));
    assert_eq!(chosen("wss://a/", &environment).as_deref(), Some("p:2"));
    assert_eq!(chosen("wss://a/", &environment[..1]), None);
    assert_eq!(chosen("ws://a/", &[]), None);
}

#[test]
fn all_proxy_is_used_if_the_specific_variable_is_missing_or_empty() {
    let environment = [("http_proxy", " "), ("ALL_PROXY", "p:3")];
    assert_eq!(chosen("ws://a/", &environment).as_deref(), Some("p:3"));
    assert_eq!(chosen("wss://a/", &environment).as_deref(), Some("p:3"));
}

#[test]
fn lower_case_variables_take_precedence() {
    let environment = [("HTTPS_PROXY", "p:1"), ("https_proxy", "p:2")];
    assert_eq!(chosen("wss://a/", &environment).as_deref(), Some("p:2"));
    assert_eq!(
        chosen("wss://a/", &environment[..1]).as_deref(),
        Some("p:1")
    );
}

#[test]
fn in_a_cgi_program_http_proxy_in_upper_case_is_ignored() {
    let environment = [("HTTP_PROXY", "evil:1"), ("REQUEST_METHOD", "GET")];
    assert_eq!(chosen("ws://a/", &environment), None);
    assert_eq!(
        chosen("ws://a/", &environment[..1]).as_deref(),
        Some("evil:1")
    );
    let environment = [("http_proxy", "p:1"), ("REQUEST_METHOD", "GET")];
    assert_eq!(chosen("ws://a/", &environment).as_deref(), Some("p:1"));
}

#[test]
fn loopback_uses_the_proxy_too_as_with_curl() {
    for url in ["ws://localhost/", "ws://127.0.0.1/", "ws://[::1]/"] {
        assert!(!is_direct(url, ""), "{url}");
    }
}

#[test]
fn no_proxy_matches_names_and_their_subdomains() {
    for (list, direct) in [
        ("example.com", true),
        ("EXAMPLE.COM", true),
        (".example.com", true),
        ("*.example.com", true),
        ("com", true),
        ("a.com, b.com example.com", true),
        ("*", true),
        ("ws.example.com.", true),
        ("ample.com", false),
        ("x.ws.example.com", false),
        ("a*", false),
        (".", false),
        (",,", false),
    ] {
        assert_eq!(is_direct("ws://ws.example.com/", list), direct, "{list:?}");
    }
    assert!(is_direct("ws://example.com/", ".example.com"));
    assert!(is_direct("ws://ws.example.com./", "example.com"));
}

#[test]
fn no_proxy_matches_ports() {
    assert!(is_direct("ws://example.com/", "example.com:80"));
    assert!(!is_direct("wss://example.com/", "example.com:80"));
    assert!(is_direct("ws://[::1]:81/", "[::1]:81"));
    assert!(!is_direct("ws://[::1]:82/", "[::1]:81"));
    assert!(is_direct("ws://10.0.0.1:81/", "10.0.0.1:81"));
    assert!(!is_direct("ws://10.0.0.1:82/", "10.0.0.1:81"));
}

#[test]
fn no_proxy_matches_addresses_and_networks() {
    for (url, list, direct) in [
        ("ws://10.1.2.3/", "10.1.2.3", true),
        ("ws://10.1.2.3/", "10.0.0.0/8", true),
        ("ws://10.1.2.3/", "10.1.2.3/32", true),
        ("ws://10.1.2.3/", "11.0.0.0/0", true),
        ("ws://10.1.2.3/", "10.1.2.0/30", true),
        ("ws://10.1.2.4/", "10.1.2.0/30", false),
        ("ws://10.1.2.3/", "10.0.0.0/33", false),
        ("ws://10.1.2.3/", "10.0.0.0/x", false),
        ("ws://10.1.2.3/", "2.3", false),
        ("ws://10.1.2.3/", "::/0", false),
        ("ws://[fd00::1]/", "fd00::1", true),
        ("ws://[fd00::1]/", "[fd00::1]", true),
        ("ws://[fd00::1]/", "fd00::/8", true),
        ("ws://[fd00::1]/", "::/0", true),
        ("ws://[fd00::1]/", "fe00::/8", false),
        ("ws://[fd00::1]/", "fd00::/129", false),
        ("ws://example.com/", "10.0.0.0/8", false),
    ] {
        assert_eq!(is_direct(url, list), direct, "{url} {list}");
    }
}

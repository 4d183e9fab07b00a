use offhook_webtransport::WebTransport;

#[test]
fn a_url_that_cannot_be_used_is_refused_with_the_reason() {
    for (url, reason) in [
        ("wss://example.com/ws", "begins with https://"),
        ("https:///ws", "a host is missing"),
        ("https://ann@example.com/ws", "not allowed"),
        ("https://example.com:99999/ws", "the port is not a number"),
        ("https://[::1/ws", "lacks a ]"),
    ] {
        let error = WebTransport::to(url).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains(url), "{error}");
    }
    for url in ["https://example.com", "https://[::1]:8443/ws?token=a#b"] {
        assert!(WebTransport::to(url).is_ok(), "{url}");
    }
}

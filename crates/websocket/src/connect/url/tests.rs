use super::{Host, Url, without_password};

fn url(text: &str) -> Url {
    match Url::parse(text) {
        Ok(url) => url,
        Err(error) => panic!("{error}"),
    }
}

fn reason(text: &str) -> &'static str {
    match Url::parse(text) {
        Ok(url) => panic!("{text} was read as {url}"),
        Err(error) => error.reason,
    }
}

#[test]
fn the_schemes_of_websocket_and_http_mean_the_same_and_have_their_ports() {
    for (text, secure, port) in [
        ("ws://example.com", false, 80),
        ("http://example.com", false, 80),
        ("wss://example.com", true, 443),
        ("https://example.com", true, 443),
        ("WSS://EXAMPLE.com:8443", true, 8443),
        ("ws://example.com:", false, 80),
    ] {
        let url = url(text);
        assert_eq!((url.secure, url.port), (secure, port), "{text}");
        assert_eq!(url.host, Host::Name("example.com".into()), "{text}");
        assert_eq!(&*url.target, "/", "{text}");
    }
    assert!(reason("ftp://example.com/").contains("scheme"));
    assert!(reason("example.com/chat").contains("wss://example.com/chat"));
}

#[test]
fn path_and_query_are_used_unchanged() {
    assert_eq!(
        &*url("ws://h/a/../b//c?x=1?2&y=%20").target,
        "/a/../b//c?x=1?2&y=%20"
    );
    assert_eq!(&*url("ws://h?x=ws://y@z/").target, "/?x=ws://y@z/");
    for text in [
        "ws://h/a b",
        "ws://h/ä",
        "ws://h/\r\nEvil: yes",
        "ws://h/\0",
    ] {
        assert!(reason(text).contains("percent-encoded"), "{text:?}");
    }
}

#[test]
fn a_fragment_is_refused() {
    // RFC 6455 §3.
    for text in ["ws://h/chat#here", "ws://h#", "ws://h/?a#b"] {
        assert!(reason(text).contains("%23"), "{text}");
    }
}

#[test]
fn addresses_are_kept_and_names_are_converted_to_lower_case() {
    assert_eq!(url("ws://[::1]:81/").host, Host::Ip("::1".parse().unwrap()));
    assert_eq!(url("ws://[::1]:81/").authority(), "[::1]:81");
    assert_eq!(url("ws://[0:0::1]/").authority(), "[::1]");
    assert_eq!(
        url("ws://127.0.0.1/").host,
        Host::Ip("127.0.0.1".parse().unwrap())
    );
    assert_eq!(url("wss://Example.COM:443/").authority(), "example.com");
    assert_eq!(url("ws://example.com:443/").authority(), "example.com:443");
    assert_eq!(url("ws://example.com./").authority(), "example.com.");
    assert_eq!(
        url("ws://my_service-1.local/").authority(),
        "my_service-1.local"
    );
}

#[test]
fn ambiguous_hosts_are_refused() {
    for (text, hint) in [
        ("ws:///chat", "missing"),
        ("ws://:80/", "missing"),
        ("ws://bücher.example/", "Punycode"),
        ("ws://exa%6Dple.com/", "letters, digits"),
        ("ws://exa mple.com/", "letters, digits"),
        ("ws://example.com\\.evil.com/", "letters, digits"),
        ("ws://[fe80::1%eth0]/", "zone"),
        ("ws://[fe80::1%25eth0]/", "zone"),
        ("ws://[::1/", "bracket"),
        ("ws://[::1]x/", "bracket"),
        ("ws://[1.2.3.4]/", "IPv6"),
        ("ws://::1/", "number"),
        ("ws://127.1/", "four numbers"),
        ("ws://1.2.3.256/", "four numbers"),
        ("ws://0x7f000001/", "four numbers"),
        ("ws://2130706433./", "four numbers"),
        ("ws://a..b/", "DNS name"),
        ("ws://.example.com/", "DNS name"),
        ("ws://./", "DNS name"),
    ] {
        assert!(reason(text).contains(hint), "{text}: {}", reason(text));
    }
    let long = format!("ws://{}/", "a".repeat(64));
    assert!(reason(&long).contains("63"));
    let many = format!("ws://{}com/", "abcdefg.".repeat(32));
    assert!(reason(&many).contains("253"));
}

#[test]
fn ports_are_numbers_from_1_to_65535() {
    for text in ["ws://h:0/", "ws://h:65536/", "ws://h:99999999999999999999/"] {
        assert!(reason(text).contains("65535"), "{text}");
    }
    for text in ["ws://h:+80/", "ws://h:8a/", "ws://h:80:80/", "ws://h: 80/"] {
        assert!(reason(text).contains("number"), "{text}");
    }
}

#[test]
fn user_name_and_password_are_decoded() {
    let read = |text| {
        let credentials = url(text).credentials.unwrap();
        (
            credentials.user.to_string(),
            credentials.password.to_string(),
        )
    };
    assert_eq!(read("ws://ada:secret@h/"), ("ada".into(), "secret".into()));
    assert_eq!(
        read("ws://a%40b:p%3A%2f%25@h/"),
        ("a@b".into(), "p:/%".into())
    );
    assert_eq!(read("ws://ada@h/"), ("ada".into(), String::new()));
    assert_eq!(read("ws://ada:a:b%40c@h/"), ("ada".into(), "a:b@c".into()));
    assert_eq!(read("ws://%C3%A4:@h/").0, "ä");
    for text in ["ws://%@h/", "ws://%4@h/", "ws://a:%zz@h/"] {
        assert!(reason(text).contains("two hex digits"), "{text}");
    }
    assert!(reason("ws://%FF@h/").contains("UTF-8"));
    assert_eq!(url("ws://h/@x").credentials, None);
}

#[test]
fn no_error_and_no_debug_output_shows_the_password() {
    let error = Url::parse("ws://ada:secret@h:0/x").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
    assert!(error.to_string().contains("ws://***@h:0/x"));
    assert!(!format!("{:?}", url("ws://ada:secret@h/x")).contains("secret"));
    assert_eq!(url("ws://ada:secret@h:81/x").to_string(), "ws://h:81/x");
    assert_eq!(
        &*without_password("ada:secret@proxy:3128"),
        "***@proxy:3128"
    );
    assert_eq!(&*without_password("http://proxy/a@b"), "http://proxy/a@b");
}

/// Parsers that disagree on where the host starts send secrets to the wrong one.
#[test]
fn a_url_that_two_parsers_read_differently_is_refused() {
    for text in [
        "ws://good.example\\@evil.example/",
        "ws://good.example\\.evil.example/",
        "ws://a@b@evil.example/",
        "ws://a:b@c@evil.example/",
        "ws://good.example\t@evil.example/",
        "ws://good.example\n@evil.example/",
        "ws://good.example @evil.example/",
        "ws://good.example\u{0}@evil.example/",
        "ws://good.example/\\evil.example/",
    ] {
        assert!(Url::parse(text).is_err(), "{text:?}");
    }
    for text in [
        "ws://a%40b:c%5C@h/",
        "ws://a:b:c@h/",
        "ws://[::1]:80/",
        "ws://u!$&'()*+,;=:p@h/",
    ] {
        assert!(Url::parse(text).is_ok(), "{text:?}");
    }
}

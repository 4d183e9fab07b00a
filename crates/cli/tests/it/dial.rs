use offhook_testkit::frames::{binary, close, rest, text};

use crate::peer::{Peer, answering, field, peer};
use crate::program::offhook;
use crate::serve::serving;

/// Says everything back, and the closing handshake too.
fn echo(peer: &mut Peer) {
    while let Some(frame) = peer.hear() {
        peer.say(&frame);
        if frame.opcode() == 8 {
            return;
        }
    }
}

#[test]
fn piped_lines_are_sent_and_messages_go_to_stdout_and_news_to_stderr() {
    let (url, peer) = peer("", echo);
    let ended = offhook(&["dial", &url, "--linger", "10ms"]).run_with("hello\nworld\n");
    assert_eq!(
        (ended.stdout.as_str(), ended.code),
        ("hello\nworld\n", Some(0))
    );
    assert_eq!(
        ended.stderr,
        format!("connected to {url}\nclosed, 1000 (normal closure)\n")
    );
    peer.join().expect("it was content");
}

#[test]
fn what_comes_after_the_end_of_the_input_is_waited_for() {
    let (url, peer) = peer("", |peer| {
        let first = peer.hear();
        peer.say(&text("an an").more());
        peer.say(&rest("swer"));
        (first, peer.hear().map(|frame| frame.opcode()))
    });
    let ended = offhook(&["dial", &url, "-n", "1", "--linger", "1h"]).run_with("question\n");
    assert_eq!(ended.stdout, "an answer\n");
    assert_eq!(peer.join().expect("played").1, Some(8));
}

#[test]
fn headers_origin_and_subprotocols_are_asked_for() {
    let (url, peer) = peer("Sec-WebSocket-Protocol: b\r\n", |peer| {
        let head = peer.head.clone();
        echo(peer);
        head
    });
    let ended = offhook(&[
        "dial",
        &url,
        "--linger",
        "1ms",
        "-s",
        "a",
        "-s",
        "b",
        "--origin",
        "https://a.example",
        "-H",
        "Authorization: Bearer 42",
    ])
    .run_with("");
    assert!(
        ended.stderr.contains(", subprotocol b\n"),
        "{}",
        ended.stderr
    );
    let head = peer.join().expect("played");
    assert_eq!(field(&head, "Sec-WebSocket-Protocol"), "a, b");
    assert_eq!(field(&head, "Origin"), "https://a.example");
    assert_eq!(field(&head, "Authorization"), "Bearer 42");
}

#[test]
fn bytes_are_sent_and_shown_in_hexadecimal() {
    let (url, peer) = peer("", |peer| {
        let frame = peer.hear();
        peer.say(&binary([0xff, 0x00]));
        frame
    });
    let ended = offhook(&["dial", &url, "--hex", "-n", "1"]).run_with("01 02\n");
    assert_eq!(ended.stdout, "ff 00\n");
    assert_eq!(peer.join().expect("played"), Some(binary([1, 2])));
    let (url, _peer) = self::peer("", echo);
    let ended = offhook(&["dial", &url, "--hex"]).run_with("01 0g\n");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("found \"0g\""), "{}", ended.stderr);
}

#[test]
fn a_server_that_hangs_up_for_a_reason_is_a_failure() {
    let (url, _peer) = peer("", |peer| {
        peer.say(&close(1008, "no \u{1b}[2J way"));
        peer.hear()
    });
    let ended = offhook(&["dial", &url, "--linger", "1h"]).run_with("");
    assert_eq!(ended.code, Some(1));
    let expected = "error: closed by the server, 1008 (policy violation): no \\u{1b}[2J way\n";
    assert!(ended.stderr.ends_with(expected), "{}", ended.stderr);
}

#[test]
fn a_server_that_goes_away_without_a_word_is_a_failure() {
    let (url, _peer) = peer("", |_| ());
    let ended = offhook(&["dial", &url, "--linger", "1h"]).run_with("");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("the connection was lost"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_refusal_is_told_with_its_status_and_what_may_help() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever";
    let (url, _peer) = answering(|_| refusal.to_owned(), |_| ());
    let ended = offhook(&["dial", &url]).run();
    let expected = "error: the server refused with status 403: never\n\
                    an origin that the server knows may help: --origin URL\n";
    assert_eq!((ended.stderr.as_str(), ended.code), (expected, Some(1)));
}

#[test]
fn what_makes_no_sense_has_code_2() {
    for arguments in [
        &["dial", "ftp://a/"][..],
        &["dial", "ws://a/", "-H", "no colon"],
        &["dial", "ws://a/", "--linger", "3"],
        &["dial", "ws://a/", "-H", "Host: b"],
        &[
            "dial",
            "ws://a/",
            "--subscribe",
            "a",
            "--since",
            "yesterday",
        ],
    ] {
        let ended = offhook(arguments).run();
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn frames_are_explained_on_stderr_with_the_rules_they_break() {
    let (url, _peer) = peer("", |peer| {
        let _ = peer.hear();
        peer.say(&text("fine"));
        peer.say(&text([0xff]));
        peer.hear()
    });
    let ended = offhook(&["dial", &url, "--frames"]).run_with("hello\n");
    let (shown, code) = (ended.stderr, ended.code);
    assert!(shown.contains("→ GET / HTTP/1.1\n"), "{shown}");
    assert!(
        shown.contains("→ text, whole message, 5 bytes, mask "),
        "{shown}"
    );
    assert!(
        shown.contains("← text, whole message, 4 bytes  \"fine\"\n"),
        "{shown}"
    );
    assert!(
        shown.contains("  ✗ RFC 6455 §8.1: text is UTF-8\n"),
        "{shown}"
    );
    assert!(shown.contains("→ close 1007"), "{shown}");
    assert_eq!((ended.stdout.as_str(), code), ("fine\n", Some(1)));
}

#[test]
fn an_authority_of_our_own_is_trusted_and_anybody_when_told_so() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (server, address) = serving(
        offhook(&[
            "--in-memory",
            "--listen",
            "0",
            "--tls-cert",
            "cert.pem",
            "--tls-key",
            "key.pem",
        ])
        .file("cert.pem", &cert)
        .file("key.pem", &key),
    );
    let port = address.rsplit(':').next().expect("a port").to_owned();
    let url = format!("wss://localhost:{port}/ws");
    let dial = |trust: &[&str]| {
        let arguments = [
            &["dial", &url, "-s", "offhook.v1.json", "--linger", "1ms"],
            trust,
        ]
        .concat();
        offhook(&arguments).file("ca.pem", &cert).run_with("")
    };
    assert_eq!(dial(&["--ca", "ca.pem"]).code, Some(0));
    assert_eq!(dial(&["--insecure"]).code, Some(0));
    let distrusted = dial(&[]);
    assert_eq!(distrusted.code, Some(1), "{}", distrusted.stderr);
    assert!(
        distrusted.stderr.contains("--ca FILE"),
        "{}",
        distrusted.stderr
    );
    drop(server);
}

#[test]
fn lines_are_published_once_and_read_by_subscribers() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let url = format!("ws://{address}/ws");
    let published = offhook(&["dial", &url, "--publish", "room", "--linger", "1ms"])
        .run_with("hello\n{\"n\":2}\n");
    assert_eq!(published.code, Some(0), "{}", published.stderr);
    let read = offhook(&[
        "dial",
        &url,
        "--subscribe",
        "room",
        "--since",
        "start",
        "-n",
        "2",
    ])
    .run();
    assert_eq!(
        (read.stdout.as_str(), read.code),
        ("hello\n{\"n\":2}\n", Some(0))
    );
    let json = offhook(&[
        "dial",
        &url,
        "--subscribe",
        "room",
        "--since",
        "1",
        "-n",
        "1",
        "--json",
    ]);
    let line: serde_json::Value = serde_json::from_str(&json.run().stdout).expect("JSON");
    assert_eq!(
        (&line["channel"], &line["data"]["n"]),
        (&"room".into(), &2.into())
    );
    assert!(
        line["position"]
            .as_str()
            .is_some_and(|position| position.ends_with(".2")),
        "{line}"
    );
    drop(server);
}

#[test]
fn a_channel_that_may_not_be_read_is_told() {
    let rules = "[{ pattern = \"open\" }]";
    let (server, address) = serving(offhook(&[
        "--in-memory",
        "--listen",
        "0",
        "--channels",
        rules,
    ]));
    let url = format!("ws://{address}/ws");
    let ended = offhook(&["dial", &url, "--subscribe", "secret"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no such channel") || ended.stderr.contains("unknown"),
        "{}",
        ended.stderr
    );
    drop(server);
}

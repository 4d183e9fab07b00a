use offhook_testkit::frames::{binary, close, rest, text};

use crate::peer::{Peer, answering, field, peer};
use crate::program::offhook;
use crate::serve::serving;

/// Sends everything back, and answers the closing handshake.
fn echo(peer: &mut Peer) {
    while let Some(frame) = peer.hear() {
        peer.say(&frame);
        if frame.opcode() == 8 {
            return;
        }
    }
}

#[test]
fn piped_lines_are_sent_messages_go_to_stdout_and_status_to_stderr() {
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
fn answers_after_the_end_of_the_input_are_awaited() {
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
fn headers_origin_and_subprotocols_are_sent() {
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
fn bytes_are_sent_and_shown_as_hexadecimal() {
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
fn a_close_with_an_error_code_is_a_failure() {
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
fn a_connection_lost_without_a_close_is_a_failure() {
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
fn a_refusal_is_reported_with_its_status_and_what_to_do() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever";
    let (url, _peer) = answering(|_| refusal.to_owned(), |_| ());
    let ended = offhook(&["dial", &url]).run();
    let expected = "error: the server refused with status 403: never\n\
                    an origin that the server accepts may help: --origin URL\n";
    assert_eq!((ended.stderr.as_str(), ended.code), (expected, Some(1)));
}

#[test]
fn contradicting_or_invalid_arguments_exit_with_2() {
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
fn frames_are_explained_on_stderr_with_the_rules_they_violate() {
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
        shown.contains("  ✗ RFC 6455 §8.1: text must be UTF-8\n"),
        "{shown}"
    );
    assert!(shown.contains("→ close 1007"), "{shown}");
    assert_eq!((ended.stdout.as_str(), code), ("fine\n", Some(1)));
}

/// What `openssl req -x509 -subj /CN=localhost -addext subjectAltName=DNS:localhost` makes: a
/// self-signed certificate.
fn self_signed(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> (String, String) {
    let mut params = rcgen::CertificateParams::new([name.to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    change(&mut params);
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("signed");
    (cert.pem(), key.serialize_pem())
}

#[test]
fn an_ordinary_self_signed_certificate_is_trusted_when_it_is_named() {
    let (cert, key) = self_signed("localhost", |_| ());
    let (server, url) = serving_tls(&cert, &key);
    let dial = |ca: &str| {
        let offer = ["dial", &url, "-s", "offhook.v1.json", "--linger", "1ms"];
        let arguments = [&offer[..], &["--ca", "ca.pem"]].concat();
        offhook(&arguments).file("ca.pem", ca).run_with("")
    };
    let ended = dial(&cert);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    // Another one with the same name is not.
    let ended = dial(&self_signed("localhost", |_| ()).0);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    drop(server);
}

#[test]
fn a_self_signed_certificate_is_not_trusted_for_another_name_or_after_it_expired() {
    let expired = |params: &mut rcgen::CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    };
    for ((cert, key), expected) in [
        (
            self_signed("other.example", |_| ()),
            "subjectAltName=DNS:localhost",
        ),
        (self_signed("localhost", expired), "Expired"),
    ] {
        let (server, url) = serving_tls(&cert, &key);
        let ended = offhook(&["dial", &url, "--ca", "ca.pem"])
            .file("ca.pem", &cert)
            .run_with("");
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        drop(server);
    }
}

#[test]
fn a_subscription_continues_after_the_end_of_the_input() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let url = format!("ws://{address}/ws");
    let arguments = ["dial", &url, "--subscribe", "room", "--json", "-n", "2"];
    // Its stdin has ended before it begins.
    let mut reader = offhook(&arguments).start();
    reader.error_line("room: live");
    for _ in 0..2 {
        let ended = offhook(&["dial", &url, "--publish", "room"]).run_with("late\n");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let ended = reader.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 2, "{}", ended.stdout);
    drop(server);
}

#[test]
fn a_filter_prints_publications_of_each_matching_channel() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let url = format!("ws://{address}/ws");
    let mut reader = offhook(&["dial", &url, "--filter", "sensors/+", "-n", "2"]).start();
    reader.error_line("sensors/+: live");
    for channel in ["sensors/a", "other", "sensors/b"] {
        let ended = offhook(&["dial", &url, "--publish", channel]).run_with("1\n");
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
    let ended = reader.end();
    assert_eq!(
        ended.stdout, "sensors/a\t1\nsensors/b\t1\n",
        "{}",
        ended.stderr
    );
    drop(server);
}

#[test]
fn a_subscription_may_start_with_the_state() {
    let rules = "[[channels]]\npattern = \"prices\"\n[channels.state]\ncount = 10\n";
    let flags = ["--in-memory", "--listen", "0", "--config", "rules.toml"];
    let (server, address) = serving(offhook(&flags).file("rules.toml", rules));
    let url = format!("ws://{address}/ws");
    let read = offhook(&["dial", &url, "--subscribe", "prices", "--since", "state"]);
    let mut reader = read.start();
    reader.error_line("prices: these values are the state");
    reader.error_line("prices: live");
    drop((reader, server));
}

#[test]
fn in_a_terminal_a_mistyped_command_is_an_error_and_is_not_sent() {
    let (url, peer) = peer("", |peer| {
        let mut heard = Vec::new();
        while let Some(frame) = peer.hear() {
            peer.say(&frame);
            if frame.opcode() == 8 {
                return heard;
            }
            heard.push(frame);
        }
        heard
    });
    let mut terminal = offhook(&["dial", &url]).start_in_a_terminal();
    terminal.see("connected");
    terminal.enter("/pign");
    terminal.see("there is no command /pign");
    terminal.enter("//pign");
    terminal.see("//pign");
    terminal.enter("/hex 00 ff");
    terminal.see("00 ff");
    terminal.enter("/close");
    assert_eq!(terminal.end(), Some(0));
    assert_eq!(
        peer.join().expect("played"),
        [text("/pign"), binary([0, 0xff])]
    );
}

#[test]
fn in_a_terminal_commands_and_mistyped_ones_are_not_published() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let url = format!("ws://{address}/ws");
    let mut terminal = offhook(&["dial", &url, "--subscribe", "room"]).start_in_a_terminal();
    terminal.see("room: live");
    terminal.enter("/hlep");
    terminal.see("there is no command /hlep");
    terminal.enter("/help");
    terminal.see("/members");
    terminal.enter("/publish hall");
    terminal.see("lines are published in hall");
    terminal.enter("//first");
    terminal.see("//first");
    terminal.enter("/publish room");
    terminal.see("lines are published in room");
    terminal.enter("second");
    terminal.see("  second");
    terminal.enter("/close");
    assert_eq!(terminal.end(), Some(0));
    let read = |channel: &str| {
        let all = [
            "dial",
            &url,
            "--subscribe",
            channel,
            "--since",
            "start",
            "-n",
            "1",
        ];
        offhook(&all).run().stdout
    };
    assert_eq!(
        (read("hall"), read("room")),
        ("/first\n".into(), "second\n".into())
    );
    drop(server);
}

#[test]
fn count_waits_for_its_messages_without_a_timeout() {
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (url, _peer) = peer("", move |peer| {
        let first = peer.hear();
        tell.send(()).expect("asked for");
        peer.say(&text("an answer"));
        echo(peer);
        first
    });
    let ended = offhook(&["dial", &url, "-n", "1"]).run_with("question\n");
    told.recv().expect("it was asked");
    assert_eq!(
        (ended.stdout.as_str(), ended.code),
        ("an answer\n", Some(0))
    );
}

#[test]
fn piped_lines_that_start_with_a_slash_are_data() {
    let (url, _peer) = peer("", echo);
    let ended = offhook(&["dial", &url, "--linger", "10ms"]).run_with("/close\n//x\n");
    assert_eq!(ended.stdout, "/close\n//x\n");
}

#[test]
fn a_server_with_channels_is_recognised_and_the_right_flags_are_suggested() {
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let ended = offhook(&["dial", &format!("ws://{address}/ws")]).run_with("");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("--subscribe CHANNEL"),
        "{}",
        ended.stderr
    );
    drop(server);
}

/// A server with this certificate, and its URL.
fn serving_tls(cert: &str, key: &str) -> (crate::program::Running, String) {
    let files = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let (server, address) = serving(
        offhook(&[&["--in-memory", "--listen", "0"], &files[..]].concat())
            .file("cert.pem", cert)
            .file("key.pem", key),
    );
    let port = address.rsplit(':').next().expect("a port").to_owned();
    (server, format!("wss://localhost:{port}/ws"))
}

#[test]
fn the_error_for_the_wrong_scheme_names_the_right_one() {
    let (cert, key) = self_signed("localhost", |_| ());
    let (server, url) = serving_tls(&cert, &key);
    let ended = offhook(&["dial", &url.replacen("wss", "ws", 1)]).run_with("");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("use wss://"), "{}", ended.stderr);
    drop(server);
    let (server, address) = serving(offhook(&["--in-memory", "--listen", "0"]));
    let ended = offhook(&["dial", &format!("wss://{address}/ws")]).run_with("");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("use ws://"), "{}", ended.stderr);
    drop(server);
}

#[test]
fn a_private_authority_is_trusted_with_ca_and_any_certificate_with_insecure() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let (server, url) = serving_tls(&cert, &key);
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
fn a_forbidden_channel_is_reported() {
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

//! `dial` as a server, as a bridge, and with a script.

use offhook_testkit::frames::text;

use crate::peer::peer;
use crate::program::{Ended, Program, Running, offhook};

/// A server, and its URL.
fn listening(program: Program) -> (Running, String) {
    let mut running = program.start();
    let line = running.error_line("listening");
    let (_, rest) = line.split_once("ws://").expect("a URL");
    let (address, _) = rest.split_once('/').expect("a URL");
    (running, format!("ws://{address}/"))
}

fn echo() -> (Running, String) {
    listening(offhook(&["dial", "--listen", "0", "--as", "echo"]))
}

fn script(url: &str, script: &str) -> Ended {
    offhook(&["dial", url, "--script", "a.txt"])
        .file("a.txt", script)
        .run()
}

#[test]
fn listen_echoes_messages() {
    let (mut server, url) = echo();
    let ended = offhook(&["dial", &url, "-n", "2"]).run_with("hello\nworld\n");
    assert_eq!(
        (ended.stdout.as_str(), ended.code),
        ("hello\nworld\n", Some(0))
    );
    server.error_line("client 1: connected from 127.0.0.1:");
    server.error_line("client 1: closed, 1000");
}

#[test]
fn listen_broadcasts_messages_to_all_other_clients() {
    let (_server, url) = listening(offhook(&["dial", "--listen", "0", "--as", "broadcast"]));
    let mut reader = offhook(&["dial", &url, "-n", "1"]).start();
    reader.error_line("connected");
    let writer = offhook(&["dial", &url, "--linger", "50ms"]).run_with("news\n");
    assert_eq!((writer.stdout.as_str(), writer.code), ("", Some(0)));
    assert_eq!(reader.end().stdout, "news\n");
}

#[test]
fn listen_pipes_between_its_input_and_its_clients() {
    let program = offhook(&["dial", "--listen", "0", "-n", "1"]);
    let (server, url) = listening(program);
    let ended = offhook(&["dial", &url, "--linger", "50ms"]).run_with("to the server\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = server.end();
    assert_eq!(
        (ended.stdout.as_str(), ended.code),
        ("to the server\n", Some(0))
    );
}

#[test]
fn lines_piped_into_a_server_wait_for_a_client() {
    let program = offhook(&["dial", "--listen", "0", "--linger", "5s"]).input("for you\n");
    let (_server, url) = listening(program);
    let ended = offhook(&["dial", &url, "-n", "1"]).run();
    assert_eq!(
        (ended.stdout.as_str(), ended.code),
        ("for you\n", Some(0)),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_line_typed_into_a_server_without_clients_is_an_error() {
    let mut server = offhook(&["dial", "--listen", "0"]).start_in_a_terminal();
    server.see("ws://127.0.0.1:");
    server.enter("hello");
    server.see("no client is connected, and nothing was sent");
    server.enter("/close");
    assert_eq!(server.end(), Some(0));
}

#[test]
fn a_page_of_another_site_may_not_connect_unless_it_is_named() {
    let other = ["--origin", "https://a.example"];
    let dial = |url: &str| {
        let ended = offhook(&[&["dial", url, "--linger", "1ms"], &other[..]].concat()).run_with("");
        ended.code
    };
    let (_server, url) = echo();
    assert_eq!(dial(&url), Some(1));
    let listen = ["dial", "--listen", "0", "--as", "echo"];
    let (_server, url) = listening(offhook(&[&listen[..], &other].concat()));
    assert_eq!(dial(&url), Some(0));
}

#[test]
fn an_address_in_use_is_reported() {
    let (_server, url) = echo();
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    let ended = offhook(&["dial", "--listen", address]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("cannot be listened on"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_bridge_passes_messages_and_the_close_in_both_directions_and_prints_them() {
    let (_server, url) = echo();
    let (bridge, there) = listening(offhook(&["dial", "--bridge", "listen:0", &url]));
    let ended = offhook(&["dial", &there, "-n", "1"]).run_with("over\n");
    assert_eq!((ended.stdout.as_str(), ended.code), ("over\n", Some(0)));
    let mut bridge = bridge;
    assert_eq!(bridge.line("→"), "→ over");
    assert_eq!(bridge.line("←"), "← over");
    bridge.error_line("closed; 1 messages →, 1 messages ←");
}

#[test]
fn a_bridge_passes_on_the_close_code() {
    let (url, _peer) = peer("", |peer| {
        let _ = peer.hear();
        peer.say(&offhook_testkit::frames::close(4321, "enough"));
        let _ = peer.hear();
    });
    let (_bridge, there) = listening(offhook(&["dial", "--bridge", "listen:0", &url]));
    let ended = offhook(&["dial", &there, "--linger", "1h"]).run_with("x\n");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("closed by the server, 4321"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("enough"), "{}", ended.stderr);
}

#[test]
fn a_bridge_connects_two_servers() {
    let (first, first_peer) = peer("", |peer| {
        peer.say(&text("from the first"));
        peer.hear()
    });
    let (second, second_peer) = peer("", |peer| {
        let heard = peer.hear();
        peer.say(&text("from the second"));
        heard
    });
    let bridge = offhook(&["dial", "--bridge", &first, &second]).start();
    assert_eq!(
        second_peer.join().expect("played"),
        Some(text("from the first"))
    );
    assert_eq!(
        first_peer.join().expect("played"),
        Some(text("from the second"))
    );
    drop(bridge);
}

#[test]
fn a_successful_script_exits_with_0() {
    let (_server, url) = echo();
    let ended = script(
        &url,
        "# all steps\nsend hello\nexpect hello\nsend {\"a\":1,\"b\":[2]}\nexpect-json {\"b\":[2]}\n\
         send-hex 01 ff\nexpect-hex 01 ff\nsend x\nsend one two\nawait-match one*\nping\n\
         send y\nexpect-any\nexpect-nothing 20ms\nclose 1000 bye\nexpect-close 1000\n",
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("all 15 steps went as expected"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_failed_script_reports_the_line_and_the_reason() {
    let (_server, url) = echo();
    let ended = script(&url, "send hello\n\nexpect goodbye\n");
    assert_eq!(ended.code, Some(1));
    let expected = "error: a.txt:3: expected \"goodbye\", received \"hello\"\n";
    assert_eq!(ended.stderr, expected);
    let ended = script(&url, "timeout 50ms\nexpect hello\n");
    assert!(
        ended
            .stderr
            .contains("a.txt:2: expected \"hello\", received nothing in 50ms"),
        "{}",
        ended.stderr
    );
    let ended = script(&url, "close\nexpect hello\n");
    assert!(
        ended.stderr.contains("the connection was closed with 1000"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_invalid_step_exits_with_2() {
    let ended = script("ws://127.0.0.1:1/", "send a\nsned b\n");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .starts_with("error: a.txt:2: there is no step \"sned\""),
        "{}",
        ended.stderr
    );
}

//! `offhook explain` and `offhook top`, with a real server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Ended, Program, Running, offhook};
use crate::serve::serving;

/// A key for everything, and its entry.
const KEY: (&str, &str) = (
    "ohk_example",
    "* sha256:56d6a962d9317b5baf79a8e3b6913e1e803dfd4eac96e23671a15c8878277c17",
);

fn server() -> (Running, String) {
    let settings = ["--in-memory", "--listen", "0", "--api-keys", KEY.1];
    serving(offhook(&settings))
}

fn tool(address: &str, arguments: &[&str]) -> Program {
    let (command, rest) = arguments.split_first().expect("a command");
    let url = format!("http://{address}");
    let all = [&[*command, "--server", &url], rest].concat();
    offhook(&all).env("OFFHOOK_ADMIN_KEY", KEY.0)
}

fn run(address: &str, arguments: &[&str]) -> Ended {
    tool(address, arguments).run()
}

/// A subscriber, which is the first connection of the server and therefore has number 1.
fn subscriber(address: &str) -> Running {
    let url = format!("ws://{address}/ws");
    let mut reader = offhook(&["dial", &url, "--subscribe", "room"]).start();
    reader.error_line("room: live");
    reader
}

/// Publishes, and returns the position.
fn publish(address: &str, key: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let body = format!("{{\"channel\":\"room\",\"data\":\"hi\",\"key\":\"{key}\"}}");
    let request = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        KEY.0,
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let answer: Value = serde_json::from_str(body).expect("JSON");
    answer["position"].as_str().expect("a position").to_owned()
}

#[test]
fn explain_says_in_sentences_that_a_message_was_received() {
    let (_server, address) = server();
    let mut reader = subscriber(&address);
    let position = publish(&address, "k1");
    reader.line("");
    let asked = ["explain", "--connection", "1", "--channel", "room"];
    // `dial` answers pings: at the latest the next time, the answer is known.
    let ended = loop {
        let ended = run(&address, &[&asked[..], &["--position", &position]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        if !ended.stdout.starts_with("delivered") {
            break ended;
        }
    };
    for part in [
        "receipted: its subscription",
        "proves receipt",
        &position,
        "connection 1, session",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
    let by_key = run(
        &address,
        &[&asked[..], &["--idempotency-key", "k1", "--json"]].concat(),
    );
    let answer: Value = serde_json::from_str(&by_key.stdout).expect("JSON");
    assert_eq!(answer["publication"]["position"], position.as_str());
    let unknown = run(
        &address,
        &[&asked[..], &["--idempotency-key", "k2"]].concat(),
    );
    assert!(
        unknown.stdout.starts_with("not_published: "),
        "{}",
        unknown.stdout
    );
}

#[test]
fn explain_prints_what_is_known_of_a_connection_that_has_ended() {
    let (_server, address) = server();
    let reader = subscriber(&address);
    let known = run(&address, &["explain", "--connection", "1"]);
    assert!(
        known.stdout.contains("channel room: live"),
        "{}",
        known.stdout
    );
    reader.signal(Signal::TERM);
    reader.end();
    let ended = loop {
        let known = run(&address, &["explain", "--connection", "1"]);
        if known.stdout.contains(", ended ") {
            break known.stdout;
        }
    };
    assert!(ended.contains("s ago ("), "{ended}");
    let nobody = run(&address, &["explain", "--user", "nobody"]);
    assert!(
        nobody.stdout.starts_with("no connection is known"),
        "{}",
        nobody.stdout
    );
}

#[test]
fn explain_without_a_key_and_with_a_wrong_one_says_what_to_do() {
    let (_server, address) = server();
    let url = format!("http://{address}");
    let question = ["explain", "--server", &url, "--user", "ann"];
    let ended = offhook(&question).run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("OFFHOOK_ADMIN_KEY"),
        "{}",
        ended.stderr
    );
    let ended = offhook(&question)
        .env("OFFHOOK_ADMIN_KEY", "ohk_wrong")
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("HTTP 401"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ohk_wrong"), "{}", ended.stderr);
    let ended = run("127.0.0.1:1", &["explain", "--user", "ann"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is 127.0.0.1:1 the right server?"),
        "{}",
        ended.stderr
    );
    for wrong in [
        &["explain"][..],
        &["explain", "--user", "a", "--session", "b"],
        &["explain", "--user", "a", "--channel", "room"],
        &["explain", "--user", "a", "--position", "1.1"],
        &[
            "explain",
            "--user",
            "a",
            "--channel",
            "c",
            "--position",
            "1.1",
            "--idempotency-key",
            "k",
        ],
        &["top", "--interval", "1ms"],
        &["top", "-n", "0"],
    ] {
        let ended = run(&address, wrong);
        assert_eq!(ended.code, Some(2), "{wrong:?}: {}", ended.stderr);
    }
}

#[test]
fn top_prints_one_page_with_rates_latencies_and_lists() {
    let (_server, address) = server();
    let _reader = subscriber(&address);
    publish(&address, "k1");
    let ended = run(&address, &["top", "--once", "--interval", "100ms"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in [
        "healthy",
        "connections 1 ",
        "published ",
        "publish to write",
        "no connection has more than 16 KiB unsent",
        "busiest channels",
        "room",
    ] {
        assert!(
            ended.stdout.contains(part),
            "no {part:?} in {}",
            ended.stdout
        );
    }
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.stdout);
}

#[test]
fn top_prints_a_line_for_each_interval_in_a_pipe_and_ends_by_a_signal() {
    let (_server, address) = server();
    let mut top = tool(&address, &["top", "--interval", "100ms"]).start();
    for _ in 0..2 {
        let line = top.line("connections ");
        assert!(line.contains("published/s"), "{line}");
    }
    top.signal(Signal::TERM);
    assert_eq!(top.end().code, Some(0));
}

#[test]
fn top_prints_objects_whose_rates_are_those_of_the_interval() {
    let (_server, address) = server();
    let mut top = tool(&address, &["top", "--json", "--interval", "100ms"]).start();
    let read =
        |top: &mut Running| -> Value { serde_json::from_str(&top.line("{")).expect("an object") };
    read(&mut top);
    publish(&address, "k1");
    let published = |figures: &Value| figures["published_per_second"].as_f64().expect("a rate");
    // One interval has it, and a later one no longer does.
    while published(&read(&mut top)) <= 0.0 {}
    while published(&read(&mut top)) > 0.0 {}
    let figures = read(&mut top);
    assert_eq!(figures["healthy"], true);
    assert_eq!(figures["busiest"][0]["channel"], "room");
}

#[test]
fn top_draws_its_page_again_and_again_in_a_terminal() {
    let (_server, address) = server();
    let mut top = tool(&address, &["top", "--interval", "100ms"]).start_in_a_terminal();
    for _ in 0..2 {
        top.see("offhook ");
        top.see("nothing is being published");
    }
}

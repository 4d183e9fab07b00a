use crate::program::offhook;

#[test]
fn the_example_of_rfc_6455_5_7_is_explained_bit_by_bit() {
    let ended = offhook(&["decode"]).run_with("81 85 37 fa 21 3d 7f 9f 4d 51 58\n");
    let expected = "\
client → server  frame 1: text, whole message, 5 bytes  at byte 0
    81                          FIN, opcode 1: text
    85                          masked, length 5
    37 fa 21 3d                 masking key
    7f 9f 4d 51 58
    \"Hello\"

";
    assert_eq!((ended.stdout.as_str(), ended.code), (expected, Some(0)));
}

#[test]
fn a_violated_rule_is_reported_with_its_section_and_exits_with_1() {
    let ended = offhook(&["decode", "--from", "client"]).run_with("81 01 61");
    let rule = "    ✗ RFC 6455 §5.1: a client must mask every frame\n";
    assert!(ended.stdout.contains(rule), "{}", ended.stdout);
    assert_eq!(
        (ended.stderr.as_str(), ended.code),
        ("error: a rule is broken\n", Some(1))
    );
}

#[test]
fn two_files_are_two_directions_and_the_heads_are_shown_first() {
    let client = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let server = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                  Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    // RFC 7692 §7.2.3.1.
    let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    let ended = offhook(&["decode", "client", "server"])
        .file(
            "client",
            [client.as_bytes(), b"\x89\x80\x01\x02\x03\x04"].concat(),
        )
        .file("server", [server.as_bytes(), hello].concat())
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let titles: Vec<&str> = ended
        .stdout
        .lines()
        .filter(|line| line.contains(" → "))
        .collect();
    let expected = [
        "client → server  opening handshake",
        "server → client  opening handshake",
        "client → server  frame 1: ping, 0 bytes  at byte 186",
        "server → client  frame 1: text, whole message, 7 bytes, 5 bytes inflated  at byte 175",
    ];
    assert_eq!(titles, expected);
    assert!(ended.stdout.contains("    \"Hello\"\n"));
}

#[test]
fn a_dump_of_wireshark_shows_both_directions_in_order() {
    let dump = "00000000  81 82 00 00 00 00 68 69                           ......hi\n    \
                00000000  81 02 68 6f                                       ..ho\n\
                00000008  88 80 00 00 00 00                                 ......\n";
    let ended = offhook(&["decode", "--json", "dump.txt"])
        .file("dump.txt", dump)
        .run();
    let summary: Vec<(String, String)> = ended
        .stdout
        .lines()
        .map(|line| {
            let frame: serde_json::Value = serde_json::from_str(line).expect("JSON");
            (frame["from"].to_string(), frame["name"].to_string())
        })
        .collect();
    let expected = [
        ("\"client\"", "\"text\""),
        ("\"server\"", "\"text\""),
        ("\"client\"", "\"close\""),
    ];
    let expected = expected.map(|(from, name)| (from.to_owned(), name.to_owned()));
    assert_eq!(summary, expected);
}

#[test]
fn long_payloads_are_truncated_unless_all_is_requested() {
    let bytes = [&[0x82, 126, 0x10, 0x00][..], &[7; 4096]].concat();
    let short = offhook(&["decode"]).run_with(bytes.clone()).stdout;
    let full = offhook(&["decode", "--full"]).run_with(bytes).stdout;
    assert_eq!(short.matches("07").count(), 32);
    assert_eq!(full.matches("07").count(), 4096);
}

#[test]
fn control_characters_are_shown_escaped() {
    let ended = offhook(&["decode", "--from", "server"]).run_with(b"\x81\x05\x1b[2Jx".to_vec());
    assert!(!ended.stdout.contains('\u{1b}'));
    assert!(ended.stdout.contains("\"\\u{1b}[2Jx\""), "{}", ended.stdout);
}

#[test]
fn unreadable_files_are_reported_and_an_invalid_dump_exits_with_2() {
    let ended = offhook(&["decode", "missing"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.starts_with("error: missing cannot be read:"),
        "{}",
        ended.stderr
    );
    let ended = offhook(&["decode", "--format", "hex"]).run_with("81 0x\n8g");
    assert_eq!(ended.code, Some(2));
    let expected = "error: stdin:2: expected bytes in hexadecimal, found \"8g\"\n";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
}

#[test]
fn other_files_than_captures_are_refused_with_the_expected_formats() {
    for text in ["zz\n", "", "hello, this is a log\n"] {
        let ended = offhook(&["decode"]).run_with(text);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{text:?}"
        );
        assert!(
            ended.stderr.contains("expected one of: a capture"),
            "{}",
            ended.stderr
        );
    }
    let ended = offhook(&["decode", "--format", "raw"]).run_with("zz\n");
    assert!(
        ended.stdout.contains("1 of its 122 bytes"),
        "{}",
        ended.stdout
    );
}

/// Made by tcpdump and tshark on the loopback interface, as described in `captures/README.md`.
fn capture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/");
    std::fs::read(format!("{folder}{name}")).expect("it is there")
}

/// The texts in the frames of a capture, with the connection and the side.
fn texts(arguments: &[&str], files: &[&str]) -> Vec<(u64, String, String)> {
    let mut program = offhook(&[&["decode", "--json"], arguments].concat());
    for name in files {
        program = program.file(name, capture(name));
    }
    let ended = program.run();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines = ended.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let frames = lines.filter(|line| line["name"] == "text");
    let text =
        |line: &serde_json::Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    frames
        .map(|line| {
            (
                line["connection"].as_u64().unwrap_or(0),
                text(&line, "from"),
                text(&line, "text"),
            )
        })
        .collect()
}

fn conversation(connection: u64, said: &str) -> [(u64, String, String); 2] {
    ["client", "server"].map(|side| (connection, side.to_owned(), said.to_owned()))
}

#[test]
fn a_capture_of_tcpdump_shows_each_websocket_in_it() {
    let expected = [conversation(1, "first"), conversation(3, "second")].concat();
    assert_eq!(texts(&["plain.pcap"], &["plain.pcap"]), expected);
    let only = texts(&["plain.pcap", "--connection", "3"], &["plain.pcap"]);
    assert_eq!(only, conversation(3, "second"));
}

#[test]
fn omitted_parts_of_a_capture_are_reported() {
    let ended = offhook(&["decode", "plain.pcap"])
        .file("plain.pcap", capture("plain.pcap"))
        .run();
    assert!(
        ended.stdout.contains("connection 1  127.0.0.1:"),
        "{}",
        ended.stdout
    );
    let other = "left out: connection 2, ";
    assert!(ended.stderr.contains(other), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("HTTP without an upgrade"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_capture_of_tshark_with_tls_is_decrypted_with_its_key_log() {
    let files = ["tls.pcapng", "keys.txt"];
    let secret = texts(&["tls.pcapng", "--key-log", "keys.txt"], &files);
    assert_eq!(secret, conversation(1, "secret"));
    let ended = offhook(&["decode", "tls.pcapng"])
        .file("tls.pcapng", capture("tls.pcapng"))
        .run();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("SSLKEYLOGFILE"), "{}", ended.stderr);
}

#[test]
fn a_stream_that_tshark_followed_is_recognised() {
    for name in ["follow-hex.txt", "follow-raw.txt"] {
        assert_eq!(texts(&[name], &[name]), conversation(0, "first"), "{name}");
    }
    let ended = offhook(&["decode", "follow-ascii.txt"])
        .file("follow-ascii.txt", capture("follow-ascii.txt"))
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("follow it as raw"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_file_without_secrets_is_refused_as_a_key_log() {
    let ended = offhook(&["decode", "plain.pcap", "--key-log", "plain.pcap"])
        .file("plain.pcap", capture("plain.pcap"))
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("CLIENT_TRAFFIC_SECRET_0"),
        "{}",
        ended.stderr
    );
}

#[test]
fn secrets_that_are_stored_in_a_capture_are_used() {
    let name = "tls-with-keys.pcapng";
    assert_eq!(texts(&[name], &[name]), conversation(1, "secret"));
}

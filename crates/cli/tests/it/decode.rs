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
fn a_broken_rule_is_told_with_its_section_and_the_code_is_1() {
    let ended = offhook(&["decode", "--from", "client"]).run_with("81 01 61");
    let rule = "    ✗ RFC 6455 §5.1: a client masks every frame\n";
    assert!(ended.stdout.contains(rule), "{}", ended.stdout);
    assert_eq!(
        (ended.stderr.as_str(), ended.code),
        ("error: a rule is broken\n", Some(1))
    );
}

#[test]
fn two_files_are_two_directions_and_the_heads_come_first() {
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
fn a_dump_of_wireshark_has_both_directions_in_their_order() {
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
fn long_payloads_are_cut_short_unless_all_is_asked_for() {
    let bytes = [&[0x82, 126, 0x10, 0x00][..], &[7; 4096]].concat();
    let short = offhook(&["decode"]).run_with(bytes.clone()).stdout;
    let full = offhook(&["decode", "--full"]).run_with(bytes).stdout;
    assert_eq!(short.matches("07").count(), 32);
    assert_eq!(full.matches("07").count(), 4096);
}

#[test]
fn what_a_terminal_would_obey_is_made_visible() {
    let ended = offhook(&["decode", "--from", "server"]).run_with(b"\x81\x05\x1b[2Jx".to_vec());
    assert!(!ended.stdout.contains('\u{1b}'));
    assert!(ended.stdout.contains("\"\\u{1b}[2Jx\""), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_read_is_told_and_what_is_no_dump_has_code_2() {
    let ended = offhook(&["decode", "missing"]).run();
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.starts_with("error: missing can't be read:"),
        "{}",
        ended.stderr
    );
    let ended = offhook(&["decode", "--format", "hex"]).run_with("81 0x\n8g");
    assert_eq!(ended.code, Some(2));
    let expected = "error: stdin:2: expected bytes in hexadecimal, found \"8g\"\n";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
}

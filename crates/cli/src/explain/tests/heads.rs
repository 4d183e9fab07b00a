use super::*;

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

fn response(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

fn head(piece: &Piece) -> &Head {
    match piece {
        Piece::Head(_, head) => head,
        Piece::Frame(_) | Piece::Rest(..) => panic!("{piece:?}"),
    }
}

#[test]
fn the_handshake_of_rfc_6455_1_2_is_parsed_and_its_answer_checked() {
    let mut conversation = Conversation::new();
    let asked = conversation.take(Side::Client, REQUEST.as_bytes());
    assert_eq!(head(&asked[0]).lines[0], "GET /chat HTTP/1.1");
    assert!(
        head(&asked[0]).meanings[0]
            .1
            .contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    let right = response("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") + "\u{1}";
    let answered = conversation.take(Side::Server, right.as_bytes());
    assert_eq!(head(&answered[0]).broken, []);
    assert!(head(&answered[0]).meanings[0].1.contains("correct answer"));
}

#[test]
fn a_wrong_accept_value_is_reported_with_the_right_one() {
    let mut conversation = Conversation::new();
    let _ = conversation.take(Side::Client, REQUEST.as_bytes());
    let answered = conversation.take(Side::Server, response("AAAA").as_bytes());
    assert_eq!(sections(&answered[0]), ["RFC 6455 §4.2.2"]);
    assert!(
        head(&answered[0]).broken[0]
            .rule
            .contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
}

#[test]
fn a_request_that_a_server_must_refuse_is_reported() {
    let request = REQUEST.replace("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8");
    let pieces = pieces(Side::Client, &[request.as_bytes()]);
    assert_eq!(sections(&pieces[0]), ["RFC 6455 §4.2.1"]);
    assert!(head(&pieces[0]).broken[0].rule.contains("426"));
}

#[test]
fn an_extension_that_was_not_offered_is_reported() {
    let mut conversation = Conversation::new();
    let _ = conversation.take(Side::Client, REQUEST.as_bytes());
    let answer = response("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let answer = answer.replace("\r\n\r\n", "\r\n") + extension;
    let answered = conversation.take(Side::Server, answer.as_bytes());
    assert_eq!(sections(&answered[0]), ["RFC 6455 §4.1"]);
}

#[test]
fn after_a_refusal_there_are_no_frames() {
    let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nno, no.";
    let pieces = pieces(Side::Server, &[refusal]);
    assert!(head(&pieces[0]).meanings[0].1.contains("not opened"));
    assert!(
        matches!(&pieces[1], Piece::Rest(_, rest) if rest.bytes == 7),
        "{pieces:?}"
    );
}

#[test]
fn frames_may_come_in_the_same_segment_as_the_head() {
    let bytes = response("AAAA") + "\u{1}";
    let mut bytes = bytes.into_bytes();
    let _ = bytes.pop();
    bytes.extend(b"\x81\x05Hello");
    let whole = pieces(Side::Server, &[&bytes]);
    for at in 1..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(pieces(Side::Server, &[first, second]), whole, "cut at {at}");
    }
    assert_eq!(frame(&whole[1]).payload, b"Hello");
}

#[test]
fn a_head_is_parsed_the_same_byte_by_byte_and_at_once() {
    let whole = pieces(Side::Client, &[REQUEST.as_bytes()]);
    let bytes: Vec<&[u8]> = REQUEST.as_bytes().chunks(1).collect();
    assert_eq!(pieces(Side::Client, &bytes), whole);
    assert_eq!(whole.len(), 1);
}

#[test]
fn an_answer_without_the_upgrade_fields_is_reported() {
    let answer = response("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let answer = answer.replace("Connection: Upgrade\r\n", "Connection: close\r\n");
    let pieces = pieces(Side::Server, &[answer.as_bytes()]);
    let rules: Vec<&str> = head(&pieces[0])
        .broken
        .iter()
        .map(|broken| broken.rule.as_str())
        .collect();
    assert_eq!(rules, ["the answer's connection field must be upgrade"]);
}

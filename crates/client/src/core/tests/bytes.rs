//! Messages with bytes are binary on connections that allow it.

use offhook_dialects::native::client::{encode_request, encode_request_binary};
use offhook_dialects::native::{SUBPROTOCOL, SUBPROTOCOL_CBOR, decode_binary};

use super::*;

/// `{"type":"told","data":h'01'}`
const TOLD: &[u8] = b"\xbf\x64type\x64told\x64data\x41\x01\xff";

fn online(form: Form) -> Harness {
    let mut harness = Harness::new();
    harness.core.handle_timeout(harness.now);
    harness.core.handle_opened(None, form, harness.now);
    let hello = harness.sent_one("connect");
    harness.says(json!({"type": "welcome", "id": hello["id"], "session": "me", "resume": "r1"}));
    harness
}

fn publish(harness: &mut Harness, data: &'static [u8], format: Format) -> Payload {
    let command = Command::Publish {
        channel: channel("room"),
        data: data.into(),
        format,
        tags: Tags::default(),
        key: Some(Key::new("k").expect("a key")),
    };
    let outgoing = Outgoing {
        channel: channel("room"),
        command,
        weight: 1,
        ordered: false,
    };
    let queued = harness.core.publish(|| Some(outgoing), 1);
    queued.expect("not ended").expect("room");
    harness.core.poll_transmit().expect("a publication")
}

#[test]
fn bytes_are_sent_in_a_binary_message_and_json_in_text() {
    let mut harness = online(Form::JsonAndCbor);
    let Payload::Binary(sent) = publish(&mut harness, b"\x00\xff", Format::Binary) else {
        panic!("a text message")
    };
    let request = decode_binary(&sent).expect("a request");
    assert_eq!(encode_request_binary(&request), sent);
    assert!(encode_request(&request).contains("\"base64\":\"AP8=\""));
    let sent = text(publish(&mut harness, b"1", Format::Json));
    assert!(sent.contains("\"data\":1"), "{sent}");
}

#[test]
fn an_older_server_gets_base64() {
    let mut harness = online(Form::Json);
    let sent = text(publish(&mut harness, b"\x00\xff", Format::Binary));
    assert!(sent.contains("\"base64\":\"AP8=\""), "{sent}");
}

#[test]
fn a_binary_message_is_read() {
    let mut harness = online(Form::JsonAndCbor);
    harness.core.handle_binary(TOLD, harness.now);
    harness.settle();
    let ConnectionEvent::Told { data } = harness.last_connection() else {
        panic!("{:?}", harness.connections)
    };
    assert_eq!(data.as_bytes(), [1]);
    assert!(!data.is_json());
}

#[test]
fn an_invalid_binary_message_ends_the_connection() {
    for bytes in [&b""[..], b"\x00", b"\xa0", &TOLD[1..], &TOLD[..15]] {
        let mut harness = online(Form::JsonAndCbor);
        harness.core.handle_binary(bytes, harness.now);
        harness.settle();
        let last = harness.last_connection();
        assert!(
            matches!(
                last,
                ConnectionEvent::Lost {
                    cause: Error::Server(_),
                    ..
                }
            ),
            "{bytes:02x?}: {last:?}"
        );
    }
}

#[test]
fn the_subprotocol_that_the_server_selected_decides_the_form() {
    assert_eq!(Form::of(Some(SUBPROTOCOL_CBOR)), Form::JsonAndCbor);
    assert_eq!(Form::of(Some(SUBPROTOCOL)), Form::Json);
    assert_eq!(Form::of(None), Form::Json);
}

//! Encoding and decoding of packets of Engine.IO and Socket.IO, and which ones are refused.

use bytes::Bytes;
use offhook_dialects::{
    Payload,
    socketio::packet::{
        Decoder, Engine, Invalid, Kind, MAIN, MAX_ATTACHMENTS, Packet, Record, records,
        write_record,
    },
};
use proptest::prelude::*;

fn read(text: &str) -> Result<Option<Packet>, Invalid> {
    Decoder::new(1 << 16).text(text)
}

fn one(text: &str) -> Packet {
    read(text).unwrap().unwrap()
}

fn event(namespace: &str, ack: Option<u64>, json: &str) -> Packet {
    Packet {
        ack,
        ..Packet::new(Kind::Event, namespace, json)
    }
}

fn written(packet: Packet) -> Vec<Payload> {
    let mut messages = Vec::new();
    packet.write(&mut messages);
    messages
}

fn read_all(messages: Vec<Payload>) -> Result<Option<Packet>, Invalid> {
    let mut decoder = Decoder::new(1 << 20);
    let mut last = Ok(None);
    for message in messages {
        last = match message {
            Payload::Text(text) => decoder.text(text.strip_prefix('4').unwrap_or_default()),
            Payload::Binary(bytes) => decoder.binary(&bytes),
        };
    }
    last
}

/// The examples of the specification.
#[test]
fn the_packets_of_the_specification_are_decoded() {
    for (text, packet) in [
        ("0", Packet::new(Kind::Connect, MAIN, "")),
        (
            "0/admin,{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}",
            Packet::new(
                Kind::Connect,
                "/admin",
                "{\"sid\":\"oSO0OpakMV_3jnilAAAA\"}",
            ),
        ),
        (
            "4{\"message\":\"Not authorized\"}",
            Packet::new(Kind::ConnectError, MAIN, "{\"message\":\"Not authorized\"}"),
        ),
        ("1/admin,", Packet::new(Kind::Disconnect, "/admin", "")),
        ("1/admin", Packet::new(Kind::Disconnect, "/admin", "")),
        ("2[\"foo\"]", event(MAIN, None, "[\"foo\"]")),
        ("2/admin,[\"bar\"]", event("/admin", None, "[\"bar\"]")),
        ("212[\"foo\"]", event(MAIN, Some(12), "[\"foo\"]")),
        (
            "3/admin,13[\"bar\"]",
            Packet {
                ack: Some(13),
                ..Packet::new(Kind::Ack, "/admin", "[\"bar\"]")
            },
        ),
        // A query after the namespace is not part of its name.
        ("0/admin?token=1,", Packet::new(Kind::Connect, "/admin", "")),
        ("2[ 7 ]", event(MAIN, None, "[ 7 ]")),
    ] {
        assert_eq!(one(text), packet, "{text}");
    }
}

#[test]
fn attachments_follow_their_packet() {
    let mut decoder = Decoder::new(1 << 16);
    let text =
        "52-/admin,[\"baz\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    assert_eq!(decoder.text(text), Ok(None));
    assert_eq!(decoder.binary(&[1, 2]), Ok(None));
    let packet = decoder.binary(&[3]).unwrap().unwrap();
    assert_eq!(packet.namespace, "/admin".into());
    assert_eq!(
        packet.attachments,
        [Bytes::from_static(&[1, 2]), Bytes::from_static(&[3])]
    );
    assert_eq!(decoder.held(), 0);
    // No attachments.
    assert_eq!(one("50-[\"baz\"]"), event(MAIN, None, "[\"baz\"]"));
}

#[test]
fn invalid_packets_are_refused() {
    for text in [
        "",
        "9",
        "abc",
        "2",
        "2{}",
        "2[]",
        "2[null]",
        "2[[\"a\"]]",
        "2[\"a\"",
        "2[\"a\"]x",
        "0[]",
        "0\"a\"",
        "1{}",
        "3[]",
        "31{}",
        "5[\"a\"]",
        "5-[\"a\"]",
        "5+1-[\"a\"]",
        "59-[\"a\"]",
        "518446744073709551616-[\"a\"]",
        "29007199254740992[\"a\"]",
        "299999999999999999999999[\"a\"]",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    assert!(read(&format!("0/{},", "n".repeat(200))).is_err());
    assert!(read("0/a\u{0},").is_err());
}

#[test]
fn text_is_refused_where_an_attachment_is_expected_and_vice_versa() {
    let mut decoder = Decoder::new(1 << 16);
    decoder.text("51-[\"a\",{}]").unwrap();
    assert!(decoder.text("2[\"b\"]").is_err());
    let mut decoder = Decoder::new(1 << 16);
    assert!(decoder.binary(&[1]).is_err());
}

#[test]
fn the_size_of_a_packet_includes_its_attachments() {
    let mut decoder = Decoder::new(100);
    decoder.text("52-[\"a\",{},{}]").unwrap();
    assert_eq!(decoder.binary(&[0; 60]), Ok(None));
    assert!(decoder.held() <= 100);
    assert!(decoder.binary(&[0; 60]).is_err());
    assert_eq!(decoder.held(), 0);
}

#[test]
fn packets_of_engine_io_are_decoded_and_encoded() {
    for (text, packet) in [
        ("0{}", Engine::Open("{}")),
        ("1", Engine::Close),
        ("2", Engine::Ping("")),
        ("2probe", Engine::Ping("probe")),
        ("3probe", Engine::Pong("probe")),
        ("4hello", Engine::Message("hello")),
        ("4", Engine::Message("")),
        ("5", Engine::Upgrade),
        ("6", Engine::Noop),
    ] {
        assert_eq!(Engine::read(text), Ok(packet));
        assert_eq!(packet.write(), text);
    }
    for text in ["", "7", "x", "1x", "5x", "6x", "é"] {
        assert!(Engine::read(text).is_err(), "{text}");
    }
}

/// The example of the specification.
#[test]
fn a_payload_has_records() {
    let payload = "4hello\u{1e}2\u{1e}4world\u{1e}bAQIDBA==";
    let all: Vec<_> = records(payload).map(Result::unwrap).collect();
    assert_eq!(
        all,
        [
            Record::Text("4hello"),
            Record::Text("2"),
            Record::Text("4world"),
            Record::Binary(vec![1, 2, 3, 4]),
        ]
    );
    let mut again = String::new();
    all.iter()
        .for_each(|record| write_record(record, &mut again));
    assert_eq!(again, payload);
    assert!(records("4a\u{1e}b?").any(|record| record.is_err()));
}

fn packets() -> impl Strategy<Value = Packet> {
    let namespace = prop_oneof![Just(MAIN.to_owned()), "/[a-z]{0,8}"];
    let arguments = prop::collection::vec("[a-z\"\\\\ é\u{1e}]{0,8}", 0..3);
    let attachments = prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..9),
        0..=MAX_ATTACHMENTS,
    );
    let ack = prop::option::of(0..1_u64 << 53);
    (namespace, arguments, attachments, ack, any::<bool>()).prop_map(
        |(namespace, arguments, attachments, ack, is_ack)| {
            let mut all = vec!["name".to_owned()];
            all.extend(arguments);
            let kind = match ack {
                Some(_) if is_ack => Kind::Ack,
                _ => Kind::Event,
            };
            Packet {
                ack,
                attachments: attachments.into_iter().map(Bytes::from).collect(),
                ..Packet::new(kind, &namespace, serde_json::to_string(&all).unwrap())
            }
        },
    )
}

proptest! {
    #[test]
    fn an_encoded_packet_is_decoded_to_the_same_packet(packet in packets()) {
        let messages = written(packet.clone());
        prop_assert_eq!(messages.len(), 1 + packet.attachments.len());
        prop_assert_eq!(read_all(messages), Ok(Some(packet)));
    }

    #[test]
    fn any_text_is_either_a_packet_that_can_be_encoded_or_an_error(text in "[0-9]{0,3}-?(/[a-z]{0,3},?)?[0-9]{0,3}.{0,20}") {
        if let Ok(Some(packet)) = read(&text) {
            prop_assert_eq!(read_all(written(packet.clone())), Ok(Some(packet)));
        }
    }

    #[test]
    fn records_come_back(texts in prop::collection::vec("[0-9a-z\"]{1,8}", 1..5), bytes: Vec<u8>) {
        prop_assume!(texts.iter().all(|text| !text.starts_with('b')));
        let mut all: Vec<_> = texts.iter().map(|text| Record::Text(text)).collect();
        all.push(Record::Binary(bytes));
        let mut payload = String::new();
        all.iter().for_each(|record| write_record(record, &mut payload));
        let read: Result<Vec<_>, _> = records(&payload).collect();
        prop_assert_eq!(read, Ok(all));
    }
}

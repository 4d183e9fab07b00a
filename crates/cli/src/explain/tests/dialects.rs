//! The packets of MQTT and Socket.IO in frames.

use offhook_dialects::mqtt::Reason;
use offhook_dialects::mqtt::packet::{
    Ack, ConnAck, Connect, Options, Packet, Publish, Qos, Subscribe, Version,
};
use offhook_testkit::frames::opcode;

use super::*;

/// A conversation after the client's request with this target and this field.
fn begun(target: &str, field: &str) -> Conversation {
    let mut conversation = Conversation::new();
    let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n");
    let _ = conversation.take(Side::Client, head.as_bytes());
    let head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
    let _ = conversation.take(Side::Server, head.as_bytes());
    conversation
}

fn mqtt() -> Conversation {
    begun("/mqtt", "Sec-WebSocket-Protocol: other, mqtt")
}

fn socketio() -> Conversation {
    begun("/socket.io/?EIO=4&transport=websocket", "Accept: */*")
}

/// The packets in what one side says.
fn packets(conversation: &mut Conversation, side: Side, said: &[Sentence]) -> Vec<String> {
    let bytes: Vec<u8> = said
        .iter()
        .flat_map(|frame| frame.encode(side == Side::Client))
        .collect();
    let pieces = conversation.take(side, &bytes);
    let packets = pieces.iter().flat_map(|piece| frame(piece).packets.clone());
    packets.collect()
}

fn text(text: &str) -> Sentence {
    opcode(1, text.as_bytes())
}

#[test]
fn packets_of_mqtt_are_explained_however_they_are_framed() {
    let mut conversation = mqtt();
    let connect = Packet::Connect(Box::new(Connect {
        version: Version::V5,
        clean: false,
        keep_alive: 10,
        properties: None,
        client_id: "sensor".into(),
        will: None,
        user: Some("ann".into()),
        password: Some("secret".into()),
    }));
    let options = Options {
        qos: Qos::AtLeastOnce,
        ..Options::default()
    };
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: 7,
        properties: None,
        filters: vec![("a/#".into(), options)],
    });
    let both = [connect.encode(Version::V5), subscribe.encode(Version::V5)].concat();
    // Two packets in two messages, which end in the middle of a packet.
    let said = [opcode(2, &both[..20]), opcode(2, &both[20..])];
    let explained = packets(&mut conversation, Side::Client, &said);
    assert_eq!(
        explained,
        [
            "MQTT: CONNECT 5.0 as \"sensor\", keep-alive 10 s, user ann, with a password",
            "MQTT: SUBSCRIBE 7: a/# with QoS 1",
        ]
    );
    let publish = Packet::Publish(Publish {
        dup: true,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: "a/b".into(),
        packet_id: 9,
        properties: None,
        payload: "hi".into(),
    });
    let connack = Packet::ConnAck(ConnAck {
        session_present: true,
        reason: Reason::SUCCESS,
        properties: None,
    });
    let refused = Packet::PubRec(Ack::new(3, Reason::NOT_AUTHORIZED));
    let said = [connack, publish, refused, Packet::PingResp];
    let said = said.map(|packet| opcode(2, packet.encode(Version::V5)));
    let explained = packets(&mut conversation, Side::Server, &said);
    assert_eq!(
        explained,
        [
            "MQTT: CONNACK, the session is present",
            "MQTT: PUBLISH QoS 2, id 9, again, to a/b: 2 bytes: hi",
            "MQTT: PUBREC of 3, reason 0x87",
            "MQTT: PINGRESP",
        ]
    );
}

#[test]
fn an_invalid_packet_of_mqtt_is_explained_once() {
    let mut conversation = mqtt();
    let said = [opcode(2, vec![0xff; 8]), opcode(2, vec![0xff; 8])];
    let explained = packets(&mut conversation, Side::Client, &said);
    assert_eq!(explained.len(), 1, "{explained:?}");
    assert!(explained[0].starts_with("MQTT: "), "{explained:?}");
}

#[test]
fn packets_of_engine_io_and_socket_io_are_explained() {
    let mut conversation = socketio();
    for (said, explained) in [
        ("2probe", "Engine.IO: ping probe"),
        ("5", "Engine.IO: the client upgrades to this WebSocket"),
        ("40{\"a\":1}", "Socket.IO: CONNECT {\"a\":1}"),
        ("42[\"x\",1]", "Socket.IO: EVENT [\"x\",1]"),
        (
            "42/b,7[\"x\"]",
            "Socket.IO: EVENT in /b, acknowledged as 7 [\"x\"]",
        ),
        ("437[1]", "Socket.IO: ACK of 7 [1]"),
        ("41", "Socket.IO: DISCONNECT"),
        (
            "451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
            "Socket.IO: EVENT, an attachment follows [\"x\",{\"_placeholder\":true,\"num\":0}]",
        ),
        ("4nonsense", "Socket.IO: not a packet of Socket.IO"),
        ("nonsense", "Engine.IO: not a packet of Engine.IO"),
    ] {
        let explained_too = packets(&mut conversation, Side::Client, &[text(said)]);
        assert_eq!(explained_too, [explained], "{said}");
    }
    let attachment = opcode(2, vec![1]);
    let explained = packets(&mut conversation, Side::Server, &[attachment]);
    assert_eq!(explained, ["Socket.IO: an attachment"]);
    // A message in fragments is explained at its end.
    let said = [text("42[\"x\"").more(), opcode(0, b",1]")];
    let explained = packets(&mut conversation, Side::Server, &said);
    assert_eq!(explained, ["Socket.IO: EVENT [\"x\",1]"]);
}

#[test]
fn other_conversations_are_not_interpreted() {
    let mut conversation = begun("/ws", "Sec-WebSocket-Protocol: offhook.v1.json");
    let said = [text("42[\"x\"]"), opcode(2, vec![0xc0, 0])];
    assert_eq!(
        packets(&mut conversation, Side::Client, &said),
        Vec::<String>::new()
    );
}

#[test]
fn a_binary_message_of_the_native_dialect_is_shown_in_diagnostic_notation() {
    let offer = "Sec-WebSocket-Protocol: offhook.v1.cbor, offhook.v1.json";
    let mut conversation = begun("/ws", offer);
    let told = b"\xbf\x64type\x64told\x64data\x42\x00\xff\xff";
    let said = [opcode(2, told)];
    let explained = packets(&mut conversation, Side::Server, &said);
    assert_eq!(explained, [r#"CBOR: {"type": "told", "data": h'00ff'}"#]);
    // A message in fragments is explained at its end.
    let said = [opcode(2, &told[..9]).more(), opcode(0, &told[9..])];
    let explained = packets(&mut conversation, Side::Server, &said);
    assert_eq!(explained, [r#"CBOR: {"type": "told", "data": h'00ff'}"#]);
    let said = [opcode(2, vec![0xbf])];
    let explained = packets(&mut conversation, Side::Client, &said);
    assert_eq!(explained, ["CBOR: not a message: ends within break"]);
    let said = [text(r#"{"type":"ping","id":1}"#)];
    let explained = packets(&mut conversation, Side::Client, &said);
    assert_eq!(explained, Vec::<String>::new());
}

//! The packets of MQTT: every encoded packet can be decoded, regardless of where the bytes are
//! split, and invalid packets are refused.

use bytes::Bytes;
use offhook_dialects::mqtt::{
    Reason,
    packet::{
        Ack, Acks, ConnAck, Connect, Decoder, Invalid, Options, Packet, Properties, Publish, Qos,
        Reasoned, RetainHandling, Subscribe, Unsubscribe, Version, Will,
    },
};
use proptest::{collection::vec, option, prelude::*};

const LIMIT: usize = 1 << 20;

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(LIMIT);
    decoder.set_version(version);
    decoder
}

fn decode(version: Version, bytes: &[u8]) -> Result<Option<Packet>, Invalid> {
    let mut decoder = decoder(version);
    decoder.push(bytes);
    decoder.next_packet()
}

fn refused(version: Version, bytes: &[u8]) -> Invalid {
    decode(version, bytes).unwrap_err()
}

/// A CONNECT with this level, these flags, and `rest` as everything after the keep-alive.
fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    let head = [0, 4, b'M', b'Q', b'T', b'T', level, flags, 0, 60];
    let len = u8::try_from(head.len() + rest.len()).unwrap();
    [&[0x10, len], &head[..], rest].concat()
}

fn first(bytes: &[u8]) -> Result<Option<Packet>, Invalid> {
    let mut decoder = Decoder::new(LIMIT);
    decoder.push(bytes);
    decoder.next_packet()
}

#[test]
fn the_connect_sets_the_version_of_the_following_packets() {
    let mut decoder = Decoder::new(LIMIT);
    decoder.push(&connect(4, 2, &[0, 1, b'a']));
    let Some(Packet::Connect(connect)) = decoder.next_packet().unwrap() else {
        panic!("no connect");
    };
    assert_eq!((connect.version, &*connect.client_id), (Version::V3, "a"));
    assert!(connect.clean);
    assert_eq!(decoder.version(), Some(Version::V3));
    // In 5.0, this PUBLISH would have the length of its properties after the topic.
    decoder.push(&[0x30, 5, 0, 1, b't', b'h', b'i']);
    let Some(Packet::Publish(publish)) = decoder.next_packet().unwrap() else {
        panic!("no publish");
    };
    assert_eq!(publish.payload, "hi");
}

#[test]
fn the_first_packet_must_be_a_connect() {
    assert_eq!(
        first(&[0xc0, 0]).unwrap_err().reason,
        Reason::PROTOCOL_ERROR
    );
}

#[test]
fn unsupported_versions_and_other_protocols_have_different_reasons() {
    for level in [0, 3, 6] {
        let invalid = first(&connect(level, 2, &[0, 0])).unwrap_err();
        assert_eq!(invalid.reason, Reason::UNSUPPORTED_VERSION);
    }
    let old = [&[0x10, 14, 0, 6], &b"MQIsdp"[..], &[3, 2, 0, 60, 0, 0]].concat();
    assert_eq!(first(&old).unwrap_err().reason, Reason::UNSUPPORTED_VERSION);
    let other = [&[0x10, 10, 0, 2], &b"hj"[..], &[4, 2, 0, 60, 0, 0]].concat();
    assert_eq!(first(&other).unwrap_err().reason, Reason::PROTOCOL_ERROR);
}

#[test]
fn contradictory_flags_of_a_connect_are_malformed() {
    for (level, flags) in [
        (4, 1),    // reserved
        (5, 1),    // reserved
        (4, 0x1c), // the will's QoS is 3
        (4, 0x08), // a QoS without a will
        (4, 0x20), // a retain flag without a will
        (4, 0x40), // 3.1.1: a password without a user name
    ] {
        let invalid = first(&connect(level, flags, &[0, 0, 0, 0, 0, 0])).unwrap_err();
        assert_eq!(invalid.reason, Reason::MALFORMED, "{level} {flags:#x}");
    }
    let password_alone = connect(5, 0x42, &[0, 0, 0, 0, 1, b'p']);
    assert!(first(&password_alone).is_ok());
}

#[test]
fn invalid_bytes_are_refused_with_the_reason_of_the_specification() {
    use Reason as R;
    for (version, bytes, reason) in [
        // The fixed header.
        (Version::V5, &[0xc1, 0][..], R::MALFORMED),
        (Version::V5, &[0x60, 2, 0, 1], R::MALFORMED),
        (
            Version::V5,
            &[0x80, 7, 0, 1, 0, 0, 1, b'a', 0],
            R::MALFORMED,
        ),
        (Version::V3, &[0x00, 0], R::MALFORMED),
        (Version::V3, &[0xf0, 0], R::MALFORMED),
        (Version::V5, &[0xc0, 0x80, 0x00], R::MALFORMED),
        (Version::V5, &[0xc0, 0xff, 0xff, 0xff, 0xff], R::MALFORMED),
        (
            Version::V5,
            &[0xc0, 0xff, 0xff, 0xff, 0x7f],
            R::PACKET_TOO_LARGE,
        ),
        // PUBLISH.
        (Version::V5, &[0x36, 0], R::MALFORMED),
        (Version::V5, &[0x38, 4, 0, 1, b'a', 0], R::MALFORMED),
        (
            Version::V5,
            &[0x30, 4, 0, 1, b'+', 0],
            R::TOPIC_NAME_INVALID,
        ),
        (Version::V5, &[0x32, 6, 0, 1, b'a', 0, 0, 0], R::MALFORMED),
        (Version::V5, &[0x30, 3, 0, 0, 0], R::PROTOCOL_ERROR),
        (Version::V3, &[0x30, 2, 0, 0], R::MALFORMED),
        (Version::V3, &[0x30, 3, 0, 1, 0], R::MALFORMED),
        (Version::V3, &[0x30, 3, 0, 1, 0xff], R::MALFORMED),
        (Version::V3, &[0x30, 3, 0, 5, b'a'], R::MALFORMED),
        // Properties.
        (
            Version::V5,
            &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 0],
            R::TOPIC_ALIAS_INVALID,
        ),
        (
            Version::V5,
            &[0x30, 6, 0, 1, b'a', 2, 0x01, 2],
            R::PROTOCOL_ERROR,
        ),
        (
            Version::V5,
            &[0x30, 8, 0, 1, b'a', 4, 1, 1, 1, 1],
            R::PROTOCOL_ERROR,
        ),
        (
            Version::V5,
            &[0x30, 7, 0, 1, b'a', 3, 0x21, 0, 9],
            R::PROTOCOL_ERROR,
        ),
        (
            Version::V5,
            &[0x30, 6, 0, 1, b'a', 2, 0x7f, 1],
            R::MALFORMED,
        ),
        (Version::V5, &[0x30, 5, 0, 1, b'a', 9, 1], R::MALFORMED),
        (
            Version::V5,
            &[0xe0, 6, 0, 4, 0x17, 0, 0, 0],
            R::PROTOCOL_ERROR,
        ),
        // SUBSCRIBE and UNSUBSCRIBE.
        (Version::V5, &[0x82, 3, 0, 1, 0], R::PROTOCOL_ERROR),
        (Version::V3, &[0xa2, 2, 0, 1], R::PROTOCOL_ERROR),
        (Version::V3, &[0x82, 6, 0, 0, 0, 1, b'a', 0], R::MALFORMED),
        (Version::V3, &[0x82, 6, 0, 1, 0, 1, b'a', 3], R::MALFORMED),
        (Version::V3, &[0x82, 6, 0, 1, 0, 1, b'a', 4], R::MALFORMED),
        (
            Version::V5,
            &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x40],
            R::MALFORMED,
        ),
        (
            Version::V5,
            &[0x82, 7, 0, 1, 0, 0, 1, b'a', 0x30],
            R::PROTOCOL_ERROR,
        ),
        (
            Version::V5,
            &[0x82, 9, 0, 1, 2, 0x0b, 0, 0, 1, b'a', 0],
            R::PROTOCOL_ERROR,
        ),
        (
            Version::V5,
            &[
                0x82, 15, 0, 1, 0, 0, 9, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', 4,
            ],
            R::PROTOCOL_ERROR,
        ),
        // More bytes than fields.
        (Version::V3, &[0x40, 3, 0, 1, 0], R::MALFORMED),
        (Version::V3, &[0xe0, 1, 0], R::MALFORMED),
        (Version::V5, &[0xc0, 1, 0], R::MALFORMED),
    ] {
        assert_eq!(refused(version, bytes).reason, reason, "{bytes:02x?}");
    }
}

#[test]
fn an_announced_length_allocates_nothing_until_its_bytes_arrive() {
    let mut decoder = decoder(Version::V5);
    // The header announces a million bytes; three of them follow.
    decoder.push(&[0x30, 0xc0, 0x84, 0x3d, 0, 1, b'a']);
    assert_eq!(decoder.next_packet(), Ok(None));
    assert_eq!(decoder.buffered(), 7);
    assert!(!decoder.has_packet());
}

#[test]
fn a_packet_above_the_limit_is_refused_once_its_header_is_read() {
    let mut decoder = Decoder::new(10);
    decoder.set_version(Version::V3);
    decoder.push(&[0x30, 8, 0, 1, b'a', 1, 2, 3, 4, 5]);
    assert!(decoder.next_packet().unwrap().is_some());
    decoder.push(&[0x30, 9]);
    assert!(decoder.has_packet());
    assert_eq!(
        decoder.next_packet().unwrap_err().reason,
        Reason::PACKET_TOO_LARGE
    );
}

#[test]
fn an_acknowledgement_may_omit_default_values() {
    for bytes in [
        &[0x40, 2, 0, 7][..],
        &[0x40, 3, 0, 7, 0],
        &[0x40, 4, 0, 7, 0, 0],
    ] {
        let packet = decode(Version::V5, bytes).unwrap();
        assert_eq!(packet, Some(Packet::PubAck(Ack::new(7, Reason::SUCCESS))));
    }
    assert_eq!(
        Packet::PubAck(Ack::new(7, Reason::SUCCESS)).encode(Version::V5),
        [0x40, 2, 0, 7]
    );
}

fn text() -> impl Strategy<Value = Box<str>> {
    "[^\u{0}+#]{0,12}".prop_map(String::into_boxed_str)
}

fn topic() -> impl Strategy<Value = Box<str>> {
    "[a-zé/ $]{1,12}".prop_map(String::into_boxed_str)
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn qos() -> impl Strategy<Value = Qos> {
    (0..3_u8).prop_map(|number| Qos::new(number).unwrap())
}

/// The properties of a message.
fn of_message() -> impl Strategy<Value = Option<Box<Properties>>> {
    let values = (
        option::of(any::<bool>()),
        option::of(any::<u32>()),
        option::of(text()),
        option::of(text()),
        option::of(bytes()),
        vec((text(), text()), 0..3),
    );
    values.prop_map(
        |(payload_format, message_expiry, content_type, response_topic, data, user)| {
            or_none(Properties {
                payload_format,
                message_expiry,
                content_type,
                response_topic,
                correlation_data: data,
                user,
                ..Properties::default()
            })
        },
    )
}

fn or_none(properties: Properties) -> Option<Box<Properties>> {
    (properties != Properties::default()).then(|| Box::new(properties))
}

fn of_ack() -> impl Strategy<Value = Option<Box<Properties>>> {
    (option::of(text()), vec((text(), text()), 0..3)).prop_map(|(reason_string, user)| {
        or_none(Properties {
            reason_string,
            user,
            ..Properties::default()
        })
    })
}

fn of_connect() -> impl Strategy<Value = Option<Box<Properties>>> {
    let values = (
        option::of(any::<u32>()),
        option::of(1..u16::MAX),
        option::of(any::<u16>()),
        option::of(1..u32::MAX),
        option::of(any::<bool>()),
        option::of(text()),
        option::of(bytes()),
    );
    values.prop_map(|(expiry, receive, aliases, size, problem, method, data)| {
        or_none(Properties {
            session_expiry: expiry,
            receive_maximum: receive,
            topic_alias_maximum: aliases,
            maximum_packet_size: size,
            request_problem_information: problem,
            request_response_information: problem,
            authentication_method: method,
            authentication_data: data,
            ..Properties::default()
        })
    })
}

fn of_connack() -> impl Strategy<Value = Option<Box<Properties>>> {
    (
        option::of(any::<bool>()),
        option::of(text()),
        option::of(any::<u16>()),
    )
        .prop_map(|(flag, text, number)| {
            or_none(Properties {
                assigned_client_id: text.clone(),
                server_keep_alive: number,
                response_information: text.clone(),
                server_reference: text,
                maximum_qos: flag,
                retain_available: flag,
                wildcards_available: flag,
                subscription_ids_available: flag,
                shared_available: flag,
                ..Properties::default()
            })
        })
}

fn acks() -> impl Strategy<Value = Acks> {
    (
        1..=u16::MAX,
        of_ack(),
        vec(any::<u8>().prop_map(Reason), 1..5),
    )
        .prop_map(|(packet_id, properties, reasons)| Acks {
            packet_id,
            properties,
            reasons,
        })
}

fn ack() -> impl Strategy<Value = Ack> {
    (1..=u16::MAX, any::<u8>().prop_map(Reason), of_ack()).prop_map(
        |(packet_id, reason, properties)| Ack {
            packet_id,
            reason,
            properties,
        },
    )
}

fn will() -> impl Strategy<Value = Will> {
    (topic(), bytes(), qos(), any::<bool>(), of_message()).prop_map(
        |(topic, payload, qos, retain, properties)| Will {
            topic,
            payload,
            qos,
            retain,
            properties,
        },
    )
}

fn any_connect() -> impl Strategy<Value = Connect> {
    let values = (
        any::<bool>(),
        any::<u16>(),
        of_connect(),
        text(),
        option::of(will()),
        option::of(text()),
        option::of(bytes()),
    );
    values.prop_map(
        |(clean, keep_alive, properties, client_id, will, user, password)| Connect {
            version: Version::V5,
            clean,
            keep_alive,
            properties,
            client_id,
            will,
            user,
            password,
        },
    )
}

fn publish() -> impl Strategy<Value = Publish> {
    let values = (
        any::<bool>(),
        qos(),
        any::<bool>(),
        topic(),
        1..=u16::MAX,
        of_message(),
        bytes(),
    );
    values.prop_map(
        |(dup, qos, retain, topic, packet_id, properties, payload)| Publish {
            dup: dup && qos != Qos::AtMostOnce,
            qos,
            retain,
            topic,
            packet_id: if qos == Qos::AtMostOnce { 0 } else { packet_id },
            properties,
            payload,
        },
    )
}

fn options() -> impl Strategy<Value = Options> {
    (qos(), any::<bool>(), any::<bool>(), 0..3_u8).prop_map(|(qos, no_local, retain, handling)| {
        Options {
            qos,
            no_local,
            retain_as_published: retain,
            retain_handling: match handling {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            },
        }
    })
}

fn subscribe() -> impl Strategy<Value = Subscribe> {
    let filters = vec((topic(), options()), 1..4);
    (1..=u16::MAX, option::of(1..1000_u32), filters).prop_map(|(packet_id, id, filters)| {
        Subscribe {
            packet_id,
            properties: or_none(Properties {
                subscription_ids: id.into_iter().collect(),
                ..Properties::default()
            }),
            filters,
        }
    })
}

/// Any packet of 5.0 after the first.
fn packet() -> impl Strategy<Value = Packet> {
    let reasoned = || {
        (any::<u8>().prop_map(Reason), of_ack())
            .prop_map(|(reason, properties)| Reasoned { reason, properties })
    };
    prop_oneof![
        any_connect().prop_map(|connect| Packet::Connect(Box::new(connect))),
        (any::<bool>(), any::<u8>().prop_map(Reason), of_connack()).prop_map(
            |(session_present, reason, properties)| Packet::ConnAck(ConnAck {
                session_present,
                reason,
                properties,
            })
        ),
        publish().prop_map(Packet::Publish),
        ack().prop_map(Packet::PubAck),
        ack().prop_map(Packet::PubRec),
        ack().prop_map(Packet::PubRel),
        ack().prop_map(Packet::PubComp),
        subscribe().prop_map(Packet::Subscribe),
        acks().prop_map(Packet::SubAck),
        (1..=u16::MAX, vec(topic(), 1..4)).prop_map(|(packet_id, filters)| Packet::Unsubscribe(
            Unsubscribe {
                packet_id,
                properties: None,
                filters,
            }
        )),
        acks().prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        reasoned().prop_map(Packet::Disconnect),
        reasoned().prop_map(Packet::Auth),
    ]
}

/// Takes all complete packets, up to the first error.
fn take_all(decoder: &mut Decoder, into: &mut Vec<Packet>) -> Result<(), Invalid> {
    while let Some(packet) = decoder.next_packet()? {
        into.push(packet);
    }
    Ok(())
}

fn decode_all(version: Version, pieces: &[&[u8]]) -> (Vec<Packet>, Result<(), Invalid>) {
    let (mut decoder, mut packets) = (decoder(version), Vec::new());
    for piece in pieces {
        decoder.push(piece);
        let taken = take_all(&mut decoder, &mut packets);
        if taken.is_err() {
            return (packets, taken);
        }
    }
    (packets, Ok(()))
}

proptest! {
    #[test]
    fn encoded_packets_are_decoded_regardless_of_where_the_bytes_are_split(
        packets in vec(packet(), 1..5),
        cut in 0..400_usize,
    ) {
        let wire: Vec<u8> = packets.iter().flat_map(|p| p.encode(Version::V5)).collect();
        let (one, other) = wire.split_at(cut.min(wire.len()));
        prop_assert_eq!(decode_all(Version::V5, &[one, other]), (packets, Ok(())));
    }

    #[test]
    fn encoded_messages_of_3_1_1_are_decoded(mut publish in publish()) {
        publish.properties = None;
        let packet = Packet::Publish(publish);
        let wire = packet.encode(Version::V3);
        prop_assert_eq!(decode(Version::V3, &wire), Ok(Some(packet)));
    }

    #[test]
    fn no_bytes_are_buffered_between_packets(packet in packet()) {
        let mut decoder = decoder(Version::V5);
        decoder.push(&packet.encode(Version::V5));
        prop_assert!(decoder.has_packet());
        prop_assert_eq!(decoder.next_packet(), Ok(Some(packet)));
        prop_assert_eq!((decoder.buffered(), decoder.has_packet()), (0, false));
    }

    #[test]
    fn any_bytes_give_the_same_result_regardless_of_where_they_are_split(
        bytes in vec(any::<u8>(), 0..120),
        cut in 0..120_usize,
        v5 in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V3 };
        let (one, other) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(decode_all(version, &[one, other]), decode_all(version, &[&bytes]));
    }

    #[test]
    fn a_packet_with_a_changed_byte_is_an_error_or_can_be_encoded_again(
        packet in packet(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut wire = packet.encode(Version::V5);
        let at = at.index(wire.len());
        wire[at] = byte;
        let (packets, _) = decode_all(Version::V5, &[&wire]);
        // Every decoded packet can be encoded, and decodes to the same packet.
        for packet in packets {
            let wire = packet.encode(Version::V5);
            prop_assert_eq!(decode(Version::V5, &wire), Ok(Some(packet)));
        }
    }
}

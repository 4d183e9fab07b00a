//! Messages of a connection, and errors in them.

use super::*;

proptest! {
    #[test]
    fn a_request_means_the_same_in_both_forms(request in request()) {
        let binary = encode_request_binary(&request);
        prop_assert_eq!(decode_binary(&binary), Ok(request.clone()));
        let json = encode_request(&request);
        prop_assert_eq!(decode_binary(&transcoded(&json)), Ok(request));
    }

    #[test]
    fn a_publication_means_the_same_in_both_forms(publication in publication()) {
        let mut json = connected(&Native::default(), Form::Text);
        let mut cbor = connected(&Native::with_cbor(), Form::Binary);
        let mut mixed = connected(&Native::with_cbor(), Form::Text);
        let plain = json.publication(&publication, &Recipient::PLAIN);
        let binary = cbor.publication(&publication, &Recipient::PLAIN);
        let both = mixed.publication(&publication, &Recipient::PLAIN);
        let is_message = matches!(said(&plain), Said::Message { .. });
        prop_assert!(is_message);
        prop_assert_eq!(said(&binary), said(&plain));
        prop_assert_eq!(said(&both), said(&plain));
        let has_bytes = publication.format == Format::Binary;
        let is_binary = matches!(both, Payload::Binary(_));
        prop_assert_eq!(is_binary, has_bytes);
    }

    #[test]
    fn the_fields_of_a_recipient_mean_the_same_in_both_forms(
        publication in publication(),
        subscription in prop::option::of(0..u32::MAX), at in prop::option::of(0..1_u64 << 53),
        redelivered in any::<u16>(), state in any::<bool>(),
    ) {
        let recipient = Recipient {
            subscription: subscription.map(SubscriptionId),
            at: at.map(|offset| Position::new(3, offset)),
            redelivered,
            state,
            ..Recipient::PLAIN
        };
        let json = connected(&Native::default(), Form::Text).publication(&publication, &recipient);
        let cbor = connected(&Native::with_cbor(), Form::Binary).publication(&publication, &recipient);
        let mixed = connected(&Native::with_cbor(), Form::Text).publication(&publication, &recipient);
        prop_assert_eq!(said(&cbor), said(&json));
        prop_assert_eq!(said(&mixed), said(&json));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _either = decode_binary(&bytes);
        let _either = read_binary(&bytes);
    }

    #[test]
    fn a_truncated_or_changed_message_is_decoded_or_refused(
        request in request(), at in any::<prop::sample::Index>(), byte in prop::option::of(any::<u8>())
    ) {
        let mut bytes = encode_request_binary(&request);
        let at = at.index(bytes.len());
        match byte {
            Some(byte) => bytes[at] = byte,
            None => {
                bytes.truncate(at);
                prop_assert!(decode_binary(&bytes).is_err());
            }
        }
        let _either = decode_binary(&bytes);
        let _either = read_binary(&bytes);
    }
}

#[test]
fn connections_of_one_form_share_their_messages_and_those_of_another_do_not() {
    let names = [
        connected(&Native::default(), Form::Text),
        connected(&Native::with_cbor(), Form::Text),
        connected(&Native::with_cbor(), Form::Binary),
    ]
    .map(|connected| connected.encoding.name());
    assert_eq!(
        names,
        ["native json", "native json and cbor", "native cbor"]
    );
}

#[test]
fn the_first_message_decides_the_form_of_the_answers() {
    let mut native = Native::with_cbor();
    let mut intents = Vec::new();
    let refusal = Refusal::new(ErrorCode::BadRequest, "no");
    let say = |native: &mut Native| {
        let mut out = Vec::new();
        native.refused(None, &refusal, &mut out);
        matches!(out[0], Payload::Binary(_))
    };
    native.receive(Incoming::Binary(b"\x00"), Instant::now(), &mut intents);
    assert!(say(&mut native));
    let ping = r#"{"type":"ping","id":1}"#;
    native.receive(Incoming::Text(ping), Instant::now(), &mut intents);
    assert!(say(&mut native), "it stays so");
    assert!(matches!(intents[1], Intent::Command { .. }), "{intents:?}");
}

#[test]
fn a_connection_with_cbor_understands_previous_without_saying_so() {
    let mut native = Native::with_cbor();
    let mut intents = Vec::new();
    let connect = transcoded(r#"{"type":"connect","id":1}"#);
    native.receive(Incoming::Binary(&connect), Instant::now(), &mut intents);
    assert!(matches!(&intents[0], Intent::Connect(connect) if connect.lineage));
    let subscribe = r#"{"type":"subscribe","id":2,"filter":"a/+","subscription":7}"#;
    native.receive(
        Incoming::Binary(&transcoded(subscribe)),
        Instant::now(),
        &mut intents,
    );
    assert!(matches!(intents[1], Intent::Command { .. }), "{intents:?}");
}

#[test]
fn binary_messages_are_refused_without_the_subprotocol() {
    let mut intents = Vec::new();
    let ping = transcoded(r#"{"type":"ping","id":1}"#);
    Native::default().receive(Incoming::Binary(&ping), Instant::now(), &mut intents);
    let Intent::Refuse { id: None, refusal } = &intents[0] else {
        panic!("{intents:?}")
    };
    assert!(refusal.detail.contains("offhook.v1.cbor"), "{refusal:?}");
}

#[test]
fn an_error_says_what_is_wrong_with_the_bytes() {
    // {"type":"publish","id":5,"channel":"a" …
    let publish = "bf 64 74797065 67 7075626c697368 62 6964 05 67 6368616e6e656c 61 61";
    let ping = "64 74797065 64 70696e67 62 6964";
    for (bytes, words, id) in [
        (String::new(), "one CBOR map", None),
        ("80".to_owned(), "one CBOR map", None),
        ("a0".to_owned(), "missing field `type`", None),
        ("a1 62 6964 05".to_owned(), "missing field `type`", Some(5)),
        (format!("{publish} ff"), "data: is missing", Some(5)),
        (
            format!("{publish} 64 64617461 61 7b ff"),
            "not JSON",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 f6 ff"),
            "JSON in a text string",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 5f 41 01 ff ff"),
            "definite length",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 7f 61 31 ff ff"),
            "definite length",
            Some(5),
        ),
        (
            format!("{publish} 64 64617461 5b 7fffffffffffffff 01"),
            "ends within",
            None,
        ),
        (format!("{publish} 64 64617461 43 01"), "ends within", None),
        (
            format!("{publish} 64 64617461 61 ff ff"),
            "not UTF-8",
            Some(5),
        ),
        (format!("{publish} 64 64617461 41 01"), "ends within", None),
        (
            format!("{publish} 62 6964 06 ff"),
            "duplicate field `id`",
            None,
        ),
        (
            format!("{publish} 64 64617461 41 01 ff 00"),
            "1 bytes follow",
            Some(5),
        ),
        (
            format!("{publish} 64 74616773 80 ff"),
            "expected map",
            Some(5),
        ),
        (format!("a2 {ping} 20"), "expected u64", None),
        (
            format!("a2 {ping} fb 3ff0000000000000"),
            "expected u64",
            None,
        ),
        (
            format!("a2 {ping} 1b ffffffffffffffff"),
            "id: a whole number",
            None,
        ),
        (
            format!("a3 {ping} 05 65 6c696d6974 1b 0000000100000000"),
            "expected u32",
            Some(5),
        ),
        (
            format!("a3 {ping} 05 61 78 {}00", "81".repeat(300)),
            "too deep",
            None,
        ),
        (
            format!("a3 {ping} 05 61 78 {}", "9f".repeat(100_000)),
            "too deep",
            None,
        ),
        (
            format!("a3 {ping} 05 65 73696e6365 01"),
            "since: \"now\"",
            Some(5),
        ),
        (
            format!("bb ffffffffffffffff {ping} 05"),
            "ends within",
            None,
        ),
    ] {
        let rejection = decode_binary(&hex(&bytes)).unwrap_err();
        let detail = &rejection.refusal.detail;
        assert!(detail.contains(words), "{bytes:.200}: {detail}");
        assert_eq!(rejection.id, id.map(CommandId), "{bytes:.200}: {detail}");
    }
}

#[test]
fn data_nests_no_deeper_than_in_json() {
    for (depth, is_taken) in [(64, true), (65, false)] {
        let json = format!(
            r#"{{"type":"publish","id":5,"channel":"a","data":{}1{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        assert_eq!(decode_binary(&transcoded(&json)).is_ok(), is_taken);
    }
}

#[test]
fn a_field_unknown_to_this_version_is_skipped() {
    // {"type":"ping","id":5,"x":{"a":[1,h'00',tag(1) 2,1.5,undefined]}}
    let message =
        "a3 64 74797065 64 70696e67 62 6964 05 61 78 a1 61 61 85 01 41 00 c1 02 f9 3e00 f7";
    let Ok(Request::Command {
        id,
        command: Command::Ping,
    }) = decode_binary(&hex(message))
    else {
        panic!()
    };
    assert_eq!(id, CommandId(5));
    // A type unknown to an older client.
    let news = hex("a2 64 74797065 64 6e657773 62 6964 41 00");
    assert_eq!(read_binary(&news), Ok(Said::Unknown));
}

#[test]
fn white_space_around_json_in_a_text_is_not_data() {
    let message = hex(
        "a4 64 74797065 67 7075626c697368 62 6964 05 67 6368616e6e656c 61 61 64 64617461 63 20 31 0a",
    );
    let Ok(Request::Command {
        command: Command::Publish { data, .. },
        ..
    }) = decode_binary(&message)
    else {
        panic!()
    };
    assert_eq!(&data[..], b"1");
}

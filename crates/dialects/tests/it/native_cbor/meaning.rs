//! What a message means in CBOR and in JSON.

use super::*;

#[test]
fn every_example_on_the_page_means_the_same_in_cbor() {
    let mut compared = 0;
    for example in examples() {
        let binary = transcoded(example);
        // Most of the server's messages are refused in both forms, for the same reason.
        assert_eq!(decode_binary(&binary), decode(example), "{example}");
        assert_eq!(read_binary(&binary).ok(), read(example).ok(), "{example}");
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
}

#[test]
fn the_bytes_on_the_page_are_a_publication() {
    let fence = PAGE.split("```cbor\n").nth(1).unwrap();
    let fence = fence.split("```").next().unwrap();
    let columns = fence.lines().filter_map(|line| line.split('#').next());
    let binary = hex(&columns.collect::<Vec<_>>().join(" "));
    let request = decode(r#"{"type":"publish","id":3,"channel":"chat","base64":"AQI="}"#).unwrap();
    assert_eq!(decode_binary(&binary).as_ref(), Ok(&request));
    assert_eq!(encode_request_binary(&request), binary);
}

#[test]
fn what_the_server_says_means_the_same_in_both_forms() {
    let mut json = connected(&Native::default(), Form::Text);
    let mut cbor = connected(&Native::with_cbor(), Form::Binary);
    let mut mixed = connected(&Native::with_cbor(), Form::Text);
    let subscription = || SubscriptionName::from(chat());
    let id = Some(CommandId(1 << 40));
    let mut notices: Vec<_> = answers()
        .into_iter()
        .map(|(reply, has_bytes)| (Notice::Reply { id, reply }, has_bytes))
        .collect();
    let gap = Notice::Gap {
        subscription: subscription(),
        from: at(1),
        to: at(2),
        reason: GapReason::Diverged,
        agreed: Some(at(1)),
    };
    let own = Notice::Own {
        subscription: SubscriptionName {
            target: Filter::new("a/+").unwrap().into(),
            id: Some(SubscriptionId(7)),
        },
        channel: chat(),
        position: at(4),
        previous: at(3),
        at: Some(at(9)),
    };
    let rest = [
        gap,
        own,
        Notice::Restored,
        Notice::CatchingUp {
            subscription: subscription(),
            position: at(4),
        },
        Notice::Live {
            subscription: subscription(),
            position: at(4),
        },
        Notice::Unsubscribed {
            subscription: subscription(),
            refusal: Refusal::new(ErrorCode::Forbidden, "no"),
        },
        Notice::Reconnect {
            after: std::time::Duration::from_millis(2_750),
        },
        Notice::Close {
            reason: CloseReason::Flood,
        },
        Notice::Told {
            data: "{}".into(),
            format: Format::Json,
        },
    ];
    notices.extend(rest.map(|notice| (notice, false)));
    let told = Notice::Told {
        data: (&b"\x01"[..]).into(),
        format: Format::Binary,
    };
    notices.push((told, true));
    for (notice, has_bytes) in notices {
        let say =
            |connected: &mut Connected| connected.says(|native, out| native.notice(&notice, out));
        let (json, cbor, mixed) = (say(&mut json), say(&mut cbor), say(&mut mixed));
        assert!(matches!(json, Payload::Text(_)) && matches!(cbor, Payload::Binary(_)));
        assert_eq!(matches!(mixed, Payload::Binary(_)), has_bytes, "{notice:?}");
        assert_eq!(said(&cbor), said(&json));
        assert_eq!(said(&mixed), said(&json));
    }
}

#[test]
fn the_handshake_joins_and_refusals_mean_the_same_in_both_forms() {
    let mut json = connected(&Native::default(), Form::Text);
    let mut cbor = connected(&Native::with_cbor(), Form::Binary);
    let welcome = Welcome {
        id: CommandId(1),
        session: SessionId::from_bytes([7; 16]),
        user: "ann",
        resume: "v1.token",
        expires_in: Some(std::time::Duration::from_secs(70)),
        unix_ms: 1,
        named: None,
    };
    let refusal = Refusal::new(ErrorCode::Unauthenticated, "no");
    type Say = fn(&mut Native, &Welcome<'_>, &Refusal, &mut Vec<Payload>);
    let says: [Say; 5] = [
        |native, welcome, _, out| native.welcome(welcome, out),
        |native, _, refusal, out| native.refused(None, refusal, out),
        |native, welcome, _, out| native.token(welcome.resume, out),
        |native, welcome, _, out| native.refreshed(welcome.id, welcome.expires_in, out),
        |native, welcome, _, out| native.expiring(welcome.expires_in.unwrap(), out),
    ];
    for say in says {
        let text = json.says(|native, out| say(native, &welcome, &refusal, out));
        let binary = cbor.says(|native, out| say(native, &welcome, &refusal, out));
        assert!(matches!(binary, Payload::Binary(_)));
        assert_eq!(said(&binary), said(&text));
    }
    for joined in [true, false] {
        let change = PresenceChange {
            channel: chat(),
            member: member(),
            joined,
            user_sessions: 1,
        };
        let recipient = Recipient {
            subscription: Some(SubscriptionId(7)),
            ..Recipient::PLAIN
        };
        let copy = |connected: &mut Connected| {
            let shared = connected.encoding.presence(&change).unwrap();
            let Head::Insert(head) = connected.native.head(&recipient, &shared) else {
                panic!()
            };
            shared.with_head(&head)
        };
        let (text, binary) = (copy(&mut json), copy(&mut cbor));
        assert_eq!(said(&binary), said(&text));
    }
}

#[test]
fn a_message_is_shown_in_diagnostic_notation() {
    for (bytes, shown) in [
        (
            "a4 64 74797065 64 746f6c64 61 61 83 01 20 f6 61 62 f5 64 64617461 42 00ff",
            r#"{"type": "told", "a": [1, -1, null], "b": true, "data": h'00ff'}"#,
        ),
        ("9f 61 22 fb 3ff8000000000000 ff", r#"["\"", 1.5]"#),
        ("a0", "{}"),
    ] {
        assert_eq!(diagnostic(&hex(bytes)).as_deref(), Ok(shown));
    }
    let long = format!("58 40 {}", "ab".repeat(64));
    let beginning = format!("h'{}…' /64 bytes/", "ab".repeat(32));
    assert_eq!(diagnostic(&hex(&long)), Ok(beginning));
    for wrong in ["", "a1", "00 00", "61 ff", &"81".repeat(1_000)] {
        assert!(diagnostic(&hex(wrong)).is_err(), "{wrong}");
    }
}

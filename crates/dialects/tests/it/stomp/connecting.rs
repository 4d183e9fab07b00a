//! Connections: versions, tokens, heart-beats, violations of the protocol, and the end.

use super::*;

#[test]
fn the_newest_version_that_both_sides_support_is_chosen() {
    for (accepts, chosen) in [
        (Some("1.0,1.1,1.2"), "1.2"),
        (Some("1.1,1.0"), "1.1"),
        (Some("1.3, 1.0"), "1.0"),
        (None, "1.0"),
    ] {
        let mut client = Client::unconnected(Version::V10);
        let connect = Frame::new("STOMP");
        client.send(&match accepts {
            Some(accepts) => connect.with("accept-version", accepts),
            None => connect,
        });
        client.welcome(false);
        let connected = client.frame();
        assert_eq!(connected.header("version"), Some(chosen));
        assert_eq!(connected.header("user-name"), Some("ann"));
    }
    let mut client = Client::unconnected(Version::V10);
    client.send(&Frame::new("CONNECT").with("accept-version", "2.0"));
    assert_eq!(client.error().0, "unsupported version");
}

#[test]
fn the_passcode_is_the_token_and_the_client_id_names_the_session() {
    let mut client = Client::unconnected(Version::V12);
    let connect = Frame::new("CONNECT")
        .with("login", "ann")
        .with("passcode", "token")
        .with("client-id", "me");
    client.send(&connect);
    let connect = client.connect.unwrap();
    assert_eq!(connect.token.as_deref(), Some("token"));
    assert_eq!(connect.named.unwrap().name, "stomp:me");
}

#[test]
fn a_refused_client_gets_an_error() {
    let mut client = Client::unconnected(Version::V12);
    client.send(&Frame::new("CONNECT").with("passcode", "x"));
    let mut out = Vec::new();
    let refusal = Refusal::new(ErrorCode::BadToken, "it has expired");
    client.stomp.refused(Some(CommandId(0)), &refusal, &mut out);
    client.hear(out);
    client.poll();
    assert_eq!(
        client.error(),
        ("bad_token".to_owned(), "it has expired".to_owned())
    );
    assert_eq!(client.closed, Some(1008));
}

#[test]
fn the_receipt_of_a_disconnect_follows_everything_before_it() {
    let mut client = Client::of(Version::V12);
    client.send(&send("/topic/a").with("receipt", "1"));
    client.send(&Frame::new("DISCONNECT").with("receipt", "2"));
    assert_eq!(client.closed, None);
    client.answer(PUBLISHED);
    let receipts = client
        .frames
        .iter()
        .map(|frame| frame.header("receipt-id").unwrap());
    assert_eq!(receipts.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(client.closed, Some(1000));
    assert_eq!(client.others, [Intent::Leave]);
}

#[test]
fn heart_beats_are_sent_in_both_directions_at_the_agreed_intervals() {
    let mut client = Client::unconnected(Version::V12);
    client.send(
        &Frame::new("CONNECT")
            .with("accept-version", "1.2")
            .with("heart-beat", "4000,20000"),
    );
    client.welcome(false);
    assert_eq!(client.frame().header("heart-beat"), Some("1000,10000"));
    // The client promises every 4 s and the server asks for every 10 s; the client asks for every
    // 20 s.
    client.passes(Duration::from_secs(15));
    assert_eq!(client.beats, 1);
    client.send_bytes(b"\n");
    client.passes(Duration::from_secs(19));
    assert_eq!((client.beats, client.closed), (2, None));
    client.passes(Duration::from_secs(1));
    assert_eq!(client.error().0, "no heart-beat");
}

#[test]
fn a_client_without_heart_beats_is_not_checked() {
    let mut client = Client::of(Version::V12);
    client.passes(Duration::from_secs(1000));
    assert_eq!((client.beats, client.closed), (0, None));
}

#[test]
fn a_silent_client_stays_connected_over_a_transport_with_pings() {
    let mut client = Client::unconnected(Version::V12);
    client.stomp = Stomp::new(Settings {
        enforces_heart_beats: false,
        ..settings()
    });
    client.send(&Frame::new("CONNECT").with("heart-beat", "10000,10000"));
    client.welcome(false);
    for _ in 0..10 {
        client.passes(Duration::from_secs(10));
    }
    assert_eq!((client.beats, client.closed), (10, None));
}

#[test]
fn a_violation_of_the_protocol_is_an_error_and_then_the_end() {
    let frame = Frame::new;
    for (sent, message) in [
        (frame("CONNECT"), "already connected"),
        (frame("SHOUT"), "unknown command"),
        (frame("ACK").body("x"), "malformed frame"),
        (frame("SEND"), "missing header"),
        (send("a"), "bad destination"),
        (
            send("/topic/a").with("transaction", "t"),
            "unknown transaction",
        ),
        (frame("ACK"), "missing header"),
        (
            frame("COMMIT").with("transaction", "t"),
            "unknown transaction",
        ),
        (frame("UNSUBSCRIBE").with("id", "x"), "not subscribed"),
        (subscribe("/topic/a", "sometimes"), "bad header"),
        (
            subscribe("/topic/a", "auto").with("since", "x"),
            "bad header",
        ),
    ] {
        let mut client = Client::of(Version::V12);
        client.send(&sent.clone().with("receipt", "r"));
        let receipt = client.frames[0].header("receipt-id");
        assert_eq!(receipt, Some("r"));
        assert_eq!(client.error().0, message, "{sent:?}");
        // Nothing is read after the end.
        client.send(&send("/topic/a"));
        assert!(client.asked.is_empty());
    }
}

#[test]
fn the_first_frame_must_connect() {
    let mut client = Client::unconnected(Version::V12);
    client.send(&send("/topic/a"));
    assert_eq!(client.error().0, "not connected");
}

proptest! {
    #[test]
    fn no_bytes_of_a_client_cause_a_panic_and_all_output_is_frames(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                &b"CONNECT\naccept-version:1.2\nclient-id:a\nheart-beat:1,1\n\n\0"[..],
                &b"SEND\ndestination:/topic/a\nreceipt:1\n\nx\0"[..],
                &b"SUBSCRIBE\nid:1\ndestination:/topic/a\nack:client\ndurable:true\n\n\0"[..],
                &b"SUBSCRIBE\nid:2\ndestination:/queue/a\nack:client\n\n\0"[..],
                &b"UNSUBSCRIBE\nid:1\n\n\0"[..],
                &b"BEGIN\ntransaction:t\n\n\0"[..],
                &b"ACK\nid:abc-1\ntransaction:t\n\n\0"[..],
                &b"NACK\nid:abc-1\n\n\0"[..],
                &b"COMMIT\ntransaction:t\nreceipt:2\n\n\0"[..],
                &b"DISCONNECT\nreceipt:3\n\n\0"[..],
                &b"\n"[..],
                &b"SEND\n"[..],
                &b"\0"[..],
            ]),
            0..20,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut client = Client::unconnected(Version::V12);
        for (n, piece) in pieces.iter().enumerate() {
            if client.closed.is_some() {
                break;
            }
            client.send_bytes(piece);
            if client.connect.is_some() && n == 0 {
                client.welcome(false);
            }
            if n % 3 == 2 && !client.asked.is_empty() {
                client.answer(PUBLISHED);
            }
            let id = SubscriptionId(u32::try_from(n % 2).unwrap());
            if n > 4 && client.closed.is_none() && client.connect.is_some() {
                client.frames.clear();
                client.deliver(id, "a", u64::try_from(n).unwrap());
            }
        }
        if client.closed.is_none() {
            client.send_bytes(&noise);
        }
    }
}

//! Messages of a client, and transactions.

use super::*;

#[test]
fn a_message_is_published_with_its_headers_and_confirmed_once_it_is_durable() {
    let mut client = Client::of(Version::V12);
    client.send(
        &send("/topic/a")
            .with("x", "y")
            .with("receipt", "r")
            .body("{\"n\":1}"),
    );
    let Command::Publish {
        channel,
        format,
        tags,
        ..
    } = client.command()
    else {
        panic!("{:?}", client.asked);
    };
    assert_eq!((channel.as_str(), format), ("a", Format::Json));
    assert_eq!(tags.iter().collect::<Vec<_>>(), [("x", "y")]);
    assert!(client.frames.is_empty());
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "r");
}

#[test]
fn a_refused_message_ends_the_connection_with_its_receipt() {
    let mut client = Client::of(Version::V12);
    client.send(&send("/topic/a").with("receipt", "r"));
    client.refuse(ErrorCode::Forbidden);
    assert_eq!(client.frames[0].header("receipt-id"), Some("r"));
    assert_eq!(client.error().0, "forbidden");
    assert_eq!(client.closed, Some(1008));
}

#[test]
fn a_message_to_a_wildcard_ends_the_connection_and_the_error_says_what_is_allowed() {
    for destination in ["/topic/a/+", "/topic/#", "/topic/+/b", "/queue/jobs/#"] {
        let mut client = Client::of(Version::V12);
        client.send(&send(destination).with("receipt", "r"));
        let (message, body) = client.error();
        assert_eq!(message, "bad destination", "{destination}");
        assert!(body.contains(&format!("{destination:?}")), "{body}");
        assert!(body.contains("one /topic/NAME or /queue/NAME"), "{body}");
        assert!(client.asked.is_empty(), "nothing is published");
    }
    let mut client = Client::of(Version::V12);
    client.send(&subscribe("/topic/a/*", "auto"));
    assert!(client.error().1.contains("+ and # as whole levels"));
    // Within a level, these characters are ordinary ones.
    let mut client = Client::of(Version::V12);
    client.send(&send("/topic/c#/a+b"));
    assert_eq!(client.asked.len(), 1);
}

#[test]
fn messages_refused_for_their_rate_are_published_later_in_order() {
    let mut client = Client::of(Version::V12);
    for name in ["1", "2", "3"] {
        client.send(&send("/topic/a").with("receipt", name));
    }
    client.refuse(ErrorCode::RateLimited);
    client.refuse(ErrorCode::RateLimited);
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "3");
    assert_eq!(client.stomp.readiness(), Readiness::Waits);
    client.passes(Duration::from_secs(1));
    client.answer(PUBLISHED);
    client.answer(PUBLISHED);
    let receipts = client
        .frames
        .iter()
        .map(|frame| frame.header("receipt-id").unwrap());
    assert_eq!(receipts.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(client.stomp.readiness(), Readiness::Ready);
}

#[test]
fn messages_refused_in_another_order_are_published_later_in_the_order_in_which_they_were_sent() {
    let mut client = Client::of(Version::V12);
    for name in ["1", "2", "3"] {
        client.send(&send("/topic/a").with("receipt", name));
    }
    // The engine refuses the third for its rate, and then the broker has no room for the second.
    client.asked.rotate_right(1);
    client.refuse(ErrorCode::RateLimited);
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "1");
    client.refuse(ErrorCode::Busy);
    client.passes(Duration::from_secs(1));
    client.answer(PUBLISHED);
    client.answer(PUBLISHED);
    let receipts = client
        .frames
        .iter()
        .map(|frame| frame.header("receipt-id").unwrap());
    assert_eq!(receipts.collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn an_unsubscribe_refused_for_its_rate_is_repeated_before_its_receipt() {
    let mut client = Client::of(Version::V12);
    client.subscribe(subscribe("/topic/a", "auto"));
    client.send(
        &Frame::new("UNSUBSCRIBE")
            .with("id", "s")
            .with("receipt", "r"),
    );
    client.refuse(ErrorCode::RateLimited);
    assert!(client.frames.is_empty());
    client.passes(Duration::from_secs(1));
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    client.answer(Reply::Unsubscribed {
        subscription: ChannelName::new("a").unwrap().into(),
    });
    assert_eq!(client.receipt(), "r");
}

#[test]
fn more_messages_than_may_wait_pause_the_client() {
    let mut client = Client::of(Version::V12);
    let many: Vec<u8> = (0..70)
        .flat_map(|_| send("/topic/a").encode(Version::V12))
        .collect();
    client.send_bytes(&many);
    assert_eq!(client.asked.len(), 64);
    assert_eq!(client.stomp.readiness(), Readiness::Waits);
    client.answer(PUBLISHED);
    assert_eq!(client.stomp.readiness(), Readiness::HasMore);
    client.send_bytes(b"");
    assert_eq!(client.asked.len(), 64);
}

#[test]
fn a_transaction_publishes_and_acknowledges_when_it_is_committed() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client"));
    let message = client.deliver(id, "a", 1).unwrap();
    let of = |frame: Frame| frame.with("transaction", "t");
    client.send(&of(Frame::new("BEGIN")).with("receipt", "begun"));
    assert_eq!(client.receipt(), "begun");
    client.send(&of(send("/topic/b")));
    client.send(&of(send("/topic/b")));
    client.send(&of(ack("ACK", &message)));
    assert!(client.asked.is_empty() && client.told.is_empty());
    client.send(&of(Frame::new("COMMIT")).with("receipt", "committed"));
    client.answer(PUBLISHED);
    assert!(client.frames.is_empty() && client.told.is_empty());
    client.answer(PUBLISHED);
    assert_eq!(client.done(), [1]);
    assert_eq!(client.receipt(), "committed");
}

#[test]
fn an_aborted_transaction_does_nothing() {
    let mut client = Client::of(Version::V12);
    let of = |frame: Frame| frame.with("transaction", "t");
    client.send(&of(Frame::new("BEGIN")));
    client.send(&of(send("/topic/b")));
    client.send(&of(Frame::new("ABORT")).with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    assert!(client.asked.is_empty());
    client.send(&of(Frame::new("COMMIT")));
    assert_eq!(client.error().0, "unknown transaction");
}

#[test]
fn transactions_that_are_never_committed_are_limited() {
    let mut client = Client::of(Version::V12);
    for name in 0..17 {
        client.send(&Frame::new("BEGIN").with("transaction", &name.to_string()));
    }
    assert_eq!(client.error().0, "too large");
    let mut client = Client::of(Version::V12);
    client.send(&Frame::new("BEGIN").with("transaction", "t"));
    let large = send("/topic/b")
        .with("transaction", "t")
        .body(vec![b'x'; 60_000]);
    for _ in 0..18 {
        client.send(&large);
    }
    assert!(client.error().1.contains("1048576 bytes"));
}

#[test]
fn the_headers_of_held_frames_count_against_the_limit_of_transactions() {
    let mut client = Client::of(Version::V12);
    client.send(&Frame::new("BEGIN").with("transaction", "t"));
    let mut frame = send("/topic/b").with("transaction", "t");
    for n in 0..15 {
        frame = frame.with(&format!("{n:0>200}"), &"v".repeat(200));
    }
    let mut held = 0;
    while client.frames.is_empty() {
        client.send(&frame);
        held += 1;
        // The connection's memory includes what the transaction holds.
        let bytes = client.stomp.unfinished().bytes;
        assert!(
            !client.frames.is_empty() || bytes >= held * 6_000,
            "{bytes}"
        );
    }
    assert!(held < (1 << 20) / 6_000, "{held}");
    assert!(client.error().1.contains("1048576 bytes"));
    assert_eq!(client.stomp.unfinished().bytes, 0);
}

#[test]
fn a_transaction_acknowledges_only_once_all_of_its_messages_are_published() {
    let begun = || {
        let mut client = Client::of(Version::V12);
        let id = client.subscribe(subscribe("/queue/jobs", "client-individual"));
        let message = client.queued(id, 1, 0).unwrap();
        let of = |frame: Frame| frame.with("transaction", "t");
        client.send(&of(Frame::new("BEGIN")));
        client.send(&of(send("/topic/b")));
        client.send(&of(ack("ACK", &message)));
        client.send(&of(Frame::new("COMMIT")).with("receipt", "committed"));
        client
    };
    // The work is done again by another consumer, because its result was not published.
    let mut client = begun();
    assert_eq!(client.settled(), [], "the result is not published yet");
    client.refuse(ErrorCode::TooLarge);
    assert_eq!(client.error().0, "too_large");
    assert_eq!(client.settled(), []);

    let mut client = begun();
    client.refuse(ErrorCode::RateLimited);
    assert_eq!(client.settled(), []);
    client.passes(Duration::from_secs(1));
    client.answer(PUBLISHED);
    assert_eq!(client.settled(), [(1, true)]);
    assert_eq!(client.receipt(), "committed");
}

#[test]
fn a_client_that_leaves_after_a_commit_has_acknowledged_before_it_is_gone() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/queue/jobs", "client-individual"));
    let message = client.queued(id, 1, 0).unwrap();
    let of = |frame: Frame| frame.with("transaction", "t");
    client.send(&of(Frame::new("BEGIN")));
    client.send(&of(send("/topic/b")));
    client.send(&of(ack("ACK", &message)));
    client.send(&of(Frame::new("COMMIT")));
    client.send(&Frame::new("DISCONNECT").with("receipt", "gone"));
    assert_eq!(client.closed, None);
    client.answer(PUBLISHED);
    assert_eq!(client.settled(), [(1, true)]);
    assert_eq!(client.receipt(), "gone");
    assert_eq!(client.closed, Some(1000));
}

#[test]
fn the_receipt_of_a_subscribe_is_sent_even_if_the_client_unsubscribes_before() {
    for durable in [false, true] {
        let mut client = match durable {
            false => Client::of(Version::V12),
            true => Client::durable(&[], false),
        };
        let mut frame = subscribe("/topic/a", "client").with("receipt", "1");
        if durable {
            frame = frame.with("durable", "true");
        }
        client.send(&frame);
        let end = Frame::new("UNSUBSCRIBE")
            .with("id", "s")
            .with("receipt", "2");
        client.send(&match durable {
            false => end,
            true => end.with("durable", "true"),
        });
        client.answer(Reply::Refused(Refusal::new(
            ErrorCode::NotSubscribed,
            "unsubscribed before it began",
        )));
        while let Some((_, command)) = client.asked.first() {
            let reply = match command {
                Command::Unsubscribe { .. } => Reply::Unsubscribed {
                    subscription: ChannelName::new("a").unwrap().into(),
                },
                _ => Reply::Remembered,
            };
            client.answer(reply);
        }
        let receipts = client
            .frames
            .iter()
            .map(|f| f.header("receipt-id").unwrap());
        let mut receipts: Vec<_> = receipts.collect();
        receipts.sort_unstable();
        assert_eq!(receipts, ["1", "2"], "durable: {durable}");
    }
}

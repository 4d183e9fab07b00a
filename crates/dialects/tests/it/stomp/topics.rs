//! Subscriptions to topics: acknowledgements, positions and durable subscriptions.

use super::*;

#[test]
fn a_topic_without_acknowledgements_is_pushed() {
    let mut client = Client::of(Version::V12);
    client.send(&subscribe("/topic/a", "auto").with("receipt", "r"));
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.flow, Flow::Pushed);
    client.answer(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    assert_eq!(client.receipt(), "r");
    let message = client.deliver(wish.id.unwrap(), "a", 1).unwrap();
    assert_eq!(&*message.command, "MESSAGE");
    assert_eq!(message.header("subscription"), Some("s"));
    assert_eq!(message.header("destination"), Some("/topic/a"));
    assert_eq!(message.header("position"), Some("1.1"));
    assert_eq!(message.header("ack"), None);
    assert_eq!(&*message.body, b"hi");
}

#[test]
fn the_id_of_a_subscription_is_escaped_in_its_messages() {
    let mut client = Client::of(Version::V12);
    let frame = Frame::new("SUBSCRIBE")
        .with("id", "a:b\nc")
        .with("destination", "/topic/a");
    let id = client.subscribe(frame);
    let message = client.deliver(id, "a", 1).unwrap();
    assert_eq!(message.header("subscription"), Some("a:b\nc"));
}

#[test]
fn a_subscription_of_1_0_needs_no_id() {
    let mut client = Client::of(Version::V10);
    let frame = Frame::new("SUBSCRIBE").with("destination", "/topic/a");
    let id = client.subscribe(frame);
    let message = client.deliver(id, "a", 1).unwrap();
    assert_eq!(message.header("subscription"), None);
    client.send(&Frame::new("UNSUBSCRIBE").with("destination", "/topic/a"));
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    let mut client = Client::of(Version::V11);
    client.send(&Frame::new("SUBSCRIBE").with("destination", "/topic/a"));
    assert_eq!(client.error().0, "missing header");
}

#[test]
fn an_ack_is_cumulative_in_the_mode_client_and_not_in_client_individual() {
    for (mode, done) in [("client", vec![1, 2]), ("client-individual", vec![2])] {
        let mut client = Client::of(Version::V12);
        let id = client.subscribe(subscribe("/topic/a", mode));
        let messages: Vec<_> = (1..=3)
            .map(|n| client.deliver(id, "a", n).unwrap())
            .collect();
        client.send(&ack("ACK", &messages[1]));
        assert_eq!(client.done(), done, "{mode}");
        // A second acknowledgement changes nothing.
        client.send(&ack("ACK", &messages[1]).with("receipt", "r"));
        assert_eq!(client.done(), [0; 0]);
        assert_eq!(client.receipt(), "r");
    }
}

#[test]
fn acknowledgements_of_1_0_and_1_1_name_the_message() {
    for version in [Version::V10, Version::V11] {
        let mut client = Client::of(version);
        let id = client.subscribe(subscribe("/topic/a", "client-individual"));
        let message = client.deliver(id, "a", 1).unwrap();
        let message_id = message.header("message-id").unwrap();
        let ack = Frame::new("ACK").with("message-id", message_id);
        client.send(&ack.with("subscription", "s"));
        assert_eq!(client.done(), [1]);
    }
}

#[test]
fn an_acknowledgement_of_an_earlier_connection_is_ignored() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client"));
    client.deliver(id, "a", 1).unwrap();
    client.send(&Frame::new("ACK").with("id", "def-1").with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    assert_eq!(client.done(), [0; 0]);
}

#[test]
fn a_topic_delivers_a_refused_message_again_with_a_count() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client-individual"));
    let first = client.deliver(id, "a", 1).unwrap();
    assert_eq!(first.header("redelivered"), None);
    client.send(&ack("NACK", &first));
    let second = client.frame();
    assert_eq!(second.header("redelivered"), Some("true"));
    assert_eq!(second.header("deliveries"), Some("2"));
    assert_eq!(second.header("message-id"), first.header("message-id"));
    assert_eq!(client.done(), [0; 0]);
    client.send(&ack("NACK", &second).with("requeue", "false"));
    assert_eq!(client.done(), [1]);
}

#[test]
fn a_durable_subscription_waits_for_its_client_on_the_next_connection() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let id = client.subscribe(durable.clone().with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    client.deliver(id, "a", 1).unwrap();
    let note = client.note.clone();

    let mut client = Client::durable(&note, true);
    assert_eq!(client.deliver(id, "a", 1), None);
    assert_eq!(client.deliver(id, "a", 2), None);
    client.send(&durable);
    let messages = std::mem::take(&mut client.frames);
    assert_eq!(messages.len(), 2);
    assert!(client.asked.is_empty(), "the engine has the subscription");
    client.send(&ack("ACK", &messages[1]));
    assert_eq!(client.done(), [1, 2]);
}

#[test]
fn a_durable_subscription_ends_only_when_its_client_requests_it() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client-individual").with("durable", "true");
    let id = client.subscribe(durable.clone());
    client.deliver(id, "a", 1).unwrap();
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert!(client.asked.is_empty());
    assert_eq!(client.deliver(id, "a", 2), None);
    client.send(&durable);
    let earlier: Vec<_> = client
        .frames
        .iter()
        .map(|m| m.header("deliveries"))
        .collect();
    assert_eq!(earlier, [Some("2"), None]);
    client.frames.clear();
    client.send(
        &Frame::new("UNSUBSCRIBE")
            .with("id", "s")
            .with("durable", "true"),
    );
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    client.answer(Reply::Unsubscribed {
        subscription: ChannelName::new("a").unwrap().into(),
    });
    assert!(matches!(client.command(), Command::Remember { .. }));
    let mut client = Client::durable(&client.note.clone(), true);
    client.send(&durable);
    assert!(matches!(client.command(), Command::Subscribe(_)));
}

#[test]
fn a_subscription_whose_note_was_lost_is_ended() {
    let mut client = Client::durable(b"", true);
    assert_eq!(client.deliver(SubscriptionId(5), "a", 1), None);
    assert!(matches!(client.told[..], [Command::Unsubscribe { .. }]));
}

#[test]
fn a_durable_subscription_needs_a_client_id_and_a_topic() {
    for (mut client, destination) in [
        (Client::of(Version::V12), "/topic/a"),
        (Client::durable(b"", false), "/queue/a"),
    ] {
        client.send(&subscribe(destination, "client").with("persistent", "true"));
        assert_eq!(client.error().0, "not durable");
    }
}

#[test]
fn the_unacknowledged_messages_of_a_connection_are_limited() {
    let mut client = Client::of(Version::V12);
    let mut windows = Vec::new();
    for id in ["a", "b", "c"] {
        let frame = Frame::new("SUBSCRIBE")
            .with("id", id)
            .with("destination", "/topic/x")
            .with("ack", "client")
            .with("prefetch-count", "1000");
        client.send(&frame);
        let Some((_, Command::Subscribe(wish))) = client.asked.last() else {
            panic!("{:?}", client.asked);
        };
        windows.push(wish.flow);
    }
    let window = |window| Flow::Acknowledged { window };
    assert_eq!(windows, [window(1000), window(24), window(1)]);
}

#[test]
fn a_subscription_may_start_from_a_position_and_be_told_of_gaps() {
    let mut client = Client::of(Version::V12);
    let frame = subscribe("/topic/a", "auto")
        .with("since", "1.7")
        .with("gaps", "true");
    client.send(&frame);
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(1, 7)));
    let name = wish.name();
    client.answer(Reply::Subscribed {
        subscription: name.clone(),
        position: Position::new(1, 9),
        live: false,
        by_server: false,
        acknowledged: false,
    });
    client.notice(&Notice::Gap {
        subscription: name,
        from: Position::new(1, 7),
        to: Position::new(1, 8),
        reason: GapReason::EvictedByAge,
        agreed: None,
    });
    let gap = client.frame();
    assert_eq!(gap.header("gap"), Some("evicted_by_age"));
    assert_eq!(gap.header("position"), Some("1.8"));
}

fn gap_of(id: SubscriptionId, channel: &str, (from, to): (u64, u64)) -> Notice {
    Notice::Gap {
        subscription: SubscriptionName {
            target: ChannelName::new(channel).unwrap().into(),
            id: Some(id),
        },
        from: Position::new(1, from),
        to: Position::new(1, to),
        reason: GapReason::EvictedBySize,
        agreed: None,
    }
}

#[test]
fn a_gap_is_sent_at_once_and_not_after_the_messages_that_follow_it() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "auto").with("gaps", "true"));
    let mut out = Vec::new();
    client.stomp.notice(&gap_of(id, "a", (0, 4)), &mut out);
    // What is queued is sent after everything that the engine delivers in the same turn.
    client.hear(out);
    assert_eq!(client.frame().header("position"), Some("1.4"));
    client.poll();
    assert!(client.frames.is_empty(), "{:?}", client.frames);
}

#[test]
fn a_gap_of_a_durable_subscription_waits_for_its_client_in_its_place() {
    for wants_gaps in [true, false] {
        let mut client = Client::durable(b"", false);
        let mut durable = subscribe("/topic/a", "client").with("durable", "true");
        if wants_gaps {
            durable = durable.with("gaps", "true");
        }
        let id = client.subscribe(durable.clone());
        let note = client.note.clone();

        let mut client = Client::durable(&note, true);
        client.notice(&gap_of(id, "a", (0, 4)));
        assert_eq!(client.deliver(id, "a", 5), None);
        client.notice(&gap_of(id, "a", (5, 6)));
        assert_eq!(client.deliver(id, "a", 7), None);
        assert!(client.frames.is_empty(), "{:?}", client.frames);
        client.send(&durable);
        let sent: Vec<_> = client
            .frames
            .iter()
            .map(|frame| (frame.header("gap"), frame.header("position").unwrap()))
            .collect();
        let gap = Some("evicted_by_size");
        let all = [(gap, "1.4"), (None, "1.5"), (gap, "1.6"), (None, "1.7")];
        let expected: Vec<_> = all
            .into_iter()
            .filter(|(gap, _)| wants_gaps || gap.is_none())
            .collect();
        assert_eq!(sent, expected);
    }
}

#[test]
fn nothing_is_sent_about_a_gap_after_the_end_of_the_connection() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "auto").with("gaps", "true"));
    client.send(&send("/exchange/a"));
    assert!(client.closed.is_some());
    client.frames.clear();
    client.notice(&gap_of(id, "a", (0, 4)));
}

#[test]
fn a_subscription_that_the_server_ends_ends_the_connection() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "auto"));
    client.notice(&Notice::Unsubscribed {
        subscription: SubscriptionName {
            target: ChannelName::new("a").unwrap().into(),
            id: Some(id),
        },
        refusal: Refusal::new(ErrorCode::Forbidden, "no more"),
    });
    assert_eq!(
        client.error(),
        ("forbidden".to_owned(), "no more".to_owned())
    );
}

#[test]
fn too_many_subscriptions_are_refused() {
    let mut client = Client::of(Version::V12);
    for id in 0..9 {
        let frame = Frame::new("SUBSCRIBE")
            .with("id", &id.to_string())
            .with("destination", "/topic/a");
        client.send(&frame);
    }
    assert_eq!(client.error().0, "too many subscriptions");
}

#[test]
fn unacknowledged_messages_count_as_memory_of_the_connection_while_it_keeps_them() {
    let text: &'static str = "x".repeat(60_000).leak();
    let large = |offset| publication("a", offset, text);
    let mut client = Client::durable(b"", false);
    let held = |client: &Client| client.stomp.unfinished().bytes;
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let topic = client.subscribe(durable.clone());
    let encoding = client.stomp.encoding(client.connect.as_ref().unwrap());
    for offset in 1..=10 {
        let mut shared = encoding.publication(&large(offset));
        shared.publication = Some(large(offset));
        let recipient = Recipient {
            subscription: Some(topic),
            place: Position::new(1, offset),
            ..Recipient::PLAIN
        };
        let head = client.stomp.head(&recipient, &shared);
        client.heads(head, &shared).unwrap();
    }
    let ten = held(&client);
    assert!(ten > 500_000, "{ten}");
    // It makes no difference whether they wait for an acknowledgement or for the client to subscribe.
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert_eq!(held(&client), ten);
    client.send(&durable);
    assert_eq!(held(&client), ten);
    let messages = std::mem::take(&mut client.frames);
    client.send(&ack("ACK", &messages[9]));
    assert_eq!(held(&client), 0);
    // A queue keeps its messages itself.
    let queue = subscribe_as("q", "/queue/jobs");
    let queue = client.subscribe(queue);
    for offset in 1..=10 {
        let place = Position::new(1, offset);
        let queued = client.stomp.queued(queue, &large(offset), place, 0);
        client.hear(vec![queued.unwrap()]);
    }
    assert_eq!(held(&client), 0);
}

#[test]
fn only_the_durable_subscriptions_of_a_stored_session_continue() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let queue = client.subscribe(subscribe_as("q", "/queue/jobs"));
    let kept = client.subscribe(durable);
    let topic = client.subscribe(subscribe_as("t", "/topic/b"));
    let snapshot = |id| SubscriptionSnapshot {
        target: ChannelName::new("a").unwrap().into(),
        id: Some(id),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let mut all = [queue, kept, topic].map(snapshot).to_vec();
    let note = client.note.clone();
    let mut client = Client::durable(&note, true);
    client.stomp.select_restored(&note, &mut all);
    assert_eq!(all, [snapshot(kept)]);
    // New subscriptions have other numbers.
    let queue = client.subscribe(subscribe_as("q", "/queue/jobs"));
    assert_ne!(queue, kept);
    client
        .stomp
        .select_restored(b"a note of another dialect", &mut all);
    assert!(all.is_empty());
}

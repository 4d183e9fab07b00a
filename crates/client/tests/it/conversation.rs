//! Publish, subscribe, history, presence, acknowledgements and receipts, with the real server.

use offhook_client::{Client, Data, Error, ErrorCode, Event, GapReason, MemoryPositions, Since};
use serde_json::json;

use crate::test_server::{TestServer, builder, next, numbers, text, texts, within};

#[tokio::test]
async fn a_publication_reaches_the_other_client() {
    let server = TestServer::open().await;
    let (ann, ben) = (server.client().await, server.client().await);
    let mut room = ben.subscribe("room").await.unwrap();
    let published = ann.publish("room", "hello").key("k1").tag("lang", "en");
    let published = published.await.unwrap();
    assert!(!published.duplicate);
    assert!(matches!(next(&mut room).await, Event::Live { .. }));
    let Event::Publication(publication) = next(&mut room).await else {
        panic!()
    };
    assert_eq!(publication.position, published.position);
    assert_eq!(text(&publication), "hello");
    assert_eq!(publication.key.as_deref(), Some("k1"));
    assert_eq!(publication.tag("lang"), Some("en"));
    assert!(publication.session.is_some() && publication.time_ms > 0);
}

#[tokio::test]
async fn bytes_and_values_arrive_unchanged() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut room = client.subscribe("room").await.unwrap();
    client.publish("room", vec![0, 159, 255]).await.unwrap();
    client
        .publish("room", json!({"b": [1, null]}))
        .await
        .unwrap();
    next(&mut room).await;
    let mut data = Vec::new();
    for _ in 0..2 {
        let Event::Publication(publication) = next(&mut room).await else {
            panic!()
        };
        data.push(publication.data);
    }
    assert_eq!(
        data,
        [
            Data::from(vec![0, 159, 255]),
            Data::from(json!({"b": [1, null]}))
        ]
    );
    assert!(matches!(data[0].json::<u8>(), Err(Error::Json(_))));
}

#[tokio::test]
async fn the_same_key_again_is_the_same_publication() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let first = client.publish("room", "a").key("k").await.unwrap();
    let again = client.publish("room", "a").key("k").await.unwrap();
    assert_eq!((again.position, again.duplicate), (first.position, true));
}

#[tokio::test]
async fn a_subscription_starts_where_requested() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut positions = Vec::new();
    for n in 0..5 {
        positions.push(
            client
                .publish("room", n.to_string())
                .await
                .unwrap()
                .position,
        );
    }
    let begins: [(Since, usize); 3] = [
        (Since::Start, 0),
        (Since::Last(2), 3),
        (positions[0].into(), 1),
    ];
    for (since, first) in begins {
        let mut room = client.subscribe("room").since(since).await.unwrap();
        assert_eq!(texts(&mut room, 5 - first).await, numbers(first..5));
        assert!(matches!(next(&mut room).await, Event::Live { .. }));
    }
}

#[tokio::test]
async fn history_is_read_in_pages_up_to_its_head() {
    let server = TestServer::open().await;
    let client = server.client().await;
    for n in 0..25 {
        client.publish("room", n.to_string()).await.unwrap();
    }
    let mut read = Vec::new();
    let mut since = Since::Start;
    loop {
        let page = client.history("room").since(since).limit(10).await.unwrap();
        read.extend(page.publications.iter().map(text));
        let last = page.publications.last().unwrap().position;
        if last == page.head {
            break;
        }
        since = last.into();
    }
    assert_eq!(read, numbers(0..25));
    let newest = client.history("room").limit(2).await.unwrap();
    assert_eq!(
        newest.publications.iter().map(text).collect::<Vec<_>>(),
        ["23", "24"]
    );
}

#[tokio::test]
async fn a_position_that_is_no_longer_retained_causes_a_gap() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let first = client.publish("short/a", "0").await.unwrap().position;
    for n in 1..30 {
        client.publish("short/a", n.to_string()).await.unwrap();
    }
    let mut room = client.subscribe("short/a").since(first).await.unwrap();
    let Event::Gap(gap) = next(&mut room).await else {
        panic!()
    };
    assert_eq!(
        (gap.from, gap.reason.clone()),
        (first, GapReason::EvictedBySize)
    );
    assert_eq!(gap.count(), Some(19));
    assert_eq!(texts(&mut room, 10).await, numbers(20..30));
    let history = client.history("short/a").since(first).await.unwrap();
    assert_eq!(history.gap, Some(GapReason::EvictedBySize));
}

#[tokio::test]
async fn members_join_and_leave() {
    let server = TestServer::open().await;
    let (ann, ben) = (server.client().await, server.client().await);
    let mut room = ann.subscribe("room").presence().await.unwrap();
    assert!(matches!(next(&mut room).await, Event::Live { .. }));
    // Ann herself: announced, listed, or both.
    let me = loop {
        match next(&mut room).await {
            Event::Members(members) => break members.members[0].session.clone(),
            Event::Joined(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let bens = ben.subscribe("room").await.unwrap();
    let joined = loop {
        match next(&mut room).await {
            Event::Joined(member) if member.session != me => break member,
            Event::Joined(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let present = ann.presence("room").await.unwrap();
    assert_eq!(present.total, 2);
    assert!(present.members.contains(&joined));
    drop(bens);
    assert_eq!(next(&mut room).await, Event::Left(joined));
}

#[tokio::test]
async fn a_consumer_continues_where_it_acknowledged() {
    let server = TestServer::open().await;
    let client = server.client().await;
    assert_eq!(client.acked("room", "billing").await.unwrap(), None);
    let first = client.publish("room", "0").await.unwrap().position;
    let second = client.publish("room", "1").await.unwrap().position;
    assert_eq!(
        client.ack("room", "billing", second).await.unwrap(),
        Some(second)
    );
    assert_eq!(
        client.ack("room", "billing", first).await.unwrap(),
        Some(second)
    );
    assert_eq!(client.acked("room", "billing").await.unwrap(), Some(second));
}

#[tokio::test]
async fn receipts_count_who_has_received_a_publication() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut room = client.subscribe("room").await.unwrap();
    let published = client.publish("room", "0").await.unwrap();
    texts(&mut room, 1).await;
    // The question sets off the ping whose pong is the receipt.
    within(async {
        loop {
            match client.receipts("room", published.position).await {
                Ok(receipts) if receipts.received == 1 => {
                    assert_eq!((receipts.subscribers, receipts.sessions.len()), (1, 1));
                    break;
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
}

fn refused(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::Refused(refused) | Error::Invalid(refused) => refused.code(),
        _ => None,
    }
}

#[tokio::test]
async fn refusals_have_a_code_and_the_client_continues() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let error = client.subscribe("closed/a").await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::Forbidden));
    assert!(!error.is_retryable());
    let error = client.publish("closed/a", "x").await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::Forbidden));
    let error = client.history("fleeting/a").await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::NoHistory));
    // These never reach the server.
    let error = client.publish("no*star", "x").await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::BadChannelName));
    let error = client.publish("room", "x").key("").await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::BadKey));
    let error = client
        .publish("room", vec![0; 256 * 1024])
        .await
        .unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::TooLarge));
    // The largest allowed message reaches the server, which has a limit of its own.
    let error = client
        .publish("room", vec![0; 180 * 1024])
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Refused(_)), "{error:?}");
    assert_eq!(refused(&error), Some(ErrorCode::TooLarge));
    client.publish("room", "hello").await.unwrap();
}

#[tokio::test]
async fn a_refused_subscription_that_was_not_awaited_reports_it_as_its_first_event() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut subscription = client.subscribe("closed/a").start().unwrap();
    let error = within(subscription.next()).await.unwrap_err();
    assert_eq!(refused(&error), Some(ErrorCode::Forbidden));
    assert_eq!(within(subscription.next()).await.unwrap(), None);
}

#[tokio::test]
async fn a_channel_has_one_subscription_of_a_client_at_a_time() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let room = client.subscribe("room").await.unwrap();
    let second = client.subscribe("room").await;
    assert!(matches!(second, Err(Error::AlreadySubscribed(_))));
    drop(room);
    client.subscribe("room").await.unwrap();
}

#[tokio::test]
async fn closing_ends_everything_and_dropping_everything_closes() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut events = client.events();
    let mut room = client.subscribe("room").await.unwrap();
    next(&mut room).await;
    within(client.close()).await;
    assert_eq!(within(room.next()).await.unwrap(), None);
    assert!(matches!(
        client.publish("room", "x").await,
        Err(Error::Closed)
    ));
    assert!(matches!(client.flush().await, Err(Error::Closed)));
    assert!(within(events.next()).await.is_none());

    let client = server.client().await;
    let mut events = client.events();
    let mut room = client.subscribe("room").await.unwrap();
    drop(client);
    next(&mut room).await;
    drop(room);
    assert!(within(events.next()).await.is_none());
}

#[tokio::test]
async fn connect_fails_immediately_if_there_is_no_server() {
    let server = TestServer::open().await;
    let wrong = format!("ws://{}/nowhere", server.address());
    let error = Client::to(wrong)
        .connection(|connect| connect.no_proxy())
        .connect()
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Connection(_)), "{error:?}");
    assert!(!error.is_retryable(), "{error}");
    let address = server.address();
    server.close().await;
    let error = builder(address).connect().await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn with_a_store_of_positions_another_client_continues_after_the_handled_messages() {
    let server = TestServer::open().await;
    let positions = MemoryPositions::default();
    let publisher = server.client().await;
    for n in 0..3 {
        publisher.publish("room", n.to_string()).await.unwrap();
    }
    let first = builder(server.address()).positions(positions.clone());
    let first = first.connect().await.unwrap();
    let mut room = first.subscribe("room").since(Since::Start).await.unwrap();
    // The second is delivered, but nothing says that it was handled.
    assert_eq!(texts(&mut room, 2).await, ["0", "1"]);
    drop((first, room));
    let second = builder(server.address()).positions(positions);
    let second = second.connect().await.unwrap();
    let mut room = second.subscribe("room").since(Since::Start).await.unwrap();
    assert_eq!(texts(&mut room, 2).await, ["1", "2"]);
}

#[tokio::test]
async fn dropped_futures_leave_nothing_behind() {
    let server = TestServer::open().await;
    let client = server.client().await;
    for _ in 0..20 {
        // Polled once, then dropped.
        tokio::select! {
            biased;
            _ = client.subscribe("room") => {}
            () = std::future::ready(()) => {}
        }
        tokio::select! {
            biased;
            _ = client.history("room") => {}
            () = std::future::ready(()) => {}
        }
        tokio::select! {
            biased;
            _ = client.publish("room", "x").key("the same") => {}
            () = std::future::ready(()) => {}
        }
    }
    client.flush().await.unwrap();
    let history = client.history("room").await.unwrap();
    assert_eq!(history.publications.len(), 1);
    client.subscribe("room").await.unwrap();
}

#[tokio::test]
async fn a_subscription_is_a_stream_of_the_same_events_and_ends_with_the_client() {
    use std::pin::pin;
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut room = pin!(client.subscribe("room").await.unwrap());
    let published = client.publish("room", "hello").await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = std::future::poll_fn(|cx| futures_core::Stream::poll_next(room.as_mut(), cx));
        seen.push(within(event).await.unwrap().unwrap());
    }
    assert!(matches!(seen[0], Event::Live { .. }), "{seen:?}");
    let Event::Publication(publication) = &seen[1] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (text(publication).as_str(), publication.position),
        ("hello", published.position)
    );
    within(client.close()).await;
    let event = std::future::poll_fn(|cx| futures_core::Stream::poll_next(room.as_mut(), cx));
    assert!(within(event).await.is_none());
}

#[tokio::test]
async fn a_state_is_subscribed_to_and_read() {
    let server = TestServer::open().await;
    let client = server.client().await;
    for (key, value) in [("BTC", "1"), ("ETH", "2"), ("BTC", "3")] {
        client
            .publish("prices", value)
            .tag("key", key)
            .await
            .unwrap();
    }
    let mut prices = client
        .subscribe("prices")
        .since(Since::State)
        .await
        .unwrap();
    let mut values = Vec::new();
    let gap = loop {
        match next(&mut prices).await {
            Event::Value(value) => values.push(text(&value)),
            Event::Gap(gap) => break gap,
            Event::CatchingUp => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(values, ["2", "3"]);
    assert_eq!(gap.reason, GapReason::State);
    assert!(matches!(next(&mut prices).await, Event::Live { .. }));

    let first = client.state("prices").limit(1).await.unwrap();
    assert_eq!((text(&first.values[0]).as_str(), first.more), ("2", true));
    let after = first.values[0].position;
    let rest = client.state("prices").after(after).await.unwrap();
    assert_eq!((text(&rest.values[0]).as_str(), rest.more), ("3", false));
    assert_eq!(rest.head, gap.to);
}

#[tokio::test]
async fn history_is_read_backward() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let mut newest = None;
    for n in 0..10 {
        newest = Some(
            client
                .publish("room", n.to_string())
                .await
                .unwrap()
                .position,
        );
    }
    let mut before = newest.unwrap();
    let mut read = Vec::new();
    loop {
        let page = client
            .history("room")
            .before(before)
            .limit(4)
            .await
            .unwrap();
        read.splice(0..0, page.publications.iter().map(text));
        if !page.more {
            break;
        }
        before = page.publications[0].position;
    }
    assert_eq!(read, numbers(0..9));
}

#[tokio::test]
async fn without_echo_a_client_does_not_get_what_it_publishes() {
    let server = TestServer::open().await;
    let (ann, ben) = (server.client().await, server.client().await);
    let mut room = ann.subscribe("room").without_echo().await.unwrap();
    assert!(matches!(next(&mut room).await, Event::Live { .. }));
    let own = ann.publish("room", "mine").await.unwrap().position;
    ben.publish("room", "yours").await.unwrap();
    let Event::Own { position } = next(&mut room).await else {
        panic!()
    };
    assert_eq!(position, own);
    assert_eq!(texts(&mut room, 1).await, ["yours"]);
}

#[tokio::test]
async fn members_see_the_info_of_a_client() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let _room = client.subscribe("room").await.unwrap();
    client.update_info(json!({"name": "Ann"})).await.unwrap();
    let members = client.presence("room").await.unwrap();
    let info = members.members[0].info.as_ref().unwrap();
    assert_eq!(info.as_bytes(), br#"{"name":"Ann"}"#);
    let bytes = client.update_info(vec![1]).await;
    assert!(matches!(bytes, Err(Error::Json(_))), "{bytes:?}");
}

#[tokio::test]
async fn a_call_without_a_backend_is_refused() {
    let server = TestServer::open().await;
    let client = server.client().await;
    let called = client.call("orders.cancel", json!({"order": 7})).await;
    let Err(Error::Refused(refused)) = called else {
        panic!("{called:?}")
    };
    assert_eq!(refused.code(), Some(ErrorCode::Forbidden));
}

//! Connections that are cut and frozen, and servers that stop and restart: nothing is lost, and
//! nothing is delivered twice.

use std::time::Duration;

use offhook_client::{ConnectionEvent, Event, GapReason, Heartbeat, Recovery, Since};
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::test_server::{TestServer, builder, lost, next, numbers, opened, texts, within};

#[tokio::test]
async fn a_cut_connection_is_resumed_and_nothing_is_missed() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let publisher = server.client().await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    for round in 0..10 {
        publisher
            .publish("room", (2 * round).to_string())
            .await
            .unwrap();
        proxy.cut();
        publisher
            .publish("room", (2 * round + 1).to_string())
            .await
            .unwrap();
        assert_eq!(texts(&mut room, 2).await, numbers(2 * round..2 * round + 2));
        assert_eq!(opened(&mut events).await, Recovery::Resumed);
    }
    assert_eq!(client.repeats(), 0);
}

#[tokio::test]
async fn a_frozen_connection_is_detected_and_delayed_messages_arrive_once() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let publisher = server.client().await;
    let mut heartbeat = Heartbeat::default();
    (heartbeat.every, heartbeat.within) = (Duration::from_millis(100), Duration::from_millis(100));
    let client = builder(proxy.address())
        .heartbeat(heartbeat)
        .connect()
        .await
        .unwrap();
    let mut events = client.events();
    let mut room = client.subscribe("room").await.unwrap();
    next(&mut room).await;
    proxy.freeze();
    publisher.publish("room", "0").await.unwrap();
    let cause = lost(&mut events).await;
    assert!(matches!(cause, offhook_client::Error::Silent), "{cause:?}");
    proxy.thaw();
    opened(&mut events).await;
    publisher.publish("room", "1").await.unwrap();
    assert_eq!(texts(&mut room, 2).await, ["0", "1"]);
}

#[tokio::test]
async fn publications_made_while_disconnected_are_sent_later_once_and_in_order() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    proxy.go_away();
    lost(&mut events).await;
    let queued: Vec<_> = (0..20)
        .map(|n| client.publish("room", n.to_string()).queue().unwrap())
        .collect();
    assert_eq!(client.unanswered(), 20);
    proxy.come_back();
    for publishing in queued {
        assert!(!within(publishing).await.unwrap().duplicate);
    }
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    assert_eq!(texts(&mut room, 20).await, numbers(0..20));
    assert_eq!(client.history("room").await.unwrap().publications.len(), 20);
}

#[tokio::test]
async fn a_publication_made_as_the_connection_breaks_is_not_published_twice() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    for n in 0..100 {
        let publishing = client.publish("room", n.to_string()).queue().unwrap();
        if n % 4 == 0 {
            // Before it is sent, in transit, in the log, or on the way back.
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            proxy.cut();
        }
        within(publishing).await.unwrap();
    }
    let witness = server.client().await;
    let mut room = witness.subscribe("room").since(Since::Start).await.unwrap();
    assert_eq!(texts(&mut room, 100).await, numbers(0..100));
    assert!(matches!(next(&mut room).await, Event::Live { .. }));
}

#[tokio::test]
async fn a_server_that_restarts_on_its_log_loses_nothing_and_repeats_nothing() {
    let directory = TempDir::new().unwrap();
    let mut server = TestServer::on_disk(directory.path()).await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    for round in 0..3 {
        client
            .publish("room", (2 * round).to_string())
            .await
            .unwrap();
        server.collapse();
        lost(&mut events).await;
        let publishing = client
            .publish("room", (2 * round + 1).to_string())
            .queue()
            .unwrap();
        server = TestServer::on_disk(directory.path()).await;
        proxy.lead_to(server.address());
        within(publishing).await.unwrap();
        assert_eq!(opened(&mut events).await, Recovery::Resumed);
        assert_eq!(texts(&mut room, 2).await, numbers(2 * round..2 * round + 2));
    }
    assert_eq!(client.repeats(), 0);
}

#[tokio::test]
async fn if_the_server_cannot_open_the_sealed_session_positions_are_used() {
    let directory = TempDir::new().unwrap();
    let server = TestServer::on_disk(directory.path()).await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    client.publish("room", "0").await.unwrap();
    assert_eq!(texts(&mut room, 1).await, ["0"]);
    server.collapse();
    lost(&mut events).await;
    // That is, another server with the same log.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let server = TestServer::on_disk(directory.path()).await;
    proxy.lead_to(server.address());
    assert_eq!(opened(&mut events).await, Recovery::Positions);
    client.publish("room", "1").await.unwrap();
    assert_eq!(texts(&mut room, 1).await, ["1"]);
}

#[tokio::test]
async fn messages_not_retained_while_disconnected_are_a_gap_and_the_rest_follows() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let publisher = server.client().await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    let mut room = client.subscribe("short/a").await.unwrap();
    publisher.publish("short/a", "0").await.unwrap();
    assert_eq!(texts(&mut room, 1).await, ["0"]);
    proxy.go_away();
    lost(&mut events).await;
    for n in 1..40 {
        publisher.publish("short/a", n.to_string()).await.unwrap();
    }
    proxy.come_back();
    assert!(matches!(next(&mut room).await, Event::CatchingUp));
    let Event::Gap(gap) = next(&mut room).await else {
        panic!()
    };
    assert_eq!(
        (gap.count(), gap.reason),
        (Some(29), GapReason::EvictedBySize)
    );
    assert_eq!(texts(&mut room, 10).await, numbers(30..40));
}

#[tokio::test]
async fn a_new_epoch_of_the_stream_is_reported() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
    client.publish("room", "0").await.unwrap();
    assert_eq!(texts(&mut room, 1).await, ["0"]);
    server.collapse();
    // In memory: everything is lost with it.
    let server = TestServer::open().await;
    proxy.lead_to(server.address());
    client.publish("room", "1").await.unwrap();
    loop {
        match next(&mut room).await {
            Event::Gap(gap) => {
                assert_eq!((gap.count(), gap.reason), (None, GapReason::EpochChanged));
                break;
            }
            Event::Live { .. } | Event::CatchingUp => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts(&mut room, 1).await, ["1"]);
}

#[tokio::test]
async fn the_time_to_reconnect_advised_by_a_stopping_server_is_respected() {
    let directory = TempDir::new().unwrap();
    let server = TestServer::on_disk(directory.path()).await;
    let proxy = Proxy::to(server.address()).await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    server.close().await;
    let advised = loop {
        match within(events.next()).await.unwrap() {
            ConnectionEvent::Moving { after } => break after,
            other => assert!(!matches!(other, ConnectionEvent::Lost { .. }), "{other:?}"),
        }
    };
    // The connection may end before.
    match within(events.next()).await.unwrap() {
        ConnectionEvent::Lost { pause, .. } => {
            assert!(pause <= advised, "{pause:?} of {advised:?}")
        }
        ConnectionEvent::Connecting { .. } => {}
        other => panic!("{other:?}"),
    }
    let server = TestServer::on_disk(directory.path()).await;
    proxy.lead_to(server.address());
    assert_eq!(opened(&mut events).await, Recovery::Resumed);
}

#[tokio::test]
async fn no_leave_and_join_is_seen_when_a_connection_is_cut_and_resumed() {
    let server = TestServer::open().await;
    let proxy = Proxy::to(server.address()).await;
    let watcher = server.client().await;
    let client = builder(proxy.address()).connect().await.unwrap();
    let mut events = client.events();
    let _room = client.subscribe("room").await.unwrap();
    let mut watched = watcher.subscribe("room").presence().await.unwrap();
    while !matches!(next(&mut watched).await, Event::Members(members) if members.total == 2) {}
    for _ in 0..3 {
        proxy.cut();
        assert_eq!(opened(&mut events).await, Recovery::Resumed);
        client.publish("room", "here again").await.unwrap();
        assert!(matches!(next(&mut watched).await, Event::Publication(_)));
    }
}

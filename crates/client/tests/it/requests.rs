//! Clients over HTTP requests, with the real server: everything works as over a WebSocket.

use std::time::Duration;

use offhook_client::{Builder, ConnectionEvent, Event, Heartbeat, Recovery, Since, Transport};

use crate::proxy::Proxy;
use crate::test_server::{TestServer, builder, lost, next, numbers, opened, text, texts, within};

const BOTH: [Transport; 2] = [Transport::Events, Transport::Polls];

async fn open(builder: Builder, transport: Transport) -> offhook_client::Client {
    within(builder.transport(transport).connect())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_publication_reaches_the_other_client_over_any_transport() {
    for transport in BOTH {
        let server = TestServer::open().await;
        let ann = open(builder(server.address()), transport).await;
        let ben = server.client().await;
        let mut anns = ann.subscribe("room").await.unwrap();
        let mut bens = ben.subscribe("room").await.unwrap();
        for n in 0..20 {
            let from = if n % 2 == 0 { &ann } else { &ben };
            from.publish("room", n.to_string()).await.unwrap();
        }
        assert_eq!(texts(&mut anns, 20).await, numbers(0..20));
        assert_eq!(texts(&mut bens, 20).await, numbers(0..20));
        // More messages than fit into one request and one answer.
        let large = "x".repeat(50_000);
        for _ in 0..3 {
            ben.publish("room", large.clone()).await.unwrap();
        }
        ann.publish("room", large.clone()).await.unwrap();
        assert_eq!(texts(&mut anns, 4).await, vec![large; 4]);
        let newest = ann.history("room").limit(1).await.unwrap().publications;
        assert_eq!(text(&newest[0]).len(), 50_000);
    }
}

#[tokio::test]
async fn cut_connections_neither_lose_nor_repeat_messages() {
    for transport in BOTH {
        let server = TestServer::open().await;
        let proxy = Proxy::to(server.address()).await;
        let publisher = server.client().await;
        let client = open(builder(proxy.address()), transport).await;
        let mut room = client.subscribe("room").since(Since::Start).await.unwrap();
        for round in 0..10 {
            let mine = client.publish("room", (3 * round).to_string());
            within(mine.into_future()).await.unwrap();
            proxy.cut();
            let number = (3 * round + 1).to_string();
            publisher.publish("room", number).await.unwrap();
            // The request may have to be repeated.
            let mine = client.publish("room", (3 * round + 2).to_string());
            within(mine.into_future()).await.unwrap();
            let expected = numbers(3 * round..3 * round + 3);
            assert_eq!(texts(&mut room, 3).await, expected, "{transport:?}");
        }
        assert_eq!(client.history("room").await.unwrap().publications.len(), 30);
        assert_eq!(client.repeats(), 0);
    }
}

#[tokio::test]
async fn a_cut_stream_is_a_lost_connection_but_a_cut_poll_is_not() {
    for transport in BOTH {
        let server = TestServer::open().await;
        let proxy = Proxy::to(server.address()).await;
        let client = open(builder(proxy.address()), transport).await;
        let mut events = client.events();
        let mut room = client.subscribe("room").await.unwrap();
        next(&mut room).await;
        proxy.cut();
        if transport == Transport::Events {
            lost(&mut events).await;
            assert_eq!(opened(&mut events).await, Recovery::Resumed);
        }
        client.publish("room", "0").await.unwrap();
        assert_eq!(texts(&mut room, 1).await, ["0"]);
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = std::future::ready(()) => None,
        };
        let is_lost = matches!(event, Some(ConnectionEvent::Lost { .. }));
        assert!(!is_lost, "{transport:?}: {event:?}");
    }
}

#[tokio::test]
async fn a_frozen_network_is_detected_and_delayed_messages_arrive_once() {
    for transport in BOTH {
        let server = TestServer::open().await;
        let proxy = Proxy::to(server.address()).await;
        let publisher = server.client().await;
        let mut heartbeat = Heartbeat::default();
        (heartbeat.every, heartbeat.within) =
            (Duration::from_millis(100), Duration::from_millis(200));
        let client = open(builder(proxy.address()).heartbeat(heartbeat), transport).await;
        let mut events = client.events();
        let mut room = client.subscribe("room").await.unwrap();
        next(&mut room).await;
        proxy.freeze();
        publisher.publish("room", "0").await.unwrap();
        let cause = lost(&mut events).await;
        assert!(matches!(cause, offhook_client::Error::Silent), "{cause:?}");
        proxy.thaw();
        publisher.publish("room", "1").await.unwrap();
        assert_eq!(texts(&mut room, 2).await, ["0", "1"], "{transport:?}");
    }
}

#[tokio::test]
async fn a_closed_client_is_no_longer_a_member() {
    for transport in BOTH {
        let server = TestServer::open().await;
        let watcher = server.client().await;
        let mut room = watcher.subscribe("room").presence().await.unwrap();
        let client = open(builder(server.address()), transport).await;
        let _mine = client.subscribe("room").await.unwrap();
        client.publish("room", "hi").await.unwrap();
        let session = loop {
            if let Event::Publication(publication) = next(&mut room).await {
                break publication.session.unwrap();
            }
        };
        client.close().await;
        while !matches!(next(&mut room).await, Event::Left(member) if member.session == session) {}
    }
}

#[tokio::test]
async fn a_restarted_server_is_reconnected_to() {
    for transport in BOTH {
        let directory = tempfile::TempDir::new().unwrap();
        let server = TestServer::on_disk(directory.path()).await;
        let proxy = Proxy::to(server.address()).await;
        let client = open(builder(proxy.address()), transport).await;
        let mut room = client.subscribe("room").await.unwrap();
        client.publish("room", "0").await.unwrap();
        server.close().await;
        let server = TestServer::on_disk(directory.path()).await;
        proxy.lead_to(server.address());
        within(client.publish("room", "1").into_future())
            .await
            .unwrap();
        assert_eq!(texts(&mut room, 2).await, ["0", "1"], "{transport:?}");
    }
}

#[tokio::test]
async fn the_error_for_a_server_without_that_path_says_so() {
    let server = TestServer::open().await;
    let url = format!("ws://{}/elsewhere/ws", server.address());
    for transport in BOTH {
        let client = offhook_client::Client::to(&url)
            .connection(|connect| connect.no_proxy())
            .transport(transport);
        let error = within(client.connect()).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains("HTTP 40"), "{text}");
    }
}

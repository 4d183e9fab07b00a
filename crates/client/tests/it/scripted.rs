//! The driver with scripted servers, and a clock that advances by itself.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook_client::{ConnectionEvent, Error, Event};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::pairs;
use crate::test_server::{lost, opened};

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_only_for_connections_without_a_sealed_session() {
    let (builder, mut peers) = pairs::client();
    let fetched = Arc::new(AtomicUsize::new(0));
    let fetches = Arc::clone(&fetched);
    let builder = builder.token_from(move || {
        let number = fetches.fetch_add(1, Ordering::Relaxed);
        async move {
            match number {
                0 => Err(io::Error::other("the backend is away")),
                _ => Ok(format!("token {number}")),
            }
        }
    });
    let client = builder.start();
    let mut events = client.events();
    assert!(matches!(lost(&mut events).await, Error::Token(_)));
    let (peer, hello) = peers.welcome("r1").await;
    assert_eq!(hello["token"], "token 1");
    drop(peer);
    let (_peer, hello) = peers.welcome("r2").await;
    assert_eq!((hello.get("token"), &hello["resume"]), (None, &json!("r1")));
    assert_eq!(fetched.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_is_sent_with_every_connect() {
    let (builder, mut peers) = pairs::client();
    let _client = builder.token("secret").start();
    let (peer, hello) = peers.welcome("r1").await;
    assert_eq!(hello["token"], "secret");
    drop(peer);
    let (_peer, hello) = peers.welcome("r2").await;
    assert_eq!(
        (&hello["token"], &hello["resume"]),
        (&json!("secret"), &json!("r1"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_after_the_handshake_is_detected() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let mut events = client.events();
    let (mut peer, _) = peers.welcome("r1").await;
    let began = Instant::now();
    // It reads, and answers WebSocket's own pings, but sends nothing else.
    let hung = tokio::spawn(async move { while let Ok(Some(_)) = peer.socket.recv().await {} });
    assert!(matches!(lost(&mut events).await, Error::Silent));
    assert_eq!(began.elapsed().as_secs(), 45);
    hung.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_always_answered() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let mut events = client.events();
    let (mut peer, _) = peers.welcome("r1").await;
    opened(&mut events).await;
    for _ in 0..100 {
        let ping = peer.hears().await;
        assert_eq!(ping["type"], "ping");
        peer.says(json!({"type": "pong", "id": ping["id"]})).await;
    }
    assert!(
        timeout(Duration::from_millis(1), events.next())
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn a_close_code_that_forbids_reconnecting_is_respected_and_reported_to_all() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let mut events = client.events();
    let (mut peer, _) = peers.welcome("r1").await;
    let mut room = client.subscribe("room").start().unwrap();
    let publishing = client.publish("room", "x").queue().unwrap();
    peer.hears().await;
    peer.hears().await;
    let code = CloseCode::new(4003);
    peer.socket.close(code, "go away").await.unwrap();
    let refused = |error: &Error| match error {
        Error::Connection(error) => error.close_code() == Some(code),
        _ => false,
    };
    assert!(refused(&publishing.await.unwrap_err()));
    assert!(refused(&room.next().await.unwrap_err()));
    assert_eq!(room.next().await.unwrap(), None);
    assert!(refused(&client.publish("room", "y").await.unwrap_err()));
    loop {
        match events.next().await.unwrap() {
            ConnectionEvent::GivenUp { cause } => break assert!(refused(&cause)),
            ConnectionEvent::Lost { cause, .. } => panic!("{cause}"),
            _ => {}
        }
    }
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn closing_sends_1000() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let (mut peer, _) = peers.welcome("r1").await;
    let closing = tokio::spawn(async move { client.close().await });
    assert_eq!(peer.socket.recv().await.unwrap(), None);
    assert_eq!(peer.socket.closed().unwrap().code, CloseCode::NORMAL);
    closing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn closing_while_a_connection_is_opened_does_not_wait_for_it() {
    let never = || std::future::pending::<Result<offhook::WebSocket, offhook::Error>>();
    let client = offhook_client::Client::over(move |_| never()).start();
    client.close().await;
}

#[tokio::test(start_paused = true)]
async fn moving_to_a_new_connection_closes_the_old_one_with_1001_and_loses_nothing() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let (mut peer, _) = peers.welcome("r1").await;
    let publishing = client.publish("room", "x").queue().unwrap();
    let asked = peer.hears().await;
    peer.says(json!({"type": "reconnect", "after_ms": 1500}))
        .await;
    let began = Instant::now();
    assert_eq!(peer.socket.recv().await.unwrap(), None);
    assert_eq!(peer.socket.closed().unwrap().code, CloseCode::GOING_AWAY);
    assert_eq!(began.elapsed().as_millis(), 1500);
    let (mut peer, hello) = peers.welcome("r2").await;
    assert_eq!(hello["resume"], "r1");
    let again = peer.hears().await;
    assert_eq!(again["key"], asked["key"]);
    peer.says(json!({"type": "published", "id": again["id"], "position": "1.1"}))
        .await;
    publishing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_queue_does_not_grow_while_the_server_reads_nothing() {
    let (builder, mut peers) = pairs::client();
    let client = builder.queue(100_000).start();
    let (_peer, _) = peers.welcome("r1").await;
    let mut queued = 0;
    let full = loop {
        match client.publish("room", vec![0; 1_000]).unordered().queue() {
            Ok(_) => queued += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full) && full.is_retryable());
    assert!(queued < 100, "{queued}");
    // Awaiting it would wait for room.
    let waiting = client.publish("room", vec![0; 1_000]).into_future();
    assert!(timeout(Duration::from_secs(1), waiting).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_message_leads_to_a_new_connection_after_a_pause() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let mut events = client.events();
    for nonsense in ["{", "[]", r#"{"type":"live","channel":"a"}"#] {
        let (peer, _) = peers.welcome("r1").await;
        peer.socket.send(nonsense).await.unwrap();
        assert!(matches!(lost(&mut events).await, Error::Server(_)));
    }
    let (peer, _) = peers.welcome("r1").await;
    peer.socket.send(&b"binary"[..]).await.unwrap();
    assert!(matches!(lost(&mut events).await, Error::Server(_)));
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_dropped_future_is_returned_by_the_next_one() {
    let (builder, mut peers) = pairs::client();
    let client = builder.start();
    let mut room = client.subscribe("room").start().unwrap();
    let (mut peer, _) = peers.welcome("r1").await;
    let asked = peer.hears().await;
    for _ in 0..3 {
        assert!(
            timeout(Duration::from_millis(10), room.next())
                .await
                .is_err()
        );
    }
    peer.says(json!({
        "type": "subscribed", "id": asked["id"], "channel": "room", "position": "1.4",
        "live": true,
    }))
    .await;
    assert!(matches!(
        room.next().await.unwrap(),
        Some(Event::Live { .. })
    ));
}

//! Whether the peer is there.

use std::time::Duration;

use offhook::protocol::{CloseCode, Config, Error as Failure, Keepalive, TimeoutError};
use offhook::{Error, Pair, Settings, pair};
use tokio::time::Instant;

fn keepalive(interval: u64, pong_timeout: u64) -> Settings {
    Settings::default().config(Config {
        keepalive: Keepalive {
            interval: Some(Duration::from_secs(interval)),
            pong_timeout: Duration::from_secs(pong_timeout),
        },
        ..Config::default()
    })
}

fn idle_timeout(seconds: u64) -> Settings {
    Settings::default().config(Config {
        idle_timeout: Some(Duration::from_secs(seconds)),
        ..Config::default()
    })
}

/// The wheel rounds up to 128 ms.
fn assert_about(elapsed: Duration, seconds: u64) {
    let expected = Duration::from_secs(seconds);
    let late = elapsed.checked_sub(expected).expect("not too early");
    assert!(late < Duration::from_millis(400), "{late:?} too late");
}

#[tokio::test(start_paused = true)]
async fn a_ping_measures_the_round_trip() {
    let delay = Duration::from_millis(50);
    let (mut client, mut server, _link) = Pair::new().delay(delay).open();
    tokio::spawn(async move { server.recv().await });
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(client.ping().await.unwrap(), 2 * delay);
    assert_eq!(client.rtt(), Some(2 * delay));
}

#[tokio::test(start_paused = true)]
async fn a_sender_pings_while_another_task_receives() {
    let delay = Duration::from_millis(50);
    let (mut client, mut server, _link) = Pair::new().delay(delay).open();
    tokio::spawn(async move { server.recv().await });
    let sender = client.sender();
    tokio::spawn(async move { client.recv().await });
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sender.ping().await.unwrap(), 2 * delay);
}

#[tokio::test(start_paused = true)]
async fn several_senders_ping_at_once() {
    let (mut client, mut server) = pair();
    tokio::spawn(async move { server.recv().await });
    let sender = client.sender();
    tokio::spawn(async move { client.recv().await });
    let (a, b, c) = tokio::join!(sender.ping(), sender.ping(), sender.ping());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_noticed_within_the_keepalive_time() {
    let (mut client, mut server, link) = Pair::new().client(&keepalive(5, 3)).open();
    tokio::spawn(async move { server.recv().await });
    link.stall();
    let begun = Instant::now();
    match client.recv().await {
        Err(Error::Peer(Failure::Timeout(TimeoutError::Pong))) => {}
        other => panic!("{other:?}"),
    }
    assert_about(begun.elapsed(), 8);
}

#[tokio::test(start_paused = true)]
async fn a_dead_peer_is_noticed_while_only_sending() {
    let settings = keepalive(5, 3).send_buffer(100);
    let (client, _server, link) = Pair::new().capacity(100).client(&settings).open();
    link.stall();
    let begun = Instant::now();
    while client.send(vec![0; 50]).await.is_ok() {}
    assert_about(begun.elapsed(), 8);
    assert!(client.closed().is_some());
    assert_eq!(client.ended().await.code, CloseCode::ABNORMAL);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_there_but_quiet_is_not_given_up() {
    let (mut client, mut server, _link) = Pair::new().settings(&keepalive(5, 3)).open();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        server.send("after an hour").await.unwrap();
        server.recv().await
    });
    // The server's end only answers while somebody receives on it.
    let quiet = tokio::time::timeout(Duration::from_secs(7), client.recv());
    assert!(quiet.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn two_ends_that_receive_stay_connected_for_hours() {
    let (mut client, mut server, _link) = Pair::new().settings(&keepalive(5, 3)).open();
    let sender = server.sender();
    tokio::spawn(async move { server.recv().await });
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2 * 3_600)).await;
        sender.send("after two hours").await
    });
    let received = client.recv().await.unwrap();
    assert_eq!(received, Some("after two hours".into()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_with_1001() {
    let (mut client, mut server, _link) = Pair::new().server(&idle_timeout(60)).open();
    let begun = Instant::now();
    let serving = tokio::spawn(async move { server.recv().await });
    assert_eq!(client.recv().await.unwrap(), None);
    assert_about(begun.elapsed(), 60);
    assert_eq!(client.closed().unwrap().code, CloseCode::GOING_AWAY);
    match serving.await.unwrap() {
        Err(Error::Peer(Failure::Timeout(TimeoutError::Idle))) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_comes_before_all_that_were_set_before_is_kept() {
    // The first deadline of this thread: 30 s from now. The second: 5 s from now.
    let _pair = pair();
    let (mut client, _server, link) = Pair::new().client(&keepalive(2, 3)).open();
    link.stall();
    let begun = Instant::now();
    assert!(client.recv().await.is_err());
    assert_about(begun.elapsed(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_receives_on_ends_in_time_all_the_same() {
    let (client, _server, link) = Pair::new().client(&keepalive(5, 3)).open();
    link.stall();
    let begun = Instant::now();
    let closed = client.ended().await;
    assert_about(begun.elapsed(), 8);
    assert_eq!(closed.code, CloseCode::ABNORMAL);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_ping_but_talks_all_the_time_costs_bounded_memory() {
    let (mut client, server) = pair();
    tokio::spawn(async move {
        // Nobody receives on this end, so no ping is answered.
        while server.send(vec![0; 10_000]).await.is_ok() {}
    });
    let ended = client.ping().await;
    assert!(matches!(ended, Err(Error::Unread)), "{ended:?}");
    assert!(client.recv().await.unwrap().is_some());
}

//! Detecting whether the peer is alive.

use std::time::Duration;

use offhook::protocol::handshake::Negotiated;
use offhook::protocol::{CloseCode, Config, Error as Failure, Keepalive, Prepared, TimeoutError};
use offhook::{Error, Pair, Settings, Transport, WebSocket, pair};
use tokio::io::AsyncWriteExt;
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
async fn a_dead_peer_is_detected_within_the_keepalive_time() {
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
async fn a_dead_peer_is_detected_while_only_sending() {
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
async fn a_quiet_peer_that_answers_pings_stays_connected() {
    let (mut client, mut server, _link) = Pair::new().settings(&keepalive(5, 3)).open();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        server.send("after an hour").await.unwrap();
        server.recv().await
    });
    // The server's end answers only while a task receives on it.
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
async fn a_silent_peer_is_pinged_at_every_interval_even_if_the_pong_timeout_is_longer() {
    let (mut client, mut server, _link) = Pair::new().server(&keepalive(1, 20)).open();
    let sender = server.sender();
    tokio::spawn(async move { client.recv().await });
    tokio::spawn(async move { server.recv().await });
    let mut measured = 0;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        measured += usize::from(sender.take_rtt().is_some());
    }
    // The timer's wheel rounds up, so that an interval is somewhat longer than a second.
    assert!(measured >= 7, "{measured} of 10");
    assert_eq!(sender.take_rtt(), None, "each is taken once");
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
async fn a_deadline_earlier_than_all_others_is_met() {
    // The first deadline of this thread: 30 s from now. The second: 5 s from now.
    let _pair = pair();
    let (mut client, _server, link) = Pair::new().client(&keepalive(2, 3)).open();
    link.stall();
    let begun = Instant::now();
    assert!(client.recv().await.is_err());
    assert_about(begun.elapsed(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_receiver_ends_in_time() {
    let (client, _server, link) = Pair::new().client(&keepalive(5, 3)).open();
    link.stall();
    let begun = Instant::now();
    let closed = client.ended().await;
    assert_about(begun.elapsed(), 8);
    assert_eq!(closed.code, CloseCode::ABNORMAL);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_but_never_answers_pings_uses_bounded_memory() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let transport = Transport::boxed(near);
    let agreed = Negotiated::default();
    let mut client = WebSocket::client(transport, agreed, &[], &Settings::default());
    tokio::spawn(async move {
        // RFC 6455 §5.2: binary, unmasked, 10,000 bytes.
        let mut frame = vec![0x82, 126, 0x27, 0x10];
        frame.extend([0; 10_000]);
        while far.write_all(&frame).await.is_ok() {}
    });
    let ended = client.ping().await;
    assert!(matches!(ended, Err(Error::Unread)), "{ended:?}");
    assert!(client.recv().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_not_answered_by_the_pong_to_an_earlier_one() {
    let delay = Duration::from_secs(2);
    let pair = Pair::new().client(&keepalive(30, 20)).delay(delay);
    let (mut client, mut server, _link) = pair.open();
    tokio::spawn(async move { server.recv().await });
    let mut receiving = Box::pin(client.recv());
    // The keepalive's ping is sent after 30 s; its pong arrives after 34.
    let early = tokio::time::timeout(Duration::from_secs(32), &mut receiving).await;
    assert!(early.is_err());
    drop(receiving);
    let begun = Instant::now();
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), 2 * delay);
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_no_task_receives() {
    let delay = Duration::from_millis(50);
    let (mut client, mut server, _link) = Pair::new().delay(delay).open();
    // No task has received, but one sends.
    let begun = Instant::now();
    server.send("hello").await.unwrap();
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), 2 * delay);
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), 4 * delay);
    // A task has received, and is busy with the message.
    client.send("work").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("work".into()));
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), 7 * delay);
    // A task has waited, and gave up.
    let waited = tokio::time::timeout(delay, server.recv()).await;
    assert!(waited.is_err());
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), 10 * delay);
}

/// A task that answered many messages at once is expected to do so again, so the flush task is not
/// called. The timer notices that it does not.
#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_a_prompt_task_is_busy_with_one_message() {
    let (mut client, mut server, _link) = Pair::new().open();
    let serving = tokio::spawn(async move {
        while let Some(message) = server.recv().await? {
            if message.as_text() == Some("hard") {
                tokio::time::sleep(Duration::from_secs(600)).await;
            }
            server.send(message).await?;
        }
        Ok::<_, Error>(())
    });
    for _ in 0..20 {
        client.send("easy").await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some("easy".into()));
    }
    client.send("hard").await.unwrap();
    client.flush().await.unwrap();
    // The task is busy with it by now.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    client.ping().await.unwrap();
    assert!(begun.elapsed() <= Duration::from_millis(500));
    let noticed = Instant::now();
    client.ping().await.unwrap();
    assert_eq!(noticed.elapsed(), Duration::ZERO);
    assert_eq!(client.recv().await.unwrap(), Some("hard".into()));
    // It is no longer expected to be prompt.
    client.send("hard").await.unwrap();
    client.flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = Instant::now();
    client.ping().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
    serving.abort();
}

/// The check of the timer is not forgotten when it was set for an earlier message.
#[tokio::test(start_paused = true)]
async fn a_prompt_task_that_becomes_busy_is_noticed_each_time() {
    let (mut client, mut server, _link) = Pair::new().open();
    let serving = tokio::spawn(async move {
        while let Some(message) = server.recv().await? {
            if message.as_text() == Some("hard") {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            server.send(message).await?;
        }
        Ok::<_, Error>(())
    });
    for _ in 0..5 {
        for n in 0..50 {
            client.send("easy").await.unwrap();
            assert_eq!(client.recv().await.unwrap(), Some("easy".into()));
            tokio::time::sleep(Duration::from_millis(n)).await;
        }
        client.send("hard").await.unwrap();
        client.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        client.ping().await.unwrap();
        assert!(begun.elapsed() <= Duration::from_millis(500));
        assert_eq!(client.recv().await.unwrap(), Some("hard".into()));
    }
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_only_sends_stays_connected_and_notices_the_close() {
    let (client, mut server, _link) = Pair::new().client(&keepalive(5, 3)).open();
    let receiving = tokio::spawn(async move {
        for _ in 0..10 {
            assert_eq!(server.recv().await.unwrap(), Some("tick".into()));
        }
        server.close(CloseCode::NORMAL, "enough").await
    });
    for _ in 0..10 {
        client.send("tick").await.unwrap();
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(&*client.ended().await.reason, "enough");
    assert!(receiving.await.unwrap().unwrap().clean);
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_message_is_not_received_stays_connected() {
    // The server cannot be answered behind its own messages, and sends no ping here.
    let pair = Pair::new()
        .client(&keepalive(5, 3))
        .server(&keepalive(9_999, 3));
    let (mut client, server, _link) = pair.open();
    server.send("read me").await.unwrap();
    server.send(vec![7; 100_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(client.recv().await.unwrap(), Some("read me".into()));
    assert_eq!(client.recv().await.unwrap().unwrap().len(), 100_000);
}

#[tokio::test(start_paused = true)]
async fn a_close_and_the_end_after_it_are_noticed_immediately_while_no_task_receives() {
    let (mut client, server, _link) = Pair::new().open();
    server.send("hello").await.unwrap();
    assert_eq!(client.recv().await.unwrap(), Some("hello".into()));
    let begun = Instant::now();
    drop(client);
    assert_eq!(server.ended().await.code, CloseCode::GOING_AWAY);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_close_is_noticed_without_a_receiver_and_everything_is_written_at_once() {
    let (mut client, server, _link) = Pair::new().open();
    let message = [Prepared::new("hello")];
    assert_eq!(server.write_prepared(&message).unwrap(), 0);
    assert_eq!(client.recv().await.unwrap(), Some("hello".into()));
    let begun = Instant::now();
    drop(client);
    assert_eq!(server.ended().await.code, CloseCode::GOING_AWAY);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_stream_is_noticed_while_no_task_receives() {
    let (client, server, link) = Pair::new().open();
    let sender = client.sender();
    link.cut();
    assert_eq!(sender.ended().await.code, CloseCode::ABNORMAL);
    drop(server);
}

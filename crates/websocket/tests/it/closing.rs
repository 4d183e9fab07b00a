//! The end of a connection, from every side.

use std::time::Duration;

use offhook::protocol::handshake::Negotiated;
use offhook::protocol::{
    CloseCode, ClosedBy, Config, Error as Failure, Keepalive, Kind, Limits, ReadyState,
    TimeoutError,
};
use offhook::{Error, Pair, Settings, WebSocket, pair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn close_ends_with_the_whole_closing_handshake() {
    let (mut client, mut server) = pair();
    client.send("before").await.unwrap();
    let serving = tokio::spawn(async move {
        assert_eq!(server.recv().await.unwrap(), Some("before".into()));
        assert_eq!(server.recv().await.unwrap(), None);
        server.closed().unwrap()
    });
    let here = client.close(CloseCode::new(4001), "enough").await.unwrap();
    let there = serving.await.unwrap();
    assert!(here.clean && there.clean);
    assert_eq!((here.by, there.by), (ClosedBy::Local, ClosedBy::Remote));
    assert_eq!((there.code.get(), &*there.reason), (4001, "enough"));
    assert_eq!(client.state(), ReadyState::Closed);
}

#[tokio::test]
async fn a_server_closes_with_the_whole_handshake_too() {
    let (mut client, mut server) = pair();
    let receiving = tokio::spawn(async move { client.recv().await });
    let closed = server.close(CloseCode::GOING_AWAY, "").await.unwrap();
    assert!(closed.clean);
    assert_eq!(receiving.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn both_ends_may_close_at_the_same_time() {
    let (mut client, mut server) = pair();
    client.sender().close(CloseCode::NORMAL, "").unwrap();
    server.sender().close(CloseCode::GOING_AWAY, "").unwrap();
    assert_eq!(client.sender().state(), ReadyState::Closing);
    let (a, b) = tokio::join!(client.recv(), server.recv());
    assert_eq!((a.unwrap(), b.unwrap()), (None, None));
    let (here, there) = (client.closed().unwrap(), server.closed().unwrap());
    assert!(here.clean && there.clean);
    assert_eq!(
        (here.code, there.code),
        (CloseCode::GOING_AWAY, CloseCode::NORMAL)
    );
}

#[tokio::test]
async fn messages_in_flight_arrive_after_a_close_was_started() {
    let (mut client, mut server) = pair();
    server.send("on its way").await.unwrap();
    client.sender().close(CloseCode::NORMAL, "").unwrap();
    let serving = tokio::spawn(async move { server.recv().await });
    assert_eq!(client.recv().await.unwrap(), Some("on its way".into()));
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(serving.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_code_or_a_reason_that_must_not_be_sent_leaves_the_connection_open() {
    let (mut client, mut server) = pair();
    let refused = client.close(CloseCode::ABNORMAL, "").await;
    assert!(matches!(refused, Err(Error::Send(_))), "{refused:?}");
    let refused = client.close(CloseCode::NORMAL, &"x".repeat(124)).await;
    assert!(matches!(refused, Err(Error::Send(_))), "{refused:?}");
    client.send("still here").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("still here".into()));
}

#[tokio::test]
async fn dropping_closes_with_1001_after_sent_messages_and_senders_get_an_error() {
    let (mut client, server) = pair();
    let sender = server.sender();
    server.send("last words").await.unwrap();
    drop(server);
    assert_eq!(client.recv().await.unwrap(), Some("last words".into()));
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.closed().unwrap().code, CloseCode::GOING_AWAY);

    assert!(matches!(sender.send("late").await, Err(Error::Closed(_))));
    assert!(matches!(sender.try_send("late"), Err(Error::Closed(_))));
    assert!(matches!(sender.flush().await, Err(Error::Closed(_))));
    assert!(matches!(sender.ping().await, Err(Error::Closed(_))));
    assert!(matches!(
        sender.send_stream(Kind::Text).await,
        Err(Error::Closed(_))
    ));
    assert_eq!(sender.state(), ReadyState::Closed);
    assert_eq!(sender.ended().await.by, ClosedBy::Local);
}

#[tokio::test(start_paused = true)]
async fn all_waiters_are_woken_when_the_connection_is_dropped() {
    let settings = Settings::default().send_buffer(100);
    let (client, _server, _link) = Pair::new().capacity(100).client(&settings).open();
    while client.try_send(vec![0; 50]).is_ok() {}
    let sender = client.sender();
    let sending = tokio::spawn(async move { sender.send("late").await.is_err() });
    let sender = client.sender();
    let flushing = tokio::spawn(async move { sender.flush().await.is_err() });
    let sender = client.sender();
    let pinging = tokio::spawn(async move { sender.ping().await.is_err() });
    let sender = client.sender();
    let ending = tokio::spawn(async move { sender.ended().await.by });
    tokio::task::yield_now().await;
    drop(client);
    assert!(sending.await.unwrap());
    assert!(flushing.await.unwrap());
    assert!(pinging.await.unwrap());
    assert_eq!(ending.await.unwrap(), ClosedBy::Local);
}

#[tokio::test(start_paused = true)]
async fn all_waiters_are_woken_when_the_connection_is_lost() {
    let settings = Settings::default().send_buffer(100);
    let (mut client, _server, link) = Pair::new().capacity(100).client(&settings).open();
    while client.try_send(vec![0; 50]).is_ok() {}
    let sender = client.sender();
    let sending = tokio::spawn(async move { sender.send("late").await.is_err() });
    let sender = client.sender();
    let flushing = tokio::spawn(async move { sender.flush().await.is_err() });
    let sender = client.sender();
    let pinging = tokio::spawn(async move { sender.ping().await.is_err() });
    let sender = client.sender();
    let ending = tokio::spawn(async move { sender.ended().await.by });
    let receiving = tokio::spawn(async move { client.recv().await.is_err() });
    tokio::task::yield_now().await;
    link.cut();
    assert!(receiving.await.unwrap());
    assert!(sending.await.unwrap());
    assert!(flushing.await.unwrap());
    assert!(pinging.await.unwrap());
    assert_eq!(ending.await.unwrap(), ClosedBy::Lost);
}

#[tokio::test(start_paused = true)]
async fn a_sender_waiting_for_room_is_woken_when_the_connection_closes() {
    let settings = Settings::default().send_buffer(100);
    let (client, _server, _link) = Pair::new().capacity(100).client(&settings).open();
    while client.try_send(vec![0; 50]).is_ok() {}
    let sender = client.sender();
    let sending = tokio::spawn(async move { sender.send("late").await });
    tokio::task::yield_now().await;
    client.sender().close(CloseCode::NORMAL, "").unwrap();
    assert!(matches!(sending.await.unwrap(), Err(Error::Closing)));
    assert!(matches!(client.try_send("later"), Err(Error::Closing)));
}

#[tokio::test]
async fn a_writer_dropped_before_the_end_of_its_message_closes_with_1011() {
    let (mut client, mut server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("begun").await.unwrap();
    drop(writer);
    assert_eq!(server.recv().await.unwrap(), None);
    assert_eq!(server.closed().unwrap().code, CloseCode::INTERNAL_ERROR);
    assert_eq!(client.recv().await.unwrap(), None);
}

#[tokio::test]
async fn finishing_with_a_piece_of_another_type_closes_with_1011() {
    let (client, mut server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("begun").await.unwrap();
    assert!(matches!(
        writer.finish(&b"bytes"[..]).await,
        Err(Error::Send(_))
    ));
    assert_eq!(server.recv().await.unwrap(), None);
    assert_eq!(server.closed().unwrap().code, CloseCode::INTERNAL_ERROR);
}

/// A message sent without an error before the close has arrived; one with an error has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_message_that_races_with_the_close_either_arrives_or_is_an_error() {
    for round in 0..50 {
        let (client, mut server, _link) = Pair::new().capacity(500).open();
        let sender = client.sender();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while sender.send(format!("{sent}")).await.is_ok() {
                sent += 1;
            }
            sent
        });
        let closer = client.sender();
        let closing = tokio::spawn(async move {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            closer.close(CloseCode::NORMAL, "").unwrap();
        });
        let receiving = tokio::spawn(async move {
            let mut received = 0;
            while let Some(message) = server.recv().await.unwrap() {
                assert_eq!(message, format!("{received}").into());
                received += 1;
            }
            received
        });
        let mut client = client;
        assert_eq!(client.recv().await.unwrap(), None);
        closing.await.unwrap();
        assert_eq!(sending.await.unwrap(), receiving.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_the_close_is_awaited_for_the_close_timeout() {
    let (mut client, server) = pair();
    let begun = tokio::time::Instant::now();
    let ended = client.close(CloseCode::NORMAL, "").await;
    assert!(matches!(ended, Err(Error::Peer(_))), "{ended:?}");
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    assert!(waited < Duration::from_millis(10_300), "{waited:?}");
    drop(server);
}

/// More is unsent than the send buffer holds, and no keepalive wakes anybody in between.
#[tokio::test(start_paused = true)]
async fn a_peer_that_closes_and_stops_reading_is_awaited_for_the_close_timeout() {
    let closing_within = |seconds| {
        Settings::default().config(Config {
            keepalive: Keepalive {
                interval: None,
                ..Keepalive::default()
            },
            close_timeout: Duration::from_secs(seconds),
            ..Config::default()
        })
    };
    let (settings, patient) = (closing_within(10), closing_within(1_000));
    for how in 0..3 {
        let (mut client, server, _link) = Pair::new()
            .client(&settings)
            .server(&patient)
            .capacity(1_000)
            .open();
        while client.put(vec![7; 100_000]).unwrap() < 1_000_000 {}
        server.sender().close(CloseCode::NORMAL, "").unwrap();
        let begun = tokio::time::Instant::now();
        let ended = match how {
            0 => client.recv().await.map(drop),
            1 => client.each(|_, _| Ok(())).await,
            // No task receives: the flush task receives the Close.
            _ => {
                let closed = client.ended().await;
                Err(Error::Peer(closed.error.unwrap()))
            }
        };
        let waited = begun.elapsed();
        let given_up = Failure::Timeout(TimeoutError::Close);
        match ended {
            Err(Error::Peer(failure)) => assert_eq!(failure, given_up, "{how}"),
            other => panic!("{how}: {other:?}"),
        }
        assert!(waited >= Duration::from_secs(10), "{how}: {waited:?}");
        assert!(waited < Duration::from_millis(10_300), "{how}: {waited:?}");
    }
}

/// One that was failed, and would be lingered on until the peer has read why.
#[tokio::test(start_paused = true)]
async fn a_connection_can_be_dropped_outside_the_runtime() {
    let settings = Settings::default().config(Config {
        idle_timeout: Some(Duration::from_secs(5)),
        ..Config::default()
    });
    let (client, server, _link) = Pair::new().client(&settings).open();
    let sender = client.sender();
    while sender.state() == ReadyState::Open {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let dropping = std::thread::spawn(move || drop((client, server)));
    dropping.join().unwrap();
    assert!(matches!(sender.send("late").await, Err(Error::Closed(_))));
}

#[tokio::test]
async fn the_peers_last_message_and_close_code_are_received_after_a_failed_write() {
    let (mut client, server) = pair();
    server.send("last words").await.unwrap();
    server.sender().close(CloseCode::new(4001), "why").unwrap();
    drop(server);
    client.send("anybody there?").await.unwrap();
    assert!(client.flush().await.is_err());
    assert!(matches!(client.send("hello?").await, Err(Error::Closing)));
    assert_eq!(client.recv().await.unwrap(), Some("last words".into()));
    assert_eq!(client.recv().await.unwrap(), None);
    let closed = client.closed().unwrap();
    assert_eq!((closed.code.get(), &*closed.reason), (4001, "why"));
}

#[tokio::test]
async fn over_tcp_the_peers_last_message_and_close_code_are_received_after_a_failed_write() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let settings = Settings::default();
    let mut client = WebSocket::client(near, Negotiated::default(), &[], &settings);
    let server = WebSocket::server(far, Negotiated::default(), &[], &settings);
    server.send("last words").await.unwrap();
    server.sender().close(CloseCode::new(4001), "why").unwrap();
    drop(server);
    // The first message is answered with a reset; the next one fails.
    while client.send("anybody there?").await.is_ok() {
        let _unsent = client.flush().await;
    }
    assert_eq!(client.recv().await.unwrap(), Some("last words".into()));
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.closed().unwrap().code.get(), 4001);
}

#[tokio::test(start_paused = true)]
async fn each_ends_when_nothing_can_be_written() {
    let (client, mut server) = pair();
    client.send("hello").await.unwrap();
    drop(client);
    server.send("anybody there?").await.unwrap();
    assert!(server.flush().await.is_err());
    server
        .each(|message, replies| replies.send(message))
        .await
        .unwrap();
    assert_eq!(server.closed().unwrap().code, CloseCode::GOING_AWAY);
}

/// node's `ws`, while still writing, gave up at a reset and never read the Close.
#[tokio::test]
async fn a_peer_still_writing_a_too_large_message_can_finish_and_read_1009() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let settings = Settings::default().config(Config {
        limits: Limits {
            message_size: 1000,
            ..Limits::default()
        },
        ..Config::default()
    });
    let mut server = WebSocket::server(far, Negotiated::default(), &[], &settings);
    let serving = tokio::spawn(async move { server.recv().await });

    // More than the buffers of a loopback connection hold, under the masking key 0.
    let payload = vec![0; 12 << 20];
    let mut frame = vec![0x82, 0xff];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    near.write_all(&frame).await.unwrap();
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer[0], 0x88);
    assert_eq!(answer[2..4], CloseCode::TOO_BIG.get().to_be_bytes());
    let received = serving.await.unwrap();
    assert!(matches!(received, Err(Error::Peer(_))), "{received:?}");
}

#[tokio::test(start_paused = true)]
async fn ended_returns_immediately_even_if_no_task_ever_received() {
    let begun = tokio::time::Instant::now();
    let (client, server) = pair();
    let restart = CloseCode::SERVICE_RESTART;
    server.sender().close(restart, "").unwrap();
    assert_eq!(client.ended().await.code, restart);
    assert!(server.ended().await.clean);
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

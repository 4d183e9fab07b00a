//! Sending: order, atomicity, backpressure.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use offhook::protocol::deflate::DeflatePool;
use offhook::protocol::{Kind, Prepared};
use offhook::{DeflateConfig, Error, Pair, Settings, WebSocket, pair};

/// A client with a small send buffer, and a server that does not read for now.
fn narrow() -> (WebSocket, WebSocket) {
    let settings = Settings::default().send_buffer(1_000);
    let (client, server, _link) = Pair::new().capacity(1_000).client(&settings).open();
    (client, server)
}

async fn concurrent_senders(tasks: usize, each: usize) {
    let settings = Settings::default().send_buffer(2_000);
    let (client, mut server, _link) = Pair::new().capacity(3_000).client(&settings).open();
    for task in 0..tasks {
        let sender = client.sender();
        tokio::spawn(async move {
            for n in 0..each {
                let padding = "x".repeat((n * 37) % 500);
                sender.send(format!("{task} {n} {padding}")).await.unwrap();
            }
        });
    }
    let mut next = vec![0; tasks];
    for _ in 0..tasks * each {
        let message = server.recv().await.unwrap().unwrap();
        let mut parts = message.as_text().unwrap().split(' ');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let (task, n) = (number(), number());
        assert_eq!(n, next[task], "order of one sender");
        assert_eq!(parts.next().unwrap().len(), (n * 37) % 500, "whole");
        next[task] += 1;
    }
    assert_eq!(next, vec![each; tasks]);
}

#[tokio::test]
async fn messages_of_many_senders_arrive_complete_and_in_each_senders_order() {
    concurrent_senders(20, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_senders_on_many_threads_arrive_complete_and_in_each_senders_order() {
    concurrent_senders(20, 100).await;
}

#[tokio::test(start_paused = true)]
async fn with_a_peer_that_never_reads_the_sender_waits_at_the_send_buffer() {
    let (client, mut server) = narrow();
    let sender = client.sender();
    let sending = tokio::spawn(async move {
        for n in 0..100 {
            sender.send(format!("{n:0100}")).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!sending.is_finished());
    assert!(client.buffered_amount() < 1_000 + 120);

    for n in 0..100 {
        let expected = format!("{n:0100}");
        assert_eq!(server.recv().await.unwrap(), Some(expected.into()));
    }
    sending.await.unwrap();
}

#[tokio::test]
async fn try_send_returns_full_until_the_peer_has_read() {
    let (client, mut server) = narrow();
    let mut sent = 0;
    let full = loop {
        match client.try_send(vec![0; 100]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full), "{full:?}");
    assert!((18..=20).contains(&sent), "{sent} messages");
    for _ in 0..sent {
        server.recv().await.unwrap();
    }
    client.try_send("again").unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("again".into()));
}

#[tokio::test]
async fn an_urgent_message_overtakes_messages_that_have_not_started() {
    let settings = Settings::default().send_buffer(10 << 20);
    let (client, mut server, _link) = Pair::new().client(&settings).open();
    for _ in 0..20 {
        client.send(vec![0; 100_000]).await.unwrap();
    }
    client.send_urgent("fire").await.unwrap();
    let mut before = 0;
    while server.recv().await.unwrap() != Some("fire".into()) {
        before += 1;
    }
    assert!(before < 10, "{before} messages came before it");
}

#[tokio::test]
async fn a_prepared_message_can_be_sent_to_many_connections() {
    let news = Prepared::new("news");
    for _ in 0..3 {
        let (mut client, server) = pair();
        server.send(&news).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some("news".into()));
    }
}

#[tokio::test]
async fn every_way_to_send_takes_a_prepared_message_and_uses_its_compressed_form() {
    let settings = Settings::default().deflate(DeflateConfig::default());
    let (mut client, server, _link) = Pair::new().client(&settings).server(&settings).open();
    let (config, pool) = (DeflateConfig::default(), DeflatePool::default());
    let text = "the same for all ".repeat(100);
    let message = Prepared::with_deflate(&text, &config, &pool);
    let unsent = server.put(&message).unwrap();
    assert!(0 < unsent && unsent < 200, "{unsent}");
    server.send(&message).await.unwrap();
    server.try_send(&message).unwrap();
    server.send_urgent(&message).await.unwrap();
    let mut writer = server.send_stream(Kind::Text).await.unwrap();
    writer.write(&message).await.unwrap();
    writer.finish(&message).await.unwrap();
    for _ in 0..4 {
        assert_eq!(client.recv().await.unwrap(), Some(text.as_str().into()));
    }
    assert_eq!(client.recv().await.unwrap(), Some(text.repeat(2).into()));
}

#[tokio::test]
async fn a_message_written_in_pieces_arrives_as_one_and_others_wait() {
    let (client, mut server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("one ").await.unwrap();
    let sender = client.sender();
    let other = tokio::spawn(async move { sender.send("two").await });
    tokio::task::yield_now().await;
    assert!(!other.is_finished());
    assert!(matches!(client.try_send("three"), Err(Error::Full)));
    writer.finish("message").await.unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("one message".into()));
    assert_eq!(server.recv().await.unwrap(), Some("two".into()));
}

#[tokio::test]
async fn a_piece_of_another_type_is_refused_and_the_message_continues() {
    let (client, mut server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("one").await.unwrap();
    let refused = writer.write(&b"two"[..]).await;
    assert!(matches!(refused, Err(Error::Send(_))), "{refused:?}");
    writer.finish("").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("one".into()));
}

#[tokio::test]
async fn a_writer_dropped_before_writing_sends_nothing() {
    let (client, mut server) = pair();
    drop(client.send_stream(Kind::Text).await.unwrap());
    client.send("next").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("next".into()));
}

#[tokio::test(start_paused = true)]
async fn senders_waiting_for_a_message_in_pieces_are_woken_when_the_connection_ends() {
    let (client, server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("begun").await.unwrap();
    let sender = client.sender();
    let waiting = tokio::spawn(async move { sender.send("next").await });
    tokio::task::yield_now().await;
    drop((client, server));
    assert!(waiting.await.unwrap().is_err());
    assert!(writer.write("more").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn put_always_queues_and_there_is_room_once_half_of_the_buffer_is_sent() {
    let settings = Settings::default().send_buffer(1_000);
    let (mut client, server, _link) = Pair::new().capacity(1_000).server(&settings).open();
    let message = Prepared::new("x".repeat(100));
    let mut unsent = 0;
    for _ in 0..40 {
        unsent = server.put(&message).unwrap();
    }
    assert!(unsent > 2_000, "{unsent}");
    assert!(server.put("after").unwrap() > unsent);

    let sender = server.sender();
    let waiting =
        tokio::spawn(async move { sender.room().await.map(|()| sender.buffered_amount()) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    for _ in 0..40 {
        assert_eq!(client.recv().await.unwrap().unwrap().len(), 100);
    }
    assert_eq!(client.recv().await.unwrap(), Some("after".into()));
    assert!(waiting.await.unwrap().unwrap() <= 500);
}

#[tokio::test]
async fn write_prepared_is_sent_after_earlier_puts_and_the_rest_when_there_is_room() {
    let (mut client, server, _link) = Pair::new().capacity(1_000).open();
    let message = [Prepared::new("x".repeat(400))];
    let put = server.put("before").unwrap();
    assert!(put > 0);
    assert_eq!(server.write_prepared(&message).unwrap(), 0);
    assert_eq!(server.write_prepared(&message).unwrap(), 0);
    let rest = server.write_prepared(&message).unwrap();
    assert!(0 < rest && rest < 404, "{rest}");
    server.put("after").unwrap();

    assert_eq!(client.recv().await.unwrap(), Some("before".into()));
    for _ in 0..3 {
        assert_eq!(client.recv().await.unwrap().unwrap().len(), 400);
    }
    assert_eq!(client.recv().await.unwrap(), Some("after".into()));
    drop(client);
    let _end = server.ended().await;
    assert!(server.write_prepared(&message).is_err());
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_connection() {
    let (client, server) = narrow();
    while client.put("x".repeat(100)).unwrap() < 1_000 {}
    let sender = client.sender();
    let waiting = tokio::spawn(async move { sender.room().await });
    tokio::task::yield_now().await;
    drop((client, server));
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_mark_returns_once_the_peer_has_everything_sent_before_it() {
    let (mut client, mut server) = pair();
    server.put("one").unwrap();
    assert!(server.mark(7).unwrap());
    server.put("two").unwrap();
    assert_eq!(server.take_reached(), None);
    assert_eq!(client.recv().await.unwrap(), Some("one".into()));
    assert_eq!(client.recv().await.unwrap(), Some("two".into()));
    client.send("after the pong").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("after the pong".into()));
    assert_eq!(server.take_reached(), Some(7));
    // A ping of another kind returns no number.
    tokio::select! {
        pinged = server.ping() => assert!(pinged.is_ok()),
        received = client.recv() => panic!("{received:?}"),
    }
    assert_eq!(server.take_reached(), None);
}

#[tokio::test(start_paused = true)]
async fn a_mark_never_overtakes_earlier_messages() {
    let settings = Settings::default().send_buffer(1_000);
    let (mut client, mut server, _link) = Pair::new().capacity(1_000).server(&settings).open();
    // More than is committed to the wire ahead of the transport: the rest is queued.
    for n in 0..500 {
        server.put(format!("{n:01000}")).unwrap();
    }
    assert!(!server.mark(1).unwrap());
    for n in 0..500 {
        assert_eq!(
            client.recv().await.unwrap(),
            Some(format!("{n:01000}").into())
        );
    }
    assert!(server.mark(2).unwrap());
    client.send("").await.unwrap();
    let (received, _) = tokio::join!(
        server.recv(),
        tokio::time::timeout(Duration::from_secs(1), client.recv())
    );
    assert_eq!(received.unwrap(), Some("".into()));
    client.send("").await.unwrap();
    server.recv().await.unwrap();
    assert_eq!(server.take_reached(), Some(2));
}

/// As a `Stream` does, whose polls may stop at any time: the flush task reads for it.
#[tokio::test(start_paused = true)]
async fn a_returned_mark_wakes_a_polling_reader() {
    let (mut client, mut server, _link) = Pair::new().delay(Duration::from_millis(50)).open();
    tokio::spawn(async move { while let Ok(Some(_)) = client.recv().await {} });
    let sender = server.sender();
    let marking = async {
        server.send("everything").await.unwrap();
        assert!(server.mark(7).unwrap());
        poll_fn(|cx| {
            assert!(server.poll_recv(cx).is_pending());
            sender.take_reached().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    };
    // Long before the keepalive would wake anybody.
    let reached = tokio::time::timeout(Duration::from_secs(5), marking).await;
    assert_eq!(reached.ok(), Some(7));
}

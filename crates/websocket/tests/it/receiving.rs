//! Receiving: whole messages, pieces, and the end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Waker};

use futures_core::Stream;
use futures_sink::Sink;
use offhook::protocol::deflate::DeflateConfig;
use offhook::protocol::{CloseCode, Config, Kind, Limits};
use offhook::{Error, Message, Pair, Settings, pair};

fn with_limit(message_size: u64) -> Settings {
    Settings::default().config(Config {
        limits: Limits {
            message_size,
            ..Limits::default()
        },
        ..Config::default()
    })
}

#[tokio::test]
async fn after_a_close_recv_always_returns_none() {
    let (client, mut server) = pair();
    client.send("last").await.unwrap();
    client.sender().close(CloseCode::NORMAL, "done").unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("last".into()));
    for _ in 0..3 {
        assert_eq!(server.recv().await.unwrap(), None);
    }
    let closed = server.closed().unwrap();
    assert_eq!((closed.code, &*closed.reason), (CloseCode::NORMAL, "done"));
    assert!(closed.clean);
}

#[tokio::test]
async fn after_a_loss_recv_returns_one_error_and_then_none() {
    let (mut client, _server, link) = Pair::new().open();
    link.cut();
    assert!(matches!(client.recv().await, Err(Error::Lost(_))));
    assert!(matches!(client.recv().await, Ok(None)));
    assert_eq!(client.closed().unwrap().code, CloseCode::ABNORMAL);
}

#[tokio::test]
async fn messages_received_before_a_loss_are_returned_before_the_error() {
    let (mut client, server, link) = Pair::new().open();
    for n in 0..3 {
        server.send(n.to_string()).await.unwrap();
    }
    server.flush().await.unwrap();
    link.cut();
    for n in 0..3 {
        assert_eq!(client.recv().await.unwrap(), Some(n.to_string().into()));
    }
    assert!(matches!(client.recv().await, Err(Error::Lost(_))));
}

#[tokio::test]
async fn a_message_above_the_limit_closes_both_ends_with_1009() {
    let (mut client, mut server, _link) = Pair::new().server(&with_limit(100)).open();
    client.send(vec![0; 101]).await.unwrap();
    assert!(matches!(server.recv().await, Err(Error::Peer(_))));
    assert_eq!(client.recv().await.unwrap(), None);
    assert_eq!(client.closed().unwrap().code, CloseCode::TOO_BIG);
}

#[tokio::test]
async fn a_message_of_any_length_can_be_read_in_pieces() {
    let (client, mut server, _link) = Pair::new().server(&with_limit(100)).open();
    let sending = tokio::spawn(async move {
        let mut writer = client.send_stream(Kind::Binary).await?;
        for n in 0..200_u8 {
            writer.write(vec![n; 10_000]).await?;
        }
        writer.finish(&b""[..]).await?;
        client.send("next").await?;
        Ok::<_, Error>(client)
    });
    let mut message = server.recv_stream().await.unwrap().unwrap();
    assert_eq!(message.kind(), Kind::Binary);
    let (mut len, mut longest) = (0, 0);
    while let Some(piece) = message.next().await.unwrap() {
        for byte in piece.as_bytes() {
            assert_eq!(usize::from(*byte), len / 10_000);
            len += 1;
        }
        longest = longest.max(piece.len());
    }
    assert_eq!(len, 2_000_000);
    assert!(longest <= 64 * 1024, "a piece of {longest} bytes");
    assert_eq!(server.recv().await.unwrap(), Some("next".into()));
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_unread_rest_of_a_message_is_skipped() {
    let (client, mut server) = pair();
    tokio::spawn(async move {
        for text in ["a", "b"] {
            client.send(text.repeat(500_000)).await?;
        }
        client.send("c").await?;
        client.flush().await?;
        Ok::<_, Error>(client)
    });
    let mut message = server.recv_stream().await.unwrap().unwrap();
    assert!(!message.next().await.unwrap().unwrap().is_empty());
    let second = server.recv().await.unwrap().unwrap();
    assert_eq!(second.as_text(), Some(&*"b".repeat(500_000)));
    assert_eq!(server.recv().await.unwrap(), Some("c".into()));
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_is_an_error_of_its_reader() {
    let (client, mut server) = pair();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("a beginning").await.unwrap();
    drop(writer);
    let mut message = server.recv_stream().await.unwrap().unwrap();
    assert_eq!(message.next().await.unwrap(), Some("a beginning".into()));
    drop(client);
    match message.next().await {
        Err(Error::Closed(closed)) => assert_eq!(closed.code, CloseCode::INTERNAL_ERROR),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.recv().await.unwrap(), None);
}

#[tokio::test]
async fn messages_that_arrive_during_a_ping_are_received_in_order() {
    let (mut client, mut server) = pair();
    for n in 0..5 {
        client.send(n.to_string()).await.unwrap();
    }
    tokio::spawn(async move { client.recv().await });
    server.ping().await.unwrap();
    for n in 0..3 {
        assert_eq!(server.recv().await.unwrap(), Some(n.to_string().into()));
    }
    let mut streamed = server.recv_stream().await.unwrap().unwrap();
    assert_eq!(streamed.next().await.unwrap(), Some("3".into()));
    assert_eq!(streamed.next().await.unwrap(), None);
    assert_eq!(server.recv().await.unwrap(), Some("4".into()));
}

#[tokio::test]
async fn the_result_of_a_handler_ends_each() {
    let (client, mut server) = pair();
    client.send("stop").await.unwrap();
    let ended = server.each(|_, _| Err(Error::Full)).await;
    assert!(matches!(ended, Err(Error::Full)));
    // The connection stays open.
    client.send("more").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("more".into()));
    client.sender().close(CloseCode::NORMAL, "").unwrap();
    server.each(|_, _| Ok(())).await.unwrap();
}

#[tokio::test]
async fn messages_pass_through_stream_and_sink() {
    let (mut client, mut server) = pair();
    poll_fn(|cx| Pin::new(&mut client).poll_ready(cx))
        .await
        .unwrap();
    let hello = Message::from("hello");
    Pin::new(&mut client).start_send(hello.clone()).unwrap();
    poll_fn(|cx| Pin::new(&mut client).poll_flush(cx))
        .await
        .unwrap();
    let received = poll_fn(|cx| Pin::new(&mut server).poll_next(cx)).await;
    assert_eq!(received.unwrap().unwrap(), hello);

    let closing =
        tokio::spawn(async move { poll_fn(|cx| Pin::new(&mut client).poll_close(cx)).await });
    let end = poll_fn(|cx| Pin::new(&mut server).poll_next(cx)).await;
    assert!(end.is_none());
    closing.await.unwrap().unwrap();
    assert_eq!(server.closed().unwrap().code, CloseCode::NORMAL);
}

/// 64 KiB of compressed bytes can hold 60 MiB of messages.
#[tokio::test]
async fn compressed_messages_are_not_decompressed_far_ahead_of_the_reader() {
    let settings = Settings::default().deflate(DeflateConfig::default());
    let (client, mut server, _link) = Pair::new().settings(&settings).open();
    let zeros = vec![0; 1_000_000];
    for _ in 0..30 {
        client.send(zeros.as_slice()).await.unwrap();
    }
    client.flush().await.unwrap();
    let held = allocation_counter::measure(|| {
        let mut polled = pin!(server.recv());
        let received = polled
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(received.is_ready());
    });
    assert!(held.bytes_max < 4_000_000, "{} bytes", held.bytes_max);
}

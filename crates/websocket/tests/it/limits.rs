//! Limits that hold whatever a receiver did before.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use offhook::protocol::{Error as Failure, LimitError};
use offhook::{CloseCode, Config, Error, Kind, Limits, Pair, Settings, WebSocket};

fn small() -> Settings {
    Settings::default().config(Config {
        limits: Limits {
            message_size: 1_024,
            ..Limits::default()
        },
        ..Config::default()
    })
}

/// A client that has sent a header announcing 32 MiB, and none of the message yet.
async fn promising() -> (tokio::io::DuplexStream, WebSocket) {
    use tokio::io::AsyncWriteExt as _;
    let (mut raw, near) = tokio::io::duplex(1 << 20);
    let agreed = offhook::protocol::handshake::Negotiated::default();
    let transport = offhook::Transport::boxed(near);
    let socket = WebSocket::client(transport, agreed, &[], &small());
    let mut header = vec![0x82, 127];
    header.extend((32_u64 << 20).to_be_bytes());
    raw.write_all(&header).await.unwrap();
    (raw, socket)
}

/// Polls until nothing more happens, and drops the future.
async fn given_up<F: Future>(future: F) {
    let mut future = pin!(future);
    for _ in 0..3 {
        poll_fn(|cx| {
            assert!(future.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        tokio::task::yield_now().await;
    }
}

async fn assert_too_long(mut socket: WebSocket, mut raw: tokio::io::DuplexStream) {
    use tokio::io::AsyncWriteExt as _;
    let writing = tokio::spawn(async move {
        // An error once the connection has failed.
        let _written = raw.write_all(&vec![7; 32 << 20]).await;
        raw
    });
    let limit = Failure::from(LimitError::MessageTooLong { limit: 1_024 });
    match socket.recv().await {
        Err(Error::Peer(error)) => assert_eq!(error, limit),
        other => panic!("{other:?}"),
    }
    drop(socket);
    writing.await.unwrap();
}

#[tokio::test]
async fn the_size_limit_applies_after_a_cancelled_recv_stream() {
    let (raw, mut socket) = promising().await;
    given_up(socket.recv_stream()).await;
    assert_too_long(socket, raw).await;
}

#[tokio::test]
async fn the_size_limit_applies_after_a_cancelled_close() {
    let (raw, mut socket) = promising().await;
    given_up(socket.close(CloseCode::NORMAL, "")).await;
    assert_too_long(socket, raw).await;
}

#[tokio::test]
async fn messages_put_while_a_writer_is_open_follow_its_message() {
    let (client, mut server, link) = Pair::new().open();
    let mut writer = client.send_stream(Kind::Text).await.unwrap();
    writer.write("one ").await.unwrap();
    client.put("after").unwrap();
    // More than the send buffer: the writer must not wait for what waits for it.
    while client.put(vec![1; 100_000]).unwrap() < 1_000_000 {}
    assert!(matches!(client.try_send("x"), Err(Error::Full)));
    writer.write("message").await.unwrap();
    writer.finish("").await.unwrap();
    assert_eq!(server.recv().await.unwrap(), Some("one message".into()));
    assert_eq!(server.recv().await.unwrap(), Some("after".into()));
    assert_eq!(server.recv().await.unwrap().unwrap().len(), 100_000);
    drop(link);
}

//! Bridging connections: pieces, ends, and streams of bytes.

#[path = "../../examples/bridge.rs"]
#[expect(dead_code, reason = "an example's main is not run")]
mod bridge;

use offhook::{CloseCode, Connect, Pair, Server, WebSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::scripted::to;

/// A client connected to an echo server through a bridge.
async fn bridged(closing: CloseCode) -> WebSocket {
    let echo = Server::bind("127.0.0.1:0").await.unwrap();
    let target = format!("ws://{}/", echo.local_addr().unwrap());
    tokio::spawn(echo.serve(move |mut socket| async move {
        while let Some(message) = socket.recv().await? {
            if message.as_text() == Some("close") {
                socket.close(closing, "as asked").await?;
                break;
            }
            socket.send(message).await?;
        }
        Ok(())
    }));
    let bridge = Server::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", bridge.local_addr().unwrap());
    tokio::spawn(bridge.serve(move |client| {
        let target = Connect::to(&target).no_proxy();
        bridge::bridge(client, target)
    }));
    to(url).open().await.unwrap()
}

#[tokio::test]
async fn a_bridge_passes_on_messages_of_every_length_in_both_directions() {
    let mut client = bridged(CloseCode::NORMAL).await;
    for len in [0, 1, 1_000, 300_000, 1_000_000] {
        client.send(vec![7; len]).await.unwrap();
        let message = client.recv().await.unwrap().unwrap();
        assert!(message.as_bytes() == vec![7; len], "{len}");
        let text = "ü".repeat(len / 2);
        client.send(&text).await.unwrap();
        let message = client.recv().await.unwrap().unwrap();
        assert!(message.as_text() == Some(&*text), "{len}");
    }
}

#[tokio::test]
async fn a_bridge_passes_on_each_close_with_its_code() {
    for code in [1000, 1001, 3000, 4999].map(CloseCode::new) {
        let mut client = bridged(code).await;
        client.send("close").await.unwrap();
        assert_eq!(client.recv().await.unwrap(), None);
        let closed = client.closed().unwrap();
        assert_eq!((closed.code, &*closed.reason), (code, "as asked"));
    }
}

#[tokio::test]
async fn a_bridge_passes_on_a_close_without_a_code_and_a_loss_as_an_error() {
    for (lost, code) in [
        (false, CloseCode::NO_STATUS),
        (true, CloseCode::INTERNAL_ERROR),
    ] {
        let (mut one, other, link) = Pair::new().open();
        let (mut here, there) = offhook::pair();
        if lost {
            link.cut();
        } else {
            other.sender().close(CloseCode::NO_STATUS, "").unwrap();
        }
        let _ended = one.recv().await;
        let closed = one.ended().await;
        there.sender().close_as(&closed).unwrap();
        assert_eq!(here.recv().await.unwrap(), None);
        assert_eq!(here.closed().unwrap().code, code);
    }
}

#[tokio::test]
async fn a_byte_stream_transfers_any_number_of_bytes_in_both_directions_at_once() {
    let (near, far, _link) = Pair::new().capacity(5_000).open();
    let (near, far) = (near.into_byte_stream(), far.into_byte_stream());
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    let (mut read_near, mut write_near) = tokio::io::split(near);
    let (mut read_far, mut write_far) = tokio::io::split(far);
    let sent = bytes.clone();
    let writing = tokio::spawn(async move {
        write_near.write_all(&sent).await.unwrap();
        write_near
    });
    // The other end sends back what it reads, and ends when its input ends.
    let answering = tokio::spawn(async move {
        tokio::io::copy(&mut read_far, &mut write_far)
            .await
            .unwrap();
    });
    let mut heard = vec![0; bytes.len()];
    read_near.read_exact(&mut heard).await.unwrap();
    assert!(heard == bytes);
    let mut write_near = writing.await.unwrap();
    write_near.shutdown().await.unwrap();
    answering.await.unwrap();
    assert_eq!(read_near.read(&mut [0]).await.unwrap(), 0, "the end");
}

#[tokio::test]
async fn text_in_a_byte_stream_is_an_error() {
    let (near, far) = offhook::pair();
    near.send("text").await.unwrap();
    let error = far.into_byte_stream().read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
#[expect(
    clippy::mutable_key_type,
    reason = "a sender is the same key whatever its connection does"
)]
async fn senders_of_one_connection_are_equal_and_those_of_others_are_not() {
    let (client, server) = offhook::pair();
    assert_eq!(client.sender(), client.sender());
    assert_ne!(client.sender(), server.sender());
    let room = std::collections::HashSet::from([client.sender(), server.sender(), client.sender()]);
    assert_eq!(room.len(), 2);
}

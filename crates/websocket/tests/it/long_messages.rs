//! Messages longer than a read: the rest is read to its final place.

use offhook::protocol::handshake::Negotiated;
use offhook::{Error, Message, Settings, WebSocket, pair};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

fn long(seed: u8) -> Vec<u8> {
    (0..900_000_u32)
        .map(|index| (index / 3) as u8 ^ seed)
        .collect()
}

/// Both ends over TCP.
async fn over_tcp() -> (WebSocket, WebSocket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    let (agreed, settings) = (Negotiated::default(), Settings::default());
    (
        WebSocket::client(client.unwrap(), agreed.clone(), &[], &settings),
        WebSocket::server(server.unwrap().0, agreed, &[], &settings),
    )
}

#[tokio::test]
async fn long_and_short_messages_keep_their_order_and_contents() {
    for (mut client, mut server) in [over_tcp().await, pair()] {
        let echo = tokio::spawn(async move {
            while let Some(message) = server.recv().await? {
                server.send(message).await?;
            }
            Ok::<_, Error>(())
        });
        let sender = client.sender();
        let sending = tokio::spawn(async move {
            for round in 0..5 {
                sender.send(long(round)).await?;
                sender.send("short").await?;
                sender.send("ü".repeat(100_000)).await?;
            }
            Ok::<_, Error>(())
        });
        for round in 0..5 {
            assert!(client.recv().await.unwrap() == Some(long(round).into()));
            assert_eq!(client.recv().await.unwrap(), Some("short".into()));
            assert!(client.recv().await.unwrap() == Some("ü".repeat(100_000).into()));
        }
        sending.await.unwrap().unwrap();
        drop(client);
        assert!(echo.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_long_message_that_arrives_before_a_pong_is_kept_for_the_receiver() {
    let (mut client, mut server) = over_tcp().await;
    let answering = tokio::spawn(async move {
        server.send(long(7)).await?;
        server.recv().await
    });
    client.ping().await.unwrap();
    assert!(client.recv().await.unwrap() == Some(Message::from(long(7))));
    drop(client);
    assert_eq!(answering.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn a_transport_that_ends_inside_a_long_message_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, (stream, _)) = tokio::try_join!(peer, listener.accept()).unwrap();
    let mut client = WebSocket::client(stream, Negotiated::default(), &[], &Settings::default());
    let mut peer = peer;
    // RFC 6455 §5.2: binary, unmasked, a length of 64 bits: 500,000.
    peer.write_all(&[0x82, 127, 0, 0, 0, 0, 0, 7, 0xa1, 0x20])
        .await
        .unwrap();
    peer.write_all(&[0; 300_000]).await.unwrap();
    drop(peer);
    assert!(matches!(client.recv().await, Err(Error::Lost(_))));
    assert_eq!(client.recv().await.unwrap(), None);
}

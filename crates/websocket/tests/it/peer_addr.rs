//! The peer's address, whatever is between the WebSocket and the socket.

use std::net::SocketAddr;
use std::sync::Arc;

use offhook::{Acceptor, Connect, HttpVersion, WebSocket, Wiretap};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::authority::{Authority, server_config};
use crate::scripted::to;

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];

/// Accepts connections; returns each with the address reported by the listener.
async fn accepting(acceptor: Acceptor) -> (SocketAddr, mpsc::Receiver<(SocketAddr, WebSocket)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (accepted, sockets) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let (stream, from) = listener.accept().await.unwrap();
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            tokio::spawn(async move {
                let mut requests = acceptor.requests(stream).await.unwrap();
                while let Some(Ok(incoming)) = requests.next().await {
                    let socket = incoming.accept().await.unwrap();
                    accepted.send((from, socket)).await.unwrap();
                }
            });
        }
    });
    (address, sockets)
}

async fn assert_both_ends_know(acceptor: Acceptor, connect: impl Fn(SocketAddr) -> Connect) {
    let (address, mut sockets) = accepting(acceptor).await;
    for version in VERSIONS {
        let connect = connect(address).version(version);
        let client = connect.open().await.unwrap();
        let (from, server) = sockets.recv().await.unwrap();
        assert_eq!(client.peer_addr(), Some(address), "{version:?}");
        assert_eq!(server.peer_addr(), Some(from), "{version:?}");
    }
}

#[tokio::test]
async fn both_ends_know_the_address_of_the_other_over_tcp() {
    let connect = |address| to(format!("ws://{address}/"));
    assert_both_ends_know(Acceptor::default(), connect).await;
}

#[tokio::test]
async fn both_ends_know_the_address_of_the_other_over_tls() {
    let authority = Authority::new();
    let identity = authority.server("localhost");
    let tls = server_config()
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .unwrap();
    let connect = |address: SocketAddr| {
        let url = format!("wss://localhost:{}/", address.port());
        to(url).addresses([address]).tls(authority.tls())
    };
    assert_both_ends_know(Acceptor::default().tls(tls), connect).await;
}

#[tokio::test]
async fn every_websocket_of_a_connection_of_http_2_has_its_address() {
    let (address, mut sockets) = accepting(Acceptor::default()).await;
    let connect = to(format!("ws://{address}/")).version(HttpVersion::Http2);
    let connection = connect.http2().await.unwrap();
    let mut first = None;
    for _ in 0..3 {
        let client = connection.open("/").await.unwrap();
        let (from, server) = sockets.recv().await.unwrap();
        assert_eq!(client.peer_addr(), Some(address));
        assert_eq!(server.peer_addr(), Some(from));
        assert_eq!(*first.get_or_insert(from), from);
    }
}

struct Deaf;

impl Wiretap for Deaf {
    fn sent(&self, _: &[u8]) {}
    fn received(&self, _: &[u8]) {}
}

#[tokio::test]
async fn a_wiretap_does_not_change_the_peers_address() {
    let (address, _sockets) = accepting(Acceptor::default()).await;
    let connect = to(format!("ws://{address}/")).wiretap(Arc::new(Deaf));
    let client = connect.open().await.unwrap();
    assert_eq!(client.peer_addr(), Some(address));
}

#[tokio::test]
async fn a_stream_without_a_peer_address_has_none() {
    let (client, server) = offhook::pair();
    assert_eq!(client.peer_addr(), None);
    assert_eq!(server.peer_addr(), None);
}

//! Closing the connections of several servers together: of axum's, of ours, and over streams.

use std::net::SocketAddr;
use std::time::Duration;

use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use offhook::axum::Upgrade;
use offhook::protocol::{CloseCode, Closed};
use offhook::{Acceptor, Connections, HttpVersion, Pair, Server, Transport, WebSocket};
use tokio::net::TcpListener;

use crate::http2_peer::{Echo, assert_echoes, echo};
use crate::scripted::to;

const VERSIONS: [HttpVersion; 2] = [HttpVersion::Http1, HttpVersion::Http2];
/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(3_600);

/// An axum server that echoes, or never receives at `/hang`.
async fn axum_server(connections: &Connections) -> SocketAddr {
    async fn echoing(upgrade: Upgrade) -> Response {
        upgrade.on_upgrade(echo)
    }
    async fn hanging(upgrade: Upgrade) -> Response {
        upgrade.on_upgrade(|socket| async move {
            socket.send("it hangs").await?;
            std::future::pending().await
        })
    }
    let acceptor = Acceptor::default().connections(connections);
    let app = Router::new()
        .route("/", any(echoing))
        .route("/hang", any(hanging))
        .layer(Extension(acceptor));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn open(address: SocketAddr, version: HttpVersion) -> WebSocket {
    let url = format!("ws://{address}/");
    to(url).version(version).open().await.unwrap()
}

/// How a connection ends when the other end closes it.
async fn ended(mut socket: WebSocket) -> Closed {
    assert_eq!(socket.recv().await.unwrap(), None);
    socket.closed().unwrap()
}

#[tokio::test]
async fn connections_of_axum_are_closed_with_the_code_over_both_versions() {
    let connections = Connections::default();
    let address = axum_server(&connections).await;
    let mut clients = Vec::new();
    for version in VERSIONS {
        for _ in 0..5 {
            let mut client = open(address, version).await;
            assert_echoes(&mut client, "hello").await;
            clients.push(tokio::spawn(ended(client)));
        }
    }
    let code = CloseCode::SERVICE_RESTART;
    connections.shutdown(code, LONG).await;
    for client in clients {
        let closed = client.await.unwrap();
        assert_eq!(closed.code, code);
        assert!(closed.clean, "{closed:?}");
    }
}

#[tokio::test]
async fn connections_opened_after_the_shutdown_are_closed_immediately() {
    let connections = Connections::default();
    let address = axum_server(&connections).await;
    connections.shutdown(CloseCode::GOING_AWAY, LONG).await;
    for version in VERSIONS {
        let closed = ended(open(address, version).await).await;
        assert_eq!(closed.code, CloseCode::GOING_AWAY, "{version:?}");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_close_by_the_deadline_is_cut_off() {
    let connections = Connections::default();
    let address = axum_server(&connections).await;
    let mut clients = Vec::new();
    for version in VERSIONS {
        let url = format!("ws://{address}/hang");
        let mut client = to(url).version(version).open().await.unwrap();
        client.recv().await.unwrap();
        clients.push(client);
    }
    let deadline = Duration::from_millis(50);
    connections.shutdown(CloseCode::GOING_AWAY, deadline).await;
    for client in clients {
        assert_eq!(ended(client).await.code, CloseCode::GOING_AWAY);
    }
}

#[tokio::test]
async fn ended_connections_are_not_awaited() {
    let connections = Connections::default();
    let address = axum_server(&connections).await;
    let mut client = open(address, HttpVersion::Http1).await;
    client.close(CloseCode::NORMAL, "").await.unwrap();
    connections.shutdown(CloseCode::GOING_AWAY, LONG).await;
    assert_eq!(client.closed().unwrap().code, CloseCode::NORMAL);
}

#[tokio::test]
async fn our_own_server_and_axums_can_be_stopped_together() {
    let given = Connections::default();
    let acceptor = Acceptor::default().connections(&given);
    let taking = Server::bind("127.0.0.1:0").await.unwrap();
    let taking = Echo::of(taking.acceptor(acceptor));
    let giving = Echo::start().await;
    let taken = giving.connections.clone();
    for (server, connections) in [(taking, given), (giving, taken)] {
        let address = axum_server(&connections).await;
        let mut clients = Vec::new();
        for address in [server.address, address] {
            let mut client = open(address, HttpVersion::Http1).await;
            assert_echoes(&mut client, "hello").await;
            clients.push(tokio::spawn(ended(client)));
        }
        connections.shutdown(CloseCode::GOING_AWAY, LONG).await;
        server.served.await.unwrap().unwrap();
        for client in clients {
            assert_eq!(client.await.unwrap().code, CloseCode::GOING_AWAY);
        }
    }
}

#[tokio::test]
async fn an_acceptor_over_any_stream_registers_its_connections() {
    let connections = Connections::default();
    let acceptor = Acceptor::default().connections(&connections);
    let (near, far, _link) = Pair::new().link();
    let serving = tokio::spawn(async move {
        let socket = acceptor.accept(Transport::boxed(far)).await.unwrap();
        echo(socket).await
    });
    let mut client = to("ws://example.com/").over(near).open().await.unwrap();
    assert_echoes(&mut client, "hello").await;
    let client = tokio::spawn(ended(client));
    connections.shutdown(CloseCode::GOING_AWAY, LONG).await;
    assert!(client.await.unwrap().clean);
    serving.await.unwrap().unwrap();
}

//! Peers for HTTP/2: an echo server built with this library, and peers built directly on h2.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use http::{Method, Request};
use offhook::{
    Acceptor, Connect, Connections, HandlerResult, HttpVersion, OriginPolicy, Server, WebSocket,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::scripted::to;

/// An echo server built with this library, on its own port.
pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Connections,
    pub(crate) served: JoinHandle<std::io::Result<()>>,
}

impl Echo {
    pub(crate) async fn start() -> Self {
        Self::with(Acceptor::default().origin(OriginPolicy::Any)).await
    }

    pub(crate) async fn with(acceptor: Acceptor) -> Self {
        let server = Server::bind("127.0.0.1:0").await.unwrap();
        Self::of(server.acceptor(acceptor))
    }

    pub(crate) fn of(server: Server) -> Self {
        let address = server.local_addr().unwrap();
        let connections = server.connections();
        let served = tokio::spawn(server.serve(echo));
        Self {
            address,
            connections,
            served,
        }
    }

    /// By HTTP/2, without TLS.
    pub(crate) fn connect(&self) -> Connect {
        prior_knowledge(self.address)
    }

    /// h2's own client.
    pub(crate) async fn raw(&self) -> SendRequest<Bytes> {
        raw_client(TcpStream::connect(self.address).await.unwrap()).await
    }
}

/// By HTTP/2, without TLS.
pub(crate) fn prior_knowledge(address: SocketAddr) -> Connect {
    to(format!("ws://{address}/")).version(HttpVersion::Http2)
}

pub(crate) async fn echo(mut socket: WebSocket) -> HandlerResult {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Asserts that a message is echoed.
pub(crate) async fn assert_echoes(socket: &mut WebSocket, text: &str) {
    socket.send(text).await.unwrap();
    let message = socket.recv().await.unwrap().unwrap();
    assert_eq!(message.as_text(), Some(text));
}

pub(crate) async fn raw_client<S>(stream: S) -> SendRequest<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    // SETTINGS come before the pong.
    pings.ping(h2::Ping::opaque()).await.unwrap();
    requests.ready().await.unwrap()
}

/// A valid extended CONNECT.
pub(crate) fn extended_connect(address: SocketAddr) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://{address}/chat"))
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    request
}

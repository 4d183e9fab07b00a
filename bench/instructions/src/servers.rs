//! The echo servers. Each serves one connection whose handshake is complete.

use std::net::{TcpListener, TcpStream as StdStream};
use std::thread;

use anyhow::{Result, ensure};
use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocketError};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use offhook::protocol::handshake::Negotiated;
use offhook::{Settings, WebSocket};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use crate::bare;
use crate::peer::{self, Traffic};
use crate::timing;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    Offhook,
    OffhookEach,
    BareTokio,
    FastWebsockets,
    TokioWebsockets,
    TokioTungstenite,
}

pub const ALL: [Server; 6] = [
    Server::Offhook,
    Server::OffhookEach,
    Server::BareTokio,
    Server::FastWebsockets,
    Server::TokioWebsockets,
    Server::TokioTungstenite,
];

impl Server {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offhook => "offhook",
            Self::OffhookEach => "offhook-each",
            Self::BareTokio => "bare-tokio",
            Self::FastWebsockets => "fastwebsockets",
            Self::TokioWebsockets => "tokio-websockets",
            Self::TokioTungstenite => "tokio-tungstenite",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|server| server.name() == name)
    }
}

/// Serves one client, which runs in a thread of its own, until it closes the connection.
pub fn serve(server: Server, traffic: Traffic, turns: usize) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = StdStream::connect(listener.local_addr()?)?;
    let (stream, _) = listener.accept()?;
    let client = thread::spawn(move || peer::run(client, traffic, turns));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let stream = TcpStream::from_std(stream)?;
        // Spawned as a task, as in a server: the runtime polls its main future more often than a
        // task.
        match server {
            Server::Offhook => tokio::spawn(offhook(stream)).await?,
            Server::OffhookEach => tokio::spawn(offhook_each(stream)).await?,
            Server::BareTokio => tokio::spawn(bare::echo(stream)).await??,
            Server::FastWebsockets => tokio::spawn(fastwebsockets(stream)).await?,
            Server::TokioWebsockets => {
                let socket = tokio_websockets::ServerBuilder::new().serve(stream);
                tokio::spawn(stream_and_sink(socket)).await?
            }
            Server::TokioTungstenite => {
                let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
                let socket = WebSocketStream::from_raw_socket(stream, role, None).await;
                tokio::spawn(stream_and_sink(socket)).await?
            }
        }
        timing::tell()
    })?;
    let played = client.join();
    ensure!(
        matches!(played, Ok(Ok(()))),
        "the client failed: {played:?}"
    );
    Ok(())
}

fn ours(stream: TcpStream) -> WebSocket {
    WebSocket::server(stream, Negotiated::default(), &[], &Settings::default())
}

/// The ordinary loop. The client ends without a Close frame, which ends the loop here as for any
/// server.
async fn offhook(stream: TcpStream) {
    let mut socket = ours(stream);
    while let Ok(Some(message)) = socket.recv().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

/// The loop that borrows messages.
async fn offhook_each(stream: TcpStream) {
    let ended = ours(stream)
        .each(|message, replies| replies.send(message))
        .await;
    drop(ended);
}

async fn fastwebsockets(stream: TcpStream) {
    let socket = fastwebsockets::WebSocket::after_handshake(stream, Role::Server);
    let mut socket = FragmentCollector::new(socket);
    let ended: Result<(), WebSocketError> = async {
        loop {
            let frame = socket.read_frame().await?;
            if matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
                socket.write_frame(frame).await?;
            }
        }
    }
    .await;
    drop(ended);
}

async fn stream_and_sink<S, M, E>(mut socket: S)
where
    S: Stream<Item = Result<M, E>> + Sink<M> + Unpin,
{
    while let Some(Ok(message)) = socket.next().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

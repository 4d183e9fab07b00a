//! Connections in memory whose other end is a script.

use offhook::{Pair, WebSocket};
use offhook_client::{Builder, Client};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The server's ends of the connections that a client opens.
pub(crate) struct Peers {
    peers: mpsc::Receiver<WebSocket>,
}

/// The other end of one connection.
pub(crate) struct Peer {
    pub(crate) socket: WebSocket,
}

pub(crate) fn client() -> (Builder, Peers) {
    let (opened, peers) = mpsc::channel(100);
    let builder = Client::over(move |_| {
        let (client, server, _link) = Pair::new().open();
        opened.try_send(server).unwrap();
        async { Ok(client) }
    });
    (builder, Peers { peers })
}

impl Peers {
    pub(crate) async fn next(&mut self) -> Peer {
        let socket = self.peers.recv().await.unwrap();
        Peer { socket }
    }

    /// The next connection, after its `connect` was answered.
    pub(crate) async fn welcome(&mut self, resume: &str) -> (Peer, Value) {
        let mut peer = self.next().await;
        let hello = peer.hears().await;
        assert_eq!(hello["type"], "connect");
        peer.says(json!({
            "type": "welcome", "id": hello["id"], "session": "me", "resume": resume,
        }))
        .await;
        (peer, hello)
    }
}

impl Peer {
    pub(crate) async fn hears(&mut self) -> Value {
        let message = self
            .socket
            .recv()
            .await
            .unwrap()
            .expect("the connection goes on");
        serde_json::from_slice(message.as_bytes()).unwrap()
    }

    pub(crate) async fn says(&mut self, message: Value) {
        self.socket.send(message.to_string()).await.unwrap();
    }
}

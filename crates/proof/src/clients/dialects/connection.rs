//! A WebSocket whose peer may be frozen or gone at any time.

use std::time::Duration;

use offhook::{Connect, Message, WebSocket};
use tokio::time::{Instant, sleep, timeout};

/// How long nothing may arrive, although the client or the server pings every second.
const SILENCE: Duration = Duration::from_secs(4);
/// How long a connection may take to open, or to accept a message.
const WITHIN: Duration = Duration::from_secs(4);
/// The pause before the next attempt to connect: like that of the native clients at first.
const PAUSE: Duration = Duration::from_millis(150);

/// Why a connection ended.
pub(super) type Lost = String;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: WebSocket,
    heard: Instant,
}

impl Connection {
    /// Connects to another path of the server at `url`.
    pub(super) async fn open(
        url: &str,
        path: &str,
        subprotocol: Option<&str>,
    ) -> Result<Self, Lost> {
        let base = url.strip_suffix("/ws").unwrap_or(url);
        let mut connect = Connect::to(format!("{base}{path}")).no_proxy();
        if let Some(name) = subprotocol {
            connect = connect.subprotocol(name);
        }
        match timeout(WITHIN, connect.open()).await {
            Ok(Ok(socket)) => Ok(Self {
                socket,
                heard: Instant::now(),
            }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not open".to_owned()),
        }
    }

    /// The next message; none if nothing arrives for a second. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Message>, Lost> {
        match timeout(Duration::from_secs(1), self.socket.recv()).await {
            Ok(Ok(Some(message))) => {
                self.heard = Instant::now();
                Ok(Some(message))
            }
            Ok(Ok(None)) => Err("closed".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) if self.heard.elapsed() > SILENCE => Err("silent".to_owned()),
            Err(_) => Ok(None),
        }
    }

    pub(super) async fn send_text(&self, text: &str) -> Result<(), Lost> {
        sent(timeout(WITHIN, self.socket.send(text)).await)
    }

    pub(super) async fn send_bytes(&self, bytes: &[u8]) -> Result<(), Lost> {
        sent(timeout(WITHIN, self.socket.send(bytes)).await)
    }
}

fn sent(
    result: Result<Result<(), offhook::Error>, tokio::time::error::Elapsed>,
) -> Result<(), Lost> {
    match result {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err("it takes nothing".to_owned()),
    }
}

/// Waits before the next attempt.
pub(super) async fn pause() {
    sleep(PAUSE).await;
}

//! A client of the native dialect that waits for its answers.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// Publications without an answer; the server refuses more than 256.
const AT_ONCE: usize = 200;

/// A connection of the native dialect that waits for its answers.
pub(super) struct Session {
    socket: WebSocket<TcpStream>,
    next: u64,
}

impl Session {
    pub(super) fn open(port: u16) -> Result<Self> {
        Self::with(port, &json!({"type":"connect","lineage":true}))
    }

    /// Opens a connection whose first message is `connect`.
    pub(super) fn with(port: u16, connect: &Value) -> Result<Self> {
        let mut request = format!("ws://127.0.0.1:{port}/ws").into_client_request()?;
        let protocol = "offhook.v1.json".parse()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, _) = tungstenite::client(request, stream)?;
        let mut session = Self { socket, next: 1 };
        session.ask(connect)?;
        Ok(session)
    }

    /// Subscribes to `name/0` and so on.
    pub(super) fn subscribe(&mut self, name: &str, count: usize) -> Result<()> {
        for number in 0..count {
            self.queue(&json!({"type":"subscribe","channel":format!("{name}/{number}")}))?;
        }
        self.flush()?;
        self.answers(count)
    }

    /// Publishes `count` messages to the channels with these names, several at a time.
    pub(super) fn publish(&mut self, count: usize, name: impl Fn(usize) -> String) -> Result<()> {
        for first in (0..count).step_by(AT_ONCE) {
            let some = first..count.min(first + AT_ONCE);
            for number in some.clone() {
                let channel = name(number);
                self.queue(&json!({"type":"publish","channel":channel,"data":"x".repeat(64)}))?;
            }
            self.flush()?;
            self.answers(some.len())?;
        }
        Ok(())
    }

    pub(super) fn queue(&mut self, message: &Value) -> Result<()> {
        let mut message = message.clone();
        message["id"] = self.next.into();
        self.next += 1;
        self.socket.write(Message::text(message.to_string()))?;
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.socket.flush()?;
        self.socket.get_mut().flush()?;
        Ok(())
    }

    /// The answer to one message.
    pub(super) fn ask(&mut self, message: &Value) -> Result<()> {
        self.queue(message)?;
        self.flush()?;
        self.answers(1)
    }

    /// Waits for `count` publications of its subscriptions.
    pub(super) fn publications(&mut self, count: usize) -> Result<()> {
        self.messages(count, |message| message["type"] == "message")
    }

    /// Waits for `count` answers. Fails if one of them is an error.
    pub(super) fn answers(&mut self, count: usize) -> Result<()> {
        self.messages(count, |message| message.get("id").is_some())
    }

    /// Waits for `count` messages of a kind. Fails if one message is an error.
    fn messages(&mut self, count: usize, is_awaited: impl Fn(&Value) -> bool) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let message = match self.socket.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {
                    continue;
                }
                message => message?,
            };
            let Message::Text(text) = message else {
                continue;
            };
            let message: Value = serde_json::from_str(&text)?;
            ensure!(message["type"] != "error", "{message}");
            left -= usize::from(is_awaited(&message));
        }
        Ok(())
    }
}

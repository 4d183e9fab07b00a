//! A connection over HTTP requests, which `docs/transports.md` specifies. To the rest of the
//! client, it is one end of a WebSocket in memory; the task here transfers messages between the
//! other end and the server.

mod downlink;
mod http;
#[cfg(test)]
mod tests;

use std::{
    future::{pending, ready},
    io,
    time::Duration,
};

use bytes::Bytes;
use hyper::Method;
use offhook::protocol::{CloseCode, ClosedBy};
use offhook::{Connect, Error, Message, Open, Pair, Sender, WebSocket};
use serde::Deserialize;
use tokio::time::sleep;

use downlink::Downlink;
use http::Http;

use crate::transport::Transport;

/// How often a failed request is repeated, after 100 ms, 200 ms, 400 ms, … 6: the last attempt is
/// made after three seconds, by which time a proxy has restarted.
const ATTEMPTS: u32 = 6;

/// The maximum size of the messages in one request, in bytes, unless a single message is larger. 16
/// KiB: a server accepts 256 KiB by default.
const BATCH: usize = 16 * 1024;

/// Opens connections over HTTP requests, for [`Client::over`](crate::Client::over): for programs that choose
/// the transport of each connection themselves. [`Builder::transport`](crate::Builder::transport) is for
/// those that do not.
#[derive(Clone, Debug)]
pub struct Requests {
    connect: Connect,
    url: String,
    transport: Transport,
}

impl Requests {
    /// `url` is that of the WebSocket, and `connect` says how to reach its server.
    /// [`Transport::WebSocket`] opens a stream of events, as [`Transport::Events`].
    #[must_use]
    pub fn new(connect: Connect, url: impl Into<String>, transport: Transport) -> Self {
        Self {
            connect,
            url: url.into(),
            transport,
        }
    }
}

impl Open for Requests {
    fn open(
        &mut self,
        _attempt: u32,
    ) -> impl Future<Output = Result<WebSocket, Error>> + Send + 'static {
        let mut up = Http::new(self.connect.clone(), &self.url);
        let down = Http::new(self.connect.clone(), &self.url);
        let transport = self.transport;
        async move {
            let opened = match transport {
                Transport::Polls => Downlink::polls(&mut up, down).await,
                Transport::Events | Transport::WebSocket => Downlink::events(down).await,
            };
            let (id, downlink) = opened.map_err(Error::Lost)?;
            let (near, far, _link) = Pair::new().open();
            let connection = Connection { id, up, number: 0 };
            tokio::spawn(connection.carry(downlink, far));
            Ok(near)
        }
    }
}

/// The answer that begins a connection.
#[derive(Deserialize)]
struct Begun {
    connection: String,
}

/// The code and reason with which the server closed a connection.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Closing {
    code: u16,
    #[serde(default)]
    reason: String,
}

/// The sending side of a connection.
struct Connection {
    id: String,
    up: Http,
    /// The number of the newest request.
    number: u64,
}

impl Connection {
    /// Transfers messages until one of the two ends is closed or lost.
    async fn carry(mut self, downlink: Downlink, mut far: WebSocket) {
        let sender = far.sender();
        let ended = tokio::select! {
            ended = receive(downlink, self.id.clone(), &sender) => ended,
            ended = self.send(&mut far) => ended,
        };
        match ended {
            Ended::Closed(closing) => {
                // The client receives all earlier messages first, and then the server's close code.
                let _however = far
                    .close(CloseCode::new(closing.code), &closing.reason)
                    .await;
            }
            Ended::Left => self.leave().await,
            // Dropping the far end tells the client that the connection is lost.
            Ended::Lost => {}
        }
    }

    /// Sends the client's messages to the server.
    async fn send(&mut self, far: &mut WebSocket) -> Ended {
        loop {
            let mut next = match far.recv().await {
                Ok(Some(message)) => Some(message),
                Ok(None) => return Ended::of(far),
                Err(_) => return Ended::Lost,
            };
            let mut batch = String::new();
            while let Some(Message::Text(text)) = next.take() {
                batch.push_str(&text);
                batch.push('\n');
                if batch.len() < BATCH {
                    next = tokio::select! {
                        biased;
                        // If the client's end is closed, the next call reports that again.
                        more = far.recv() => more.ok().flatten(),
                        () = ready(()) => None,
                    };
                }
            }
            self.number += 1;
            if self.post(batch.into()).await.is_err() {
                return Ended::Lost;
            }
        }
    }

    /// Sends one request, and repeats it with the same number if it fails: the server handles it
    /// once.
    async fn post(&mut self, body: Bytes) -> io::Result<()> {
        let target = format!("/{}?n={}", self.id, self.number);
        for attempt in 0..ATTEMPTS {
            let answer = self
                .up
                .request(Method::POST, &target, body.clone(), Duration::ZERO)
                .await;
            match answer {
                Ok(answer) if answer.status == 204 => return Ok(()),
                Ok(answer) if !answer.is_temporary() => return Err(answer.refused()),
                Ok(_) | Err(_) => sleep(pause(attempt)).await,
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    async fn leave(&mut self) {
        let target = format!("/{}", self.id);
        let leaving = self
            .up
            .request(Method::DELETE, &target, Bytes::new(), Duration::ZERO);
        // If this fails, the server notices later that the client is gone.
        let _however = leaving.await;
    }
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// The server closed it.
    Closed(Closing),
    /// The client closed it for good.
    Left,
    Lost,
}

impl Ended {
    /// The client's end was closed.
    fn of(far: &WebSocket) -> Self {
        let left = far.closed().is_some_and(|closed| {
            closed.code == CloseCode::NORMAL && closed.by == ClosedBy::Remote
        });
        if left { Self::Left } else { Self::Lost }
    }
}

/// Passes the server's messages to the client.
async fn receive(mut downlink: Downlink, id: String, sender: &Sender) -> Ended {
    loop {
        let Ok(received) = downlink.next(&id).await else {
            return Ended::Lost;
        };
        for text in received.messages {
            if sender.send(text).await.is_err() {
                // The client closes the connection, which the other direction reports.
                return pending().await;
            }
        }
        if let Some(closing) = received.closed {
            return Ended::Closed(closing);
        }
    }
}

fn pause(attempt: u32) -> Duration {
    Duration::from_millis(100 << attempt)
}

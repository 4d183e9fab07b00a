//! `dial --script`: sends and expects the messages of a file; the exit code says whether the server
//! answered as expected.

mod pattern;
mod step;

use std::sync::Arc;
use std::time::Duration;

use offhook::protocol::CloseCode;
use offhook::{Connect, Message, WebSocket};
use tokio::time::timeout;

use self::step::{Expected, Step};
use super::Dial;
use super::connection::{refused, text};
use super::output::Output;
use crate::{failure::Failure, signals::Signals};

/// How long to wait for an expected message, unless the script says otherwise. 10 s: longer than
/// any answer should take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the script over its own connection.
pub(super) async fn run(
    dial: &Dial,
    url: &str,
    path: &std::path::Path,
    output: Arc<Output>,
) -> Result<String, Failure> {
    let name = path.display().to_string();
    let script = step::read(path)?;
    let mut signals = Signals::listen()?;
    let mut connect = dial.ask(Connect::to(url), &output)?;
    for subprotocol in &dial.subprotocol {
        connect = connect.subprotocol(subprotocol);
    }
    let playing = async {
        let socket = connect.open().await.map_err(|error| refused(&error))?;
        let mut player = Player {
            socket,
            output: &output,
            timeout: TIMEOUT,
            is_hex: dial.hex,
        };
        let steps = script.len();
        for (line, step) in script {
            let done = player.play(&step).await;
            done.map_err(|why| Failure::Failed(format!("{name}:{line}: {why}")))?;
        }
        let _ = player.socket.sender().close(CloseCode::NORMAL, "");
        while let Ok(Ok(Some(_))) = timeout(Duration::from_secs(1), player.socket.recv()).await {}
        Ok(format!("{name}: all {steps} steps went as expected"))
    };
    tokio::select! {
        played = playing => played,
        () = signals.next() => Err(Failure::Failed("interrupted".to_owned())),
    }
}

struct Player<'a> {
    socket: WebSocket,
    output: &'a Output,
    timeout: Duration,
    is_hex: bool,
}

impl Player<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        let failed = |error: offhook::Error| error.to_string();
        match step {
            Step::Send(text) => self.socket.send(text.as_str()).await.map_err(failed),
            Step::SendHex(bytes) => self.socket.send(bytes.as_slice()).await.map_err(failed),
            Step::Expect(expected) => {
                let message = self.next(&expected.to_string()).await?;
                if expected.is_met_by(&message) {
                    return Ok(());
                }
                let received = self.text(&message);
                Err(format!("expected {expected}, received {received:?}"))
            }
            Step::Await(expected) => loop {
                let message = self.next(&expected.to_string()).await?;
                if expected.is_met_by(&message) {
                    return Ok(());
                }
            },
            Step::ExpectClose(code) => self.expect_close(*code).await,
            Step::ExpectNothing(time) => match timeout(*time, self.socket.recv()).await {
                Err(_) => Ok(()),
                Ok(Ok(Some(message))) => {
                    let received = self.text(&message);
                    Err(format!(
                        "expected nothing for {time:?}, received {received:?}"
                    ))
                }
                Ok(Ok(None)) => Err(format!("expected nothing, {}", self.ending())),
                Ok(Err(error)) => Err(error.to_string()),
            },
            Step::Ping => {
                let pong = timeout(self.timeout, self.socket.ping()).await;
                let pong = pong.map_err(|_| format!("no pong in {:?}", self.timeout))?;
                pong.map(drop).map_err(failed)
            }
            Step::Timeout(time) => {
                self.timeout = *time;
                Ok(())
            }
            Step::Close(code, reason) => {
                let code = CloseCode::new(*code);
                self.socket.sender().close(code, reason).map_err(failed)
            }
        }
    }

    /// The next message, which is also printed.
    async fn next(&mut self, expected: &str) -> Result<Message, String> {
        match timeout(self.timeout, self.socket.recv()).await {
            Ok(Ok(Some(message))) => {
                let text = self.text(&message);
                self.output.print(&text);
                Ok(message)
            }
            Ok(Ok(None)) => Err(format!("expected {expected}, {}", self.ending())),
            Ok(Err(error)) => Err(format!("expected {expected}, {error}")),
            Err(_) => Err(format!(
                "expected {expected}, received nothing in {:?}",
                self.timeout
            )),
        }
    }

    async fn expect_close(&mut self, code: Option<u16>) -> Result<(), String> {
        let expected = code.map_or_else(|| "a close".to_owned(), |code| format!("close {code}"));
        match timeout(self.timeout, self.socket.recv()).await {
            Err(_) => {
                return Err(format!(
                    "expected {expected}, received nothing in {:?}",
                    self.timeout
                ));
            }
            Ok(Ok(Some(message))) => {
                let received = self.text(&message);
                return Err(format!("expected {expected}, received {received:?}"));
            }
            // The result is examined below.
            Ok(Ok(None) | Err(_)) => {}
        }
        let closed = self.socket.sender().closed();
        let is_it = closed.as_ref().is_some_and(|closed| {
            let is_code = code.is_none_or(|code| closed.code.get() == code);
            is_code && closed.clean
        });
        if is_it {
            return Ok(());
        }
        Err(format!("expected {expected}, {}", self.ending()))
    }

    fn ending(&self) -> String {
        match self.socket.sender().closed() {
            Some(closed) if closed.clean => {
                format!("the connection was closed with {}", closed.code)
            }
            Some(_) | None => "the connection was lost".to_owned(),
        }
    }

    fn text(&self, message: &Message) -> String {
        text(message, self.is_hex, self.output)
    }
}

impl Expected {
    fn is_met_by(&self, message: &Message) -> bool {
        match (self, message) {
            (Self::Text(text), Message::Text(received)) => **text == **received,
            (Self::Pattern(pattern), Message::Text(received)) => {
                pattern::matches(pattern, received)
            }
            (Self::Json(value), Message::Text(received)) => serde_json::from_str(received)
                .is_ok_and(|received| pattern::contains(&received, value)),
            (Self::Bytes(bytes), Message::Binary(received)) => **bytes == **received,
            (Self::Anything, _) => true,
            (Self::Text(_) | Self::Pattern(_) | Self::Json(_), Message::Binary(_))
            | (Self::Bytes(_), Message::Text(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests;

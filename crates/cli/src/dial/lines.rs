//! Sends lines: lines of a pipe unchanged, and typed lines as messages or commands.

use std::{future, sync::Arc, time::Duration};

use offhook::protocol::CloseCode;
use offhook::{Error, Sender};
use tokio::sync::{mpsc::Receiver, watch};
use tokio::time::timeout;

use super::commands::{Entry, unknown};
use super::input::Typed;
use super::output::Output;
use crate::screen::DIM;
use crate::{digits, failure::Failure};

/// Sends lines over a connection.
pub(super) struct LineSender {
    pub(super) sender: Sender,
    pub(super) output: Arc<Output>,
    pub(super) is_hex: bool,
    /// How long to wait for messages after the end of a pipe before closing the connection. `None`:
    /// it stays open.
    pub(super) linger: Option<Duration>,
}

impl LineSender {
    /// Sends until the input ends, then closes the connection.
    pub(super) async fn send_all(
        self,
        mut typed: Receiver<Typed>,
        received: watch::Receiver<u64>,
    ) -> Result<(), Failure> {
        while let Some(typed) = typed.recv().await {
            let done = match typed {
                Typed::Line(line) if self.output.is_interactive() => self.enter(&line).await,
                Typed::Line(line) => self.send(&line).await,
                Typed::Unreadable(why) => Err(Failure::Failed(why)),
            };
            if let Err(failure) = done {
                let _ = self.sender.close(CloseCode::NORMAL, "");
                return Err(failure);
            }
        }
        if !self.output.is_interactive() {
            quiet(received, self.linger).await;
        }
        let _ = self.sender.close(CloseCode::NORMAL, "");
        Ok(())
    }

    async fn send(&self, line: &str) -> Result<(), Failure> {
        let sent = if self.is_hex {
            let bytes = digits::parse(line).map_err(|word| {
                Failure::usage(format!("expected bytes in hexadecimal, found {word:?}"))
            })?;
            self.sender.send(bytes.as_slice()).await
        } else {
            self.sender.send(line).await
        };
        match sent {
            Ok(()) => Ok(()),
            // The task that receives reports how the connection ended.
            Err(Error::Closing | Error::Closed(_)) => future::pending().await,
            Err(error) => Err(Failure::failed(&error)),
        }
    }

    /// A typed line. A mistake is reported, and the connection stays open.
    async fn enter(&self, line: &str) -> Result<(), Failure> {
        let (word, rest) = match Entry::read(line) {
            Entry::Message(text) => {
                if let Err(Failure::Usage(message) | Failure::Failed(message)) =
                    self.send(text).await
                {
                    self.output.note(&message);
                }
                return Ok(());
            }
            Entry::Command { word, rest } => (word, rest),
        };
        match word {
            "help" => self.output.note(HELP),
            "ping" => {
                tokio::spawn(ping(self.sender.clone(), Arc::clone(&self.output)));
            }
            "close" => self.close(rest),
            "hex" => match digits::parse(rest) {
                Ok(bytes) => self.sender.send(bytes.as_slice()).await.unwrap_or_default(),
                Err(word) => self
                    .output
                    .note(&format!("error: {word:?} is not a byte in hexadecimal")),
            },
            _ => self.output.note(&unknown(word)),
        }
        Ok(())
    }

    fn close(&self, rest: &str) {
        let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = if code.is_empty() {
            Ok(1000)
        } else {
            code.parse::<u16>()
        };
        let Ok(code) = code else {
            self.output
                .note("error: /close requires a code such as 1000 or 4001, and an optional reason");
            return;
        };
        if let Err(error) = self.sender.close(CloseCode::new(code), reason) {
            self.output.note(&error.to_string());
        }
    }
}

const HELP: &str = "\
/ping                  measure the round trip
/close [CODE [REASON]] close the connection; Ctrl-D closes it with 1000
/hex 01 02 ff          send a binary message
//text                 send /text
anything else          send it as a text message";

async fn ping(sender: Sender, output: Arc<Output>) {
    match sender.ping().await {
        Ok(time) => output.note(&format!(
            "{DIM}pong after {:.2} ms{DIM:#}",
            time.as_secs_f64() * 1e3
        )),
        Err(error) => output.note(&format!("no pong: {error}")),
    }
}

/// Waits until nothing was received for this long; without a time, forever.
pub(super) async fn quiet(mut received: watch::Receiver<u64>, linger: Option<Duration>) {
    let Some(linger) = linger else {
        return future::pending().await;
    };
    while let Ok(Ok(())) = timeout(linger, received.changed()).await {}
}

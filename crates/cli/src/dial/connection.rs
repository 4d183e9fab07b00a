//! Talking to any WebSocket server.

use std::{future, sync::Arc, time::Duration};

use offhook::protocol::{CloseCode, Closed, ClosedBy};
use offhook::{Connect, Error, Message, Sender, WebSocket};
use tokio::sync::{mpsc::Receiver, watch};
use tokio::time::timeout;

use super::Dial;
use super::keyboard::Typed;
use super::voice::Voice;
use crate::screen::{BOLD, DIM, shown};
use crate::{digits, failure::Failure, signals::Signals};

/// Opens the connection and talks until it is closed; gives how it ended.
pub(super) async fn talk(
    dial: &Dial,
    typed: Receiver<Typed>,
    voice: Arc<Voice>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let mut connect = dial.ask(Connect::to(&dial.url), &voice)?;
    for name in &dial.subprotocol {
        connect = connect.subprotocol(name);
    }
    let opened = tokio::select! {
        opened = connect.open() => opened,
        () = signals.next() => return Ok("not connected".to_owned()),
    };
    let socket = opened.map_err(|error| refused(&error))?;
    voice.tell(&greeting(&dial.url, &socket));
    let conversation = Conversation {
        dial,
        voice: Arc::clone(&voice),
        socket,
    };
    conversation.talk(typed, signals).await
}

/// What to do about a connection that does not open.
fn refused(error: &Error) -> Failure {
    if matches!(error, Error::Url(_) | Error::Request(_)) {
        return Failure::usage(error);
    }
    let failure = Failure::failed(error);
    if matches!(error, Error::Tls { .. }) {
        return failure.hint("--ca FILE trusts an authority of your own, --insecure anybody");
    }
    let Error::Refused(refused) = error else {
        return failure;
    };
    match refused.status() {
        401 => failure.hint("credentials may help: --header 'Authorization: …'"),
        403 => failure.hint("an origin that the server knows may help: --origin URL"),
        _ => failure,
    }
}

fn greeting(url: &str, socket: &WebSocket) -> String {
    let mut text = format!("{BOLD}connected{BOLD:#} to {url}");
    if let Some(name) = socket.protocol() {
        text.push_str(&format!(", subprotocol {}", shown(name)));
    }
    let extensions = socket.extensions();
    if !extensions.is_empty() {
        text.push_str(&format!(", {extensions}"));
    }
    text
}

struct Conversation<'a> {
    dial: &'a Dial,
    voice: Arc<Voice>,
    socket: WebSocket,
}

impl Conversation<'_> {
    async fn talk(
        mut self,
        typed: Receiver<Typed>,
        mut signals: Signals,
    ) -> Result<String, Failure> {
        let (heard, hearing) = watch::channel(0_u64);
        let mouth = Mouth {
            sender: self.socket.sender(),
            voice: Arc::clone(&self.voice),
            is_hex: self.dial.hex,
            linger: self.dial.linger,
        };
        let sending = tokio::spawn(mouth.send_all(typed, hearing));
        let ended = loop {
            tokio::select! {
                received = self.socket.recv() => match received {
                    Ok(Some(message)) => {
                        heard.send_modify(|count| *count += 1);
                        self.show(&message)?;
                        if self.dial.count == Some(*heard.borrow()) {
                            self.hang_up();
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(Failure::failed(&error)),
                },
                () = signals.next() => self.hang_up(),
            }
        };
        let sent = if sending.is_finished() {
            sending.await.unwrap_or(Ok(()))
        } else {
            Ok(())
        };
        ended.and(sent).and_then(|()| self.farewell())
    }

    fn hang_up(&self) {
        // It is closing already, or closed: all the same.
        let _ = self.socket.sender().close(CloseCode::NORMAL, "");
    }

    fn show(&self, message: &Message) -> Result<(), Failure> {
        match message {
            Message::Text(text) if self.dial.hex => {
                self.voice.say(&crate::screen::hex(text.as_bytes()))
            }
            Message::Text(text) if self.voice.is_conversation() => self.voice.say(&shown(text)),
            Message::Text(text) => self.voice.say(text),
            Message::Binary(bytes) => self.voice.say(&crate::screen::hex(bytes)),
        }
        self.voice
            .broken()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    /// How it ended.
    fn farewell(&self) -> Result<String, Failure> {
        let Some(closed) = self.socket.sender().closed() else {
            return Ok("closed".to_owned());
        };
        let text = ending(&closed);
        let is_content = closed.code.is_normal() || closed.code == CloseCode::NO_STATUS;
        if closed.clean && (closed.by == ClosedBy::Local || is_content) {
            Ok(text)
        } else {
            Err(Failure::Failed(text))
        }
    }
}

fn ending(closed: &Closed) -> String {
    let who = match closed.by {
        ClosedBy::Local => "closed",
        ClosedBy::Remote => "closed by the server",
        ClosedBy::Lost => return "the server went away without a close".to_owned(),
    };
    let reason = match &*closed.reason {
        "" => String::new(),
        reason => format!(": {}", shown(reason)),
    };
    format!("{who}, {}{reason}", closed.code)
}

/// Sends what is typed.
struct Mouth {
    sender: Sender,
    voice: Arc<Voice>,
    is_hex: bool,
    linger: Duration,
}

impl Mouth {
    async fn send_all(
        self,
        mut typed: Receiver<Typed>,
        hearing: watch::Receiver<u64>,
    ) -> Result<(), Failure> {
        while let Some(typed) = typed.recv().await {
            let done = match typed {
                Typed::Line(line) if self.voice.is_conversation() => self.obey(&line).await,
                Typed::Line(line) => self.send(&line).await,
                Typed::Unreadable(why) => Err(Failure::Failed(why)),
            };
            if let Err(failure) = done {
                let _ = self.sender.close(CloseCode::NORMAL, "");
                return Err(failure);
            }
        }
        if !self.voice.is_conversation() {
            quiet(hearing, self.linger).await;
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
            // Whoever receives hears how it ended.
            Err(Error::Closing | Error::Closed(_)) => future::pending().await,
            Err(error) => Err(Failure::failed(&error)),
        }
    }

    /// A line of a person: a message, or a command.
    async fn obey(&self, line: &str) -> Result<(), Failure> {
        let Some(command) = line.strip_prefix('/') else {
            return self.say(line).await;
        };
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        match word {
            "help" => self.voice.tell(HELP),
            "ping" => {
                tokio::spawn(ping(self.sender.clone(), Arc::clone(&self.voice)));
            }
            "close" => self.close(rest),
            "hex" => match digits::parse(rest) {
                Ok(bytes) => self.sender.send(bytes.as_slice()).await.unwrap_or_default(),
                Err(word) => self
                    .voice
                    .tell(&format!("{word:?} is no byte in hexadecimal")),
            },
            _ if word.starts_with('/') => return self.say(command).await,
            _ => self
                .voice
                .tell(&format!("there is no /{word}; /help lists what there is")),
        }
        Ok(())
    }

    /// What a person got wrong is told, and is no reason to hang up.
    async fn say(&self, line: &str) -> Result<(), Failure> {
        if let Err(Failure::Usage(message) | Failure::Failed(message)) = self.send(line).await {
            self.voice.tell(&message);
        }
        Ok(())
    }

    fn close(&self, rest: &str) {
        let (code, reason) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
        let code = if code.is_empty() {
            Ok(1000)
        } else {
            code.parse::<u16>()
        };
        let Ok(code) = code else {
            self.voice
                .tell("/close takes a code such as 1000 or 4001, and a reason");
            return;
        };
        if let Err(error) = self.sender.close(CloseCode::new(code), reason) {
            self.voice.tell(&error.to_string());
        }
    }
}

const HELP: &str = "\
/ping                  measure the round trip
/close [CODE [REASON]] close the connection; Ctrl-D closes it with 1000
/hex 01 02 ff          send a binary message
//text                 send /text
anything else          send it as a text message";

async fn ping(sender: Sender, voice: Arc<Voice>) {
    match sender.ping().await {
        Ok(time) => voice.tell(&format!(
            "{DIM}pong after {:.2} ms{DIM:#}",
            time.as_secs_f64() * 1e3
        )),
        Err(error) => voice.tell(&format!("no pong: {error}")),
    }
}

/// Until nothing has been heard for this long.
pub(super) async fn quiet(mut hearing: watch::Receiver<u64>, linger: Duration) {
    while let Ok(Ok(())) = timeout(linger, hearing.changed()).await {}
}

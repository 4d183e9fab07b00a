//! Talking to any WebSocket server.

use std::{sync::Arc, time::Duration};

use offhook::protocol::{CloseCode, Closed, ClosedBy};
use offhook::{Connect, Error, Message, WebSocket};
use tokio::sync::{mpsc::Receiver, watch};
use tokio_rustls::rustls::{self, CertificateError};

use super::Dial;
use super::input::Typed;
use super::lines::LineSender;
use super::output::Output;
use crate::screen::{BOLD, hex, shown};
use crate::{failure::Failure, signals::Signals};

/// Opens the connection and talks until it is closed; returns how it ended.
pub(super) async fn talk(
    dial: &Dial,
    url: &str,
    typed: Receiver<Typed>,
    output: Arc<Output>,
) -> Result<String, Failure> {
    let mut signals = Signals::listen()?;
    let mut connect = dial.ask(Connect::to(url), &output)?;
    for name in &dial.subprotocol {
        connect = connect.subprotocol(name);
    }
    let opened = tokio::select! {
        opened = connect.open() => opened,
        () = signals.next() => return Ok("not connected".to_owned()),
    };
    let socket = opened.map_err(|error| refused(&error))?;
    output.note(&greeting(url, &socket));
    let conversation = Conversation {
        dial,
        output: Arc::clone(&output),
        socket,
    };
    conversation.talk(typed, signals).await
}

/// The error, with a hint about what to do.
pub(super) fn refused(error: &Error) -> Failure {
    if matches!(error, Error::Url(_) | Error::Request(_)) {
        return Failure::usage(error);
    }
    let failure = Failure::failed(error);
    if let Error::Tls { source, .. } = error {
        let reason = source.get_ref().and_then(|reason| reason.downcast_ref());
        return failure.hint(if reason.is_some_and(is_for_another_name) {
            "a certificate is trusted only for the names in it. One for localhost: openssl req -x509 \
             -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost"
        } else {
            "--ca FILE trusts the certificate in FILE or its authority, --insecure any certificate"
        });
    }
    let Error::Refused(refused) = error else {
        return failure;
    };
    let body = String::from_utf8_lossy(refused.body());
    match refused.status() {
        400 if body.contains(offhook_client::SUBPROTOCOL) => failure.hint(
            "this server has channels: --subscribe CHANNEL reads one, --publish CHANNEL writes to \
             one",
        ),
        401 => failure.hint("credentials may help: --header 'Authorization: …'"),
        403 => failure.hint("an origin that the server accepts may help: --origin URL"),
        _ => failure,
    }
}

/// Whether the server's certificate is for other names, or for none.
fn is_for_another_name(reason: &rustls::Error) -> bool {
    matches!(
        reason,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
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
    output: Arc<Output>,
    socket: WebSocket,
}

impl Conversation<'_> {
    async fn talk(
        mut self,
        typed: Receiver<Typed>,
        mut signals: Signals,
    ) -> Result<String, Failure> {
        let (received, receiving) = watch::channel(0_u64);
        let line_sender = LineSender {
            sender: self.socket.sender(),
            output: Arc::clone(&self.output),
            is_hex: self.dial.hex,
            linger: self.dial.linger(Duration::from_secs(1)),
        };
        let sending = tokio::spawn(line_sender.send_all(typed, receiving));
        let ended = loop {
            tokio::select! {
                message = self.socket.recv() => match message {
                    Ok(Some(message)) => {
                        received.send_modify(|count| *count += 1);
                        self.show(&message)?;
                        if self.dial.count == Some(*received.borrow()) {
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
        // An error here means that it is already closing or closed.
        let _ = self.socket.sender().close(CloseCode::NORMAL, "");
    }

    fn show(&self, message: &Message) -> Result<(), Failure> {
        self.output
            .print(&text(message, self.dial.hex, &self.output));
        self.output
            .broken_pipe()
            .map_or(Ok(()), |error| Err(error.into()))
    }

    /// How the connection ended.
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

/// A message as printed: unchanged in a pipe, with control characters escaped in a terminal.
pub(super) fn text(message: &Message, is_hex: bool, output: &Output) -> String {
    match message {
        Message::Text(text) if is_hex => hex(text.as_bytes()),
        Message::Text(text) if output.is_interactive() => shown(text).into_owned(),
        Message::Text(text) => text.to_string(),
        Message::Binary(bytes) => hex(bytes),
    }
}

fn ending(closed: &Closed) -> String {
    let who = match closed.by {
        ClosedBy::Local => "closed",
        ClosedBy::Remote => "closed by the server",
        ClosedBy::Lost => return "the connection was lost without a close".to_owned(),
    };
    let reason = match &*closed.reason {
        "" => String::new(),
        reason => format!(": {}", shown(reason)),
    };
    format!("{who}, {}{reason}", closed.code)
}

//! Drives one connection: sends the core's messages, and passes received ones to it.

use std::pin::Pin;

use offhook::protocol::CloseCode;
use offhook::{Message, WebSocket};
use offhook_dialects::Payload;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::{Core, Step};
use crate::error::Error;
use crate::fetches::Fetches;
use crate::shared::Shared;
use crate::token::Tokens;

/// Sends and receives until the connection is lost or given up.
pub(crate) async fn converse(shared: &Shared, tokens: &mut Tokens, mut socket: WebSocket) {
    let sender = socket.sender();
    let mut unsent = None;
    let mut timer = Timer::new();
    let mut fetches = Fetches::default();
    loop {
        let turn = shared.with(|core| {
            if unsent.is_none() {
                unsent = send(core, &socket);
            }
            Turn::of(core)
        });
        if turn.wants_tokens {
            fetches.begin(shared, tokens);
        }
        match turn.step {
            Step::Talk => {}
            Step::End => return close(shared, socket).await,
            // Dropping it closes with 1001.
            Step::Wait | Step::Open { .. } => return,
        }
        timer.set(turn.timeout);
        let room = async {
            match &unsent {
                Some(Payload::Text(text)) => sender.send(text).await,
                Some(Payload::Binary(bytes)) => sender.send(bytes).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // If it could not be sent, receiving fails too and says why.
            _sent_or_over = room => unsent = None,
            received = socket.recv(), if turn.may_read => take(shared, received, &socket).await,
            () = &mut timer.sleep => {
                timer.is_set = false;
                shared.with(|core| core.handle_timeout(now()));
            }
            fetched = fetches.next() => shared.with(|core| fetched.tell(core, now())),
            () = shared.driver.notified() => {}
        }
    }
}

async fn take(
    shared: &Shared,
    received: Result<Option<Message>, offhook::Error>,
    socket: &WebSocket,
) {
    match received {
        Ok(Some(Message::Text(text))) => {
            shared.with(|core| core.handle_message(&text, now()));
        }
        Ok(Some(Message::Binary(bytes))) => {
            shared.with(|core| core.handle_binary(&bytes, now()));
        }
        Ok(None) => lost(
            shared,
            offhook::Error::Closed(Box::new(socket.ended().await)),
        ),
        Err(error) => lost(shared, error),
    }
}

pub(crate) fn lost(shared: &Shared, error: offhook::Error) {
    shared.with(|core| core.handle_lost(error.into(), now()));
}

/// Closes the connection with a closing handshake if the user closed the client.
async fn close(shared: &Shared, mut socket: WebSocket) {
    let closed = |core: &mut Core| matches!(core.ended(), Some(Error::Closed));
    if shared.with(closed) {
        // The result does not matter: the client has ended.
        let _however = socket.close(CloseCode::NORMAL, "").await;
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// The state of the core that one turn of the loop needs.
struct Turn {
    step: Step,
    may_read: bool,
    wants_tokens: bool,
    timeout: Option<std::time::Instant>,
}

impl Turn {
    fn of(core: &Core) -> Self {
        Self {
            step: core.step(),
            may_read: core.may_read(),
            wants_tokens: core.wants_tokens(),
            timeout: core.poll_timeout(),
        }
    }
}

/// Sends everything that is ready, until the send buffer is full.
fn send(core: &mut Core, socket: &WebSocket) -> Option<Payload> {
    while let Some(message) = core.poll_transmit() {
        let sent = match &message {
            Payload::Text(text) => socket.try_send(text),
            Payload::Binary(bytes) => socket.try_send(bytes),
        };
        if let Err(offhook::Error::Full) = sent {
            return Some(message);
        }
    }
    None
}

/// A timer that is reset only when it would fire too late: most deadlines move with every message.
struct Timer {
    sleep: Pin<Box<Sleep>>,
    is_set: bool,
}

impl Timer {
    fn new() -> Self {
        Self {
            sleep: Box::pin(sleep_until(Instant::now())),
            is_set: false,
        }
    }

    fn set(&mut self, at: Option<std::time::Instant>) {
        let Some(at) = at.map(Instant::from_std) else {
            return;
        };
        if !self.is_set || at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
            self.is_set = true;
        }
    }
}

//! One connection, from its opening to its end: what the core wants sent goes out, what comes goes in.

use std::pin::Pin;

use offhook::protocol::CloseCode;
use offhook::{Message, WebSocket};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::core::{Core, Step};
use crate::error::Error;
use crate::shared::Shared;

/// Sends and receives until the connection is gone, or given up.
pub(crate) async fn converse(shared: &Shared, mut socket: WebSocket) {
    let sender = socket.sender();
    let mut unsent = None;
    let mut alarm = Alarm::new();
    loop {
        let turn = shared.with(|core| {
            if unsent.is_none() {
                unsent = send(core, &socket);
            }
            Turn::of(core)
        });
        match turn.step {
            Step::Talk => {}
            Step::End => return hang_up(shared, socket).await,
            // Dropped, it says 1001 by itself.
            Step::Wait | Step::Open { .. } => return,
        }
        alarm.set(turn.timeout);
        let room = async {
            match &unsent {
                Some(text) => sender.send(text).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // If it could not be sent, the receiver tells why.
            _sent_or_over = room => unsent = None,
            received = socket.recv(), if turn.may_read => take(shared, received, &socket).await,
            () = &mut alarm.sleep => {
                alarm.is_set = false;
                shared.with(|core| core.handle_timeout(now()));
            }
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
        Ok(Some(Message::Binary(_))) => shared.with(|core| core.handle_binary(now())),
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

/// Closes the connection as it should be, unless it was given up.
async fn hang_up(shared: &Shared, mut socket: WebSocket) {
    let closed = |core: &mut Core| matches!(core.ended(), Some(Error::Closed));
    if shared.with(closed) {
        // However it ends: it is over.
        let _however = socket.close(CloseCode::NORMAL, "").await;
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// What a turn of the conversation has to know.
struct Turn {
    step: Step,
    may_read: bool,
    timeout: Option<std::time::Instant>,
}

impl Turn {
    fn of(core: &Core) -> Self {
        Self {
            step: core.step(),
            may_read: core.may_read(),
            timeout: core.poll_timeout(),
        }
    }
}

/// Sends everything there is, up to what has no room.
fn send(core: &mut Core, socket: &WebSocket) -> Option<String> {
    while let Some(text) = core.poll_transmit() {
        if let Err(offhook::Error::Full) = socket.try_send(&text) {
            return Some(text);
        }
    }
    None
}

/// A timer that is moved only when it would ring too late: most deadlines move on with every
/// message.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    is_set: bool,
}

impl Alarm {
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

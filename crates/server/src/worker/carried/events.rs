//! Sends messages to a client as the events of one response.

use std::{
    rc::Rc,
    task::{Context, Poll},
};

use offhook::protocol::CloseCode;
use offhook_dialects::sse::with_lines;

use super::downlink::Closing;
use crate::worker::{
    outlet::{Gone, Kind, Transport},
    streaming::Unsent,
};

/// Messages as events of one response.
#[derive(Debug)]
pub(super) struct Events(pub(super) Rc<Unsent>);

impl Transport for Events {
    fn put(&self, _kind: Kind, message: &[u8]) -> Result<usize, Gone> {
        let mut event = String::new();
        with_lines(&mut event, &String::from_utf8_lossy(message));
        event.push('\n');
        self.0.put(Kind::Text, event.as_bytes())
    }

    fn unsent(&self) -> usize {
        self.0.unsent()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        self.0.poll_room(cx)
    }

    fn close(&self, code: CloseCode, reason: &str) {
        let data = Closing::new(code, reason).to_json();
        self.0.write(&format!("event: close\ndata: {data}\n\n"));
        self.0.close(code, reason);
    }
}

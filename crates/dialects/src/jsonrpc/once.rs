//! JSON-RPC over an HTTP request: one message and its answer.

use std::time::{Duration, Instant};

use offhook_engine::{CloseReason, CommandId, Notice, Refusal};

use super::Rpc;
use crate::{
    dialect::{
        Connect, Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Shared, Welcome,
    },
    native,
};

/// The message of one request. Only methods that need no connection are available. Once the whole
/// message is answered, the connection is closed.
#[derive(Debug)]
pub struct Once {
    rpc: Rpc,
    message: Option<String>,
    has_ended: bool,
}

impl Once {
    /// A connection for a request with this body.
    #[must_use]
    pub fn new(message: String) -> Self {
        Self {
            rpc: Rpc::over_requests(),
            message: Some(message),
            has_ended: false,
        }
    }
}

impl Dialect for Once {
    fn encoding(&self, connect: &Connect) -> &'static dyn Encoding {
        self.rpc.encoding(connect)
    }

    /// The first call handles the request; the client sends nothing afterwards.
    fn receive(&mut self, _incoming: Incoming<'_>, now: Instant, intents: &mut Vec<Intent>) {
        if let Some(message) = self.message.take() {
            self.rpc.receive(Incoming::Text(&message), now, intents);
        }
    }

    fn poll_intent(&mut self) -> Option<Intent> {
        if self.message.is_some() || self.has_ended || self.rpc.awaits_any() {
            return None;
        }
        self.has_ended = true;
        Some(Intent::Close {
            code: 1000,
            reason: "the request is answered",
        })
    }

    fn has_tokens(&self) -> bool {
        false
    }

    fn head(&mut self, _recipient: &Recipient, _shared: &Shared) -> Head {
        Head::Nothing
    }

    fn welcome(&mut self, welcome: &Welcome<'_>, out: &mut Vec<Payload>) {
        self.rpc.welcome(welcome, out);
    }

    fn refused(&mut self, id: Option<CommandId>, refusal: &Refusal, out: &mut Vec<Payload>) {
        self.rpc.refused(id, refusal, out);
    }

    fn refreshed(&mut self, id: CommandId, expires_in: Option<Duration>, out: &mut Vec<Payload>) {
        self.rpc.refreshed(id, expires_in, out);
    }

    /// Only answers are sent.
    fn notice(&mut self, notice: &Notice, out: &mut Vec<Payload>) {
        if let Notice::Reply { id: Some(_), .. } = notice {
            self.rpc.notice(notice, out);
        }
    }

    fn close_code(&self, reason: CloseReason) -> u16 {
        native::close_code(reason)
    }
}

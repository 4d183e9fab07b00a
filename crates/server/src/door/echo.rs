//! A path whose WebSockets get their own messages back, so that suites of tests for WebSockets can test
//! the server as it is deployed: with its listeners, TLS, HTTP/2 and limits.

use std::time::Instant;

use offhook_dialects::{Connect, Dialect, Encoding, Incoming, Intent, Payload, Shared, Welcome};
use offhook_engine::{CloseReason, CommandId, Notice, PresenceChange, Publication, Refusal};

use super::routes::Spoken;
use crate::worker::Speaker;

/// The route of the path.
pub(super) fn route() -> Spoken {
    Spoken {
        subprotocol: None,
        check: |_| Ok(()),
        upgrades: |_| None,
        admits: true,
        begin: |_, _| Speaker::Other(Box::new(Box::new(Echo))),
    }
}

/// Answers each message with itself. Its clients never connect to the engine, so they are disconnected
/// after `connections.connect_timeout`.
#[derive(Debug)]
struct Echo;

impl Dialect for Echo {
    fn encoding(&self, _connect: &Connect) -> &'static dyn Encoding {
        &Nothing
    }

    fn receive(&mut self, incoming: Incoming<'_>, _now: Instant, intents: &mut Vec<Intent>) {
        intents.push(Intent::Say(match incoming {
            Incoming::Text(text) => Payload::Text(text.to_owned()),
            Incoming::Binary(bytes) => Payload::Binary(bytes.to_vec()),
        }));
    }

    fn has_tokens(&self) -> bool {
        false
    }

    fn welcome(&mut self, _welcome: &Welcome<'_>, _out: &mut Vec<Payload>) {}

    fn refused(&mut self, _id: Option<CommandId>, _refusal: &Refusal, _out: &mut Vec<Payload>) {}

    fn notice(&mut self, _notice: &Notice, _out: &mut Vec<Payload>) {}

    fn close_code(&self, _reason: CloseReason) -> u16 {
        1000
    }
}

/// There are no publications.
#[derive(Debug)]
struct Nothing;

impl Encoding for Nothing {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn publication(&self, _publication: &Publication) -> Shared {
        Shared::whole(String::new())
    }

    fn presence(&self, _change: &PresenceChange) -> Option<Shared> {
        None
    }
}

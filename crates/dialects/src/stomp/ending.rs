//! The end of a connection: DISCONNECT and ERROR.

use offhook_engine::{ErrorCode, Refusal};

use super::{
    dialect::{Phase, Stomp},
    frame::{Frame, Invalid},
    subscription::AllUnacknowledged,
    transactions::Transactions,
};
use crate::dialect::Intent;

impl Stomp {
    /// After a DISCONNECT, ends the connection once all earlier frames have been answered, which
    /// the RECEIPT proves (1.2 "Connection Lingering").
    pub(super) fn leave(&mut self) {
        let is_done = self.pending.is_empty() && self.outgoing.is_empty() && self.again.is_empty();
        if self.phase != Phase::Leaving || !is_done {
            return;
        }
        let receipt = self.leaving.take();
        self.give_receipt(receipt.as_deref());
        self.end(1000, "the client disconnected");
    }

    /// Sends an ERROR and ends the connection (1.2 "ERROR").
    pub(super) fn fail(&mut self, invalid: &Invalid, receipt: Option<&str>) {
        if self.phase == Phase::Ended {
            return;
        }
        if matches!(self.phase, Phase::Open | Phase::Leaving) {
            // This refusal is counted and logged like all others.
            let refusal = Refusal::new(ErrorCode::BadRequest, invalid.detail.clone());
            self.queue.push_back(Intent::Refuse { id: None, refusal });
        }
        self.say_error(invalid, receipt);
        self.end(invalid.code, invalid.message);
    }

    fn say_error(&mut self, invalid: &Invalid, receipt: Option<&str>) {
        let error = error(invalid.message, &invalid.detail, receipt);
        self.say(&error);
    }

    pub(super) fn end(&mut self, code: u16, reason: &'static str) {
        self.end_silently();
        self.queue.push_back(Intent::Close { code, reason });
    }

    pub(super) fn end_silently(&mut self) {
        self.phase = Phase::Ended;
        self.decoder.clear();
        self.may_hold = false;
        self.outgoing.clear();
        self.again.clear();
        self.unacknowledged = AllUnacknowledged::default();
        self.transactions = Transactions::default();
        (self.beat_at, self.look_at, self.again_at) = (None, None, None);
    }
}

/// Builds an ERROR frame.
pub(super) fn error(message: &str, detail: &str, receipt: Option<&str>) -> Frame {
    let frame = Frame::new("ERROR").with("message", message);
    let frame = match receipt {
        Some(receipt) => frame.with("receipt-id", receipt),
        None => frame,
    };
    frame
        .with("content-type", "text/plain;charset=utf-8")
        .body(detail.to_owned())
}

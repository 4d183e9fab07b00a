//! The frames of a client: how many are taken at once, and what each command does.

use std::time::Instant;

use super::{
    dialect::{PUBLISHING, Phase, Stomp},
    frame::{Frame, Invalid},
};
use crate::dialect::Intent;

/// How many frames are decoded in one turn before their commands are executed. 64: enough for a
/// batch of the log's writer.
const AT_ONCE: usize = 64;

impl Stomp {
    /// Whether another frame may be decoded.
    pub(super) fn may_take(&self) -> bool {
        let is_listening = matches!(self.phase, Phase::New | Phase::Open);
        is_listening
            && self.publishing < PUBLISHING
            && self.outgoing.is_empty()
            && self.again.is_empty()
    }

    /// Whether reading from the client is paused.
    pub(super) fn is_paused(&self) -> bool {
        !self.may_take()
    }

    pub(super) fn take_frames(&mut self, now: Instant) {
        self.latest = Some(now);
        let begun_at = self.begun_at.take().filter(|_| self.may_take());
        let mut begun_at = begun_at.or(Some(now));
        let mut left = AT_ONCE;
        while left > 0 && self.may_take() {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => {
                    begun_at = Some(now);
                    if let Err(invalid) = self.take(&frame) {
                        self.fail(&invalid, frame.header("receipt"));
                    }
                }
                Ok(None) => {
                    self.may_hold = false;
                    self.begun_at = begun_at.filter(|_| self.decoder.buffered() > 0);
                    break;
                }
                Err(invalid) => self.fail(&invalid, None),
            }
            left = left.saturating_sub(1);
        }
        self.keep_note();
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Invalid> {
        let command = &*frame.command;
        // 1.2 "Body".
        if command != "SEND" && !frame.body.is_empty() {
            let detail = "only SEND may have a body";
            return Err(Invalid::malformed(detail));
        }
        match (self.phase, command) {
            (Phase::New, "CONNECT" | "STOMP") => return self.connect(frame),
            (Phase::New, _) => {
                let detail = "the first frame must be CONNECT or STOMP";
                return Err(Invalid::new("not connected", detail));
            }
            (Phase::Asked | Phase::Open | Phase::Leaving | Phase::Ended, _) => {}
        }
        match command {
            "SEND" => self.send(frame),
            "SUBSCRIBE" => self.subscribe(frame),
            "UNSUBSCRIBE" => self.unsubscribe(frame),
            "ACK" => self.acknowledge(frame, true),
            "NACK" => self.acknowledge(frame, false),
            "BEGIN" => self.begin(frame),
            "COMMIT" => self.commit(frame),
            "ABORT" => self.abort(frame),
            "DISCONNECT" => {
                self.leaving = frame.header("receipt").map(Into::into);
                self.phase = Phase::Leaving;
                self.queue.push_back(Intent::Leave);
                self.leave();
                Ok(())
            }
            "CONNECT" | "STOMP" => {
                let detail = "this connection is already connected";
                Err(Invalid::new("already connected", detail))
            }
            other => {
                let shown: String = other.chars().take(40).collect();
                let detail = format!("the command {shown:?} is unknown");
                Err(Invalid::new("unknown command", detail))
            }
        }
    }
}

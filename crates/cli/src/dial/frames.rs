//! `--frames`: explains each frame while the connection is open.

use std::sync::{Arc, Mutex, PoisonError};

use offhook::Wiretap;

use super::output::Output;
use crate::explain::{Conversation, Side, line};

/// Receives a copy of all bytes and prints the frames in them.
pub(super) struct FrameLog {
    conversation: Mutex<Conversation>,
    output: Arc<Output>,
}

impl FrameLog {
    pub(super) fn new(output: Arc<Output>) -> Self {
        let conversation = Mutex::new(Conversation::new());
        Self {
            conversation,
            output,
        }
    }

    fn explain(&self, side: Side, bytes: &[u8]) {
        let mut conversation = self
            .conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for piece in conversation.take(side, bytes) {
            self.output.note(line::text(&piece).trim_end());
        }
    }
}

impl Wiretap for FrameLog {
    fn connected(&self) {
        let mut conversation = self
            .conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *conversation = Conversation::new();
    }

    fn sent(&self, bytes: &[u8]) {
        self.explain(Side::Client, bytes);
    }

    fn received(&self, bytes: &[u8]) {
        self.explain(Side::Server, bytes);
    }
}

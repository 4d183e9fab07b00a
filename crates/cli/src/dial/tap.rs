//! `--frames`: what goes over the wire, explained as it goes.

use std::sync::{Arc, Mutex, PoisonError};

use offhook::Wiretap;

use super::voice::Voice;
use crate::explain::{Conversation, Side, line};

/// Hears everything, and tells it.
pub(super) struct Tap {
    conversation: Mutex<Conversation>,
    voice: Arc<Voice>,
}

impl Tap {
    pub(super) fn new(voice: Arc<Voice>) -> Self {
        let conversation = Mutex::new(Conversation::new());
        Self {
            conversation,
            voice,
        }
    }

    fn hear(&self, side: Side, bytes: &[u8]) {
        let mut conversation = self
            .conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for piece in conversation.take(side, bytes) {
            self.voice.tell(line::text(&piece).trim_end());
        }
    }
}

impl Wiretap for Tap {
    fn connected(&self) {
        let mut conversation = self
            .conversation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *conversation = Conversation::new();
    }

    fn sent(&self, bytes: &[u8]) {
        self.hear(Side::Client, bytes);
    }

    fn received(&self, bytes: &[u8]) {
        self.hear(Side::Server, bytes);
    }
}

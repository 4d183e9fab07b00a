//! The messages that a client has read so far.

use std::sync::Arc;

use offhook_engine::*;

use super::{
    client::{Client, Wire},
    seen::Seen,
};

impl Client {
    /// The subscription to a channel without a number.
    pub(crate) fn to(&self, name: &str) -> &Seen {
        &self.subscriptions[&SubscriptionKey::from(ChannelName::new(name).unwrap())]
    }

    /// Every publication read, in order.
    pub(crate) fn publications(&self) -> Vec<Arc<Publication>> {
        let mut all = Vec::new();
        for wire in &self.read {
            if let Wire::Publication(_, publication, _) = wire {
                all.push(Arc::clone(publication));
            }
        }
        all
    }

    /// How often each publication was delivered, in the order read.
    pub(crate) fn deliveries(&self) -> Vec<(u64, u16)> {
        let mut all = Vec::new();
        for wire in &self.read {
            if let Wire::Publication(_, publication, handed) = wire {
                all.push((publication.position.offset, handed.deliveries));
            }
        }
        all
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for wire in &self.read {
            if let Wire::Publication(_, p, _) = wire
                && p.channel.as_str() == name
            {
                texts.push(String::from_utf8(p.data.to_vec()).unwrap());
            }
        }
        texts
    }

    pub(crate) fn notices(&self) -> Vec<&Notice> {
        let mut notices = Vec::new();
        for wire in &self.read {
            if let Wire::Notice(notice) = wire {
                notices.push(notice);
            }
        }
        notices
    }

    pub(crate) fn gaps(&self) -> Vec<GapReason> {
        let mut gaps = Vec::new();
        for notice in self.notices() {
            if let Notice::Gap { reason, .. } = notice {
                gaps.push(*reason);
            }
        }
        gaps
    }

    pub(crate) fn replies(&self) -> Vec<&Reply> {
        let mut replies = Vec::new();
        for notice in self.notices() {
            if let Notice::Reply { reply, .. } = notice {
                replies.push(reply);
            }
        }
        replies
    }
}

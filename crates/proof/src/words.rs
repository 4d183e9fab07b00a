//! What the conductor and its crew tell each other: one line of JSON each, over pipes.

use serde::{Deserialize, Serialize};

use crate::ledger::Findings;

/// From the conductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Follow channels: the first order of a process of subscribers.
    Watch {
        url: String,
        /// The channels of each subscriber.
        subscribers: Vec<Vec<usize>>,
    },
    /// Publish: the first order of a process of publishers.
    Publish {
        url: String,
        /// The number of each publisher, and its channel.
        publishers: Vec<(usize, usize)>,
        /// Publications a second, of each.
        rate: f64,
    },
    /// Publish no more; say how many there were when all are acknowledged.
    Stop,
    /// This is what there is to be had: say what you found when you have it.
    Expect { channels: Vec<Expected> },
    /// Say what you found now.
    Report,
}

/// What a channel has in the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Expected {
    /// How many publications, of each publisher.
    pub(crate) published: Vec<u64>,
    /// The offset of the newest.
    pub(crate) head: u64,
}

/// To the conductor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub(crate) enum News {
    /// Every connection is open, every subscription is there.
    Ready,
    /// As of now.
    Progress(Progress),
    /// Every publication is acknowledged.
    Published { totals: Vec<(usize, u64)> },
    /// What subscribers found in the end.
    Found {
        findings: Findings,
        /// The sum over each channel's order, one for each that was seen.
        orders: Vec<Vec<u64>>,
    },
    /// It can't go on.
    Failed { why: String },
}

/// What a process has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Publications that were acknowledged.
    pub published: u64,
    /// Acknowledged only when they were sent again: the first answer was lost.
    pub recognised: u64,
    /// Publications that were delivered.
    pub delivered: u64,
    /// Connections that came back by a sealed session.
    pub resumed: u64,
    /// Connections that came back by positions.
    pub by_position: u64,
    /// Times that connections were lost, or could not be opened.
    pub failures: u64,
    /// Publications that the client dropped because they came twice.
    pub repeats: u64,
}

impl Progress {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            published: self.published + other.published,
            recognised: self.recognised + other.recognised,
            delivered: self.delivered + other.delivered,
            resumed: self.resumed + other.resumed,
            by_position: self.by_position + other.by_position,
            failures: self.failures + other.failures,
            repeats: self.repeats + other.repeats,
        }
    }
}

//! Messages between the runner and its processes of clients: lines of JSON, over pipes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ledger::{Expected, Findings};
use crate::plan::{Dialect, Transport};

/// From the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "instruction", rename_all = "snake_case")]
pub(crate) enum Instruction {
    /// Subscribe to channels: the first instruction of a process of subscribers.
    Subscribe {
        reach: Reach,
        dialect: Dialect,
        transport: Transport,
        /// The channels of each subscriber.
        subscribers: Vec<Vec<usize>>,
    },
    /// Publish: the first instruction of a process of publishers.
    Publish {
        reach: Reach,
        dialect: Dialect,
        transport: Transport,
        /// The number of each publisher, and its channel.
        publishers: Vec<(usize, usize)>,
        /// Publications per second of each.
        rate: f64,
    },
    /// Stop publishing. Once everything is acknowledged, send the totals.
    Stop,
    /// The content of the channels. Send the results once all of it was received.
    Expect { channels: Vec<Expected> },
    /// Send the results so far.
    Report,
}

/// How to reach the server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// The URL of WebSockets.
    pub(crate) url: String,
    /// For WebTransport, if the server speaks it.
    pub(crate) webtransport: Option<Secure>,
}

/// A URL, and the certificate that the server must have there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Secure {
    pub(crate) url: String,
    /// In PEM.
    pub(crate) certificate: String,
}

/// To the runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "update", rename_all = "snake_case")]
pub(crate) enum Update {
    /// Every connection is open, and every subscription was answered.
    Ready,
    /// The progress of the process.
    Progress(Progress),
    /// Every publication is acknowledged.
    Published { totals: Vec<Total> },
    /// The final results of the subscribers.
    Found {
        findings: Findings,
        /// The checksum of each channel's order, one for each channel seen.
        orders: Vec<Vec<u64>>,
        /// A description of the messages that subscribers lack, and of their last events.
        lacking: Vec<String>,
    },
    /// The process cannot continue.
    Failed { why: String },
}

/// What a publisher has published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Total {
    pub(crate) publisher: usize,
    /// How many publications were acknowledged.
    pub(crate) count: u64,
    /// Of these, the numbers that are not in the stream, because their epoch ended before them.
    pub(crate) discarded: BTreeSet<u64>,
}

/// Counts of a process of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Publications that were acknowledged.
    pub published: u64,
    /// Publications acknowledged only when they were sent again: the first answer was lost.
    pub recognised: u64,
    /// Publications that were delivered.
    pub delivered: u64,
    /// Connections restored from a sealed session.
    pub resumed: u64,
    /// Connections restored from positions.
    pub by_position: u64,
    /// How often connections were lost, or could not be opened.
    pub failures: u64,
    /// Publications that the client dropped because they were received twice.
    pub repeats: u64,
    /// Messages that were received again, which QoS 1 of MQTT permits.
    pub again: u64,
}

impl Progress {
    /// The sum of both.
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
            again: self.again + other.again,
        }
    }
}

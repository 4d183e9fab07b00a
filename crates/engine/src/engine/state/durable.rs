//! A session that is kept after its connection ends.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Durable {
    /// How long it is kept after its connection has ended.
    pub(in crate::engine) expiry: Duration,
    /// The broker's copy is outdated and will be saved soon.
    pub(in crate::engine) stale: bool,
    /// When it was saved last; none if it was not yet.
    pub(in crate::engine) saved: Option<Instant>,
}

//! A session that is kept while it is away.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Durable {
    /// How long it is kept after its connection has ended.
    pub(in crate::engine) expiry: Duration,
    /// What the broker keeps of it is older than what is known here, which it will be told soon.
    pub(in crate::engine) stale: bool,
}

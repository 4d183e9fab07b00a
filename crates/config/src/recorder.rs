//! Settings of the flight recorder.

use std::time::Duration;

use super::group::group;
use super::kind::{Bytes, some, time};

group! {
    /// The flight recorder, which `offhook explain` uses to say why a user did not receive a
    /// message.
    pub struct Recorder {
        /// The memory for all connections together, including ended ones; 0 disables the recorder.
        /// When it is used up, ended connections are forgotten first, beginning with the one that
        /// ended earliest, and then the oldest records of open connections.
        ///
        /// Enough for about fifty thousand ended connections, and less than the log's cache.
        bytes: usize = 16 << 20 => Bytes::new();

        /// How long a connection is remembered after its end.
        ///
        /// Users usually report a missing message within an hour.
        keep: Duration = Duration::from_secs(3600) => time();

        /// The number of decisions that are remembered for each connection, such as refusals and
        /// gaps; the newest ones are kept.
        ///
        /// More than a connection without problems ever has.
        entries: usize = 32 => some();
    }
}

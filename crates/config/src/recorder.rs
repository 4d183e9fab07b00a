//! Settings of the flight recorder.

use std::time::Duration;

use super::group::group;
use super::kind::{Bytes, some, time};

group! {
    /// The flight recorder, from which `offhook explain` tells why somebody did not get something.
    pub struct Recorder {
        /// The memory for all connections together, those included that have ended; 0 records
        /// nothing. When it is used up, connections that have ended are forgotten, the earliest end
        /// first, then what was recorded earliest of open ones.
        ///
        /// About fifty thousand ended connections, in less memory than the log's cache.
        bytes: usize = 16 << 20 => Bytes::new();

        /// How long a connection is remembered after its end.
        ///
        /// Somebody who misses a message asks within the hour.
        keep: Duration = Duration::from_secs(3600) => time();

        /// Decisions remembered for each connection, such as refusals and gaps; beyond that, the
        /// newest stay.
        ///
        /// More than a connection without trouble has in its life.
        entries: usize = 32 => some();
    }
}

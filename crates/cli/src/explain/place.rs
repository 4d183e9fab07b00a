//! Where a piece was captured.

use std::time::Duration;

/// Where and when a piece was captured, as far as known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The number of its connection in the capture.
    pub(crate) connection: Option<usize>,
    /// The time since the start of the capture.
    pub(crate) time: Option<Duration>,
}

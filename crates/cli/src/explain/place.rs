//! Where a piece was captured.

use std::time::Duration;

/// Where and when a piece was captured, as far as that is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The number of its connection in the capture.
    pub(crate) connection: Option<usize>,
    /// Since the beginning of the capture.
    pub(crate) time: Option<Duration>,
}

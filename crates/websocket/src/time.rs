//! The clock and the timer of whatever the library runs on: here tokio's.

pub(crate) use tokio::time::{Instant, Sleep, sleep};

//! The events of the feature `tracing` for a reconnecting connection; nothing without the feature.
#![cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "the feature is off")
)]

use std::time::Duration;

use crate::error::Error;

/// An attempt begins.
pub(super) fn connecting(attempt: u32) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "offhook", attempt, "connecting");
}

/// There is a connection.
pub(super) fn connected(attempt: u32) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "offhook", attempt, "connected");
}

/// The connection was lost.
pub(super) fn lost(cause: &Error, unsent: usize, delay: Duration) {
    #[cfg(feature = "tracing")]
    tracing::info!(
        target: "offhook", cause = cause.with_cause(), unsent, ?delay, "connection lost"
    );
}

/// An attempt failed.
pub(super) fn failed(cause: &Error, delay: Duration) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: "offhook", cause = cause.with_cause(), ?delay, "attempt failed");
}

/// There will be no other attempt.
pub(super) fn given_up(cause: &Error, unsent: usize) {
    #[cfg(feature = "tracing")]
    if cause.close_code().is_some_and(|code| code.is_normal()) {
        tracing::info!(target: "offhook", cause = cause.with_cause(), unsent, "closed for good");
    } else {
        tracing::warn!(target: "offhook", cause = cause.with_cause(), unsent, "given up");
    }
}

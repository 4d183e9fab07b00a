//! One deadline for several steps. The error names the step during which it expired.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Phase};

/// The time by which all steps must be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(duration: Duration) -> Self {
        // Longer timeouts are shortened to a century.
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        Self(Instant::now() + duration.min(century))
    }

    pub(super) fn sooner(self, duration: Duration) -> Self {
        Self(self.0.min(Self::after(duration).0))
    }

    /// Runs one step within the remaining time.
    pub(super) async fn within<T>(
        self,
        phase: Phase,
        to: &str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout_at(self.0, step).await {
            Ok(done) => done,
            Err(_) => Err(Error::Timeout {
                phase,
                to: to.into(),
            }),
        }
    }
}

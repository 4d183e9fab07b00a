//! A receiver of requests: a URL, and whether requests to it succeed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{
    breaker::{Breaker, Turn},
    client::{Client, RequestError},
    failures::Failures,
    question::fresh_id,
    signing::Signing,
};
use crate::{
    config::{Backend, HttpUrl},
    start_error::StartError,
    tokens::random_bytes,
};

/// The pause before the first retry; it doubles with each. 100 ms: long enough for a load balancer
/// to notice a restarting process, and short enough for two retries within the timeout.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// The longest pause between two attempts to deliver events. 30 s: the same as that of the circuit
/// breaker.
const LONGEST: Duration = Duration::from_secs(30);

/// A receiver of requests.
pub(super) struct Receiver {
    client: Client,
    breaker: Mutex<Breaker>,
    timeout: Duration,
    pub(super) failures: Failures,
    /// The URL in logs.
    place: Box<str>,
}

impl Receiver {
    pub(super) fn new(
        url: &HttpUrl,
        settings: &Backend,
        signing: Signing,
    ) -> Result<Self, StartError> {
        Ok(Self {
            client: Client::new(url, settings, signing)?,
            breaker: Mutex::default(),
            timeout: settings.timeout,
            failures: Failures::default(),
            place: url.without_query().into(),
        })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Each change is whole before anything that could panic.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests are paused because earlier ones failed.
    pub(super) fn is_away(&self) -> bool {
        self.breaker().is_open()
    }

    /// Whether a request may be made now.
    pub(super) fn lets_through(&self) -> bool {
        self.breaker().lets_through(Instant::now())
    }

    /// Sends a request and returns the body of the answer, which has to come within this time.
    pub(super) async fn request(
        &self,
        id: &str,
        body: Bytes,
        within: Duration,
    ) -> Result<Bytes, RequestError> {
        let answer = timeout(within, self.client.request(id, body)).await;
        answer.unwrap_or(Err(RequestError::TimedOut))
    }

    pub(super) fn succeeded(&self) {
        if self.breaker().succeeded() == Some(Turn::Closed) {
            tracing::info!(backend = %self.place, "the backend answers again");
        }
    }

    /// Records a request that got no usable answer within this time.
    pub(super) fn failed_within(&self, error: &RequestError, given: Duration) {
        let is_hasty = given < self.timeout / 2;
        if matches!(error, RequestError::TimedOut) && is_hasty {
            // The caller did not wait long enough, which says nothing about the backend. It must
            // not keep others from using it.
            self.breaker().gave_up();
        } else if error.is_answer() {
            self.succeeded();
        } else {
            self.failed(error);
        }
    }

    /// Counts a request without a usable answer, and logs it at a limited rate.
    pub(super) fn note_failure(&self, kind: &'static str, error: &RequestError) {
        self.failures.note(kind, error, &self.place, Instant::now());
    }

    fn failed(&self, error: &RequestError) {
        if self.breaker().failed(Instant::now()) == Some(Turn::Opened) {
            tracing::warn!(
                backend = %self.place, %error,
                "the backend fails repeatedly; no requests are made for a while"
            );
        }
    }

    /// Sends events, and repeats them until they are accepted. Returns `false` if they were refused
    /// instead.
    pub(super) async fn deliver(&self, body: Bytes) -> bool {
        let id = fresh_id();
        let mut pause = AGAIN;
        loop {
            let closed = self.breaker().pause(Instant::now());
            if let Some(closed) = closed {
                sleep(closed).await;
            }
            if self.lets_through() {
                let delivered = self.deliver_once(&id, &body).await;
                if let Err(error) = &delivered {
                    self.note_failure("events", error);
                }
                match delivered {
                    Ok(()) => {
                        self.succeeded();
                        return true;
                    }
                    Err(error)
                        if error.is_temporary() || matches!(error, RequestError::TimedOut) =>
                    {
                        self.failed(&error);
                    }
                    Err(_) => {
                        // It would be refused again, and block all later events forever.
                        self.succeeded();
                        return false;
                    }
                }
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn deliver_once(&self, id: &str, body: &Bytes) -> Result<(), RequestError> {
        match self.request(id, body.clone(), self.timeout).await {
            // The body of the answer is ignored.
            Ok(_) | Err(RequestError::TooLarge(_)) => Ok(()),
            Err(RequestError::Status(status)) if status.is_success() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A random duration between half of `pause` and all of it, so that requests that failed at the
/// same time are not repeated at the same time.
pub(super) fn jittered(pause: Duration) -> Duration {
    let random = random_bytes().map_or(u32::MAX, u32::from_be_bytes);
    pause.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}

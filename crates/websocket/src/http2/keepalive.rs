//! Detecting whether the other end of an HTTP/2 connection is alive.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::{Ping, PingPong};
use offhook_protocol::Keepalive as Times;
use tokio::time::{Instant, Sleep, sleep};

/// Sends pings at intervals; without an answer in time the connection is dead.
pub(crate) struct Keepalive {
    pings: PingPong,
    sleep: Pin<Box<Sleep>>,
    times: Times,
    asked: bool,
}

impl Keepalive {
    /// `None` without an interval: then no pings are sent.
    pub(crate) fn new(pings: Option<PingPong>, times: Times) -> Option<Self> {
        let interval = times.interval?;
        Some(Self {
            pings: pings?,
            sleep: Box::pin(sleep(interval)),
            times,
            asked: false,
        })
    }

    /// Ready when the other end did not answer in time.
    pub(crate) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.asked && self.pings.poll_pong(cx).is_ready() {
                self.asked = false;
                let interval = self.times.interval.unwrap_or_default();
                self.sleep.as_mut().reset(Instant::now() + interval);
            }
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // If the ping cannot be sent, the connection is ending and reports that itself.
            if self.asked || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.asked = true;
            let deadline = Instant::now() + self.times.pong_timeout;
            self.sleep.as_mut().reset(deadline);
        }
    }
}

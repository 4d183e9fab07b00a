//! Futures that are dropped before they complete.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future up to `polls` times, each time it is woken, and drops it when it is woken once
/// more. `Some` if it completed before.
///
/// Waiting for the last wake-up ensures that loops of cancelled calls make progress.
pub(crate) async fn cancelled_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

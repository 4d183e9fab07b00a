//! Futures that are dropped before they are done.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls a future `polls` times, as often as it is woken, and drops it when it is woken once
/// more. `Some` if it was done before.
///
/// That it is woken before it is dropped makes loops of cancelled calls get on.
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

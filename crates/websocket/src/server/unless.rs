//! Waiting for a future unless something else ends the wait. It replaces `tokio::select!`, whose
//! macros take a quarter of the time to build this library.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Awaits `future`, and returns `None` if `end` is ready first. If both are ready, the end counts.
pub(super) async fn unless<F: Future>(
    end: impl Future<Output = ()>,
    future: F,
) -> Option<F::Output> {
    let (mut end, mut future) = (pin!(end), pin!(future));
    poll_fn(|cx| {
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

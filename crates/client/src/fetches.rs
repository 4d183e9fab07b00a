//! Tokens that are fetched while a connection is open.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::{Core, Fetch, SubscriptionKey};
use crate::error::Error;
use crate::shared::Shared;
use crate::token::{Fetching, Tokens};

/// The maximum number of concurrent fetches. 16: after a reconnect, hundreds of subscriptions may
/// need a token, and their source has limits, too.
const MOST: usize = 16;

/// What a token is for: a subscription, or the session.
type Purpose = Option<SubscriptionKey>;

/// The fetches of one connection, which end with it.
#[derive(Default)]
pub(crate) struct Fetches(Vec<(Purpose, Fetching)>);

/// The result of a fetch.
pub(crate) struct Fetched {
    purpose: Purpose,
    token: Result<String, Error>,
}

impl Fetches {
    /// Begins the fetches that the core requests, up to the limit. No user code runs under the
    /// core's lock.
    pub(crate) fn begin(&mut self, shared: &Shared, tokens: &mut Tokens) {
        while self.0.len() < MOST {
            let Some(fetch) = shared.with(Core::poll_fetch) else {
                return;
            };
            match fetch {
                Fetch::Session => self
                    .0
                    .extend(tokens.begin().map(|fetching| (None, fetching))),
                Fetch::Subscription {
                    key,
                    channel,
                    tokens,
                } => self.0.push((Some(key), tokens.begin(&channel))),
            }
        }
    }

    /// Waits for the next result; forever if no fetch is in progress. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Fetched {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fetched> {
        for (n, (purpose, fetching)) in self.0.iter_mut().enumerate() {
            if let Poll::Ready(token) = fetching.as_mut().poll(cx) {
                let purpose = *purpose;
                drop(self.0.swap_remove(n));
                return Poll::Ready(Fetched { purpose, token });
            }
        }
        Poll::Pending
    }
}

impl Fetched {
    pub(crate) fn tell(self, core: &mut Core, now: Instant) {
        match self.purpose {
            None => core.handle_session_token(self.token, now),
            Some(key) => core.handle_subscription_token(key, self.token, now),
        }
    }
}

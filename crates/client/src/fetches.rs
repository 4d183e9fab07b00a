//! Tokens that are fetched while a connection is open.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::{Core, Fetch, SubscriptionKey};
use crate::error::Error;
use crate::shared::Shared;
use crate::token::{Fetching, Tokens};

/// Tokens that are fetched at the same time. 16: after a reconnect, hundreds of subscriptions may need
/// one, and their source has a bound as well.
const MOST: usize = 16;

/// What a token is for: a subscription, or the session.
type Purpose = Option<SubscriptionKey>;

/// The fetches of one connection. They end with it.
#[derive(Default)]
pub(crate) struct Fetches(Vec<(Purpose, Fetching)>);

/// The end of a fetch.
pub(crate) struct Fetched {
    purpose: Purpose,
    token: Result<String, Error>,
}

impl Fetches {
    /// Begins the fetches that the core wants, as far as there is room. No code of the user runs
    /// under the core's lock.
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

    /// The next fetch to end. Waits for ever while there is none. Cancel-safe.
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

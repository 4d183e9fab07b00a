//! Tokens that are fetched while the connection is open: newer tokens for the session, and tokens
//! for subscriptions.

use std::time::{Duration, Instant};

use offhook_dialects::Payload;
use offhook_dialects::native::Request;
use offhook_dialects::native::client::{CommandId, Retry};

use super::connection::SHORTEST_PAUSE;
use super::subscriptions::Subscription;
use super::{Asked, Core, SubscriptionKey, Todo};
use crate::connection_event::ConnectionEvent;
use crate::error::{Error, Refused};
use crate::token::ChannelTokens;

/// A token that the driver has to fetch.
#[derive(Debug)]
pub(crate) enum Fetch {
    /// A newer token for the session.
    Session,
    /// A token for a subscription.
    Subscription {
        key: SubscriptionKey,
        channel: Box<str>,
        tokens: ChannelTokens,
    },
}

/// The tokens of one subscription.
#[derive(Debug)]
pub(super) struct Tokens {
    source: ChannelTokens,
    /// A token that was fetched and is not used yet.
    fetched: Option<String>,
    is_awaited: bool,
}

impl Tokens {
    pub(super) fn new(source: ChannelTokens) -> Self {
        Self {
            source,
            fetched: None,
            is_awaited: false,
        }
    }

    /// Forgets fetches and tokens: a fetch ends with its connection, and a token may expire before
    /// the next connection.
    pub(super) fn connection_lost(&mut self) {
        self.fetched = None;
        self.is_awaited = false;
    }

    pub(super) const fn renews(&self) -> bool {
        self.source.renews
    }
}

impl Core {
    /// Whether [`poll_fetch`](Self::poll_fetch) returns something.
    pub(crate) fn wants_tokens(&self) -> bool {
        !self.fetches.is_empty()
    }

    /// The next token to fetch.
    pub(crate) fn poll_fetch(&mut self) -> Option<Fetch> {
        self.fetches.pop_front()
    }

    /// The server says that the session's token expires soon, or fetching a newer one has failed.
    pub(super) fn fetch_session_token(&mut self) {
        if self.settings.has_token_source && !self.connection.is_refreshing {
            self.connection.is_refreshing = true;
            self.fetches.push_back(Fetch::Session);
        }
    }

    /// The driver has fetched a token for the session, or has failed to.
    pub(crate) fn handle_session_token(&mut self, token: Result<String, Error>, now: Instant) {
        self.now = now;
        match token {
            Ok(token) => {
                self.connection.token = Some(token.into());
                self.todo.push_back(Todo::Refresh);
            }
            Err(cause) => self.refresh_later(cause),
        }
    }

    pub(super) fn ask_to_refresh(&mut self) -> Option<Payload> {
        let token = self.connection.token.as_deref()?.to_owned();
        let id = self.ask(Asked::Refresh);
        Some(super::encode(Request::Refresh { id, token }))
    }

    pub(super) fn refreshed(&mut self, id: CommandId) {
        if self.answered(id, Asked::refresh).is_some() {
            self.connection.is_refreshing = false;
            self.connection.refresh_failures = 0;
        }
    }

    /// The server refused the newer token. The older one stays valid until it expires.
    pub(super) fn refresh_refused(&mut self, refused: Refused) {
        match refused.retry() {
            Retry::Reconnect => self.server_is_leaving(),
            Retry::Later | Retry::Never => self.refresh_later(refused.into()),
        }
    }

    fn refresh_later(&mut self, cause: Error) {
        self.connection.is_refreshing = false;
        self.connection.refresh_failures = self.connection.refresh_failures.saturating_add(1);
        let pause = self.pause_after(self.connection.refresh_failures);
        let pause = pause.max(cause.retry_after().unwrap_or_default());
        self.after(pause, Todo::FetchToken);
        self.tell(ConnectionEvent::TokenFailed { cause, pause });
    }

    /// The request for a subscription with tokens. If no token was fetched, the driver has to fetch
    /// one first.
    pub(super) fn ask_with_token(&mut self, key: SubscriptionKey) -> Option<Payload> {
        let entry = self.subscriptions.get(key)?;
        let channel = entry.target.as_str().into();
        let tokens = entry.tokens.as_mut()?;
        let Some(token) = tokens.fetched.take() else {
            if !std::mem::replace(&mut tokens.is_awaited, true) {
                let tokens = tokens.source.clone();
                self.fetches.push_back(Fetch::Subscription {
                    key,
                    channel,
                    tokens,
                });
            }
            return None;
        };
        let command = entry.request();
        let id = self.ask(Asked::Subscribe(key));
        Some(super::encode(Request::Granted { id, token, command }))
    }

    /// The driver has fetched a token for a subscription, or has failed to.
    pub(crate) fn handle_subscription_token(
        &mut self,
        key: SubscriptionKey,
        token: Result<String, Error>,
        now: Instant,
    ) {
        self.now = now;
        let Some(entry) = self.subscriptions.get(key) else {
            return;
        };
        let Some(tokens) = entry.tokens.as_mut() else {
            return;
        };
        tokens.is_awaited = false;
        match token {
            Ok(token) => {
                tokens.fetched = Some(token);
                self.todo.push_back(Todo::Subscribe(key));
            }
            Err(cause) => {
                entry.refusals = entry.refusals.saturating_add(1);
                let refusals = entry.refusals;
                let pause = self.pause_after(refusals);
                self.after(pause, Todo::Subscribe(key));
                self.tell(ConnectionEvent::TokenFailed { cause, pause });
            }
        }
    }

    /// Whether a subscription that the server ended may continue with a newer token.
    pub(super) fn may_renew(entry: &Subscription, refused: &Refused) -> bool {
        let forbidden = offhook_dialects::native::client::ErrorCode::Forbidden;
        entry.tokens.as_ref().is_some_and(Tokens::renews)
            && refused.code() == Some(forbidden)
            && entry.is_active()
    }

    fn pause_after(&mut self, failures: u32) -> Duration {
        let bound = self.settings.backoff.bound(failures.saturating_sub(1));
        bound.mul_f64(self.random.part()).max(SHORTEST_PAUSE)
    }
}

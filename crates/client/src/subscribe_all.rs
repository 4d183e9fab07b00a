//! Subscribing to several channels with one request.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use offhook_dialects::native::client::{ChannelName, Target};

use crate::client::Handle;
use crate::core;
use crate::error::Error;
use crate::since::Since;
use crate::subscription::{Subscription, wish};
use crate::token::ChannelTokens;

/// Subscribes to several channels when awaited, or when it is [started](Self::start).
#[must_use = "nothing is subscribed to before `.await` or `start`"]
pub struct SubscribeAll {
    handle: Arc<Handle>,
    channels: Vec<String>,
    since: Since,
    presence: bool,
    echo: bool,
    tokens: Option<ChannelTokens>,
}

impl SubscribeAll {
    pub(crate) fn new(handle: Arc<Handle>, channels: Vec<String>) -> Self {
        Self {
            handle,
            channels,
            since: Since::Now,
            presence: false,
            echo: true,
            tokens: None,
        }
    }

    /// Where each starts. Default: at new publications. A channel with a
    /// [stored position](crate::Builder::positions) starts there.
    pub fn since(mut self, since: impl Into<Since>) -> Self {
        self.since = since.into();
        self
    }

    /// Adds presence, as [`Subscribe::presence`](crate::Subscribe::presence).
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Leaves out this client's own publications, as
    /// [`Subscribe::without_echo`](crate::Subscribe::without_echo).
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// A source of subscription tokens, as [`Subscribe::token_from`](crate::Subscribe::token_from).
    /// Each channel is then requested separately, since a token is for one channel.
    pub fn token_from<F, O, E>(mut self, fetch: F) -> Self
    where
        F: Fn(&str) -> O + Send + Sync + 'static,
        O: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.tokens = Some(ChannelTokens::source(fetch));
        self
    }

    /// Subscriptions that begin as soon as there is a connection, in the order of the channels. If the
    /// server refuses one, its first [`next`](Subscription::next) returns the error.
    ///
    /// # Errors
    /// A channel's name is invalid, this client is already subscribed to one of them, or the client was
    /// closed. Then none is subscribed to.
    pub fn start(self) -> Result<Vec<Subscription>, Error> {
        let mut targets = Vec::with_capacity(self.channels.len());
        for channel in &self.channels {
            targets.push(Target::from(ChannelName::new(channel)?));
        }
        let wishes = targets.iter().cloned();
        let wishes = wishes.map(|target| core::Subscribe {
            tokens: self.tokens.clone(),
            ..wish(&self.handle, target, self.since, self.presence, self.echo)
        });
        let wishes = wishes.collect();
        let shared = &self.handle.shared;
        let keys = shared.wish(|core| core.subscribe_all(wishes))?;
        let all = keys.into_iter().zip(targets);
        Ok(all
            .map(|(key, target)| Subscription::new(Arc::clone(&self.handle), key, target))
            .collect())
    }

    async fn subscribe(self) -> Result<Vec<Subscription>, Error> {
        let subscriptions = self.start()?;
        for subscription in &subscriptions {
            subscription.begun().await?;
        }
        Ok(subscriptions)
    }
}

impl IntoFuture for SubscribeAll {
    type Output = Result<Vec<Subscription>, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Subscribes and waits until the server has confirmed all of them; if it refuses one, none is left.
    /// Cancel-safe: dropping it unsubscribes.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.subscribe())
    }
}

impl fmt::Debug for SubscribeAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscribeAll")
            .field("channels", &self.channels)
            .field("since", &self.since)
            .field("presence", &self.presence)
            .field("echo", &self.echo)
            .finish_non_exhaustive()
    }
}

//! Subscribing to a channel or a filter.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_dialects::native::client::{ChannelName, Filter, Position, Refusal, Target};
use tokio::task::coop;

use crate::client::Handle;
use crate::core::{self, SubscriptionKey};
use crate::error::Error;
use crate::event::{Event, Gap};
use crate::since::Since;
use crate::token::ChannelTokens;

/// Subscribes when awaited, or when it is [started](Self::start).
#[must_use = "nothing is subscribed to before `.await` or `start`"]
pub struct Subscribe {
    handle: Arc<Handle>,
    /// The channel or the filter, or why it is none.
    target: Result<Target, Refusal>,
    since: Since,
    presence: bool,
    echo: bool,
    tokens: Option<ChannelTokens>,
}

impl Subscribe {
    pub(crate) fn channel(handle: Arc<Handle>, name: &str) -> Self {
        Self::to(handle, ChannelName::new(name).map(Target::from))
    }

    pub(crate) fn filter(handle: Arc<Handle>, filter: &str) -> Self {
        Self::to(handle, Filter::new(filter).map(Target::from))
    }

    fn to(handle: Arc<Handle>, target: Result<Target, Refusal>) -> Self {
        Self {
            handle,
            target,
            since: Since::Now,
            presence: false,
            echo: true,
            tokens: None,
        }
    }

    /// Where to start: a [`Position`] or a [`Since`]. Default: at new publications.
    pub fn since(mut self, since: impl Into<Since>) -> Self {
        self.since = since.into();
        self
    }

    /// Adds presence: the members ([`Event::Members`]), and changes to them. For channels only.
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Omits this client's own publications: [`Event::Own`] is delivered instead.
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// A subscription token, which permits this one channel.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens = Some(ChannelTokens::fixed(token.into()));
        self
    }

    /// A source of subscription tokens. It is called with the channel for each request, and again
    /// when a token has expired: the subscription then continues where it was. A failure is reported as
    /// [`ConnectionEvent::TokenFailed`](crate::ConnectionEvent::TokenFailed), and the source is called
    /// again later.
    ///
    /// ```
    /// # use offhook_client::{Client, Error};
    /// # async fn fetch_token(channel: String) -> std::io::Result<String> { Ok(channel) }
    /// # async fn example(client: Client) -> Result<(), Error> {
    /// let orders = client.subscribe("private/7").token_from(|channel| fetch_token(channel.to_owned())).await?;
    /// # drop(orders);
    /// # Ok(())
    /// # }
    /// ```
    pub fn token_from<F, O, E>(mut self, fetch: F) -> Self
    where
        F: Fn(&str) -> O + Send + Sync + 'static,
        O: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.tokens = Some(ChannelTokens::source(fetch));
        self
    }

    /// A subscription that begins as soon as there is a connection. If the server refuses it, the
    /// first [`next`](Subscription::next) returns the error.
    ///
    /// # Errors
    /// The channel's name or the filter is invalid, this client is already subscribed to the channel,
    /// or the client was closed.
    pub fn start(self) -> Result<Subscription, Error> {
        let target = self.target?;
        let wish = wish(
            &self.handle,
            target.clone(),
            self.since,
            self.presence,
            self.echo,
        );
        let wish = core::Subscribe {
            tokens: self.tokens,
            ..wish
        };
        let key = self.handle.shared.wish(|core| core.subscribe(wish))?;
        Ok(Subscription::new(self.handle, key, target))
    }

    async fn subscribe(self) -> Result<Subscription, Error> {
        let subscription = self.start()?;
        subscription.begun().await?;
        Ok(subscription)
    }
}

/// A subscription that begins after the stored position, if there is one.
pub(crate) fn wish(
    handle: &Handle,
    target: Target,
    since: Since,
    presence: bool,
    echo: bool,
) -> core::Subscribe {
    let stored = handle.positions.as_ref();
    let stored = stored.and_then(|store| store.load(&stored_as(&target)));
    core::Subscribe {
        since: stored.map_or(since, Since::After),
        target,
        presence,
        echo,
        tokens: None,
    }
}

/// The name of its position in a store. No channel has a `*` in its name.
fn stored_as(target: &Target) -> Box<str> {
    match target {
        Target::Channel(channel) => channel.as_str().into(),
        Target::Filter(filter) => format!("*{}", filter.as_str()).into(),
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscription, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Subscribes and waits until the server has confirmed it. Cancel-safe: dropping it
    /// unsubscribes.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.subscribe())
    }
}

impl fmt::Debug for Subscribe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("target", &self.target)
            .field("since", &self.since)
            .field("presence", &self.presence)
            .field("echo", &self.echo)
            .finish_non_exhaustive()
    }
}

/// A subscription to a channel or a filter: each publication is delivered once and in order, over as many
/// connections as necessary, and every gap is reported.
///
/// Events are queued for [`next`](Self::next) up to [a limit](crate::Builder::inbox). When it is
/// reached, the connection is not read, which creates backpressure on the server. A reader that
/// takes nothing for a second, or for 20 ms while requests are unanswered, is paused: the client's
/// other subscriptions continue, and it gets what it missed from the channel's history once it
/// reads again. Other members see it leave and join in that case.
///
/// Dropping it unsubscribes. It keeps its client open.
pub struct Subscription {
    handle: Arc<Handle>,
    key: SubscriptionKey,
    target: Target,
    stored_as: Box<str>,
    /// The position of the event returned last. It counts as handled when the next one is
    /// requested.
    given: Option<Position>,
}

impl Subscription {
    pub(crate) fn new(handle: Arc<Handle>, key: SubscriptionKey, target: Target) -> Self {
        Self {
            handle,
            key,
            stored_as: stored_as(&target),
            target,
            given: None,
        }
    }

    /// Waits until the server has accepted it.
    pub(crate) async fn begun(&self) -> Result<(), Error> {
        poll_fn(|cx| self.handle.shared.poll_begun(self.key, cx)).await
    }

    /// The name of the channel, or the filter.
    #[must_use]
    pub fn name(&self) -> &str {
        self.target.as_str()
    }

    /// The next event. `None` once the client was closed. Cancel-safe.
    ///
    /// # Errors
    /// Once, if the server refused or ended the subscription, or the client has given up.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Error>> {
        if let (Some(position), Some(store)) = (self.given.take(), &self.handle.positions) {
            store.save(&self.stored_as, position);
        }
        // Yield to other tasks, even if events are always ready.
        let turn = ready!(coop::poll_proceed(cx));
        let event = ready!(self.handle.shared.poll_event(self.key, cx))?;
        turn.made_progress();
        self.given = match &event {
            Some(Event::Publication(publication)) => {
                Some(publication.at.unwrap_or(publication.position))
            }
            // A gap of one channel of a filter, which does not move the place among all of them.
            Some(Event::Gap(Gap {
                channel: Some(_), ..
            })) if matches!(self.target, Target::Filter(_)) => None,
            Some(Event::Gap(gap)) => Some(gap.to),
            Some(Event::Live { position } | Event::Own { position }) => Some(*position),
            // Until the gap that ends the state, there is no position to go on from.
            Some(Event::Value(_)) => None,
            Some(Event::CatchingUp | Event::Members(_) | Event::Joined(_) | Event::Left(_))
            | None => None,
        };
        Poll::Ready(Ok(event))
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx).map(Result::transpose)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.handle.shared.unsubscribe(self.key);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

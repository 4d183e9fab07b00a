//! Subscribing to a channel.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_dialects::native::client::{ChannelName, Position};
use tokio::task::coop;

use crate::client::Handle;
use crate::core::{self, SubscriptionKey};
use crate::error::Error;
use crate::event::Event;
use crate::since::Since;

/// Subscribes when awaited, or when it is [started](Self::start).
#[must_use = "nothing is subscribed to before `.await` or `start`"]
pub struct Subscribe {
    handle: Arc<Handle>,
    channel: String,
    since: Since,
    presence: bool,
    echo: bool,
}

impl Subscribe {
    pub(crate) fn new(handle: Arc<Handle>, channel: String) -> Self {
        Self {
            handle,
            channel,
            since: Since::Now,
            presence: false,
            echo: true,
        }
    }

    /// Where to start: a [`Position`] or a [`Since`]. Default: at new publications.
    pub fn since(mut self, since: impl Into<Since>) -> Self {
        self.since = since.into();
        self
    }

    /// Adds presence: the members ([`Event::Members`]), and changes to them.
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// Omits this client's own publications: [`Event::Own`] is delivered instead.
    pub fn without_echo(mut self) -> Self {
        self.echo = false;
        self
    }

    /// A subscription that begins as soon as there is a connection. If the server refuses it, the
    /// first [`next`](Subscription::next) returns the error.
    ///
    /// # Errors
    /// The channel's name is invalid, this client is already subscribed to it, or the client was
    /// closed.
    pub fn start(self) -> Result<Subscription, Error> {
        let channel = ChannelName::new(&self.channel)?;
        let stored = self.handle.positions.as_ref();
        let stored = stored.and_then(|store| store.load(channel.as_str()));
        let since = stored.map_or(self.since, Since::After);
        let wish = core::Subscribe {
            channel: channel.clone(),
            since,
            presence: self.presence,
            echo: self.echo,
        };
        let key = self.handle.shared.wish(|core| core.subscribe(wish))?;
        Ok(Subscription {
            handle: self.handle,
            key,
            channel,
            given: None,
        })
    }

    async fn subscribe(self) -> Result<Subscription, Error> {
        let subscription = self.start()?;
        let shared = &subscription.handle.shared;
        poll_fn(|cx| shared.poll_begun(subscription.key, cx)).await?;
        Ok(subscription)
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
            .field("channel", &self.channel)
            .field("since", &self.since)
            .field("presence", &self.presence)
            .field("echo", &self.echo)
            .finish_non_exhaustive()
    }
}

/// A subscription to a channel: each publication is delivered once and in order, over as many
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
    channel: ChannelName,
    /// The position of the event returned last. It counts as handled when the next one is
    /// requested.
    given: Option<Position>,
}

impl Subscription {
    /// The channel's name.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.channel.as_str()
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
            store.save(self.channel.as_str(), position);
        }
        // Yield to other tasks, even if events are always ready.
        let turn = ready!(coop::poll_proceed(cx));
        let event = ready!(self.handle.shared.poll_event(self.key, cx))?;
        turn.made_progress();
        self.given = match &event {
            Some(Event::Publication(publication)) => Some(publication.position),
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
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

//! The client's handle.

use std::fmt;
use std::sync::Arc;

use offhook::Open;
use offhook_dialects::native::client::{ChannelName, Command, Key, Position};
use serde_json::value::RawValue;

use crate::answer::{Answer, Receipts};
use crate::builder::Builder;
use crate::call::Call;
use crate::connection_event::ConnectionEvents;
use crate::data::Data;
use crate::error::Error;
use crate::event::Members;
use crate::history::{Asking, ReadHistory};
use crate::made::MadeByServer;
use crate::positions::PositionStore;
use crate::publish::Publish;
use crate::shared::Shared;
use crate::state::ReadState;
use crate::subscribe_all::SubscribeAll;
use crate::subscription::Subscribe;

#[doc = include_str!("client.md")]
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Shared by all clones of a [`Client`] and its subscriptions. The client is closed when it is dropped.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) positions: Option<Box<dyn PositionStore>>,
    /// The longest message that the server accepts, in bytes.
    pub(crate) longest_message: usize,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.wish(|core| core.end(&Error::Closed));
    }
}

impl Client {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle: Arc::new(handle),
        }
    }

    /// Connects to a server without authentication: `Client::to(url).connect()`.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::to(url).connect().await
    }

    /// A client of the server at this `ws://` or `wss://` URL.
    pub fn to(url: impl AsRef<str>) -> Builder {
        Builder::to(url.as_ref())
    }

    /// A client over connections from another source: an [`offhook::Connect`], or a function that opens one
    /// for each attempt.
    pub fn over(open: impl Open + Send + 'static) -> Builder {
        Builder::over(open)
    }

    /// Subscribes to a channel: `client.subscribe("room").await?`.
    pub fn subscribe(&self, channel: impl AsRef<str>) -> Subscribe {
        Subscribe::channel(Arc::clone(&self.handle), channel.as_ref())
    }

    /// Subscribes to all channels that match a filter, also to those that begin later:
    /// `client.subscribe_filter("sensors/+").await?`. `+` stands for one part between slashes, `#` at
    /// the end for all further parts. [`Publication::channel`](crate::Publication::channel) says where
    /// a publication was made.
    pub fn subscribe_filter(&self, filter: impl AsRef<str>) -> Subscribe {
        Subscribe::filter(Arc::clone(&self.handle), filter.as_ref())
    }

    /// Subscribes to each of several channels with one request:
    /// `client.subscribe_all(["news", "sport"]).await?` returns a subscription for each.
    pub fn subscribe_all<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> SubscribeAll {
        let channels = channels.into_iter().map(Into::into).collect();
        SubscribeAll::new(Arc::clone(&self.handle), channels)
    }

    /// Publishes to a channel: `client.publish("room", "hello").await?`.
    pub fn publish(&self, channel: impl Into<String>, data: impl Into<Data>) -> Publish {
        Publish::new(Arc::clone(&self.handle), channel.into(), data.into())
    }

    /// Reads a channel's history: `client.history("room").await?` returns the newest hundred.
    pub fn history(&self, channel: impl Into<String>) -> ReadHistory {
        ReadHistory::new(Arc::clone(&self.handle), channel.into())
    }

    /// Reads a channel's state: `client.state("prices").await?` returns the newest publication of each
    /// value of the tag `key`.
    pub fn state(&self, channel: impl Into<String>) -> ReadState {
        ReadState::new(Arc::clone(&self.handle), channel.into())
    }

    /// Calls the server's backend: `client.call("orders.cancel", json!({"order": 7})).await?`.
    pub fn call(&self, method: impl Into<String>, data: impl Into<Data>) -> Call {
        Call::new(Arc::clone(&self.handle), method.into(), data.into())
    }

    /// Replaces what other members see of this client's session, in all channels: any JSON value of at
    /// most 256 bytes. It holds as long as the session, and for its later channels.
    /// Cancel-safe; waits for a connection if there is none.
    ///
    /// # Errors
    /// If the server refuses, the data is bytes and not JSON, or the client has ended.
    pub async fn update_info(&self, info: impl Into<Data>) -> Result<(), Error> {
        let info: Data = info.into();
        // Bytes have no place in it.
        info.json::<&RawValue>()?;
        let info = info.into_bytes();
        let Answer::InfoUpdated = self.ask(Command::UpdateInfo { info }).await? else {
            return Err(Answer::to_something_else());
        };
        Ok(())
    }

    /// The members of a channel. Waits for a connection if there is none. Cancel-safe.
    ///
    /// # Errors
    /// If the server refuses, or the client has ended.
    pub async fn presence(&self, channel: impl AsRef<str>) -> Result<Members, Error> {
        let channel = ChannelName::new(channel.as_ref())?;
        let Answer::Members(members) = self.ask(Command::Presence { channel }).await? else {
            return Err(Answer::to_something_else());
        };
        Ok(members)
    }

    /// Stores on the server, as durably as a publication, that a consumer has processed everything
    /// up to this position. A program that stores nothing itself continues from where it
    /// [`acked`](Self::acked). Returns the stored position, which never goes back. Cancel-safe;
    /// waits for a connection if there is none.
    ///
    /// # Errors
    /// If the server refuses, or the client has ended.
    pub async fn ack(
        &self,
        channel: impl AsRef<str>,
        consumer: impl AsRef<str>,
        position: Position,
    ) -> Result<Option<Position>, Error> {
        self.cursor(channel.as_ref(), consumer.as_ref(), Some(position))
            .await
    }

    /// The stored position of a consumer; `None` if it never [acknowledged](Self::ack) anything.
    /// Cancel-safe; waits for a connection if there is none.
    ///
    /// # Errors
    /// If the server refuses, or the client has ended.
    pub async fn acked(
        &self,
        channel: impl AsRef<str>,
        consumer: impl AsRef<str>,
    ) -> Result<Option<Position>, Error> {
        self.cursor(channel.as_ref(), consumer.as_ref(), None).await
    }

    async fn cursor(
        &self,
        channel: &str,
        consumer: &str,
        position: Option<Position>,
    ) -> Result<Option<Position>, Error> {
        let command = Command::Ack {
            channel: ChannelName::new(channel)?,
            consumer: Key::new(consumer)?,
            position,
        };
        let Answer::Acked(position) = self.ask(command).await? else {
            return Err(Answer::to_something_else());
        };
        Ok(position)
    }

    /// How many subscribers have received a publication. The server knows it from WebSocket pongs, and
    /// the request may make it send pings: ask again a moment later.
    /// Cancel-safe; waits for a connection if there is none.
    ///
    /// # Errors
    /// If the server refuses, or the client has ended.
    pub async fn receipts(
        &self,
        channel: impl AsRef<str>,
        position: Position,
    ) -> Result<Receipts, Error> {
        let channel = ChannelName::new(channel.as_ref())?;
        let command = Command::Receipts { channel, position };
        let Answer::Receipts(receipts) = self.ask(command).await? else {
            return Err(Answer::to_something_else());
        };
        Ok(receipts)
    }

    async fn ask(&self, command: Command) -> Result<Answer, Error> {
        Asking::begin(&self.handle, command)?.answer().await
    }

    /// Events of the connection, from now on.
    #[must_use]
    pub fn events(&self) -> ConnectionEvents {
        self.handle.shared.events()
    }

    /// Subscriptions that the server's backend makes for this client's session, from now on.
    #[must_use]
    pub fn made_by_server(&self) -> MadeByServer {
        MadeByServer::new(Arc::clone(&self.handle))
    }

    /// The number of publications that were not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.handle.shared.with(|core| core.unanswered())
    }

    /// The number of publications that were received again and dropped. Zero, unless the server is
    /// at fault.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.handle.shared.with(|core| core.repeats())
    }

    /// Waits until the server has answered every publication. Cancel-safe.
    ///
    /// # Errors
    /// If the client was closed or has given up.
    pub async fn flush(&self) -> Result<(), Error> {
        self.handle.shared.flushed().await
    }

    /// Closes the client for all its clones, and waits until the connection is closed.
    ///
    /// Unanswered publications fail with [`Error::Closed`]; [`flush`](Self::flush) first to wait for
    /// them. Subscriptions end. Dropping the last clone and subscription does the same without
    /// waiting.
    pub async fn close(&self) {
        let shared = &self.handle.shared;
        shared.wish(|core| core.end(&Error::Closed));
        shared.done().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.handle.shared).finish()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

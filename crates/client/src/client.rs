//! The client, as its user holds it.

use std::fmt;
use std::sync::Arc;

use offhook::Open;
use offhook_dialects::native::client::{ChannelName, Command, Key, Position};

use crate::answer::{Answer, Receipts};
use crate::builder::Builder;
use crate::connection_event::ConnectionEvents;
use crate::data::Data;
use crate::error::Error;
use crate::event::Members;
use crate::history::{Asking, ReadHistory};
use crate::positions::PositionStore;
use crate::publish::Publish;
use crate::shared::Shared;
use crate::subscription::Subscribe;

#[doc = include_str!("client.md")]
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What keeps a client open: all [`Client`]s and subscriptions share one.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) positions: Option<Box<dyn PositionStore>>,
    /// Bytes of a message that the server takes.
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

    /// Connects to a server, as a stranger: `Client::to(url).connect()`.
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, Error> {
        Self::to(url).connect().await
    }

    /// A client of the server at this `ws://` or `wss://` URL.
    pub fn to(url: impl AsRef<str>) -> Builder {
        Builder::to(url.as_ref())
    }

    /// A client over connections of one's own: an [`offhook::Connect`], or a function that opens one
    /// for each attempt.
    pub fn over(open: impl Open + Send + 'static) -> Builder {
        Builder::over(open)
    }

    /// Follows a channel: `client.subscribe("room").await?`.
    pub fn subscribe(&self, channel: impl Into<String>) -> Subscribe {
        Subscribe::new(Arc::clone(&self.handle), channel.into())
    }

    /// Publishes to a channel: `client.publish("room", "hello").await?`.
    pub fn publish(&self, channel: impl Into<String>, data: impl Into<Data>) -> Publish {
        Publish::new(Arc::clone(&self.handle), channel.into(), data.into())
    }

    /// Reads what a channel keeps: `client.history("room").await?` brings the newest hundred.
    pub fn history(&self, channel: impl Into<String>) -> ReadHistory {
        ReadHistory::new(Arc::clone(&self.handle), channel.into())
    }

    /// Asks who is in a channel. Waits for a connection if there is none. Cancel-safe.
    ///
    /// # Errors
    /// The server refuses; or there will be no connection any more.
    pub async fn presence(&self, channel: impl AsRef<str>) -> Result<Members, Error> {
        let channel = ChannelName::new(channel.as_ref())?;
        let Answer::Members(members) = self.ask(Command::Presence { channel }).await? else {
            return Err(Answer::to_something_else());
        };
        Ok(members)
    }

    /// Makes the server remember, as durably as a publication, that this consumer has done
    /// everything up to there; a program that keeps nothing itself goes on where it
    /// [`acked`](Self::acked). Gives how far the consumer has come: never back. Cancel-safe; waits
    /// for a connection if there is none.
    ///
    /// # Errors
    /// The server refuses; or there will be no connection any more.
    pub async fn ack(
        &self,
        channel: impl AsRef<str>,
        consumer: impl AsRef<str>,
        position: Position,
    ) -> Result<Option<Position>, Error> {
        self.cursor(channel.as_ref(), consumer.as_ref(), Some(position))
            .await
    }

    /// How far a consumer has come; `None` if it never [acknowledged](Self::ack) anything.
    /// Cancel-safe; waits for a connection if there is none.
    ///
    /// # Errors
    /// The server refuses; or there will be no connection any more.
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

    /// Who has received a publication. The server knows it from the pongs of its clients, which
    /// the question itself may set off: ask again a moment later, as long as it matters.
    /// Cancel-safe; waits for a connection if there is none.
    ///
    /// # Errors
    /// The server refuses; or there will be no connection any more.
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

    /// What happens to the connection, from now on.
    #[must_use]
    pub fn events(&self) -> ConnectionEvents {
        self.handle.shared.events()
    }

    /// How many publications the server has not answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.handle.shared.with(|core| core.unanswered())
    }

    /// How many publications came twice and were dropped. Servers keep this at zero; it is here
    /// to be able to say so.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.handle.shared.with(|core| core.repeats())
    }

    /// Waits until the server has answered every publication. Cancel-safe.
    ///
    /// # Errors
    /// The client was closed, or has given up.
    pub async fn flush(&self) -> Result<(), Error> {
        self.handle.shared.flushed().await
    }

    /// Closes the client, for all who share it, and waits until the connection is closed.
    ///
    /// Publications without an answer end with [`Error::Closed`]: [`flush`](Self::flush) first to
    /// be certain of them. Subscriptions end. Dropping the last client and subscription does the
    /// same without waiting.
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

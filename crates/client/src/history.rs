//! Reading a channel's history.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use offhook_dialects::native::client::{self as wire, ChannelName, Command};

use crate::answer::{Answer, History};
use crate::client::Handle;
use crate::core::Ticket;
use crate::error::Error;
use crate::shared::Awaited;
use crate::since::Since;

/// The default limit. 100: a few screens.
const LIMIT: u32 = 100;

/// Reads a history when awaited.
#[must_use = "nothing is sent before `.await`"]
pub struct ReadHistory {
    handle: Arc<Handle>,
    channel: String,
    since: Option<Since>,
    limit: u32,
}

impl ReadHistory {
    pub(crate) fn new(handle: Arc<Handle>, channel: String) -> Self {
        Self {
            handle,
            channel,
            since: None,
            limit: LIMIT,
        }
    }

    /// Where to start. By default the newest publications are read.
    pub fn since(mut self, since: impl Into<Since>) -> Self {
        self.since = Some(since.into());
        self
    }

    /// How many to read at most. Default 100. The server may return fewer.
    pub fn limit(mut self, most: u32) -> Self {
        self.limit = most;
        self
    }

    async fn read(self) -> Result<History, Error> {
        let since = self.since.unwrap_or(Since::Last(self.limit));
        let command = Command::History {
            channel: ChannelName::new(&self.channel)?,
            since: wire::Since::from(since),
            limit: self.limit,
        };
        let asking = Asking::begin(&self.handle, command)?;
        let Answer::History(history) = asking.answer().await? else {
            return Err(Answer::to_something_else());
        };
        Ok(history)
    }
}

impl IntoFuture for ReadHistory {
    type Output = Result<History, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the request and waits for the answer, over as many connections as necessary.
    /// Cancel-safe.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}

impl fmt::Debug for ReadHistory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHistory")
            .field("channel", &self.channel)
            .field("since", &self.since)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A request in flight. Dropping it stops it from being sent again.
pub(crate) struct Asking {
    handle: Arc<Handle>,
    ticket: Ticket,
    awaited: Awaited,
}

impl Asking {
    pub(crate) fn begin(handle: &Arc<Handle>, command: Command) -> Result<Self, Error> {
        let (ticket, awaited) = handle.shared.question(command)?;
        let handle = Arc::clone(handle);
        Ok(Self {
            handle,
            ticket,
            awaited,
        })
    }

    pub(crate) async fn answer(mut self) -> Result<Answer, Error> {
        (&mut self.awaited).await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.handle.shared.forget(self.ticket);
    }
}

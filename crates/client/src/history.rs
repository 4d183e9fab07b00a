//! Reading a channel's history.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use offhook_dialects::native::client::{self as wire, ChannelName, Command, Position};

use crate::answer::{Answer, History};
use crate::client::Handle;
use crate::core::{Repeat, Ticket};
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
    before: Option<Position>,
    limit: u32,
}

impl ReadHistory {
    pub(crate) fn new(handle: Arc<Handle>, channel: String) -> Self {
        Self {
            handle,
            channel,
            since: None,
            before: None,
            limit: LIMIT,
        }
    }

    /// Where to start. By default the newest publications are read.
    pub fn since(mut self, since: impl Into<Since>) -> Self {
        self.since = Some(since.into());
        self
    }

    /// Reads backward: the newest publications before this position, oldest first. `since` is ignored
    /// then. [`History::more`] says whether there are older ones.
    pub fn before(mut self, position: Position) -> Self {
        self.before = Some(position);
        self
    }

    /// How many to read at most. Default 100. The server may return fewer.
    pub fn limit(mut self, most: u32) -> Self {
        self.limit = most;
        self
    }

    async fn read(self) -> Result<History, Error> {
        let channel = ChannelName::new(&self.channel)?;
        let limit = self.limit;
        let command = match self.before {
            Some(before) => Command::HistoryBefore {
                channel,
                before,
                limit,
            },
            None => Command::History {
                channel,
                since: wire::Since::from(self.since.unwrap_or(Since::Last(limit))),
                limit,
            },
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
            .field("before", &self.before)
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
        Self::asked(handle, handle.shared.question(command, Repeat::Yes)?)
    }

    /// A request that is sent once: it is unknown whether a lost one was carried out.
    pub(crate) fn once(handle: &Arc<Handle>, command: Command) -> Result<Self, Error> {
        Self::asked(handle, handle.shared.question(command, Repeat::No)?)
    }

    fn asked(handle: &Arc<Handle>, asked: (Ticket, Awaited)) -> Result<Self, Error> {
        let (ticket, awaited) = asked;
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

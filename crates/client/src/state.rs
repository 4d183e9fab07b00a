//! Reading a channel's state.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;

use offhook_dialects::native::client::{ChannelName, Command, Position};

use crate::answer::{Answer, State};
use crate::client::Handle;
use crate::error::Error;
use crate::history::Asking;

/// The default limit. 100: as for histories.
const LIMIT: u32 = 100;

/// Reads a channel's state when awaited.
#[must_use = "nothing is asked before `.await`"]
pub struct ReadState {
    handle: Arc<Handle>,
    channel: String,
    after: Option<Position>,
    limit: u32,
}

impl ReadState {
    pub(crate) fn new(handle: Arc<Handle>, channel: String) -> Self {
        Self {
            handle,
            channel,
            after: None,
            limit: LIMIT,
        }
    }

    /// Only values that were published after this position: to read on after a page.
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }

    /// How many values to read at most. Default 100. The server may return fewer.
    pub fn limit(mut self, most: u32) -> Self {
        self.limit = most;
        self
    }

    async fn read(self) -> Result<State, Error> {
        let command = Command::State {
            channel: ChannelName::new(&self.channel)?,
            after: self.after,
            limit: self.limit,
        };
        let asking = Asking::begin(&self.handle, command)?;
        let Answer::State(state) = asking.answer().await? else {
            return Err(Answer::to_something_else());
        };
        Ok(state)
    }
}

impl IntoFuture for ReadState {
    type Output = Result<State, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Sends the request and waits for the answer, over as many connections as it takes. Cancel-safe.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}

impl fmt::Debug for ReadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadState")
            .field("channel", &self.channel)
            .field("after", &self.after)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

//! Calling the server's backend.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use offhook_dialects::native::client::{Command, Key};

use crate::answer::Answer;
use crate::client::Handle;
use crate::data::Data;
use crate::error::Error;
use crate::history::Asking;

/// Calls the server's backend when awaited.
#[must_use = "nothing is called before `.await`"]
pub struct Call {
    handle: Arc<Handle>,
    method: String,
    data: Data,
    within: Option<Duration>,
    key: Option<String>,
}

impl Call {
    pub(crate) fn new(handle: Arc<Handle>, method: String, data: Data) -> Self {
        Self {
            handle,
            method,
            data,
            within: None,
            key: None,
        }
    }

    /// Lets the server ask the backend again when it does not answer: the backend may get the call
    /// more than once, and tells a repetition by the key. Without a key it gets the call at most once.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long the backend has for its answer. The server's own limit holds too: 30 s unless
    /// configured otherwise.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    async fn call(self) -> Result<Data, Error> {
        let command = Command::Call {
            method: self.method.into(),
            format: self.data.format(),
            data: self.data.into_bytes(),
            within: self.within,
            key: self.key.as_deref().map(Key::new).transpose()?,
        };
        let asking = Asking::once(&self.handle, command)?;
        let Answer::Called(data) = asking.answer().await? else {
            return Err(Answer::to_something_else());
        };
        Ok(data)
    }
}

impl IntoFuture for Call {
    type Output = Result<Data, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Calls and waits for the answer. The call is sent once, as soon as there is a connection. If
    /// the connection is lost before the answer, it fails with [`Error::Unanswered`], and it is
    /// unknown whether it was carried out. Dropping it discards the answer.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.call())
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

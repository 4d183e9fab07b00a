//! Publishing.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use offhook_dialects::native::client::{ChannelName, Command, ErrorCode, Key, Refusal, Tags};

use crate::answer::{Answer, Published};
use crate::client::Handle;
use crate::core::Outgoing;
use crate::data::Data;
use crate::error::Error;
use crate::random;
use crate::shared::Awaited;

/// Bytes counted for each queued publication in addition to its data.
const OVERHEAD: usize = 256;
/// The longest type, id, channel and key, with the JSON around them.
const ENVELOPE: usize = 2_200;

/// Publishes when awaited, or when it is [queued](Self::queue).
#[must_use = "nothing is published before `.await` or `queue`"]
pub struct Publish {
    handle: Arc<Handle>,
    channel: String,
    data: Data,
    key: Option<String>,
    tags: Vec<(String, String)>,
    ordered: bool,
}

impl Publish {
    pub(crate) fn new(handle: Arc<Handle>, channel: String, data: Data) -> Self {
        Self {
            handle,
            channel,
            data,
            key: None,
            tags: Vec::new(),
            ordered: true,
        }
    }

    /// The idempotency key: publishing again with the same key in the same channel, even from
    /// another run of the program, is the same publication. Default: a random key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a tag: a name and a value.
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((name.into(), value.into()));
        self
    }

    /// Allows it to overtake others and to be overtaken, so that many can be in flight. Otherwise a
    /// publication is sent after the previous one in its channel was answered.
    pub fn unordered(mut self) -> Self {
        self.ordered = false;
        self
    }

    /// Queues it now. Await the result for the answer, or drop it: it is published either way.
    ///
    /// # Errors
    /// [`Error::Full`] if the queue is full, perhaps because there is no connection; another error
    /// if the publication is invalid, or the client was closed.
    pub fn queue(self) -> Result<Publishing, Error> {
        let handle = Arc::clone(&self.handle);
        let mut outgoing = Some(self.outgoing()?);
        let awaited = handle.shared.publish(&mut outgoing)?.ok_or(Error::Full)?;
        Ok(Publishing { awaited })
    }

    async fn publish(self) -> Result<Published, Error> {
        let handle = Arc::clone(&self.handle);
        let outgoing = self.outgoing()?;
        let awaited = handle.shared.publish_in_turn(outgoing).await?;
        Publishing { awaited }.await
    }

    /// The server would close the connection because of a message that is too long, and the next
    /// connection too.
    fn fits(&self, len: usize) -> Result<(), Error> {
        let tags = self.tags.iter();
        let tags: usize = tags.map(|(name, value)| name.len() + value.len()).sum();
        // In base64 three bytes become four; in JSON a byte of a tag may become six.
        let data = if self.data.is_json() {
            len
        } else {
            len.div_ceil(3) * 4
        };
        let message = data + 6 * tags + ENVELOPE;
        let most = self.handle.longest_message;
        if message <= most {
            return Ok(());
        }
        let detail = format!("{len} bytes of data make a message of more than {most} bytes");
        Err(Refusal::new(ErrorCode::TooLarge, detail).into())
    }

    fn outgoing(self) -> Result<Outgoing, Error> {
        let len = self.data.as_bytes().len();
        let channel = ChannelName::new(&self.channel)?;
        let tags = self.tags.iter().map(|(name, value)| (&**name, &**value));
        let format = self.data.format();
        self.fits(len)?;
        let command = Command::Publish {
            channel: channel.clone(),
            format,
            tags: Tags::new(tags)?,
            key: Some(Key::new(&self.key.unwrap_or_else(random::key))?),
            data: self.data.into_bytes(),
        };
        Ok(Outgoing {
            channel,
            command,
            weight: len + OVERHEAD,
            ordered: self.ordered,
        })
    }
}

impl IntoFuture for Publish {
    type Output = Result<Published, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    /// Publishes and waits for the answer, over as many connections as necessary. Waits first while
    /// the queue is full.
    ///
    /// Cancel-safe: dropped before it is queued, it is not published; dropped later, it is
    /// published. Publishing again with the same key publishes once in either case.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.publish())
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("channel", &self.channel)
            .field("data", &self.data)
            .field("key", &self.key)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}

/// A publication that is queued or in flight. Await it for the server's answer. Dropping it does not
/// cancel the publication.
#[derive(Debug)]
pub struct Publishing {
    awaited: Awaited,
}

impl Future for Publishing {
    type Output = Result<Published, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.awaited).poll(cx));
        let Answer::Published(published) = answer.unwrap_or(Err(Error::Closed))? else {
            return Poll::Ready(Err(Answer::to_something_else()));
        };
        Poll::Ready(Ok(published))
    }
}

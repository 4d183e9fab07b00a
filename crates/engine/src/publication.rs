//! One message in a channel, before and after the broker gave it its position.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    error::{ErrorCode, Refusal},
    position::Position,
    session::SessionId,
};

/// The longest idempotency key in bytes: a UUID, a hash or a name with a counter fit easily.
pub const MAX_KEY: usize = 128;
/// How many tags one publication may carry: they are for routing and filtering, not for content.
pub const MAX_TAGS: usize = 16;
/// The longest name or value of a tag in bytes.
pub const MAX_TAG_TEXT: usize = 256;
/// The tag whose value [`SlowPolicy::LatestByKey`](crate::SlowPolicy) compares. It can't be the
/// idempotency [`Key`]: two publications never share that one.
pub const CONFLATION_TAG: &str = "key";

/// The publisher's idempotency key: the same key from the same user in the same channel is one
/// publication. 1 to [`MAX_KEY`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// [`ErrorCode::BadKey`] for an empty or a too long one.
    pub fn new(key: &str) -> Result<Self, Refusal> {
        if key.is_empty() || key.len() > MAX_KEY {
            let len = key.len();
            let detail = format!("a key has {len} bytes, 1 to {MAX_KEY} go");
            return Err(Refusal::new(ErrorCode::BadKey, detail));
        }
        Ok(Self(key.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Short names and values beside a publication's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<[(Box<str>, Box<str>)]>);

impl Tags {
    /// Checks and takes tags; of a name given twice the first counts.
    ///
    /// # Errors
    /// [`ErrorCode::BadTags`] when there are more than [`MAX_TAGS`] or one is too long.
    pub fn new<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Refusal> {
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in tags {
            if kept.len() == MAX_TAGS {
                let detail = format!("more than {MAX_TAGS} tags");
                return Err(Refusal::new(ErrorCode::BadTags, detail));
            }
            if name.is_empty() || name.len() > MAX_TAG_TEXT || value.len() > MAX_TAG_TEXT {
                let detail = format!("a tag's name or value has more than {MAX_TAG_TEXT} bytes");
                return Err(Refusal::new(ErrorCode::BadTags, detail));
            }
            kept.push((name.into(), value.into()));
        }
        Ok(Self(kept.into()))
    }

    /// The value of a tag.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    /// All of them, in the publisher's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn bytes(&self) -> usize {
        self.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }
}

/// What the data is, so that every dialect can carry every publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON value, checked by who decoded it.
    #[default]
    Json,
    /// UTF-8 text, checked by who decoded it.
    Text,
    /// Any bytes.
    Binary,
}

/// Who published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The session it came from.
    pub session: SessionId,
    /// The user's name; empty for who gave none.
    pub user: Arc<str>,
}

/// A publication on its way to the broker, which will give it its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Where it goes.
    pub channel: ChannelName,
    /// What it says.
    pub data: Bytes,
    /// What `data` is.
    pub format: Format,
    /// Names and values beside it.
    pub tags: Tags,
    /// Who publishes; none when the server itself does.
    pub publisher: Option<Publisher>,
    /// The idempotency key, if the publisher wants to be able to try again.
    pub key: Option<Key>,
    /// Wall-clock milliseconds since 1970 when the server took it.
    pub time_ms: u64,
}

impl Draft {
    /// The publication at its place.
    #[must_use]
    pub fn at(self, place: Place) -> Publication {
        let Self {
            channel,
            data,
            format,
            tags,
            publisher,
            key,
            time_ms,
        } = self;
        let Place {
            position,
            previous,
            sequence,
        } = place;
        Publication {
            channel,
            position,
            previous,
            sequence,
            data,
            format,
            tags,
            publisher,
            key,
            time_ms,
        }
    }

    /// The key of the channel's state that this sets or removes, if it has one.
    #[must_use]
    pub fn state_key(&self) -> Option<&str> {
        self.tags.get(CONFLATION_TAG)
    }

    /// Whether this removes its key from the channel's state.
    #[must_use]
    pub fn removes_state(&self) -> bool {
        let null = self.format == Format::Json && self.data.trim_ascii() == b"null";
        self.data.is_empty() || null
    }

    /// What its [`Publication::weight`] will be.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.data.len() + self.tags.bytes() + OVERHEAD
    }

    /// What its key is scoped to: the user, or, without a user name, the session, which outlives
    /// its connections. So nobody can occupy another's keys. No user has the name of a session's
    /// scope, since that begins with a NUL.
    #[must_use]
    pub fn key_scope(&self) -> Cow<'_, str> {
        match &self.publisher {
            None => Cow::Borrowed(""),
            Some(by) if by.user.is_empty() => Cow::Owned(format!("\0{}", by.session)),
            Some(by) => Cow::Borrowed(&by.user),
        }
    }
}

/// Where the broker put a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the channel's stream.
    pub position: Position,
    /// The place of the publication before it in the channel.
    pub previous: Position,
    /// Its place among all publications of the broker.
    pub sequence: u64,
}

impl Place {
    /// The place after `previous` in the same epoch.
    #[must_use]
    pub fn after(previous: Position, sequence: u64) -> Self {
        let position = Position {
            epoch: previous.epoch,
            offset: previous.offset + 1,
        };
        Self {
            position,
            previous,
            sequence,
        }
    }
}

/// One message in a channel. Shared by reference count on its whole way through the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where it was published.
    pub channel: ChannelName,
    /// Its place in the channel's stream.
    pub position: Position,
    /// The position of the publication before it: whoever has that one misses nothing between.
    pub previous: Position,
    /// Rises over all channels of the broker, and so orders publications of different channels.
    pub sequence: u64,
    /// What it says.
    pub data: Bytes,
    /// What `data` is.
    pub format: Format,
    /// Names and values beside it.
    pub tags: Tags,
    /// Who published; none when the server itself did.
    pub publisher: Option<Publisher>,
    /// The idempotency key it was published with.
    pub key: Option<Key>,
    /// Wall-clock milliseconds since 1970 when the server took it.
    pub time_ms: u64,
}

/// What a publication weighs beside its data and tags, in memory and roughly on the wire.
const OVERHEAD: usize = 128;

impl Publication {
    /// Whether `previous` is what a reader expects who knows only `position`: the same epoch, one
    /// offset less.
    #[must_use]
    pub fn follows_in_epoch(&self) -> bool {
        self.previous.epoch == self.position.epoch
            && self.previous.offset.checked_add(1) == Some(self.position.offset)
    }

    /// About how many bytes it takes, in memory and in an outbox: the unit of every byte limit.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.data.len() + self.tags.bytes() + OVERHEAD
    }
}

//! Publications: messages in a channel, before and after the broker assigned a position.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use crate::{
    channel_name::ChannelName,
    error::{ErrorCode, Refusal},
    position::Position,
    session::SessionId,
};

/// The maximum length of an idempotency key in bytes: enough for a UUID, a hash or a name with a
/// counter.
pub const MAX_KEY: usize = 128;
/// The maximum number of tags of one publication: they are for routing and filtering, not for
/// content.
pub const MAX_TAGS: usize = 16;
/// The maximum length of a tag's name or value in bytes.
pub const MAX_TAG_TEXT: usize = 256;
/// The tag whose value [`SlowPolicy::LatestByKey`](crate::SlowPolicy) compares. It cannot be the
/// idempotency [`Key`], which two publications never share.
pub const CONFLATION_TAG: &str = "key";

/// A publisher's idempotency key: the same key from the same user in the same channel is one
/// publication. 1 to [`MAX_KEY`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// Validates a key.
    ///
    /// # Errors
    /// [`ErrorCode::BadKey`] if it is empty or too long.
    pub fn new(key: &str) -> Result<Self, Refusal> {
        if key.is_empty() || key.len() > MAX_KEY {
            let len = key.len();
            let detail = format!("a key has {len} bytes; 1 to {MAX_KEY} are allowed");
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

/// Short names and values that accompany a publication's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Box<[(Box<str>, Box<str>)]>);

impl Tags {
    /// Validates tags. If a name is given twice, the first counts.
    ///
    /// # Errors
    /// [`ErrorCode::BadTags`] if there are more than [`MAX_TAGS`] or one is too long.
    pub fn new<'a>(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Refusal> {
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in tags {
            if kept.len() == MAX_TAGS {
                let detail = format!("more than {MAX_TAGS} tags");
                return Err(Refusal::new(ErrorCode::BadTags, detail));
            }
            if name.is_empty() {
                return Err(Refusal::new(ErrorCode::BadTags, "a tag's name is empty"));
            }
            if name.len() > MAX_TAG_TEXT || value.len() > MAX_TAG_TEXT {
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

    /// All tags, in the publisher's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether there are no tags.
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

/// The format of the data, so that every dialect can carry every publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON value, validated by the decoder.
    #[default]
    Json,
    /// UTF-8 text, validated by the decoder.
    Text,
    /// Any bytes.
    Binary,
}

/// The publisher of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The publishing session.
    pub session: SessionId,
    /// The user's name; empty if it has none.
    pub user: Arc<str>,
}

/// A publication on its way to the broker, which assigns its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The channel.
    pub channel: ChannelName,
    /// The data.
    pub data: Bytes,
    /// The format of `data`.
    pub format: Format,
    /// Names and values published with it.
    pub tags: Tags,
    /// The publisher; none for the server itself.
    pub publisher: Option<Publisher>,
    /// The idempotency key, if the publisher wants to be able to retry.
    pub key: Option<Key>,
    /// The time at which the server accepted it, in wall-clock milliseconds since 1970.
    pub time_ms: u64,
}

impl Draft {
    /// The publication with its position.
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

    /// Its future [`Publication::weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        self.data.len() + self.tags.bytes() + OVERHEAD
    }

    /// The scope of its key: the user or, without a user name, the session, which outlives its
    /// connections. Other users can therefore not use up a user's keys. No user name equals a
    /// session's scope, since that starts with a NUL.
    #[must_use]
    pub fn key_scope(&self) -> Cow<'_, str> {
        match &self.publisher {
            None => Cow::Borrowed(""),
            Some(by) if by.user.is_empty() => Cow::Owned(format!("\0{}", by.session)),
            Some(by) => Cow::Borrowed(&by.user),
        }
    }
}

/// The place that the broker assigned to a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its position in the channel's stream.
    pub position: Position,
    /// The position of the publication before it in the channel.
    pub previous: Position,
    /// Its number among all publications of the broker.
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

/// A message in a channel. Shared by reference count on its whole way through the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: ChannelName,
    /// Its position in the channel's stream.
    pub position: Position,
    /// The position of the publication before it: a subscriber that has that one misses nothing in
    /// between.
    pub previous: Position,
    /// Increases over all channels of the broker, and so orders publications of different channels.
    pub sequence: u64,
    /// The data.
    pub data: Bytes,
    /// The format of `data`.
    pub format: Format,
    /// Names and values published with it.
    pub tags: Tags,
    /// The publisher; none for the server itself.
    pub publisher: Option<Publisher>,
    /// The idempotency key with which it was published.
    pub key: Option<Key>,
    /// The time at which the server accepted it, in wall-clock milliseconds since 1970.
    pub time_ms: u64,
}

/// The overhead of a publication beyond its data and tags, in memory and roughly on the wire.
const OVERHEAD: usize = 128;

impl Publication {
    /// Whether `previous` is what a reader derives from `position` alone: the same epoch, one
    /// offset less.
    #[must_use]
    pub fn follows_in_epoch(&self) -> bool {
        self.previous.epoch == self.position.epoch
            && self.previous.offset.checked_add(1) == Some(self.position.offset)
    }

    /// Its approximate size in bytes, in memory and in an outbox: the unit of every byte limit.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.data.len() + self.tags.bytes() + OVERHEAD
    }
}

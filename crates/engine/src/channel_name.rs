//! Names of channels, and patterns that match them.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::{
    error::{ErrorCode, Refusal},
    filter::Filter,
};

/// The maximum length of a channel name in bytes. It is stored once per channel and sent with each
/// reply, so it is limited like a path segment.
pub const MAX_CHANNEL_NAME: usize = 200;

/// A channel's name: 1 to [`MAX_CHANNEL_NAME`] bytes of UTF-8 without control characters and
/// without `*`, which is reserved for [`Pattern`]s. Cloning costs a reference count.
///
/// ```
/// use offhook_engine::ChannelName;
/// let room = ChannelName::new("chat/room 7")?;
/// assert_eq!(room.as_str(), "chat/room 7");
/// assert!(ChannelName::new("").is_err());
/// # Ok::<(), offhook_engine::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Validates a name.
    ///
    /// # Errors
    /// [`ErrorCode::BadChannelName`], with what is wrong and at which byte.
    pub fn new(name: &str) -> Result<Self, Refusal> {
        check(name)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str) -> Result<(), Refusal> {
    let bad = |why: String| Err(Refusal::new(ErrorCode::BadChannelName, why));
    if name.is_empty() {
        return bad("a channel's name is empty".into());
    }
    if name.len() > MAX_CHANNEL_NAME {
        let len = name.len();
        return bad(format!(
            "a channel's name has {len} bytes; the limit is {MAX_CHANNEL_NAME}"
        ));
    }
    match name
        .char_indices()
        .find(|(_, c)| c.is_control() || *c == '*')
    {
        Some((at, c)) => bad(format!("a channel's name has {c:?} at byte {at}")),
        None => Ok(()),
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// A pattern over channel names: `*` matches any sequence of characters, including none.
///
/// ```
/// use offhook_engine::{ChannelName, Pattern};
/// let rooms = Pattern::new("chat/*/messages");
/// assert!(rooms.matches(&ChannelName::new("chat/7/messages")?));
/// assert!(!rooms.matches(&ChannelName::new("chat/7/typing")?));
/// # Ok::<(), offhook_engine::Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Makes a pattern; every text is valid.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole name matches.
    #[must_use]
    pub fn matches(&self, name: &ChannelName) -> bool {
        self.fits(name.as_str())
    }

    /// Whether the pattern matches every name that a filter matches, judged by the filter's text:
    /// its wildcards count as any sequence of characters.
    pub(crate) fn covers(&self, filter: &Filter) -> bool {
        self.fits(filter.as_str())
    }

    /// The text with which every matching name starts.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// Whether it contains a `*`; without one it matches a single name.
    #[must_use]
    pub fn is_wild(&self) -> bool {
        self.0.contains('*')
    }

    /// Whether the whole text matches. Unlike [`matches`](Self::matches), it is for other names than
    /// those of channels.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        // Most patterns are a prefix and a star.
        if let Some(prefix) = self.0.strip_suffix('*')
            && !prefix.contains('*')
        {
            return name.starts_with(prefix);
        }
        // The leftmost match of each piece between stars is sufficient, so the time is linear in
        // the name for every piece, never exponential.
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            let Some(at) = rest.find(piece) else {
                return false;
            };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.ends_with(last)
    }
}

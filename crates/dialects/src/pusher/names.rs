//! Names of channels: the app's prefix, and the kind of a channel, which follows from its name.
//!
//! A channel's name on the wire may contain `*`, which Offhook's names may not: it is escaped as in
//! topics of MQTT.

use std::borrow::Cow;

use offhook_engine::{ChannelName, Refusal};

use crate::mqtt::topics::{escaped, unescaped};

/// The kind of a channel, which follows from the beginning of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everybody may subscribe, subject to the channel's rules.
    Public,
    /// Subscribing requires a signature.
    Private,
    /// The same; the data is encrypted by the backend.
    Encrypted,
    /// Subscribing requires a signature, which also identifies the member.
    Presence,
    /// Events for one user; subscribing requires to be signed in as this user.
    User,
}

/// The prefix of the names of users' channels.
pub(super) const USER: &str = "#server-to-user-";

/// The kind of a channel, by its name on the wire.
#[must_use]
pub fn kind_of(name: &str) -> Kind {
    if name.starts_with("private-encrypted-") {
        Kind::Encrypted
    } else if name.starts_with("private-") {
        Kind::Private
    } else if name.starts_with("presence-") {
        Kind::Presence
    } else if name.starts_with(USER) {
        Kind::User
    } else {
        Kind::Public
    }
}

/// Whether a new subscriber gets the channel's last event, by its name on the wire.
#[must_use]
pub fn is_cache(name: &str) -> bool {
    let kinds = ["private-encrypted-", "private-", "presence-"];
    let rest = kinds.iter().find_map(|kind| name.strip_prefix(kind));
    rest.unwrap_or(name).starts_with("cache-")
}

/// The channel of a name on the wire.
///
/// # Errors
/// If the name has control characters, is empty, or too long.
pub fn channel_of(prefix: &str, name: &str) -> Result<ChannelName, Refusal> {
    if prefix.is_empty() || name.is_empty() {
        return ChannelName::new(&escaped(name));
    }
    ChannelName::new(&format!("{prefix}{}", escaped(name)))
}

/// A channel's name on the wire; none if the channel does not belong to the app.
#[must_use]
pub fn name_of<'a>(prefix: &str, channel: &'a str) -> Option<Cow<'a, str>> {
    let name = channel.strip_prefix(prefix)?;
    if !name.contains('%') {
        return Some(Cow::Borrowed(name));
    }
    Some(Cow::Owned(unescaped(name, |_| None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_name_says_what_a_channel_is() {
        let cases = [
            ("chat", Kind::Public, false),
            ("cache-chat", Kind::Public, true),
            ("private-chat", Kind::Private, false),
            ("private-cache-chat", Kind::Private, true),
            ("private-encrypted-chat", Kind::Encrypted, false),
            ("private-encrypted-cache-chat", Kind::Encrypted, true),
            ("presence-chat", Kind::Presence, false),
            ("presence-cache-chat", Kind::Presence, true),
            ("#server-to-user-7", Kind::User, false),
            ("privatechat", Kind::Public, false),
        ];
        for (name, kind, cache) in cases {
            assert_eq!((kind_of(name), is_cache(name)), (kind, cache), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_channel(name in "[a-z*%25A#+]{1,30}", prefix in "[a-z/]{0,5}") {
            let channel = channel_of(&prefix, &name).unwrap();
            let back = name_of(&prefix, channel.as_str()).unwrap();
            prop_assert_eq!(&*back, name);
        }
    }

    #[test]
    fn names_that_are_no_channels_are_refused() {
        for name in ["", "a\nb", &"x".repeat(201)] {
            assert!(channel_of("", name).is_err());
            assert!(channel_of("acme/", name).is_err());
        }
        assert_eq!(name_of("acme/", "other/chat"), None);
    }
}

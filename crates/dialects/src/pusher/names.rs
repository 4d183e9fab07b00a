//! Names of channels: an app's prefix and the name, and what the name says about the channel.
//!
//! A channel's name on the wire may contain `*`, and Offhook's may not: it is escaped as in topics of
//! MQTT.

use std::borrow::Cow;

use offhook_engine::{ChannelName, Refusal};

use crate::mqtt::topics::{escaped, unescaped};

/// What the beginning of a channel's name says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everybody may subscribe, within the rules.
    Public,
    /// A signature permits to subscribe.
    Private,
    /// The same; data is encrypted by the clients.
    Encrypted,
    /// A signature permits to subscribe and says who the member is.
    Presence,
    /// The events of one user, who has to be signed in.
    User,
}

/// The beginning of the names of users' channels.
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

/// The name on the wire of a channel; none if it is not one of the app.
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

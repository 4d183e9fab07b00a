//! Topics and channels: topics are the names of channels, but for one character.
//!
//! A channel's name has no `*`, and a topic may have one: it is written `%2A` in the channel's name,
//! and a `%` that is followed by `2A` or `25` is written `%25`. So every topic of at most 200 bytes
//! without control characters has a channel of its own, and nearly all of them the one of the same
//! name.

use std::borrow::Cow;

use offhook_engine::{ChannelName, Filter, Refusal, Target};

use super::Reason;

/// The prefix of shared subscriptions (5.0 §4.8.2), which are refused.
const SHARED: &str = "$share/";

/// The channel of a topic.
pub(super) fn channel_of(topic: &str) -> Result<ChannelName, Refusal> {
    ChannelName::new(&escaped(topic))
}

/// What a topic filter subscribes to: a channel, unless it has wildcards.
pub(super) fn target_of(filter: &str) -> Result<Target, Reason> {
    if filter.starts_with(SHARED) {
        return Err(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    let name = escaped(filter);
    let target = if name.contains(['+', '#']) {
        Filter::new(&name).map(Target::Filter)
    } else {
        ChannelName::new(&name).map(Target::Channel)
    };
    target.map_err(|_| Reason::TOPIC_FILTER_INVALID)
}

/// The topic of a channel. A channel whose name has a wildcard in it, which no topic may have, has a
/// topic with `%2B` or `%23` in its place: its messages are received and can't be answered.
pub(super) fn topic_of(channel: &ChannelName) -> Cow<'_, str> {
    let name = channel.as_str();
    if !name.contains(['%', '+', '#']) {
        return Cow::Borrowed(name);
    }
    let mut topic = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        rest = match c {
            '+' => {
                topic.push_str("%2B");
                after
            }
            '#' => {
                topic.push_str("%23");
                after
            }
            '%' if after.starts_with("2A") => {
                topic.push('*');
                after.get(2..).unwrap_or_default()
            }
            '%' if is_escaped_percent(after) => {
                topic.push('%');
                after.get(2..).unwrap_or_default()
            }
            c => {
                topic.push(c);
                after
            }
        };
    }
    Cow::Owned(topic)
}

/// Whether `25` and what is after it stand for a `%` that had to be written so.
fn is_escaped_percent(after: &str) -> bool {
    after
        .strip_prefix("25")
        .is_some_and(|after| after.starts_with("2A") || after.starts_with("25"))
}

fn escaped(topic: &str) -> Cow<'_, str> {
    if !topic.contains(['%', '*']) {
        return Cow::Borrowed(topic);
    }
    let mut name = String::with_capacity(topic.len());
    for (at, c) in topic.char_indices() {
        let rest = topic.get(at..).unwrap_or_default();
        match c {
            '*' => name.push_str("%2A"),
            '%' if rest.starts_with("%2A") || rest.starts_with("%25") => name.push_str("%25"),
            c => name.push(c),
        }
    }
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_the_channel_of_its_own_name() {
        for topic in ["a", "/", "a//b", "100%", "50%20", "$SYS/x", "a b/ü"] {
            assert_eq!(channel_of(topic).unwrap().as_str(), topic);
        }
    }

    #[test]
    fn topics_come_back_from_their_channels() {
        for topic in [
            "*",
            "%2A",
            "%252A",
            "%25",
            "%2525",
            "%",
            "a*%/%2A%25%2",
            "**",
            "%2a",
        ] {
            let channel = channel_of(topic).unwrap();
            assert_eq!(topic_of(&channel), topic, "{channel}");
        }
        let (star, written) = (channel_of("*").unwrap(), channel_of("%2A").unwrap());
        assert_ne!(star, written);
    }

    #[test]
    fn a_channel_with_a_wildcard_in_its_name_has_a_topic_without() {
        let channel = ChannelName::new("a+b#").unwrap();
        assert_eq!(topic_of(&channel), "a%2Bb%23");
    }

    #[test]
    fn a_filter_without_wildcards_is_a_channel() {
        assert!(matches!(target_of("a/b").unwrap(), Target::Channel(_)));
        assert!(matches!(target_of("a/+/#").unwrap(), Target::Filter(_)));
        assert_eq!(target_of("a*/+").unwrap().as_str(), "a%2A/+");
    }

    #[test]
    fn filters_that_are_none_are_refused_with_the_specifications_reason() {
        for filter in ["", "a+", "a/#/b", "#a", "a\u{1}"] {
            let refused = target_of(filter).unwrap_err();
            assert_eq!(refused, Reason::TOPIC_FILTER_INVALID, "{filter}");
        }
        let shared = target_of("$share/group/a").unwrap_err();
        assert_eq!(shared, Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
}

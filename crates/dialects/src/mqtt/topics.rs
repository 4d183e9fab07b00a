//! Maps topics to channels and back. Except for one character, a topic is the name of its channel.
//!
//! A topic may contain `*`, and a channel's name may not: `*` becomes `%2A`, and a `%` followed by
//! `2A` or `25` becomes `%25`. Every topic of at most 200 bytes without control characters
//! therefore has a channel of its own, and nearly every topic has the channel of the same name.

use std::borrow::Cow;

use offhook_engine::{ChannelName, Filter, Key, Refusal, Target};

use super::{Reason, session::Wanted};

/// The prefix of shared subscriptions (5.0 §4.8.2).
const SHARED: &str = "$share/";

/// The channel of a topic.
pub(super) fn channel_of(topic: &str) -> Result<ChannelName, Refusal> {
    ChannelName::new(&escaped(topic))
}

/// Whether only the server may publish to a topic.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}

/// What a topic filter refers to: `$share/GROUP/FILTER` is a filter that is shared with a group. 3.1.1
/// knows no groups, but its clients use the same form with all servers that have them.
pub(super) fn wanted(filter: &str) -> Result<Wanted, Reason> {
    let Some(shared) = filter.strip_prefix(SHARED) else {
        return Ok(Wanted::alone(target_of(filter)?));
    };
    // 5.0 §4.8.2: the name has at least one character, and none of `/`, `+` and `#`.
    let (group, filter) = shared
        .split_once('/')
        .filter(|(group, _)| !group.contains(['+', '#']))
        .ok_or(Reason::TOPIC_FILTER_INVALID)?;
    let group = Key::new(group).map_err(|_| Reason::TOPIC_FILTER_INVALID)?;
    Ok(Wanted {
        target: target_of(filter)?,
        group: Some(group),
    })
}

/// The target of a topic filter: a filter if it has wildcards, otherwise a channel.
fn target_of(filter: &str) -> Result<Target, Reason> {
    let name = escaped(filter);
    let target = if name.contains(['+', '#']) {
        Filter::new(&name).map(Target::Filter)
    } else {
        ChannelName::new(&name).map(Target::Channel)
    };
    target.map_err(|_| Reason::TOPIC_FILTER_INVALID)
}

/// The topic of a channel. A topic must not contain `+` or `#`, but a channel's name may: they
/// become `%2B` and `%23`. A client can receive messages of such a channel, but cannot publish to
/// it.
pub(super) fn topic_of(channel: &ChannelName) -> Cow<'_, str> {
    let name = channel.as_str();
    if !name.contains(['%', '+', '#']) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(unescaped(name, |c| match c {
        '+' => Some("%2B"),
        '#' => Some("%23"),
        _ => None,
    }))
}

/// Undoes [`escaped`], with further characters written as `written` says.
pub(crate) fn unescaped(name: &str, written: impl Fn(char) -> Option<&'static str>) -> String {
    let mut topic = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        if let Some(text) = written(c) {
            topic.push_str(text);
            rest = after;
            continue;
        }
        rest = match c {
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
    topic
}

/// Whether `after`, the text after a `%`, makes this `%` an escaped one.
fn is_escaped_percent(after: &str) -> bool {
    after
        .strip_prefix("25")
        .is_some_and(|after| after.starts_with("2A") || after.starts_with("25"))
}

/// A name without `*`, from which the text can be restored.
pub(crate) fn escaped(topic: &str) -> Cow<'_, str> {
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
    fn the_channel_of_an_ordinary_topic_has_the_same_name() {
        for topic in ["a", "/", "a//b", "100%", "50%20", "$SYS/x", "a b/ü"] {
            assert_eq!(channel_of(topic).unwrap().as_str(), topic);
        }
    }

    #[test]
    fn escaped_topics_can_be_restored_from_their_channels() {
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
    fn wildcards_in_a_channel_name_are_escaped_in_its_topic() {
        let channel = ChannelName::new("a+b#").unwrap();
        assert_eq!(topic_of(&channel), "a%2Bb%23");
    }

    #[test]
    fn a_filter_without_wildcards_subscribes_to_a_channel() {
        assert!(matches!(target_of("a/b").unwrap(), Target::Channel(_)));
        assert!(matches!(target_of("a/+/#").unwrap(), Target::Filter(_)));
        assert_eq!(target_of("a*/+").unwrap().as_str(), "a%2A/+");
    }

    #[test]
    fn invalid_filters_are_refused_with_the_reason_of_the_specification() {
        for filter in ["", "a+", "a/#/b", "#a", "a\u{1}"] {
            let refused = target_of(filter).unwrap_err();
            assert_eq!(refused, Reason::TOPIC_FILTER_INVALID, "{filter}");
        }
    }

    #[test]
    fn a_shared_filter_names_a_group_and_a_filter() {
        let shared = wanted("$share/group/a/+").unwrap();
        assert_eq!(shared.group, Some(Key::new("group").unwrap()));
        assert_eq!(shared.target, target_of("a/+").unwrap());
        let slash = wanted("$share/group//a").unwrap();
        assert_eq!(slash.target.as_str(), "/a");
        assert_eq!(wanted("a/$share/b").unwrap().group, None);
        for filter in [
            "$share/",
            "$share/group",
            "$share/group/",
            "$share//a",
            "$share/gr+/a",
            "$share/#/a",
            "$share/group/a+",
        ] {
            let refused = wanted(filter).unwrap_err();
            assert_eq!(refused, Reason::TOPIC_FILTER_INVALID, "{filter}");
        }
    }
}

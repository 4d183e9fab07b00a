//! Maps destinations to channels and back.
//!
//! `/topic/NAME` is the channel `NAME`, and `/queue/NAME` the channel `queue/NAME`: as with other
//! brokers, a topic and a queue of the same name are unrelated.

use std::fmt::Write as _;

use offhook_engine::{ChannelName, Filter, Target};

use super::frame::Invalid;

pub(super) const TOPIC: &str = "/topic/";
pub(super) const QUEUE: &str = "/queue/";
/// The prefix of the names of channels that are queues.
const QUEUES: &str = "queue/";

/// What a client subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Topic(Target),
    Queue(ChannelName),
}

impl Destination {
    /// The destination that a subscription names.
    pub(super) fn new(text: &str) -> Result<Self, Invalid> {
        if text.starts_with(QUEUE) {
            return channel_of(text).map(Self::Queue);
        }
        let Some(name) = text.strip_prefix(TOPIC) else {
            return Err(unknown(text));
        };
        if has_wildcard(name) {
            let filter = Filter::new(name).map(Target::Filter);
            return filter.map(Self::Topic).map_err(|no| bad(&no.detail));
        }
        channel_of(text).map(Target::Channel).map(Self::Topic)
    }

    pub(super) fn target(&self) -> Target {
        match self {
            Self::Topic(target) => target.clone(),
            Self::Queue(channel) => channel.clone().into(),
        }
    }

    /// The destination as text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Topic(target) => [TOPIC, target.as_str()].concat(),
            Self::Queue(queue) => queue_of(queue),
        }
    }

    /// The destination of a message that this subscription receives from a channel.
    pub(super) fn of_message(&self, channel: &ChannelName) -> String {
        match self {
            Self::Topic(_) => topic_of(channel),
            Self::Queue(queue) => queue_of(queue),
        }
    }
}

fn queue_of(channel: &ChannelName) -> String {
    let name = channel.as_str();
    [QUEUE, name.strip_prefix(QUEUES).unwrap_or(name)].concat()
}

/// The destination at which a channel's messages are pushed.
pub(super) fn topic_of(channel: &ChannelName) -> String {
    [TOPIC, channel.as_str()].concat()
}

/// Names may contain these characters: as in filters, they are wildcards only as a whole level.
fn has_wildcard(name: &str) -> bool {
    name.split('/').any(|level| matches!(level, "+" | "#"))
}

/// The one channel of a destination: to which a client sends, or whose queue it consumes.
pub(super) fn channel_of(text: &str) -> Result<ChannelName, Invalid> {
    // As the name of a channel it would be taken literally, and no subscriber would be reached.
    if has_wildcard(text) {
        let shown: String = text.chars().take(60).collect();
        return Err(bad(&format!(
            "{shown:?} has a wildcard; send to one /topic/NAME or /queue/NAME: only a SUBSCRIBE to \
             /topic/ may contain + and # as whole levels"
        )));
    }
    let name = if let Some(name) = text.strip_prefix(TOPIC) {
        ChannelName::new(name)
    } else if let Some(name) = text.strip_prefix(QUEUE) {
        if name.is_empty() {
            return Err(bad("a queue's name is empty"));
        }
        ChannelName::new(&[QUEUES, name].concat())
    } else {
        return Err(unknown(text));
    };
    name.map_err(|no| {
        // The wildcards of other brokers.
        let hint = if text.contains('*') {
            "; the wildcards of a SUBSCRIBE to /topic/ are + and # as whole levels"
        } else {
            ""
        };
        bad(&format!("{}{hint}", no.detail))
    })
}

fn bad(detail: &str) -> Invalid {
    Invalid::new("bad destination", format!("destination: {detail}"))
}

fn unknown(text: &str) -> Invalid {
    let mut detail = "destination: expected /topic/NAME or /queue/NAME, found ".to_owned();
    let shown: String = text.chars().take(60).collect();
    // Writing to a String never fails.
    let _ = write!(detail, "{shown:?}");
    Invalid::new("bad destination", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_and_a_queue_of_the_same_name_are_different_channels() {
        assert_eq!(channel_of("/topic/a/b").unwrap().as_str(), "a/b");
        assert_eq!(channel_of("/queue/a/b").unwrap().as_str(), "queue/a/b");
    }

    #[test]
    fn messages_name_the_destination_of_their_subscription() {
        let channel = ChannelName::new("queue/jobs").unwrap();
        let queue = Destination::new("/queue/jobs").unwrap();
        assert_eq!(queue.of_message(&channel), "/queue/jobs");
        let all = Destination::new("/topic/queue/+").unwrap();
        assert_eq!(all.of_message(&channel), "/topic/queue/jobs");
    }

    #[test]
    fn a_wildcard_that_is_a_whole_level_makes_a_filter() {
        let target = |text| Destination::new(text).unwrap().target();
        assert!(matches!(target("/topic/a/+/b"), Target::Filter(_)));
        assert!(matches!(target("/topic/a/#"), Target::Filter(_)));
        assert!(matches!(target("/topic/c#"), Target::Channel(_)));
        assert!(Destination::new("/topic/#/a").is_err());
    }

    #[test]
    fn other_destinations_are_refused() {
        for text in [
            "",
            "a",
            "/a",
            "/topic",
            "/topic/",
            "/queue/",
            "/topic/a*",
            "/exchange/a",
            "/queue/jobs/+",
        ] {
            let refused = Destination::new(text).unwrap_err();
            assert_eq!(refused.message, "bad destination", "{text}");
        }
    }
}

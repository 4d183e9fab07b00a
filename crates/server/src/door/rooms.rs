//! The rooms of Socket.IO, as its dialect needs them.

use offhook_dialects::socketio::{NamedBy, Room, Rooms};
use offhook_engine::Pattern;

use crate::config::{ChannelRule, Config, RoomNamedBy};

/// The rooms of a configuration, in the order of its rules.
pub(crate) fn rooms(config: &Config) -> Rooms {
    let rules = config.channels.iter();
    rules
        .filter(|rule| !rule.rooms.are_none())
        .map(room)
        .collect()
}

fn room(rule: &ChannelRule) -> Room {
    let patterns = |names: &[String]| names.iter().map(|name| Pattern::new(name)).collect();
    let rooms = &rule.rooms;
    Room {
        pattern: Pattern::new(&rule.pattern),
        join: patterns(&rooms.join),
        leave: patterns(&rooms.leave),
        events: patterns(&rooms.events),
        broadcasts: patterns(&rooms.broadcasts),
        named_by: match rooms.named_by {
            RoomNamedBy::Joined => NamedBy::Joined,
            RoomNamedBy::Argument => NamedBy::Argument,
            RoomNamedBy::Field => NamedBy::Field,
        },
        everyone: rooms.everyone,
    }
}

//! Rooms by rule. An ordinary Socket.IO program joins a room, emits events to it, and emits to
//! everyone in it but itself. A rule says which events do that, and for which channels.
//!
//! An event that is published in a room has the event's name as its tag `event`, so that it arrives
//! as an event of that name.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use offhook_engine::{
    ChannelName, Command, ErrorCode, Format, Pattern, Refusal, Since, Subscribe, Tags, Target,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    dialect::{Call, Purpose, SocketIo},
    events::{bad, text_of},
    packet::MAIN,
    publication::{ARGUMENTS_TAG, EVENT_TAG, OTHERS, SEVERAL, TO_TAG},
};
use crate::{
    dialect::Intent,
    json::{MAX_NESTING, is_shallow},
};

/// How an event says for which room it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamedBy {
    /// It does not: it is for the only room of this rule that the client has joined.
    #[default]
    Joined,
    /// Its first argument is the name of the room, and is not published.
    Argument,
    /// Its first argument is an object with a field `room`.
    Field,
}

/// A rule for the rooms whose channels match a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The pattern of the channels. The name of a room stands in the place of the `*`; without one,
    /// there is one room.
    pub pattern: Pattern,
    /// Events that join a room.
    pub join: Vec<Pattern>,
    /// Events that leave a room.
    pub leave: Vec<Pattern>,
    /// Events that are delivered to everyone in the room.
    pub events: Vec<Pattern>,
    /// Events that are delivered to everyone in the room but the sender.
    pub broadcasts: Vec<Pattern>,
    /// How an event says for which room it is.
    pub named_by: NamedBy,
    /// Whether every client is in the room. Only for a pattern without a `*`.
    pub everyone: bool,
}

/// The rules for rooms, in order: the first one that lists an event applies to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms(Box<[Room]>);

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Join,
    Leave,
    Publish,
    Broadcast,
}

impl FromIterator<Room> for Rooms {
    fn from_iter<I: IntoIterator<Item = Room>>(rooms: I) -> Self {
        Self(rooms.into_iter().collect())
    }
}

impl Rooms {
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any event is delivered to everyone but its sender.
    pub(super) fn have_broadcasts(&self) -> bool {
        self.0.iter().any(|room| !room.broadcasts.is_empty())
    }

    /// The rule for an event.
    pub(super) fn find(&self, event: &str) -> Option<(&Room, Deed)> {
        self.0
            .iter()
            .find_map(|room| room.deed(event).map(|deed| (room, deed)))
    }

    /// The channels of rooms in which every client is.
    fn of_everyone(&self) -> impl Iterator<Item = ChannelName> {
        let theirs = self.0.iter().filter(|room| room.everyone);
        theirs.filter_map(|room| ChannelName::new(room.pattern.as_str()).ok())
    }
}

impl Room {
    fn deed(&self, event: &str) -> Option<Deed> {
        let lists = [
            (&self.join, Deed::Join),
            (&self.leave, Deed::Leave),
            (&self.events, Deed::Publish),
            (&self.broadcasts, Deed::Broadcast),
        ];
        let mut found = lists
            .into_iter()
            .filter(|(names, _)| names.iter().any(|name| name.fits(event)));
        found.next().map(|(_, deed)| deed)
    }

    /// The channel of the room with this name.
    fn channel(&self, name: &str) -> Result<ChannelName, Refusal> {
        if !self.pattern.is_wild() {
            return ChannelName::new(self.pattern.as_str());
        }
        if name.is_empty() {
            return Err(bad("the name of the room is empty"));
        }
        ChannelName::new(&self.pattern.as_str().replacen('*', name, 1))
    }

    /// The room that an argument names: a text, a number, or an object with a field `room`.
    fn named_in(&self, argument: Option<&&RawValue>) -> Result<ChannelName, Refusal> {
        match argument {
            Some(argument) => self.channel(&name_in(argument)?),
            None if self.pattern.is_wild() => Err(bad("the event does not name a room")),
            None => self.channel(""),
        }
    }
}

/// The name of a room in an argument of an event.
fn name_in(argument: &RawValue) -> Result<Cow<'_, str>, Refusal> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        room: &'a RawValue,
    }
    let json = argument.get();
    let name = match json.starts_with('{') {
        true => serde_json::from_str::<Named<'_>>(json).map(|named| named.room),
        false => Ok(argument),
    };
    let is_name = |name: &&RawValue| {
        let json = name.get();
        json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
    };
    let name = name.ok().filter(is_name);
    name.map(text_of).ok_or_else(|| {
        bad("the event does not name a room: expected a text, a number, or an object with `room`")
    })
}

/// An event of a room.
#[derive(Debug)]
pub(super) struct RoomEvent {
    /// The room; none if it is the one of `pattern` that the client has joined.
    channel: Option<ChannelName>,
    pattern: Pattern,
    what: What,
}

#[derive(Debug)]
enum What {
    Join,
    Leave,
    Publish {
        data: Bytes,
        format: Format,
        tags: Tags,
    },
}

impl RoomEvent {
    /// Decodes an event with these arguments.
    pub(super) fn read(
        room: &Room,
        deed: Deed,
        name: &str,
        arguments: &[&RawValue],
    ) -> Result<Self, Refusal> {
        let first = arguments.first();
        let (channel, what) = match deed {
            Deed::Join => (Some(room.named_in(first)?), What::Join),
            Deed::Leave => match first {
                Some(_) => (Some(room.named_in(first)?), What::Leave),
                None => (None, What::Leave),
            },
            Deed::Publish | Deed::Broadcast => {
                let (channel, arguments) = match (room.named_by, arguments) {
                    (NamedBy::Joined, all) => (None, all),
                    (NamedBy::Argument, [named, rest @ ..]) => {
                        (Some(room.named_in(Some(named))?), rest)
                    }
                    (NamedBy::Argument | NamedBy::Field, all) => (Some(room.named_in(first)?), all),
                };
                (channel, published(name, arguments, deed)?)
            }
        };
        Ok(Self {
            channel,
            pattern: room.pattern.clone(),
            what,
        })
    }

    /// The data that is published.
    pub(super) const fn data(&self) -> Option<&Bytes> {
        match &self.what {
            What::Publish { data, .. } => Some(data),
            What::Join | What::Leave => None,
        }
    }

    /// Publishes an attachment instead of its placeholder.
    pub(super) fn replace_data(&mut self, bytes: &Bytes) {
        if let What::Publish { data, format, .. } = &mut self.what {
            *data = bytes.clone();
            *format = Format::Binary;
        }
    }
}

/// The publication of an event. Its data is the argument, or an array if there is not exactly one.
fn published(name: &str, arguments: &[&RawValue], deed: Deed) -> Result<What, Refusal> {
    let mut tags = vec![(EVENT_TAG, name)];
    let data = match arguments {
        [argument] => argument.get().to_owned(),
        several => {
            tags.push((ARGUMENTS_TAG, SEVERAL));
            let several: Vec<_> = several.iter().map(|argument| argument.get()).collect();
            format!("[{}]", several.join(","))
        }
    };
    if !is_shallow(&data) {
        return Err(bad(format!(
            "the arguments are nested deeper than {MAX_NESTING} levels"
        )));
    }
    if deed == Deed::Broadcast {
        tags.push((TO_TAG, OTHERS));
    }
    Ok(What::Publish {
        data: data.into(),
        format: Format::Json,
        tags: Tags::new(tags)?,
    })
}

impl SocketIo {
    /// Handles an event of a room.
    pub(super) fn take_room_event(&mut self, call: Call, event: RoomEvent) {
        let RoomEvent {
            channel,
            pattern,
            what,
        } = event;
        let channel = match channel {
            Some(channel) => Ok(channel),
            None => self.joined(&call.namespace, &pattern),
        };
        let channel = match channel {
            Ok(channel) => channel,
            Err(refusal) => return self.refuse(call, refusal),
        };
        let target = Target::from(channel.clone());
        let is_in = self.spaces.has(&call.namespace, &target);
        match what {
            What::Join if !is_in => {
                self.subscribe(call, Subscribe::new(target, Since::Now), None);
            }
            What::Leave if is_in => self.unsubscribe(call, &target),
            // Joining twice and leaving twice succeed, as with the original server.
            What::Join | What::Leave => self.command(call, Command::Ping),
            What::Publish { data, format, tags } => {
                let publish = Command::Publish {
                    channel,
                    data,
                    format,
                    tags,
                    key: None,
                };
                self.command(call, publish);
            }
        }
    }

    fn command(&mut self, call: Call, command: Command) {
        let id = self.number(Purpose::Call(call));
        self.queue.push_back(Intent::Command { id, command });
    }

    /// The only room with this pattern that the client has joined.
    fn joined(&self, namespace: &str, pattern: &Pattern) -> Result<ChannelName, Refusal> {
        if !pattern.is_wild() {
            return ChannelName::new(pattern.as_str());
        }
        let rooms = self.spaces.channels(namespace);
        let mut rooms = rooms.filter(|channel| pattern.matches(channel));
        let pattern = pattern.as_str();
        match (rooms.next(), rooms.next()) {
            (Some(room), None) => Ok(room.clone()),
            (None, _) => {
                let detail = format!("the client is in no room of {pattern:?}; join one first");
                Err(Refusal::new(ErrorCode::NotSubscribed, detail))
            }
            (Some(_), Some(_)) => Err(bad(format!(
                "the client is in several rooms of {pattern:?}, and the event does not say for which \
                 it is; leave the others, or set `rooms.named_by`"
            ))),
        }
    }

    /// Subscribes the main namespace to the rooms in which every client is.
    pub(super) fn join_rooms_of_everyone(&mut self, namespace: &Arc<str>) {
        if **namespace != *MAIN {
            return;
        }
        let rooms = Arc::clone(&self.settings.rooms);
        for channel in rooms.of_everyone() {
            let target = Target::from(channel);
            // A recovered session still has its subscriptions.
            if self.spaces.has(namespace, &target) {
                continue;
            }
            let call = Call {
                namespace: Arc::clone(namespace),
                ack: None,
                event: "join".into(),
                is_free: true,
            };
            self.subscribe(call, Subscribe::new(target, Since::Now), None);
        }
    }
}

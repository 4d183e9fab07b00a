//! Random requests and publications.

use offhook_dialects::native::*;
use offhook_engine::*;
use proptest::prelude::*;

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", "\\PC{1,20}", "[\"\\\\\u{0}-\u{1f}é😀]{1,8}"]
}

pub(crate) fn channel() -> impl Strategy<Value = ChannelName> {
    text().prop_filter_map("no channel's name", |name| ChannelName::new(&name).ok())
}

pub(crate) fn position() -> impl Strategy<Value = Position> {
    (0..1_u64 << 53, 0..1_u64 << 53).prop_map(|(epoch, offset)| Position::new(epoch, offset))
}

pub(crate) fn since() -> impl Strategy<Value = Since> {
    prop_oneof![
        Just(Since::Now),
        Just(Since::Start),
        any::<u32>().prop_map(Since::Last),
        position().prop_map(Since::Position),
    ]
}

pub(crate) fn tags() -> impl Strategy<Value = Tags> {
    prop::collection::btree_map(text(), text(), 0..4)
        .prop_map(|tags| Tags::new(tags.iter().map(|(name, value)| (&**name, &**value))).unwrap())
}

pub(crate) fn data() -> impl Strategy<Value = (Vec<u8>, Format)> {
    prop_oneof![
        text().prop_map(|text| (serde_json::to_vec(&text).unwrap(), Format::Json)),
        Just((b"null".to_vec(), Format::Json)),
        Just((br#"{"b":[1, 2.0e3]}"#.to_vec(), Format::Json)),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| (bytes, Format::Binary)),
    ]
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let key = prop::option::of("[ -~]{1,40}".prop_map(|key| Key::new(&key).unwrap()));
    prop_oneof![
        (channel(), data(), tags(), key).prop_map(|(channel, (data, format), tags, key)| {
            let data = data.into();
            Command::Publish {
                channel,
                data,
                format,
                tags,
                key,
            }
        }),
        (channel(), since(), any::<bool>()).prop_map(|(channel, since, presence)| {
            Command::Subscribe(Subscribe {
                presence,
                ..Subscribe::new(channel, since)
            })
        }),
        channel().prop_map(|channel| Command::Unsubscribe {
            subscription: channel.into(),
        }),
        (channel(), since(), any::<u32>()).prop_map(|(channel, since, limit)| {
            Command::History {
                channel,
                since,
                limit,
            }
        }),
        (channel(), position(), any::<u32>()).prop_map(|(channel, before, limit)| {
            Command::HistoryBefore {
                channel,
                before,
                limit,
            }
        }),
        (channel(), prop::option::of(position()), any::<u32>()).prop_map(
            |(channel, after, limit)| Command::State {
                channel,
                after,
                limit,
            }
        ),
        channel().prop_map(|channel| Command::Presence { channel }),
        (channel(), "[ -~]{1,40}", prop::option::of(position())).prop_map(
            |(channel, consumer, position)| {
                let consumer = Key::new(&consumer).unwrap();
                Command::Ack {
                    channel,
                    consumer,
                    position,
                }
            }
        ),
        (channel(), position())
            .prop_map(|(channel, position)| Command::Receipts { channel, position }),
        Just(Command::Ping),
    ]
}

pub(crate) fn subscribe_all() -> impl Strategy<Value = Request> {
    let channels = prop::collection::btree_map(channel(), prop::option::of(position()), 1..4);
    let flags = (any::<bool>(), any::<bool>());
    (0..1_u64 << 52, channels, since(), flags).prop_map(
        |(id, channels, since, (presence, echo))| {
            Request::SubscribeAll(SubscribeAll {
                id: CommandId(id),
                channels: channels.into_iter().map(Ok).collect(),
                since,
                presence,
                echo,
            })
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let id = (0..1_u64 << 53).prop_map(CommandId);
    let positions = prop::collection::btree_map(channel(), position(), 0..4);
    let connect = (
        id.clone(),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of("[a-z]{1,20}"),
        positions,
        any::<bool>(),
    );
    prop_oneof![
        1 => connect.prop_map(|(id, token, resume, colour, positions, lineage)| {
            let positions = positions.into_iter().map(|(of, at)| (of.into(), at)).collect();
            let info = colour.map_or_else(String::new, |colour| format!(r#"{{"colour":"{colour}"}}"#));
            Request::Connect(Connect { id, token, resume, info: info.into(), positions, lineage, named: None })
        }),
        1 => subscribe_all(),
        1 => (id.clone(), text()).prop_map(|(id, token)| Request::Refresh { id, token }),
        1 => (id.clone(), text(), channel(), since()).prop_map(|(id, token, channel, since)| {
            let command = Command::Subscribe(Subscribe::new(channel, since));
            Request::Granted { id, token, command }
        }),
        4 => (id, command()).prop_map(|(id, command)| Request::Command { id, command }),
    ]
}

pub(crate) fn publication() -> impl Strategy<Value = Publication> {
    let publisher = prop::option::of((any::<[u8; 16]>(), text()));
    let key = prop::option::of("[ -~]{1,40}".prop_map(|key| Key::new(&key).unwrap()));
    (
        channel(),
        position(),
        data(),
        tags(),
        publisher,
        key,
        any::<u64>(),
    )
        .prop_map(
            |(channel, position, (data, format), tags, publisher, key, time_ms)| {
                let publisher = publisher.map(|(session, user)| Publisher {
                    session: SessionId::from_bytes(session),
                    user: user.into(),
                });
                let data = data.into();
                Publication {
                    channel,
                    position,
                    previous: Position::new(1, 7),
                    sequence: 9,
                    data,
                    format,
                    tags,
                    publisher,
                    key,
                    time_ms,
                }
            },
        )
}

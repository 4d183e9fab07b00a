//! The MQTT dialect: packets of a client become commands, and the server's output becomes packets.
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods,
    reason = "a test matches one variant, is easier to read with values, and needs a starting time"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Known, Payload, Readiness, Recipient, Shared, Unfinished,
    Welcome,
    mqtt::{
        Mqtt, Reason,
        packet::{
            Ack, Connect, Decoder, Options, Packet, Properties, Publish, Qos, Reasoned,
            RetainHandling, Subscribe, Unsubscribe, Version, Will,
        },
    },
};
use offhook_engine::*;

mod connecting;
mod ending;
mod in_flight;
mod publishing;
mod sharing;
mod subscribing;

/// A client, and the part of the server that the dialect interacts with.
struct Client {
    mqtt: Mqtt,
    version: Version,
    now: Instant,
    unix_ms: u64,
    /// Commands that are not answered yet.
    asked: Vec<(CommandId, Command)>,
    /// Commands without an answer.
    told: Vec<Command>,
    packets: Vec<Packet>,
    others: Vec<Intent>,
    closed: Option<u16>,
    decoder: Decoder,
    /// The epoch in which the engine delivers.
    epoch: u64,
    /// The last note that was to be stored.
    note: Bytes,
}

fn connect(version: Version) -> Connect {
    Connect {
        version,
        clean: true,
        keep_alive: 10,
        properties: None,
        client_id: "device".into(),
        will: None,
        user: None,
        password: None,
    }
}

fn publish(topic: &str, qos: Qos, packet_id: u16, payload: &'static str) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.into(),
        packet_id,
        properties: None,
        payload: payload.into(),
    }
}

fn publication(topic: &str, data: &'static str, tags: &[(&str, &str)]) -> Arc<Publication> {
    let draft = Draft {
        channel: ChannelName::new(topic).unwrap(),
        data: data.into(),
        format: Format::Text,
        tags: Tags::new(tags.iter().copied()).unwrap(),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    Arc::new(draft.at(Place::after(Position::new(1, 6), 7)))
}

const PUBLISHED: Reply = Reply::Published {
    position: Position {
        epoch: Epoch(1),
        offset: 1,
    },
    duplicate: false,
};

impl Client {
    /// A client that has not sent a CONNECT yet.
    fn unconnected(version: Version) -> Self {
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(version);
        Self {
            mqtt: Mqtt::new(1 << 16),
            version,
            now: Instant::now(),
            unix_ms: 1_000_000,
            asked: Vec::new(),
            told: Vec::new(),
            packets: Vec::new(),
            others: Vec::new(),
            closed: None,
            decoder,
            epoch: 1,
            note: Bytes::new(),
        }
    }

    /// A connected client with a new session, which is kept for as long as it requested.
    fn new(connect: Connect) -> Self {
        let mut client = Self::unconnected(connect.version);
        client.send(Packet::Connect(Box::new(connect)));
        let asked = client.others.pop();
        let Some(Intent::Connect(connect)) = asked else {
            panic!("{asked:?}");
        };
        let expiry = connect.named.unwrap().expiry;
        client.welcome(expiry, false, &[]);
        client
    }

    fn of(version: Version) -> Self {
        let mut client = Self::new(connect(version));
        client.packets.clear();
        client
    }

    /// A client whose session outlives its connection.
    fn durable(version: Version) -> Self {
        let mut connect = connect(version);
        connect.clean = false;
        connect.properties = Some(Box::new(Properties {
            session_expiry: Some(100),
            ..Properties::default()
        }))
        .filter(|_| version == Version::V5);
        let mut client = Self::new(connect);
        client.packets.clear();
        client
    }

    fn welcome(&mut self, expiry: Option<Duration>, resumed: bool, note: &[u8]) {
        self.welcome_unstored(expiry, resumed, note);
        if let Some((_, Command::Remember { .. })) = self.asked.first() {
            self.reply(Reply::Remembered);
        }
    }

    /// As `welcome`, but the note of the new connection is not stored yet.
    fn welcome_unstored(&mut self, expiry: Option<Duration>, resumed: bool, note: &[u8]) {
        let welcome = Welcome {
            id: CommandId(0),
            session: SessionId::from_bytes([7; 16]),
            user: "",
            resume: "",
            expires_in: None,
            unix_ms: self.unix_ms,
            named: Some(Known {
                name: "device",
                resumed,
                note,
                expiry,
            }),
        };
        let mut out = Vec::new();
        self.mqtt.welcome(&welcome, &mut out);
        self.hear(out);
        self.poll();
    }

    fn send(&mut self, packet: Packet) {
        let bytes = packet.encode(self.version);
        self.send_bytes(&bytes);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        let mut intents = Vec::new();
        let incoming = Incoming::Binary(bytes);
        self.mqtt.receive(incoming, self.now, &mut intents);
        intents
            .into_iter()
            .for_each(|intent| self.carry_out(intent));
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(intent) = self.mqtt.poll_intent() {
            self.carry_out(intent);
        }
    }

    fn carry_out(&mut self, intent: Intent) {
        match intent {
            Intent::Command {
                id: CommandId(0),
                command: Command::Remember { note, .. },
            } => self.note = note,
            Intent::Command {
                id: CommandId(0),
                command,
            } => self.told.push(command),
            Intent::Command { id, command } => {
                if let Command::Remember { note, .. } = &command {
                    self.note = note.clone();
                }
                self.asked.push((id, command));
            }
            Intent::Say(message) => self.hear(vec![message]),
            Intent::Close { code, .. } => self.closed = Some(code),
            other => self.others.push(other),
        }
    }

    fn hear(&mut self, messages: Vec<Payload>) {
        for message in messages {
            self.decoder.push(message.as_bytes());
        }
        while let Some(packet) = self.decoder.next_packet().unwrap() {
            self.packets.push(packet);
        }
    }

    fn notice(&mut self, notice: Notice) {
        let mut out = Vec::new();
        self.mqtt.notice(&notice, &mut out);
        self.hear(out);
        self.poll();
    }

    /// Answers the oldest command.
    fn reply(&mut self, reply: Reply) -> Command {
        let (id, command) = self.asked.remove(0);
        let id = Some(id);
        self.notice(Notice::Reply { id, reply });
        command
    }

    /// Subscribes, answers every command that this causes, and returns the subscription's number.
    fn subscribe(&mut self, filter: &str, options: Options) -> Option<u32> {
        self.send(Packet::Subscribe(Subscribe {
            packet_id: 9,
            properties: None,
            filters: vec![(filter.into(), options)],
        }));
        let Some((_, Command::Subscribe(wish))) = self.asked.first() else {
            panic!("{:?}", self.asked);
        };
        let number = wish.id.map(|id| id.0);
        let subscription = wish.name();
        self.reply(Reply::Subscribed {
            subscription,
            position: Position::new(1, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        while let Some((_, command)) = self.asked.first() {
            let reply = match command {
                Command::Values { filter, .. } => Reply::Values {
                    filter: filter.clone(),
                    values: Vec::new(),
                    next: None,
                },
                Command::Remember { .. } => Reply::Remembered,
                other => panic!("{other:?}"),
            };
            self.reply(reply);
        }
        number
    }

    /// Delivers a publication to a subscription, as the engine does.
    fn deliver(&mut self, number: u32, publication: &Arc<Publication>, offset: u64, again: u16) {
        let shared = Shared {
            publication: Some(Arc::clone(publication)),
            ..Shared::whole("".to_owned())
        };
        let recipient = Recipient {
            subscription: Some(SubscriptionId(number)),
            place: Position::new(self.epoch, offset),
            redelivered: again,
            ..Recipient::PLAIN
        };
        match self.mqtt.head(&recipient, &shared) {
            Head::Whole(message) => self.hear(vec![message]),
            Head::Several(messages) => self.hear(messages),
            Head::Nothing => {}
            other => panic!("{other:?}"),
        }
        self.poll();
    }

    /// The time comes.
    fn tick(&mut self, now: Instant) {
        self.now = now;
        let mut intents = Vec::new();
        self.mqtt.handle_timeout(now, &mut intents);
        intents
            .into_iter()
            .for_each(|intent| self.carry_out(intent));
        self.poll();
    }

    /// The session on a new connection, as of the note that is to be stored.
    fn comes_back(&self) -> Self {
        let mut after = Self::unconnected(self.version);
        let connect = connect(self.version);
        after.send(Packet::Connect(Box::new(connect)));
        after.others.clear();
        after.welcome(Some(Duration::from_secs(9)), true, &self.note);
        after
    }

    fn take(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.packets)
    }
}

fn qos(qos: Qos) -> Options {
    Options {
        qos,
        ..Options::default()
    }
}

fn ack(id: u16) -> Ack {
    Ack::new(id, Reason::SUCCESS)
}

fn done(number: u32, offset: u64) -> Command {
    Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(number)),
        position: Position::new(1, offset),
        cumulative: false,
    }
}

/// The CONNECT of a client that accepts two messages at a time.
fn narrow() -> Connect {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        receive_maximum: Some(2),
        session_expiry: Some(100),
        ..Properties::default()
    }));
    connect
}

fn payloads(packets: Vec<Packet>) -> Vec<Bytes> {
    let messages = messages(packets).into_iter();
    messages.map(|message| message.payload).collect()
}

fn gap(number: u32, offsets: (u64, u64), reason: GapReason, agreed: Option<Position>) -> Notice {
    let (from, to) = offsets;
    Notice::Gap {
        subscription: SubscriptionName {
            target: ChannelName::new("b").unwrap().into(),
            id: Some(SubscriptionId(number)),
        },
        from: Position::new(1, from),
        to: Position::new(1, to),
        reason,
        agreed,
    }
}

/// Answers the request for retained messages, and stores notes.
fn retained(client: &mut Client, values: &[Arc<Publication>]) {
    while let Some((_, command)) = client.asked.first().cloned() {
        match command {
            Command::Values { filter, .. } => {
                let (values, next) = (values.to_vec(), None);
                client.reply(Reply::Values {
                    filter,
                    values,
                    next,
                });
                return;
            }
            Command::Remember { .. } => drop(client.reply(Reply::Remembered)),
            Command::Subscribe(wish) => {
                let subscription = wish.name();
                client.reply(Reply::Subscribed {
                    subscription,
                    position: Position::new(1, 0),
                    live: true,
                    by_server: false,
                    acknowledged: false,
                });
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("no retained messages are requested");
}

fn messages(packets: Vec<Packet>) -> Vec<Publish> {
    let message = |packet| match packet {
        Packet::Publish(message) => Some(message),
        _ => None,
    };
    packets.into_iter().filter_map(message).collect()
}

/// Subscribes to what the client is subscribed to already.
fn renew(client: &mut Client, filter: &str, options: Options) -> Vec<Packet> {
    client.take();
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 10,
        properties: None,
        filters: vec![(filter.into(), options)],
    }));
    assert_eq!(client.reply(Reply::Pong), Command::Ping);
    while let Some((_, Command::Remember { .. })) = client.asked.first() {
        client.reply(Reply::Remembered);
    }
    client.take()
}

/// The group of the subscription that was asked for last.
fn group_asked(client: &Client) -> Option<Share> {
    match client.asked.last() {
        Some((_, Command::Subscribe(wish))) => wish.share.clone(),
        other => panic!("{other:?}"),
    }
}

fn ask_for(client: &mut Client, filter: &str, options: Options) {
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![(filter.into(), options)],
    }));
}

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

#[test]
fn a_message_of_qos_1_is_acknowledged_once_it_is_published() {
    let mut client = Client::of(Version::V3);
    client.send(Packet::Publish(publish(
        "a/b",
        Qos::AtLeastOnce,
        5,
        "{\"x\":1}",
    )));
    assert_eq!(client.take(), []);
    let Command::Publish {
        channel,
        data,
        format,
        tags,
        key,
    } = client.reply(PUBLISHED)
    else {
        panic!("not published");
    };
    assert_eq!(
        (channel.as_str(), &data[..], format),
        ("a/b", &b"{\"x\":1}"[..], Format::Json)
    );
    assert_eq!((tags.get("mqtt"), key), (Some("1"), None));
    assert_eq!(client.take(), [Packet::PubAck(ack(5))]);
}

#[test]
fn a_message_of_qos_2_is_published_once_even_if_it_is_received_several_times() {
    let mut client = Client::durable(Version::V5);
    let message = publish("a", Qos::ExactlyOnce, 5, "x");
    client.send(Packet::Publish(message.clone()));
    // The number of its key is stored before it is published.
    assert!(matches!(
        client.reply(Reply::Remembered),
        Command::Remember { .. }
    ));
    client.send(Packet::Publish(message.clone()));
    let Command::Publish { key: Some(key), .. } = client.reply(PUBLISHED) else {
        panic!("not published under a key");
    };
    assert!(client.asked.is_empty(), "published twice");
    client.send(Packet::Publish(message.clone()));
    assert_eq!(
        client.take(),
        [Packet::PubRec(ack(5)), Packet::PubRec(ack(5))]
    );
    client.send(Packet::PubRel(ack(5)));
    assert_eq!(
        client.take(),
        [],
        "the identifier is still in the stored note"
    );
    client.reply(Reply::Remembered);
    assert_eq!(client.take(), [Packet::PubComp(ack(5))]);
    // From now on, the same identifier is a different message.
    client.send(Packet::Publish(message));
    client.reply(Reply::Remembered);
    let Command::Publish { key: next, .. } = client.reply(PUBLISHED) else {
        panic!("not published");
    };
    assert_ne!(next, Some(key));
}

#[test]
fn a_message_of_qos_2_repeated_after_a_crash_has_the_same_key() {
    let mut before = Client::durable(Version::V5);
    let mut message = publish("a", Qos::ExactlyOnce, 5, "x");
    before.send(Packet::Publish(message.clone()));
    let Command::Remember { note, .. } = before.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let Some((_, Command::Publish { key, .. })) = before.asked.pop() else {
        panic!("not published");
    };
    let again = |dup, payload: &'static str| {
        let mut after = Client::unconnected(Version::V5);
        after.send(Packet::Connect(Box::new(connect(Version::V5))));
        after.welcome(Some(Duration::from_secs(9)), true, &note);
        after.packets.clear();
        message.dup = dup;
        message.payload = payload.into();
        after.send(Packet::Publish(message.clone()));
        match after.asked.pop() {
            Some((_, Command::Publish { key, .. })) => key,
            other => panic!("{other:?}"),
        }
    };
    let mut again = again;
    assert_eq!(again(true, "x"), key);
    assert_eq!(again(false, "x"), key, "MQTT.js omits the DUP flag");
    assert_ne!(again(false, "y"), key, "it is a different message");
}

#[test]
fn a_client_that_has_lost_its_state_may_use_an_unreleased_identifier_for_another_message() {
    let mut client = Client::durable(Version::V5);
    let key = |client: &Client| match &client.asked.last().unwrap().1 {
        Command::Publish { key, .. } => key.clone().unwrap(),
        other => panic!("{other:?}"),
    };
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    let before = key(&client);
    let again = |payload| {
        let mut after = client.comes_back();
        after.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, payload)));
        key(&after)
    };
    assert_eq!(again("x"), before, "it is the same message");
    assert_ne!(again("another"), before);
}

#[test]
fn a_new_session_of_the_same_client_does_not_reuse_keys() {
    let mut keys = Vec::new();
    for unix_ms in [1_000_000, 1_000_001] {
        let mut client = Client::unconnected(Version::V5);
        client.unix_ms = unix_ms;
        client.send(Packet::Connect(Box::new(connect(Version::V5))));
        client.welcome(Some(Duration::from_secs(9)), false, &[]);
        client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 1, "x")));
        client.reply(Reply::Remembered);
        let Some((_, Command::Publish { key: Some(key), .. })) = client.asked.pop() else {
            panic!("not published under a key");
        };
        keys.push(key);
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_refused_message_gets_a_reason_code_in_5_0_and_ends_the_connection_in_3_1_1() {
    let refused = || {
        let detail = "no";
        Reply::Refused(Refusal::new(ErrorCode::Forbidden, detail))
    };
    let mut new = Client::of(Version::V5);
    new.send(Packet::Publish(publish("a", Qos::AtLeastOnce, 5, "x")));
    new.reply(refused());
    let [Packet::PubAck(ack)] = &new.take()[..] else {
        panic!("no acknowledgement");
    };
    assert_eq!((ack.packet_id, ack.reason), (5, Reason::NOT_AUTHORIZED));
    assert_eq!(new.closed, None);
    let mut old = Client::of(Version::V3);
    old.send(Packet::Publish(publish("a", Qos::AtLeastOnce, 5, "x")));
    old.reply(refused());
    assert_eq!((old.take(), old.closed), (vec![], Some(1008)));
}

#[test]
fn a_rate_limited_client_is_not_read_until_its_messages_are_published() {
    let mut client = Client::of(Version::V3);
    for id in 1..=2 {
        client.send(Packet::Publish(publish("a", Qos::AtLeastOnce, id, "x")));
    }
    let limited = Refusal::new(ErrorCode::RateLimited, "slow down");
    let limited = limited.after(Duration::from_secs(1));
    client.reply(Reply::Refused(limited.clone()));
    client.reply(Reply::Refused(limited));
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    let due = client.mqtt.poll_timeout().unwrap();
    let mut intents = Vec::new();
    client.mqtt.handle_timeout(due, &mut intents);
    intents
        .into_iter()
        .for_each(|intent| client.carry_out(intent));
    client.reply(PUBLISHED);
    client.reply(PUBLISHED);
    assert_eq!(
        client.take(),
        [Packet::PubAck(ack(1)), Packet::PubAck(ack(2))]
    );
    assert_eq!(client.mqtt.readiness(), Readiness::Ready);
}

#[test]
fn messages_refused_temporarily_are_published_later_in_the_order_in_which_they_were_sent() {
    let mut client = Client::of(Version::V5);
    for (id, text) in [(1, "1"), (2, "2"), (3, "3")] {
        client.send(Packet::Publish(publish("a", Qos::AtLeastOnce, id, text)));
    }
    let asked = std::mem::take(&mut client.asked);
    let mut answer = |which: usize, reply| {
        let id = Some(asked[which].0);
        client.notice(Notice::Reply { id, reply });
    };
    let refused = |code| Reply::Refused(Refusal::new(code, "later"));
    // The engine refuses the third for its rate, and then the broker has no room for the second.
    answer(2, refused(ErrorCode::RateLimited));
    answer(0, PUBLISHED);
    answer(1, refused(ErrorCode::Busy));
    let due = client.mqtt.poll_timeout().unwrap();
    client.tick(due);
    let again = client.asked.iter().map(|(_, command)| match command {
        Command::Publish { data, .. } => data.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(again.collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn packets_after_the_connect_wait_until_it_is_answered() {
    let mut client = Client::unconnected(Version::V3);
    let both = [
        Packet::Connect(Box::new(connect(Version::V3))).encode(Version::V3),
        Packet::PingReq.encode(Version::V3),
    ];
    client.send_bytes(&both.concat());
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    client.welcome(None, false, &[]);
    assert_eq!(client.mqtt.readiness(), Readiness::HasMore);
    client.send_bytes(&[]);
    assert!(matches!(
        client.take()[..],
        [Packet::ConnAck(_), Packet::PingResp]
    ));
}

#[test]
fn subscriptions_of_qos_0_share_encoded_messages_and_those_of_qos_1_are_acknowledged() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.subscribe("a/+", qos(Qos::AtMostOnce)), None);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let suback = |packet: &Packet| match packet {
        Packet::SubAck(acks) => acks.reasons.clone(),
        other => panic!("{other:?}"),
    };
    let granted: Vec<_> = client.take().iter().map(suback).collect();
    assert_eq!(granted, [[Reason::SUCCESS], [Reason::GRANTED_1]]);
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    assert_eq!(
        (message.qos, &message.payload[..]),
        (Qos::AtLeastOnce, &b"hi"[..])
    );
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_is_delivered_with_the_lower_of_both_qos() {
    let mut client = Client::of(Version::V3);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    for (said, expected) in [
        ("0", Qos::AtMostOnce),
        ("1", Qos::AtLeastOnce),
        ("2", Qos::ExactlyOnce),
    ] {
        client.deliver(number, &publication("b", "hi", &[("mqtt", said)]), 7, 0);
        let [Packet::Publish(message)] = &client.take()[..] else {
            panic!("not delivered");
        };
        assert_eq!(message.qos, expected);
        let id = message.packet_id;
        match expected {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => client.send(Packet::PubAck(ack(id))),
            Qos::ExactlyOnce => {
                client.send(Packet::PubRec(ack(id)));
                assert_eq!(client.take(), [Packet::PubRel(ack(id))]);
                client.send(Packet::PubComp(ack(id)));
            }
        }
    }
    assert_eq!(client.told, vec![done(number, 7); 3]);
}

#[test]
fn a_pubrel_is_stored_before_it_is_sent_and_is_sent_again_after_a_crash() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    assert_eq!(client.take(), []);
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    assert_eq!(client.take(), [Packet::PubRel(ack(id))]);

    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(id))]);
    // The engine delivers it again, because it was not completed.
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    assert_eq!(after.take(), []);
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(after.told, [done(number, 7)]);
}

#[test]
fn releases_are_repeated_in_the_order_in_which_the_client_received_the_messages() {
    for version in [Version::V3, Version::V5] {
        let mut client = Client::durable(version);
        let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
        client.take();
        for offset in 1..=40 {
            client.deliver(number, &publication("b", "hi", &[]), offset, 0);
        }
        let sent = messages(client.take());
        let ids: Vec<_> = sent.iter().map(|message| message.packet_id).collect();
        assert_eq!(ids.len(), 40);
        for id in &ids {
            client.send(Packet::PubRec(ack(*id)));
        }
        // A client such as MQTT.js passes a message on when it gets the PUBREL.
        let again = client.comes_back().comes_back().take();
        let releases: Vec<_> = ids.iter().map(|id| Packet::PubRel(ack(*id))).collect();
        assert_eq!(again[1..], releases);
    }
}

#[test]
fn a_message_that_the_client_has_completed_is_not_released_again_on_the_next_connection() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let id = messages(client.take())[0].packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    assert_eq!(client.comes_back().take()[1..], [Packet::PubRel(ack(id))]);
    client.send(Packet::PubComp(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
    assert_eq!(client.comes_back().take()[1..], []);
}

#[test]
fn a_message_completed_before_its_redelivery_is_not_sent_again() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    after.take();
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(
        after.told,
        [],
        "the engine has not delivered it on this connection"
    );
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    assert_eq!((after.take(), after.told), (vec![], vec![done(number, 7)]));
}

#[test]
fn done_commands_are_stored_together_with_the_note_that_omits_their_messages() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    // In one read: a message, which is published after a note, and the completion of the other.
    let bytes = [
        Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")).encode(Version::V5),
        Packet::PubComp(ack(id)).encode(Version::V5),
    ]
    .concat();
    let mut intents = Vec::new();
    let incoming = Incoming::Binary(&bytes);
    client.mqtt.receive(incoming, client.now, &mut intents);
    let commands: Vec<_> = intents
        .iter()
        .map(|intent| match intent {
            Intent::Command { command, .. } => match command {
                Command::Done { .. } => "done",
                Command::Remember { .. } => "remember",
                Command::Publish { .. } => "publish",
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(commands, ["done", "remember", "publish"]);
}

#[test]
fn a_message_completed_before_a_crash_does_not_stay_in_flight() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        receive_maximum: Some(1),
        session_expiry: Some(100),
        ..Properties::default()
    }));
    let mut client = Client::new(connect.clone());
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let Command::Remember { note, .. } = client.reply(Reply::Remembered) else {
        panic!("no note");
    };
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect)));
    after.welcome(Some(Duration::from_secs(9)), true, &note);
    after.send(Packet::PubComp(ack(id)));
    after.take();
    // The engine was told that it is done, and continues with the next message.
    after.deliver(number, &publication("b", "next", &[]), 8, 0);
    assert!(matches!(after.take()[..], [Packet::Publish(_)]));
}

#[test]
fn an_unacknowledged_message_is_sent_again_with_the_same_identifier() {
    let mut first = Client::durable(Version::V5);
    let number = first.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    first.take();
    let note = {
        first.send(Packet::PingReq);
        first.take();
        first.subscribe("c", qos(Qos::AtLeastOnce));
        first.take();
        first.deliver(number, &publication("b", "hi", &[]), 7, 0);
        first.take()
    };
    let [Packet::Publish(before)] = &note[..] else {
        panic!("not delivered");
    };
    let mut after = Client::durable(Version::V5);
    let number = after.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    after.take();
    after.deliver(number, &publication("b", "hi", &[]), 7, 1);
    let [Packet::Publish(again)] = &after.take()[..] else {
        panic!("not delivered again");
    };
    assert_eq!((again.packet_id, again.dup), (before.packet_id, true));
}

#[test]
fn no_more_messages_are_in_flight_than_the_receive_maximum() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        receive_maximum: Some(2),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    for offset in 1..=4 {
        client.deliver(number, &publication("b", "hi", &[]), offset, 0);
    }
    let sent = client.take();
    assert_eq!(sent.len(), 2);
    let Packet::Publish(first) = &sent[0] else {
        panic!("{sent:?}");
    };
    client.send(Packet::PubAck(ack(first.packet_id)));
    assert_eq!(client.take().len(), 1);
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

#[test]
fn a_message_that_was_held_is_sent_before_the_engine_may_deliver_the_next_one() {
    let mut client = Client::new(narrow());
    let number = client.subscribe("a", qos(Qos::AtLeastOnce)).unwrap();
    client.subscribe("b", qos(Qos::AtLeastOnce));
    client.take();
    for (offset, data) in [(1, "1"), (2, "2"), (3, "3")] {
        client.deliver(number, &publication("a", data, &[]), offset, 0);
    }
    let sent = messages(client.take());
    assert_eq!(sent.len(), 2);
    // In one read: the client acknowledges both.
    let acks = sent.iter().map(|message| ack(message.packet_id));
    let bytes: Vec<_> = acks
        .flat_map(|ack| Packet::PubAck(ack).encode(Version::V5))
        .collect();
    let mut intents = Vec::new();
    let incoming = Incoming::Binary(&bytes);
    client.mqtt.receive(incoming, client.now, &mut intents);
    let mut next = [(4, "4"), (5, "5")].into_iter();
    for intent in intents {
        let is_command = matches!(intent, Intent::Command { .. });
        client.carry_out(intent);
        if is_command && let Some((offset, data)) = next.next() {
            // The engine has room for another message.
            client.deliver(number, &publication("a", data, &[]), offset, 0);
        }
    }
    assert_eq!(next.next(), None, "both are done");
    assert_eq!(payloads(client.take()), ["3", "4"]);
}

#[test]
fn messages_do_not_wait_for_those_of_an_earlier_connection_that_the_client_has_completed() {
    let mut client = Client::new(narrow());
    let a = client.subscribe("a", qos(Qos::ExactlyOnce)).unwrap();
    let b = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    for offset in 1..=2 {
        client.deliver(a, &publication("a", "a", &[]), offset, 0);
    }
    let sent = messages(client.take());
    for message in &sent {
        client.send(Packet::PubRec(ack(message.packet_id)));
    }
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(narrow())));
    after.others.clear();
    after.welcome(Some(Duration::from_secs(9)), true, &client.note);
    after.take();
    for (offset, data) in [(1, "1"), (2, "2"), (3, "3")] {
        after.deliver(b, &publication("b", data, &[]), offset, 0);
    }
    assert_eq!(after.take(), [], "two are released and not completed");
    // The engine has not delivered it on this connection.
    after.send(Packet::PubComp(ack(sent[0].packet_id)));
    assert_eq!(payloads(after.take()), ["1"]);
    // It delivers the other one, behind what is held for `b`.
    after.deliver(a, &publication("a", "a", &[]), 2, 1);
    assert_eq!(after.take(), []);
    after.send(Packet::PubComp(ack(sent[1].packet_id)));
    assert_eq!(payloads(after.take()), ["2"]);
    assert_eq!(after.told, [done(a, 2)]);
}

#[test]
fn retained_messages_are_sent_after_the_suback_with_the_retain_flag() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b/#".into(), qos(Qos::AtLeastOnce))],
    }));
    let Some((_, Command::Subscribe(wish))) = client.asked.first().cloned() else {
        panic!("not subscribed");
    };
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    client.take();
    let Some((_, Command::Values { filter, after, .. })) = client.asked.first().cloned() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!((filter.as_str(), after), ("b/#", None));
    let next = ChannelName::new("b/x").ok();
    client.reply(Reply::Values {
        filter: filter.clone(),
        values: vec![publication("b/x", "old", &[("key", "retained")])],
        next: next.clone(),
    });
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("nothing was retained");
    };
    assert!(message.retain && !message.dup && message.qos == Qos::AtLeastOnce);
    // The next page is requested after the first.
    let Some((_, Command::Values { after, .. })) = client.asked.first() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(*after, next);
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [], "the engine did not deliver it");
}

#[test]
fn a_subscription_to_a_channel_without_history_is_granted_qos_0() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::ExactlyOnce))],
    }));
    let no = Refusal::new(ErrorCode::NoHistory, "none");
    client.reply(Reply::Refused(no));
    let Some((_, Command::Subscribe(wish))) = client.asked.first().cloned() else {
        panic!("not asked again");
    };
    assert_eq!(wish.flow, Flow::Pushed);
    client.reply(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SUCCESS]);
}

#[test]
fn each_filter_has_its_own_answer() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![
            ("$share/g".into(), Options::default()),
            ("a+".into(), Options::default()),
        ],
    }));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::TOPIC_FILTER_INVALID; 2]);
    client.send(Packet::Unsubscribe(Unsubscribe {
        packet_id: 10,
        properties: None,
        filters: vec!["a".into()],
    }));
    let [Packet::UnsubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::NO_SUBSCRIPTION_EXISTED]);
}

#[test]
fn a_silent_client_is_disconnected_after_one_and_a_half_times_the_keep_alive() {
    let mut client = Client::of(Version::V5);
    let begun = client.now;
    assert_eq!(
        client.mqtt.poll_timeout(),
        Some(begun + Duration::from_secs(15))
    );
    client.now = begun + Duration::from_secs(10);
    client.send(Packet::PingReq);
    client.take();
    let tick = |client: &mut Client, seconds| {
        let mut intents = Vec::new();
        let now = begun + Duration::from_secs(seconds);
        client.mqtt.handle_timeout(now, &mut intents);
        intents
            .into_iter()
            .for_each(|intent| client.carry_out(intent));
    };
    tick(&mut client, 15);
    assert_eq!(client.closed, None);
    assert_eq!(
        client.mqtt.poll_timeout(),
        Some(begun + Duration::from_secs(25))
    );
    tick(&mut client, 25);
    let [Packet::Disconnect(Reasoned { reason, .. })] = &client.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(
        (*reason, client.closed),
        (Reason::KEEP_ALIVE_TIMEOUT, Some(1008))
    );
    assert!(
        !client.others.contains(&Intent::Leave),
        "its will must be published"
    );
}

#[test]
fn a_disconnect_keeps_the_will_from_being_published_unless_it_asks_for_it() {
    for (reason, leaves) in [
        (Reason::SUCCESS, true),
        (Reason::DISCONNECT_WITH_WILL, false),
    ] {
        let mut client = Client::of(Version::V5);
        let properties = None;
        client.send(Packet::Disconnect(Reasoned { reason, properties }));
        assert_eq!(client.others.contains(&Intent::Leave), leaves);
        assert_eq!(client.closed, Some(1000));
    }
}

#[test]
fn a_will_becomes_a_publication_with_a_delay() {
    let mut client = Client::unconnected(Version::V5);
    let mut connect = connect(Version::V5);
    connect.will = Some(Will {
        topic: "gone".into(),
        payload: "device".into(),
        qos: Qos::ExactlyOnce,
        retain: true,
        properties: Some(Box::new(Properties {
            will_delay: Some(3),
            ..Properties::default()
        })),
    });
    client.send(Packet::Connect(Box::new(connect)));
    let Some(Intent::Connect(connect)) = client.others.pop() else {
        panic!("not connected");
    };
    let will = connect.named.unwrap().will.unwrap();
    assert_eq!(
        (will.channel.as_str(), will.delay),
        ("gone", Duration::from_secs(3))
    );
    assert_eq!(will.tags.get(CONFLATION_TAG), Some("retained"));
}

#[test]
fn a_refused_connect_is_answered_with_a_connack_and_closed() {
    for (version, code) in [(Version::V3, 4), (Version::V5, 0x86)] {
        let mut client = Client::unconnected(version);
        let mut connect = connect(version);
        connect.user = Some("ann".into());
        connect.password = Some(Bytes::from_static(b"wrong"));
        client.send(Packet::Connect(Box::new(connect)));
        let refusal = Refusal::new(ErrorCode::Unauthenticated, "token: is wrong");
        let mut out = Vec::new();
        client.mqtt.refused(Some(CommandId(0)), &refusal, &mut out);
        client.hear(out);
        client.poll();
        let [Packet::ConnAck(connack)] = &client.take()[..] else {
            panic!("no answer");
        };
        assert_eq!((connack.reason, client.closed), (Reason(code), Some(1008)));
    }
}

#[test]
fn invalid_packets_end_the_connection_with_their_reason() {
    let suback = Packet::PingResp.encode(Version::V5);
    let second = Packet::Connect(Box::new(connect(Version::V5))).encode(Version::V5);
    for (bytes, reason) in [
        (second, Reason::PROTOCOL_ERROR),
        (suback, Reason::PROTOCOL_ERROR),
        (vec![0xf0, 0], Reason::PROTOCOL_ERROR),
        (vec![0x36, 0], Reason::MALFORMED),
        (vec![0x30, 0xff, 0xff, 0x7f], Reason::PACKET_TOO_LARGE),
        // An alias beyond the maximum, and an undefined one.
        (
            vec![0x30, 7, 0, 1, b'a', 3, 0x23, 0, 99],
            Reason::TOPIC_ALIAS_INVALID,
        ),
        (
            vec![0x30, 6, 0, 0, 3, 0x23, 0, 1],
            Reason::TOPIC_ALIAS_INVALID,
        ),
    ] {
        let mut client = Client::of(Version::V5);
        client.send_bytes(&bytes);
        let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
            panic!("not disconnected: {bytes:?}");
        };
        assert_eq!(disconnect.reason, reason, "{bytes:?}");
        assert!(client.closed.is_some());
        // Everything after it is ignored.
        client.send(Packet::PingReq);
        assert_eq!(client.take(), []);
    }
}

#[test]
fn a_5_0_client_that_exceeds_the_receive_maximum_is_disconnected() {
    let mut client = Client::of(Version::V5);
    for id in 1..=64 {
        client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, id, "x")));
        client.reply(PUBLISHED);
    }
    assert_eq!(client.closed, None);
    client.packets.clear();
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 65, "x")));
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(disconnect.reason, Reason::RECEIVE_MAXIMUM_EXCEEDED);
}

#[test]
fn topic_aliases_work_in_both_directions_where_both_sides_allow_them() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        topic_alias_maximum: Some(1),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    client.take();
    let mut message = publish("a", Qos::AtMostOnce, 0, "x");
    let alias = |message: &mut Publish| {
        message.properties.get_or_insert_default().topic_alias = Some(1);
    };
    alias(&mut message);
    client.send(Packet::Publish(message.clone()));
    client.reply(PUBLISHED);
    message.topic = "".into();
    client.send(Packet::Publish(message));
    let Command::Publish { channel, .. } = client.reply(PUBLISHED) else {
        panic!("not published");
    };
    assert_eq!(channel.as_str(), "a");

    let number = client.subscribe("b/+", qos(Qos::AtMostOnce)).unwrap();
    client.take();
    for topic in ["b/1", "b/1", "b/2"] {
        client.deliver(number, &publication(topic, "hi", &[]), 7, 0);
    }
    let sent: Vec<_> = client
        .take()
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(sent) => {
                let alias = sent.properties.and_then(|all| all.topic_alias);
                (sent.topic.to_string(), alias)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [("b/1", Some(1)), ("", Some(1)), ("b/2", None)];
    assert_eq!(
        sent,
        expected.map(|(topic, alias)| (topic.to_owned(), alias))
    );
}

#[test]
fn a_message_above_the_clients_maximum_packet_size_is_skipped_and_counts_as_delivered() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        maximum_packet_size: Some(50),
        ..Properties::default()
    }));
    let mut client = Client::new(connect);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    let long = publication(
        "b",
        "a text of more than fifty bytes, with the topic and all",
        &[],
    );
    client.deliver(number, &long, 7, 0);
    assert_eq!(
        (client.take(), client.told),
        (vec![], vec![done(number, 7)])
    );
}

#[test]
fn a_client_that_takes_no_packet_of_the_size_of_an_answer_is_closed_without_it() {
    let with = |size| {
        let mut connect = connect(Version::V5);
        connect.properties = Some(Box::new(Properties {
            maximum_packet_size: Some(size),
            ..Properties::default()
        }));
        Client::new(connect)
    };
    // The CONNACK contains what the client must know.
    let mut client = with(10);
    assert_eq!((client.take(), client.closed), (vec![], Some(1009)));
    // The SUBACK has a reason for each filter.
    let mut client = with(50);
    client.packets.clear();
    let options = Options {
        retain_handling: RetainHandling::Never,
        ..Options::default()
    };
    let filters = (0..60).map(|n| (format!("b/{n}").into(), options));
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 7,
        properties: None,
        filters: filters.collect(),
    }));
    while let Some((_, command)) = client.asked.first() {
        let reply = match command {
            Command::Subscribe(wish) => Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(1, 1),
                live: true,
                by_server: false,
                acknowledged: false,
            },
            other => panic!("{other:?}"),
        };
        client.reply(reply);
    }
    assert_eq!((client.take(), client.closed), (vec![], Some(1009)));
    // Every other answer fits.
    let mut client = with(50);
    client.packets.clear();
    client.send(Packet::PingReq);
    assert_eq!(
        (client.take(), client.closed),
        (vec![Packet::PingResp], None)
    );
}

#[test]
fn a_client_whose_session_is_taken_over_gets_the_reason() {
    let mut client = Client::of(Version::V5);
    client.notice(Notice::Close {
        reason: CloseReason::Replaced,
    });
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("not told");
    };
    assert_eq!(disconnect.reason, Reason::SESSION_TAKEN_OVER);
}

#[test]
fn a_text_message_is_closed_with_1003() {
    let mut client = Client::unconnected(Version::V3);
    let mut intents = Vec::new();
    let now = client.now;
    client.mqtt.receive(Incoming::Text("hi"), now, &mut intents);
    intents
        .into_iter()
        .for_each(|intent| client.carry_out(intent));
    assert_eq!(client.closed, Some(1003));
}

#[test]
fn a_released_message_of_a_filter_is_not_sent_again_in_the_epoch_after_a_crash() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.send(Packet::PubRec(ack(id)));
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::PubComp(ack(id)));
    // The order of a filter continues in the epoch of the new start.
    after.epoch = 2;
    after.deliver(number, &publication("b/x", "hi", &[]), 7, 1);
    assert_eq!(after.take(), []);
    let done = Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(number)),
        position: Position::new(2, 7),
        cumulative: false,
    };
    assert_eq!(after.told, [done]);
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

#[test]
fn messages_in_flight_before_a_gap_are_done_once_the_client_acknowledges_them() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 2, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.notice(gap(number, (2, 9), GapReason::EvictedBySize, None));
    client.send(Packet::PubAck(ack(id)));
    assert_eq!(client.told, [done(number, 2)]);
}

/// Such a gap says that channels without history may have lost something, and nothing else has.
#[test]
fn a_gap_after_a_restart_leaves_messages_in_flight() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "hi", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    client.notice(gap(number, (6, 6), GapReason::Restarted, None));
    client.send(Packet::PubAck(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_of_a_stream_that_has_ended_keeps_its_identifier_and_is_not_taken_for_a_new_one() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b/#", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b/x", "old", &[]), 5, 0);
    let [Packet::Publish(old)] = &client.take()[..] else {
        panic!("not delivered");
    };
    let agreed = Some(Position::new(1, 3));
    client.notice(gap(number, (5, 3), GapReason::Diverged, agreed));
    client.epoch = 2;
    client.deliver(number, &publication("b/x", "new", &[]), 5, 0);
    let [Packet::Publish(new)] = &client.take()[..] else {
        panic!("the new message is not delivered");
    };
    assert_ne!(new.packet_id, old.packet_id);
    client.send(Packet::PubRec(ack(old.packet_id)));
    client.send(Packet::PubComp(ack(old.packet_id)));
    assert_eq!(client.told, [], "the engine does not wait for it any more");
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

#[test]
fn retained_messages_that_the_client_has_not_acknowledged_come_again_on_the_next_connection() {
    let mut client = Client::durable(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b/#".into(), qos(Qos::ExactlyOnce))],
    }));
    let value = |name: &str, sequence| {
        let value = publication(name, "old", &[("key", "retained")]);
        Arc::new(Publication {
            sequence,
            ..Publication::clone(&value)
        })
    };
    let values = [value("b/x", 3), value("b/y", 4)];
    retained(&mut client, &values);
    let sent = messages(client.take());
    assert_eq!(sent.len(), 2);
    let (first, second) = (sent[0].packet_id, sent[1].packet_id);
    client.send(Packet::PubRec(ack(first)));

    let mut after = client.comes_back();
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(first))]);
    retained(&mut after, &values);
    let again = messages(after.take());
    let [again] = &again[..] else {
        panic!("{again:?}");
    };
    assert_eq!((again.packet_id, &*again.topic), (second, "b/y"));
    after.send(Packet::PubComp(ack(first)));
    after.send(Packet::PubRec(ack(second)));
    after.send(Packet::PubComp(ack(second)));
    // All have arrived: nothing comes again.
    let last = after.comes_back();
    assert!(last.asked.is_empty(), "{:?}", last.asked);
}

#[test]
fn a_subscription_of_qos_0_that_is_refused_for_its_rate_on_the_next_connection_is_made_later() {
    let mut client = Client::durable(Version::V3);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtMostOnce))],
    }));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    let pause = Duration::from_secs(1);
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast").after(pause);
    after.reply(Reply::Refused(refusal));
    assert!(after.asked.is_empty());
    after.tick(after.now + pause);
    let Some((_, Command::Subscribe(wish))) = after.asked.first() else {
        panic!("the subscription is lost: {:?}", after.asked);
    };
    assert_eq!(wish.target.as_str(), "b");
}

#[test]
fn a_client_is_disconnected_when_a_subscription_of_qos_0_is_not_allowed_any_more() {
    let mut client = Client::durable(Version::V5);
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 9,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtMostOnce))],
    }));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    after.take();
    after.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let [Packet::Disconnect(Reasoned { reason, .. })] = &after.take()[..] else {
        panic!("not disconnected");
    };
    assert_eq!(*reason, Reason::NOT_AUTHORIZED);
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

#[test]
fn messages_that_wait_for_the_client_are_not_lost_when_it_lowers_the_qos() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let never = Options {
        retain_handling: RetainHandling::Never,
        ..Options::default()
    };
    let [Packet::SubAck(acks)] = &renew(&mut client, "b", never)[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SUCCESS]);
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [message] = &messages(client.take())[..] else {
        panic!("not delivered");
    };
    assert_eq!(message.qos, Qos::AtMostOnce);
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn no_local_may_change_while_messages_wait() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let no_local = Options {
        no_local: true,
        retain_handling: RetainHandling::Never,
        ..qos(Qos::AtLeastOnce)
    };
    renew(&mut client, "b", no_local);
    let own = |session| {
        Arc::new(Publication {
            publisher: Some(Publisher {
                session: SessionId::from_bytes([session; 16]),
                user: "".into(),
            }),
            ..Publication::clone(&publication("b", "hi", &[]))
        })
    };
    client.deliver(number, &own(7), 7, 0);
    assert_eq!(
        (client.take(), &client.told[..]),
        (vec![], &[done(number, 7)][..])
    );
    client.deliver(number, &own(8), 8, 0);
    assert_eq!(messages(client.take()).len(), 1);
}

#[test]
fn a_filter_that_is_subscribed_to_again_before_the_answer_shares_the_answer() {
    let mut client = Client::of(Version::V5);
    for packet_id in [9, 10] {
        client.send(Packet::Subscribe(Subscribe {
            packet_id,
            properties: None,
            filters: vec![("b".into(), qos(Qos::AtLeastOnce))],
        }));
    }
    assert_eq!(client.take(), [], "nothing is granted yet");
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let reasons: Vec<_> = client
        .take()
        .into_iter()
        .map(|packet| match packet {
            Packet::SubAck(acks) => (acks.packet_id, acks.reasons),
            other => panic!("{other:?}"),
        })
        .collect();
    let no = vec![Reason::NOT_AUTHORIZED];
    assert_eq!(reasons, [(9, no.clone()), (10, no)]);
}

#[test]
fn subscribing_again_counts_against_the_rate_and_stores_nothing_if_it_is_refused() {
    let mut client = Client::durable(Version::V5);
    client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    client.send(Packet::Subscribe(Subscribe {
        packet_id: 10,
        properties: None,
        filters: vec![("b".into(), qos(Qos::AtLeastOnce))],
    }));
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast");
    assert_eq!(client.reply(Reply::Refused(refusal)), Command::Ping);
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::QUOTA_EXCEEDED]);
    assert!(client.asked.is_empty(), "{:?}", client.asked);
}

#[test]
fn a_will_for_a_topic_of_the_server_is_refused() {
    let mut connect = connect(Version::V5);
    connect.will = Some(Will {
        topic: "$SYS/broker/version".into(),
        payload: "x".into(),
        qos: Qos::AtMostOnce,
        retain: false,
        properties: None,
    });
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let [Packet::ConnAck(connack)] = &client.take()[..] else {
        panic!("not refused");
    };
    assert_eq!(connack.reason, Reason::NOT_AUTHORIZED);
}

#[test]
fn authentication_data_without_a_method_is_a_protocol_error() {
    let mut connect = connect(Version::V5);
    connect.properties = Some(Box::new(Properties {
        authentication_data: Some("x".into()),
        ..Properties::default()
    }));
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let [Packet::ConnAck(connack)] = &client.take()[..] else {
        panic!("not refused");
    };
    assert_eq!(connack.reason, Reason::PROTOCOL_ERROR);
}

#[test]
fn a_client_that_is_not_read_is_not_silent() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::Publish(publish("a", Qos::AtMostOnce, 0, "x")));
    let busy = Refusal::new(ErrorCode::RateLimited, "wait").after(Duration::from_secs(60));
    client.reply(Reply::Refused(busy));
    assert_eq!(client.mqtt.readiness(), Readiness::Waits);
    client.tick(client.now + Duration::from_secs(15));
    assert_eq!(client.closed, None);
}

#[test]
fn an_incomplete_packet_is_reported_with_its_beginning() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.mqtt.unfinished(), Unfinished::default());
    let begun = client.now;
    let packet = Packet::Publish(publish("a", Qos::AtMostOnce, 0, "hello"));
    let bytes = packet.encode(Version::V5);
    client.send_bytes(&bytes[..3]);
    client.now += Duration::from_secs(1);
    client.send_bytes(&bytes[3..5]);
    let since = Some(begun);
    assert_eq!(client.mqtt.unfinished(), Unfinished { bytes: 5, since });
    client.send_bytes(&[&bytes[5..], &bytes[..2]].concat());
    let since = Some(client.now);
    assert_eq!(client.mqtt.unfinished(), Unfinished { bytes: 2, since });
    client.send_bytes(&bytes[2..]);
    assert_eq!(client.mqtt.unfinished(), Unfinished::default());
}

#[test]
fn a_message_of_qos_0_that_waited_is_delivered_with_the_time_that_is_left_or_not_at_all() {
    let mut client = Client::of(Version::V5);
    assert_eq!(client.subscribe("b", qos(Qos::AtMostOnce)), None);
    client.take();
    let publication = publication("b", "hi", &[("mqtt", "0"), ("expiry", "5")]);
    let shared = Shared {
        publication: Some(Arc::clone(&publication)),
        ..Shared::whole("".to_owned())
    };
    let mut late = |unix_ms| {
        let recipient = Recipient {
            unix_ms,
            ..Recipient::PLAIN
        };
        client.mqtt.head(&recipient, &shared)
    };
    let Head::Whole(payload) = late(3_000) else {
        panic!("not delivered");
    };
    assert_eq!(late(5_000), Head::Nothing);
    client.hear(vec![payload]);
    let [message] = &messages(client.take())[..] else {
        panic!("no message");
    };
    let left = message
        .properties
        .as_ref()
        .and_then(|all| all.message_expiry);
    assert_eq!(left, Some(2));
}

#[test]
fn what_a_new_connection_sends_waits_until_the_note_of_the_one_before_is_on_disk() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let [message] = &messages(client.take())[..] else {
        panic!("not delivered");
    };
    let id = message.packet_id;
    // The connection is lost while the release is being stored.
    client.send(Packet::PubRec(ack(id)));
    let mut after = Client::unconnected(Version::V5);
    after.send(Packet::Connect(Box::new(connect(Version::V5))));
    after.welcome_unstored(Some(Duration::from_secs(9)), true, &client.note);
    // A release that the client repeats, of a message that is not known any more.
    after.send(Packet::PubRel(ack(77)));
    assert!(matches!(after.take()[..], [Packet::ConnAck(_)]));
    assert!(matches!(
        after.reply(Reply::Remembered),
        Command::Remember { .. }
    ));
    // The PUBCOMP may have been lost with the earlier connection, so this is no error.
    let expected = [Packet::PubRel(ack(id)), Packet::PubComp(ack(77))];
    assert_eq!(after.take(), expected);
}

#[test]
fn a_release_of_nothing_is_an_error_if_the_session_ends_with_its_connection() {
    let mut client = Client::of(Version::V5);
    client.send(Packet::PubRel(ack(77)));
    let not_found = Ack::new(77, Reason::PACKET_ID_NOT_FOUND);
    assert_eq!(client.take(), [Packet::PubComp(not_found)]);
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

#[test]
fn a_shared_filter_becomes_a_member_of_a_group_beside_the_clients_own_subscription() {
    for version in [Version::V3, Version::V5] {
        let mut client = Client::of(version);
        let own = client.subscribe("a/+", qos(Qos::AtLeastOnce));
        ask_for(&mut client, "$share/g/a/+", qos(Qos::AtLeastOnce));
        let share = group_asked(&client).unwrap();
        assert_eq!((share.group.as_str(), share.keep), ("g", Duration::ZERO));
        let Some((_, Command::Subscribe(wish))) = client.asked.last() else {
            panic!("nothing is asked");
        };
        assert_eq!(wish.target.as_str(), "a/+");
        assert!(matches!(wish.flow, Flow::Acknowledged { .. }));
        assert_ne!(wish.id.map(|id| id.0), own);
        let subscription = wish.name();
        client.reply(Reply::Subscribed {
            subscription,
            position: Position::new(1, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        let [Packet::SubAck(_), Packet::SubAck(acks)] = &client.take()[..] else {
            panic!("no answers");
        };
        assert_eq!(acks.reasons, [Reason::GRANTED_1]);
        // §3.8.3.1: it gets no retained messages.
        assert!(client.asked.is_empty(), "{:?}", client.asked);
        client.send(Packet::Unsubscribe(Unsubscribe {
            packet_id: 10,
            properties: None,
            filters: vec!["$share/other/a/+".into(), "$share/g/a/+".into()],
        }));
        let [(_, Command::Unsubscribe { subscription })] = &client.asked[..] else {
            panic!("{:?}", client.asked);
        };
        assert_ne!(
            *subscription,
            SubscriptionKey::Id(SubscriptionId(own.unwrap()))
        );
    }
}

#[test]
fn a_shared_subscription_of_qos_0_acknowledges_what_it_sends() {
    let mut client = Client::of(Version::V5);
    let number = client.subscribe("$share/g/a", Options::default()).unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 1);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    assert_eq!((message.qos, message.dup), (Qos::AtMostOnce, false));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_that_another_member_had_before_is_no_duplicate() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::AtLeastOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 3);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    assert_eq!((message.qos, message.dup), (Qos::AtLeastOnce, false));
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn a_message_of_qos_2_belongs_to_its_member_once_it_is_received() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::ExactlyOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    let id = message.packet_id;
    assert_eq!(client.told, []);
    client.send(Packet::PubRec(ack(id)));
    assert_eq!(client.told, [done(number, 7)]);
    assert_eq!(client.take(), [Packet::PubRel(ack(id))]);
    client.send(Packet::PubComp(ack(id)));
    assert_eq!(client.told, [done(number, 7)], "acknowledged twice");
}

#[test]
fn a_session_that_outlives_its_connection_shares_with_qos_1_at_most() {
    let mut client = Client::durable(Version::V5);
    client.subscribe("$share/g/a", qos(Qos::ExactlyOnce));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::GRANTED_1]);
    // It is a member again, without being asked.
    let after = client.comes_back();
    assert!(after.asked.is_empty(), "{:?}", after.asked);
}

#[test]
fn a_channel_without_history_cannot_be_shared() {
    let mut client = Client::of(Version::V5);
    ask_for(&mut client, "$share/g/a", qos(Qos::AtLeastOnce));
    client.reply(Reply::Refused(Refusal::new(ErrorCode::NoHistory, "none")));
    let [Packet::SubAck(acks)] = &client.take()[..] else {
        panic!("no answer");
    };
    assert_eq!(acks.reasons, [Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED]);
}

#[test]
fn a_gap_of_its_group_does_not_keep_a_member_from_acknowledging_what_it_has() {
    let mut client = Client::of(Version::V5);
    let number = client
        .subscribe("$share/g/a", qos(Qos::AtLeastOnce))
        .unwrap();
    client.take();
    client.deliver(number, &publication("a", "x", &[]), 7, 0);
    let [Packet::Publish(message)] = &client.take()[..] else {
        panic!("no message");
    };
    client.notice(Notice::Gap {
        subscription: SubscriptionName {
            target: ChannelName::new("a").unwrap().into(),
            id: Some(SubscriptionId(number)),
        },
        from: Position::new(1, 2),
        to: Position::new(1, 9),
        reason: GapReason::EvictedBySize,
        agreed: None,
    });
    client.send(Packet::PubAck(ack(message.packet_id)));
    assert_eq!(client.told, [done(number, 7)]);
}

#[test]
fn when_the_server_stops_a_client_of_5_0_is_referred_to_another_server() {
    let reconnect = || Notice::Reconnect {
        after: Duration::from_secs(1),
    };
    let stopped = |version, packet_size| {
        let mut connect = connect(version);
        connect.properties = (version == Version::V5).then(|| {
            Box::new(Properties {
                maximum_packet_size: packet_size,
                ..Properties::default()
            })
        });
        let mut client = Client::unconnected(version);
        client.mqtt = Mqtt::new(1 << 16).with_server_reference(Some("other.example:8883"));
        client.send(Packet::Connect(Box::new(connect)));
        client.others.clear();
        client.welcome(None, false, &[]);
        client.packets.clear();
        client.notice(reconnect());
        assert_eq!(client.closed, Some(1012));
        client.take()
    };
    let [Packet::Disconnect(disconnect)] = &stopped(Version::V5, None)[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::USE_ANOTHER_SERVER);
    let reference = disconnect
        .properties
        .as_ref()
        .unwrap()
        .server_reference
        .clone();
    assert_eq!(reference.as_deref(), Some("other.example:8883"));
    // It does not fit, or is unknown to the version.
    let [Packet::Disconnect(disconnect)] = &stopped(Version::V5, Some(50))[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::SERVER_SHUTTING_DOWN);
    assert_eq!(stopped(Version::V3, None), []);
    // Without another server, nothing changes.
    let mut client = Client::of(Version::V5);
    client.notice(reconnect());
    let [Packet::Disconnect(disconnect)] = &client.take()[..] else {
        panic!("no DISCONNECT");
    };
    assert_eq!(disconnect.reason, Reason::SERVER_SHUTTING_DOWN);
}

fn unsubscribe(packet_id: u16, filter: &str) -> Packet {
    Packet::Unsubscribe(Unsubscribe {
        packet_id,
        properties: None,
        filters: vec![filter.into()],
    })
}

fn subscribe(packet_id: u16, filter: &str, options: Options) -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id,
        properties: None,
        filters: vec![(filter.into(), options)],
    })
}

/// The packet identifiers and the reasons of SUBACKs.
fn granted(packets: Vec<Packet>) -> Vec<(u16, Vec<Reason>)> {
    let acks = packets.into_iter().filter_map(|packet| match packet {
        Packet::SubAck(acks) => Some((acks.packet_id, acks.reasons)),
        _ => None,
    });
    acks.collect()
}

#[test]
fn a_subscription_that_the_client_ends_or_replaces_before_the_answer_was_granted() {
    let unanswered = || Refusal::new(ErrorCode::NotSubscribed, "unsubscribed before it began");
    for version in [Version::V3, Version::V5] {
        let mut client = Client::of(version);
        client.send(subscribe(9, "b", qos(Qos::AtLeastOnce)));
        client.send(unsubscribe(10, "b"));
        client.reply(Reply::Refused(unanswered()));
        // 5.0 §3.9.3 and 3.1.1 §3.9.3 allow only some codes; MQTT.js ends the connection otherwise.
        assert_eq!(granted(client.take()), [(9, vec![Reason::GRANTED_1])]);

        let mut client = Client::of(version);
        client.send(subscribe(9, "b", qos(Qos::AtMostOnce)));
        client.send(subscribe(10, "b", qos(Qos::ExactlyOnce)));
        client.reply(Reply::Refused(unanswered()));
        assert_eq!(granted(client.take()), [(9, vec![Reason::SUCCESS])]);
    }
}

#[test]
fn a_released_message_of_an_ended_subscription_is_gone_once_the_client_has_completed_it() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    let id = messages(client.take())[0].packet_id;
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    client.send(unsubscribe(10, "b"));
    client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("b").unwrap().into(),
    });
    client.reply(Reply::Remembered);
    let mut after = client.comes_back();
    assert_eq!(after.take()[1..], [Packet::PubRel(ack(id))]);
    after.send(Packet::PubComp(ack(id)));
    assert_eq!(
        after.comes_back().take()[1..],
        [],
        "it is not released again"
    );

    // The same, if the subscription ends on the connection that released it again.
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::ExactlyOnce)).unwrap();
    client.take();
    client.deliver(number, &publication("b", "hi", &[]), 7, 0);
    client.send(Packet::PubRec(ack(id)));
    client.reply(Reply::Remembered);
    let mut after = client.comes_back();
    after.send(Packet::PubComp(ack(id)));
    after.send(unsubscribe(10, "b"));
    after.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("b").unwrap().into(),
    });
    after.reply(Reply::Remembered);
    assert_eq!(
        after.comes_back().take()[1..],
        [],
        "it is not released again"
    );
}

#[test]
fn a_client_cannot_pile_up_subscriptions_to_a_filter_whose_answer_it_awaits() {
    let mut client = Client::of(Version::V5);
    for packet_id in 1..=5_000 {
        client.send(subscribe(packet_id, "b", qos(Qos::AtLeastOnce)));
        while client.mqtt.readiness() == Readiness::HasMore {
            client.send_bytes(&[]);
        }
    }
    assert_eq!(client.asked.len(), 1, "each would be asked for");
    let answers = granted(client.take());
    assert!(answers.len() > 3_000, "{} were refused", answers.len());
    assert_eq!(answers[0].1, [Reason::QUOTA_EXCEEDED]);
}

#[test]
fn a_filter_subscribed_to_again_while_it_is_restored_is_answered_even_if_it_is_ended() {
    let mut client = Client::durable(Version::V3);
    client.send(subscribe(9, "b", qos(Qos::AtMostOnce)));
    retained(&mut client, &[]);
    let mut after = client.comes_back();
    let pause = Duration::from_secs(1);
    let refusal = Refusal::new(ErrorCode::RateLimited, "too fast").after(pause);
    after.reply(Reply::Refused(refusal));
    after.send(subscribe(20, "b", qos(Qos::AtMostOnce)));
    after.send(unsubscribe(21, "b"));
    after.tick(after.now + pause);
    while let Some((_, command)) = after.asked.first() {
        let reply = match command {
            Command::Unsubscribe { .. } => Reply::Unsubscribed {
                subscription: ChannelName::new("b").unwrap().into(),
            },
            _ => Reply::Remembered,
        };
        after.reply(reply);
    }
    assert_eq!(granted(after.take()), [(20, vec![Reason::SUCCESS])]);
}

#[test]
fn a_message_of_qos_2_that_was_published_is_not_published_again_however_late_it_is_repeated() {
    let mut client = Client::durable(Version::V3);
    client.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    client.reply(Reply::Remembered);
    client.reply(PUBLISHED);
    assert_eq!(client.take(), [Packet::PubRec(ack(5))]);
    // By now the broker may have forgotten the key.
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::Publish(publish("a", Qos::ExactlyOnce, 5, "x")));
    let published = after
        .asked
        .iter()
        .any(|(_, c)| matches!(c, Command::Publish { .. }));
    assert!(!published, "{:?}", after.asked);
    assert_eq!(after.take(), [Packet::PubRec(ack(5))]);
    // A client that has lost its state uses the identifier for another message.
    let mut after = client.comes_back();
    after.take();
    after.send(Packet::Publish(publish(
        "a",
        Qos::ExactlyOnce,
        5,
        "another",
    )));
    let published = after
        .asked
        .iter()
        .any(|(_, c)| matches!(c, Command::Publish { .. }));
    assert!(published, "{:?}", after.asked);
}

#[test]
fn a_stored_subscription_that_the_session_does_not_know_does_not_continue() {
    let mut client = Client::durable(Version::V5);
    let number = client.subscribe("b", qos(Qos::AtLeastOnce)).unwrap();
    let snapshot = |number| SubscriptionSnapshot {
        target: ChannelName::new("b").unwrap().into(),
        id: Some(SubscriptionId(number)),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let mut all = vec![snapshot(number), snapshot(number + 1)];
    client.mqtt.select_restored(&client.note, &mut all);
    assert_eq!(all, [snapshot(number)]);
    client
        .mqtt
        .select_restored(b"a note of another dialect", &mut all);
    assert!(all.is_empty());
}

#[test]
fn retained_messages_of_qos_0_do_not_wait_for_acknowledgements_of_others() {
    let mut client = Client::new(narrow());
    let number = client.subscribe("a", qos(Qos::AtLeastOnce)).unwrap();
    client.take();
    for offset in 1..=3 {
        client.deliver(number, &publication("a", "hi", &[]), offset, 0);
    }
    assert_eq!(client.take().len(), 2, "the window is full");
    client.send(subscribe(10, "b", qos(Qos::AtMostOnce)));
    let value = publication("b", "old", &[("key", "retained")]);
    retained(&mut client, &[value]);
    // Otherwise newer messages of the topic, which do not wait, would overtake it.
    let sent = client.take().into_iter();
    let sent = sent.filter(|packet| matches!(packet, Packet::Publish(_)));
    assert_eq!(payloads(sent.collect()), ["old"]);
}

#[test]
fn a_message_that_expires_at_once_is_delivered_to_those_who_are_there() {
    let connect = Connect {
        properties: None,
        ..connect(Version::V5)
    };
    let mut client = Client::unconnected(Version::V5);
    client.send(Packet::Connect(Box::new(connect)));
    let Some(Intent::Connect(connect)) = client.others.pop() else {
        panic!("no connect");
    };
    let message = publication("b", "now", &[("expiry", "0")]);
    let shared = client.mqtt.encoding(&connect).publication(&message);
    client.hear(vec![shared.message]);
    assert_eq!(payloads(client.take()), ["now"]);
}

#[test]
fn a_session_whose_note_cannot_be_read_is_not_present() {
    for (note, is_present) in [(&b""[..], true), (b"a note of a newer version", false)] {
        let mut client = Client::unconnected(Version::V5);
        client.send(Packet::Connect(Box::new(connect(Version::V5))));
        client.welcome(Some(Duration::from_secs(9)), true, note);
        let [Packet::ConnAck(connack)] = &client.take()[..] else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.session_present, is_present);
    }
}

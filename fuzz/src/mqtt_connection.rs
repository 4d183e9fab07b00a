//! A connection that speaks MQTT: whatever its client sends and whatever the engine answers, what the
//! server says can be decoded, and nothing follows the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Known, Payload, Recipient, Shared, Welcome,
    mqtt::{
        Mqtt, Reason,
        packet::{
            Ack, Connect, Decoder, Options, Packet, Properties, Publish, Qos, Subscribe,
            Unsubscribe, Version,
        },
    },
};
use offhook_engine::{
    ChannelName, Command, CommandId, Draft, ErrorCode, Format, GapReason, Notice, Place, Position,
    Publication, Refusal, Reply, SessionId, SubscriptionId, SubscriptionName, Tags,
};

const NAMES: [&str; 4] = ["a", "a/b", "a/+", "#"];

/// The first byte chooses the version, and whether the session is durable. Each step is two bytes:
/// what happens, and with what.
pub fn mqtt_connection(data: &[u8]) {
    let Some((&how, script)) = data.split_first() else {
        return;
    };
    let mut talk = Talk::new(how);
    let mut script = script;
    while let [step, with, rest @ ..] = script {
        script = rest;
        if step % 8 == 0 {
            let (bytes, after) = rest.split_at(usize::from(*with).min(rest.len()));
            script = after;
            talk.send(bytes);
        } else {
            talk.step(*step, *with);
        }
    }
}

struct Talk {
    mqtt: Mqtt,
    version: Version,
    now: Instant,
    asked: Vec<(CommandId, Command)>,
    note: Vec<u8>,
    decoder: Decoder,
    has_ended: bool,
}

impl Talk {
    fn new(how: u8) -> Self {
        let version = if how & 1 == 0 {
            Version::V3
        } else {
            Version::V5
        };
        let mut talk = Self::stranger(version);
        talk.welcome(how & 2 != 0, false);
        talk
    }

    fn stranger(version: Version) -> Self {
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(version);
        let mut talk = Self {
            mqtt: Mqtt::new(1 << 12),
            version,
            now: Instant::now(),
            asked: Vec::new(),
            note: Vec::new(),
            decoder,
            has_ended: false,
        };
        let properties = Properties {
            receive_maximum: Some(2),
            topic_alias_maximum: Some(1),
            ..Properties::default()
        };
        talk.say(&Packet::Connect(Box::new(Connect {
            version,
            clean: false,
            keep_alive: 1,
            properties: (version == Version::V5).then(|| Box::new(properties)),
            client_id: "c".into(),
            will: None,
            user: None,
            password: None,
        })));
        talk
    }

    fn welcome(&mut self, durable: bool, resumed: bool) {
        let note = self.note.clone();
        let welcome = Welcome {
            id: CommandId(0),
            session: SessionId::from_bytes([7; 16]),
            user: "",
            resume: "",
            expires_in: None,
            unix_ms: 1_000_000,
            named: Some(Known {
                name: "c",
                resumed,
                note: &note,
                expiry: durable.then_some(Duration::from_secs(9)),
            }),
        };
        let mut out = Vec::new();
        self.mqtt.welcome(&welcome, &mut out);
        self.hear(out);
        self.poll();
    }

    /// A packet of the client.
    fn say(&mut self, packet: &Packet) {
        self.send(&packet.encode(self.version));
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut intents = Vec::new();
        self.mqtt
            .receive(Incoming::Binary(bytes), self.now, &mut intents);
        self.carry_out(intents);
    }

    fn poll(&mut self) {
        let intents = std::iter::from_fn(|| self.mqtt.poll_intent()).collect();
        self.execute(intents);
    }

    fn carry_out(&mut self, intents: Vec<Intent>) {
        self.execute(intents);
        self.poll();
    }

    fn execute(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            match intent {
                Intent::Say(payload) => self.hear(vec![payload]),
                Intent::Close { .. } => self.has_ended = true,
                Intent::Command { id, command } => {
                    if let Command::Remember { note, .. } = &command {
                        self.note = note.to_vec();
                    }
                    if id != CommandId(0) {
                        self.asked.push((id, command));
                    }
                }
                _ => {}
            }
        }
    }

    fn hear(&mut self, payloads: Vec<Payload>) {
        assert!(payloads.is_empty() || !self.has_ended, "it has ended");
        for payload in payloads {
            self.decoder.push(payload.as_bytes());
        }
        while let Some(packet) = self.decoder.next_packet().expect("the server speaks MQTT") {
            assert!(packet != Packet::PingReq, "only clients ask");
        }
        assert_eq!(self.decoder.buffered(), 0, "whole packets are sent");
    }

    fn step(&mut self, step: u8, with: u8) {
        if self.has_ended {
            return;
        }
        let (low, high) = (with & 3, with >> 2 & 7);
        match step % 8 {
            1 => self.client_publishes(low, high),
            2 => self.client_acknowledges(low, high),
            3 => self.client_subscribes(low, high),
            4 => self.answer(None),
            5 => {
                let codes = ErrorCode::ALL;
                self.answer(codes.get(usize::from(with) % codes.len()).copied());
            }
            6 => self.engine_delivers(low, high),
            _ => self.something_else(low, high),
        }
    }

    fn client_publishes(&mut self, low: u8, high: u8) {
        let qos = Qos::new(low % 3).unwrap_or_default();
        self.say(&Packet::Publish(Publish {
            dup: qos != Qos::AtMostOnce && high > 3,
            qos,
            retain: low == 3,
            topic: "a".into(),
            packet_id: if low.is_multiple_of(3) {
                0
            } else {
                u16::from(high) + 1
            },
            properties: None,
            payload: "x".into(),
        }));
    }

    /// The identifiers that messages of the first subscriptions have.
    fn client_acknowledges(&mut self, low: u8, high: u8) {
        let ack = Ack::new(u16::from(high) + 1, Reason::SUCCESS);
        self.say(&match low {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            _ => Packet::PubComp(ack),
        });
    }

    fn client_subscribes(&mut self, low: u8, high: u8) {
        let name = NAMES[usize::from(high % 4)];
        if low == 3 {
            return self.say(&Packet::Unsubscribe(Unsubscribe {
                packet_id: 9,
                properties: None,
                filters: vec![name.into()],
            }));
        }
        let options = Options {
            qos: Qos::new(low).unwrap_or_default(),
            no_local: high > 3 && self.version == Version::V5,
            ..Options::default()
        };
        self.say(&Packet::Subscribe(Subscribe {
            packet_id: 8,
            properties: None,
            filters: vec![(name.into(), options)],
        }));
    }

    fn answer(&mut self, code: Option<ErrorCode>) {
        if self.asked.is_empty() {
            return;
        }
        let (id, command) = self.asked.remove(0);
        let reply = match (code, command) {
            (Some(code), _) => Reply::Refused(Refusal::new(code, "no")),
            (None, Command::Subscribe(wish)) => Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(1, 0),
                live: true,
                by_server: false,
                acknowledged: false,
            },
            (None, Command::Values { filter, .. }) => Reply::Values {
                filter,
                values: vec![publication(3), publication(4)],
                next: None,
            },
            (None, Command::Remember { .. }) => Reply::Remembered,
            (None, Command::Publish { .. }) => Reply::Published {
                position: Position::new(1, 1),
                duplicate: false,
            },
            (None, Command::Unsubscribe { .. }) => Reply::Unsubscribed {
                subscription: name(0),
            },
            (None, _) => Reply::Pong,
        };
        self.notice(&Notice::Reply {
            id: Some(id),
            reply,
        });
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.mqtt.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn engine_delivers(&mut self, low: u8, high: u8) {
        let publication = publication(high);
        let shared = Shared {
            publication: Some(Arc::clone(&publication)),
            ..Shared::whole(String::new())
        };
        let recipient = Recipient {
            subscription: Some(SubscriptionId(u32::from(low))),
            place: Position::new(1, u64::from(high)),
            ..Recipient::PLAIN
        };
        if let Head::Whole(payload) = self.mqtt.head(&recipient, &shared) {
            self.hear(vec![payload]);
        }
        self.poll();
    }

    fn something_else(&mut self, low: u8, high: u8) {
        match low {
            0 => {
                self.now += Duration::from_millis(200 * u64::from(high));
                let mut intents = Vec::new();
                self.mqtt.handle_timeout(self.now, &mut intents);
                self.carry_out(intents);
            }
            1 => self.notice(&Notice::Gap {
                subscription: name(high),
                from: Position::new(1, 1),
                to: Position::new(1, u64::from(high)),
                reason: GapReason::EvictedBySize,
                agreed: None,
            }),
            2 => self.notice(&Notice::Unsubscribed {
                subscription: name(high),
                refusal: Refusal::new(ErrorCode::Forbidden, "no"),
            }),
            // The server crashes, and the client comes back.
            _ => {
                let note = std::mem::take(&mut self.note);
                *self = Self::stranger(self.version);
                self.note = note;
                self.welcome(true, true);
            }
        }
    }
}

fn name(number: u8) -> SubscriptionName {
    SubscriptionName {
        target: ChannelName::new("a").expect("a name").into(),
        id: Some(SubscriptionId(u32::from(number % 4))),
    }
}

fn publication(offset: u8) -> Arc<Publication> {
    let qos = ["0", "1", "2u"][usize::from(offset) % 3];
    let draft = Draft {
        channel: ChannelName::new("a").expect("a name"),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::new([("mqtt", qos), ("key", "retained")]).expect("tags"),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    let before = Position::new(1, u64::from(offset));
    Arc::new(draft.at(Place::after(before, u64::from(offset) + 1)))
}

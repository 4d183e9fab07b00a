//! A connection that speaks STOMP: whatever its client sends and whatever the engine answers, what the
//! server says can be decoded, nothing follows the end, and what the dialect holds is limited.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_dialects::{
    Connect, Dialect, Head, Incoming, Intent, Known, Payload, Readiness, Recipient, Welcome,
    stomp::{
        Settings, Stomp,
        frame::{Decoder, Frame, Version},
    },
};
use offhook_engine::{
    ChannelName, Command, CommandId, Draft, ErrorCode, Format, GapReason, Notice, Place, Position,
    Publication, Refusal, Reply, SessionId, SubscriptionId, SubscriptionName, Tags,
};

/// The largest body.
const BODY: usize = 1 << 10;

/// The first byte chooses the version, and whether the session is durable. Each step is two bytes:
/// what happens, and with what.
pub fn stomp_connection(data: &[u8]) {
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
    stomp: Stomp,
    version: Version,
    durable: bool,
    now: Instant,
    connect: Option<Connect>,
    asked: Vec<(CommandId, Option<Command>)>,
    note: Vec<u8>,
    decoder: Decoder,
    /// The newest acknowledgement that a message asked for.
    ack: String,
    has_ended: bool,
}

impl Talk {
    fn new(how: u8) -> Self {
        let version = Version::ALL[usize::from(how % 3)];
        let mut talk = Self::stranger(version, how & 8 != 0);
        talk.welcome(false);
        talk
    }

    fn stranger(version: Version, durable: bool) -> Self {
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(version);
        let mut talk = Self {
            stomp: Stomp::new(Settings {
                body_bytes: BODY,
                subscriptions: 3,
                heart_beat: Duration::from_secs(1),
                enforces_heart_beats: true,
            }),
            version,
            durable,
            now: Instant::now(),
            connect: None,
            asked: Vec::new(),
            note: Vec::new(),
            decoder,
            ack: String::new(),
            has_ended: false,
        };
        let connect = Frame::new("CONNECT")
            .with("accept-version", version.number())
            .with("heart-beat", "1000,1000");
        talk.say(match durable {
            true => connect.with("client-id", "c"),
            false => connect,
        });
        talk
    }

    fn welcome(&mut self, resumed: bool) {
        let note = self.note.clone();
        let welcome = Welcome {
            id: CommandId(0),
            session: SessionId::from_bytes([7; 16]),
            user: "",
            resume: "",
            expires_in: None,
            unix_ms: 1_000_000,
            named: self.durable.then_some(Known {
                name: "c",
                resumed,
                note: &note,
                expiry: Some(Duration::from_secs(9)),
            }),
        };
        let mut out = Vec::new();
        self.stomp.welcome(&welcome, &mut out);
        self.hear(out);
        self.poll();
    }

    fn say(&mut self, frame: Frame) {
        self.send(&frame.encode(self.version));
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut intents = Vec::new();
        self.stomp
            .receive(Incoming::Binary(bytes), self.now, &mut intents);
        self.execute(intents);
        self.poll();
        // As the server does it, until the dialect waits.
        while self.stomp.readiness() == Readiness::HasMore {
            let mut intents = Vec::new();
            self.stomp
                .receive(Incoming::Binary(&[]), self.now, &mut intents);
            self.execute(intents);
            self.poll();
        }
    }

    fn poll(&mut self) {
        let intents: Vec<_> = std::iter::from_fn(|| self.stomp.poll_intent()).collect();
        self.execute(intents);
    }

    fn execute(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            match intent {
                Intent::Connect(connect) => self.connect = Some(connect),
                Intent::Say(payload) => self.hear(vec![payload]),
                Intent::Close { .. } => self.has_ended = true,
                Intent::Consume { id, .. } => self.asked.push((id, None)),
                Intent::Command { id, command } => {
                    if let Command::Remember { note, .. } = &command {
                        self.note = note.to_vec();
                    }
                    if id != CommandId(0) {
                        self.asked.push((id, Some(command)));
                    }
                }
                _ => {}
            }
        }
        // What is passed to the engine in one turn, and what waits there.
        assert!(self.asked.len() < 200, "{} commands wait", self.asked.len());
    }

    fn hear(&mut self, payloads: Vec<Payload>) {
        assert!(payloads.is_empty() || !self.has_ended, "it has ended");
        for payload in payloads {
            self.decoder.push(payload.as_bytes());
        }
        while let Some(frame) = self.decoder.next_frame().expect("the server speaks STOMP") {
            let known = ["CONNECTED", "MESSAGE", "RECEIPT", "ERROR"];
            assert!(known.contains(&&*frame.command), "{frame:?}");
            if let Some(ack) = frame.header("ack").or(frame.header("message-id")) {
                self.ack = ack.to_owned();
            }
        }
        assert_eq!(self.decoder.buffered(), 0, "whole frames are sent");
    }

    fn step(&mut self, step: u8, with: u8) {
        if self.has_ended {
            return;
        }
        let (low, high) = (with & 3, with >> 2 & 7);
        match step % 8 {
            1 => self.client_sends(low, high),
            2 => self.client_acknowledges(low, high),
            3 => self.client_subscribes(low, high),
            4 => self.answer(None),
            5 => {
                let codes = ErrorCode::ALL;
                self.answer(codes.get(usize::from(with) % codes.len()).copied());
            }
            6 => self.server_delivers(low, high),
            _ => self.something_else(low, high),
        }
    }

    fn client_sends(&mut self, low: u8, high: u8) {
        let name = high.to_string();
        let of = |command| Frame::new(command).with("transaction", &name);
        let send = Frame::new("SEND").with("destination", "/topic/a");
        self.say(match low {
            0 => send.with("receipt", &name).body("x"),
            1 => send.with("transaction", &name).body("x"),
            2 => of("BEGIN"),
            _ if high > 3 => of("ABORT"),
            _ => of("COMMIT").with("receipt", &name),
        });
    }

    fn client_acknowledges(&mut self, low: u8, high: u8) {
        let command = if low & 1 == 0 { "ACK" } else { "NACK" };
        let frame = Frame::new(command)
            .with("id", &self.ack)
            .with("message-id", &self.ack);
        self.say(match high {
            0 => frame.with("transaction", "2"),
            _ => frame,
        });
    }

    fn client_subscribes(&mut self, low: u8, high: u8) {
        let id = (high & 3).to_string();
        let (command, durable) = match high > 3 {
            true => ("UNSUBSCRIBE", low == 3),
            false => ("SUBSCRIBE", low > 1),
        };
        let destination = if low == 1 { "/queue/a" } else { "/topic/a" };
        let ack = ["auto", "client", "client-individual"][usize::from(low % 3)];
        let frame = Frame::new(command)
            .with("id", &id)
            .with("destination", destination)
            .with("ack", ack)
            .with("gaps", "true");
        self.say(match durable && self.durable {
            true => frame.with("durable", "true"),
            false => frame,
        });
    }

    fn answer(&mut self, code: Option<ErrorCode>) {
        if self.asked.is_empty() {
            return;
        }
        let (id, command) = self.asked.remove(0);
        let reply = match (code, command) {
            (Some(code), _) => Reply::Refused(Refusal::new(code, "no")),
            (None, Some(Command::Subscribe(wish))) => Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(1, 0),
                live: true,
                by_server: false,
                acknowledged: false,
            },
            (None, Some(Command::Remember { .. })) => Reply::Remembered,
            (None, Some(Command::Publish { .. })) => Reply::Published {
                position: Position::new(1, 1),
                duplicate: false,
            },
            (None, Some(Command::Unsubscribe { .. })) => Reply::Unsubscribed {
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
        self.stomp.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn server_delivers(&mut self, low: u8, high: u8) {
        let publication = publication(high);
        let place = Position::new(1, u64::from(high));
        let subscription = SubscriptionId(u32::from(low));
        if let Some(payload) = self.stomp.queued(subscription, &publication, place, 1) {
            self.hear(vec![payload]);
        }
        if let Some(connect) = &self.connect {
            let mut shared = self.stomp.encoding(connect).publication(&publication);
            shared.publication = Some(publication);
            let recipient = Recipient {
                subscription: Some(subscription),
                place,
                ..Recipient::PLAIN
            };
            match self.stomp.head(&recipient, &shared) {
                Head::Insert(head) => self.hear(vec![shared.with_head(&head)]),
                Head::Whole(payload) => self.hear(vec![payload]),
                Head::None => self.hear(vec![shared.message]),
                Head::Several(payloads) => self.hear(payloads),
                Head::Nothing => {}
            }
        }
        self.poll();
    }

    fn something_else(&mut self, low: u8, high: u8) {
        match low {
            0 => {
                self.now += Duration::from_millis(200 * u64::from(high));
                let mut intents = Vec::new();
                self.stomp.handle_timeout(self.now, &mut intents);
                self.execute(intents);
                self.poll();
            }
            1 => self.notice(&Notice::Gap {
                subscription: name(high),
                from: Position::new(1, 1),
                to: Position::new(1, u64::from(high)),
                reason: GapReason::EvictedBySize,
                agreed: None,
            }),
            2 if high == 7 => self.say(Frame::new("DISCONNECT").with("receipt", "bye")),
            2 => self.notice(&Notice::Unsubscribed {
                subscription: name(high),
                refusal: Refusal::new(ErrorCode::Forbidden, "no"),
            }),
            // The server crashes, and the client comes back.
            _ => {
                let note = std::mem::take(&mut self.note);
                *self = Self::stranger(self.version, self.durable);
                self.note = note;
                self.welcome(true);
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
    let draft = Draft {
        channel: ChannelName::new("a").expect("a name"),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::new([("a:\n", "\\\r"), ("ack", "none")]).expect("tags"),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    let before = Position::new(1, u64::from(offset));
    Arc::new(draft.at(Place::after(before, u64::from(offset) + 1)))
}

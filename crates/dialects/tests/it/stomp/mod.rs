//! The STOMP dialect: frames of a client become commands, and the server's output becomes frames.
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
    Connect, Dialect, Head, Incoming, Intent, Known, Payload, Readiness, Recipient, Shared,
    Welcome,
    stomp::{
        Settings, Stomp,
        frame::{Decoder, Frame, Version},
    },
};
use offhook_engine::*;
use proptest::prelude::*;

mod connecting;
mod queues;
mod sending;
mod topics;

const BEATS: Duration = Duration::from_secs(10);
const NOW_MS: u64 = 0xabc;

/// A client, and the part of the server that the dialect interacts with.
struct Client {
    stomp: Stomp,
    version: Version,
    now: Instant,
    connect: Option<Connect>,
    /// Commands that have not been answered yet.
    asked: Vec<(CommandId, Command)>,
    /// Commands without an answer.
    told: Vec<Command>,
    frames: Vec<Frame>,
    /// Heart-beats of the server.
    beats: usize,
    others: Vec<Intent>,
    closed: Option<u16>,
    decoder: Decoder,
    note: Bytes,
}

fn settings() -> Settings {
    Settings {
        body_bytes: 1 << 16,
        subscriptions: 8,
        heart_beat: BEATS,
        enforces_heart_beats: true,
    }
}

fn publication(channel: &str, offset: u64, data: &'static str) -> Arc<Publication> {
    let draft = Draft {
        channel: ChannelName::new(channel).unwrap(),
        data: data.into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 5,
    };
    Arc::new(draft.at(Place::after(Position::new(1, offset - 1), offset + 100)))
}

const PUBLISHED: Reply = Reply::Published {
    position: Position {
        epoch: Epoch(1),
        offset: 1,
    },
    duplicate: false,
};

impl Client {
    fn unconnected(version: Version) -> Self {
        let mut decoder = Decoder::new(1 << 20);
        decoder.set_version(version);
        Self {
            stomp: Stomp::new(settings()),
            version,
            now: Instant::now(),
            connect: None,
            asked: Vec::new(),
            told: Vec::new(),
            frames: Vec::new(),
            beats: 0,
            others: Vec::new(),
            closed: None,
            decoder,
            note: Bytes::new(),
        }
    }

    /// A client that is connected and has read its CONNECTED.
    fn of(version: Version) -> Self {
        let mut client = Self::unconnected(version);
        client.connects(Frame::new("CONNECT"), false);
        client
    }

    /// A client with a session that outlives its connection.
    fn durable(note: &[u8], resumed: bool) -> Self {
        let mut client = Self::unconnected(Version::V12);
        client.note = Bytes::copy_from_slice(note);
        client.connects(Frame::new("CONNECT").with("client-id", "me"), resumed);
        client
    }

    fn connects(&mut self, frame: Frame, resumed: bool) {
        self.send(&frame.with("accept-version", self.version.number()));
        self.welcome(resumed);
        let connected = self.frame();
        assert_eq!(&*connected.command, "CONNECTED");
        assert_eq!(connected.header("version"), Some(self.version.number()));
    }

    fn welcome(&mut self, resumed: bool) {
        let connect = self.connect.as_ref().expect("the client connects");
        let note = self.note.clone();
        let expiry = connect.named.as_ref().and_then(|named| named.expiry);
        let named = connect.named.is_some().then_some(Known {
            name: "me",
            resumed,
            note: &note,
            expiry,
        });
        let mut out = Vec::new();
        let welcome = Welcome {
            id: CommandId(0),
            session: SessionId::from_bytes([7; 16]),
            user: "ann",
            resume: "",
            expires_in: None,
            unix_ms: NOW_MS,
            named,
        };
        self.stomp.welcome(&welcome, &mut out);
        self.hear(out);
        self.poll();
    }

    fn send(&mut self, frame: &Frame) {
        let bytes = frame.encode(self.version);
        self.send_bytes(&bytes);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        let mut intents = Vec::new();
        self.stomp
            .receive(Incoming::Binary(bytes), self.now, &mut intents);
        self.execute(intents);
        self.poll();
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
        while let Some(at) = self.stomp.poll_timeout().filter(|at| *at <= self.now) {
            let mut intents = Vec::new();
            self.stomp.handle_timeout(self.now.max(at), &mut intents);
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
                Intent::Say(payload) => self.hear(vec![payload]),
                Intent::Close { code, .. } => self.closed = Some(code),
                other => self.others.push(other),
            }
        }
    }

    fn hear(&mut self, payloads: Vec<Payload>) {
        for payload in payloads {
            assert_eq!(self.closed, None, "nothing follows the end");
            if payload.as_bytes() == b"\n" {
                self.beats += 1;
            }
            self.decoder.push(payload.as_bytes());
        }
        while let Some(frame) = self.decoder.next_frame().expect("the server speaks STOMP") {
            self.frames.push(frame);
        }
        assert_eq!(self.decoder.buffered(), 0, "whole frames are sent");
    }

    /// The only frame that the server sent.
    fn frame(&mut self) -> Frame {
        assert_eq!(self.frames.len(), 1, "{:?}", self.frames);
        self.frames.remove(0)
    }

    fn receipt(&mut self) -> String {
        let frame = self.frame();
        assert_eq!(&*frame.command, "RECEIPT");
        frame.header("receipt-id").unwrap().to_owned()
    }

    /// The `message` and the content of the ERROR that ended the connection.
    fn error(&mut self) -> (String, String) {
        let frame = self.frames.pop().unwrap();
        assert_eq!(&*frame.command, "ERROR", "{frame:?}");
        assert!(self.closed.is_some(), "an ERROR is followed by the end");
        let body = String::from_utf8(frame.body.to_vec()).unwrap();
        (frame.header("message").unwrap().to_owned(), body)
    }

    /// The oldest command that has not been answered.
    fn command(&mut self) -> Command {
        self.asked.first().expect("a command").1.clone()
    }

    fn answer(&mut self, reply: Reply) {
        let (id, _) = self.asked.remove(0);
        self.notice(&Notice::Reply {
            id: Some(id),
            reply,
        });
    }

    fn refuse(&mut self, code: ErrorCode) {
        self.answer(Reply::Refused(Refusal::new(code, "no")));
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.stomp.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    /// Subscribes, and returns the engine's id of the subscription.
    fn subscribe(&mut self, frame: Frame) -> SubscriptionId {
        self.send(&frame);
        let Command::Subscribe(wish) = self.command() else {
            panic!("{:?}", self.asked);
        };
        let id = wish.id.unwrap();
        self.answer(Reply::Subscribed {
            subscription: wish.name(),
            position: Position::new(1, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        if let Some(Intent::Consume {
            id, subscription, ..
        }) = self.others.last()
        {
            assert_eq!(Some(*subscription), wish.id);
            let id = Some(*id);
            self.others.pop();
            self.notice(&Notice::Reply {
                id,
                reply: Reply::Pong,
            });
        }
        while matches!(self.asked.first(), Some((_, Command::Remember { .. }))) {
            self.answer(Reply::Remembered);
        }
        id
    }

    /// The engine delivers a publication with this offset.
    fn deliver(&mut self, id: SubscriptionId, channel: &str, offset: u64) -> Option<Frame> {
        let publication = publication(channel, offset, "hi");
        let encoding = self.stomp.encoding(self.connect.as_ref().unwrap());
        let mut shared = encoding.publication(&publication);
        shared.publication = Some(publication);
        let recipient = Recipient {
            subscription: Some(id),
            place: Position::new(1, offset),
            ..Recipient::PLAIN
        };
        let head = self.stomp.head(&recipient, &shared);
        self.heads(head, &shared)
    }

    fn heads(&mut self, head: Head, shared: &Shared) -> Option<Frame> {
        let payload = match head {
            Head::Insert(head) => shared.with_head(&head),
            Head::Whole(payload) => payload,
            Head::None => shared.message.clone(),
            Head::Nothing => {
                self.poll();
                return None;
            }
            Head::Several(_) => panic!("one message is delivered at a time"),
        };
        self.hear(vec![payload]);
        let frame = self.frame();
        self.poll();
        Some(frame)
    }

    /// A queue delivers a publication with this offset.
    fn queued(&mut self, id: SubscriptionId, offset: u64, earlier: u16) -> Option<Frame> {
        let publication = publication("queue/jobs", offset, "hi");
        let place = Position::new(1, offset);
        let payload = self.stomp.queued(id, &publication, place, earlier)?;
        self.hear(vec![payload]);
        let frame = self.frame();
        self.poll();
        Some(frame)
    }

    /// The offsets of the publications that were reported to the engine as processed.
    fn done(&mut self) -> Vec<u64> {
        let told = std::mem::take(&mut self.told).into_iter();
        told.map(|command| match command {
            Command::Done { position, .. } => position.offset,
            other => panic!("{other:?}"),
        })
        .collect()
    }

    /// The offsets of publications of queues, and whether they were processed.
    fn settled(&mut self) -> Vec<(u64, bool)> {
        let others = std::mem::take(&mut self.others).into_iter();
        let settled = others.filter_map(|intent| match intent {
            Intent::Settle {
                place, processed, ..
            } => Some((place.offset, processed)),
            _ => None,
        });
        settled.collect()
    }
}

fn send(destination: &str) -> Frame {
    Frame::new("SEND").with("destination", destination)
}

fn subscribe(destination: &str, ack: &str) -> Frame {
    Frame::new("SUBSCRIBE")
        .with("id", "s")
        .with("destination", destination)
        .with("ack", ack)
}

fn subscribe_as(id: &str, destination: &str) -> Frame {
    Frame::new("SUBSCRIBE")
        .with("id", id)
        .with("destination", destination)
        .with("ack", "client-individual")
}

fn ack(command: &str, message: &Frame) -> Frame {
    Frame::new(command).with("id", message.header("ack").unwrap())
}

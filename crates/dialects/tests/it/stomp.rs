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
                    if let Command::Remember { note } = &command {
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

#[test]
fn the_newest_version_that_both_sides_support_is_chosen() {
    for (accepts, chosen) in [
        (Some("1.0,1.1,1.2"), "1.2"),
        (Some("1.1,1.0"), "1.1"),
        (Some("1.3, 1.0"), "1.0"),
        (None, "1.0"),
    ] {
        let mut client = Client::unconnected(Version::V10);
        let connect = Frame::new("STOMP");
        client.send(&match accepts {
            Some(accepts) => connect.with("accept-version", accepts),
            None => connect,
        });
        client.welcome(false);
        let connected = client.frame();
        assert_eq!(connected.header("version"), Some(chosen));
        assert_eq!(connected.header("user-name"), Some("ann"));
    }
    let mut client = Client::unconnected(Version::V10);
    client.send(&Frame::new("CONNECT").with("accept-version", "2.0"));
    assert_eq!(client.error().0, "unsupported version");
}

#[test]
fn the_passcode_is_the_token_and_the_client_id_names_the_session() {
    let mut client = Client::unconnected(Version::V12);
    let connect = Frame::new("CONNECT")
        .with("login", "ann")
        .with("passcode", "token")
        .with("client-id", "me");
    client.send(&connect);
    let connect = client.connect.unwrap();
    assert_eq!(connect.token.as_deref(), Some("token"));
    assert_eq!(connect.named.unwrap().name, "stomp:me");
}

#[test]
fn a_refused_client_gets_an_error() {
    let mut client = Client::unconnected(Version::V12);
    client.send(&Frame::new("CONNECT").with("passcode", "x"));
    let mut out = Vec::new();
    let refusal = Refusal::new(ErrorCode::BadToken, "it has expired");
    client.stomp.refused(Some(CommandId(0)), &refusal, &mut out);
    client.hear(out);
    client.poll();
    assert_eq!(
        client.error(),
        ("bad_token".to_owned(), "it has expired".to_owned())
    );
    assert_eq!(client.closed, Some(1008));
}

#[test]
fn a_message_is_published_with_its_headers_and_confirmed_once_it_is_durable() {
    let mut client = Client::of(Version::V12);
    client.send(
        &send("/topic/a")
            .with("x", "y")
            .with("receipt", "r")
            .body("{\"n\":1}"),
    );
    let Command::Publish {
        channel,
        format,
        tags,
        ..
    } = client.command()
    else {
        panic!("{:?}", client.asked);
    };
    assert_eq!((channel.as_str(), format), ("a", Format::Json));
    assert_eq!(tags.iter().collect::<Vec<_>>(), [("x", "y")]);
    assert!(client.frames.is_empty());
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "r");
}

#[test]
fn a_refused_message_ends_the_connection_with_its_receipt() {
    let mut client = Client::of(Version::V12);
    client.send(&send("/topic/a").with("receipt", "r"));
    client.refuse(ErrorCode::Forbidden);
    assert_eq!(client.frames[0].header("receipt-id"), Some("r"));
    assert_eq!(client.error().0, "forbidden");
    assert_eq!(client.closed, Some(1008));
}

#[test]
fn messages_refused_for_their_rate_are_published_later_in_order() {
    let mut client = Client::of(Version::V12);
    for name in ["1", "2", "3"] {
        client.send(&send("/topic/a").with("receipt", name));
    }
    client.refuse(ErrorCode::RateLimited);
    client.refuse(ErrorCode::RateLimited);
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "3");
    assert_eq!(client.stomp.readiness(), Readiness::Waits);
    client.passes(Duration::from_secs(1));
    client.answer(PUBLISHED);
    client.answer(PUBLISHED);
    let receipts = client
        .frames
        .iter()
        .map(|frame| frame.header("receipt-id").unwrap());
    assert_eq!(receipts.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(client.stomp.readiness(), Readiness::Ready);
}

#[test]
fn an_unsubscribe_refused_for_its_rate_is_repeated_before_its_receipt() {
    let mut client = Client::of(Version::V12);
    client.subscribe(subscribe("/topic/a", "auto"));
    client.send(
        &Frame::new("UNSUBSCRIBE")
            .with("id", "s")
            .with("receipt", "r"),
    );
    client.refuse(ErrorCode::RateLimited);
    assert!(client.frames.is_empty());
    client.passes(Duration::from_secs(1));
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    client.answer(Reply::Unsubscribed {
        subscription: ChannelName::new("a").unwrap().into(),
    });
    assert_eq!(client.receipt(), "r");
}

#[test]
fn more_messages_than_may_wait_pause_the_client() {
    let mut client = Client::of(Version::V12);
    let many: Vec<u8> = (0..70)
        .flat_map(|_| send("/topic/a").encode(Version::V12))
        .collect();
    client.send_bytes(&many);
    assert_eq!(client.asked.len(), 64);
    assert_eq!(client.stomp.readiness(), Readiness::Waits);
    client.answer(PUBLISHED);
    assert_eq!(client.stomp.readiness(), Readiness::HasMore);
    client.send_bytes(b"");
    assert_eq!(client.asked.len(), 64);
}

#[test]
fn a_topic_without_acknowledgements_is_pushed() {
    let mut client = Client::of(Version::V12);
    client.send(&subscribe("/topic/a", "auto").with("receipt", "r"));
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.flow, Flow::Pushed);
    client.answer(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
    });
    assert_eq!(client.receipt(), "r");
    let message = client.deliver(wish.id.unwrap(), "a", 1).unwrap();
    assert_eq!(&*message.command, "MESSAGE");
    assert_eq!(message.header("subscription"), Some("s"));
    assert_eq!(message.header("destination"), Some("/topic/a"));
    assert_eq!(message.header("position"), Some("1.1"));
    assert_eq!(message.header("ack"), None);
    assert_eq!(&*message.body, b"hi");
}

#[test]
fn the_id_of_a_subscription_is_escaped_in_its_messages() {
    let mut client = Client::of(Version::V12);
    let frame = Frame::new("SUBSCRIBE")
        .with("id", "a:b\nc")
        .with("destination", "/topic/a");
    let id = client.subscribe(frame);
    let message = client.deliver(id, "a", 1).unwrap();
    assert_eq!(message.header("subscription"), Some("a:b\nc"));
}

#[test]
fn a_subscription_of_1_0_needs_no_id() {
    let mut client = Client::of(Version::V10);
    let frame = Frame::new("SUBSCRIBE").with("destination", "/topic/a");
    let id = client.subscribe(frame);
    let message = client.deliver(id, "a", 1).unwrap();
    assert_eq!(message.header("subscription"), None);
    client.send(&Frame::new("UNSUBSCRIBE").with("destination", "/topic/a"));
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    let mut client = Client::of(Version::V11);
    client.send(&Frame::new("SUBSCRIBE").with("destination", "/topic/a"));
    assert_eq!(client.error().0, "missing header");
}

#[test]
fn an_ack_is_cumulative_in_the_mode_client_and_not_in_client_individual() {
    for (mode, done) in [("client", vec![1, 2]), ("client-individual", vec![2])] {
        let mut client = Client::of(Version::V12);
        let id = client.subscribe(subscribe("/topic/a", mode));
        let messages: Vec<_> = (1..=3)
            .map(|n| client.deliver(id, "a", n).unwrap())
            .collect();
        client.send(&ack("ACK", &messages[1]));
        assert_eq!(client.done(), done, "{mode}");
        // A second acknowledgement changes nothing.
        client.send(&ack("ACK", &messages[1]).with("receipt", "r"));
        assert_eq!(client.done(), [0; 0]);
        assert_eq!(client.receipt(), "r");
    }
}

#[test]
fn acknowledgements_of_1_0_and_1_1_name_the_message() {
    for version in [Version::V10, Version::V11] {
        let mut client = Client::of(version);
        let id = client.subscribe(subscribe("/topic/a", "client-individual"));
        let message = client.deliver(id, "a", 1).unwrap();
        let message_id = message.header("message-id").unwrap();
        let ack = Frame::new("ACK").with("message-id", message_id);
        client.send(&ack.with("subscription", "s"));
        assert_eq!(client.done(), [1]);
    }
}

#[test]
fn an_acknowledgement_of_an_earlier_connection_is_ignored() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client"));
    client.deliver(id, "a", 1).unwrap();
    client.send(&Frame::new("ACK").with("id", "def-1").with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    assert_eq!(client.done(), [0; 0]);
}

#[test]
fn a_topic_delivers_a_refused_message_again_with_a_count() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client-individual"));
    let first = client.deliver(id, "a", 1).unwrap();
    assert_eq!(first.header("redelivered"), None);
    client.send(&ack("NACK", &first));
    let second = client.frame();
    assert_eq!(second.header("redelivered"), Some("true"));
    assert_eq!(second.header("deliveries"), Some("2"));
    assert_eq!(second.header("message-id"), first.header("message-id"));
    assert_eq!(client.done(), [0; 0]);
    client.send(&ack("NACK", &second).with("requeue", "false"));
    assert_eq!(client.done(), [1]);
}

#[test]
fn a_queue_is_consumed_with_the_permission_to_subscribe() {
    let mut client = Client::of(Version::V12);
    client.send(&subscribe("/queue/jobs", "client-individual").with("prefetch-count", "3"));
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.target.as_str(), "queue/jobs");
    assert_eq!(wish.flow, Flow::Acknowledged { window: 1 });
    client.answer(Reply::Subscribed {
        subscription: wish.name(),
        position: Position::new(1, 0),
        live: true,
    });
    let Some(Intent::Consume { queue, window, .. }) = client.others.first() else {
        panic!("{:?}", client.others);
    };
    assert_eq!((queue.as_str(), *window), ("queue/jobs", 3));
    // The permission delivers nothing.
    assert_eq!(client.deliver(wish.id.unwrap(), "queue/jobs", 1), None);
}

#[test]
fn messages_of_a_queue_are_processed_or_given_back() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/queue/jobs", "client-individual"));
    let first = client.queued(id, 1, 0).unwrap();
    assert_eq!(first.header("destination"), Some("/queue/jobs"));
    let second = client.queued(id, 2, 3).unwrap();
    assert_eq!(second.header("deliveries"), Some("4"));
    client.send(&ack("NACK", &first));
    client.send(&ack("ACK", &second));
    assert_eq!(client.settled(), [(1, false), (2, true)]);
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert_eq!(client.others, [Intent::Quit { subscription: id }]);
    assert_eq!(client.queued(id, 3, 0), None);
}

#[test]
fn a_queue_without_acknowledgements_settles_the_messages_that_it_sent() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/queue/jobs", "auto"));
    let message = client.queued(id, 1, 0).unwrap();
    assert_eq!(message.header("ack"), None);
    assert_eq!(client.settled(), [(1, true)]);
}

#[test]
fn a_transaction_publishes_and_acknowledges_when_it_is_committed() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "client"));
    let message = client.deliver(id, "a", 1).unwrap();
    let of = |frame: Frame| frame.with("transaction", "t");
    client.send(&of(Frame::new("BEGIN")).with("receipt", "begun"));
    assert_eq!(client.receipt(), "begun");
    client.send(&of(send("/topic/b")));
    client.send(&of(send("/topic/b")));
    client.send(&of(ack("ACK", &message)));
    assert!(client.asked.is_empty() && client.told.is_empty());
    client.send(&of(Frame::new("COMMIT")).with("receipt", "committed"));
    assert_eq!(client.done(), [1]);
    client.answer(PUBLISHED);
    assert!(client.frames.is_empty());
    client.answer(PUBLISHED);
    assert_eq!(client.receipt(), "committed");
}

#[test]
fn an_aborted_transaction_does_nothing() {
    let mut client = Client::of(Version::V12);
    let of = |frame: Frame| frame.with("transaction", "t");
    client.send(&of(Frame::new("BEGIN")));
    client.send(&of(send("/topic/b")));
    client.send(&of(Frame::new("ABORT")).with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    assert!(client.asked.is_empty());
    client.send(&of(Frame::new("COMMIT")));
    assert_eq!(client.error().0, "unknown transaction");
}

#[test]
fn transactions_that_are_never_committed_are_limited() {
    let mut client = Client::of(Version::V12);
    for name in 0..17 {
        client.send(&Frame::new("BEGIN").with("transaction", &name.to_string()));
    }
    assert_eq!(client.error().0, "too large");
    let mut client = Client::of(Version::V12);
    client.send(&Frame::new("BEGIN").with("transaction", "t"));
    let large = send("/topic/b")
        .with("transaction", "t")
        .body(vec![b'x'; 60_000]);
    for _ in 0..18 {
        client.send(&large);
    }
    assert!(client.error().1.contains("1048576 bytes"));
}

#[test]
fn the_headers_of_held_frames_count_against_the_limit_of_transactions() {
    let mut client = Client::of(Version::V12);
    client.send(&Frame::new("BEGIN").with("transaction", "t"));
    let mut frame = send("/topic/b").with("transaction", "t");
    for n in 0..15 {
        frame = frame.with(&format!("{n:0>200}"), &"v".repeat(200));
    }
    let mut held = 0;
    while client.frames.is_empty() {
        client.send(&frame);
        held += 1;
        // The connection's memory includes what the transaction holds.
        let bytes = client.stomp.unfinished().bytes;
        assert!(
            !client.frames.is_empty() || bytes >= held * 6_000,
            "{bytes}"
        );
    }
    assert!(held < (1 << 20) / 6_000, "{held}");
    assert!(client.error().1.contains("1048576 bytes"));
    assert_eq!(client.stomp.unfinished().bytes, 0);
}

#[test]
fn unacknowledged_messages_count_as_memory_of_the_connection_while_it_keeps_them() {
    let text: &'static str = "x".repeat(60_000).leak();
    let large = |offset| publication("a", offset, text);
    let mut client = Client::durable(b"", false);
    let held = |client: &Client| client.stomp.unfinished().bytes;
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let topic = client.subscribe(durable.clone());
    let encoding = client.stomp.encoding(client.connect.as_ref().unwrap());
    for offset in 1..=10 {
        let mut shared = encoding.publication(&large(offset));
        shared.publication = Some(large(offset));
        let recipient = Recipient {
            subscription: Some(topic),
            place: Position::new(1, offset),
            ..Recipient::PLAIN
        };
        let head = client.stomp.head(&recipient, &shared);
        client.heads(head, &shared).unwrap();
    }
    let ten = held(&client);
    assert!(ten > 500_000, "{ten}");
    // It makes no difference whether they wait for an acknowledgement or for the client to subscribe.
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert_eq!(held(&client), ten);
    client.send(&durable);
    assert_eq!(held(&client), ten);
    let messages = std::mem::take(&mut client.frames);
    client.send(&ack("ACK", &messages[9]));
    assert_eq!(held(&client), 0);
    // A queue keeps its messages itself.
    let queue = subscribe_as("q", "/queue/jobs");
    let queue = client.subscribe(queue);
    for offset in 1..=10 {
        let place = Position::new(1, offset);
        let queued = client.stomp.queued(queue, &large(offset), place, 0);
        client.hear(vec![queued.unwrap()]);
    }
    assert_eq!(held(&client), 0);
}

#[test]
fn only_the_durable_subscriptions_of_a_stored_session_continue() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let queue = client.subscribe(subscribe_as("q", "/queue/jobs"));
    let kept = client.subscribe(durable);
    let topic = client.subscribe(subscribe_as("t", "/topic/b"));
    let snapshot = |id| SubscriptionSnapshot {
        target: ChannelName::new("a").unwrap().into(),
        id: Some(id),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let mut all = [queue, kept, topic].map(snapshot).to_vec();
    let note = client.note.clone();
    let mut client = Client::durable(&note, true);
    client.stomp.select_restored(&note, &mut all);
    assert_eq!(all, [snapshot(kept)]);
    // New subscriptions have other numbers.
    let queue = client.subscribe(subscribe_as("q", "/queue/jobs"));
    assert_ne!(queue, kept);
    client
        .stomp
        .select_restored(b"a note of another dialect", &mut all);
    assert!(all.is_empty());
}

#[test]
fn a_durable_subscription_waits_for_its_client_on_the_next_connection() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client").with("durable", "true");
    let id = client.subscribe(durable.clone().with("receipt", "r"));
    assert_eq!(client.receipt(), "r");
    client.deliver(id, "a", 1).unwrap();
    let note = client.note.clone();

    let mut client = Client::durable(&note, true);
    assert_eq!(client.deliver(id, "a", 1), None);
    assert_eq!(client.deliver(id, "a", 2), None);
    client.send(&durable);
    let messages = std::mem::take(&mut client.frames);
    assert_eq!(messages.len(), 2);
    assert!(client.asked.is_empty(), "the engine has the subscription");
    client.send(&ack("ACK", &messages[1]));
    assert_eq!(client.done(), [1, 2]);
}

#[test]
fn a_durable_subscription_ends_only_when_its_client_requests_it() {
    let mut client = Client::durable(b"", false);
    let durable = subscribe("/topic/a", "client-individual").with("durable", "true");
    let id = client.subscribe(durable.clone());
    client.deliver(id, "a", 1).unwrap();
    client.send(&Frame::new("UNSUBSCRIBE").with("id", "s"));
    assert!(client.asked.is_empty());
    assert_eq!(client.deliver(id, "a", 2), None);
    client.send(&durable);
    let earlier: Vec<_> = client
        .frames
        .iter()
        .map(|m| m.header("deliveries"))
        .collect();
    assert_eq!(earlier, [Some("2"), None]);
    client.frames.clear();
    client.send(
        &Frame::new("UNSUBSCRIBE")
            .with("id", "s")
            .with("durable", "true"),
    );
    assert!(matches!(client.command(), Command::Unsubscribe { .. }));
    client.answer(Reply::Unsubscribed {
        subscription: ChannelName::new("a").unwrap().into(),
    });
    assert!(matches!(client.command(), Command::Remember { .. }));
    let mut client = Client::durable(&client.note.clone(), true);
    client.send(&durable);
    assert!(matches!(client.command(), Command::Subscribe(_)));
}

#[test]
fn a_subscription_whose_note_was_lost_is_ended() {
    let mut client = Client::durable(b"", true);
    assert_eq!(client.deliver(SubscriptionId(5), "a", 1), None);
    assert!(matches!(client.told[..], [Command::Unsubscribe { .. }]));
}

#[test]
fn a_durable_subscription_needs_a_client_id_and_a_topic() {
    for (mut client, destination) in [
        (Client::of(Version::V12), "/topic/a"),
        (Client::durable(b"", false), "/queue/a"),
    ] {
        client.send(&subscribe(destination, "client").with("persistent", "true"));
        assert_eq!(client.error().0, "not durable");
    }
}

#[test]
fn the_unacknowledged_messages_of_a_connection_are_limited() {
    let mut client = Client::of(Version::V12);
    let mut windows = Vec::new();
    for id in ["a", "b", "c"] {
        let frame = Frame::new("SUBSCRIBE")
            .with("id", id)
            .with("destination", "/topic/x")
            .with("ack", "client")
            .with("prefetch-count", "1000");
        client.send(&frame);
        let Some((_, Command::Subscribe(wish))) = client.asked.last() else {
            panic!("{:?}", client.asked);
        };
        windows.push(wish.flow);
    }
    let window = |window| Flow::Acknowledged { window };
    assert_eq!(windows, [window(1000), window(24), window(1)]);
}

#[test]
fn a_subscription_may_start_from_a_position_and_be_told_of_gaps() {
    let mut client = Client::of(Version::V12);
    let frame = subscribe("/topic/a", "auto")
        .with("since", "1.7")
        .with("gaps", "true");
    client.send(&frame);
    let Command::Subscribe(wish) = client.command() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(1, 7)));
    let name = wish.name();
    client.answer(Reply::Subscribed {
        subscription: name.clone(),
        position: Position::new(1, 9),
        live: false,
    });
    client.notice(&Notice::Gap {
        subscription: name,
        from: Position::new(1, 7),
        to: Position::new(1, 8),
        reason: GapReason::EvictedByAge,
        agreed: None,
    });
    let gap = client.frame();
    assert_eq!(gap.header("gap"), Some("evicted_by_age"));
    assert_eq!(gap.header("position"), Some("1.8"));
}

#[test]
fn the_receipt_of_a_disconnect_follows_everything_before_it() {
    let mut client = Client::of(Version::V12);
    client.send(&send("/topic/a").with("receipt", "1"));
    client.send(&Frame::new("DISCONNECT").with("receipt", "2"));
    assert_eq!(client.closed, None);
    client.answer(PUBLISHED);
    let receipts = client
        .frames
        .iter()
        .map(|frame| frame.header("receipt-id").unwrap());
    assert_eq!(receipts.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(client.closed, Some(1000));
    assert_eq!(client.others, [Intent::Leave]);
}

#[test]
fn heart_beats_are_sent_in_both_directions_at_the_agreed_intervals() {
    let mut client = Client::unconnected(Version::V12);
    client.send(
        &Frame::new("CONNECT")
            .with("accept-version", "1.2")
            .with("heart-beat", "4000,20000"),
    );
    client.welcome(false);
    assert_eq!(client.frame().header("heart-beat"), Some("1000,10000"));
    // The client promises every 4 s and the server asks for every 10 s; the client asks for every
    // 20 s.
    client.passes(Duration::from_secs(15));
    assert_eq!(client.beats, 1);
    client.send_bytes(b"\n");
    client.passes(Duration::from_secs(19));
    assert_eq!((client.beats, client.closed), (2, None));
    client.passes(Duration::from_secs(1));
    assert_eq!(client.error().0, "no heart-beat");
}

#[test]
fn a_client_without_heart_beats_is_not_checked() {
    let mut client = Client::of(Version::V12);
    client.passes(Duration::from_secs(1000));
    assert_eq!((client.beats, client.closed), (0, None));
}

#[test]
fn a_silent_client_stays_connected_over_a_transport_with_pings() {
    let mut client = Client::unconnected(Version::V12);
    client.stomp = Stomp::new(Settings {
        enforces_heart_beats: false,
        ..settings()
    });
    client.send(&Frame::new("CONNECT").with("heart-beat", "10000,10000"));
    client.welcome(false);
    for _ in 0..10 {
        client.passes(Duration::from_secs(10));
    }
    assert_eq!((client.beats, client.closed), (10, None));
}

#[test]
fn a_violation_of_the_protocol_is_an_error_and_then_the_end() {
    let frame = Frame::new;
    for (sent, message) in [
        (frame("CONNECT"), "already connected"),
        (frame("SHOUT"), "unknown command"),
        (frame("ACK").body("x"), "malformed frame"),
        (frame("SEND"), "missing header"),
        (send("a"), "bad destination"),
        (
            send("/topic/a").with("transaction", "t"),
            "unknown transaction",
        ),
        (frame("ACK"), "missing header"),
        (
            frame("COMMIT").with("transaction", "t"),
            "unknown transaction",
        ),
        (frame("UNSUBSCRIBE").with("id", "x"), "not subscribed"),
        (subscribe("/topic/a", "sometimes"), "bad header"),
        (
            subscribe("/topic/a", "auto").with("since", "x"),
            "bad header",
        ),
    ] {
        let mut client = Client::of(Version::V12);
        client.send(&sent.clone().with("receipt", "r"));
        let receipt = client.frames[0].header("receipt-id");
        assert_eq!(receipt, Some("r"));
        assert_eq!(client.error().0, message, "{sent:?}");
        // Nothing is read after the end.
        client.send(&send("/topic/a"));
        assert!(client.asked.is_empty());
    }
}

#[test]
fn the_first_frame_must_connect() {
    let mut client = Client::unconnected(Version::V12);
    client.send(&send("/topic/a"));
    assert_eq!(client.error().0, "not connected");
}

#[test]
fn a_subscription_that_the_server_ends_ends_the_connection() {
    let mut client = Client::of(Version::V12);
    let id = client.subscribe(subscribe("/topic/a", "auto"));
    client.notice(&Notice::Unsubscribed {
        subscription: SubscriptionName {
            target: ChannelName::new("a").unwrap().into(),
            id: Some(id),
        },
        refusal: Refusal::new(ErrorCode::Forbidden, "no more"),
    });
    assert_eq!(
        client.error(),
        ("forbidden".to_owned(), "no more".to_owned())
    );
}

#[test]
fn too_many_subscriptions_are_refused() {
    let mut client = Client::of(Version::V12);
    for id in 0..9 {
        let frame = Frame::new("SUBSCRIBE")
            .with("id", &id.to_string())
            .with("destination", "/topic/a");
        client.send(&frame);
    }
    assert_eq!(client.error().0, "too many subscriptions");
}

proptest! {
    #[test]
    fn no_bytes_of_a_client_cause_a_panic_and_all_output_is_frames(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                &b"CONNECT\naccept-version:1.2\nclient-id:a\nheart-beat:1,1\n\n\0"[..],
                &b"SEND\ndestination:/topic/a\nreceipt:1\n\nx\0"[..],
                &b"SUBSCRIBE\nid:1\ndestination:/topic/a\nack:client\ndurable:true\n\n\0"[..],
                &b"SUBSCRIBE\nid:2\ndestination:/queue/a\nack:client\n\n\0"[..],
                &b"UNSUBSCRIBE\nid:1\n\n\0"[..],
                &b"BEGIN\ntransaction:t\n\n\0"[..],
                &b"ACK\nid:abc-1\ntransaction:t\n\n\0"[..],
                &b"NACK\nid:abc-1\n\n\0"[..],
                &b"COMMIT\ntransaction:t\nreceipt:2\n\n\0"[..],
                &b"DISCONNECT\nreceipt:3\n\n\0"[..],
                &b"\n"[..],
                &b"SEND\n"[..],
                &b"\0"[..],
            ]),
            0..20,
        ),
        noise in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut client = Client::unconnected(Version::V12);
        for (n, piece) in pieces.iter().enumerate() {
            if client.closed.is_some() {
                break;
            }
            client.send_bytes(piece);
            if client.connect.is_some() && n == 0 {
                client.welcome(false);
            }
            if n % 3 == 2 && !client.asked.is_empty() {
                client.answer(PUBLISHED);
            }
            let id = SubscriptionId(u32::try_from(n % 2).unwrap());
            if n > 4 && client.closed.is_none() && client.connect.is_some() {
                client.frames.clear();
                client.deliver(id, "a", u64::try_from(n).unwrap());
            }
        }
        if client.closed.is_none() {
            client.send_bytes(&noise);
        }
    }
}

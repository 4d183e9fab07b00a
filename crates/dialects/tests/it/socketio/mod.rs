//! Socket.IO: the commands that events become, and what the client receives.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_dialects::{
    Connect, Dialect, Head, Incoming, Intent, Known, Payload, Recipient, Unfinished, Welcome,
    socketio::{NamedBy, Room, Settings, SocketIo},
};
use offhook_engine::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::native_encode::sometime;

mod again;
mod connecting;
mod events;
mod recovery;
mod rooms;

const NAME: &str = "0123456789abcdef0123456789abcdef";

fn settings() -> Settings {
    Settings {
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        max_payload: 1 << 16,
        recovery: Duration::from_secs(3600),
        calls_backend: false,
        rooms: Arc::default(),
        can_upgrade: false,
    }
}

/// A connection, with a server that answers as instructed.
struct Client {
    sio: SocketIo,
    now: Instant,
    connects: Vec<Connect>,
    asked: Vec<(CommandId, Command)>,
    told: Vec<Command>,
    others: Vec<Intent>,
    heard: Vec<Payload>,
    closed: Option<u16>,
}

impl Client {
    fn new() -> Self {
        let mut client = Self {
            sio: SocketIo::new(settings()),
            now: sometime(),
            connects: Vec::new(),
            asked: Vec::new(),
            told: Vec::new(),
            others: Vec::new(),
            heard: Vec::new(),
            closed: None,
        };
        let mut out = Vec::new();
        client.sio.opened("abc", &mut out);
        client.heard.extend(out);
        client
    }

    /// A client in the main namespace.
    fn connected() -> Self {
        let mut client = Self::new();
        client.text();
        client.send("40");
        client.welcome(None);
        let sid = "01010101010101010101010101010101";
        assert_eq!(client.text(), format!("40{{\"sid\":\"{sid}\"}}"));
        client
    }

    /// A client that requested recovery, and its id.
    fn recoverable(auth: &str, note: Option<&[u8]>, unix_ms: u64) -> (Self, String) {
        let mut client = Self::new();
        client.text();
        client.send(&format!("40{auth}"));
        client.welcome_at(Some(note), unix_ms);
        // The note of a session that begins.
        let is_note = |command: &Command| matches!(command, Command::Remember { .. });
        client.told.retain(|command| !is_note(command));
        let entered = client.text();
        let entered: Value = serde_json::from_str(entered.strip_prefix("40").unwrap()).unwrap();
        (client, entered["pid"].as_str().unwrap().to_owned())
    }

    fn welcome(&mut self, note: Option<Option<&[u8]>>) {
        self.welcome_at(note, 1_700_000_000_000);
    }

    fn welcome_at(&mut self, note: Option<Option<&[u8]>>, unix_ms: u64) {
        let connect = self.connects.last().unwrap();
        let welcome = Welcome {
            id: connect.id,
            session: SessionId::from_bytes([1; 16]),
            user: "",
            resume: "",
            unix_ms,
            named: note.map(|note| Known {
                name: NAME,
                resumed: note.is_some(),
                note: note.unwrap_or_default(),
                expiry: Some(Duration::from_secs(1)),
            }),
            expires_in: None,
        };
        let mut out = Vec::new();
        self.sio.welcome(&welcome, &mut out);
        self.heard.extend(out);
        self.poll();
    }

    fn refuse_connect(&mut self, code: ErrorCode) {
        let id = self.connects.last().unwrap().id;
        let mut out = Vec::new();
        let refusal = Refusal::new(code, "no");
        self.sio.refused(Some(id), &refusal, &mut out);
        self.heard.extend(out);
        self.poll();
    }

    fn send(&mut self, text: &str) {
        self.receive(Incoming::Text(text));
    }

    fn receive(&mut self, incoming: Incoming<'_>) {
        let mut intents = Vec::new();
        self.sio.receive(incoming, self.now, &mut intents);
        intents
            .into_iter()
            .for_each(|intent| self.carry_out(intent));
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(intent) = self.sio.poll_intent() {
            self.carry_out(intent);
        }
    }

    fn carry_out(&mut self, intent: Intent) {
        match intent {
            Intent::Connect(connect) => self.connects.push(connect),
            Intent::Command {
                id: CommandId(0),
                command,
            } => self.told.push(command),
            Intent::Command { id, command } => self.asked.push((id, command)),
            Intent::Say(message) => self.heard.push(message),
            Intent::Close { code, .. } => self.closed = Some(code),
            Intent::Refuse { id, refusal } => {
                let reply = Reply::Refused(refusal);
                self.notice(&Notice::Reply { id, reply });
            }
            other @ (Intent::Granted { .. }
            | Intent::Permitted { .. }
            | Intent::Identify { .. }
            | Intent::Refresh { .. }
            | Intent::Leave
            | Intent::Consume { .. }
            | Intent::Settle { .. }
            | Intent::Quit { .. }
            | Intent::Channels { .. }
            | Intent::Report(_)
            | Intent::Keep(_)) => self.others.push(other),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.sio.notice(notice, &mut out);
        self.heard.extend(out);
        self.poll();
    }

    /// Answers the oldest command.
    fn reply(&mut self, reply: Reply) -> Command {
        let (id, command) = self.asked.remove(0);
        let id = Some(id);
        self.notice(&Notice::Reply { id, reply });
        command
    }

    /// The next message, which is a text message.
    fn text(&mut self) -> String {
        match self.heard.remove(0) {
            Payload::Text(text) => text,
            Payload::Binary(bytes) => panic!("{bytes:?}"),
        }
    }

    /// The next message, which is an attachment.
    fn bytes(&mut self) -> Vec<u8> {
        match self.heard.remove(0) {
            Payload::Binary(bytes) => bytes,
            Payload::Text(text) => panic!("{text}"),
        }
    }

    fn says_nothing(&self) {
        assert!(self.heard.is_empty(), "{:?}", self.heard);
    }

    /// Subscribes, and returns the number of the subscription.
    fn subscribe(&mut self, prefix: &str, fields: &Value, live: bool) -> Option<u32> {
        self.send(&format!("42{prefix}[\"subscribe\",{fields}]"));
        let Some((_, Command::Subscribe(wish))) = self.asked.first() else {
            panic!("{:?}", self.asked);
        };
        let number = wish.id.map(|id| id.0);
        let subscription = wish.name();
        let position = Position::new(17, 3);
        self.reply(Reply::Subscribed {
            subscription,
            position,
            live,
            by_server: false,
            acknowledged: false,
        });
        number
    }

    /// Stores the note, and returns it.
    fn remember(&mut self) -> Vec<u8> {
        let command = self.reply(Reply::Remembered);
        let Command::Remember { note, .. } = command else {
            panic!("{command:?}");
        };
        note.into()
    }

    /// Delivers a publication to a subscription.
    fn deliver(&mut self, number: Option<u32>, publication: &Publication) {
        let connect = self.connects.last().unwrap();
        let encoding = self.sio.encoding(connect);
        let mut shared = encoding.publication(publication);
        shared.publication = Some(Arc::new(publication.clone()));
        let recipient = Recipient {
            subscription: number.map(SubscriptionId),
            place: publication.position,
            ..Recipient::PLAIN
        };
        if recipient.is_plain() && !encoding.has_heads() {
            self.heard.extend(shared.ahead);
            return self.heard.push(shared.message);
        }
        match self.sio.head(&recipient, &shared) {
            Head::None => self.heard.push(shared.message),
            Head::Insert(head) => self.heard.push(shared.with_head(&head)),
            Head::Whole(message) => self.heard.push(message),
            Head::Several(messages) => self.heard.extend(messages),
            Head::Nothing => {}
        }
    }
}

fn publication(channel: &str, offset: u64, data: &[u8], format: Format) -> Publication {
    Publication {
        channel: ChannelName::new(channel).unwrap(),
        position: Position::new(17, offset),
        previous: Position::new(17, offset - 1),
        sequence: offset,
        data: data.to_vec().into(),
        format,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 3,
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The arguments of an event or acknowledgement after this prefix.
fn arguments(text: &str, prefix: &str) -> Value {
    let rest = text.strip_prefix(prefix);
    parsed(rest.unwrap_or_else(|| panic!("{text}: not after {prefix}")))
}

fn room(pattern: &str) -> Room {
    let names = |name| vec![Pattern::new(name)];
    Room {
        pattern: Pattern::new(pattern),
        join: names("join"),
        leave: names("leave"),
        events: names("chat message"),
        broadcasts: names("typing*"),
        named_by: NamedBy::Joined,
        everyone: false,
    }
}

/// A client in the main namespace of a server with these rooms.
fn with_rooms(rooms: impl IntoIterator<Item = Room>, auth: &str) -> Client {
    let mut client = Client::new();
    client.sio = SocketIo::new(Settings {
        rooms: Arc::new(rooms.into_iter().collect()),
        ..settings()
    });
    client.heard.clear();
    client.send(&format!("40{auth}"));
    client.welcome(None);
    assert!(client.text().starts_with("40{\"sid\""));
    client
}

fn joined(client: &mut Client, event: &str) -> String {
    client.send(event);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    let subscription = wish.name();
    let channel = wish.target.channel().unwrap().to_string();
    client.reply(Reply::Subscribed {
        subscription,
        position: Position::new(17, 3),
        live: true,
        by_server: false,
        acknowledged: false,
    });
    channel
}

/// Sends an event that is published, and returns its channel, its data and its tags.
fn emitted(client: &mut Client, event: &str) -> (String, String, Vec<(String, String)>) {
    client.send(event);
    let (
        _,
        Command::Publish {
            channel,
            data,
            tags,
            ..
        },
    ) = client.asked.remove(0)
    else {
        panic!("{event}: not published");
    };
    let tags = tags
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let data = String::from_utf8_lossy(&data).into_owned();
    (channel.to_string(), data, tags.collect())
}

fn error_code(text: &str, prefix: &str) -> String {
    arguments(text, prefix)[0]["error"]["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The id, offset and note with which a session can be recovered.
fn cut(events: u64) -> (String, Option<String>, Vec<u8>) {
    let (mut client, pid) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    client.says_nothing();
    let note = client.remember();
    assert_eq!(client.text(), r#"431[{"epoch":"17","offset":3}]"#);
    let mut offset = None;
    for n in 0..events {
        client.deliver(number, &publication("a", 4 + n, b"\"text\"", Format::Json));
        let event = arguments(&client.text(), "42");
        assert_eq!(event.as_array().unwrap().len(), 3, "{event}");
        offset = Some(event[2].as_str().unwrap().to_owned());
    }
    (pid, offset, note)
}

fn back(pid: &str, offset: Option<&str>) -> String {
    let mut auth = json!({"recover": true, "pid": pid});
    if let Some(offset) = offset {
        auth["offset"] = offset.into();
    }
    auth.to_string()
}

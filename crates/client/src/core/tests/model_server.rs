//! A small correct server: streams that are trimmed and restarted, sealed sessions, and connections
//! that may lose their last messages in either direction.

use std::collections::{BTreeMap, HashMap, VecDeque};

use offhook_dialects::native::client::{Command, CommandId, Position, Since, SubscriptionKey};
use offhook_dialects::native::{Connect, Request, decode};
use serde_json::{Value, json};

/// A channel's stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) epoch: u64,
    /// All publications of this epoch by key, including those no longer retained.
    pub(super) all: Vec<String>,
    /// The offset of the oldest retained publication.
    first: u64,
    keys: HashMap<String, Position>,
}

impl Stream {
    fn new(epoch: u64) -> Self {
        Self {
            epoch,
            all: Vec::new(),
            first: 1,
            keys: HashMap::new(),
        }
    }

    pub(super) fn head(&self) -> u64 {
        self.all.len() as u64
    }

    pub(super) fn at(&self, offset: u64) -> Position {
        Position::new(self.epoch, offset)
    }

    fn publish(&mut self, key: &str) -> (Position, bool) {
        if let Some(position) = self.keys.get(key) {
            return (*position, true);
        }
        self.all.push(key.to_owned());
        let position = self.at(self.head());
        self.keys.insert(key.to_owned(), position);
        (position, false)
    }
}

/// A subscription on a connection: everything up to the cursor was sent.
#[derive(Clone, Debug)]
struct Cursor {
    position: Position,
    /// Whether missing older publications are not reported as a gap.
    lenient: bool,
    live: bool,
    /// To be announced first: the request, if there was one.
    begin: Option<Option<CommandId>>,
}

/// What the server will refuse next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Fine,
    Busy,
    Draining,
}

#[derive(Debug)]
pub(super) struct ModelServer {
    pub(super) streams: BTreeMap<String, Stream>,
    seals: HashMap<String, HashMap<String, Position>>,
    last_seal: u32,
    /// The connection's subscriptions.
    cursors: BTreeMap<String, Cursor>,
    greeted: bool,
    pub(super) mood: Mood,
    pub(super) to_server: VecDeque<String>,
    pub(super) to_client: VecDeque<String>,
}

impl ModelServer {
    pub(super) fn new(channels: &[&str]) -> Self {
        let streams = channels
            .iter()
            .map(|name| ((*name).to_owned(), Stream::new(1)));
        Self {
            streams: streams.collect(),
            seals: HashMap::new(),
            last_seal: 0,
            cursors: BTreeMap::new(),
            greeted: false,
            mood: Mood::Fine,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// The connection is gone, with everything in flight.
    pub(super) fn cut(&mut self) {
        self.cursors.clear();
        self.greeted = false;
        self.to_server.clear();
        self.to_client.clear();
    }

    /// Sealed sessions can no longer be opened.
    pub(super) fn forget_seals(&mut self) {
        self.seals.clear();
    }

    pub(super) fn publish(&mut self, name: &str, key: &str) {
        self.stream(name).publish(key);
    }

    pub(super) fn trim(&mut self, name: &str, keep: u64) {
        let stream = self.stream(name);
        stream.first = stream.first.max((stream.head() + 1).saturating_sub(keep));
    }

    /// The stream's data is lost; its subscribers are told.
    pub(super) fn begin_epoch(&mut self, name: &str) {
        let stream = self.stream(name);
        *stream = Stream::new(stream.epoch + 1);
    }

    fn stream(&mut self, name: &str) -> &mut Stream {
        self.streams.get_mut(name).expect("a channel of the model")
    }

    fn say(&mut self, message: Value) {
        self.to_client.push_back(message.to_string());
    }

    fn seal(&mut self) -> String {
        self.last_seal += 1;
        let name = format!("seal {}", self.last_seal);
        let positions = self.cursors.iter();
        let positions = positions.map(|(name, cursor)| (name.clone(), cursor.position));
        self.seals.insert(name.clone(), positions.collect());
        name
    }

    pub(super) fn issue_token(&mut self) {
        if self.greeted {
            let resume = self.seal();
            self.say(json!({"type": "token", "resume": resume}));
        }
    }

    pub(super) fn advise(&mut self, after_ms: u64) {
        if self.greeted {
            self.say(json!({"type": "reconnect", "after_ms": after_ms}));
        }
    }

    /// Reads one message.
    pub(super) fn read(&mut self) {
        let Some(text) = self.to_server.pop_front() else {
            return;
        };
        match decode(&text).expect("a client says what a server understands") {
            Request::Connect(connect) => self.connect(connect),
            Request::Command { id, command } => self.command(id, command),
            other @ (Request::Granted { .. } | Request::Refresh { .. }) => {
                panic!("this client has no tokens: {other:?}")
            }
            Request::SubscribeAll(all) => {
                for (id, command) in all.commands() {
                    self.command(id, command.expect("a client sends valid names"));
                }
            }
        }
    }

    fn refuse(&mut self, id: CommandId, code: &str, retry: &str) {
        self.say(json!({
            "type": "error", "id": id.0, "code": code, "message": "", "retry": retry,
            "retry_after_ms": 30,
        }));
    }

    fn connect(&mut self, connect: Connect) {
        assert!(!self.greeted, "a second greeting");
        if let Some(seal) = connect.resume {
            let Some(mut positions) = self.seals.get(&seal).cloned() else {
                return self.refuse(connect.id, "bad_token", "never");
            };
            for (subscription, position) in connect.positions {
                let channel = subscription.to_string();
                if let Some(sealed) = positions.get_mut(channel.trim_start_matches("channel ")) {
                    *sealed = position;
                }
            }
            let restored = positions.into_iter().map(|(name, position)| {
                let begin = Some(None);
                let live = false;
                (
                    name,
                    Cursor {
                        position,
                        lenient: false,
                        live,
                        begin,
                    },
                )
            });
            self.cursors = restored.collect();
        }
        self.greeted = true;
        let resume = self.seal();
        self.say(json!({
            "type": "welcome", "id": connect.id.0, "session": "me", "resume": resume,
        }));
    }

    fn command(&mut self, id: CommandId, command: Command) {
        assert!(self.greeted, "a command before the welcome");
        match self.mood {
            Mood::Fine => {}
            Mood::Busy => return self.refuse(id, "busy", "later"),
            Mood::Draining => return self.refuse(id, "draining", "reconnect"),
        }
        match command {
            Command::Publish { channel, key, .. } => {
                let key = key.expect("a client's publications have keys");
                let stream = self.stream(channel.as_str());
                let (position, duplicate) = stream.publish(key.as_str());
                self.say(json!({
                    "type": "published", "id": id.0, "position": position.to_string(),
                    "duplicate": duplicate,
                }));
            }
            Command::Subscribe(wish) => self.subscribe(id, wish.target.as_str(), wish.since),
            Command::Unsubscribe { subscription } => {
                let SubscriptionKey::Target(channel) = subscription else {
                    return self.refuse(id, "not_subscribed", "never");
                };
                if self.cursors.remove(channel.as_str()).is_none() {
                    return self.refuse(id, "not_subscribed", "never");
                }
                self.say(json!({
                    "type": "unsubscribed", "id": id.0, "channel": channel.as_str(),
                }));
            }
            Command::Ping => self.say(json!({"type": "pong", "id": id.0})),
            Command::History { .. }
            | Command::HistoryBefore { .. }
            | Command::Presence { .. }
            | Command::Done { .. }
            | Command::UpdateInfo { .. }
            | Command::Call { .. }
            | Command::State { .. }
            | Command::Values { .. }
            | Command::Return { .. }
            | Command::Remember { .. }
            | Command::Ack { .. }
            | Command::Receipts { .. } => panic!("not asked for"),
        }
    }

    fn subscribe(&mut self, id: CommandId, name: &str, since: Since) {
        if self.cursors.contains_key(name) {
            return self.refuse(id, "already_subscribed", "never");
        }
        let stream = self.stream(name);
        let (offset, lenient) = match since {
            Since::Now => (stream.head(), false),
            Since::State => panic!("not asked for"),
            Since::Start => (0, true),
            Since::Last(count) => (stream.head().saturating_sub(count.into()), true),
            Since::Position(position) => {
                let cursor = Cursor {
                    position,
                    lenient: false,
                    live: false,
                    begin: Some(Some(id)),
                };
                self.cursors.insert(name.to_owned(), cursor);
                return;
            }
        };
        let position = stream.at(offset);
        let cursor = Cursor {
            position,
            lenient,
            live: false,
            begin: Some(Some(id)),
        };
        self.cursors.insert(name.to_owned(), cursor);
    }

    /// Takes one step of one subscription. `false` if there is nothing to do.
    pub(super) fn work(&mut self, name: &str) -> bool {
        let stream = &self.streams[name];
        let head = stream.at(stream.head());
        let Some(cursor) = self.cursors.get_mut(name) else {
            return false;
        };
        let here = cursor.position;
        if let Some(id) = cursor.begin.take() {
            cursor.live = here == head;
            let mut message = json!({
                "type": "subscribed", "channel": name, "position": head.to_string(),
                "live": cursor.live,
            });
            if let Some(id) = id {
                message["id"] = id.0.into();
            }
            self.say(message);
            return true;
        }
        let gap = |to: Position, reason: &str| {
            json!({
                "type": "gap", "channel": name, "from": here.to_string(), "to": to.to_string(),
                "reason": reason,
            })
        };
        let message = if here.epoch != head.epoch {
            (cursor.live, cursor.lenient) = (false, false);
            cursor.position = stream.at(0);
            gap(stream.at(0), "epoch_changed")
        } else if here == head {
            if std::mem::replace(&mut cursor.live, true) {
                return false;
            }
            json!({"type": "live", "channel": name, "position": head.to_string()})
        } else if here.offset + 1 < stream.first && !cursor.live {
            cursor.position = stream.at(stream.first - 1);
            if std::mem::take(&mut cursor.lenient) {
                return true;
            }
            gap(cursor.position, "evicted_by_size")
        } else {
            cursor.lenient = false;
            cursor.position.offset += 1;
            let key = &stream.all[here.offset as usize];
            json!({
                "type": "message", "channel": name, "position": cursor.position.to_string(),
                "data": key, "time": 1,
            })
        };
        self.say(message);
        true
    }
}

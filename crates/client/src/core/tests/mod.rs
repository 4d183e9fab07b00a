//! The core, driven by hand: the test plays the server and controls the time.
#![expect(
    clippy::needless_pass_by_value,
    reason = "JSON is made on the spot, and reads better without a reference"
)]

mod asking;
mod bytes;
mod connections;
mod filters;
mod hostile;
mod made;
mod model;
mod model_server;
mod publishing;
mod slow_readers;
mod subscribing;
mod tokens;

use std::time::{Duration, Instant};

use offhook_dialects::native::client::{ChannelName, Command, Format, Key, Tags};
use serde_json::{Value, json};

use super::*;
use crate::event::{Event, Gap};
use crate::since::Since;

pub(super) const EPOCH: u64 = 17;
pub(super) const INBOX: usize = 4_096;

pub(super) fn at(offset: u64) -> String {
    format!("{EPOCH}.{offset}")
}

pub(super) fn settings() -> Settings {
    Settings {
        backoff: Backoff::default(),
        heartbeat: Heartbeat::default(),
        queue: 10_000,
        inbox: INBOX,
        has_token_source: false,
    }
}

/// A core, the time, and the signals so far.
pub(super) struct Harness {
    pub(super) core: Core,
    pub(super) now: Instant,
    pub(super) connections: Vec<ConnectionEvent>,
    pub(super) answers: Vec<(Ticket, Result<Answer, Error>)>,
}

impl Harness {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let now = tokio::time::Instant::now().into_std();
        Self {
            core: Core::new(settings, 0x9e37_79b9_7f4a_7c15, now),
            now,
            connections: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// A client with an open connection and a welcome that contained this resume token.
    pub(super) fn online(resume: &str) -> Self {
        let mut harness = Self::new();
        harness.come_online(resume);
        harness
    }

    pub(super) fn come_online(&mut self, resume: &str) -> Value {
        self.open();
        let hello = self.sent().remove(0);
        self.says(json!({"type": "welcome", "id": hello["id"], "session": "me", "resume": resume}));
        hello
    }

    /// Waits until the core's next timeout, then opens a connection.
    pub(super) fn open(&mut self) {
        while self.core.step() == Step::Wait {
            let at = self.core.poll_timeout().expect("it waits for a time");
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
        }
        let step = self.core.step();
        assert!(matches!(step, Step::Open { .. }), "{step:?}");
        self.core.handle_opened(None, Form::Json, self.now);
        self.settle();
    }

    pub(super) fn says(&mut self, message: Value) {
        self.core.handle_message(&message.to_string(), self.now);
        self.settle();
    }

    pub(super) fn message(&mut self, channel: &str, offset: u64) {
        self.says(json!({
            "type": "message", "channel": channel, "position": at(offset), "data": offset,
            "time": 1,
        }));
    }

    pub(super) fn is_lost(&mut self) {
        let error = offhook::Error::Lost(std::io::ErrorKind::ConnectionReset.into());
        self.core.handle_lost(error.into(), self.now);
        self.settle();
    }

    /// Advances the time, calling the core at its timeouts.
    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.settle();
            if matches!(self.core.step(), Step::Open { .. }) {
                break;
            }
        }
        self.now = end;
        self.core.handle_timeout(self.now);
        self.settle();
    }

    pub(super) fn settle(&mut self) {
        while let Some(signal) = self.core.poll_signal() {
            match signal {
                Signal::Connection(event) => self.connections.push(event),
                Signal::Answer { ticket, answer } => self.answers.push((ticket, answer)),
                Signal::Reader(_) | Signal::Room | Signal::Made => {}
            }
        }
    }

    /// All messages to send now.
    pub(super) fn sent(&mut self) -> Vec<Value> {
        let mut sent = Vec::new();
        while let Some(message) = self.core.poll_transmit() {
            sent.push(serde_json::from_str(&text(message)).expect("JSON"));
        }
        sent
    }

    /// The only message to send now.
    pub(super) fn sent_one(&mut self, kind: &str) -> Value {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0]["type"], kind);
        sent.remove(0)
    }

    pub(super) fn subscribe(&mut self, name: &str, since: Since) -> SubscriptionKey {
        self.subscribe_as(Subscribe {
            target: channel(name).into(),
            since,
            presence: false,
            echo: true,
            tokens: None,
        })
    }

    pub(super) fn subscribe_as(&mut self, wish: Subscribe) -> SubscriptionKey {
        self.core.subscribe(wish).expect("a new subscription")
    }

    /// An active subscription, live from this offset.
    pub(super) fn following(&mut self, name: &str, offset: u64) -> SubscriptionKey {
        let key = self.subscribe(name, Since::Now);
        let asked = self.sent_one("subscribe");
        self.says(json!({
            "type": "subscribed", "id": asked["id"], "channel": name, "position": at(offset),
            "live": true,
        }));
        assert_eq!(self.taken(key), [format!("live {}", at(offset))]);
        key
    }

    pub(super) fn publish(&mut self, name: &str, key: &str) -> Ticket {
        self.try_publish(name, key, true).expect("room")
    }

    pub(super) fn try_publish(&mut self, name: &str, key: &str, ordered: bool) -> Option<Ticket> {
        let outgoing = Outgoing {
            channel: channel(name),
            command: Command::Publish {
                channel: channel(name),
                data: "1".into(),
                format: Format::Json,
                tags: Tags::default(),
                key: Some(Key::new(key).expect("a key")),
            },
            weight: 1_000,
            ordered,
        };
        self.core
            .publish(|| Some(outgoing), 1_000)
            .expect("not ended")
    }

    /// A description of the events that a reader takes.
    pub(super) fn taken(&mut self, key: SubscriptionKey) -> Vec<String> {
        let mut taken = Vec::new();
        while let Some(word) = self.take(key) {
            taken.push(word);
        }
        taken
    }

    pub(super) fn take(&mut self, key: SubscriptionKey) -> Option<String> {
        match self.core.take(key, self.now).0 {
            Taken::Event(event) => Some(in_words(&event)),
            Taken::Ended(Some(why)) => Some(format!("ended: {why}")),
            Taken::Ended(None) | Taken::Nothing => None,
        }
    }

    /// The last event of the connection.
    pub(super) fn last_connection(&self) -> &ConnectionEvent {
        self.connections.last().expect("something happened")
    }
}

/// A text message.
pub(super) fn text(message: Payload) -> String {
    match message {
        Payload::Text(text) => text,
        Payload::Binary(bytes) => panic!("a binary message: {bytes:02x?}"),
    }
}

/// From now on.
pub(super) fn wish(name: &str, presence: bool) -> Subscribe {
    Subscribe {
        target: channel(name).into(),
        since: Since::Now,
        presence,
        echo: true,
        tokens: None,
    }
}

pub(super) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).expect("a name")
}

fn in_words(event: &Event) -> String {
    match event {
        Event::Publication(publication) => publication.position.to_string(),
        Event::Value(publication) => format!("value {}", publication.position),
        Event::Own { position } => format!("own {position}"),
        Event::Live { position } => format!("live {position}"),
        Event::CatchingUp => "catching up".to_owned(),
        Event::Gap(Gap {
            from, to, reason, ..
        }) => format!("gap {from} {to} {reason}"),
        Event::Members(members) => format!("{} members", members.total),
        Event::Joined(member) => format!("{} joined", member.session),
        Event::Left(member) => format!("{} left", member.session),
    }
}

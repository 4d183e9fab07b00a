//! A connection that speaks GraphQL: whatever its client sends and whatever the engine answers, the
//! server sends only messages of the protocol about operations that the client has begun, and nothing
//! follows the end.

use std::{collections::HashSet, sync::Arc, time::Instant};

use offhook_dialects::{
    Dialect, Encoding, Head, Incoming, Intent, Payload, Recipient, Welcome,
    graphql::{GraphQl, Once, Settings},
};
use offhook_engine::{
    ChannelName, Command, CommandId, Draft, ErrorCode, Format, GapReason, Member, Notice, Place,
    Position, PresenceChange, Publication, Refusal, Reply, SessionId, SubscriptionId,
    SubscriptionName, Tags,
};

const SETTINGS: Settings = Settings {
    introspection: true,
    depth: 20,
    fields: 500,
    aliases: 32,
    batch: 16,
};

/// The longest message that the server may send: an answer within its limit, and what is around it.
const LONGEST: usize = 1024 * 1024 + 64 * 1024;

/// Lines: the first character of each says what happens, and the rest with what.
pub fn graphql_connection(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut talk = Talk::new();
    for line in text.lines() {
        let mut chars = line.chars();
        let step = chars.next().unwrap_or(' ');
        talk.step(step, chars.as_str());
    }
}

struct Talk {
    dialect: GraphQl,
    encoding: &'static dyn Encoding,
    asked: Vec<(CommandId, Command)>,
    /// The numbers of subscriptions.
    numbers: Vec<u32>,
    /// The ids that the client has used.
    ids: HashSet<String>,
    has_ended: bool,
}

impl Talk {
    fn new() -> Self {
        let mut dialect = GraphQl::new(SETTINGS);
        let mut intents = Vec::new();
        let init = r#"{"type":"connection_init"}"#;
        dialect.receive(Incoming::Text(init), Instant::now(), &mut intents);
        let Some(Intent::Connect(connect)) = intents.pop() else {
            panic!("it connects")
        };
        let encoding = dialect.encoding(&connect);
        let welcome = Welcome {
            id: connect.id,
            session: SessionId::from_bytes([7; 16]),
            user: "",
            resume: "",
            expires_in: None,
            unix_ms: 1,
            named: None,
        };
        let mut out = Vec::new();
        dialect.welcome(&welcome, &mut out);
        assert_eq!(out.len(), 1);
        Self {
            dialect,
            encoding,
            asked: Vec::new(),
            numbers: Vec::new(),
            ids: HashSet::new(),
            has_ended: false,
        }
    }

    fn step(&mut self, step: char, with: &str) {
        if self.has_ended {
            return;
        }
        match step {
            '+' => self.answer(None),
            '-' => {
                let codes = ErrorCode::ALL;
                let code = codes.get(with.len() % codes.len());
                self.answer(code.copied());
            }
            '!' => self.deliver(with),
            'g' => self.notice(&Notice::Gap {
                subscription: self.subscription(with),
                from: Position::new(1, 1),
                to: Position::new(1, 2),
                reason: GapReason::Dropped,
                agreed: None,
            }),
            'm' => self.members(with),
            'u' => self.notice(&Notice::Unsubscribed {
                subscription: self.subscription(with),
                refusal: Refusal::new(ErrorCode::Forbidden, "no"),
            }),
            // A document, as a subscription and over HTTP.
            'q' => {
                let query = quoted(with);
                let id = with.len() % 4;
                self.send(&format!(
                    "{{\"type\":\"subscribe\",\"id\":\"{id}\",\"payload\":{{\"query\":{query}}}}}"
                ));
                // Whether it is valid does not matter here.
                let _once = Once::post(&format!("{{\"query\":{query}}}"), &SETTINGS);
            }
            'c' => self.send(&format!(
                "{{\"type\":\"complete\",\"id\":\"{}\"}}",
                with.len() % 4
            )),
            'b' => {
                let _once = Once::post(with, &SETTINGS);
                let _once = Once::get(Some(with), None, Some(with), Some(with), &SETTINGS);
            }
            _ => self.send(with),
        }
    }

    fn send(&mut self, text: &str) {
        if let Some((_, rest)) = text.split_once("\"id\":\"") {
            self.ids.extend(rest.split('"').next().map(str::to_owned));
        }
        let mut intents = Vec::new();
        let incoming = Incoming::Text(text);
        self.dialect.receive(incoming, Instant::now(), &mut intents);
        self.carry_out(intents);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(intent) = self.dialect.poll_intent() {
            self.carry_out(vec![intent]);
        }
    }

    fn carry_out(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            assert!(!self.has_ended, "{intent:?}");
            match intent {
                Intent::Command { id, command } => {
                    if let Command::Subscribe(wish) = &command {
                        self.numbers.extend(wish.id.map(|id| id.0));
                    }
                    self.asked.push((id, command));
                }
                Intent::Refuse { id, refusal } => {
                    let reply = Reply::Refused(refusal);
                    let mut out = Vec::new();
                    self.dialect.notice(&Notice::Reply { id, reply }, &mut out);
                    self.hear(out);
                }
                Intent::Channels { id, listing } => {
                    let name = ChannelName::new("a").expect("a name");
                    let next = listing.after.as_deref();
                    let mut out = Vec::new();
                    self.dialect
                        .channels(id, &[(name, Some(1))], next, &mut out);
                    self.hear(out);
                }
                Intent::Close { code, reason } => {
                    assert!((4400..4500).contains(&code) && reason.len() <= 123);
                    self.has_ended = true;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn answer(&mut self, code: Option<ErrorCode>) {
        if self.asked.is_empty() {
            return;
        }
        let (id, command) = self.asked.remove(0);
        let channel = ChannelName::new("a").expect("a name");
        let head = Position::new(1, 4);
        let reply = match (code, command) {
            (Some(code), _) => Reply::Refused(Refusal::new(code, "no")),
            (None, Command::Subscribe(wish)) => Reply::Subscribed {
                subscription: wish.name(),
                position: head,
                live: true,
                by_server: false,
                acknowledged: false,
            },
            (None, Command::History { .. } | Command::HistoryBefore { .. }) => Reply::History {
                channel,
                head,
                publications: vec![Arc::new(publication("text"))],
                gap: Some(GapReason::EvictedByAge),
                more: true,
            },
            (None, Command::State { .. }) => Reply::State {
                channel,
                head,
                values: vec![Arc::new(publication("value"))],
                more: false,
            },
            (None, Command::Presence { .. }) => Reply::Members {
                channel,
                subscription: None,
                members: vec![Arc::new(member("ann"))],
                total: 1,
            },
            (None, Command::Publish { .. }) => Reply::Published {
                position: head,
                duplicate: false,
            },
            (None, _) => Reply::Pong,
        };
        let id = Some(id);
        self.notice(&Notice::Reply { id, reply });
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.dialect.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn hear(&mut self, payloads: Vec<Payload>) {
        assert!(payloads.is_empty() || !self.has_ended, "it has ended");
        for payload in payloads {
            let Payload::Text(text) = payload else {
                panic!("only text is sent")
            };
            assert!(text.len() <= LONGEST, "{} bytes", text.len());
            assert!(
                offhook_dialects::json::is_object(&text) && text.ends_with('}'),
                "{text}"
            );
            if text.starts_with("{\"type\":\"pong\"") {
                continue;
            }
            let (_, rest) = text.split_once("{\"id\":\"").expect("an operation");
            let id = rest.split('"').next().unwrap_or_default();
            let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
            assert!(!is_plain || self.ids.contains(id), "{text}");
        }
    }

    fn number(&self, with: &str) -> Option<u32> {
        let count = self.numbers.len().max(1);
        self.numbers.get(with.len() % count).copied()
    }

    fn subscription(&self, with: &str) -> SubscriptionName {
        SubscriptionName {
            target: ChannelName::new("a").expect("a name").into(),
            id: self.number(with).map(SubscriptionId),
        }
    }

    fn recipient(&self, with: &str) -> Recipient {
        Recipient {
            subscription: self.number(with).map(SubscriptionId),
            at: with.len().is_multiple_of(3).then(|| Position::new(2, 2)),
            ..Recipient::PLAIN
        }
    }

    fn deliver(&mut self, with: &str) {
        let publication = publication(with);
        let mut shared = self.encoding.publication(&publication);
        shared.publication = Some(Arc::new(publication));
        match self.dialect.head(&self.recipient(with), &shared) {
            Head::Whole(payload) => self.hear(vec![payload]),
            Head::Nothing => {}
            other => panic!("{other:?}"),
        }
    }

    fn members(&mut self, with: &str) {
        let member = Arc::new(member(with));
        let channel = ChannelName::new("a").expect("a name");
        let change = PresenceChange {
            channel: channel.clone(),
            member: Arc::clone(&member),
            joined: with.len().is_multiple_of(2),
            user_sessions: 0,
        };
        let mut shared = self.encoding.presence(&change).expect("a message");
        shared.change = Some(Arc::new(change));
        match self.dialect.head(&self.recipient(with), &shared) {
            Head::Whole(payload) => self.hear(vec![payload]),
            Head::Nothing => {}
            other => panic!("{other:?}"),
        }
        self.notice(&Notice::Reply {
            id: None,
            reply: Reply::Members {
                channel,
                subscription: self.number(with).map(SubscriptionId),
                members: vec![member],
                total: 1,
            },
        });
    }
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                json.push('\\');
                json.push(c);
            }
            c if c.is_control() => json.push(' '),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

fn member(user: &str) -> Member {
    Member {
        session: SessionId::from_bytes([9; 16]),
        user: user.into(),
        info: Vec::new().into(),
    }
}

fn publication(data: &str) -> Publication {
    let format = match data.len() % 3 {
        0 => Format::Text,
        _ => Format::Binary,
    };
    let draft = Draft {
        channel: ChannelName::new("a").expect("a name"),
        data: data.to_owned().into(),
        format,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 0,
    };
    draft.at(Place::after(Position::new(1, 0), 1))
}

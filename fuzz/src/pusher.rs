//! A connection that speaks the Pusher protocol: whatever its client sends and whatever the engine
//! answers, the server sends only valid events, and nothing follows the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Payload, Recipient, Welcome,
    pusher::{App, Kind, Pusher, Report, Settings, Signing, kind_of, name_of},
};
use offhook_engine::{
    ChannelName, Command, CommandId, Draft, ErrorCode, Format, Member, Notice, Place, Position,
    PresenceChange, Publication, Publisher, Refusal, Reply, SessionId, SubscriptionName, Tags,
};

/// Signs nothing.
#[derive(Debug)]
struct Nothing;

impl Signing for Nothing {
    fn is_signed(&self, _auth: &str, _text: &str) -> bool {
        false
    }
}

const CHANNELS: [&str; 4] = ["a", "private-a", "presence-cache-a", "cache-a"];

/// Lines: the first character of each says what happens, and the rest with what. Of the first line it
/// says whether the app has a prefix.
pub fn pusher_connection(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let prefix = match lines.next() {
        Some(line) if line.starts_with('p') => "acme/",
        _ => "",
    };
    let mut talk = Talk::new(prefix);
    for line in lines {
        let mut chars = line.chars();
        let step = chars.next().unwrap_or(' ');
        talk.step(step, chars.as_str());
    }
}

struct Talk {
    pusher: Pusher,
    prefix: &'static str,
    encoding: &'static dyn offhook_dialects::Encoding,
    asked: Vec<(CommandId, Command)>,
    has_ended: bool,
}

impl Talk {
    fn new(prefix: &'static str) -> Self {
        let mut pusher = Pusher::new(Settings {
            app: Ok(App {
                prefix: prefix.into(),
                others: ["acme/x/".into()].into(),
                secrets: Arc::new(Nothing),
            }),
            activity_timeout: Duration::from_secs(120),
            client_events: true,
            reports: true,
        });
        let mut out = Vec::new();
        pusher.opened("id", &mut out);
        let Some(Intent::Connect(connect)) = pusher.poll_intent() else {
            panic!("it connects by itself")
        };
        let encoding = pusher.encoding(&connect);
        let welcome = Welcome {
            id: connect.id,
            session: SessionId::from_bytes([7; 16]),
            user: "",
            resume: "",
            expires_in: None,
            unix_ms: 1,
            named: None,
        };
        pusher.welcome(&welcome, &mut out);
        let mut talk = Self {
            pusher,
            prefix,
            encoding,
            asked: Vec::new(),
            has_ended: false,
        };
        talk.hear(out);
        talk
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
            'm' => self.members(with),
            'l' => self.notice(&Notice::Live {
                subscription: self.subscription(with),
                position: Position::new(1, 1),
            }),
            'u' => self.notice(&Notice::Unsubscribed {
                subscription: self.subscription(with),
                refusal: Refusal::new(ErrorCode::Forbidden, "no"),
            }),
            _ => self.send(with),
        }
    }

    fn send(&mut self, text: &str) {
        let mut intents = Vec::new();
        self.pusher
            .receive(Incoming::Text(text), Instant::now(), &mut intents);
        self.carry_out(intents);
        self.poll();
    }

    fn poll(&mut self) {
        let intents = std::iter::from_fn(|| self.pusher.poll_intent()).collect();
        self.carry_out(intents);
    }

    fn carry_out(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            match intent {
                Intent::Command { id, command } => {
                    if let Command::Subscribe(wish) = &command {
                        let name = name_of(self.prefix, wish.target.as_str()).expect("its own");
                        assert_eq!(kind_of(&name), Kind::Public);
                    }
                    self.asked.push((id, command));
                }
                Intent::Permitted { .. } | Intent::Identify { .. } => panic!("nothing is signed"),
                Intent::Refuse { id, refusal } => {
                    let reply = Reply::Refused(refusal);
                    let mut out = Vec::new();
                    self.pusher.notice(&Notice::Reply { id, reply }, &mut out);
                    self.hear(out);
                }
                Intent::Close { .. } => self.has_ended = true,
                Intent::Report(report) => {
                    assert!(matches!(*report, Report::CacheMiss { .. }), "{report:?}");
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
        let reply = match (code, command) {
            (Some(code), _) => Reply::Refused(Refusal::new(code, "no")),
            (None, Command::Subscribe(wish)) => Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(1, 0),
                live: true,
                by_server: false,
                acknowledged: false,
            },
            (None, _) => Reply::Pong,
        };
        let id = Some(id);
        self.notice(&Notice::Reply { id, reply });
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.pusher.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn hear(&mut self, payloads: Vec<Payload>) {
        assert!(payloads.is_empty() || !self.has_ended, "it has ended");
        for payload in payloads {
            let Payload::Text(text) = payload else {
                panic!("only text is sent")
            };
            let event = offhook_dialects::json::is_object(&text);
            assert!(event && text.starts_with("{\"event\":\""), "{text}");
        }
    }

    fn channel(&self, with: &str) -> ChannelName {
        let channel = CHANNELS[with.len() % CHANNELS.len()];
        ChannelName::new(&format!("{}{channel}", self.prefix)).expect("a name")
    }

    fn subscription(&self, with: &str) -> SubscriptionName {
        self.channel(with).into()
    }

    fn deliver(&mut self, with: &str) {
        let tag: String = with.chars().take(20).collect();
        let draft = Draft {
            channel: self.channel(with),
            data: with.to_owned().into(),
            format: if with.len().is_multiple_of(2) {
                Format::Text
            } else {
                Format::Binary
            },
            tags: Tags::new([("event", &*tag)]).expect("tags"),
            publisher: Some(Publisher {
                session: SessionId::from_bytes([8; 16]),
                user: with.into(),
            }),
            key: None,
            time_ms: 0,
        };
        let publication: Publication = draft.at(Place::after(Position::new(1, 0), 1));
        let mut shared = self.encoding.publication(&publication);
        shared.publication = Some(Arc::new(publication));
        let recipient = Recipient {
            state: true,
            ..Recipient::PLAIN
        };
        let payload = match self.pusher.head(&recipient, &shared) {
            Head::Insert(head) => shared.with_head(&head),
            Head::None => shared.message,
            other => panic!("{other:?}"),
        };
        self.hear(vec![payload]);
    }

    fn members(&mut self, with: &str) {
        let member = Arc::new(Member {
            session: SessionId::from_bytes([9; 16]),
            user: with.into(),
            info: Vec::new().into(),
        });
        let channel = self.channel(with);
        let change = PresenceChange {
            channel: channel.clone(),
            member: Arc::clone(&member),
            joined: with.len().is_multiple_of(2),
            user_sessions: 0,
        };
        if let Some(mut shared) = self.encoding.presence(&change) {
            shared.change = Some(Arc::new(change));
            match self.pusher.head(&Recipient::PLAIN, &shared) {
                Head::None => self.hear(vec![shared.message]),
                Head::Whole(payload) => self.hear(vec![payload]),
                _ => {}
            }
        }
        self.notice(&Notice::Reply {
            id: None,
            reply: Reply::Members {
                channel,
                subscription: None,
                members: vec![member],
                total: 1,
            },
        });
    }
}

//! The Pusher protocol: the commands that messages become, and what the client receives.

use std::{sync::Arc, time::Duration};

use offhook_dialects::{
    Connect, Dialect, Head, Incoming, Intent, Payload, Recipient, Welcome,
    pusher::{
        App, CACHE_KEY, ClientEvent, Pusher, Refused, Report, Settings, Signing, check_event,
        data_of, users_of,
    },
};
use offhook_engine::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::native_encode::sometime;

mod channels;
mod connecting;
mod events;
mod reports;

/// A signature is the text itself.
#[derive(Debug)]
struct Repeating;

impl Signing for Repeating {
    fn is_signed(&self, auth: &str, text: &str) -> bool {
        auth == format!("key:{text}")
    }
}

const SOCKET: &str = "72340172838076673.72340172838076673";

/// A connection, with a server that answers as instructed.
struct Client {
    pusher: Pusher,
    connects: Vec<Connect>,
    asked: Vec<(CommandId, Command)>,
    permitted: Vec<(CommandId, Command)>,
    identified: Vec<(CommandId, String)>,
    reported: Vec<Report>,
    heard: Vec<Value>,
    closed: Option<u16>,
}

fn settings(prefix: &str) -> Settings {
    Settings {
        app: Ok(App {
            prefix: prefix.into(),
            others: ["acme/x/".into(), "private-acme-".into()].into(),
            secrets: Arc::new(Repeating),
        }),
        activity_timeout: Duration::from_secs(120),
        client_events: true,
        reports: false,
    }
}

impl Client {
    fn of(settings: Settings) -> Self {
        let mut client = Self {
            pusher: Pusher::new(settings),
            connects: Vec::new(),
            asked: Vec::new(),
            permitted: Vec::new(),
            identified: Vec::new(),
            reported: Vec::new(),
            heard: Vec::new(),
            closed: None,
        };
        let mut out = Vec::new();
        client.pusher.opened("abc", &mut out);
        client.hear(out);
        client.poll();
        client
    }

    fn connected() -> Self {
        Self::connected_to("")
    }

    fn connected_to(prefix: &str) -> Self {
        Self::connected_with(settings(prefix))
    }

    fn connected_with(settings: Settings) -> Self {
        let mut client = Self::of(settings);
        let welcome = Welcome {
            id: client.connects[0].id,
            session: SessionId::from_bytes([1; 16]),
            user: "",
            resume: "",
            unix_ms: 0,
            named: None,
            expires_in: None,
        };
        let mut out = Vec::new();
        client.pusher.welcome(&welcome, &mut out);
        client.hear(out);
        let established = client.takes();
        assert_eq!(established["event"], "pusher:connection_established");
        let data = data(&established);
        assert_eq!(data["socket_id"], SOCKET);
        assert_eq!(data["activity_timeout"], 120);
        client
    }

    fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    fn send_text(&mut self, text: &str) {
        let mut intents = Vec::new();
        self.pusher
            .receive(Incoming::Text(text), sometime(), &mut intents);
        intents
            .into_iter()
            .for_each(|intent| self.carry_out(intent));
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(intent) = self.pusher.poll_intent() {
            self.carry_out(intent);
        }
    }

    fn carry_out(&mut self, intent: Intent) {
        match intent {
            Intent::Connect(connect) => self.connects.push(connect),
            Intent::Command { id, command } => self.asked.push((id, command)),
            Intent::Permitted { id, command } => self.permitted.push((id, command)),
            Intent::Identify { id, user, .. } => self.identified.push((id, user)),
            Intent::Refuse { id, refusal } => {
                let reply = Reply::Refused(refusal);
                self.notice(&Notice::Reply { id, reply });
            }
            Intent::Close { code, .. } => self.closed = Some(code),
            Intent::Report(report) => self.reported.push(*report),
            other @ (Intent::Granted { .. }
            | Intent::Refresh { .. }
            | Intent::Consume { .. }
            | Intent::Settle { .. }
            | Intent::Quit { .. }
            | Intent::Channels { .. }
            | Intent::Say(_)
            | Intent::Leave
            | Intent::Keep(_)) => panic!("{other:?}"),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.pusher.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn reply(&mut self, id: CommandId, reply: Reply) {
        let id = Some(id);
        self.notice(&Notice::Reply { id, reply });
    }

    fn hear(&mut self, messages: Vec<Payload>) {
        for message in messages {
            let Payload::Text(text) = message else {
                panic!("{message:?}")
            };
            self.heard.push(serde_json::from_str(&text).unwrap());
        }
    }

    fn takes(&mut self) -> Value {
        assert_eq!(self.heard.len(), 1, "{:?}", self.heard);
        self.heard.remove(0)
    }

    /// Subscribes, with a signature if the name requires one, and lets the engine accept it.
    fn subscribe(&mut self, channel: &str, data: Option<&str>) -> Subscribe {
        let wish = self.asks(channel, data);
        self.accept(&wish);
        wish
    }

    fn asks(&mut self, channel: &str, data: Option<&str>) -> Subscribe {
        let text = match data {
            Some(data) => format!("{SOCKET}:{channel}:{data}"),
            None => format!("{SOCKET}:{channel}"),
        };
        let mut fields = json!({"channel": channel, "auth": format!("key:{text}")});
        if let Some(data) = data {
            fields["channel_data"] = data.into();
        }
        self.send(&json!({"event": "pusher:subscribe", "data": fields}));
        let all = self.asked.iter().chain(&self.permitted);
        let mut wishes = all.filter_map(|(_, command)| {
            if let Command::Subscribe(wish) = command {
                return Some(wish.clone());
            }
            None
        });
        wishes.next().unwrap_or_else(|| panic!("{:?}", self.heard))
    }

    fn accept(&mut self, wish: &Subscribe) {
        let mut all = self.asked.drain(..).chain(self.permitted.drain(..));
        let (id, _) = all.next().unwrap();
        drop(all);
        let reply = Reply::Subscribed {
            subscription: wish.name(),
            position: Position::new(17, 3),
            live: wish.since == Since::Now,
            by_server: false,
            acknowledged: false,
        };
        self.reply(id, reply);
    }

    fn members(&mut self, channel: &str, members: Vec<Arc<Member>>) {
        let total = members.len() as u64;
        self.notice(&Notice::Reply {
            id: None,
            reply: Reply::Members {
                channel: name(channel),
                subscription: None,
                members,
                total,
            },
        });
    }

    fn is_live(&mut self, wish: &Subscribe) {
        self.notice(&Notice::Live {
            subscription: wish.name(),
            position: Position::new(17, 3),
        });
    }

    fn deliver(&mut self, publication: &Publication, state: bool) {
        let encoding = self.pusher.encoding(&self.connects[0]);
        let mut shared = encoding.publication(publication);
        shared.publication = Some(Arc::new(publication.clone()));
        let recipient = Recipient {
            state,
            ..Recipient::PLAIN
        };
        if recipient.is_plain() && !encoding.has_heads() {
            return self.hear(vec![shared.message]);
        }
        match self.pusher.head(&recipient, &shared) {
            Head::None => self.hear(vec![shared.message]),
            Head::Insert(head) => self.hear(vec![shared.with_head(&head)]),
            other @ (Head::Whole(_) | Head::Several(_) | Head::Nothing) => panic!("{other:?}"),
        }
    }

    fn change(&mut self, change: PresenceChange) {
        let encoding = self.pusher.encoding(&self.connects[0]);
        assert!(encoding.has_presence_heads());
        let Some(mut shared) = encoding.presence(&change) else {
            return;
        };
        shared.change = Some(Arc::new(change));
        match self.pusher.head(&Recipient::PLAIN, &shared) {
            Head::None => self.hear(vec![shared.message]),
            Head::Whole(message) => self.hear(vec![message]),
            Head::Nothing => {}
            other @ (Head::Insert(_) | Head::Several(_)) => panic!("{other:?}"),
        }
    }
}

fn name(channel: &str) -> ChannelName {
    ChannelName::new(channel).unwrap()
}

/// The data of an event, which is a string.
fn data(event: &Value) -> Value {
    serde_json::from_str(event["data"].as_str().unwrap()).unwrap()
}

fn member(session: u8, user: &str, info: &str) -> Arc<Member> {
    Arc::new(Member {
        session: SessionId::from_bytes([session; 16]),
        user: user.into(),
        info: info.to_owned().into(),
    })
}

fn publication(channel: &str, event: Option<&str>, data: &str, format: Format) -> Publication {
    Publication {
        channel: name(channel),
        position: Position::new(17, 4),
        previous: Position::new(17, 3),
        sequence: 4,
        data: data.to_owned().into(),
        format,
        tags: Tags::new(event.map(|event| ("event", event))).unwrap(),
        publisher: None,
        key: None,
        time_ms: 3,
    }
}

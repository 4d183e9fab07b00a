//! GraphQL: `graphql-transport-ws`, execution, introspection and requests over HTTP.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test matches the variants that it expects"
)]

use std::sync::Arc;

use offhook_dialects::{
    Dialect, Head, Incoming, Intent, Payload, Recipient, Welcome,
    graphql::{GraphQl, Once, Settings, Unexecuted, status_of},
};
use offhook_engine::*;
use serde_json::{Value, json};

use crate::native_encode::sometime;

mod connections;
mod operations;
mod subscriptions;

pub(crate) const SETTINGS: Settings = Settings {
    introspection: true,
    depth: 20,
    fields: 500,
    aliases: 32,
    batch: 16,
};

/// What stock tools ask for.
pub(crate) const INTROSPECTION: &str = r#"query IntrospectionQuery {
  __schema { description queryType { name kind } mutationType { name kind } subscriptionType { name kind }
    types { ...FullType }
    directives { name description isRepeatable locations args(includeDeprecated: true) { ...InputValue } } } }
fragment FullType on __Type { kind name description isOneOf specifiedByURL
  fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue }
    type { ...TypeRef } isDeprecated deprecationReason }
  inputFields(includeDeprecated: true) { ...InputValue }
  interfaces { ...TypeRef }
  enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason }
  possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }"#;

/// A connection, with an engine that answers as instructed.
pub(crate) struct Client {
    dialect: GraphQl,
    pub(crate) asked: Vec<(CommandId, Command)>,
    pub(crate) heard: Vec<Value>,
    pub(crate) closed: Option<(u16, &'static str)>,
    connects: Vec<(CommandId, Option<String>, String)>,
    listings: Vec<(CommandId, String, Option<String>, u32)>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            dialect: GraphQl::new(SETTINGS),
            asked: Vec::new(),
            heard: Vec::new(),
            closed: None,
            connects: Vec::new(),
            listings: Vec::new(),
        }
    }

    pub(crate) fn connected() -> Self {
        let mut client = Self::new();
        client.send(&json!({"type": "connection_init"}));
        client.welcome();
        assert_eq!(client.takes()["type"], "connection_ack");
        client
    }

    fn welcome(&mut self) {
        let (id, ..) = self.connects[0];
        let welcome = Welcome {
            id,
            session: SessionId::from_bytes([1; 16]),
            user: "ann",
            resume: "",
            unix_ms: 0,
            named: None,
            expires_in: None,
        };
        let mut out = Vec::new();
        self.dialect.welcome(&welcome, &mut out);
        self.hear(out);
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.say(&message.to_string());
    }

    pub(crate) fn say(&mut self, text: &str) {
        let mut intents = Vec::new();
        let incoming = Incoming::Text(text);
        self.dialect.receive(incoming, sometime(), &mut intents);
        self.carry_out(intents);
    }

    fn carry_out(&mut self, intents: Vec<Intent>) {
        for intent in intents {
            assert!(self.closed.is_none(), "{intent:?}");
            match intent {
                Intent::Connect(connect) => {
                    let info = String::from_utf8(connect.info.to_vec()).unwrap();
                    self.connects.push((connect.id, connect.token, info));
                }
                Intent::Command { id, command } => self.asked.push((id, command)),
                Intent::Refuse { id, refusal } => {
                    let reply = Reply::Refused(refusal);
                    self.notice(&Notice::Reply { id, reply });
                }
                Intent::Say(message) => self.hear(vec![message]),
                Intent::Close { code, reason } => self.closed = Some((code, reason)),
                Intent::Channels { id, listing } => {
                    let after = listing.after.map(String::from);
                    let prefix = listing.prefix.into();
                    self.listings.push((id, prefix, after, listing.limit));
                }
                Intent::Granted { .. }
                | Intent::Refresh { .. }
                | Intent::Permitted { .. }
                | Intent::Identify { .. }
                | Intent::Leave
                | Intent::Report(_)
                | Intent::Keep(_)
                | Intent::Consume { .. }
                | Intent::Settle { .. }
                | Intent::Quit { .. } => panic!("{intent:?}"),
            }
        }
    }

    fn poll(&mut self) {
        while let Some(intent) = self.dialect.poll_intent() {
            self.carry_out(vec![intent]);
        }
    }

    /// Answers the oldest command.
    pub(crate) fn reply(&mut self, reply: Reply) {
        let (id, _) = self.asked.remove(0);
        let id = Some(id);
        self.notice(&Notice::Reply { id, reply });
    }

    pub(crate) fn notice(&mut self, notice: &Notice) {
        let mut out = Vec::new();
        self.dialect.notice(notice, &mut out);
        self.hear(out);
        self.poll();
    }

    fn hear(&mut self, messages: Vec<Payload>) {
        for message in messages {
            let Payload::Text(text) = message else {
                panic!("{message:?}")
            };
            self.heard.push(serde_json::from_str(&text).expect("JSON"));
        }
    }

    pub(crate) fn takes(&mut self) -> Value {
        assert_eq!(self.heard.len(), 1, "{:?}", self.heard);
        self.heard.remove(0)
    }

    pub(crate) fn subscribe(&mut self, id: &str, query: &str, variables: &Value) {
        let payload = json!({"query": query, "variables": variables});
        self.send(&json!({"type": "subscribe", "id": id, "payload": payload}));
    }

    /// The result of a query that needs no answers but pongs.
    pub(crate) fn asks(&mut self, query: &str) -> Value {
        self.subscribe("q", query, &Value::Null);
        while !self.asked.is_empty() {
            self.reply(Reply::Pong);
        }
        self.result()
    }

    /// The result in a `next` that a `complete` follows.
    fn result(&mut self) -> Value {
        assert_eq!(self.heard.len(), 2, "{:?}", self.heard);
        let mut next = self.heard.remove(0);
        assert_eq!(
            (&next["type"], self.takes()),
            (
                &json!("next"),
                json!({"type": "complete", "id": next["id"]})
            )
        );
        next["payload"].take()
    }

    /// The message of the first error of an operation that is not executed.
    pub(crate) fn refused(&mut self, query: &str, variables: &Value) -> String {
        self.subscribe("x", query, variables);
        let error = self.takes();
        assert_eq!(
            (&error["type"], &error["id"]),
            (&json!("error"), &json!("x")),
            "{error}"
        );
        assert!(self.closed.is_none() && self.asked.is_empty());
        error["payload"][0]["message"].as_str().unwrap().to_owned()
    }

    /// Answers a subscription, and returns its number.
    pub(crate) fn accept(&mut self) -> u32 {
        let (_, Command::Subscribe(wish)) = &self.asked[0] else {
            panic!("{:?}", self.asked)
        };
        let (subscription, number) = (wish.name(), wish.id.unwrap().0);
        self.reply(Reply::Subscribed {
            subscription,
            position: Position::new(17, 0),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        number
    }

    fn deliver(&mut self, number: u32, publication: &Publication, at: Option<Position>) {
        let encoding = self.dialect.encoding(&offhook_dialects::Connect {
            id: CommandId(0),
            token: None,
            resume: None,
            info: "".into(),
            positions: Vec::new(),
            lineage: true,
            named: None,
        });
        let mut shared = encoding.publication(publication);
        shared.publication = Some(Arc::new(publication.clone()));
        let recipient = Recipient {
            subscription: Some(SubscriptionId(number)),
            at,
            ..Recipient::PLAIN
        };
        match self.dialect.head(&recipient, &shared) {
            Head::Whole(message) => self.hear(vec![message]),
            Head::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn publication(offset: u64, data: &str, format: Format) -> Publication {
    Draft {
        channel: ChannelName::new("chat").unwrap(),
        data: data.to_owned().into(),
        format,
        tags: Tags::new([("lang", "de")]).unwrap(),
        publisher: Some(Publisher {
            session: SessionId::from_bytes([2; 16]),
            user: "bob".into(),
        }),
        key: Some(Key::new("k").unwrap()),
        time_ms: 1_764_470_001_000,
    }
    .at(Place::after(Position::new(17, offset - 1), offset))
}

fn chat() -> ChannelName {
    ChannelName::new("chat").unwrap()
}

/// A request over HTTP, answered with these replies.
pub(crate) fn posted(body: &Value, mut replies: Vec<Reply>) -> Value {
    let mut once = Once::post(&body.to_string(), &SETTINGS).unwrap();
    let mut intents = Vec::new();
    once.receive(Incoming::Text(""), sometime(), &mut intents);
    let mut out = Vec::new();
    let mut queue: std::collections::VecDeque<_> = intents.into();
    while let Some(intent) = queue.pop_front() {
        match intent {
            Intent::Connect(_) => {}
            Intent::Command { id, .. } => once.notice(
                &Notice::Reply {
                    id: Some(id),
                    reply: replies.remove(0),
                },
                &mut out,
            ),
            Intent::Refuse { id, refusal } => once.notice(
                &Notice::Reply {
                    id,
                    reply: Reply::Refused(refusal),
                },
                &mut out,
            ),
            Intent::Close { code: 1000, .. } => {
                assert!(queue.is_empty() && once.poll_intent().is_none());
                let [Payload::Text(text)] = &*out else {
                    panic!("{out:?}")
                };
                assert_eq!(status_of(text), 200);
                return serde_json::from_str(text).unwrap();
            }
            other => panic!("{other:?}"),
        }
        queue.extend(std::iter::from_fn(|| once.poll_intent()));
    }
    panic!("it is not answered: {out:?}")
}

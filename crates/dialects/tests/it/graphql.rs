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

#[test]
fn a_connection_begins_with_its_token_and_is_acknowledged() {
    for (payload, token, info) in [
        (json!(null), None, ""),
        (json!({"token": "t"}), Some("t"), ""),
        (json!({"authorization": "Bearer t"}), Some("t"), ""),
        (
            json!({"Authorization": "bearer  t", "info": {"name": "Ann"}}),
            Some("t"),
            r#"{"name":"Ann"}"#,
        ),
        (
            json!({"headers": {"Authorization": "Bearer t"}}),
            Some("t"),
            "",
        ),
        (json!({"token": null}), None, ""),
    ] {
        let mut client = Client::new();
        client.send(&json!({"type": "connection_init", "payload": payload}));
        let (_, given, told) = &client.connects[0];
        assert_eq!((given.as_deref(), &**told), (token, info), "{payload}");
        client.welcome();
        let ack = json!({"type": "connection_ack", "payload": {"session": "01".repeat(16), "user": "ann"}});
        assert_eq!(client.takes(), ack);
    }
}

#[test]
fn connections_are_closed_with_the_codes_of_the_protocol() {
    let init = json!({"type": "connection_init"});
    let subscribe = json!({"type": "subscribe", "id": "1", "payload": {"query": "subscription { channel(name: \"chat\") { id } }"}});
    for (messages, code) in [
        (vec![subscribe.clone()], 4401),
        (vec![json!({"type": "complete", "id": "1"})], 4401),
        (vec![init.clone(), init.clone()], 4429),
        (vec![json!(7)], 4400),
        (vec![json!({"type": "start"})], 4400),
        (vec![json!({})], 4400),
        (
            vec![json!({"type": "connection_init", "payload": []})],
            4400,
        ),
        (
            vec![json!({"type": "connection_init", "payload": {"token": 7}})],
            4400,
        ),
        (vec![json!({"type": "ping", "payload": 7})], 4400),
    ] {
        let mut client = Client::new();
        for message in &messages {
            client.send(message);
        }
        assert_eq!(client.closed.unwrap().0, code, "{messages:?}");
    }
    for message in [
        json!({"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "a".repeat(257), "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "payload": {"query": "{ __typename }"}}),
        json!({"type": "subscribe", "id": "1"}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": 7}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "variables": []}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "operationName": 7}}),
        json!({"type": "subscribe", "id": "1", "payload": {"query": "{a}", "extensions": "x"}}),
        json!({"type": "complete"}),
        json!({"type": "next", "id": "1"}),
    ] {
        let mut client = Client::connected();
        client.send(&message);
        assert_eq!(client.closed.unwrap().0, 4400, "{message}");
    }
    let mut client = Client::connected();
    client.say("{");
    assert_eq!(client.closed.unwrap().0, 4400);
    let mut client = Client::connected();
    client.send(&subscribe);
    client.send(&subscribe);
    assert_eq!(client.closed.unwrap().0, 4409);
    assert_eq!(Client::new().dialect.late().0, 4408);
}

#[test]
fn a_refused_connection_is_closed_with_a_code_that_says_whether_to_return() {
    for (code, expected) in [
        (ErrorCode::Unauthenticated, 4403),
        (ErrorCode::Busy, 1013),
        (ErrorCode::Draining, 1012),
    ] {
        let mut client = Client::new();
        client.send(&json!({"type": "connection_init"}));
        let (id, ..) = client.connects[0];
        let refusal = Refusal::new(code, "no");
        client.dialect.refused(Some(id), &refusal, &mut Vec::new());
        client.poll();
        assert_eq!(client.closed, Some((expected, code.name())));
    }
    for (reason, expected) in [
        (CloseReason::TooSlow, 1013),
        (CloseReason::Flood, 1013),
        (CloseReason::Replaced, 1012),
        (CloseReason::Expired, 4403),
        (CloseReason::Disconnected, 4401),
    ] {
        assert_eq!(Client::new().dialect.close_code(reason), expected);
    }
}

#[test]
fn pings_are_answered_before_and_after_the_acknowledgement() {
    let mut client = Client::new();
    client.send(&json!({"type": "ping"}));
    assert_eq!(client.takes(), json!({"type": "pong"}));
    let mut client = Client::connected();
    client.send(&json!({"type": "ping", "payload": {"a": [1]}}));
    client.reply(Reply::Pong);
    assert_eq!(
        client.takes(),
        json!({"type": "pong", "payload": {"a": [1]}})
    );
    client.send(&json!({"type": "pong"}));
    client.reply(Reply::Pong);
    assert!(client.heard.is_empty() && client.closed.is_none());
    let mut client = Client::new();
    for _ in 0..17 {
        client.send(&json!({"type": "ping"}));
    }
    assert_eq!(client.closed.unwrap().0, 4400);
}

#[test]
fn a_subscription_selects_the_fields_of_each_publication() {
    let mut client = Client::connected();
    let query = r#"subscription S($name: String!) { m: channel(name: $name) { __typename id c: channel epoch offset
        data base64 time key tags user session at { epoch offset } } }"#;
    client.subscribe("one", query, &json!({"name": "chat"}));
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(*wish, Subscribe::new(chat(), Since::Now).numbered(1));
    let number = client.accept();
    client.deliver(
        number,
        &publication(4, r#"{"text":"grün"}"#, Format::Json),
        None,
    );
    let message = json!({"__typename": "Message", "id": "chat@17.4", "c": "chat", "epoch": "17", "offset": "4",
        "data": {"text": "grün"}, "base64": null, "time": 1_764_470_001_000_u64, "key": "k", "tags": {"lang": "de"},
        "user": "bob", "session": "02".repeat(16), "at": {"epoch": "17", "offset": "4"}});
    assert_eq!(
        client.takes(),
        json!({"type": "next", "id": "one", "payload": {"data": {"m": message}}})
    );
    for (data, format, expected) in [
        (
            "a \"text\"",
            Format::Text,
            json!({"data": "a \"text\"", "base64": null}),
        ),
        (
            "\u{1}",
            Format::Binary,
            json!({"data": null, "base64": "AQ=="}),
        ),
    ] {
        client.subscribe(
            data,
            r#"subscription { channel(name: "chat") { data base64 } }"#,
            &Value::Null,
        );
        let number = client.accept();
        client.deliver(number, &publication(5, data, format), None);
        assert_eq!(client.takes()["payload"]["data"]["channel"], expected);
    }
}

#[test]
fn a_subscription_starts_where_the_client_says() {
    let mut client = Client::connected();
    for (field, variables, expected) in [
        (
            r#"channel(name: "chat", since: {epoch: "17", offset: "4"})"#,
            Value::Null,
            Subscribe::new(chat(), Since::Position(Position::new(17, 4))),
        ),
        (
            r#"channel(name: "chat", since: $since)"#,
            json!({"since": {"epoch": "17", "offset": "4"}}),
            Subscribe::new(chat(), Since::Position(Position::new(17, 4))),
        ),
        (
            r#"channel(name: "chat", since: $since)"#,
            json!({"since": null}),
            Subscribe::new(chat(), Since::Now),
        ),
        (
            r#"channel(name: "chat", last: 5)"#,
            Value::Null,
            Subscribe::new(chat(), Since::Last(5)),
        ),
        (
            r#"filter(pattern: "a/+/b", since: $since)"#,
            json!({"since": {"epoch": "1", "offset": "2"}}),
            Subscribe::new(
                Filter::new("a/+/b").unwrap(),
                Since::Position(Position::new(1, 2)),
            ),
        ),
    ] {
        let variable = if field.contains('$') {
            "($since: Since)"
        } else {
            ""
        };
        let query = format!("subscription{variable} {{ {field} {{ data }} }}");
        client.subscribe(field, &query, &variables);
        let (_, Command::Subscribe(wish)) = &client.asked[0] else {
            panic!("{:?}", client.asked)
        };
        let number = wish.id.unwrap().0;
        assert_eq!(*wish, expected.numbered(number), "{field}");
        client.accept();
        client.send(&json!({"type": "complete", "id": field}));
        client.reply(Reply::Pong);
        assert!(client.heard.is_empty());
    }
    for (field, words) in [
        (r#"channel(name: "")"#, "name: a channel's name is empty"),
        (r#"filter(pattern: "a/b+")"#, "pattern: "),
        (
            r#"channel(name: "a", since: {epoch: "x", offset: "1"})"#,
            "since: expected the epoch and offset",
        ),
        (r#"channel(name: "a", last: -1)"#, "last: is negative"),
        (
            r#"channel(name: "a", last: 1, since: {epoch: "1", offset: "1"})"#,
            "only one of them",
        ),
    ] {
        let query = format!("subscription {{ {field} {{ data }} }}");
        let message = client.refused(&query, &Value::Null);
        assert!(message.contains(words), "{field}: {message}");
    }
}

#[test]
fn a_filter_continues_at_its_own_position() {
    let mut client = Client::connected();
    let query = "subscription { filter(pattern: \"#\") { offset at { epoch offset } } }";
    client.subscribe("f", query, &Value::Null);
    let number = client.accept();
    client.deliver(
        number,
        &publication(4, "1", Format::Json),
        Some(Position::new(9, 70)),
    );
    assert_eq!(
        client.takes()["payload"]["data"]["filter"],
        json!({"offset": "4", "at": {"epoch": "9", "offset": "70"}})
    );
}

#[test]
fn a_message_that_is_too_large_says_where_to_continue() {
    let mut client = Client::connected();
    let query = "subscription { m: channel(name: \"chat\") { data } }";
    client.subscribe("l", query, &Value::Null);
    let number = client.accept();
    let data = json!("x".repeat(1024 * 1024)).to_string();
    client.deliver(number, &publication(4, &data, Format::Json), None);
    let payload = client.takes()["payload"].take();
    assert_eq!(payload["data"], json!({"m": null}));
    let error = &payload["errors"][0];
    assert_eq!(error["path"], json!(["m"]));
    assert_eq!(
        error["extensions"],
        json!({"code": "too_large", "retry": "never", "to": {"epoch": "17", "offset": "4"}})
    );
}

#[test]
fn a_gap_is_a_result_with_an_error_before_the_next_message() {
    let mut client = Client::connected();
    client.subscribe(
        "g",
        "subscription { m: channel(name: \"chat\") { data } }",
        &Value::Null,
    );
    let number = client.accept();
    let subscription = SubscriptionName {
        target: chat().into(),
        id: Some(SubscriptionId(number)),
    };
    client.notice(&Notice::Gap {
        subscription: subscription.clone(),
        from: Position::new(17, 4),
        to: Position::new(17, 9),
        reason: GapReason::EvictedBySize,
        agreed: None,
    });
    let gap = client.takes();
    assert_eq!(gap["payload"]["data"], json!({"m": null}));
    let error = &gap["payload"]["errors"][0];
    assert_eq!(error["path"], json!(["m"]));
    assert_eq!(
        error["extensions"],
        json!({"code": "gap", "reason": "evicted_by_size", "from": {"epoch": "17", "offset": "4"}, "to": {"epoch": "17", "offset": "9"}})
    );
    client.notice(&Notice::ChannelGap {
        subscription,
        channel: chat(),
        from: Position::new(17, 4),
        to: Position::new(17, 9),
        reason: GapReason::Dropped,
    });
    assert_eq!(
        client.takes()["payload"]["errors"][0]["extensions"]["channel"],
        "chat"
    );
}

#[test]
fn an_id_can_be_used_again_as_soon_as_its_operation_is_complete() {
    let mut client = Client::connected();
    let query = "subscription { channel(name: \"chat\") { data } }";
    client.subscribe("1", query, &Value::Null);
    let first = client.accept();
    client.send(&json!({"type": "complete", "id": "1"}));
    client.subscribe("1", query, &Value::Null);
    assert_eq!(
        client.asked.remove(0).1,
        Command::Unsubscribe {
            subscription: SubscriptionKey::Id(SubscriptionId(first))
        }
    );
    let second = client.accept();
    assert_ne!(first, second);
    // What was on its way to the first is not taken for the second's.
    client.deliver(first, &publication(1, "1", Format::Json), None);
    assert!(client.heard.is_empty());
    client.deliver(second, &publication(1, "1", Format::Json), None);
    assert_eq!(client.takes()["id"], "1");
    // An operation that the server ended.
    assert_eq!(
        client.asks("{ __typename }"),
        json!({"data": {"__typename": "Query"}})
    );
    assert_eq!(
        client.asks("{ __typename }"),
        json!({"data": {"__typename": "Query"}})
    );
    client.refused("{", &Value::Null);
    client.refused("{", &Value::Null);
    // An unknown id may be one whose operation has just ended.
    client.send(&json!({"type": "complete", "id": "other"}));
    assert!(client.closed.is_none());
}

#[test]
fn a_subscription_that_is_refused_or_ends_is_an_error() {
    let mut client = Client::connected();
    let query = "subscription { channel(name: \"chat\") { data } }";
    client.subscribe("1", query, &Value::Null);
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::Forbidden,
        "ann may not",
    )));
    let error = client.takes();
    assert_eq!(
        (&error["type"], &error["id"]),
        (&json!("error"), &json!("1"))
    );
    assert_eq!(
        error["payload"][0]["extensions"],
        json!({"code": "forbidden", "retry": "never"})
    );
    client.subscribe("1", query, &Value::Null);
    let number = client.accept();
    client.notice(&Notice::Unsubscribed {
        subscription: SubscriptionName {
            target: chat().into(),
            id: Some(SubscriptionId(number)),
        },
        refusal: Refusal::new(ErrorCode::Forbidden, "no longer"),
    });
    assert_eq!(client.takes()["payload"][0]["message"], "no longer");
    client.subscribe("1", query, &Value::Null);
    client.accept();
    assert!(client.heard.is_empty() && client.closed.is_none());
}

#[test]
fn presence_is_a_list_and_then_changes() {
    let mut client = Client::connected();
    let query = "subscription { presence(channel: \"chat\") { event channel member { session user info } members { user } total } }";
    client.subscribe("p", query, &Value::Null);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked)
    };
    assert!(wish.presence && wish.members);
    let number = client.accept();
    let member = Arc::new(Member {
        session: SessionId::from_bytes([3; 16]),
        user: "eve".into(),
        info: r#"{"n":1}"#.into(),
    });
    client.notice(&Notice::Reply {
        id: None,
        reply: Reply::Members {
            channel: chat(),
            subscription: Some(SubscriptionId(number)),
            members: vec![Arc::clone(&member)],
            total: 1,
        },
    });
    assert_eq!(
        client.takes()["payload"]["data"]["presence"],
        json!({"event": "MEMBERS", "channel": "chat", "member": null, "members": [{"user": "eve"}], "total": 1})
    );
    let change = PresenceChange {
        channel: chat(),
        member,
        joined: false,
        user_sessions: 0,
    };
    let mut shared = offhook_dialects::Shared::whole(String::new());
    shared.change = Some(Arc::new(change));
    let recipient = Recipient {
        subscription: Some(SubscriptionId(number)),
        ..Recipient::PLAIN
    };
    let Head::Whole(message) = client.dialect.head(&recipient, &shared) else {
        panic!("a message")
    };
    client.hear(vec![message]);
    assert_eq!(
        client.takes()["payload"]["data"]["presence"],
        json!({"event": "LEAVE", "channel": "chat", "member": {"session": "03".repeat(16), "user": "eve", "info": {"n": 1}}, "members": null, "total": null})
    );
    // It gets no publications.
    client.deliver(number, &publication(1, "1", Format::Json), None);
    assert!(client.heard.is_empty());
}

#[test]
fn the_fields_of_a_query_are_answered_together_whatever_their_order() {
    let mut client = Client::connected();
    let query = r#"query Q($limit: Int = 2, $with: Boolean!) {
        a: history(channel: "chat", limit: $limit) { epoch offset gap more messages { ...M } }
        presence(channel: "chat") @include(if: $with) { total members { session user info } }
        state(channel: "chat") { offset more messages { ...M } }
        h: history(channel: "chat", before: {epoch: "17", offset: "3"}) { more }
        skipped: presence(channel: "chat") @skip(if: $with) { total }
    }
    fragment M on Message { data ... on Message { offset } ... @include(if: true) { offset key } }"#;
    client.subscribe("q", query, &json!({"with": true}));
    let commands: Vec<_> = client
        .asked
        .iter()
        .map(|(_, command)| command.clone())
        .collect();
    assert_eq!(
        commands,
        [
            Command::History {
                channel: chat(),
                since: Since::Last(2),
                limit: 2
            },
            Command::Presence { channel: chat() },
            Command::State {
                channel: chat(),
                after: None,
                limit: 100
            },
            Command::HistoryBefore {
                channel: chat(),
                before: Position::new(17, 3),
                limit: 100
            },
        ]
    );
    // The last comes first, and one is refused.
    let (before, _) = client.asked.pop().unwrap();
    client.notice(&Notice::Reply {
        id: Some(before),
        reply: Reply::Refused(Refusal::new(ErrorCode::NoHistory, "chat keeps none")),
    });
    client.reply(Reply::History {
        channel: chat(),
        head: Position::new(17, 4),
        publications: vec![Arc::new(publication(4, "[1]", Format::Json))],
        gap: Some(GapReason::EvictedByAge),
        more: false,
    });
    client.reply(Reply::Members {
        channel: chat(),
        subscription: None,
        members: Vec::new(),
        total: 0,
    });
    assert!(client.heard.is_empty());
    client.reply(Reply::State {
        channel: chat(),
        head: Position::new(17, 4),
        values: Vec::new(),
        more: true,
    });
    let result = client.result();
    assert_eq!(
        result["data"],
        json!({
            "a": {"epoch": "17", "offset": "4", "gap": "evicted_by_age", "more": false,
                "messages": [{"data": [1], "offset": "4", "key": "k"}]},
            "presence": {"total": 0, "members": []},
            "state": {"offset": "4", "more": true, "messages": []},
            "h": null,
        })
    );
    assert_eq!(
        result["errors"],
        json!([{"message": "chat keeps none", "locations": [{"line": 5, "column": 9}], "path": ["h"],
            "extensions": {"code": "no_history", "retry": "never"}}])
    );
}

#[test]
fn the_fields_of_a_mutation_are_executed_one_after_the_other() {
    let mut client = Client::connected();
    let query = r#"mutation($text: String!, $data: JSON!) {
        one: publish(channel: "chat", data: {text: $text, n: [1, 2.50, true, null]}, key: "k", tags: {lang: "de"}) { epoch offset duplicate }
        two: publish(channel: "chat", data: $data) { offset }
        three: publish(channel: "", data: 1) { offset }
    }"#;
    client.subscribe("m", query, &json!({"text": "grün", "data": {"n": 1.10}}));
    let publish = |data: &str, key: Option<&str>, tags: &[(&str, &str)]| Command::Publish {
        channel: chat(),
        data: data.to_owned().into(),
        format: Format::Json,
        tags: Tags::new(tags.iter().copied()).unwrap(),
        key: key.map(|key| Key::new(key).unwrap()),
    };
    assert_eq!(client.asked.len(), 1);
    assert_eq!(
        client.asked[0].1,
        publish(
            r#"{"text":"grün","n":[1,2.50,true,null]}"#,
            Some("k"),
            &[("lang", "de")]
        )
    );
    client.reply(Reply::Published {
        position: Position::new(17, 1),
        duplicate: true,
    });
    assert_eq!(client.asked.len(), 1);
    assert_eq!(client.asked[0].1, publish(r#"{"n":1.1}"#, None, &[]));
    client.reply(Reply::Published {
        position: Position::new(17, 2),
        duplicate: false,
    });
    let result = client.result();
    assert_eq!(
        result["data"],
        json!({"one": {"epoch": "17", "offset": "1", "duplicate": true}, "two": {"offset": "2"}, "three": null})
    );
    assert_eq!(result["errors"][0]["path"], json!(["three"]));
    assert_eq!(
        result["errors"][0]["extensions"]["code"],
        "bad_channel_name"
    );
}

#[test]
fn data_that_a_variable_gives_is_published_as_it_was_written() {
    let mut client = Client::connected();
    let data = r#"{"n":1.10,"big":12345678901234567890123,"text":"\u00fc"}"#;
    client.say(&format!(
        r#"{{"id":"1","type":"subscribe","payload":{{"query":"mutation($d: JSON!) {{ publish(channel: \"chat\", data: $d) {{ offset }} }}","variables":{{"d":{data}}}}}}}"#
    ));
    let (
        _,
        Command::Publish {
            data: published, ..
        },
    ) = &client.asked[0]
    else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(&published[..], data.as_bytes());
}

#[test]
fn channels_are_listed_once_the_request_has_counted() {
    let mut client = Client::connected();
    let query =
        "{ channels(prefix: \"a\", after: \"ab\", limit: 5) { next channels { name members } } }";
    client.subscribe("l", query, &Value::Null);
    assert_eq!(client.asked[0].1, Command::Ping);
    assert!(client.listings.is_empty());
    client.reply(Reply::Pong);
    let (id, prefix, after, limit) = client.listings.remove(0);
    assert_eq!((&*prefix, after.as_deref(), limit), ("a", Some("ab"), 5));
    let mut out = Vec::new();
    let secret = ChannelName::new("secret").unwrap();
    client.dialect.channels(
        id,
        &[(chat(), Some(3)), (secret, None)],
        Some("chat"),
        &mut out,
    );
    client.hear(out);
    assert_eq!(
        client.result(),
        json!({"data": {"channels": {"next": "chat", "channels": [
            {"name": "chat", "members": 3}, {"name": "secret", "members": null}]}}})
    );
    client.subscribe("l", query, &Value::Null);
    client.reply(Reply::Refused(Refusal::new(
        ErrorCode::RateLimited,
        "slowly",
    )));
    assert!(client.listings.is_empty());
    assert_eq!(
        client.result()["errors"][0]["extensions"]["code"],
        "rate_limited"
    );
}

#[test]
fn the_introspection_of_stock_tools_is_answered_in_full() {
    let mut client = Client::connected();
    let result = client.asks(INTROSPECTION);
    assert_eq!(result.get("errors"), None);
    let schema = &result["data"]["__schema"];
    assert_eq!(
        schema["queryType"],
        json!({"name": "Query", "kind": "OBJECT"})
    );
    let types = schema["types"].as_array().unwrap();
    let find = |name: &str| types.iter().find(|one| one["name"] == name).unwrap();
    let channel = &find("Subscription")["fields"][0];
    assert_eq!(channel["name"], "channel");
    assert_eq!(channel["type"]["name"], "Message");
    assert_eq!(
        channel["args"][0]["type"],
        json!({"kind": "NON_NULL", "name": null, "ofType": {"kind": "SCALAR", "name": "String", "ofType": null}})
    );
    assert_eq!(find("Query")["fields"][0]["args"][3]["defaultValue"], "100");
    assert_eq!(find("Since")["inputFields"].as_array().unwrap().len(), 2);
    assert_eq!(find("PresenceEvent")["enumValues"][1]["name"], "JOIN");
    assert_eq!(find("JSON")["fields"], Value::Null);
    // Every type that is named is there.
    fn names(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if fields.contains_key("ofType")
                    && let Some(name) = fields["name"].as_str()
                {
                    found.push(name.to_owned());
                }
                fields.values().for_each(|value| names(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            _ => {}
        }
    }
    let mut named = Vec::new();
    names(schema, &mut named);
    assert!(named.len() > 100);
    named.iter().for_each(|name| {
        find(name);
    });
    let one = client.asks(
        r#"{ __type(name: "Place") { name fields { name } } none: __type(name: "X") { name } }"#,
    );
    assert_eq!(
        one["data"],
        json!({"__type": {"name": "Place", "fields": [{"name": "epoch"}, {"name": "offset"}]}, "none": null})
    );
}

#[test]
fn the_schema_is_not_shown_if_the_operator_does_not_want_that() {
    let settings = Settings {
        introspection: false,
        ..SETTINGS
    };
    let refused = Once::post(r#"{"query":"{ __schema { description } }"}"#, &settings).unwrap_err();
    let Unexecuted::Document(body) = refused else {
        panic!("{refused:?}")
    };
    assert!(body.contains("graphql.introspection"), "{body}");
    assert!(Once::post(r#"{"query":"{ __typename }"}"#, &settings).is_ok());
}

#[test]
fn an_operation_is_chosen_by_its_name() {
    let document = "query A { __typename } mutation B { __typename }";
    for (name, expected) in [("A", "Query"), ("B", "Mutation")] {
        let mut client = Client::connected();
        let payload = json!({"query": document, "operationName": name});
        client.send(&json!({"type": "subscribe", "id": "1", "payload": payload}));
        client.reply(Reply::Pong);
        assert_eq!(client.result()["data"]["__typename"], expected);
    }
    let mut client = Client::connected();
    assert!(
        client
            .refused(document, &Value::Null)
            .contains("operationName")
    );
    let payload = json!({"query": document, "operationName": "C"});
    client.send(&json!({"type": "subscribe", "id": "1", "payload": payload}));
    assert!(
        client.takes()["payload"][0]["message"]
            .as_str()
            .unwrap()
            .contains("no operation named \"C\"")
    );
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

#[test]
fn a_request_over_http_has_one_answer() {
    let published = |offset| Reply::Published {
        position: Position::new(1, offset),
        duplicate: false,
    };
    let mutation = "mutation { a: publish(channel: \"chat\", data: 1) { offset } b: publish(channel: \"chat\", data: 2) { offset } }";
    assert_eq!(
        posted(
            &json!({"query": mutation}),
            vec![published(1), published(2)]
        ),
        json!({"data": {"a": {"offset": "1"}, "b": {"offset": "2"}}})
    );
    let batch = json!([
        {"query": "{ __typename }"},
        {"query": "{ nothing }"},
        {"query": mutation},
        7,
        {"query": "subscription { channel(name: \"chat\") { id } }"},
    ]);
    let answers = posted(&batch, vec![Reply::Pong, published(1), published(2)]);
    assert_eq!(answers[0], json!({"data": {"__typename": "Query"}}));
    assert!(
        answers[1]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("Query has no field \"nothing\"")
    );
    assert_eq!(answers[2]["data"]["b"]["offset"], "2");
    assert!(
        answers[3]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("not a JSON object")
    );
    assert!(
        answers[4]["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("needs a WebSocket")
    );
}

#[test]
fn a_request_over_http_that_is_none_is_not_executed() {
    for (body, expected) in [
        ("", "not a JSON object"),
        ("{", "not JSON"),
        ("7", "not a JSON object"),
        ("{}", "query: is missing"),
        ("[]", "the batch has 0 operations"),
        ("[1", "the batch is not JSON"),
        (r#"{"query":null}"#, "query: expected text"),
        (r#"{"query":"{a}","variables":7}"#, "variables: expected"),
    ] {
        let Err(Unexecuted::Request(answer)) = Once::post(body, &SETTINGS) else {
            panic!("{body}")
        };
        assert!(answer.contains(expected), "{body}: {answer}");
    }
    let many = format!("[{}]", vec!["1"; 100_000].join(","));
    let Err(Unexecuted::Request(answer)) = Once::post(&many, &SETTINGS) else {
        panic!("it is too many")
    };
    assert!(answer.contains("100000 operations; 1 to 16"), "{answer}");
    let Err(Unexecuted::Batch(answer)) = Once::post("[1,2]", &SETTINGS) else {
        panic!("both are wrong")
    };
    assert_eq!(
        serde_json::from_str::<Vec<Value>>(&answer).unwrap().len(),
        2
    );
    let get = |query, variables| Once::get(query, None, variables, None, &SETTINGS);
    assert!(get(Some("{ __typename }"), None).is_ok());
    let typed = Some("query($n: String!) { __type(name: $n) { name } }");
    assert!(get(typed, Some(r#"{"n":"X"}"#)).is_ok());
    assert!(matches!(get(typed, None), Err(Unexecuted::Document(_))));
    assert!(matches!(get(typed, Some("[")), Err(Unexecuted::Request(_))));
    assert!(matches!(get(None, None), Err(Unexecuted::Request(_))));
    assert!(matches!(
        get(Some("mutation { __typename }"), None),
        Err(Unexecuted::Mutation(_))
    ));
}

#[test]
fn a_session_that_is_refused_is_the_answer_with_its_status() {
    for (code, status) in [
        (ErrorCode::Unauthenticated, 401),
        (ErrorCode::Rejected, 403),
        (ErrorCode::Busy, 503),
        (ErrorCode::RateLimited, 429),
    ] {
        let mut once = Once::post(r#"[{"query":"{ __typename }"},1]"#, &SETTINGS).unwrap();
        let mut intents = Vec::new();
        once.receive(Incoming::Text(""), sometime(), &mut intents);
        let Intent::Connect(connect) = &intents[0] else {
            panic!("{intents:?}")
        };
        let mut out = Vec::new();
        once.refused(Some(connect.id), &Refusal::new(code, "no"), &mut out);
        let [Payload::Text(text)] = &*out else {
            panic!("{out:?}")
        };
        assert_eq!(status_of(text), status, "{text}");
        assert!(matches!(
            once.poll_intent(),
            Some(Intent::Close { code: 1000, .. })
        ));
    }
}

//! The Pusher protocol: the commands that messages become, and what the client receives.

use std::{sync::Arc, time::Duration};

use offhook_dialects::{
    Connect, Dialect, Head, Incoming, Intent, Payload, Recipient, Welcome,
    pusher::{App, CACHE_KEY, Pusher, Refused, Settings, Signing, check_event, data_of, users_of},
};
use offhook_engine::*;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::native_encode::sometime;

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
        let mut client = Self::of(settings(prefix));
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

#[test]
fn a_connection_to_no_app_is_told_so_and_closed() {
    for (refused, code) in [
        (Refused::NoApp, 4001),
        (Refused::InvalidVersion, 4006),
        (Refused::UnsupportedVersion, 4007),
        (Refused::NoVersion, 4008),
    ] {
        let mut client = Client::of(Settings {
            app: Err(refused),
            ..settings("")
        });
        let error = client.takes();
        assert_eq!(error["event"], "pusher:error");
        assert_eq!(error["data"]["code"], code);
        assert_eq!(client.closed, Some(code));
        assert!(client.connects.is_empty());
        client.send(&json!({"event": "pusher:ping", "data": {}}));
        assert!(client.asked.is_empty());
    }
}

#[test]
fn versions_5_to_7_are_accepted() {
    for version in ["5", "6", "7"] {
        assert_eq!(Refused::check_version(Some(version)), Ok(()));
    }
    for (version, refused) in [
        (None, Refused::NoVersion),
        (Some(""), Refused::InvalidVersion),
        (Some("seven"), Refused::InvalidVersion),
        (Some("4"), Refused::UnsupportedVersion),
        (Some("8"), Refused::UnsupportedVersion),
    ] {
        assert_eq!(Refused::check_version(version), Err(refused));
    }
}

#[test]
fn a_socket_id_names_the_session() {
    let session = SessionId::from_bytes([1; 16]);
    assert_eq!(Pusher::session_of(SOCKET), Some(session));
    for wrong in [
        "",
        "1",
        "1.",
        ".1",
        "1.x",
        "-1.1",
        "+1.1",
        "99999999999999999999.1",
    ] {
        assert_eq!(Pusher::session_of(wrong), None, "{wrong}");
    }
}

#[test]
fn a_ping_is_answered() {
    let mut client = Client::connected();
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    let (id, command) = client.asked.remove(0);
    assert_eq!(command, Command::Ping);
    client.reply(id, Reply::Pong);
    assert_eq!(client.takes()["event"], "pusher:pong");
}

#[test]
fn the_rules_decide_about_a_public_channel_and_its_events_have_data_in_strings() {
    let mut client = Client::connected();
    let wish = client.asks("chat", None);
    assert_eq!(
        wish,
        Subscribe::new(name("chat"), Since::Now).without_echo()
    );
    assert!(client.permitted.is_empty());
    client.accept(&wish);
    assert_eq!(
        client.takes(),
        json!({"event": "pusher_internal:subscription_succeeded", "channel": "chat", "data": "{}"})
    );
    let cases = [
        (r#"{"a":1}"#, Format::Json, r#"{"a":1}"#),
        ("\"hi\"", Format::Json, "\"hi\""),
        ("hi", Format::Text, "hi"),
        ("hi", Format::Binary, "\"aGk=\""),
    ];
    for (given, format, expected) in cases {
        client.deliver(&publication("chat", Some("new"), given, format), false);
        let event = client.takes();
        assert_eq!(
            event,
            json!({"event": "new", "channel": "chat", "data": expected})
        );
    }
}

#[test]
fn other_clients_cannot_forge_events_of_the_protocol() {
    let mut client = Client::connected();
    client.subscribe("chat", None);
    client.takes();
    for forged in ["pusher:error", "pusher_internal:member_added", ""] {
        client.deliver(&publication("chat", Some(forged), "1", Format::Json), false);
        assert_eq!(client.takes()["event"], "message");
    }
    client.deliver(&publication("chat", None, "1", Format::Json), false);
    assert_eq!(client.takes()["event"], "message");
}

#[test]
fn a_private_channel_needs_the_signature_of_this_connection_and_this_channel() {
    let mut client = Client::connected();
    for auth in [
        None,
        Some("key:1.1:private-chat".to_owned()),
        Some(format!("key:{SOCKET}:private-other")),
        Some(format!("{SOCKET}:private-chat")),
    ] {
        let data = json!({"channel": "private-chat", "auth": auth});
        client.send(&json!({"event": "pusher:subscribe", "data": data}));
        let error = client.takes();
        assert_eq!(error["event"], "pusher:subscription_error");
        assert_eq!(error["channel"], "private-chat");
        assert_eq!(
            (&error["data"]["type"], &error["data"]["status"]),
            (&json!("AuthError"), &json!(401))
        );
        assert!(client.permitted.is_empty() && client.asked.is_empty());
    }
    client.subscribe("private-chat", None);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.subscribe("private-encrypted-chat", None);
    assert_eq!(client.takes()["channel"], "private-encrypted-chat");
}

#[test]
fn a_presence_channel_counts_its_members_by_user() {
    let mut client = Client::connected();
    let wish = client.asks(
        "presence-room",
        Some(r#"{"user_id":7,"user_info":{"n":"ann"}}"#),
    );
    let face = wish.face.clone().unwrap();
    assert_eq!((&*face.user, &face.info[..]), ("7", &br#"{"n":"ann"}"#[..]));
    assert!(wish.presence && wish.members);
    client.accept(&wish);
    // A join before the list is contained in the list.
    let bob = member(2, "bob", r#"{"n":"bob"}"#);
    client.change(PresenceChange {
        channel: name("presence-room"),
        member: Arc::clone(&bob),
        joined: true,
        user_sessions: 1,
    });
    assert!(client.heard.is_empty());
    let ann = member(1, "7", r#"{"n":"ann"}"#);
    let again = member(3, "bob", r#"{"n":"bob"}"#);
    let nameless = member(4, "", "");
    client.members("presence-room", vec![ann.clone(), bob, again, nameless]);
    let succeeded = client.takes();
    assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded");
    let id = "04040404040404040404040404040404";
    assert_eq!(
        data(&succeeded),
        json!({"presence": {
            "count": 3,
            "ids": [id, "7", "bob"],
            "hash": {"7": {"n": "ann"}, "bob": {"n": "bob"}, id: null},
        }})
    );

    let change = |session, user, joined, user_sessions| PresenceChange {
        channel: name("presence-room"),
        member: member(session, user, ""),
        joined,
        user_sessions,
    };
    // The client's own join, and a second session of a user.
    client.change(change(1, "7", true, 1));
    client.change(change(6, "bob", true, 2));
    client.change(change(6, "bob", false, 1));
    assert!(client.heard.is_empty());
    client.change(change(5, "eve", true, 1));
    let added = client.takes();
    assert_eq!(added["event"], "pusher_internal:member_added");
    assert_eq!(data(&added), json!({"user_id": "eve", "user_info": null}));
    client.change(change(5, "eve", false, 0));
    let removed = client.takes();
    assert_eq!(removed["event"], "pusher_internal:member_removed");
    assert_eq!(data(&removed), json!({"user_id": "eve"}));

    // After changes were lost, the whole list is sent again.
    client.members("presence-room", vec![ann]);
    assert_eq!(data(&client.takes())["presence"]["count"], 1);
}

#[test]
fn a_member_needs_a_valid_id() {
    let mut client = Client::connected();
    let long = json!({"user_id": "x".repeat(129)}).to_string();
    let info = json!({"user_id": "x", "user_info": "x".repeat(1024)}).to_string();
    for data in [
        "{}",
        "7",
        "[]",
        r#"{"user_id":null}"#,
        r#"{"user_id":{}}"#,
        r#"{"user_id":""}"#,
        r#"{"user_id":"a\u0000b"}"#,
        &long,
        &info,
    ] {
        let auth = format!("key:{SOCKET}:presence-a:{data}");
        let fields = json!({"channel": "presence-a", "auth": auth, "channel_data": data});
        client.send(&json!({"event": "pusher:subscribe", "data": fields}));
        let error = client.takes();
        assert_eq!(error["event"], "pusher:subscription_error", "{data}");
        assert_eq!(error["data"]["status"], 400);
    }
}

#[test]
fn a_cache_channel_begins_with_its_last_event_or_with_a_miss() {
    let mut client = Client::connected();
    let wish = client.subscribe("cache-price", None);
    assert_eq!(wish.since, Since::State);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.deliver(
        &publication("cache-price", Some("p"), "1", Format::Json),
        true,
    );
    assert_eq!(client.takes()["data"], "1");
    client.is_live(&wish);
    assert!(client.heard.is_empty());

    let wish = client.subscribe("private-cache-price", None);
    client.takes();
    client.is_live(&wish);
    let miss = client.takes();
    assert_eq!(
        miss,
        json!({"event": "pusher:cache_miss", "channel": "private-cache-price"})
    );
    // The client may fall behind later.
    client.is_live(&wish);
    assert!(client.heard.is_empty());
}

#[test]
fn a_cache_channel_without_state_can_be_subscribed_to() {
    let mut client = Client::connected();
    client.asks("cache-price", None);
    let (id, _) = client.asked.remove(0);
    let refusal = Refusal::new(ErrorCode::NoState, "no state");
    client.reply(id, Reply::Refused(refusal));
    let Some((_, Command::Subscribe(again))) = client.asked.first().cloned() else {
        panic!("{:?}", client.asked)
    };
    assert_eq!(again.since, Since::Now);
    client.accept(&again);
    let events: Vec<_> = client
        .heard
        .drain(..)
        .map(|event| event["event"].clone())
        .collect();
    assert_eq!(
        events,
        [
            "pusher_internal:subscription_succeeded",
            "pusher:cache_miss"
        ]
    );
}

#[test]
fn the_miss_of_a_presence_channel_follows_its_list_of_members() {
    let mut client = Client::connected();
    let wish = client.subscribe("presence-cache-a", Some(r#"{"user_id":"ann"}"#));
    client.is_live(&wish);
    assert!(client.heard.is_empty());
    client.members("presence-cache-a", vec![member(1, "ann", "")]);
    let events: Vec<_> = client
        .heard
        .drain(..)
        .map(|event| event["event"].clone())
        .collect();
    assert_eq!(
        events,
        [
            "pusher_internal:subscription_succeeded",
            "pusher:cache_miss"
        ]
    );
}

#[test]
fn a_client_event_is_published_to_private_and_presence_channels_only() {
    let mut client = Client::connected();
    client.subscribe("private-chat", None);
    client.subscribe("private-cache-chat", None);
    client.subscribe("chat", None);
    client.subscribe("private-encrypted-chat", None);
    client.heard.clear();
    let event =
        |channel: &str| json!({"event": "client-typing", "channel": channel, "data": {"on": true}});
    client.send(&event("private-chat"));
    let (id, command) = client.permitted.remove(0);
    let expected = Command::Publish {
        channel: name("private-chat"),
        data: r#"{"on":true}"#.into(),
        format: Format::Json,
        tags: Tags::new([("event", "client-typing")]).unwrap(),
        key: None,
    };
    assert_eq!(command, expected);
    client.reply(
        id,
        Reply::Published {
            position: Position::new(1, 1),
            duplicate: false,
        },
    );
    assert!(client.heard.is_empty());

    client.send(&event("private-cache-chat"));
    let (id, command) = client.permitted.remove(0);
    let Command::Publish { tags, .. } = command else {
        panic!("{command:?}")
    };
    assert_eq!(tags.get("key"), Some(CACHE_KEY));
    client.reply(
        id,
        Reply::Refused(Refusal::new(ErrorCode::RateLimited, "slow down")),
    );
    let error = client.takes();
    assert_eq!(
        (&error["event"], &error["data"]["code"]),
        (&json!("pusher:error"), &json!(4301))
    );

    for channel in [
        "chat",
        "private-encrypted-chat",
        "private-other",
        "#server-to-user-7",
    ] {
        client.send(&event(channel));
        let error = client.takes();
        assert_eq!(
            (&error["event"], &error["data"]["code"]),
            (&json!("pusher:error"), &Value::Null)
        );
    }
    assert!(client.permitted.is_empty());
}

#[test]
fn client_events_are_refused_unless_they_are_enabled() {
    let mut client = Client::connected();
    client.subscribe("private-chat", None);
    client.heard.clear();
    let mut silent = Client::of(Settings {
        client_events: false,
        ..settings("")
    });
    silent.send(&json!({"event": "client-a", "channel": "private-chat", "data": 1}));
    let message = silent.takes()["data"]["message"].clone();
    assert!(message.as_str().unwrap().contains("pusher.client_events"));
}

#[test]
fn the_sender_of_a_client_event_is_named_in_presence_channels() {
    let mut client = Client::connected();
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    client.heard.clear();
    let by = |event: &str, channel: &str| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([9; 16]),
            user: "bob".into(),
        }),
        ..publication(channel, Some(event), "1", Format::Json)
    };
    client.deliver(&by("client-x", "presence-a"), false);
    assert_eq!(client.takes()["user_id"], "bob");
    client.deliver(&by("x", "presence-a"), false);
    assert_eq!(client.takes().get("user_id"), None);
    client.deliver(&by("client-x", "private-a"), false);
    assert_eq!(client.takes().get("user_id"), None);
}

#[test]
fn a_user_signs_in_with_a_signature_and_may_subscribe_to_its_own_channel() {
    let mut client = Client::connected();
    let subscribe =
        json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-7", "auth": ""}});
    client.send(&subscribe);
    assert_eq!(client.takes()["data"]["status"], 403);
    let user = r#"{"id":"7","name":"ann"}"#;
    let auth = format!("key:{SOCKET}::user::{user}");
    let sign_in = json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user}});
    client.send(&sign_in);
    let (id, name) = client.identified.remove(0);
    assert_eq!(name, "7");
    let mut out = Vec::new();
    client.pusher.refreshed(id, None, &mut out);
    client.hear(out);
    let success = client.takes();
    assert_eq!(success["event"], "pusher:signin_success");
    assert_eq!(data(&success), json!({"user_data": user}));
    client.send(&subscribe);
    assert_eq!(client.permitted.len(), 1);
    client.send(&json!({"event": "pusher:subscribe", "data": {"channel": "#server-to-user-8"}}));
    assert_eq!(client.takes()["data"]["status"], 403);
    client.send(&sign_in);
    assert!(
        client.takes()["data"]["message"]
            .as_str()
            .unwrap()
            .contains("already")
    );
}

#[test]
fn a_user_of_another_app_is_refused() {
    let mut client = Client::connected();
    let user = r#"{"id":"acme/x/ann"}"#;
    let auth = format!("key:{SOCKET}::user::{user}");
    client.send(&json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user}}));
    assert_eq!(client.takes()["event"], "pusher:error");
    assert!(client.identified.is_empty());
    let data = r#"{"user_id":"acme/x/ann"}"#;
    let auth = format!("key:{SOCKET}:presence-a:{data}");
    let fields = json!({"channel": "presence-a", "auth": auth, "channel_data": data});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
    assert!(client.permitted.is_empty());
}

#[test]
fn a_forged_signature_of_a_user_ends_the_connection() {
    let mut client = Client::connected();
    let data = json!({"auth": "key:1.1::user::{\"id\":\"7\"}", "user_data": "{\"id\":\"7\"}"});
    client.send(&json!({"event": "pusher:signin", "data": data}));
    assert_eq!(client.takes()["data"]["code"], 4009);
    assert_eq!(client.closed, Some(4009));
    assert!(client.identified.is_empty());
}

#[test]
fn an_unsubscription_is_silent_and_a_late_answer_of_the_subscription_is_ignored() {
    let mut client = Client::connected();
    client.asks("chat", None);
    let (first, _) = client.asked.remove(0);
    client.send(&json!({"event": "pusher:unsubscribe", "data": {"channel": "chat"}}));
    let (ended, command) = client.asked.remove(0);
    assert_eq!(
        command,
        Command::Unsubscribe {
            subscription: name("chat").into()
        }
    );
    let wish = client.asks("chat", None);
    client.reply(
        first,
        Reply::Refused(Refusal::new(ErrorCode::NotSubscribed, "ended")),
    );
    client.reply(
        ended,
        Reply::Unsubscribed {
            subscription: name("chat").into(),
        },
    );
    assert!(client.heard.is_empty());
    client.accept(&wish);
    assert_eq!(
        client.takes()["event"],
        "pusher_internal:subscription_succeeded"
    );
    client.send(&json!({"event": "pusher:subscribe", "data": {"channel": "chat"}}));
    assert_eq!(client.takes()["event"], "pusher:subscription_error");
}

#[test]
fn clients_of_an_app_with_a_prefix_see_their_own_names() {
    let mut client = Client::connected_to("acme/");
    let wish = client.subscribe("chat", None);
    assert_eq!(wish.target.as_str(), "acme/chat");
    assert_eq!(client.takes()["channel"], "chat");
    client.deliver(
        &publication("acme/chat", Some("a\"b"), "1", Format::Json),
        false,
    );
    assert_eq!(
        client.takes(),
        json!({"event": "a\"b", "channel": "chat", "data": "1"})
    );
    let wish = client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    assert_eq!(&*wish.face.unwrap().user, "acme/ann");
    client.members("acme/presence-a", vec![member(1, "acme/ann", "")]);
    assert_eq!(data(&client.takes())["presence"]["ids"], json!(["ann"]));
    client.change(PresenceChange {
        channel: name("acme/presence-a"),
        member: member(2, "acme/bob", ""),
        joined: true,
        user_sessions: 1,
    });
    let added = client.takes();
    assert_eq!(
        (&added["channel"], data(&added)["user_id"].as_str()),
        (&json!("presence-a"), Some("bob"))
    );
    let by_bob = Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([2; 16]),
            user: "acme/bob".into(),
        }),
        ..publication("acme/presence-a", Some("client-x"), "1", Format::Json)
    };
    client.deliver(&by_bob, false);
    let event = client.takes();
    assert_eq!(
        (&event["channel"], &event["user_id"]),
        (&json!("presence-a"), &json!("bob"))
    );
}

#[test]
fn missing_publications_are_reported_as_an_event() {
    let mut client = Client::connected();
    let wish = client.subscribe("chat", None);
    client.heard.clear();
    let gap = |reason| Notice::Gap {
        subscription: wish.name(),
        from: Position::new(17, 3),
        to: Position::new(17, 9),
        reason,
        agreed: None,
    };
    client.notice(&gap(GapReason::Dropped));
    let told = client.takes();
    assert_eq!(
        (&told["event"], &told["channel"]),
        (&json!("offhook:gap"), &json!("chat"))
    );
    assert_eq!(
        data(&told),
        json!({"from": "17.3", "to": "17.9", "reason": "dropped"})
    );
    client.notice(&gap(GapReason::State));
    assert!(client.heard.is_empty());
}

#[test]
fn the_ends_of_a_subscription_and_of_the_connection_are_reported() {
    let mut client = Client::connected();
    let wish = client.subscribe("chat", None);
    client.heard.clear();
    client.notice(&Notice::Unsubscribed {
        subscription: wish.name(),
        refusal: Refusal::new(ErrorCode::Forbidden, "not any more"),
    });
    let error = client.takes();
    assert_eq!(
        (&error["event"], &error["data"]["status"]),
        (&json!("pusher:subscription_error"), &json!(403))
    );
    for (reason, code) in [
        (CloseReason::TooSlow, 4100),
        (CloseReason::Flood, 4100),
        (CloseReason::Replaced, 4200),
        (CloseReason::Expired, 4200),
        (CloseReason::Disconnected, 4009),
    ] {
        assert_eq!(client.pusher.close_code(reason), code);
        client.notice(&Notice::Close { reason });
        assert_eq!(client.takes()["data"]["code"], code);
    }
    client.send(&json!({"event": "pusher:ping", "data": {}}));
    assert!(client.asked.is_empty());
}

#[test]
fn a_refused_connection_is_closed_with_a_code_that_says_when_to_reconnect() {
    for (code, closed) in [
        (ErrorCode::Unauthenticated, 4009),
        (ErrorCode::TooManyConnections, 4100),
        (ErrorCode::Draining, 4200),
    ] {
        let mut client = Client::of(settings(""));
        let (id, refusal) = (client.connects[0].id, Refusal::new(code, "no"));
        let mut out = Vec::new();
        client.pusher.refused(Some(id), &refusal, &mut out);
        client.hear(out);
        client.poll();
        assert_eq!(client.takes()["data"]["code"], closed);
        assert_eq!(client.closed, Some(closed));
    }
}

#[test]
fn invalid_messages_are_refused() {
    let mut client = Client::connected();
    let deep = format!(
        r#"{{"event":"client-a","channel":"private-a","data":{}1{}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    for text in [
        "",
        "[]",
        "7",
        "{",
        "{}",
        r#"{"event":7}"#,
        r#"{"event":"pusher:unknown","data":{}}"#,
        r#"{"event":"event","channel":"a","data":{}}"#,
        r#"{"event":"pusher:subscribe"}"#,
        r#"{"event":"pusher:subscribe","data":[]}"#,
        r#"{"event":"pusher:subscribe","data":"x"}"#,
        r#"{"event":"pusher:signin","data":{"auth":1,"user_data":2}}"#,
        r#"{"event":"client-a","data":{}}"#,
        &deep,
    ] {
        client.send_text(text);
        assert_eq!(client.takes()["event"], "pusher:error", "{text}");
    }
    let mut intents = Vec::new();
    client
        .pusher
        .receive(Incoming::Binary(b"{}"), sometime(), &mut intents);
    assert!(
        matches!(intents[..], [Intent::Refuse { .. }]),
        "{intents:?}"
    );
    // Some clients send the fields as a string.
    client.send(&json!({"event": "pusher:subscribe", "data": "{\"channel\":\"chat\"}"}));
    assert_eq!(client.asked.len(), 1);
}

#[test]
fn the_name_of_an_event_is_checked() {
    assert!(check_event("order.shipped").is_ok());
    assert!(check_event("client-typing").is_ok());
    for name in ["", "pusher:x", "pusher_internal:x", &"x".repeat(201)] {
        assert!(check_event(name).is_err());
    }
}

#[test]
fn data_is_json_if_it_is_valid_json_and_text_otherwise() {
    assert_eq!(data_of("{\"a\":1}".to_owned()).1, Format::Json);
    assert_eq!(data_of("7".to_owned()).1, Format::Json);
    assert_eq!(data_of("hello".to_owned()).1, Format::Text);
    assert_eq!(data_of(String::new()).1, Format::Text);
    let deep = "[".repeat(65) + &"]".repeat(65);
    assert_eq!(data_of(deep).1, Format::Text);
}

proptest! {
    #[test]
    fn data_arrives_as_it_was_published(text in ".{0,60}", event in "[a-z\"\\\\]{1,10}") {
        let (bytes, format) = data_of(text.clone());
        let mut client = Client::connected();
        let text_of = String::from_utf8(bytes.to_vec()).unwrap();
        client.deliver(&publication("a", Some(&event), &text_of, format), false);
        let heard = client.takes();
        prop_assert_eq!(&heard["data"], &Value::from(text));
        prop_assert_eq!(&heard["event"], &Value::from(event));
    }

    #[test]
    fn no_message_causes_a_panic_or_invalid_json(
        event in "(pusher:[a-z]{0,12}|client-[a-z]{0,5}|[a-z]{0,5})",
        data in "(\\{\"channel\":\"[a-z#-]{0,20}\"\\}|[\\[\\]{}\",0-9a-z]{0,20})",
        raw in ".{0,60}",
    ) {
        let mut client = Client::connected();
        client.send_text(&format!("{{\"event\":\"{event}\",\"channel\":\"private-a\",\"data\":{data}}}"));
        client.send_text(&raw);
        for (id, _) in std::mem::take(&mut client.asked) {
            client.reply(id, Reply::Pong);
        }
    }

    #[test]
    fn users_are_listed_once(users in proptest::collection::vec("[ab]{0,2}", 0..20)) {
        let members: Vec<_> = users
            .iter()
            .zip(0_u8..)
            .map(|(user, session)| member(session, user, ""))
            .collect();
        let named: std::collections::BTreeSet<_> = users.iter().filter(|user| !user.is_empty()).collect();
        let nameless = users.iter().filter(|user| user.is_empty()).count();
        prop_assert_eq!(users_of("", &members).len(), named.len() + nameless);
    }
}

#[test]
fn a_signature_of_one_app_opens_no_channel_of_another() {
    let mut client = Client::connected();
    let auth = format!("key:{SOCKET}:private-acme-private-x");
    let fields = json!({"channel": "private-acme-private-x", "auth": auth});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
    assert!(client.permitted.is_empty());
}

#[test]
fn a_signature_for_a_name_with_a_colon_opens_nothing_else() {
    let mut client = Client::connected();
    // Signed for the channel `private-room:7`.
    let auth = format!("key:{SOCKET}:private-room:7");
    for channel in ["private-room", "private-encrypted-room"] {
        let auth = auth.replace("private-room", channel);
        let fields = json!({"channel": channel, "auth": auth, "channel_data": "7"});
        client.send(&json!({"event": "pusher:subscribe", "data": fields}));
        assert_eq!(client.takes()["data"]["status"], 400);
        assert!(client.permitted.is_empty());
    }
    client.subscribe("private-room:7", None);
    assert_eq!(client.takes()["channel"], "private-room:7");
    // Some libraries sign data for every channel.
    client.subscribe("private-room", Some("{\"user_id\":1}"));
    assert_eq!(client.takes()["channel"], "private-room");
}

#[test]
fn a_pong_that_nobody_asked_for_counts_and_is_not_answered() {
    let mut client = Client::connected();
    client.send(&json!({"event": "pusher:pong", "data": {}}));
    let (id, command) = client.asked.remove(0);
    assert_eq!(command, Command::Ping);
    client.reply(id, Reply::Pong);
    assert!(client.heard.is_empty());
    let mut intents = Vec::new();
    client
        .pusher
        .receive(Incoming::Binary(&[]), sometime(), &mut intents);
    assert!(
        matches!(intents[..], [Intent::Refuse { .. }]),
        "{intents:?}"
    );
}

#[test]
fn users_that_are_not_of_the_app_cannot_be_taken_for_its_own() {
    let mut client = Client::connected_to("acme/");
    client.subscribe("presence-a", Some(r#"{"user_id":"ann"}"#));
    let members = vec![member(2, "acme/bob", ""), member(3, "bob", "")];
    client.members("acme/presence-a", members);
    let list = data(&client.takes());
    assert_eq!(list["presence"]["ids"], json!(["bob", "offhook:bob"]));
    client.change(PresenceChange {
        channel: name("acme/presence-a"),
        member: member(3, "bob", ""),
        joined: false,
        user_sessions: 0,
    });
    assert_eq!(data(&client.takes()), json!({"user_id": "offhook:bob"}));
    let by = |user: &str| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([3; 16]),
            user: user.into(),
        }),
        ..publication("acme/presence-a", Some("client-x"), "1", Format::Json)
    };
    client.deliver(&by("bob"), false);
    assert_eq!(client.takes().get("user_id"), None);
    client.deliver(&by("acme/bob"), false);
    assert_eq!(client.takes()["user_id"], "bob");
    let data = r#"{"user_id":"offhook:bob"}"#;
    let auth = format!("key:{SOCKET}:presence-b:{data}");
    let fields = json!({"channel": "presence-b", "auth": auth, "channel_data": data});
    client.send(&json!({"event": "pusher:subscribe", "data": fields}));
    assert_eq!(client.takes()["data"]["status"], 403);
}

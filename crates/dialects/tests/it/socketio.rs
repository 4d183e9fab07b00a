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

#[test]
fn the_first_packet_of_the_server_contains_its_limits() {
    let mut client = Client::new();
    let open = client.text();
    assert_eq!(
        arguments(&open, "0"),
        json!({"sid": "abc", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 65536})
    );
}

#[test]
fn connect_takes_the_token_and_the_info_from_auth() {
    let mut client = Client::new();
    client.send(r#"40{"token":"t","info":{"name":"Zoë"},"pid":"x","other":[1]}"#);
    let connect = &client.connects[0];
    assert_eq!(connect.token.as_deref(), Some("t"));
    assert_eq!(connect.info, r#"{"name":"Zoë"}"#);
    assert!(connect.named.is_none(), "it did not request recovery");
}

#[test]
fn a_refused_connect_gets_a_connect_error_and_may_be_repeated() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40/admin,{"token":"wrong"}"#);
    client.refuse_connect(ErrorCode::Unauthenticated);
    assert_eq!(
        arguments(&client.text(), "44/admin,"),
        json!({"message": "no", "data": {"code": "unauthenticated", "retry": "never"}})
    );
    client.send(r#"40{"token":"right"}"#);
    client.welcome(None);
    assert!(client.text().starts_with("40{"));
    assert_eq!(client.closed, None);
}

#[test]
fn a_connect_that_may_succeed_later_closes_the_connection_so_that_the_stock_client_retries() {
    let mut client = Client::new();
    client.text();
    client.send("40");
    client.refuse_connect(ErrorCode::Busy);
    client.says_nothing();
    assert_eq!(client.closed, Some(1013));
}

#[test]
fn invalid_auth_gets_a_connect_error() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40{"token":7}"#);
    let error = arguments(&client.text(), "44");
    assert!(error["message"].as_str().unwrap().starts_with("auth: "));
    let long = "x".repeat(300);
    client.send(&format!("40{{\"info\":\"{long}\"}}"));
    let error = arguments(&client.text(), "44");
    assert!(error["message"].as_str().unwrap().contains("256 bytes"));
}

#[test]
fn an_event_is_acknowledged_with_its_number_in_its_namespace() {
    let mut client = Client::connected();
    client.send(r#"4212["publish",{"channel":"a","data":{"x":1},"key":"k"}]"#);
    let command = client.reply(Reply::Published {
        position: Position::new(17, 4),
        duplicate: false,
    });
    let Command::Publish {
        data, format, key, ..
    } = command
    else {
        panic!("{command:?}");
    };
    assert_eq!((&*data, format), (&br#"{"x":1}"#[..], Format::Json));
    assert_eq!(key.unwrap().as_str(), "k");
    assert_eq!(client.text(), r#"4312[{"epoch":"17","offset":4}]"#);

    client.send("40/n,");
    assert!(client.text().starts_with("40/n,{\"sid\""));
    client.send(r#"42/n,3["presence","a"]"#);
    client.reply(Reply::Members {
        channel: ChannelName::new("a").unwrap(),
        subscription: None,
        members: Vec::new(),
        total: 0,
    });
    assert_eq!(client.text(), r#"43/n,3[{"members":[],"total":0}]"#);
}

#[test]
fn an_event_without_a_number_is_answered_only_if_it_is_refused() {
    let mut client = Client::connected();
    client.send(r#"42["publish",{"channel":"a","data":1}]"#);
    client.reply(Reply::Published {
        position: Position::new(17, 4),
        duplicate: false,
    });
    client.says_nothing();
    client.send(r#"42["publish",{"channel":"a","data":1}]"#);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    assert_eq!(
        client.text(),
        r#"42["refused",{"event":"publish","code":"forbidden","message":"no","retry":"never"}]"#
    );
}

#[test]
fn the_error_for_a_refused_event_says_why() {
    let mut client = Client::connected();
    for (event, code, words) in [
        (r#"["dance"]"#, "bad_request", "expected one of subscribe"),
        ("[7]", "bad_request", "unknown event \"7\""),
        (r#"["subscribe"]"#, "bad_request", "channel: is missing"),
        (r#"["subscribe",7]"#, "bad_request", "one object"),
        (r#"["subscribe",{},1]"#, "bad_request", "one object"),
        (r#"["subscribe",""]"#, "bad_channel_name", "is empty"),
        (
            r#"["subscribe",{"channel":"a","window":0}]"#,
            "bad_request",
            "at least 1",
        ),
        (r#"["unsubscribe","a"]"#, "not_subscribed", "not subscribed"),
        (
            r#"["publish",{"channel":"a"}]"#,
            "bad_request",
            "data and base64",
        ),
        (
            r#"["publish",{"channel":"a","data":1,"key":""}]"#,
            "bad_key",
            "0 bytes",
        ),
    ] {
        client.send(&format!("421{event}"));
        let error = &arguments(&client.text(), "431")[0]["error"];
        assert_eq!(error["code"], code, "{event}");
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
    }
}

#[test]
fn a_refusal_says_when_to_retry() {
    let mut client = Client::connected();
    client.send(r#"421["publish",{"channel":"a","data":1}]"#);
    let refusal = Refusal::new(ErrorCode::RateLimited, "slower");
    let refusal = refusal.after(Duration::from_millis(20));
    client.reply(Reply::Refused(refusal));
    let error = &arguments(&client.text(), "431")[0]["error"];
    assert_eq!(error["retry"], "later");
    assert_eq!(error["retry_after_ms"], 20);
}

#[test]
fn bytes_are_published_and_received_as_attachments() {
    let mut client = Client::connected();
    client.send(r#"451-7["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]"#);
    assert!(client.asked.is_empty(), "the attachment has not arrived");
    // A pong in between is not part of the packet.
    client.send("3");
    client.receive(Incoming::Binary(&[1, 2, 255]));
    let command = client.reply(Reply::Pong);
    let Command::Publish { data, format, .. } = command else {
        panic!("{command:?}");
    };
    assert_eq!((&*data, format), (&[1, 2, 255][..], Format::Binary));
    client.text();

    client.deliver(None, &publication("a", 5, &[1, 2, 255], Format::Binary));
    assert_eq!(
        arguments(&client.text(), "451-"),
        json!(["publication", {"channel": "a", "epoch": "17", "offset": 5, "data": {"_placeholder": true, "num": 0}, "time": 3}])
    );
    assert_eq!(client.bytes(), [1, 2, 255]);
}

#[test]
fn a_packet_whose_attachments_have_not_come_is_reported_with_its_beginning() {
    let mut client = Client::connected();
    let begun = client.now;
    let text = r#"52-["publish",{"channel":"a","data":{"_placeholder":true,"num":0}}]"#;
    client.send(&format!("4{text}"));
    client.now += Duration::from_secs(1);
    client.receive(Incoming::Binary(&[0; 100]));
    let incomplete = Unfinished {
        bytes: text.len() + 100,
        since: Some(begun),
    };
    assert_eq!(client.sio.unfinished(), incomplete);
    client.receive(Incoming::Binary(&[0; 100]));
    assert_eq!(client.sio.unfinished(), Unfinished::default());
}

#[test]
fn an_attachment_inside_the_data_is_refused() {
    let mut client = Client::connected();
    client.send(r#"451-7["publish",{"channel":"a","data":[{"_placeholder":true,"num":0}]}]"#);
    client.receive(Incoming::Binary(&[1]));
    let error = &arguments(&client.text(), "437")[0]["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the whole `data`")
    );
}

/// The stock clients look for placeholders anywhere in a packet, and close the connection if one has
/// no attachment.
#[test]
fn pages_contain_bytes_as_base64_and_never_as_attachments() {
    let mut client = Client::connected();
    client.send(r#"421["history","a"]"#);
    client.reply(Reply::History {
        channel: ChannelName::new("a").unwrap(),
        head: Position::new(17, 2),
        publications: vec![
            Arc::new(publication("a", 1, &[1], Format::Binary)),
            Arc::new(publication(
                "a",
                2,
                br#"{"_placeholder":true,"num":9}"#,
                Format::Json,
            )),
        ],
        gap: None,
        more: false,
    });
    let all = &arguments(&client.text(), "431")[0]["publications"];
    assert_eq!(all[0]["base64"], "AQ==");
    client.says_nothing();
}

#[test]
fn all_subscribers_of_the_main_namespace_share_their_bytes() {
    let mut client = Client::connected();
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    assert_eq!(number, None);
    assert_eq!(client.text(), r#"431[{"epoch":"17","offset":3}]"#);
    client.deliver(None, &publication("a", 4, b"\"hi\"", Format::Json));
    assert_eq!(
        client.text(),
        r#"42["publication",{"channel":"a","epoch":"17","offset":4,"data":"hi","time":3}]"#
    );
}

#[test]
fn a_publication_has_the_namespace_of_its_subscription() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let number = client.subscribe("/n,1", &json!({"channel": "a"}), true);
    client.text();
    client.deliver(number, &publication("a", 4, b"text", Format::Text));
    assert_eq!(
        client.text(),
        r#"42/n,["publication",{"channel":"a","epoch":"17","offset":4,"data":"text","time":3}]"#
    );
    client.deliver(number, &publication("a", 5, &[9], Format::Binary));
    assert!(
        client
            .text()
            .starts_with(r#"451-/n,["publication",{"channel":"a","#)
    );
    assert_eq!(client.bytes(), [9]);
}

#[test]
fn the_acknowledgement_of_subscribe_says_whether_it_continues_without_a_gap() {
    let mut client = Client::connected();
    let since = json!({"epoch": "17", "offset": 1});
    for (gap, expected) in [
        (None, json!({"epoch": "17", "offset": 3, "recovered": true})),
        (
            Some(GapReason::EvictedBySize),
            json!({"epoch": "17", "offset": 3, "recovered": false, "reason": "evicted_by_size"}),
        ),
    ] {
        let channel = if gap.is_some() { "b" } else { "a" };
        client.subscribe("5", &json!({"channel": channel, "since": since}), false);
        client.says_nothing();
        let subscription = SubscriptionName::from(ChannelName::new(channel).unwrap());
        client.notice(&match gap {
            Some(reason) => Notice::Gap {
                subscription,
                from: Position::new(17, 1),
                to: Position::new(17, 2),
                reason,
                agreed: None,
            },
            None => Notice::Live {
                subscription,
                position: Position::new(17, 3),
            },
        });
        assert_eq!(arguments(&client.text(), "435"), json!([expected]));
        let event = if gap.is_some() { "gap" } else { "live" };
        assert_eq!(arguments(&client.text(), "42")[0], event);
    }
}

#[test]
fn a_second_subscription_of_a_namespace_to_a_channel_is_refused() {
    let mut client = Client::connected();
    client.subscribe("1", &json!({"channel": "a"}), true);
    client.text();
    client.send(r#"422["subscribe","a"]"#);
    let error = &arguments(&client.text(), "432")[0]["error"];
    assert_eq!(error["code"], "already_subscribed");
    client.send(r#"423["unsubscribe","a"]"#);
    let subscription = SubscriptionName::from(ChannelName::new("a").unwrap());
    client.reply(Reply::Unsubscribed { subscription });
    assert_eq!(client.text(), "433[{}]");
    client.subscribe("4", &json!("a"), true);
    assert!(client.text().starts_with("434[{\"epoch\""));
}

#[test]
fn a_publication_of_a_window_is_acknowledged_by_the_client() {
    let mut client = Client::connected();
    let number = client.subscribe("1", &json!({"channel": "a", "window": 2}), true);
    client.text();
    client.deliver(number, &publication("a", 4, b"1", Format::Json));
    client.deliver(number, &publication("a", 5, &[1], Format::Binary));
    assert!(client.text().starts_with(r#"421["publication","#));
    assert!(client.text().starts_with(r#"451-2["publication","#));
    client.bytes();
    client.send("432[]");
    client.send("432[]");
    client.send("439[]");
    let done = Command::Done {
        subscription: SubscriptionKey::Id(SubscriptionId(number.unwrap())),
        position: Position::new(17, 5),
        cumulative: false,
    };
    assert_eq!(client.told, [done]);
}

#[test]
fn the_token_of_another_namespace_has_to_be_the_sessions() {
    let mut client = Client::connected();
    client.send(r#"40/admin,{"token":"newer"}"#);
    client.says_nothing();
    let Some(Intent::Refresh { id, .. }) = client.others.pop() else {
        panic!("no refresh");
    };
    let id = Some(id);
    let reply = Reply::Refused(Refusal::new(ErrorCode::Unauthenticated, "of another user"));
    client.notice(&Notice::Reply { id, reply });
    assert!(
        client
            .text()
            .starts_with("44/admin,{\"message\":\"of another user\"")
    );
    client.send(r#"40/admin,{"token":"newest"}"#);
    let Some(Intent::Refresh { id, .. }) = client.others.pop() else {
        panic!("no refresh");
    };
    let mut out = Vec::new();
    client.sio.refreshed(id, None, &mut out);
    client.heard.extend(out);
    assert!(client.text().starts_with("40/admin,{\"sid\""));
}

#[test]
fn leaving_a_namespace_ends_its_subscriptions_and_leaving_the_last_one_the_connection() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let number = client
        .subscribe("/n,1", &json!({"channel": "a"}), true)
        .unwrap();
    client.text();
    client.send("41/n,");
    let (_, command) = client.asked.pop().unwrap();
    let subscription = SubscriptionKey::Id(SubscriptionId(number));
    assert_eq!(command, Command::Unsubscribe { subscription });
    client.deliver(Some(number), &publication("a", 4, b"1", Format::Json));
    client.says_nothing();
    assert_eq!(client.closed, None);
    client.send("41");
    assert_eq!(client.others, [Intent::Leave]);
    assert_eq!(client.closed, Some(1000));
}

#[test]
fn a_disconnect_by_the_server_tells_the_client_not_to_reconnect() {
    let mut client = Client::connected();
    client.send("40/n");
    client.text();
    let reason = CloseReason::Disconnected;
    client.notice(&Notice::Close { reason });
    assert_eq!([client.text(), client.text()], ["41", "41/n,"]);
    let mut client = Client::connected();
    let reason = CloseReason::TooSlow;
    client.notice(&Notice::Close { reason });
    client.says_nothing();
}

#[test]
fn the_server_pings_and_closes_the_connection_if_no_pong_arrives() {
    let mut client = Client::connected();
    let begun = client.now;
    let seconds = |n| begun + Duration::from_secs(n);
    assert_eq!(client.sio.poll_timeout(), Some(seconds(25)));
    let mut intents = Vec::new();
    client.sio.handle_timeout(seconds(25), &mut intents);
    assert_eq!(intents, [Intent::Say("2".to_owned().into())]);
    assert_eq!(client.sio.poll_timeout(), Some(seconds(45)));
    client.now = seconds(30);
    client.send("3");
    assert_eq!(client.sio.poll_timeout(), Some(seconds(55)));
    intents.clear();
    client.sio.handle_timeout(seconds(55), &mut intents);
    intents.clear();
    client.sio.handle_timeout(seconds(75), &mut intents);
    assert!(matches!(intents[..], [Intent::Close { code: 1008, .. }]));
    assert_eq!(client.sio.poll_timeout(), None);
}

#[test]
fn a_violation_of_the_protocol_ends_the_connection() {
    for text in ["4abc", "x", "2", "5", "0{}", "44{}", "45[\"a\"]"] {
        let mut client = Client::connected();
        client.send(text);
        assert_eq!(client.closed, Some(1002), "{text}");
        client.send("421[\"subscribe\",\"a\"]");
        assert!(client.asked.is_empty());
    }
    for text in ["42[\"subscribe\",\"a\"]", "41", "431[]"] {
        let mut client = Client::new();
        client.send(text);
        assert_eq!(client.closed, Some(1002), "{text}");
    }
}

#[test]
fn a_custom_event_is_a_call_whose_answer_is_the_acknowledgement() {
    let mut client = Client::connected();
    client.sio = SocketIo::new(Settings {
        calls_backend: true,
        ..settings()
    });
    client.send("40");
    client.welcome(None);
    client.heard.clear();
    for (event, data) in [
        ("[\"chat message\",\"hi\"]", "\"hi\""),
        ("[\"chat message\"]", "[]"),
        ("[\"chat message\",1,{\"a\":2}]", "[1,{\"a\":2}]"),
    ] {
        client.send(&format!("425{event}"));
        let command = client.reply(Reply::Called {
            data: "\"ok\"".into(),
            format: Format::Json,
        });
        let Command::Call {
            method,
            data: given,
            ..
        } = command
        else {
            panic!("{command:?}");
        };
        assert_eq!((&*method, &*given), ("chat message", data.as_bytes()));
        assert_eq!(client.text(), "435[\"ok\"]");
    }
    // The dialect's own names are not custom events.
    client.send("426[\"gap\",{}]");
    assert!(client.text().contains("unknown event"));
}

#[test]
fn a_publication_with_a_tag_event_arrives_as_that_event_if_the_client_requested_it() {
    let mut tagged = publication("a", 4, b"\"hi\"", Format::Json);
    tagged.tags = Tags::new([("event", "chat message")]).unwrap();
    let mut spoof = publication("a", 5, b"1", Format::Json);
    spoof.tags = Tags::new([("event", "disconnect")]).unwrap();
    let mut client = Client::new();
    client.text();
    client.send("40{\"events\":true}");
    client.welcome(None);
    client.text();
    client.deliver(None, &tagged);
    assert_eq!(client.text(), "42[\"chat message\",\"hi\"]");
    client.deliver(None, &spoof);
    assert!(client.text().starts_with("42[\"publication\","));

    let (mut client, _) = Client::recoverable("{\"events\":true,\"recover\":true}", None, 1000);
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    client.remember();
    client.text();
    client.deliver(number, &tagged);
    let event = arguments(&client.text(), "42");
    assert_eq!(
        (&event[0], &event[1]),
        (&json!("chat message"), &json!("hi"))
    );
    assert!(event[2].as_str().unwrap().contains('~'));

    let mut plain = Client::connected();
    plain.deliver(None, &tagged);
    assert!(plain.text().starts_with("42[\"publication\","));
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

#[test]
fn events_of_a_rule_join_a_room_and_are_published_in_it() {
    let mut client = with_rooms([room("room/*")], "");
    assert_eq!(joined(&mut client, r#"421["join","7"]"#), "room/7");
    assert_eq!(client.text(), r#"431[{"epoch":"17","offset":3}]"#);
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let named = tag("event", "chat message");
    for (event, data, more) in [
        (r#"42["chat message","hi"]"#, r#""hi""#, None),
        (r#"42["chat message",{"a":[1]}]"#, r#"{"a":[1]}"#, None),
        (
            r#"42["chat message"]"#,
            "[]",
            Some(tag("arguments", "several")),
        ),
        (
            r#"42["chat message",1,"b"]"#,
            r#"[1,"b"]"#,
            Some(tag("arguments", "several")),
        ),
    ] {
        let tags: Vec<_> = [named.clone()].into_iter().chain(more).collect();
        let expected = ("room/7".to_owned(), data.to_owned(), tags);
        assert_eq!(emitted(&mut client, event), expected);
    }
    let (_, _, tags) = emitted(&mut client, r#"42["typing",true]"#);
    assert_eq!(tags, [tag("event", "typing"), tag("to", "others")]);
    client.send(r#"422["leave"]"#);
    let command = client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new("room/7").unwrap().into(),
    });
    assert!(
        matches!(command, Command::Unsubscribe { .. }),
        "{command:?}"
    );
    assert_eq!(client.text(), "432[{}]");
    client.send(r#"423["chat message","to nobody"]"#);
    assert_eq!(error_code(&client.text(), "433"), "not_subscribed");
}

#[test]
fn a_room_is_joined_by_a_text_a_number_or_a_field_and_by_nothing_else() {
    for (argument, channel) in [
        (r#""7""#, "room/7"),
        ("7", "room/7"),
        (r#"{"room":"7","name":"Ann"}"#, "room/7"),
        (r#"{"room":7}"#, "room/7"),
        (r#""Zoë's room""#, "room/Zoë's room"),
    ] {
        let mut client = with_rooms([room("room/*")], "");
        assert_eq!(
            joined(&mut client, &format!("42[\"join\",{argument}]")),
            channel
        );
    }
    let mut client = with_rooms([room("room/*")], "");
    for bad in [
        "null",
        "true",
        "[]",
        "{}",
        r#"{"room":{}}"#,
        r#""""#,
        r#""*""#,
    ] {
        client.send(&format!("421[\"join\",{bad}]"));
        let code = error_code(&client.text(), "431");
        assert!(
            ["bad_request", "bad_channel_name"].contains(&&*code),
            "{bad}: {code}"
        );
    }
    client.send(r#"421["join"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
}

#[test]
fn joining_twice_and_leaving_twice_succeed() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","7"]"#);
    client.send(r#"421["join","7"]"#);
    assert_eq!(client.reply(Reply::Pong), Command::Ping);
    assert_eq!(client.text(), "431[{}]");
    client.send(r#"422["leave","8"]"#);
    assert_eq!(client.reply(Reply::Pong), Command::Ping);
    assert_eq!(client.text(), "432[{}]");
}

#[test]
fn an_event_for_one_of_several_rooms_has_to_name_it() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","7"]"#);
    joined(&mut client, r#"42["join","8"]"#);
    client.send(r#"421["chat message","hi"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");

    let by = |named_by| Room {
        named_by,
        ..room("room/*")
    };
    let mut client = with_rooms([by(NamedBy::Argument)], "");
    let (channel, data, _) = emitted(&mut client, r#"42["chat message","8","hi"]"#);
    assert_eq!((&*channel, &*data), ("room/8", r#""hi""#));
    client.send(r#"421["chat message"]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");

    let mut client = with_rooms([by(NamedBy::Field)], "");
    let message = r#"{"room":"8","text":"hi"}"#;
    let (channel, data, _) = emitted(&mut client, &format!("42[\"chat message\",{message}]"));
    assert_eq!((&*channel, &*data), ("room/8", message));
    client.send(r#"421["chat message",{"text":"hi"}]"#);
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
}

#[test]
fn every_client_is_in_a_room_of_everyone_and_only_in_the_main_namespace() {
    let lobby = Room {
        everyone: true,
        ..room("lobby")
    };
    let mut client = with_rooms([lobby.clone(), room("room/*")], "");
    let Command::Subscribe(wish) = client.asked.remove(0).1 else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.target.channel().unwrap().as_str(), "lobby");
    let (channel, ..) = emitted(&mut client, r#"42["chat message","hi"]"#);
    assert_eq!(
        channel, "lobby",
        "the first rule that lists an event applies"
    );
    client.send("40/other");
    assert!(client.asked.is_empty(), "{:?}", client.asked);
}

#[test]
fn an_event_of_a_room_arrives_with_its_arguments_unless_the_client_wants_publications() {
    let tagged = |data: &str, tags: &[(&str, &str)]| {
        let mut publication = publication("room/7", 4, data.as_bytes(), Format::Json);
        publication.tags = Tags::new(tags.iter().copied()).unwrap();
        publication
    };
    let several = [("event", "chat message"), ("arguments", "several")];
    let mut client = with_rooms([room("room/*")], "");
    for (data, event) in [
        (r#" [1, {"a":"]"}] "#, r#"42["chat message",1, {"a":"]"}]"#),
        ("[]", r#"42["chat message"]"#),
        ("[ ]", r#"42["chat message"]"#),
        (r#""no array""#, r#"42["chat message","no array"]"#),
    ] {
        client.deliver(None, &tagged(data, &several));
        assert_eq!(client.text(), event);
    }
    client.deliver(None, &tagged("[1]", &[("event", "x")]));
    assert_eq!(client.text(), r#"42["x",[1]]"#);

    let mut client = with_rooms([room("room/*")], r#"{"events":false}"#);
    client.deliver(None, &tagged("[1]", &several));
    assert!(
        client
            .text()
            .starts_with(r#"42["publication",{"channel":"room/7""#)
    );
}

#[test]
fn a_broadcast_is_not_delivered_to_its_sender() {
    let mut typing = publication("room/7", 4, b"true", Format::Json);
    typing.tags = Tags::new([("event", "typing"), ("to", "others")]).unwrap();
    let by = |number| Publication {
        publisher: Some(Publisher {
            session: SessionId::from_bytes([number; 16]),
            user: "".into(),
        }),
        ..typing.clone()
    };
    let mut client = with_rooms([room("room/*")], "");
    client.deliver(None, &by(1));
    client.says_nothing();
    client.deliver(None, &by(2));
    assert_eq!(client.text(), r#"42["typing",true]"#);
    let mut usual = publication("room/7", 5, b"1", Format::Json);
    usual.publisher = by(1).publisher;
    client.deliver(None, &usual);
    assert!(client.text().starts_with("42[\"publication\""));
}

#[test]
fn bytes_are_the_only_argument_of_an_event_of_a_room() {
    let mut client = with_rooms(
        [Room {
            everyone: true,
            ..room("lobby")
        }],
        "",
    );
    client.asked.clear();
    client.send(r#"451-["chat message",{"_placeholder":true,"num":0}]"#);
    client.receive(Incoming::Binary(&[1, 2]));
    let Command::Publish { data, format, .. } = client.asked.remove(0).1 else {
        panic!("not published");
    };
    assert_eq!((&*data, format), (&[1, 2][..], Format::Binary));
    client.send(r#"451-1["chat message","x",{"_placeholder":true,"num":0}]"#);
    client.receive(Incoming::Binary(&[1, 2]));
    assert_eq!(error_code(&client.text(), "431"), "bad_request");
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

#[test]
fn a_session_is_recovered_from_the_last_event() {
    let (pid, offset, note) = cut(2);
    let (client, again) = Client::recoverable(&back(&pid, offset.as_deref()), Some(&note), 2000);
    assert_eq!(again, pid, "the stock client compares the ids");
    let named = client.connects[0].named.as_ref().unwrap();
    assert_eq!((&*named.name, named.fresh), (NAME, false));
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 5)));
}

#[test]
fn a_session_is_recovered_even_if_no_event_was_sent_before_the_cut() {
    let (pid, offset, note) = cut(0);
    assert_eq!(offset, None);
    let (client, again) = Client::recoverable(&back(&pid, None), Some(&note), 2000);
    assert_eq!(again, pid);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 3)));
}

#[test]
fn a_session_without_subscriptions_is_recovered() {
    let mut client = Client::new();
    client.text();
    client.send(r#"40{"recover":true}"#);
    client.welcome_at(Some(None), 1000);
    let entered = arguments(&client.text(), "40");
    let pid = entered["pid"].as_str().unwrap();
    let [Command::Remember { note, .. }] = &client.told[..] else {
        panic!("{:?}", client.told);
    };
    let (client, again) = Client::recoverable(&back(pid, None), Some(note), 2000);
    assert_eq!(again, pid);
    assert_eq!((client.asked, client.told), (vec![], vec![]));
}

/// The stock client keeps its last offset when it receives a new id.
#[test]
fn the_offset_of_an_earlier_session_is_ignored() {
    let (_, older, _) = cut(2);
    let (mut client, pid) = Client::recoverable(r#"{"recover":true}"#, None, 5000);
    client.subscribe("1", &json!({"channel": "b"}), true);
    let note = client.remember();
    let (client, again) = Client::recoverable(&back(&pid, older.as_deref()), Some(&note), 6000);
    assert_eq!(again, pid);
    let (_, Command::Subscribe(wish)) = &client.asked[0] else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(wish.since, Since::Position(Position::new(17, 3)));
}

#[test]
fn a_client_whose_session_has_ended_gets_a_new_id() {
    let (pid, offset, _) = cut(1);
    for unix_ms in [2000, 1000, 500] {
        let (client, again) = Client::recoverable(&back(&pid, offset.as_deref()), None, unix_ms);
        assert_ne!(again, pid);
        assert!(client.asked.is_empty());
    }
    let (_, none) = Client::recoverable(&back("rubbish", Some("rubbish")), None, 2000);
    assert!(none.starts_with(NAME));
}

#[test]
fn one_offset_contains_the_positions_of_all_channels() {
    let (mut client, pid) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    let mut note = Vec::new();
    let mut numbers = Vec::new();
    for channel in ["a", "b", "c"] {
        numbers.push(client.subscribe("1", &json!({"channel": channel}), true));
        note = client.remember();
        client.text();
    }
    client.deliver(numbers[0], &publication("a", 9, b"1", Format::Json));
    client.text();
    let name = SubscriptionName {
        target: ChannelName::new("b").unwrap().into(),
        id: numbers[1].map(SubscriptionId),
    };
    client.notice(&Notice::Live {
        subscription: name,
        position: Position::new(18, 30),
    });
    let live = arguments(&client.text(), "42");
    assert_eq!(live[0], "live");
    let auth = back(&pid, live[2].as_str());
    let (client, _) = Client::recoverable(&auth, Some(&note), 2000);
    let sinces = client.asked.iter().map(|(_, command)| {
        let Command::Subscribe(wish) = command else {
            panic!("{command:?}");
        };
        wish.since
    });
    let at = |epoch, offset| Since::Position(Position::new(epoch, offset));
    assert_eq!(
        sinces.collect::<Vec<_>>(),
        [at(17, 9), at(18, 30), at(17, 3)]
    );
}

/// The server may have been killed between a subscription and the storing of its note. If another
/// subscription got the number, the client's position would be used for the wrong one.
#[test]
fn a_subscription_number_that_the_client_has_seen_is_not_used_again() {
    let (pid, _, note) = cut(0);
    let (mut client, _) = Client::recoverable(&back(&pid, None), Some(&note), 2000);
    client.asked.clear();
    let number = client.subscribe("1", &json!({"channel": "b"}), true);
    client.deliver(number, &publication("b", 9, b"1", Format::Json));
    let event = arguments(&client.text(), "42");
    let auth = back(&pid, event[2].as_str());
    let (mut client, _) = Client::recoverable(&auth, Some(&note), 3000);
    client.asked.clear();
    let next = client.subscribe("1", &json!({"channel": "c"}), true);
    assert!(next > number, "{next:?}, {number:?}");
}

#[test]
fn a_subscription_that_cannot_be_recovered_is_reported() {
    let (pid, offset, note) = cut(1);
    let (mut client, _) = Client::recoverable(&back(&pid, offset.as_deref()), Some(&note), 2000);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Forbidden, "no")));
    let event = arguments(&client.text(), "42");
    assert_eq!(event[0], "unsubscribed");
    assert_eq!(event[1]["code"], "forbidden");
    let note: Value = serde_json::from_slice(&client.remember()).unwrap();
    assert_eq!(note["subscriptions"], json!([]));
}

#[test]
fn a_subscription_whose_note_cannot_be_stored_is_refused() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    client.subscribe("1", &json!({"channel": "a"}), true);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Busy, "later")));
    let error = &arguments(&client.text(), "431")[0]["error"];
    assert_eq!(error["code"], "busy");
    assert!(matches!(client.told[..], [Command::Unsubscribe { .. }]));
}

#[test]
fn a_client_that_disconnects_is_not_recovered() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    assert!(!client.sio.leaves_with_its_transport());
    client.send("41");
    assert_eq!(client.others, [Intent::Keep(None), Intent::Leave]);
}

/// python-socketio calls a handler with all arguments of an event; with one too many, the event is
/// lost.
#[test]
fn only_clients_that_requested_recovery_get_an_offset_and_they_get_it_with_every_event() {
    let (mut client, _) = Client::recoverable(r#"{"recover":true}"#, None, 1000);
    let number = client.subscribe("1", &json!({"channel": "a"}), true);
    client.remember();
    client.text();
    client.notice(&Notice::Told {
        data: "\"volatile\"".into(),
        format: Format::Json,
    });
    client.send(r#"42["dance"]"#);
    client.deliver(number, &publication("a", 4, &[1], Format::Binary));
    client.deliver(None, &publication("b", 4, b"1", Format::Json));
    let mut events = 0;
    for message in std::mem::take(&mut client.heard) {
        let Payload::Text(text) = message else {
            continue;
        };
        let array = text.get(text.find('[').unwrap()..).unwrap();
        let event = parsed(array);
        assert_eq!(event.as_array().unwrap().len(), 3, "{event}");
        assert!(event[2].as_str().unwrap().contains('~'), "{event}");
        events += 1;
    }
    assert_eq!(events, 4);
    let mut plain = Client::connected();
    plain.notice(&Notice::Told {
        data: "1".into(),
        format: Format::Json,
    });
    assert_eq!(plain.text(), r#"42["told",{"data":1}]"#);
}

proptest! {
    #[test]
    fn any_messages_end_in_an_answer_or_a_close(
        messages in prop::collection::vec(
            prop_oneof![
                "4[0-6][0-9]?-?(/n,)?[0-9]{0,2}(\\[\"(subscribe|publish|call|unsubscribe)\",.{0,20}\\])?",
                "[0-9].{0,20}",
                Just("42[\"publish\",{\"channel\":\"a\",\"data\":1}]".to_owned()),
                Just("40/n,{\"recover\":true}".to_owned()),
            ],
            0..12,
        ),
        bytes: Vec<u8>,
    ) {
        let mut client = Client::connected();
        for message in messages {
            client.send(&message);
            client.receive(Incoming::Binary(&bytes));
            if client.closed.is_some() {
                client.heard.clear();
                client.send(&message);
                client.says_nothing();
            }
        }
    }
}

fn unsubscribed(client: &mut Client, channel: &str) {
    let command = client.reply(Reply::Unsubscribed {
        subscription: ChannelName::new(channel).unwrap().into(),
    });
    assert!(
        matches!(command, Command::Unsubscribe { .. }),
        "{command:?}"
    );
}

#[test]
fn a_room_that_is_left_and_joined_again_at_once_is_joined() {
    for auth in ["", r#"{"recover":true}"#] {
        let mut client = with_rooms([room("room/*")], auth);
        joined(&mut client, r#"42["join","a"]"#);
        client.asked.clear();
        client.heard.clear();
        client.send(r#"421["leave","a"]"#);
        client.send(r#"422["join","a"]"#);
        let joins = client
            .asked
            .iter()
            .any(|(_, c)| matches!(c, Command::Subscribe(_)));
        assert!(joins, "the client is not in the room: {:?}", client.asked);
        unsubscribed(&mut client, "room/a");
        // It is in the room after both answers: joining again asks for nothing.
        let (id, Command::Subscribe(wish)) = client.asked.remove(0) else {
            panic!("the room is not joined");
        };
        client.notice(&Notice::Reply {
            id: Some(id),
            reply: Reply::Subscribed {
                subscription: wish.name(),
                position: Position::new(17, 3),
                live: true,
                by_server: false,
                acknowledged: false,
            },
        });
        client.asked.clear();
        client.send(r#"423["join","a"]"#);
        assert!(
            matches!(client.asked[..], [(_, Command::Ping)]),
            "{:?}",
            client.asked
        );
    }
}

#[test]
fn a_channel_can_be_subscribed_to_again_before_unsubscribing_is_answered() {
    for prefix in ["", "/n,"] {
        let mut client = Client::connected();
        if !prefix.is_empty() {
            client.send("40/n,");
        }
        client.subscribe(prefix, &json!("a"), true);
        client.heard.clear();
        client.send(&format!("42{prefix}1[\"unsubscribe\",\"a\"]"));
        client.send(&format!("42{prefix}2[\"subscribe\",\"a\"]"));
        client.says_nothing();
        unsubscribed(&mut client, "a");
        assert_eq!(client.text(), format!("43{prefix}1[{{}}]"));
        let Command::Subscribe(wish) = client.asked[0].1.clone() else {
            panic!("{:?}", client.asked);
        };
        client.reply(Reply::Subscribed {
            subscription: wish.name(),
            position: Position::new(17, 3),
            live: true,
            by_server: false,
            acknowledged: false,
        });
        assert!(
            client
                .text()
                .starts_with(&format!("43{prefix}2[{{\"epoch\""))
        );
        // What follows refers to the second one.
        client.send(&format!("42{prefix}3[\"unsubscribe\",\"a\"]"));
        let Some((_, Command::Unsubscribe { subscription })) = client.asked.first() else {
            panic!("{:?}", client.asked);
        };
        assert_eq!(*subscription, wish.name().key());
    }
}

#[test]
fn a_subscription_whose_end_is_refused_is_still_there() {
    let mut client = Client::connected();
    client.subscribe("", &json!("a"), true);
    client.heard.clear();
    client.send(r#"421["unsubscribe","a"]"#);
    client.reply(Reply::Refused(Refusal::new(ErrorCode::Busy, "no")));
    assert_eq!(error_code(&client.text(), "431"), "busy");
    client.send(r#"422["subscribe","a"]"#);
    assert_eq!(error_code(&client.text(), "432"), "already_subscribed");
}

#[test]
fn namespaces_that_are_being_entered_count_as_entered() {
    let mut client = Client::connected();
    for n in 0..40 {
        client.send(&format!("40/n{n},{{\"token\":\"t\"}}"));
    }
    let refreshes = client.others.iter();
    let refreshes = refreshes.filter(|other| matches!(other, Intent::Refresh { .. }));
    assert_eq!(refreshes.count(), 15);
}

#[test]
fn a_client_that_leaves_a_room_and_joins_another_may_speak_at_once() {
    let mut client = with_rooms([room("room/*")], "");
    joined(&mut client, r#"42["join","a"]"#);
    client.heard.clear();
    client.send(r#"421["leave"]"#);
    client.send(r#"422["join","b"]"#);
    client.send(r#"423["chat message","hi"]"#);
    client.says_nothing();
    let Some((_, Command::Publish { channel, .. })) = client.asked.last() else {
        panic!("{:?}", client.asked);
    };
    assert_eq!(channel.as_str(), "room/b");
}

#[test]
fn only_subscriptions_of_the_session_that_the_client_recovers_continue() {
    let (pid, offset, note) = cut(1);
    let snapshot = |number| SubscriptionSnapshot {
        target: ChannelName::new("a").unwrap().into(),
        id: Some(SubscriptionId(number)),
        position: Position::new(1, 0),
        presence: false,
        echo: true,
        vouched: false,
        flow: Flow::Acknowledged { window: 1 },
        unacknowledged: None,
        share: None,
    };
    let select = |auth: &str| {
        let mut client = Client::new();
        client.send(&format!("40{auth}"));
        let mut all = vec![snapshot(1), snapshot(2)];
        client.sio.select_restored(&note, &mut all);
        all
    };
    let auth = back(&pid, offset.as_deref());
    assert_eq!(select(&auth), [snapshot(1)], "the client knows one of them");
    let earlier = back(&format!("{NAME}.1"), None);
    assert_eq!(select(&earlier), [], "it was another session");
}

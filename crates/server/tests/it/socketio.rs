//! Socket.IO over WebSocket, with native clients in the same channels.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use offhook::{Message, WebSocket};
use offhook_engine::{Access, ChannelRules};
use offhook_server::{
    Config,
    config::{ChannelRule, Rooms},
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    asked::{Does, TestBackend, asking},
    hall::{Hall, NEVER, config, on_disk},
};

const PATH: &str = "/socket.io/?EIO=4&transport=websocket";

/// Two workers, so that sessions can be resumed on the other one.
fn durable(directory: &Path) -> Config {
    Config {
        workers: NonZeroUsize::new(2).unwrap(),
        ..on_disk(directory)
    }
}

/// A client in the main namespace.
struct Client {
    socket: WebSocket,
    /// The server's answer to its CONNECT.
    entered: Value,
    /// Events that arrived while the client waited for an acknowledgement.
    events: Vec<Value>,
    next_ack: u64,
}

impl Client {
    async fn open(hall: &Hall, auth: &Value) -> Self {
        let socket = hall.number_at(PATH).open().await.unwrap();
        let mut client = Self {
            socket,
            entered: Value::Null,
            events: Vec::new(),
            next_ack: 0,
        };
        assert!(client.text().await.starts_with("0{\"sid\":\""));
        client.send(&format!("40{auth}")).await;
        let answer = client.text().await;
        client.entered = parsed(&answer, "40");
        client
    }

    async fn plain(hall: &Hall) -> Self {
        Self::open(hall, &json!({})).await
    }

    async fn send(&mut self, text: &str) {
        self.socket.send(text).await.unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        timeout(NEVER, self.socket.recv()).await.unwrap().unwrap()
    }

    async fn text(&mut self) -> String {
        let message = self.message().await.expect("the connection is open");
        message.as_text().unwrap().to_owned()
    }

    /// Emits an event, and returns its acknowledgement.
    async fn emit(&mut self, name: &str, fields: Value) -> Value {
        self.next_ack += 1;
        let ack = self.next_ack;
        self.send(&format!("42{ack}{}", json!([name, fields])))
            .await;
        loop {
            let text = self.text().await;
            match text.strip_prefix(&format!("43{ack}")) {
                Some(rest) => return serde_json::from_str::<Value>(rest).unwrap()[0].clone(),
                None => self.events.push(parsed(&text, "42")),
            }
        }
    }

    /// The next event.
    async fn event(&mut self) -> Value {
        if !self.events.is_empty() {
            return self.events.remove(0);
        }
        let text = self.text().await;
        parsed(&text, "42")
    }

    /// The next publication, with the arguments that follow it.
    async fn publication(&mut self) -> Value {
        loop {
            let event = self.event().await;
            if event[0] == "publication" {
                return event;
            }
            assert_ne!(event[0], "gap", "{event}");
        }
    }
}

fn parsed(text: &str, prefix: &str) -> Value {
    let rest = text.strip_prefix(prefix);
    serde_json::from_str(rest.unwrap_or_else(|| panic!("{text}: not {prefix}"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn socketio_and_native_clients_share_a_channel() {
    let hall = Hall::open(config()).await;
    let mut sio = Client::plain(&hall).await;
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    let subscribed = sio.emit("subscribe", json!({"channel": "chat"})).await;
    assert_eq!(subscribed["offset"], 0);
    let published = sio
        .emit(
            "publish",
            json!({"channel": "chat", "data": {"text": "Grüße"}}),
        )
        .await;
    assert_eq!(published["offset"], 1);
    assert_eq!(sio.publication().await[1]["data"], json!({"text": "Grüße"}));
    assert_eq!(
        native.hear_a("message").await["data"],
        json!({"text": "Grüße"})
    );

    // Bytes, in both directions.
    sio.send(r#"451-["publish",{"channel":"chat","data":{"_placeholder":true,"num":0}}]"#)
        .await;
    sio.socket.send(vec![1, 2, 255]).await.unwrap();
    assert_eq!(native.hear_a("message").await["base64"], "AQL/");
    let event = sio.text().await;
    assert!(
        event.starts_with("451-[\"publication\",{\"channel\":\"chat\""),
        "{event}"
    );
    let attachment = sio.message().await;
    assert!(matches!(attachment, Some(Message::Binary(bytes)) if *bytes == [1, 2, 255]));

    let history = sio.emit("history", json!("chat")).await;
    assert_eq!(history["publications"][1]["base64"], "AQL/");
    let members = sio.emit("presence", json!("chat")).await;
    assert_eq!(members["total"], 2);
    let sid = sio.entered["sid"].clone();
    let all = members["members"].as_array().unwrap();
    assert!(
        all.iter().any(|member| member["session"] == sid),
        "{members}"
    );
    drop((sio, native));
    hall.close().await;
}

/// Rooms whose logic is in the backend.
fn with_rooms(mut config: Config) -> Config {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let rule = |pattern: &str, rooms| ChannelRule {
        pattern: pattern.to_owned(),
        rules: ChannelRules {
            subscribe: Access::Asked,
            publish: Access::Asked,
            ..ChannelRules::default()
        },
        rooms,
    };
    let joined = Rooms {
        join: names(&["join"]),
        leave: names(&["leave"]),
        events: names(&["chat message"]),
        broadcasts: names(&["typing"]),
        ..Rooms::default()
    };
    let lobby = Rooms {
        events: names(&["hello"]),
        everyone: true,
        ..Rooms::default()
    };
    config.channels.insert(0, rule("room/*", joined));
    config.channels.insert(0, rule("lobby", lobby));
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_rooms_runs_with_its_logic_in_the_backend() {
    let backend = TestBackend::new(|request| {
        let body = &request.body;
        Does::Says(match (&body["type"], &body["channel"]) {
            (kind, room) if kind == "subscribe" => json!({ "allow": room != "room/secret" }),
            (kind, _) if kind == "publish" && body["data"] == "censor me" => {
                json!({ "allow": true, "data": "***" })
            }
            _ => json!({ "allow": true }),
        })
    })
    .await;
    let hall = Hall::open(with_rooms(asking(&backend))).await;
    let mut ann = Client::plain(&hall).await;
    let mut bob = Client::plain(&hall).await;
    for client in [&mut ann, &mut bob] {
        let joined = client.emit("join", json!("7")).await;
        assert_eq!(joined["offset"], 0, "{joined}");
    }
    let refused = bob.emit("join", json!({ "room": "secret" })).await;
    assert_eq!(refused["error"]["code"], "rejected", "{refused}");
    // Everyone in the room, and the sender.
    ann.emit("chat message", json!("censor me")).await;
    let message = json!(["chat message", "***"]);
    assert_eq!(
        (ann.event().await, bob.event().await),
        (message.clone(), message)
    );
    // Everyone but the sender, who gets what follows.
    ann.emit("typing", json!({ "user": "Ann" })).await;
    bob.emit("chat message", json!("hi")).await;
    assert_eq!(bob.event().await, json!(["typing", { "user": "Ann" }]));
    let hi = json!(["chat message", "hi"]);
    assert_eq!((ann.event().await, bob.event().await), (hi.clone(), hi));
    bob.emit("leave", json!("7")).await;
    ann.emit("chat message", json!("alone")).await;
    assert_eq!(ann.event().await, json!(["chat message", "alone"]));
    let refused = bob.emit("chat message", json!("from outside")).await;
    assert_eq!(refused["error"]["code"], "not_subscribed", "{refused}");
    // Both have been in the lobby from the beginning.
    bob.emit("hello", json!({ "from": "Bob" })).await;
    let hello = json!(["hello", { "from": "Bob" }]);
    assert_eq!(
        (ann.event().await, bob.event().await),
        (hello.clone(), hello)
    );
    drop((ann, bob));
    hall.close().await;
}

/// Like the original server, rooms are sets: it does not matter how often a client has joined.
#[tokio::test(flavor = "multi_thread")]
async fn a_room_that_was_joined_twice_is_left_once_also_by_events_that_wait_for_no_answer() {
    let backend = TestBackend::new(|_| Does::Says(json!({ "allow": true }))).await;
    let hall = Hall::open(with_rooms(asking(&backend))).await;
    let mut ann = Client::plain(&hall).await;
    let mut bob = Client::plain(&hall).await;
    bob.emit("join", json!("7")).await;
    for (events, is_in) in [
        (&["join", "join", "leave"][..], false),
        (&["join", "leave", "join"], true),
        (&["join", "leave"], false),
        (&["leave", "join", "join"], true),
    ] {
        for event in events {
            ann.send(&format!("42{}", json!([event, "7"]))).await;
        }
        // The lobby comes last.
        let expected = match is_in {
            true => vec![json!(["chat message", "hi"]), json!(["hello", 1])],
            false => vec![json!(["hello", 1])],
        };
        ann.emit("hello", json!(0)).await;
        assert_eq!(ann.event().await, json!(["hello", 0]));
        bob.emit("chat message", json!("hi")).await;
        bob.emit("hello", json!(1)).await;
        for event in expected {
            assert_eq!(ann.event().await, event, "{events:?}");
        }
    }
    drop((ann, bob));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_recovered_and_its_sender_does_not_get_its_own_broadcast_again() {
    let directory = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = with_rooms(durable(directory.path()));
        for rule in &mut config.channels {
            (rule.rules.subscribe, rule.rules.publish) = (Access::Everyone, Access::Everyone);
        }
        config
    };
    let hall = Hall::open(config()).await;
    let mut ann = Client::open(&hall, &json!({ "recover": true })).await;
    let mut bob = Client::plain(&hall).await;
    ann.emit("join", json!("7")).await;
    bob.emit("join", json!("7")).await;
    bob.emit("chat message", json!("one")).await;
    let one = ann.event().await;
    assert_eq!((&one[0], &one[1]), (&json!("chat message"), &json!("one")));
    ann.emit("typing", json!(true)).await;
    let pid = ann.entered["pid"].clone();
    drop(ann);
    bob.emit("chat message", json!("two")).await;
    let auth = json!({ "recover": true, "pid": pid, "offset": one[2] });
    let mut ann = Client::open(&hall, &auth).await;
    assert_eq!(ann.entered["pid"], pid);
    loop {
        let event = ann.event().await;
        assert_ne!(event[0], "typing", "{event}");
        if event[0] == "chat message" {
            assert_eq!(event[1], "two");
            break;
        }
    }
    drop((ann, bob));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socketio_session_is_recovered_after_a_restart_and_no_message_is_lost_or_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(durable(directory.path())).await;
    let mut first = Client::open(&hall, &json!({"recover": true})).await;
    let pid = first.entered["pid"].clone();
    for channel in ["chat/a", "chat/b", "chat/quiet"] {
        let subscribed = first.emit("subscribe", json!({"channel": channel})).await;
        assert_eq!(subscribed["offset"], 0, "{subscribed}");
    }
    let mut publisher = Client::plain(&hall).await;
    for n in 0..4 {
        let channel = if n % 2 == 0 { "chat/a" } else { "chat/b" };
        publisher
            .emit("publish", json!({"channel": channel, "data": n}))
            .await;
    }
    // It has read two of them when its connection is lost.
    first.publication().await;
    let offset = first.publication().await[2].clone();
    drop(first);
    for n in 4..6 {
        publisher
            .emit("publish", json!({"channel": "chat/a", "data": n}))
            .await;
    }
    drop(publisher);
    hall.close().await;

    let hall = Hall::open(durable(directory.path())).await;
    let mut publisher = Client::plain(&hall).await;
    publisher
        .emit("publish", json!({"channel": "chat/quiet", "data": 6}))
        .await;
    let auth = json!({"recover": true, "pid": pid, "offset": offset});
    let mut again = Client::open(&hall, &auth).await;
    assert_eq!(again.entered["pid"], pid);
    let mut data = Vec::new();
    for _ in 0..5 {
        data.push(again.publication().await[1]["data"].as_u64().unwrap());
    }
    data.sort_unstable();
    assert_eq!(data, [2, 3, 4, 5, 6]);
    publisher
        .emit("publish", json!({"channel": "chat/b", "data": 7}))
        .await;
    assert_eq!(again.publication().await[1]["data"], 7);
    drop((publisher, again));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socketio_session_is_resumed_while_its_older_connection_is_still_open() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(durable(directory.path())).await;
    let mut first = Client::open(&hall, &json!({"recover": true})).await;
    let pid = first.entered["pid"].clone();
    // No event was sent before the connection was lost.
    first.emit("subscribe", json!({"channel": "chat"})).await;
    let mut second = Client::open(&hall, &json!({"recover": true, "pid": pid})).await;
    assert_eq!(second.entered["pid"], pid);
    let mut publisher = Client::plain(&hall).await;
    publisher
        .emit("publish", json!({"channel": "chat", "data": "once"}))
        .await;
    assert_eq!(second.publication().await[1]["data"], "once");
    // The older connection is told not to reconnect.
    assert_eq!(first.text().await, "41");
    assert!(first.message().await.is_none());
    drop((second, publisher));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_of_a_client_that_disconnects_cannot_be_recovered() {
    let directory = tempfile::tempdir().unwrap();
    let hall = Hall::open(durable(directory.path())).await;
    let mut first = Client::open(&hall, &json!({"recover": true})).await;
    let pid = first.entered["pid"].clone();
    first.emit("subscribe", json!({"channel": "chat"})).await;
    first.send("41").await;
    assert!(first.message().await.is_none());
    let again = Client::open(&hall, &json!({"recover": true, "pid": pid})).await;
    assert_ne!(again.entered["pid"], pid);
    drop(again);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_token_is_refused_even_if_clients_without_a_token_may_connect() {
    let hall = Hall::open(config()).await;
    let mut socket = hall.number_at(PATH).open().await.unwrap();
    timeout(NEVER, socket.recv())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    socket.send(r#"40{"token":"nonsense"}"#).await.unwrap();
    let answer = timeout(NEVER, socket.recv())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let error = parsed(answer.as_text().unwrap(), "44");
    assert_eq!(error["data"]["retry"], "never", "{error}");
    socket.send("40").await.unwrap();
    let answer = timeout(NEVER, socket.recv())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(answer.as_text().unwrap().starts_with("40{\"sid\""));
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_of_another_version_or_transport_is_refused_with_the_reason() {
    let hall = Hall::open(config()).await;
    for (query, words) in [
        ("", "Engine.IO v4"),
        ("?EIO=3&transport=websocket", "Engine.IO v4"),
        ("?EIO=4", "transport=websocket"),
        ("?EIO=4&transport=abc", "transport=websocket"),
    ] {
        let refused = hall.number_at(&format!("/socket.io/{query}")).open().await;
        let words_of_it = refused.unwrap_err().to_string();
        assert!(words_of_it.contains("400"), "{words_of_it}");
        assert!(words_of_it.contains(words), "{words_of_it}");
    }
    // The path without its slash is the same.
    let bare = hall.number_at("/socket.io?EIO=4&transport=websocket");
    bare.open().await.unwrap();
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_packet_closes_the_connection_with_1002() {
    let hall = Hall::open(config()).await;
    let mut client = Client::plain(&hall).await;
    client.send("4nonsense").await;
    assert!(client.message().await.is_none());
    assert_eq!(client.socket.closed().unwrap().code.get(), 1002);
    hall.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attachment_that_never_comes_ends_its_connection() {
    let mut config = config();
    config.messages.receive_within = Duration::from_millis(50);
    let hall = Hall::open(config).await;
    let mut client = Client::plain(&hall).await;
    let data = json!({"_placeholder": true, "num": 0});
    let event = json!(["publish", {"channel": "chat", "data": data}]);
    client.send(&format!("451-{event}")).await;
    assert!(client.message().await.is_none());
    hall.close().await;
}

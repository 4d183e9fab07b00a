//! The Pusher protocol over real sockets: clients, the signed HTTP API, and clients of other dialects
//! in the same channels.

use std::{
    num::NonZeroUsize,
    time::{SystemTime, UNIX_EPOCH},
};

use offhook::{Message, WebSocket};
use offhook_auth::{ApiKey, AppKey};
use offhook_engine::{Access, ChannelRules, Limits};
use offhook_server::{
    Config,
    config::{ChannelRule, Pusher},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::hall::{Hall, NEVER, config, on_disk};

const ENTRY: &str = "1 app-key a-secret-of-20-bytes";
const OTHER: &str = "2 other-key another-secret-of-20 acme/";
const PATH: &str = "/app/app-key?protocol=7&client=js&version=8.4.0&flash=false";

fn with_apps(config: Config) -> Config {
    Config {
        pusher: Pusher {
            apps: vec![ENTRY.parse().unwrap(), OTHER.parse().unwrap()],
            client_events: true,
            ..Pusher::default()
        },
        channels: vec![ChannelRule::default()],
        ..config
    }
}

fn two_workers() -> Config {
    Config {
        workers: NonZeroUsize::new(2).unwrap(),
        ..with_apps(config())
    }
}

fn entry() -> AppKey {
    ENTRY.parse().unwrap()
}

fn now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    now.as_secs()
}

struct Client {
    socket: WebSocket,
    socket_id: String,
    app: AppKey,
}

impl Client {
    async fn open(hall: &Hall) -> Self {
        Self::open_at(hall, PATH, ENTRY).await
    }

    async fn open_at(hall: &Hall, path: &str, app: &str) -> Self {
        let socket = hall.number_at(path).open().await.unwrap();
        let app = app.parse().unwrap();
        let mut client = Self {
            socket,
            socket_id: String::new(),
            app,
        };
        let established = client.hear_a("pusher:connection_established").await;
        client.socket_id = data(&established)["socket_id"].as_str().unwrap().to_owned();
        client
    }

    async fn send(&self, message: Value) {
        self.socket.send(message.to_string()).await.unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        timeout(NEVER, self.socket.recv()).await.unwrap().unwrap()
    }

    async fn hear(&mut self) -> Value {
        let message = self.message().await.expect("the connection is open");
        serde_json::from_str(message.as_text().unwrap()).unwrap()
    }

    async fn hear_a(&mut self, event: &str) -> Value {
        let heard = self.hear().await;
        assert_eq!(heard["event"], event, "{heard}");
        heard
    }

    /// Requests a subscription, with a signature if it is required.
    async fn ask(&self, channel: &str, channel_data: Option<&Value>) {
        let channel_data = channel_data.map(Value::to_string);
        let text = match &channel_data {
            Some(data) => format!("{}:{channel}:{data}", self.socket_id),
            None => format!("{}:{channel}", self.socket_id),
        };
        let mut fields = json!({"channel": channel, "auth": self.app.sign(&text)});
        if let Some(data) = channel_data {
            fields["channel_data"] = data.into();
        }
        self.send(json!({"event": "pusher:subscribe", "data": fields}))
            .await;
    }

    async fn subscribe(&mut self, channel: &str) -> Value {
        self.ask(channel, None).await;
        self.hear_a("pusher_internal:subscription_succeeded").await
    }

    async fn join(&mut self, channel: &str, user: &str) -> Value {
        let who = json!({"user_id": user, "user_info": {"name": user}});
        self.ask(channel, Some(&who)).await;
        data(&self.hear_a("pusher_internal:subscription_succeeded").await)["presence"].clone()
    }

    async fn sign_in(&mut self, user: &str) -> Value {
        let user_data = json!({"id": user}).to_string();
        let auth = self
            .app
            .sign(&format!("{}::user::{user_data}", self.socket_id));
        self.send(
            json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user_data}}),
        )
        .await;
        self.hear().await
    }

    /// Waits until everything that was sent to this client has arrived.
    async fn hears_nothing(&mut self) {
        self.send(json!({"event": "pusher:ping", "data": {}})).await;
        self.hear_a("pusher:pong").await;
    }

    /// The code of the error that the server sends before it closes the connection with the same code.
    async fn is_closed(&mut self) -> u16 {
        let error = self.hear_a("pusher:error").await;
        let code = error["data"]["code"].as_u64().unwrap();
        assert_eq!(self.message().await, None);
        let closed = self.socket.closed().unwrap().code.get();
        assert_eq!(u64::from(closed), code);
        closed
    }
}

fn data(event: &Value) -> Value {
    serde_json::from_str(event["data"].as_str().unwrap()).unwrap()
}

/// A request with this query: status and body.
async fn raw(hall: &Hall, method: &str, path: &str, query: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(hall.address()).await.unwrap();
    let head = format!(
        "{method} {path}?{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        hall.address(),
        body.len(),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(NEVER, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

async fn signed(
    hall: &Hall,
    method: &str,
    path: &str,
    parameters: &[(&str, &str)],
    body: &Value,
) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let query = entry().sign_request(method, path, parameters, body.as_bytes(), now_s());
    raw(hall, method, path, &query, &body).await
}

async fn post(hall: &Hall, what: &str, body: &Value) -> (u16, Value) {
    signed(hall, "POST", &format!("/apps/1/{what}"), &[], body).await
}

async fn get(hall: &Hall, what: &str, parameters: &[(&str, &str)]) -> (u16, Value) {
    signed(
        hall,
        "GET",
        &format!("/apps/1/{what}"),
        parameters,
        &Value::Null,
    )
    .await
}

async fn trigger(hall: &Hall, channel: &str, event: &str, data: &str) {
    let body = json!({"name": event, "channels": [channel], "data": data});
    assert_eq!(post(hall, "events", &body).await, (200, json!({})));
}

#[tokio::test(flavor = "multi_thread")]
async fn pusher_clients_native_clients_and_the_signed_api_share_a_channel() {
    let hall = Hall::open(two_workers()).await;
    let (mut one, mut two) = (Client::open(&hall).await, Client::open(&hall).await);
    let mut native = hall.caller().await;
    native.subscribe("chat", json!("now")).await;
    one.subscribe("chat").await;
    two.subscribe("chat").await;

    trigger(&hall, "chat", "greeting", r#"{"text":"hello"}"#).await;
    let expected = json!({"event": "greeting", "channel": "chat", "data": "{\"text\":\"hello\"}"});
    assert_eq!(one.hear().await, expected);
    assert_eq!(two.hear().await, expected);
    let message = native.hear_a("message").await;
    assert_eq!(message["data"], json!({"text": "hello"}));
    assert_eq!(message["tags"], json!({"event": "greeting"}));

    hall.caller()
        .await
        .publish("chat", json!("from native"))
        .await;
    let heard = one.hear().await;
    assert_eq!(
        (&heard["event"], &heard["data"]),
        (&json!("message"), &json!("\"from native\""))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_with_the_socket_id_does_not_get_the_event() {
    let hall = Hall::open(two_workers()).await;
    let (mut one, mut two) = (Client::open(&hall).await, Client::open(&hall).await);
    one.subscribe("chat").await;
    two.subscribe("chat").await;
    let body = json!({"name": "e", "channel": "chat", "data": "1", "socket_id": one.socket_id});
    assert_eq!(post(&hall, "events", &body).await.0, 200);
    trigger(&hall, "chat", "next", "2").await;
    assert_eq!(two.hear().await["event"], "e");
    assert_eq!(two.hear().await["event"], "next");
    assert_eq!(one.hear().await["event"], "next");
    let body = json!({"name": "e", "channel": "chat", "data": "1", "socket_id": "not one"});
    assert_eq!(post(&hall, "events", &body).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_presence_channel_are_counted_by_user_over_all_workers() {
    let hall = Hall::open(two_workers()).await;
    let mut ann = Client::open(&hall).await;
    let presence = ann.join("presence-room", "ann").await;
    assert_eq!(
        presence,
        json!({"count": 1, "ids": ["ann"], "hash": {"ann": {"name": "ann"}}})
    );
    let mut bob = Client::open(&hall).await;
    assert_eq!(bob.join("presence-room", "bob").await["count"], 2);
    let added = ann.hear_a("pusher_internal:member_added").await;
    assert_eq!(
        data(&added),
        json!({"user_id": "bob", "user_info": {"name": "bob"}})
    );
    // A second tab of the same user.
    let mut tab = Client::open(&hall).await;
    assert_eq!(tab.join("presence-room", "bob").await["count"], 2);
    ann.hears_nothing().await;

    let users = get(&hall, "channels/presence-room/users", &[]).await;
    assert_eq!(
        users,
        (200, json!({"users": [{"id": "ann"}, {"id": "bob"}]}))
    );
    let info = [("info", "user_count")];
    let room = get(&hall, "channels/presence-room", &info).await;
    assert_eq!(room, (200, json!({"occupied": true, "user_count": 2})));

    tab.socket
        .close(offhook::protocol::CloseCode::NORMAL, "")
        .await
        .unwrap();
    bob.send(json!({"event": "pusher:unsubscribe", "data": {"channel": "presence-room"}}))
        .await;
    let removed = ann.hear_a("pusher_internal:member_removed").await;
    assert_eq!(data(&removed), json!({"user_id": "bob"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_valid_only_for_its_connection_its_channel_and_its_app() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    let other = Client::open(&hall).await;
    let foreign: AppKey = OTHER.parse().unwrap();
    let own = format!("{}:private-a", client.socket_id);
    let digits = entry().sign(&own);
    for auth in [
        entry().sign(&format!("{}:private-a", other.socket_id)),
        entry().sign(&format!("{}:private-b", client.socket_id)),
        foreign.sign(&own),
        digits.replace("app-key", "other-key"),
        digits[..digits.len() - 2].to_owned(),
        "app-key:".to_owned(),
        String::new(),
    ] {
        let fields = json!({"channel": "private-a", "auth": auth});
        client
            .send(json!({"event": "pusher:subscribe", "data": fields}))
            .await;
        let error = client.hear_a("pusher:subscription_error").await;
        assert_eq!(error["data"]["status"], 401, "{error}");
    }
    client.subscribe("private-a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_channels_are_closed_to_clients_of_other_dialects_unless_a_rule_opens_them() {
    let open = ChannelRule {
        pattern: "presence-open*".to_owned(),
        rules: ChannelRules::default(),
        ..ChannelRule::default()
    };
    let mut config = with_apps(config());
    config.channels.insert(0, open);
    let hall = Hall::open(config).await;
    hall.set_api_keys(vec![ApiKey::of_everything("key")]);
    let mut native = hall.caller().await;
    for channel in [
        "private-a",
        "private-encrypted-a",
        "presence-a",
        "#server-to-user-a",
        "acme/private-a",
    ] {
        let wish = json!({"type": "subscribe", "channel": channel});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
        let wish = json!({"type": "publish", "channel": channel, "data": 1});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
        let wish = json!({"type": "history", "channel": channel});
        assert_eq!(native.ask(wish).await["code"], "forbidden", "{channel}");
    }
    native.subscribe("presence-open", json!("now")).await;
    // A filter does not match them either.
    let filter = json!({"type": "subscribe", "filter": "#", "subscription": 7});
    assert_eq!(native.ask(filter).await["type"], "subscribed");
    let mut client = Client::open(&hall).await;
    client.subscribe("private-a").await;
    let body = json!({"channel": "private-a", "data": 7}).to_string();
    assert_eq!(hall.api("key", "POST /api/v1/publish", &body).await.0, 200);
    assert_eq!(client.hear_a("message").await["data"], "7");
    trigger(&hall, "chat", "e", "1").await;
    assert_eq!(native.hear_a("message").await["channel"], "chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn client_events_reach_the_other_clients_in_the_channel() {
    let hall = Hall::open(two_workers()).await;
    let (mut ann, mut bob) = (Client::open(&hall).await, Client::open(&hall).await);
    ann.join("presence-room", "ann").await;
    bob.join("presence-room", "bob").await;
    ann.hear_a("pusher_internal:member_added").await;
    let event = json!({"event": "client-typing", "channel": "presence-room", "data": {"on": true}});
    bob.send(event).await;
    let expected = json!({
        "event": "client-typing", "channel": "presence-room", "user_id": "bob", "data": "{\"on\":true}"
    });
    assert_eq!(ann.hear().await, expected);
    bob.hears_nothing().await;
    let event =
        json!({"event": "client-x", "channel": "presence-room", "data": "x".repeat(70_000)});
    bob.send(event).await;
    let error = bob.hear_a("pusher:error").await;
    assert!(
        error["data"]["message"]
            .as_str()
            .unwrap()
            .contains("the limit is"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_client_events_are_rejected_with_4301() {
    let config = Config {
        limits: Limits {
            publish_burst: 2,
            publishes_per_second: 1,
            ..Limits::default()
        },
        ..with_apps(config())
    };
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("private-a").await;
    for _ in 0..8 {
        let event = json!({"event": "client-x", "channel": "private-a", "data": 1});
        client.send(event).await;
    }
    assert_eq!(client.hear_a("pusher:error").await["data"]["code"], 4301);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_permits_nobody_to_publish_also_applies_to_client_events() {
    let mut config = with_apps(config());
    let rules = ChannelRules {
        publish: Access::Nobody,
        ..ChannelRules::default()
    };
    let pattern = "private-news".to_owned();
    config.channels.insert(
        0,
        ChannelRule {
            pattern,
            rules,
            ..ChannelRule::default()
        },
    );
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("private-news").await;
    client
        .send(json!({"event": "client-x", "channel": "private-news", "data": 1}))
        .await;
    let error = client.hear_a("pusher:error").await;
    assert!(
        error["data"]["message"]
            .as_str()
            .unwrap()
            .contains("may not publish"),
        "{error}"
    );
    trigger(&hall, "private-news", "e", "1").await;
    assert_eq!(client.hear().await["event"], "e");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_of_a_cache_channel_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let config = || with_apps(on_disk(directory.path()));
    let hall = Hall::open(config()).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("cache-price").await;
    let miss = client.hear_a("pusher:cache_miss").await;
    assert_eq!(miss["channel"], "cache-price");
    trigger(&hall, "cache-price", "price", "1").await;
    trigger(&hall, "cache-price", "price", "2").await;
    assert_eq!(client.hear().await["data"], "1");
    assert_eq!(client.hear().await["data"], "2");
    drop(client);
    hall.close().await;

    let hall = Hall::open(config()).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("cache-price").await;
    let cached = client.hear_a("price").await;
    assert_eq!(cached["data"], "2");
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_in_user_receives_events_until_the_backend_ends_the_connections() {
    let hall = Hall::open(two_workers()).await;
    let (mut ann, mut bob) = (Client::open(&hall).await, Client::open(&hall).await);
    assert_eq!(ann.sign_in("ann").await["event"], "pusher:signin_success");
    assert_eq!(bob.sign_in("bob").await["event"], "pusher:signin_success");
    ann.ask("#server-to-user-bob", None).await;
    ann.hear_a("pusher:subscription_error").await;
    ann.subscribe("#server-to-user-ann").await;
    trigger(&hall, "#server-to-user-ann", "note", "\"hi\"").await;
    assert_eq!(ann.hear_a("note").await["channel"], "#server-to-user-ann");
    let ended = post(&hall, "users/ann/terminate_connections", &json!({})).await;
    assert_eq!(ended, (200, json!({})));
    assert_eq!(ann.is_closed().await, 4009);
    bob.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_sign_in_is_closed_with_4009() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.socket_id = "1.1".to_owned();
    let error = client.sign_in("ann").await;
    assert_eq!(error["data"]["code"], 4009);
    assert_eq!(client.message().await, None);
    assert_eq!(client.socket.closed().unwrap().code.get(), 4009);
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_with_prefixes_are_separate() {
    let hall = Hall::open(with_apps(config())).await;
    let mut one = Client::open(&hall).await;
    let path = "/app/other-key?protocol=7";
    let mut two = Client::open_at(&hall, path, OTHER).await;
    one.join("presence-a", "ann").await;
    let presence = two.join("presence-a", "bob").await;
    assert_eq!(presence["ids"], json!(["bob"]));
    trigger(&hall, "presence-a", "e", "1").await;
    one.hear_a("e").await;
    two.hears_nothing().await;
    one.hears_nothing().await;
    // The app without a prefix cannot use channels of the other app.
    let event = json!({"name": "e", "channel": "acme/presence-a", "data": "1"});
    assert_eq!(post(&hall, "events", &event).await.0, 403);
    assert_eq!(get(&hall, "channels/acme%2Fpresence-a", &[]).await.0, 403);
    let listed = get(&hall, "channels", &[]).await.1;
    assert_eq!(listed, json!({"channels": {"presence-a": {}}}));
    let app: AppKey = OTHER.parse().unwrap();
    let query = app.sign_request("GET", "/apps/2/channels", &[], b"", now_s());
    let listed = raw(&hall, "GET", "/apps/2/channels", &query, "").await;
    assert_eq!(listed, (200, json!({"channels": {"presence-a": {}}})));
}

#[tokio::test(flavor = "multi_thread")]
async fn occupied_channels_are_listed() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    client.subscribe("chatter").await;
    client.join("presence-room", "ann").await;
    let all = get(&hall, "channels", &[]).await.1;
    assert_eq!(
        all,
        json!({"channels": {"chat": {}, "chatter": {}, "presence-room": {}}})
    );
    let some = [("filter_by_prefix", "presence-"), ("info", "user_count")];
    let some = get(&hall, "channels", &some).await.1;
    assert_eq!(
        some,
        json!({"channels": {"presence-room": {"user_count": 1}}})
    );
    assert_eq!(
        get(&hall, "channels", &[("info", "user_count")]).await.0,
        400
    );
    let counts = [("info", "subscription_count")];
    assert_eq!(
        get(&hall, "channels", &counts).await.1["channels"]["chatter"],
        json!({"subscription_count": 1})
    );
    let mut other = Client::open(&hall).await;
    other.subscribe("chat").await;
    assert_eq!(
        get(&hall, "channels/chat", &counts).await.1,
        json!({"occupied": true, "subscription_count": 2})
    );
    assert_eq!(
        get(&hall, "channels/nobody", &counts).await.1,
        json!({"occupied": false, "subscription_count": 0})
    );
    assert_eq!(get(&hall, "channels", &[("info", "cache")]).await.0, 400);
    assert_eq!(
        get(&hall, "channels/chat", &[]).await.1,
        json!({"occupied": true})
    );
    assert_eq!(
        get(&hall, "channels/cha", &[]).await.1,
        json!({"occupied": false})
    );
    assert_eq!(get(&hall, "channels/chat/users", &[]).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_published_in_order_or_not_at_all() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("a").await;
    let event = |channel: &str, name: &str| json!({"channel": channel, "name": name, "data": "1"});
    let batch = json!({"batch": [event("a", "one"), event("b", "two"), event("a", "three")]});
    assert_eq!(post(&hall, "batch_events", &batch).await, (200, json!({})));
    client.hear_a("one").await;
    client.hear_a("three").await;
    for wrong in [
        json!({"batch": []}),
        json!({"batch": vec![event("a", "x"); 101]}),
        json!({"batch": [event("a", "x"), event("a\nb", "x")]}),
        json!({"batch": [event("a", "x"), event("a", "pusher:x")]}),
        json!({"batch": [{"name": "x", "data": "1"}]}),
    ] {
        assert_eq!(post(&hall, "batch_events", &wrong).await.0, 400, "{wrong}");
    }
    // What the engine refuses is found before anything is published.
    let large = json!({"channel": "b", "name": "x", "data": "x".repeat(65 * 1024)});
    let batch = json!({"batch": [event("a", "x"), large, event("a", "x")]});
    assert_eq!(post(&hall, "batch_events", &batch).await.0, 413);
    let info = json!({"batch": [{"channel": "presence-a", "name": "x", "data": "1", "info": "user_count"}]});
    let answer = post(&hall, "batch_events", &info).await;
    assert_eq!(answer, (200, json!({"batch": [{"user_count": 0}]})));
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_forged_old_or_too_large_are_refused() {
    let mut config = with_apps(config());
    config.api.max_body = 4096;
    let hall = Hall::open(config).await;
    let mut client = Client::open(&hall).await;
    client.subscribe("chat").await;
    let path = "/apps/1/events";
    let body = json!({"name": "e", "channel": "chat", "data": "1"}).to_string();
    let sign = |app: &str, path: &str, at: u64| {
        let app: AppKey = app.parse().unwrap();
        app.sign_request("POST", path, &[], body.as_bytes(), at)
    };
    let good = sign(ENTRY, path, now_s());
    let forged = sign("1 app-key not-the-secret-at-all", path, now_s());
    for (what, path, query, body) in [
        ("another secret", path, forged, body.clone()),
        (
            "another app",
            path,
            sign(OTHER, path, now_s()),
            body.clone(),
        ),
        (
            "recorded long ago",
            path,
            sign(ENTRY, path, now_s() - 700),
            body.clone(),
        ),
        (
            "from the future",
            path,
            sign(ENTRY, path, now_s() + 700),
            body.clone(),
        ),
        (
            "another path",
            "/apps/1/batch_events",
            good.clone(),
            body.clone(),
        ),
        ("another body", path, good.clone(), body.replace('1', "2")),
        ("no body", path, good.clone(), String::new()),
        ("nothing", path, String::new(), body.clone()),
        (
            "a parameter more",
            path,
            format!("{good}&info=x"),
            body.clone(),
        ),
    ] {
        let (status, answer) = raw(&hall, "POST", path, &query, &body).await;
        assert_eq!(
            (status, &answer["code"]),
            (401, &json!("unauthenticated")),
            "{what}: {answer}"
        );
    }
    let (status, _) = raw(
        &hall,
        "POST",
        "/apps/3/events",
        &sign(ENTRY, "/apps/3/events", now_s()),
        &body,
    )
    .await;
    assert_eq!(status, 404);
    let (status, _) = raw(&hall, "POST", path, "auth_key=%zz", &body).await;
    assert_eq!(status, 400);
    let large = json!({"name": "e", "channel": "chat", "data": "x".repeat(5000)});
    assert_eq!(post(&hall, "events", &large).await.0, 413);
    client.hears_nothing().await;
    assert_eq!(raw(&hall, "POST", path, &good, &body).await.0, 200);
    client.hear_a("e").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_events_are_refused() {
    let hall = Hall::open(with_apps(config())).await;
    for wrong in [
        json!([]),
        json!({}),
        json!({"name": "e", "data": "1"}),
        json!({"name": "e", "channels": [], "data": "1"}),
        json!({"name": "e", "channels": vec!["a"; 101], "data": "1"}),
        json!({"name": "e", "channel": "a", "data": {"not": "a string"}}),
        json!({"name": "", "channel": "a", "data": "1"}),
        json!({"name": "pusher_internal:x", "channel": "a", "data": "1"}),
        json!({"name": "x".repeat(201), "channel": "a", "data": "1"}),
    ] {
        let (status, answer) = post(&hall, "events", &wrong).await;
        assert_eq!(status, 400, "{wrong}: {answer}");
    }
    let large = json!({"name": "e", "channel": "a", "data": "x".repeat(70_000)});
    assert_eq!(post(&hall, "events", &large).await.0, 413);
    assert_eq!(get(&hall, "events", &[]).await.0, 405);
    assert_eq!(get(&hall, "nothing", &[]).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_an_unknown_app_is_closed_with_4001() {
    let hall = Hall::open(with_apps(config())).await;
    for (path, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app/app-key", 4008),
        ("/app/app-key?protocol=x", 4006),
        ("/app/app-key?protocol=99", 4007),
    ] {
        let socket = hall.number_at(path).open().await.unwrap();
        let mut client = Client {
            socket,
            socket_id: String::new(),
            app: entry(),
        };
        assert_eq!(client.is_closed().await, code, "{path}");
    }
    assert!(hall.number_at("/app/a/b?protocol=7").open().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_held_to_the_limits_of_every_client() {
    let hall = Hall::open(with_apps(config())).await;
    let mut client = Client::open(&hall).await;
    let limit = Limits::default().subscriptions;
    for n in 0..limit {
        client.subscribe(&format!("private-{n}")).await;
    }
    client.ask("private-more", None).await;
    let error = client.hear_a("pusher:subscription_error").await;
    assert_eq!(
        (&error["data"]["type"], &error["channel"]),
        (&json!("LimitReached"), &json!("private-more"))
    );
    // One that ends makes room.
    client
        .send(json!({"event": "pusher:unsubscribe", "data": {"channel": "private-0"}}))
        .await;
    client.subscribe("private-more").await;
    // A message longer than any may be.
    let large = json!({"event": "pusher:subscribe", "data": {"channel": "x".repeat(300_000)}});
    client.send(large).await;
    assert_eq!(client.message().await, None);
    assert_eq!(client.socket.closed().unwrap().code.get(), 1009);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_without_apps() {
    let hall = Hall::open(config()).await;
    assert!(hall.number_at(PATH).open().await.is_err());
    let (status, _, _) = hall.get("/apps/1/channels").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_revoked_cannot_sign_in_with_an_older_signature() {
    let hall = Hall::open(with_apps(config())).await;
    hall.set_api_keys(vec![ApiKey::of_everything("key")]);
    let mut client = Client::open(&hall).await;
    let body = json!({"user": "bob"}).to_string();
    assert_eq!(hall.api("key", "POST /api/v1/revoke", &body).await.0, 200);
    let answer = client.sign_in("bob").await;
    assert_eq!(answer["event"], "pusher:error", "{answer}");
    client.ask("#server-to-user-bob", None).await;
    client.hear_a("pusher:subscription_error").await;
    assert_eq!(
        client.sign_in("ann").await["event"],
        "pusher:signin_success"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_users_that_is_not_complete_is_refused() {
    let mut config = with_apps(config());
    config.limits.members = 1;
    let hall = Hall::open(config).await;
    let mut ann = Client::open(&hall).await;
    ann.join("presence-room", "ann").await;
    assert_eq!(get(&hall, "channels/presence-room/users", &[]).await.0, 200);
    let mut bob = Client::open(&hall).await;
    bob.join("presence-room", "bob").await;
    let (status, answer) = get(&hall, "channels/presence-room/users", &[]).await;
    assert_eq!(status, 400);
    assert!(
        answer["detail"]
            .as_str()
            .unwrap()
            .contains("limits.members"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn private_channels_of_the_apps_that_are_served_stay_closed_after_a_reload() {
    let hall = Hall::open(with_apps(config())).await;
    let mut native = hall.caller().await;
    for _ in 0..2 {
        let mut without = with_apps(config());
        without.pusher.apps.clear();
        let changes = hall.reload(without).await.unwrap();
        let apps = changes.iter().find(|change| change.key == "pusher.apps");
        assert!(apps.is_some_and(|apps| !apps.is_live), "{changes:?}");
        let wish = json!({"type": "subscribe", "channel": "private-a"});
        assert_eq!(native.ask(wish).await["code"], "forbidden");
    }
    Client::open(&hall).await.subscribe("private-a").await;
}

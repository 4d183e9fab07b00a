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

use crate::{
    asked::PUSHER as ENTRY,
    hall::{Hall, NEVER, config, on_disk},
};

mod api;
mod channels;
mod connections;
mod counts;
mod webhooks;

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

//! A client: one connection, with messages in JSON.

use offhook::{Message, WebSocket, protocol::Closed};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::hall::NEVER;

/// One connection.
pub(crate) struct Caller {
    pub(crate) socket: WebSocket,
    /// The newest token.
    pub(crate) resume: String,
    pub(crate) session: String,
    /// The number of tokens received without asking.
    pub(crate) fresh_tokens: usize,
    /// Whether the server said that everything is restored.
    pub(crate) restored: bool,
    next_id: u64,
}

impl Caller {
    pub(crate) fn new(socket: WebSocket) -> Self {
        Self {
            socket,
            resume: String::new(),
            session: String::new(),
            fresh_tokens: 0,
            restored: false,
            next_id: 100,
        }
    }

    pub(crate) async fn connect(&mut self) {
        let welcome = self.ask(json!({"type": "connect", "lineage": true})).await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        self.welcomed(&welcome);
    }

    /// Resumes a session, and returns the answer.
    pub(crate) async fn resume(&mut self, token: &str, positions: Value) -> Value {
        let connect = json!({
            "type": "connect", "resume": token, "positions": positions, "lineage": true
        });
        let answer = self.ask(connect).await;
        if answer["type"] == "welcome" {
            self.welcomed(&answer);
        }
        answer
    }

    fn welcomed(&mut self, welcome: &Value) {
        self.resume = welcome["resume"].as_str().unwrap().to_owned();
        self.session = welcome["session"].as_str().unwrap().to_owned();
    }

    pub(crate) async fn say(&self, text: &str) {
        self.socket.send(text).await.unwrap();
    }

    /// Sends a request with a fresh number, and returns the number.
    pub(crate) async fn send(&mut self, mut request: Value) -> u64 {
        self.next_id += 1;
        request["id"] = self.next_id.into();
        self.say(&request.to_string()).await;
        self.next_id
    }

    /// The next message that is neither a token nor `restored`; both are stored.
    pub(crate) async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// Like [`hear`](Self::hear), as the text on the wire.
    pub(crate) async fn hear_text(&mut self) -> String {
        loop {
            let received = timeout(NEVER, self.socket.recv()).await;
            let message = received.expect("something comes").unwrap();
            let Some(Message::Text(text)) = message else {
                panic!("no text: {message:?}, {:?}", self.socket.closed());
            };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["type"] == "restored" {
                self.restored = true;
                continue;
            }
            if message["type"] != "token" {
                return text.into_string();
            }
            self.resume = message["resume"].as_str().unwrap().to_owned();
            self.fresh_tokens += 1;
        }
    }

    /// The next message, which must have this type.
    pub(crate) async fn hear_a(&mut self, kind: &str) -> Value {
        let message = self.hear().await;
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// Sends a request and returns its answer, which must be the next message.
    pub(crate) async fn ask(&mut self, request: Value) -> Value {
        let id = self.send(request).await;
        let answer = self.hear().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub(crate) async fn subscribe(&mut self, channel: &str, since: Value) -> Value {
        let request = json!({"type": "subscribe", "channel": channel, "since": since});
        let answer = self.ask(request).await;
        assert_eq!(answer["type"], "subscribed", "{answer}");
        answer
    }

    /// Publishes, and returns the position. Not for clients subscribed to the channel.
    pub(crate) async fn publish(&mut self, channel: &str, data: Value) -> String {
        let request = json!({"type": "publish", "channel": channel, "data": data});
        let answer = self.ask(request).await;
        assert_eq!(answer["type"], "published", "{answer}");
        answer["position"].as_str().unwrap().to_owned()
    }

    /// Sends a request that the server answers with an error.
    pub(crate) async fn refused(&mut self, request: Value) -> Value {
        let answer = self.ask(request).await;
        assert_eq!(answer["type"], "error", "{answer}");
        answer
    }

    /// Waits until a fresh token has arrived.
    pub(crate) async fn fresh_token(&mut self) {
        let before = self.fresh_tokens;
        while self.fresh_tokens == before {
            let received = timeout(NEVER, self.socket.recv()).await;
            let message = received.expect("a token comes").unwrap().unwrap();
            let message: Value = serde_json::from_str(message.as_text().unwrap()).unwrap();
            if message["type"] == "restored" {
                self.restored = true;
                continue;
            }
            assert_eq!(message["type"], "token", "{message}");
            self.resume = message["resume"].as_str().unwrap().to_owned();
            self.fresh_tokens += 1;
        }
    }

    /// Everything until the end, and how it ended.
    pub(crate) async fn end(&mut self) -> (Vec<Value>, Closed) {
        let mut heard = Vec::new();
        loop {
            let received = timeout(NEVER, self.socket.recv()).await;
            match received.expect("it ends") {
                Ok(Some(message)) => {
                    heard.push(serde_json::from_str(message.as_text().unwrap()).unwrap());
                }
                Ok(None) | Err(_) => return (heard, self.socket.closed().unwrap()),
            }
        }
    }

    /// Drops the connection without a closing handshake.
    pub(crate) fn cut(self) {
        // The peer receives 1001, which is also sent by a page that is reloaded.
        drop(self.socket);
    }
}

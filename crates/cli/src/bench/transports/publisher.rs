//! The publisher: a WebSocket to the server that does not use the measured way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use offhook::{Connect, HttpVersion, Message, Sender, WebSocket};
use offhook_client::SUBPROTOCOL;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Words of which the publications consist, so that they compress as text does.
const WORDS: [&str; 16] = [
    "market", "order", "price", "north", "update", "signal", "green", "value", "river", "stone",
    "engine", "window", "paper", "light", "seven", "cloud",
];

/// A connection that publishes, and reads the answers.
#[derive(Debug)]
pub(super) struct Publisher {
    sender: Sender,
    /// From which the times in publications count.
    epoch: Instant,
    size: usize,
    number: u64,
    refusal: Arc<Mutex<Option<String>>>,
    _answers: JoinSet<()>,
}

/// The fields of an answer that are used here.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    message: Option<String>,
}

impl Publisher {
    /// Connects to a server; publications will have about `size` bytes.
    pub(super) async fn connect(
        to: SocketAddr,
        epoch: Instant,
        size: usize,
    ) -> Result<Self, String> {
        let connect = Connect::to(format!("ws://{to}/ws"))
            .subprotocol(SUBPROTOCOL)
            .no_proxy()
            .version(HttpVersion::Http1);
        let mut socket = connect.open().await.map_err(|error| error.to_string())?;
        let connect = json!({"type": "connect", "id": 0, "lineage": true}).to_string();
        let sent = socket.send(&connect).await;
        sent.map_err(|error| error.to_string())?;
        let sender = socket.sender();
        let refusal = Arc::new(Mutex::new(None));
        let refused = Arc::clone(&refusal);
        let mut answers = JoinSet::new();
        answers.spawn(async move {
            let why = first_refusal(&mut socket).await;
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        });
        Ok(Self {
            sender,
            epoch,
            size,
            number: 0,
            refusal,
            _answers: answers,
        })
    }

    /// From which the times in publications count.
    pub(super) const fn epoch(&self) -> Instant {
        self.epoch
    }

    fn not_refused(&self) -> Result<(), String> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refusal {
            Some(why) => Err(format!("publishing failed: {why}")),
            None => Ok(()),
        }
    }

    /// Publishes the next message, and returns its number.
    pub(super) async fn publish(&mut self, channel: &str) -> Result<u64, String> {
        self.not_refused()?;
        self.number += 1;
        let number = self.number;
        let sent = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let text = text(number, self.size);
        let publish = json!({
            "type": "publish", "id": number, "channel": channel,
            "data": {"sent": sent, "number": number, "text": text},
        });
        let sent = self.sender.send(publish.to_string()).await;
        sent.map_err(|error| error.to_string())?;
        Ok(number)
    }
}

/// Reads answers until one is a refusal, or none follow; returns why.
async fn first_refusal(socket: &mut WebSocket) -> String {
    loop {
        let text = match socket.recv().await {
            Ok(Some(Message::Text(text))) => text,
            Ok(Some(Message::Binary(_))) => continue,
            Ok(None) => return "the server closed the publisher's connection".to_owned(),
            Err(error) => return error.to_string(),
        };
        let answer = serde_json::from_str::<Answer>(&text).ok();
        if let Some(Answer { message, .. }) = answer.filter(|answer| answer.kind == "error") {
            return message.unwrap_or_default();
        }
    }
}

/// Words, a different sequence for each number.
fn text(number: u64, size: usize) -> String {
    let mut text = String::new();
    let mut state = number;
    while text.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // The upper bits of such a generator are the random ones.
        let word = usize::try_from(state >> 60).unwrap_or(0);
        text.push_str(WORDS.get(word).copied().unwrap_or_default());
        text.push(' ');
    }
    text.truncate(size);
    text
}

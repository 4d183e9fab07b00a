//! Publishers and subscribers of an Offhook server.
//!
//! They implement the native dialect (docs/protocol.md) themselves: the channel client would
//! reconnect and fill gaps, and its own work would be measured too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use offhook::{Error, Sender, WebSocket};
use serde::Deserialize;

use super::load_sender::{LoadSender, Sent, Shared, with_causes};
use super::plan::Schedule;

/// The fields of a server's message that are used here.
#[derive(Debug, Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<u64>,
    position: Option<&'a str>,
    data: Option<&'a str>,
    code: Option<&'a str>,
    #[serde(borrow)]
    message: Option<std::borrow::Cow<'a, str>>,
}

/// Sends the connect message, and subscribes if a channel is given.
pub(super) async fn introduce(
    socket: &mut WebSocket,
    token: Option<&str>,
    channel: Option<&str>,
) -> Result<(), String> {
    let connect = match token {
        Some(token) => serde_json::json!({ "type": "connect", "id": 0, "token": token }),
        None => serde_json::json!({ "type": "connect", "id": 0 }),
    };
    ask(socket, &connect.to_string(), "welcome").await?;
    if let Some(channel) = channel {
        let subscribe = serde_json::json!({ "type": "subscribe", "id": 1, "channel": channel });
        ask(socket, &subscribe.to_string(), "subscribed").await?;
    }
    Ok(())
}

async fn ask(socket: &mut WebSocket, request: &str, answer: &str) -> Result<(), String> {
    let failed = |error: Error| with_causes(&error);
    socket.send(request).await.map_err(failed)?;
    while let Some(message) = socket.recv().await.map_err(failed)? {
        let text = message.as_text().unwrap_or_default();
        let Ok(said) = serde_json::from_str::<Said<'_>>(text) else {
            return Err("the server does not answer in the native dialect".to_owned());
        };
        if said.kind == answer {
            return Ok(());
        }
        if said.kind == "error" {
            let (code, message) = (
                said.code.unwrap_or_default(),
                said.message.unwrap_or_default(),
            );
            return Err(format!("the server refuses: {code}: {message}"));
        }
    }
    Err("the server closed the connection".to_owned())
}

/// A connection that publishes.
pub(super) struct Publisher {
    sender: Sender,
    shared: Rc<Shared>,
    channel: usize,
    /// The start of each message, up to the id, and the part between id and data.
    name: String,
    size: usize,
    epoch: Instant,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// When each message should have been published, by id.
    under_way: HashMap<u64, Instant>,
    next: u64,
    text: String,
}

impl Publisher {
    pub(super) fn new(
        socket: &WebSocket,
        shared: Rc<Shared>,
        (channel, name): (usize, &str),
        size: usize,
        epoch: Instant,
    ) -> Rc<Self> {
        // Names consist of letters, digits and slashes, so nothing needs escaping.
        let name = name.to_owned();
        let state = State {
            next: 1,
            ..State::default()
        };
        Rc::new(Self {
            sender: socket.sender(),
            shared,
            channel,
            name,
            size,
            epoch,
            state: RefCell::new(state),
        })
    }

    /// Receives acknowledgements until the connection ends.
    pub(super) async fn listen(self: Rc<Self>, mut socket: WebSocket) {
        let why = loop {
            match socket.recv().await {
                Ok(Some(message)) => {
                    if let Some(text) = message.as_text() {
                        self.take(text);
                    }
                }
                Ok(None) => break ended(&self.sender),
                Err(error) => break with_causes(&error),
            }
        };
        self.shared.lost(why);
    }

    fn take(&self, text: &str) {
        let now = Instant::now();
        let Ok(said) = serde_json::from_str::<Said<'_>>(text) else {
            self.shared.counts.borrow_mut().wrong += 1;
            return;
        };
        let intended = said
            .id
            .and_then(|id| self.state.borrow_mut().under_way.remove(&id));
        let Some(intended) = intended else { return };
        if said.kind == "published" {
            self.shared.answered(intended, now);
            self.count_published();
        } else {
            let code = said.code.unwrap_or("unknown").to_owned();
            *self
                .shared
                .counts
                .borrow_mut()
                .refused
                .entry(code)
                .or_default() += 1;
        }
        if self.shared.goes_on(now) {
            self.send(now);
        }
    }

    fn count_published(&self) {
        add_one(&mut self.shared.counts.borrow_mut().published, self.channel);
    }
}

fn add_one(counts: &mut Vec<u64>, at: usize) {
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] += 1;
}

fn ended(sender: &Sender) -> String {
    match sender.closed() {
        Some(closed) => Error::Closed(Box::new(closed)).to_string(),
        None => "the connection was closed".to_owned(),
    }
}

impl LoadSender for Publisher {
    fn send(&self, intended: Instant) -> Sent {
        let mut state = self.state.borrow_mut();
        let State {
            under_way,
            next,
            text,
        } = &mut *state;
        let stamp = intended.saturating_duration_since(self.epoch).as_nanos();
        let (name, fill) = (&self.name, self.size.saturating_sub(STAMP));
        text.clear();
        // Writing to a String never fails.
        let _ = std::fmt::Write::write_fmt(
            text,
            format_args!(
                "{{\"type\":\"publish\",\"id\":{next},\"channel\":\"{name}\",\
                 \"data\":\"{stamp:016x}{:x<fill$}\"}}",
                ""
            ),
        );
        let sent = match self.shared.schedule {
            Schedule::Open { .. } => self.sender.try_send(text.as_str()),
            // A closed loop limits the number of messages in flight by itself.
            Schedule::Closed { .. } => self.sender.put(text.as_str()).map(drop),
        };
        match sent {
            Ok(()) => {
                under_way.insert(*next, intended);
                *next += 1;
                Sent::Yes
            }
            Err(Error::Full) => Sent::Full,
            Err(_) => Sent::Gone,
        }
    }

    fn unanswered(&self) -> Vec<Instant> {
        self.state.borrow().under_way.values().copied().collect()
    }
}

/// The number of digits of a publication's intended time, in nanoseconds since the run's epoch.
const STAMP: usize = 16;

/// A connection that subscribes.
pub(super) struct Subscriber {
    shared: Rc<Shared>,
    channel: usize,
    epoch: Instant,
    /// The offset of the previous publication, if there was one.
    last: Option<u64>,
}

impl Subscriber {
    pub(super) fn new(shared: Rc<Shared>, channel: usize, epoch: Instant) -> Self {
        let last = None;
        Self {
            shared,
            channel,
            epoch,
            last,
        }
    }

    /// Receives deliveries until the connection ends.
    pub(super) async fn listen(mut self, mut socket: WebSocket) {
        let why = loop {
            match socket.recv().await {
                Ok(Some(message)) => {
                    if let Some(text) = message.as_text() {
                        self.take(text);
                    }
                }
                Ok(None) => break ended(&socket.sender()),
                Err(error) => break with_causes(&error),
            }
        };
        self.shared.lost(why);
    }

    fn take(&mut self, text: &str) {
        let now = Instant::now();
        let mut counts = self.shared.counts.borrow_mut();
        let Ok(said) = serde_json::from_str::<Said<'_>>(text) else {
            counts.wrong += 1;
            return;
        };
        match said.kind {
            "message" => {}
            "gap" => {
                counts.gaps += 1;
                return;
            }
            _ => return,
        }
        let offset = said
            .position
            .and_then(|position| position.split_once('.')?.1.parse().ok());
        let stamp = said
            .data
            .and_then(|data| u64::from_str_radix(data.get(..STAMP)?, 16).ok());
        let (Some(offset), Some(stamp)) = (offset, stamp) else {
            counts.wrong += 1;
            return;
        };
        match self.last {
            Some(last) if offset == last => counts.twice += 1,
            Some(last) if offset < last => counts.out_of_order += 1,
            Some(_) | None => {
                self.last = Some(offset);
                add_one(&mut counts.delivered, self.channel);
            }
        }
        let intended = self.epoch + Duration::from_nanos(stamp);
        counts.deliveries.note(intended, now, &self.shared.window);
        drop(counts);
        self.shared.show(intended, now);
    }
}

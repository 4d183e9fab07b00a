//! Publishers and subscribers of an Offhook server.
//!
//! They implement the dialects themselves: the channel client would reconnect and fill gaps, and its
//! own work would be measured too.

mod speech;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use offhook::{Error, Message, Sender, WebSocket};

use super::load_sender::{LoadSender, Sent, Shared, with_causes};
use super::plan::Schedule;
pub(super) use speech::Dialect;
use speech::{Heard, Said, Speech};

/// Connects the client, and subscribes if a channel is given.
pub(super) async fn introduce(
    socket: &mut WebSocket,
    dialect: Dialect,
    token: Option<&str>,
    channel: Option<&str>,
) -> Result<(), String> {
    let mut speech = Speech::new(dialect);
    if speech.listens_first() {
        until(socket, &mut speech, &Heard::Opened).await?;
    }
    let connect = speech.connect(token);
    say(socket, connect).await?;
    until(socket, &mut speech, &Heard::Welcome).await?;
    if let Some(channel) = channel {
        let subscribe = speech.subscribe(channel);
        say(socket, subscribe).await?;
        until(socket, &mut speech, &Heard::Subscribed).await?;
    }
    Ok(())
}

async fn say(socket: &WebSocket, said: Said) -> Result<(), String> {
    let sent = match said {
        Said::Text(text) => socket.send(text.as_str()).await,
        Said::Bytes(bytes) => socket.send(bytes.as_slice()).await,
    };
    sent.map_err(|error| with_causes(&error))
}

async fn until(socket: &mut WebSocket, speech: &mut Speech, wanted: &Heard) -> Result<(), String> {
    let failed = |error: Error| with_causes(&error);
    while let Some(message) = socket.recv().await.map_err(failed)? {
        let mut heard = Vec::new();
        speech.hear(&message, |one| heard.push(one));
        if heard.contains(wanted) {
            return Ok(());
        }
        for one in heard {
            if let Heard::Refused { code, why, .. } = one {
                return Err(format!("the server refuses: {code}: {why}"));
            }
            if one == Heard::Wrong {
                return Err("the server does not speak this dialect".to_owned());
            }
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
    speech: RefCell<Speech>,
}

#[derive(Default)]
struct State {
    /// When each message should have been published, by id.
    under_way: HashMap<u64, Instant>,
    next: u64,
    data: String,
}

impl Publisher {
    pub(super) fn new(
        socket: &WebSocket,
        shared: Rc<Shared>,
        (dialect, channel, name): (Dialect, usize, &str),
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
            speech: RefCell::new(Speech::new(dialect)),
        })
    }

    /// Receives acknowledgements until the connection ends.
    pub(super) async fn listen(self: Rc<Self>, mut socket: WebSocket) {
        let why = loop {
            match socket.recv().await {
                Ok(Some(message)) => self.take(&message),
                Ok(None) => break ended(&self.sender),
                Err(error) => break with_causes(&error),
            }
        };
        self.shared.lost(why);
    }

    fn take(&self, message: &Message) {
        let now = Instant::now();
        // The answers cause further messages, which need the conversation.
        let mut all = Vec::new();
        self.speech
            .borrow_mut()
            .hear(message, |heard| all.push(heard));
        for heard in all {
            self.take_one(heard, now);
        }
    }

    fn take_one(&self, heard: Heard, now: Instant) {
        let (number, refused) = match heard {
            Heard::Published(number) => (Some(number), None),
            Heard::Refused { number, code, .. } => (number, Some(code)),
            Heard::Ping(pong) => {
                // A connection that takes no more is not measured any longer.
                let _sent = self.sender.put(pong);
                return;
            }
            Heard::Wrong => {
                self.shared.counts.borrow_mut().wrong += 1;
                return;
            }
            Heard::Opened
            | Heard::Welcome
            | Heard::Subscribed
            | Heard::Delivered { .. }
            | Heard::Gap
            | Heard::Other => return,
        };
        let intended = number.and_then(|number| self.state.borrow_mut().under_way.remove(&number));
        let Some(intended) = intended else { return };
        match refused {
            None => {
                self.shared.answered(intended, now);
                self.count_published();
            }
            Some(code) => {
                let mut counts = self.shared.counts.borrow_mut();
                *counts.refused.entry(code).or_default() += 1;
            }
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
            data,
        } = &mut *state;
        let stamp = intended.saturating_duration_since(self.epoch).as_nanos();
        let fill = self.size.saturating_sub(STAMP);
        data.clear();
        // Writing to a String never fails.
        let _ = std::fmt::Write::write_fmt(data, format_args!("{stamp:016x}{:x<fill$}", ""));
        let speech = self.speech.borrow();
        let number = speech.number(*next);
        let said = speech.publish(number, &self.name, data);
        let is_open = matches!(self.shared.schedule, Schedule::Open { .. });
        let sent = match &said {
            Said::Text(text) if is_open => self.sender.try_send(text.as_str()),
            Said::Bytes(bytes) if is_open => self.sender.try_send(bytes.as_slice()),
            // A closed loop limits the number of messages in flight by itself.
            Said::Text(text) => self.sender.put(text.as_str()).map(drop),
            Said::Bytes(bytes) => self.sender.put(bytes.as_slice()).map(drop),
        };
        match sent {
            Ok(()) => {
                under_way.insert(number, intended);
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
    speech: Speech,
}

impl Subscriber {
    pub(super) fn new(
        shared: Rc<Shared>,
        dialect: Dialect,
        channel: usize,
        epoch: Instant,
    ) -> Self {
        Self {
            shared,
            channel,
            epoch,
            last: None,
            speech: Speech::new(dialect),
        }
    }

    /// Receives deliveries until the connection ends.
    pub(super) async fn listen(mut self, mut socket: WebSocket) {
        let why = loop {
            match socket.recv().await {
                Ok(Some(message)) => self.take(&message, &socket),
                Ok(None) => break ended(&socket.sender()),
                Err(error) => break with_causes(&error),
            }
        };
        self.shared.lost(why);
    }

    fn take(&mut self, message: &Message, socket: &WebSocket) {
        let now = Instant::now();
        let Self {
            shared,
            channel,
            epoch,
            last,
            speech,
        } = self;
        speech.hear(message, |heard| {
            let mut counts = shared.counts.borrow_mut();
            let (offset, stamp) = match heard {
                Heard::Delivered { offset, stamp } => (offset, stamp),
                Heard::Gap => {
                    counts.gaps += 1;
                    return;
                }
                Heard::Ping(pong) => {
                    // A connection that takes no more is not measured any longer.
                    let _sent = socket.sender().put(pong);
                    return;
                }
                Heard::Wrong => {
                    counts.wrong += 1;
                    return;
                }
                Heard::Opened
                | Heard::Welcome
                | Heard::Subscribed
                | Heard::Published(_)
                | Heard::Refused { .. }
                | Heard::Other => return,
            };
            match (*last, offset) {
                (Some(last), Some(offset)) if offset == last => counts.twice += 1,
                (Some(last), Some(offset)) if offset < last => counts.out_of_order += 1,
                (_, offset) => {
                    *last = offset;
                    add_one(&mut counts.delivered, *channel);
                }
            }
            let intended = *epoch + Duration::from_nanos(stamp);
            counts.deliveries.note(intended, now, &shared.window);
            drop(counts);
            shared.show(intended, now);
        });
    }
}

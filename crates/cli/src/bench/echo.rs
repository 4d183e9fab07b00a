//! Messages and their echoes.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use offhook::{Error, Message, Sender, WebSocket};

use super::load_sender::{LoadSender, Sent, Shared};

/// The messages, sent in turn. They differ, so that an answer shows which message it belongs to.
#[derive(Debug)]
pub(super) struct Messages {
    texts: Vec<String>,
    is_binary: bool,
    any_answer: bool,
}

/// The number of different messages.
const DISTINCT: usize = 64;

impl Messages {
    pub(super) fn new(size: usize, is_binary: bool, any_answer: bool) -> Self {
        let texts = (0..DISTINCT).map(|number| text(number, size)).collect();
        Self {
            texts,
            is_binary,
            any_answer,
        }
    }

    fn get(&self, number: u64) -> &str {
        &self.texts[(number % DISTINCT as u64) as usize]
    }

    fn is_answer(&self, number: u64, message: &Message) -> bool {
        self.any_answer || message.as_bytes() == self.get(number).as_bytes()
    }
}

/// The number, followed by pseudo-random letters.
fn text(number: usize, size: usize) -> String {
    let mut text = format!("{number:02}");
    let mut noise = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number as u64 + 1);
    while text.len() < size {
        // Xorshift.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        text.push(char::from(b'a' + (noise % 26) as u8));
    }
    text.truncate(size);
    text
}

/// A connection whose server echoes.
pub(super) struct Echo {
    sender: Sender,
    messages: Rc<Messages>,
    shared: Rc<Shared>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// When the messages in flight should have been sent, in order.
    under_way: VecDeque<Instant>,
    sent: u64,
    answered: u64,
}

impl Echo {
    pub(super) fn new(socket: &WebSocket, messages: Rc<Messages>, shared: Rc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            sender: socket.sender(),
            messages,
            shared,
            state: RefCell::default(),
        })
    }

    /// Receives answers until the connection ends.
    pub(super) async fn listen(self: Rc<Self>, mut socket: WebSocket) {
        loop {
            match socket.recv().await {
                Ok(Some(message)) => self.take(&message),
                Ok(None) => {
                    if let Some(closed) = self.sender.closed() {
                        self.shared
                            .lost(Error::Closed(Box::new(closed)).to_string());
                    }
                    return;
                }
                Err(error) => {
                    self.shared.lost(super::load_sender::with_causes(&error));
                    return;
                }
            }
        }
    }

    fn take(&self, message: &Message) {
        let now = Instant::now();
        let mut state = self.state.borrow_mut();
        let is_right = self.messages.is_answer(state.answered, message);
        let Some(intended) = state.under_way.pop_front().filter(|_| is_right) else {
            self.shared.counts.borrow_mut().wrong += 1;
            return;
        };
        state.answered += 1;
        drop(state);
        self.shared.answered(intended, now);
        self.shared.show(intended, now);
        if self.shared.goes_on(now) {
            self.send(now);
        }
    }
}

impl LoadSender for Echo {
    fn send(&self, intended: Instant) -> Sent {
        let mut state = self.state.borrow_mut();
        let text = self.messages.get(state.sent);
        let is_open = matches!(self.shared.schedule, super::plan::Schedule::Open { .. });
        // A closed loop limits the number of messages in flight by itself.
        let sent = match (is_open, self.messages.is_binary) {
            (true, true) => self.sender.try_send(text.as_bytes()),
            (true, false) => self.sender.try_send(text),
            (false, true) => self.sender.put(text.as_bytes()).map(drop),
            (false, false) => self.sender.put(text).map(drop),
        };
        match sent {
            Ok(()) => {
                state.sent += 1;
                state.under_way.push_back(intended);
                Sent::Yes
            }
            Err(Error::Full) => Sent::Full,
            Err(_) => Sent::Gone,
        }
    }

    fn unanswered(&self) -> Vec<Instant> {
        self.state.borrow().under_way.iter().copied().collect()
    }
}

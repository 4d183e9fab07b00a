//! Messages that clients have begun to send and not completed: their total size, and how long each
//! may take.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use offhook::{Sender, WebSocket, protocol::CloseCode};

/// The incomplete messages of one worker.
#[derive(Debug, Default)]
pub(super) struct Unfinished(RefCell<Vec<Rc<Entry>>>);

/// The incomplete message of one connection.
#[derive(Debug)]
pub(super) struct Entry {
    sender: Sender,
    /// When it was first seen. None once it is complete.
    since: Cell<Option<Instant>>,
    /// Whether it is listed among those of the worker.
    listed: Cell<bool>,
    /// The connection was closed: its task must drop it, and free the message, without waiting for
    /// the client.
    cut: Cell<bool>,
    task: RefCell<Waker>,
}

/// A task's record of its connection's message; an idle connection owns nothing.
#[derive(Debug, Default)]
pub(super) struct Receiving(Option<Rc<Entry>>);

impl Receiving {
    /// Whether the connection was closed because of its message.
    pub(super) fn is_cut(&self) -> bool {
        self.0.as_ref().is_some_and(|entry| entry.cut.get())
    }

    /// A message is complete.
    pub(super) fn message(&self) {
        if let Some(entry) = &self.0 {
            entry.since.set(None);
        }
    }

    /// Nothing more has arrived for now: part of a message may have.
    pub(super) fn pause(&mut self, socket: &WebSocket, all: &Unfinished, cx: &Context<'_>) {
        if socket.incomplete_bytes() == 0 {
            return;
        }
        let entry = self.0.get_or_insert_with(|| {
            Rc::new(Entry {
                sender: socket.sender(),
                since: Cell::new(None),
                listed: Cell::new(false),
                cut: Cell::new(false),
                task: RefCell::new(Waker::noop().clone()),
            })
        });
        entry.task.borrow_mut().clone_from(cx.waker());
        if entry.since.get().is_none() {
            entry.since.set(Some(Instant::now()));
        }
        if !entry.listed.replace(true) {
            all.0.borrow_mut().push(Rc::clone(entry));
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.sender.incomplete_bytes()
    }

    fn close(&self, reason: &str) {
        // It may already be closing: then the first close stands.
        drop(self.sender.close(CloseCode::POLICY_VIOLATION, reason));
        self.cut.set(true);
        self.task.borrow().wake_by_ref();
    }
}

impl Unfinished {
    /// Measures all, and closes the connections whose message takes too long. Returns the remaining
    /// bytes, and how many connections were closed.
    pub(super) fn count(&self, now: Instant, within: Duration) -> (usize, usize) {
        let (mut bytes, mut late) = (0, 0);
        self.0.borrow_mut().retain(|entry| {
            let held = entry.bytes();
            let stays = match entry.since.get() {
                Some(since) if held > 0 && now.saturating_duration_since(since) >= within => {
                    entry.close("a message took too long to arrive");
                    late += 1;
                    false
                }
                since => since.is_some() && held > 0,
            };
            if stays {
                bytes += held;
            } else {
                entry.since.set(None);
                entry.listed.set(false);
            }
            stays
        });
        (bytes, late)
    }

    /// Closes the connections with the largest incomplete messages, until this many bytes are free.
    /// Returns how many were closed.
    pub(super) fn shed(&self, bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        let mut all = self.0.borrow_mut();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.bytes()));
        let mut left = bytes;
        let shed = all.iter().take_while(|entry| {
            let wanted = left > 0;
            left = left.saturating_sub(entry.bytes());
            wanted
        });
        let count = shed.count();
        for entry in all.drain(..count) {
            entry.close("the server is short of memory: send the message again");
            entry.since.set(None);
            entry.listed.set(false);
        }
        count
    }
}

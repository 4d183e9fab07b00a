//! Every line's outbox: what the engine gives out is encoded and framed once, and put into each.

use std::{cell::RefCell, mem, rc::Rc, sync::Arc};

use offhook::{
    Sender,
    protocol::{
        CloseCode, Prepared,
        deflate::{DeflateConfig, DeflatePool},
    },
};
use offhook_dialects::native;
use offhook_engine::{Delivery, LineId, Notice, Publication, Reply};
use tokio::sync::Notify;

use crate::{config::Config, refused::Refused};

/// The outboxes of a worker's lines, by the lines' dense index.
#[derive(Debug)]
pub(super) struct Outboxes {
    lines: Vec<Option<Outbox>>,
    /// Bytes an outbox may hold.
    bound: usize,
    framing: Framing,
    /// What all of these lines get, and have not got yet.
    held: Held,
    /// Those that a broadcast put above the bound.
    full: Vec<LineId>,
    /// Those that may wait to be handed out more.
    thirsty: Vec<LineId>,
    /// Marks that could not leave yet: too much was unsent before them.
    marks: Vec<(LineId, u32)>,
    /// Those whose subscriptions changed since their token was sealed.
    stale: Vec<LineId>,
}

/// Broadcasts to the same lines that come one after the other: put together, they take one turn
/// through the lines.
#[derive(Debug, Default)]
struct Held {
    messages: Vec<Prepared>,
    lines: Vec<LineId>,
    /// Whether this turn has broadcasts for others as well. A line may be among both, and gets
    /// them in one write at the end. The one audience that most turns have is written to at once,
    /// so that the bytes go from one buffer that the processor has at hand.
    several: bool,
}

/// Broadcasts held at most. 32: a turn through the lines is cheap then, and an outbox that is full
/// is over its bound by as many messages.
const HELD: usize = 32;

/// The outbox of one line: the connection has its bytes, this is what we must know beside.
#[derive(Debug)]
struct Outbox {
    line: LineId,
    sender: Sender,
    /// When its token was sealed, in seconds since the worker's start.
    sealed_s: u32,
    refilling: bool,
    stale: bool,
    /// Whoever waits for an answer to be put.
    answered: Option<Rc<Notify>>,
}

impl Outboxes {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            lines: Vec::new(),
            bound: config.messages.outbox_bytes,
            framing: Framing::new(config),
            held: Held::default(),
            full: Vec::new(),
            thirsty: Vec::new(),
            marks: Vec::new(),
            stale: Vec::new(),
        }
    }

    /// A line begins; its token was sealed just now.
    pub(super) fn add(&mut self, line: LineId, sender: Sender, sealed_s: u32) {
        let index = line.index();
        if self.lines.len() <= index {
            self.lines.resize_with(index + 1, || None);
        }
        if let Some(place) = self.lines.get_mut(index) {
            *place = Some(Outbox {
                line,
                sender,
                sealed_s,
                refilling: false,
                stale: false,
                answered: None,
            });
        }
    }

    /// A line has ended.
    pub(super) fn remove(&mut self, line: LineId) {
        if self.get(line).is_some()
            && let Some(place) = self.lines.get_mut(line.index())
        {
            *place = None;
        }
    }

    fn get(&mut self, line: LineId) -> Option<&mut Outbox> {
        let outbox = self.lines.get_mut(line.index())?.as_mut();
        outbox.filter(|outbox| outbox.line == line)
    }

    /// Puts what the engine gives out where it belongs, but for broadcasts, which may be held
    /// until [`end_turn`](Self::end_turn).
    pub(super) fn put(&mut self, delivery: Delivery<'_>, refused: &RefCell<Refused>) {
        match delivery {
            Delivery::Broadcast { publication, lines } => {
                let message = self.framing.publication(&publication);
                self.hold(message, lines);
            }
            Delivery::Presence { change, lines } => {
                let message = self.framing.frame(native::encode_presence(&change));
                self.hold(message, lines);
            }
            Delivery::Publication { line, publication } => {
                self.put_held();
                let message = self.framing.publication(&publication);
                if let Some(outbox) = self.get(line) {
                    // It is within what the line may be handed out; one that is closing gets
                    // nothing more.
                    let _unsent = outbox.sender.put_prepared(&[message]);
                    self.thirsty.push(line);
                }
            }
            Delivery::Line { line, notice } => {
                // Acknowledgements may overtake: they come between the publications of a batch.
                if !is_acknowledgement(&notice) {
                    self.put_held();
                }
                self.notice(line, &notice, refused);
            }
            Delivery::Mark { line, mark } => {
                self.put_held();
                self.mark(line, mark);
            }
        }
    }

    fn hold(&mut self, message: Prepared, lines: &[LineId]) {
        let others = self.held.lines != lines;
        self.held.several |= others && !self.held.messages.is_empty();
        if others || self.held.messages.len() >= HELD {
            self.put_held();
            self.held.lines.extend_from_slice(lines);
        }
        self.held.messages.push(message);
    }

    /// Ends a turn: puts the broadcasts that are held. Says whether there were any.
    pub(super) fn end_turn(&mut self) -> bool {
        let any = !self.held.messages.is_empty();
        self.put_held();
        self.held.several &= any;
        any
    }

    /// Puts the broadcasts that are held into the outbox of each of their lines.
    fn put_held(&mut self) {
        for &line in &self.held.lines {
            let Some(Some(outbox)) = self.lines.get_mut(line.index()) else {
                continue;
            };
            let put = if self.held.several {
                outbox.sender.put_prepared(&self.held.messages)
            } else {
                outbox.sender.write_prepared(&self.held.messages)
            };
            // A line that is closing gets nothing more.
            let Ok(unsent) = put else { continue };
            if unsent > self.bound {
                self.full.push(line);
            }
        }
        self.held.lines.clear();
        self.held.messages.clear();
    }

    fn notice(&mut self, line: LineId, notice: &Notice, refused: &RefCell<Refused>) {
        let Some(outbox) = self.get(line) else { return };
        // A line that is closing gets nothing more.
        let _unsent = outbox.sender.put(native::encode_notice(notice));
        if let Some(answered) = &outbox.answered {
            answered.notify_one();
        }
        match notice {
            Notice::Reply { reply, .. } => match reply {
                Reply::Subscribed { .. } | Reply::Unsubscribed { .. } => self.token_is_stale(line),
                Reply::Refused(refusal) => {
                    refused
                        .borrow_mut()
                        .note(refusal.code.name(), &refusal.detail);
                }
                Reply::Published { .. }
                | Reply::History { .. }
                | Reply::Members { .. }
                | Reply::Acked { .. }
                | Reply::Receipts { .. }
                | Reply::Pong => {}
            },
            Notice::Unsubscribed { .. } => self.token_is_stale(line),
            Notice::Close { reason } => {
                let code = CloseCode::new(native::close_code(*reason));
                // It may be closing already: then that stands.
                let _closing = outbox.sender.close(code, reason.name());
                refused.borrow_mut().note("line", reason.name());
            }
            Notice::Gap { .. }
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Reconnect { .. } => {}
        }
    }

    /// Rings when something was put for this line, until the line takes commands again.
    pub(super) fn ring_when_answered(&mut self, line: LineId) -> Option<Rc<Notify>> {
        let answered = self.get(line)?.answered.get_or_insert_default();
        Some(Rc::clone(answered))
    }

    pub(super) fn ring_no_more(&mut self, line: LineId) {
        if let Some(outbox) = self.get(line) {
            outbox.answered = None;
        }
    }

    fn token_is_stale(&mut self, line: LineId) {
        if let Some(outbox) = self.get(line)
            && !mem::replace(&mut outbox.stale, true)
        {
            self.stale.push(line);
        }
    }

    /// The next line whose outbox a broadcast has put above its bound.
    pub(super) fn next_full(&mut self) -> Option<LineId> {
        let line = self.full.pop()?;
        self.thirsty.push(line);
        Some(line)
    }

    /// Lines that may wait to be handed out more.
    pub(super) fn take_thirsty(&mut self) -> Vec<LineId> {
        mem::take(&mut self.thirsty)
    }

    /// What to refill a line with, unless somebody does already.
    pub(super) fn begin_refill(&mut self, line: LineId) -> Option<Sender> {
        let outbox = self.get(line)?;
        let begun = mem::replace(&mut outbox.refilling, true);
        (!begun).then(|| outbox.sender.clone())
    }

    pub(super) fn end_refill(&mut self, line: LineId) {
        if let Some(outbox) = self.get(line) {
            outbox.refilling = false;
        }
    }

    /// Sends a mark behind everything that the line was handed out, as soon as that is possible.
    fn mark(&mut self, line: LineId, mark: u32) {
        let Some(outbox) = self.get(line) else { return };
        // A line that is closing will not be asked any more.
        if let Ok(false) = outbox.sender.mark(mark) {
            self.marks.push((line, mark));
        }
    }

    /// Tries again to send the marks that could not leave.
    pub(super) fn mark_again(&mut self) {
        for (line, mark) in mem::take(&mut self.marks) {
            self.mark(line, mark);
        }
    }

    /// Gives new tokens to those whose subscriptions have changed.
    pub(super) fn seal_stale(
        &mut self,
        now_s: u32,
        mut seal: impl FnMut(LineId) -> Option<String>,
    ) {
        for line in mem::take(&mut self.stale) {
            let Some(outbox) = self.get(line) else {
                continue;
            };
            outbox.stale = false;
            outbox.sealed_s = now_s;
            if let Some(token) = seal(line) {
                // A line that is closing gets nothing more.
                let _unsent = outbox.sender.put(native::encode_token(&token));
            }
        }
    }

    /// Tokens that were sealed before that moment are to be sealed again.
    pub(super) fn age_tokens(&mut self, before_s: u32) {
        let old = self.lines.iter_mut().flatten();
        for outbox in old.filter(|outbox| outbox.sealed_s < before_s && !outbox.stale) {
            outbox.stale = true;
            self.stale.push(outbox.line);
        }
    }

    /// Closes every line.
    pub(super) fn close_all(&self, code: CloseCode, reason: &str) {
        for outbox in self.lines.iter().flatten() {
            // It may be closing already: then that stands.
            let _closing = outbox.sender.close(code, reason);
        }
    }
}

fn is_acknowledgement(notice: &Notice) -> bool {
    let Notice::Reply { reply, .. } = notice else {
        return false;
    };
    matches!(reply, Reply::Published { .. })
}

/// Encodes and frames once for all lines that speak alike.
#[derive(Debug)]
struct Framing {
    deflate: Option<(DeflateConfig, DeflatePool)>,
    /// The last publication, which those who catch up together get one after the other.
    last: Option<(Arc<Publication>, Prepared)>,
}

impl Framing {
    fn new(config: &Config) -> Self {
        let deflate = config.messages.deflate;
        Self {
            deflate: deflate.then(|| (DeflateConfig::default(), DeflatePool::default())),
            last: None,
        }
    }

    fn publication(&mut self, publication: &Arc<Publication>) -> Prepared {
        if let Some((known, message)) = &self.last
            && Arc::ptr_eq(known, publication)
        {
            return message.clone();
        }
        let message = self.frame(native::encode_publication(publication));
        self.last = Some((Arc::clone(publication), message.clone()));
        message
    }

    fn frame(&self, text: String) -> Prepared {
        match &self.deflate {
            None => Prepared::new(text),
            Some((config, pool)) => Prepared::with_deflate(text, config, pool),
        }
    }
}

//! Publications handed out to an acknowledged subscription and not acknowledged yet.

use std::collections::VecDeque;

use crate::{
    position::{Epoch, Position},
    session::Earlier,
};

pub(in crate::engine) use crate::session::Unacknowledged;

/// ```text
///   done │ unacknowledged, done, unacknowledged … │ not handed out
///        ▲ low                                    ▲ the subscription's cursor
/// ```
#[derive(Debug)]
pub(in crate::engine) struct Window {
    /// The maximum number of unacknowledged publications.
    size: u16,
    /// The client has acknowledged everything up to here.
    low: Position,
    /// Publications handed out after `low`, in order.
    out: VecDeque<HandedOut>,
    /// How many of `out` are not acknowledged.
    unacknowledged: u16,
    /// The newest position handed out or skipped.
    newest: Position,
    /// The newest position handed out of an earlier stream: its client may acknowledge it before it
    /// learns of the new one.
    cut: Option<Position>,
    /// What an earlier connection was handed out, in order. It determines what is delivered again
    /// and what was already acknowledged. Entries are removed as they are passed.
    before: VecDeque<Earlier>,
    /// The position up to which the earlier connection was handed out.
    before_until: Option<Position>,
}

#[derive(Clone, Copy, Debug)]
struct HandedOut {
    position: Position,
    /// How often it was delivered, including this time.
    deliveries: u16,
    done: bool,
}

/// Positions that were handed out are remembered up to this multiple of the window, and at least
/// [`REMEMBERED`] of them. A client that never acknowledges the oldest one receives no more after
/// that. 4: a client that works in parallel finishes out of order, but not by more than that.
const SIZES: usize = 4;
/// The minimum number remembered, whatever the window.
const REMEMBERED: usize = 64;

/// What to do with the next publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Next {
    /// Deliver it, for this many times in total.
    Deliver(u16),
    /// It was acknowledged on an earlier connection.
    Done,
}

impl Window {
    pub(in crate::engine) fn new(size: u16, low: Position) -> Self {
        Self {
            size: size.max(1),
            low,
            out: VecDeque::new(),
            unacknowledged: 0,
            newest: low,
            cut: None,
            before: VecDeque::new(),
            before_until: None,
        }
    }

    /// Continues where an earlier connection was.
    pub(in crate::engine) fn resumed(size: u16, low: Position, earlier: Unacknowledged) -> Self {
        Self {
            before: earlier.publications.into(),
            before_until: Some(earlier.until),
            ..Self::new(size, low)
        }
    }

    pub(in crate::engine) fn size(&self) -> u16 {
        self.size
    }

    pub(in crate::engine) fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many more may be handed out now.
    pub(in crate::engine) fn room(&self) -> u32 {
        let remembered = (SIZES * usize::from(self.size)).max(REMEMBERED);
        let room = self.size.saturating_sub(self.unacknowledged);
        let left = remembered.saturating_sub(self.out.len());
        u32::from(room).min(u32::try_from(left).unwrap_or(u32::MAX))
    }

    pub(in crate::engine) fn low(&self) -> Position {
        self.low
    }

    /// A gap was reported, after which the subscription continues here. If that precedes what was
    /// handed out, the rest belongs to another stream and need not be acknowledged.
    pub(in crate::engine) fn skip_to(&mut self, position: Position) {
        while let Some(out) = self
            .out
            .pop_back_if(|out| out.position.offset > position.offset)
        {
            self.unacknowledged -= u16::from(!out.done);
            let before = self.cut.unwrap_or(out.position);
            let epoch = out.position.epoch.0.max(before.epoch.0);
            let offset = out.position.offset.max(before.offset);
            self.cut = Some(Position::new(epoch, offset));
        }
        if self.out.is_empty() {
            self.low = position;
        }
        self.newest = position;
    }

    /// The stream has diverged from the one that an earlier connection knew: nothing is known after
    /// the position that both share, or at all if there is none.
    pub(in crate::engine) fn diverged(&mut self, agreed: Option<Position>) {
        let Some(until) = &mut self.before_until else {
            return;
        };
        let Some(agreed) = agreed else {
            (self.before_until, self.before) = (None, VecDeque::new());
            return;
        };
        if until.offset > agreed.offset {
            *until = agreed;
        }
        self.before
            .retain(|earlier| earlier.position.offset <= agreed.offset);
    }

    /// The order of positions continues in another epoch, as that of a filter does when the broker
    /// begins one: positions of an earlier connection have the same places in it.
    pub(in crate::engine) fn goes_on_in(&mut self, epoch: Epoch) {
        let earlier = self.before.iter_mut().map(|earlier| &mut earlier.position);
        for position in earlier.chain(&mut self.before_until) {
            position.epoch = epoch;
        }
    }

    pub(in crate::engine) fn next(&mut self, position: Position) -> Next {
        let Some(until) = self.before_until else {
            return Next::Deliver(1);
        };
        if position.offset > until.offset {
            (self.before_until, self.before) = (None, VecDeque::new());
            return Next::Deliver(1);
        }
        // What is not known to be acknowledged counts as unacknowledged: the earlier connection
        // never received this epoch.
        if position.epoch.0 > until.epoch.0 {
            return Next::Deliver(1);
        }
        let passed = |earlier: &mut Earlier| earlier.position.offset < position.offset;
        while self.before.pop_front_if(passed).is_some() {}
        match self
            .before
            .pop_front_if(|earlier| earlier.position == position)
        {
            Some(earlier) => Next::Deliver(earlier.deliveries.saturating_add(1)),
            None => Next::Done,
        }
    }

    pub(in crate::engine) fn handed_out(&mut self, position: Position, next: Next) {
        let (deliveries, done) = match next {
            Next::Deliver(deliveries) => (deliveries, false),
            Next::Done => (0, true),
        };
        self.unacknowledged += u16::from(!done);
        self.newest = position;
        self.out.push_back(HandedOut {
            position,
            deliveries,
            done,
        });
        self.close_up();
    }

    /// The client acknowledges a publication, or all up to it. `false` if it was not handed out.
    pub(in crate::engine) fn done(&mut self, position: Position, cumulative: bool) -> bool {
        let found = self
            .out
            .binary_search_by_key(&position.offset, |out| out.position.offset);
        let Some(at) = found.ok().filter(|at| self.out[*at].position == position) else {
            // Acknowledging twice is not an error, nor is acknowledging what was handed out of an
            // earlier stream.
            let was_cut = self.cut.is_some_and(|cut| {
                position.epoch.0 <= cut.epoch.0 && position.offset <= cut.offset
            });
            return was_cut || position.offset <= self.low.offset;
        };
        let first = if cumulative { 0 } else { at };
        for out in self.out.range_mut(first..=at) {
            self.unacknowledged -= u16::from(!out.done);
            out.done = true;
        }
        self.close_up();
        true
    }

    fn close_up(&mut self) {
        while let Some(out) = self.out.pop_front_if(|out| out.done) {
            self.low = out.position;
        }
    }

    /// What a later connection must redeliver, if the subscription's cursor is here.
    pub(in crate::engine) fn unacknowledged(&self, cursor: Position) -> Unacknowledged {
        let out = self.out.iter().filter(|out| !out.done);
        let here = out.map(|out| Earlier {
            position: out.position,
            deliveries: out.deliveries,
        });
        // Publications of the connection before that this one did not reach.
        let left = self.before.iter().copied();
        let until = self
            .before_until
            .filter(|until| until.offset > cursor.offset);
        Unacknowledged {
            until: until.unwrap_or(cursor),
            publications: here.chain(left).collect(),
        }
    }
}

#[cfg(test)]
mod tests;

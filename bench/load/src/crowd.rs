//! Many lines at once, on one poll.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mio::{Events, Interest, Poll, Token};

use crate::dialects::Part;
use crate::line::{Heard, Line};
use crate::process;
use crate::ring::Ring;
use crate::transport::Dialer;

/// A server that says nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);

/// How many lines are opening at a time: below every server's accept backlog.
const OPENING: usize = 100;

/// Room for one read.
const READ_BUFFER: usize = 256 * 1024;

/// Few enough that what is to be sent next does not wait long for the rest of them.
const EVENTS: usize = 64;

/// Descriptors besides the lines'.
pub const SPARE_DESCRIPTORS: u64 = 64;

/// All lines to one server.
pub struct Crowd {
    /// In the order in which they were opened.
    pub lines: Vec<Line>,
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Without lines.
    pub fn new() -> Result<Self> {
        Ok(Self {
            lines: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            buffer: vec![0; READ_BUFFER],
        })
    }

    /// Opens one line a part and waits until all are ready; `progress` hears how many are.
    pub fn open(
        &mut self,
        dialer: &Dialer,
        parts: impl ExactSizeIterator<Item = Rc<Part>>,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        let limit = process::raise_descriptor_limit()?;
        let total = self.lines.len() + parts.len();
        ensure!(
            total as u64 + SPARE_DESCRIPTORS <= limit,
            "{total} lines need more descriptors than the limit of {limit}: \
             raise `ulimit -Hn`, or ask for fewer"
        );
        let ring = Ring::empty();
        let mut ready = self.lines.len();
        for part in parts {
            self.dial(dialer, part)?;
            while self.lines.len() - ready >= OPENING {
                self.wait_for_ready(&ring, &mut ready)?;
                progress(ready);
            }
        }
        while ready < total {
            self.wait_for_ready(&ring, &mut ready)?;
            progress(ready);
        }
        Ok(())
    }

    fn dial(&mut self, dialer: &Dialer, part: Rc<Part>) -> Result<()> {
        let mut line = Line::open(dialer, part)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.lines.len());
        self.poll
            .registry()
            .register(line.socket(), token, interest)?;
        self.lines.push(line);
        Ok(())
    }

    fn wait_for_ready(&mut self, ring: &Ring, ready: &mut usize) -> Result<()> {
        self.turn(ring, None, |_, _, heard| {
            *ready += usize::from(heard == Heard::Ready);
            Ok(())
        })
    }

    /// Waits until something comes, or for `time`, and lets every line with news have its turn.
    /// Without a `time`, a server that says nothing for long is an error.
    pub fn turn(
        &mut self,
        ring: &Ring,
        time: Option<Duration>,
        mut hear: impl FnMut(&mut Line, usize, Heard) -> Result<()>,
    ) -> Result<()> {
        match self.poll.poll(&mut self.events, time.or(Some(STALL))) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let is_quiet = self.events.is_empty();
        ensure!(
            !is_quiet || time.is_some(),
            "the server said nothing for {} s",
            STALL.as_secs()
        );
        for event in &self.events {
            let index = event.token().0;
            let Some(line) = self.lines.get_mut(index) else {
                continue;
            };
            let ends = event.is_read_closed();
            line.turn(ring, ends, &mut self.buffer, |line, heard| {
                hear(line, index, heard)
            })
            .with_context(|| format!("line {index}"))?;
        }
        Ok(())
    }

    /// Lets a line that was deaf read what waits in its socket.
    pub fn turn_of(
        &mut self,
        index: usize,
        ring: &Ring,
        mut hear: impl FnMut(&mut Line, Heard) -> Result<()>,
    ) -> Result<()> {
        let line = self.lines.get_mut(index).context("no such line")?;
        line.turn(ring, false, &mut self.buffer, |line, heard| {
            hear(line, heard)
        })
    }
}

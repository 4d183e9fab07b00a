//! Many connections at once, on one poll.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mio::{Interest, Token};

use crate::connection::{Connection, Heard};
use crate::dialects::Part;
use crate::process;
use crate::ring::Ring;
use crate::transport::Dialer;
use crate::watch::Watch;

/// A server that says nothing for so long is given up.
const STALL: Duration = Duration::from_secs(20);

/// How many connections are opening at a time: below every server's accept backlog.
const OPENING: usize = 100;

/// Room for one read.
const READ_BUFFER: usize = 256 * 1024;

/// Few enough that what is to be sent next does not wait long for the rest of them.
const EVENTS: usize = 64;

/// Descriptors besides the connections'.
pub const SPARE_DESCRIPTORS: u64 = 64;

/// All connections to one server.
pub struct Crowd {
    /// In the order in which they were opened.
    pub connections: Vec<Connection>,
    /// What waits for them.
    pub watch: Watch,
    buffer: Vec<u8>,
}

impl Crowd {
    /// Without connections.
    pub fn new() -> Result<Self> {
        Ok(Self {
            connections: Vec::new(),
            watch: Watch::new(EVENTS)?,
            buffer: vec![0; READ_BUFFER],
        })
    }

    /// Opens one connection a part and waits until all are ready; `progress` hears how many are.
    pub fn open(
        &mut self,
        dialer: &Dialer,
        parts: impl ExactSizeIterator<Item = Rc<Part>>,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        let limit = process::raise_descriptor_limit()?;
        let total = self.connections.len() + parts.len();
        ensure!(
            total as u64 + SPARE_DESCRIPTORS <= limit,
            "{total} connections need more descriptors than the limit of {limit}: \
             raise `ulimit -Hn`, or ask for fewer"
        );
        let ring = Ring::empty();
        let mut ready = self.connections.len();
        for part in parts {
            self.dial(dialer, part)?;
            while self.connections.len() - ready >= OPENING {
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
        let mut connection = Connection::open(dialer, part)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(self.connections.len());
        self.watch
            .registry()
            .register(connection.socket(), token, interest)?;
        self.connections.push(connection);
        Ok(())
    }

    /// Lets TCP acknowledge at once on every connection. It would wait for a second segment where a connection
    /// has answered what it heard, as some dialects make it do: a server would be quicker or
    /// slower by what was said before.
    pub fn acknowledge_alike(&self) -> Result<()> {
        for connection in &self.connections {
            connection.acknowledge_at_once()?;
        }
        Ok(())
    }

    fn wait_for_ready(&mut self, ring: &Ring, ready: &mut usize) -> Result<()> {
        self.turn(ring, None, |_, _, heard| {
            *ready += usize::from(heard == Heard::Ready);
            Ok(())
        })
    }

    /// Waits until something comes, or for `time`, and lets every connection with news have its turn.
    /// Without a `time`, a server that says nothing for long is an error.
    pub fn turn(
        &mut self,
        ring: &Ring,
        time: Option<Duration>,
        mut hear: impl FnMut(&mut Connection, usize, Heard) -> Result<()>,
    ) -> Result<()> {
        let found = self.watch.wait(time.unwrap_or(STALL))?;
        ensure!(
            found || time.is_some(),
            "the server said nothing for {} s",
            STALL.as_secs()
        );
        for event in self.watch.found() {
            let index = event.token().0;
            let Some(connection) = self.connections.get_mut(index) else {
                continue;
            };
            let ends = event.is_read_closed();
            connection
                .turn(ring, ends, &mut self.buffer, |connection, heard| {
                    hear(connection, index, heard)
                })
                .with_context(|| format!("connection {index}"))?;
        }
        Ok(())
    }

    /// Lets a connection that was deaf read what waits in its socket.
    pub fn turn_of(
        &mut self,
        index: usize,
        ring: &Ring,
        mut hear: impl FnMut(&mut Connection, Heard) -> Result<()>,
    ) -> Result<()> {
        let connection = self
            .connections
            .get_mut(index)
            .context("no such connection")?;
        connection.turn(ring, false, &mut self.buffer, |connection, heard| {
            hear(connection, heard)
        })
    }
}

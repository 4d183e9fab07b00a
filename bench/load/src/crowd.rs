//! Many connections on one poll.

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

/// How long a server may stay silent before the measurement fails.
const STALL: Duration = Duration::from_secs(20);

/// The number of connections opened at a time: below every server's accept backlog.
const OPENING: usize = 100;

/// The size of one read.
const READ_BUFFER: usize = 256 * 1024;

/// The number of events handled at a time. It is small, so that the next send does not wait long
/// for the remaining events.
const EVENTS: usize = 64;

/// Descriptors reserved for other things than connections.
pub const SPARE_DESCRIPTORS: u64 = 64;

/// All connections to one server.
pub struct Crowd {
    /// The connections, in the order in which they were opened.
    pub connections: Vec<Connection>,
    /// The poll that waits for them.
    pub watch: Watch,
    buffer: Vec<u8>,
}

impl Crowd {
    /// An empty crowd.
    pub fn new() -> Result<Self> {
        Ok(Self {
            connections: Vec::new(),
            watch: Watch::new(EVENTS)?,
            buffer: vec![0; READ_BUFFER],
        })
    }

    /// Opens one connection for each part and waits until all are ready; `progress` is given the
    /// number of ready ones.
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

    /// Makes TCP acknowledge immediately on every connection. Otherwise TCP waits for a second
    /// segment where a connection has answered before, as some dialects require; a server's rate
    /// would then depend on earlier traffic.
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

    /// Waits until something arrives, or for `time`, and processes every connection that is ready.
    /// Without a `time`, a server that is silent for too long is an error.
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

    /// Makes a connection that did not read process what is in its socket.
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

//! Waits for many links at once.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mio::{Interest, Token};

use crate::deflate::Agreement;
use crate::link::{Link, Turn};
use crate::process;
use crate::ring::Ring;
use crate::transport::Dialer;
use crate::watch::Watch;

/// How long a server may stay silent before the measurement fails.
const STALL: Duration = Duration::from_secs(10);

/// The number of upgrades in progress at a time: below every server's accept backlog.
const OPENING: usize = 100;

/// The size of one read: more than loopback delivers at once, so that most reads are short.
const READ_BUFFER: usize = 256 * 1024;

/// Descriptors reserved for other things than connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// All connections to one server.
pub struct Driver {
    /// The connections, in the order in which they were opened.
    pub links: Vec<Link>,
    /// The poll that waits for them.
    pub watch: Watch,
    buffer: Vec<u8>,
    dialer: Dialer,
    offer_deflate: bool,
}

impl Driver {
    /// A driver without connections.
    pub fn new(dialer: Dialer, offer_deflate: bool) -> Result<Self> {
        Ok(Self {
            links: Vec::new(),
            watch: Watch::new(1024)?,
            buffer: vec![0; READ_BUFFER],
            dialer,
            offer_deflate,
        })
    }

    /// Opens `count` more connections and waits until all are open.
    pub fn open(&mut self, count: usize) -> Result<()> {
        let limit = process::raise_descriptor_limit()?;
        let total = self.links.len() + count;
        ensure!(
            total as u64 + SPARE_DESCRIPTORS <= limit,
            "{total} connections need more descriptors than the limit of {limit}: \
             raise `ulimit -Hn`, or ask for fewer"
        );
        let ring = Ring::empty();
        let mut opened = self.links.len();
        while opened < total {
            while self.links.len() < total && self.links.len() - opened < OPENING {
                self.dial(None)?;
            }
            self.spin(&ring, |_, turn| {
                opened += usize::from(turn.opened);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Starts a connection in place of the one at `slot`, or as a new one.
    pub fn dial(&mut self, slot: Option<usize>) -> Result<()> {
        let mut link = Link::open(&self.dialer, self.offer_deflate)?;
        let token = Token(slot.unwrap_or(self.links.len()));
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.watch
            .registry()
            .register(&mut link.transport.socket, token, interest)?;
        match self.links.get_mut(token.0) {
            Some(place) => *place = link,
            None => self.links.push(link),
        }
        Ok(())
    }

    /// What the server agreed to, which is the same for all connections.
    pub fn agreement(&self) -> Result<Option<Agreement>> {
        let agreed = self
            .links
            .first()
            .context("no connection is open")?
            .agreement;
        if self.offer_deflate && agreed.is_none() {
            bail!("the server did not agree to permessage-deflate");
        }
        Ok(agreed)
    }

    /// Waits once, processes every link that is ready, and reports each.
    pub fn spin(
        &mut self,
        ring: &Ring,
        mut report: impl FnMut(&mut Link, &Turn) -> Result<()>,
    ) -> Result<Vec<usize>> {
        ensure!(
            self.watch.wait(STALL)?,
            "the server said nothing for {} s",
            STALL.as_secs()
        );
        let mut ended = Vec::new();
        for event in self.watch.found() {
            let Some(link) = self.links.get_mut(event.token().0) else {
                continue;
            };
            let turn = link.turn(ring, &mut self.buffer)?;
            report(link, &turn)?;
            if turn.ended {
                ended.push(event.token().0);
            }
        }
        Ok(ended)
    }

    /// Makes every connection echo the ring's first message, `at_a_time` connections at once.
    pub fn carry(&mut self, ring: &Ring, at_a_time: usize) -> Result<()> {
        for link in &mut self.links {
            link.restart();
        }
        let (mut asked, mut answered) = (0, 0);
        while answered < self.links.len() {
            while asked < self.links.len() && asked - answered < at_a_time {
                self.links[asked].send(ring, 1)?;
                asked += 1;
            }
            self.spin(ring, |_, turn| {
                answered += turn.messages;
                Ok(())
            })?;
        }
        Ok(())
    }
}

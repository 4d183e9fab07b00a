//! Two connected connections.

use std::sync::Arc;

use offhook_protocol::{Closed, Config, Connection, Deflate, Error, Input};

use crate::talk::write_some;
use crate::{Clock, Heard, Link};

/// One end of a [`Pair`].
#[derive(Debug)]
pub struct End {
    /// The connection.
    pub connection: Connection,
    /// The events it reported, in order.
    pub heard: Vec<Heard>,
    /// The link to the other end.
    pub link: Link,
    transport_open: bool,
}

impl End {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            heard: Vec::new(),
            link: Link::default(),
            transport_open: true,
        }
    }

    /// Takes the events reported so far.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    /// How the connection ended, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.connection.closed()
    }

    fn note(&mut self, result: Result<(), Error>) {
        if let Err(error) = result {
            self.heard.push(Heard::Error(error));
        }
    }

    fn receive(&mut self, mut bytes: Vec<u8>, clock: Clock) {
        let mut input = Input::new(&mut bytes, clock.now());
        loop {
            match self.connection.receive(&mut input) {
                Ok(Some(event)) => self.heard.push(event.into()),
                Ok(None) => return,
                Err(error) => self.heard.push(Heard::Error(error)),
            }
        }
    }
}

/// A client and a server with a simulated link between them.
#[derive(Debug)]
pub struct Pair {
    /// The client's end, and its link to the server.
    pub client: End,
    /// The server's end, and its link to the client.
    pub server: End,
    /// The clock of both ends.
    pub clock: Clock,
}

impl Pair {
    /// A pair with a configuration for each end.
    #[must_use]
    pub fn new(client: Config, server: Config) -> Self {
        let clock = Clock::default();
        let keys = std::sync::atomic::AtomicU32::new(0x9e37_79b9);
        let next = move || {
            let key = keys.fetch_add(0x9e37_79b9, std::sync::atomic::Ordering::Relaxed);
            key.to_le_bytes()
        };
        Self {
            client: End::new(Connection::client(
                Arc::new(client),
                Arc::new(next),
                clock.now(),
            )),
            server: End::new(Connection::server(Arc::new(server), clock.now())),
            clock,
        }
    }

    /// Enables permessage-deflate at both ends.
    #[must_use]
    pub fn deflating(mut self, client: Deflate, server: Deflate) -> Self {
        self.client.connection = self.client.connection.with_deflate(client);
        self.server.connection = self.server.connection.with_deflate(server);
        self
    }

    /// Runs both ends until neither has anything to send without time passing.
    pub fn settle(&mut self) {
        while self.exchange() {}
    }

    /// Runs both ends for a duration, with time advancing to their timeouts.
    pub fn run(&mut self, time: std::time::Duration) {
        let end = self.clock.now() + time;
        loop {
            self.settle();
            let ends = [&self.client, &self.server];
            let timers = ends.iter().filter(|end| end.transport_open);
            let timers = timers.filter_map(|end| end.connection.poll_timeout());
            let arrivals = ends.iter().filter_map(|end| end.link.next_arrival());
            let Some(next) = timers.chain(arrivals).min().filter(|next| *next <= end) else {
                break;
            };
            self.clock.advance_to(next);
            for side in [&mut self.client, &mut self.server] {
                let result = side.connection.handle_timeout(self.clock.now());
                side.note(result);
            }
        }
        self.clock.advance_to(end);
    }

    /// The network is lost without notice.
    pub fn lose_link(&mut self) {
        self.client.link.lose();
        self.server.link.lose();
    }

    fn exchange(&mut self) -> bool {
        let to_server = carry(&mut self.client, &mut self.server, self.clock);
        let to_client = carry(&mut self.server, &mut self.client, self.clock);
        let closed = self.disconnect();
        to_server || to_client || closed
    }

    /// Closes the transport for both ends when one end asks for it and its output has arrived.
    fn disconnect(&mut self) -> bool {
        let ends = [&self.client, &self.server];
        let wanted = ends
            .iter()
            .any(|end| end.transport_open && end.connection.wants_disconnect());
        let arrived = ends.iter().all(|end| end.link.next_arrival().is_none());
        if !wanted || !arrived {
            return false;
        }
        for end in [&mut self.client, &mut self.server] {
            end.transport_open = false;
            end.connection.handle_transport_closed(self.clock.now());
        }
        true
    }
}

fn carry(from: &mut End, to: &mut End, clock: Clock) -> bool {
    let mut moved = false;
    while from.transport_open && from.connection.has_output() && from.link.room() > 0 {
        let bytes = write_some(&mut from.connection, from.link.room());
        from.link.write(&bytes, clock.now());
        moved = true;
    }
    while let Some(bytes) = from.link.read(clock.now()) {
        if to.transport_open {
            to.receive(bytes, clock);
        }
        moved = true;
    }
    moved
}

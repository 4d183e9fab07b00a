//! Admission: how many connections may exist, and how fast they may be opened.

mod handshakes;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use crate::config::Connections;
use handshakes::{Handshakes, customer};

/// How many connections over the limit get an answer. 256: others are closed unread, so that a
/// flood costs one accept each.
const TOLD: usize = 256;

/// The admission of the whole process.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    most: usize,
    /// Connections by address; only used if they are limited.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    most_per_address: Option<usize>,
    handshakes: Mutex<Handshakes>,
}

impl Admission {
    pub(crate) fn new(limits: &Connections, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: limits.max,
            addresses: Mutex::default(),
            most_per_address: limits.max_per_address,
            handshakes: Mutex::new(Handshakes::new(
                limits.handshakes_per_second,
                limits.handshake_burst,
                now,
            )),
        })
    }

    /// The number of connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a connection, which may exist only to tell the client that there is no room.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = customer(address);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.most + TOLD {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut over = before >= self.most;
        if let Some(most) = self.most_per_address {
            let mut addresses = lock(&self.addresses);
            let count = addresses.entry(address).or_default();
            *count += 1;
            over |= *count > most;
        }
        let admission = Arc::clone(self);
        Some(Place {
            admission,
            address,
            over,
            counted: false,
            has_requested: false,
        })
    }

    /// Whether this address may perform another handshake now.
    pub(crate) fn handshake(&self, address: IpAddr, now: Instant) -> bool {
        lock(&self.handshakes).take(address, now)
    }

    /// How long a client that is refused now should wait at least, and over how long such clients
    /// should be spread, in seconds.
    pub(crate) fn come_back(&self, now: Instant) -> (u64, u64) {
        lock(&self.handshakes).come_back(now)
    }
}

/// A connection's place, freed on drop.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
    over: bool,
    /// Whether its handshake was already counted, before TLS.
    counted: bool,
    /// Whether a request has opened a connection to the engine on it.
    has_requested: bool,
}

impl Place {
    /// Whether this connection may perform its handshake now. Only the first call counts.
    pub(crate) fn handshake(&mut self, now: Instant) -> bool {
        if self.counted {
            return true;
        }
        self.counted = self.admission.handshake(self.address, now);
        self.counted
    }

    /// Where the client is.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// A second place for the same address: for a connection that outlives the requests over which it
    /// runs.
    pub(crate) fn another(&self) -> Option<Self> {
        self.admission.take(self.address)
    }

    /// Whether a request on this connection may open a connection to the engine now. Each counts as a
    /// handshake, as it would on a connection of its own.
    pub(crate) fn request(&mut self, now: Instant) -> bool {
        if std::mem::replace(&mut self.has_requested, true) {
            return self.admission.handshake(self.address, now);
        }
        self.handshake(now)
    }

    /// Whether it exceeds the limit, and only exists to be told so.
    pub(crate) const fn is_over(&self) -> bool {
        self.over
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if self.admission.most_per_address.is_some() {
            let mut addresses = lock(&self.admission.addresses);
            if let Some(count) = addresses.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    addresses.remove(&self.address);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters remain valid after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Admission: how many connections may exist, and how fast they may be opened.

mod handshakes;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Instant,
};

use offhook_engine::Identity;

use crate::{config::Connections, worker::Verified};
use handshakes::{Handshakes, customer};

/// How many connections over the limit get an answer. 256: further connections are closed unread,
/// so that each connection of a flood costs only one `accept`.
const TOLD: usize = 256;

/// Means that one address may open any number of connections.
const NO_LIMIT: usize = usize::MAX;

/// The admission of the whole process.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    /// The number of the next connection.
    next: AtomicU32,
    most: AtomicUsize,
    /// Connections by address; only used if they are limited.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    most_per_address: AtomicUsize,
    handshakes: Mutex<Handshakes>,
    /// The users whose certificates clients have presented, by the numbers of their connections. Not
    /// in their places, because few connections have one.
    certified: Mutex<HashMap<u32, Arc<Identity>>>,
}

impl Admission {
    pub(crate) fn new(limits: &Connections, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            next: AtomicU32::new(1),
            most: AtomicUsize::new(limits.max),
            addresses: Mutex::default(),
            most_per_address: AtomicUsize::new(limits.max_per_address.unwrap_or(NO_LIMIT)),
            handshakes: Mutex::new(Handshakes::new(
                limits.handshakes_per_second,
                limits.handshake_burst,
                now,
            )),
            certified: Mutex::default(),
        })
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a connection. A connection over the limit also gets one, so that the client can
    /// be told; see [`Place::is_over`].
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut place = self.take_unvalidated(address)?;
        place.count_address();
        Some(place)
    }

    /// A place for a connection whose address may be forged. It does not count towards the limit of that
    /// address before [`Place::count_address`].
    pub(crate) fn take_unvalidated(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = customer(address);
        let most_at_all = self.most.load(Ordering::Relaxed);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if before >= most_at_all.saturating_add(TOLD) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let admission = Arc::clone(self);
        let mut place = Place {
            admission,
            number: self.next.fetch_add(1, Ordering::Relaxed),
            address,
            flags: 0,
        };
        place.set(OVER, before >= most_at_all);
        Some(place)
    }

    /// Counts a connection by its address, if addresses have a limit. Returns whether it was
    /// counted, and whether it exceeds the limit.
    fn count(&self, address: IpAddr) -> (bool, bool) {
        let most = self.most_per_address.load(Ordering::Relaxed);
        if most == NO_LIMIT {
            return (false, false);
        }
        let mut addresses = lock(&self.addresses);
        let count = addresses.entry(address).or_default();
        *count += 1;
        (true, *count > most)
    }

    fn uncount(&self, address: IpAddr) {
        let mut addresses = lock(&self.addresses);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    /// Applies other limits. Connections that exceed them stay open. Open connections are counted
    /// by address only if addresses had a limit when they were opened.
    pub(crate) fn set_limits(&self, limits: &Connections) {
        self.most.store(limits.max, Ordering::Relaxed);
        let per_address = limits.max_per_address.unwrap_or(NO_LIMIT);
        self.most_per_address.store(per_address, Ordering::Relaxed);
        let (rate, burst) = (limits.handshakes_per_second, limits.handshake_burst);
        lock(&self.handshakes).set_rate(rate, burst);
    }

    /// Whether this address may perform another handshake now.
    pub(crate) fn handshake(&self, address: IpAddr, now: Instant) -> bool {
        lock(&self.handshakes).take(address, now)
    }

    /// The minimum time that a client that is refused now should wait, and the time over which such
    /// clients should be spread, in seconds.
    pub(crate) fn come_back(&self, now: Instant) -> (u64, u64) {
        lock(&self.handshakes).come_back(now)
    }
}

/// Names a connection in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The connection's number, from 1 in each process; it begins again after 2^32.
    pub(crate) number: u32,
    /// The client's address; of IPv6, the first 64 bits.
    pub(crate) address: IpAddr,
}

/// It exceeds the limit of all connections.
const OVER: u8 = 1;
/// It exceeds the limit of its address.
const OVER_BY_ADDRESS: u8 = 2;
/// It is counted by its address.
const BY_ADDRESS: u8 = 4;
/// Its handshake was already counted, before TLS.
const COUNTED: u8 = 8;
/// A request has opened a connection to the engine on it.
const REQUESTED: u8 = 16;
/// Its client has presented the certificate of a user.
const CERTIFIED: u8 = 32;

/// A connection's place, freed on drop. Each connection's task holds one, so it is kept small.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    number: u32,
    address: IpAddr,
    /// A combination of the constants above.
    flags: u8,
}

impl Place {
    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn set(&mut self, flag: u8, holds: bool) {
        if holds {
            self.flags |= flag;
        } else {
            self.flags &= !flag;
        }
    }

    /// Whether this connection may perform its handshake now. Only the first call counts.
    pub(crate) fn handshake(&mut self, now: Instant) -> bool {
        if !self.has(COUNTED) {
            let is_let = self.admission.handshake(self.address, now);
            self.set(COUNTED, is_let);
        }
        self.has(COUNTED)
    }

    /// The name of the connection in logs.
    pub(crate) const fn peer(&self) -> Peer {
        Peer {
            number: self.number,
            address: self.address,
        }
    }

    /// Replaces the address of a trusted proxy by the client's address.
    pub(crate) fn move_to(&mut self, address: IpAddr) {
        let address = customer(address);
        if address == self.address {
            return;
        }
        if self.has(BY_ADDRESS) {
            self.admission.uncount(self.address);
        }
        self.address = address;
        self.set(BY_ADDRESS, false);
        self.count_address();
    }

    /// Counts the connection by its address, if addresses have a limit. Only the first call counts.
    pub(crate) fn count_address(&mut self) {
        if self.has(BY_ADDRESS) {
            return;
        }
        let (is_counted, over) = self.admission.count(self.address);
        self.set(BY_ADDRESS, is_counted);
        self.set(OVER_BY_ADDRESS, over);
    }

    /// Notes that the client has presented the certificate of this user.
    pub(crate) fn certify(&mut self, identity: Identity) {
        self.keep_certified(Arc::new(identity));
    }

    fn keep_certified(&mut self, identity: Arc<Identity>) {
        let mut certified = lock(&self.admission.certified);
        if !self.has(CERTIFIED) {
            // Numbers begin again after 2^32, and an older connection may still have this one.
            while certified.contains_key(&self.number) {
                self.number = self.admission.next.fetch_add(1, Ordering::Relaxed);
            }
        }
        certified.insert(self.number, identity);
        drop(certified);
        self.set(CERTIFIED, true);
    }

    fn certificate(&self) -> Option<Arc<Identity>> {
        if !self.has(CERTIFIED) {
            return None;
        }
        lock(&self.admission.certified).get(&self.number).cloned()
    }

    /// The identity by the client's certificate, at this time.
    pub(crate) fn certified(&self, now_ms: u64) -> Option<Verified> {
        Some(Verified {
            identity: self.certificate()?,
            at_ms: now_ms,
        })
    }

    /// The client's address.
    pub(crate) const fn address(&self) -> IpAddr {
        self.address
    }

    /// A second place for the same address, for a connection over requests, which outlives each of
    /// them.
    pub(crate) fn another(&self) -> Option<Self> {
        let mut another = self.admission.take(self.address)?;
        if let Some(identity) = self.certificate() {
            another.keep_certified(identity);
        }
        Some(another)
    }

    /// Whether a request on this connection may open a connection to the engine now. Each counts as a
    /// handshake, as it would on a connection of its own.
    pub(crate) fn request(&mut self, now: Instant) -> bool {
        if self.has(REQUESTED) {
            return self.admission.handshake(self.address, now);
        }
        self.set(REQUESTED, true);
        self.handshake(now)
    }

    /// Whether it exceeds the limit. Such a connection is only told so and closed.
    pub(crate) const fn is_over(&self) -> bool {
        self.has(OVER | OVER_BY_ADDRESS)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if self.has(BY_ADDRESS) {
            self.admission.uncount(self.address);
        }
        if self.has(CERTIFIED) {
            lock(&self.admission.certified).remove(&self.number);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters remain valid after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

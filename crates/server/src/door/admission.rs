//! How many may be here, and how fast they may come.

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

/// Connections over the limit that are told so. 256: the rest is closed unheard, so that a flood
/// costs an accept each.
const TOLD: usize = 256;

/// The gate of the whole process.
#[derive(Debug)]
pub(crate) struct Admission {
    open: AtomicUsize,
    most: usize,
    /// By address; only where that is limited.
    addresses: Mutex<HashMap<IpAddr, usize>>,
    most_per_address: Option<usize>,
    handshakes: Mutex<Handshakes>,
}

/// A token bucket in thousandths of a handshake.
#[derive(Debug)]
struct Handshakes {
    per_second: u64,
    burst: u64,
    left: u64,
    at: Instant,
}

impl Admission {
    pub(crate) fn new(limits: &Connections, now: Instant) -> Arc<Self> {
        let burst = u64::from(limits.handshake_burst) * 1000;
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: limits.max,
            addresses: Mutex::default(),
            most_per_address: limits.max_per_address,
            handshakes: Mutex::new(Handshakes {
                per_second: limits.handshakes_per_second.into(),
                burst,
                left: burst,
                at: now,
            }),
        })
    }

    /// How many connections there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// A place for a connection, be it only to be told that there is none.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
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
        })
    }

    /// Whether one more handshake may be made now.
    pub(crate) fn handshake(&self, now: Instant) -> bool {
        lock(&self.handshakes).take(now)
    }
}

impl Handshakes {
    fn take(&mut self, now: Instant) -> bool {
        let past = now.saturating_duration_since(self.at);
        let past = u64::try_from(past.as_micros()).unwrap_or(u64::MAX);
        let earned = past.saturating_mul(self.per_second) / 1000;
        if earned > 0 {
            self.at = now;
            self.left = self.left.saturating_add(earned).min(self.burst);
        }
        let taken = self.left.checked_sub(1000);
        self.left = taken.unwrap_or(self.left);
        taken.is_some()
    }
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
    over: bool,
}

impl Place {
    /// Whether it is one too many, there only to be told so.
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
    // Counters are counters, whatever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

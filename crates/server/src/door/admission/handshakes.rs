//! The rate of handshakes: a limit for all together, with a reserve that a single address cannot
//! use up.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// The reserve is this fraction of the rate, for addresses below their share. A quarter: a flood
/// from one address costs the others nothing, and the total stays near the configured rate.
const RESERVE: u64 = 4;

/// How long an address's handshakes count against it.
const WINDOW: Duration = Duration::from_secs(1);

/// How many addresses are distinguished within a window. 16,384: about 700 KB. Further addresses
/// share one place.
const ADDRESSES: usize = 16_384;

/// Decides which handshakes are allowed.
#[derive(Debug)]
pub(super) struct Handshakes {
    all: Bucket,
    reserve: Bucket,
    /// The number of handshakes of each address since the window started.
    had: HashMap<IpAddr, u32>,
    /// Refusals since the window started, and in the window before.
    refused: (u64, u64),
    window: Instant,
}

/// A token bucket in thousandths of a handshake.
#[derive(Debug)]
struct Bucket {
    per_second: u64,
    burst: u64,
    left: u64,
    at: Instant,
}

impl Handshakes {
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let (per_second, burst) = (u64::from(per_second), u64::from(burst));
        let part = |of: u64| (of / RESERVE).max(1);
        Self {
            all: Bucket::full(per_second, burst, now),
            reserve: Bucket::full(part(per_second), part(burst), now),
            had: HashMap::new(),
            refused: (0, 0),
            window: now,
        }
    }

    /// Takes another rate over.
    pub(super) fn set_rate(&mut self, per_second: u32, burst: u32) {
        let (per_second, burst) = (u64::from(per_second), u64::from(burst));
        let part = |of: u64| (of / RESERVE).max(1);
        self.all.set_rate(per_second, burst);
        self.reserve.set_rate(part(per_second), part(burst));
    }

    /// Takes a handshake for this address, if one is available to it.
    pub(super) fn take(&mut self, address: IpAddr, now: Instant) -> bool {
        self.turn_window(now);
        let key = self.key(address);
        let addresses = u64::try_from(self.had.len()).unwrap_or(u64::MAX).max(1);
        // One more than at present: another address may follow.
        let share = (self.reserve.per_second / (addresses + 1)).max(1);
        let had = self.had.entry(key).or_default();
        let taken = self.all.take(now) || (u64::from(*had) < share && self.reserve.take(now));
        if taken {
            *had = had.saturating_add(1);
        } else {
            self.refused.0 += 1;
        }
        taken
    }

    /// When refused clients should return: they are spread over the time that the rate needs to let
    /// in all recently refused clients, so that the next attempt of each succeeds.
    pub(super) fn come_back(&mut self, now: Instant) -> (u64, u64) {
        self.turn_window(now);
        let waiting = self.refused.0 + self.refused.1;
        let seconds = waiting / self.all.per_second.max(1);
        (2, (2 * seconds).clamp(7, 60))
    }

    fn turn_window(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.window);
        if past < WINDOW {
            return;
        }
        self.window = now;
        self.had.clear();
        let before = if past < 2 * WINDOW { self.refused.0 } else { 0 };
        self.refused = (0, before);
    }

    fn key(&self, address: IpAddr) -> IpAddr {
        let key = customer(address);
        if self.had.len() >= ADDRESSES && !self.had.contains_key(&key) {
            return IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        key
    }
}

/// What counts as one address: for IPv6 the first 64 bits, which belong to one customer.
pub(super) fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

impl Bucket {
    const fn full(per_second: u64, burst: u64, now: Instant) -> Self {
        let burst = burst.saturating_mul(1000);
        Self {
            per_second,
            burst,
            left: burst,
            at: now,
        }
    }

    fn set_rate(&mut self, per_second: u64, burst: u64) {
        self.per_second = per_second;
        self.burst = burst.saturating_mul(1000);
        self.left = self.left.min(self.burst);
    }

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

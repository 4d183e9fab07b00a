//! Decides when keys are fetched from a URL, without I/O: the driver does the fetching. The time that it
//! is given must be that of a monotonic clock: the wall clock may be set back, and nothing would be
//! fetched for as long as it takes to pass the earlier time again.

use crate::{key::InvalidKey, key_set::KeySet};

/// The limits of fetching, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefetchLimits {
    /// The age at which keys are fetched again. Default 10 min: a key that its issuer removes is
    /// rejected after that.
    pub refresh_ms: u64,
    /// The minimum time between two fetches, whatever requests them. Default 30 s: tokens that name
    /// unknown keys cause no load at the issuer.
    pub pause_ms: u64,
    /// How long keys are used while they cannot be fetched. Default 24 h: an outage of the issuer
    /// is not an outage here, and a removed key is not accepted forever.
    pub keep_ms: u64,
}

impl Default for RefetchLimits {
    fn default() -> Self {
        Self {
            refresh_ms: 10 * 60_000,
            pause_ms: 30_000,
            keep_ms: 24 * 3_600_000,
        }
    }
}

/// The state of keys from a URL.
///
/// ```text
/// due ──begin──▶ under way ──fetched──▶ fresh ──refresh_ms, or wanted and pause_ms──▶ due
///                    └──────failed──▶ pause_ms ──▶ due        keep_ms without success: no keys
/// ```
#[derive(Clone, Debug)]
pub struct Refetching {
    limits: RefetchLimits,
    keys: KeySet,
    fetched_ms: Option<u64>,
    tried_ms: Option<u64>,
    under_way: bool,
    failed: bool,
    /// A token named an unknown key.
    wanted: bool,
}

impl Refetching {
    /// Nothing has been fetched.
    #[must_use]
    pub fn new(limits: RefetchLimits) -> Self {
        Self {
            limits,
            keys: KeySet::default(),
            fetched_ms: None,
            tried_ms: None,
            under_way: false,
            failed: false,
            wanted: false,
        }
    }

    /// When to fetch next; none while a fetch is in progress.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        if self.under_way {
            return None;
        }
        let Some(tried) = self.tried_ms else {
            return Some(0);
        };
        let pause = self.limits.pause_ms;
        let soon = self.failed || self.wanted;
        let after = if soon {
            pause
        } else {
            pause.max(self.limits.refresh_ms)
        };
        Some(tried.saturating_add(after))
    }

    /// A fetch starts now.
    pub fn begin(&mut self, now_ms: u64) {
        self.under_way = true;
        self.wanted = false;
        self.tried_ms = Some(now_ms);
    }

    /// The fetch has returned this, which replaces the keys if it is a key set.
    ///
    /// # Errors
    /// The answer is not a key set; the previous keys stay in use.
    pub fn fetched(&mut self, body: &[u8], now_ms: u64) -> Result<(), InvalidKey> {
        match KeySet::from_jwks(body) {
            Ok(keys) => {
                (self.under_way, self.failed) = (false, false);
                self.keys = keys;
                self.fetched_ms = Some(now_ms);
                Ok(())
            }
            Err(error) => {
                self.failed(now_ms);
                Err(error)
            }
        }
    }

    /// The fetch failed. The keys stay for as long as the limits allow.
    pub fn failed(&mut self, now_ms: u64) {
        (self.under_way, self.failed) = (false, true);
        self.forget_old(now_ms);
    }

    fn forget_old(&mut self, now_ms: u64) {
        let keep = self.limits.keep_ms;
        if self
            .fetched_ms
            .is_some_and(|at| now_ms.saturating_sub(at) >= keep)
        {
            self.keys = KeySet::default();
            self.fetched_ms = None;
        }
    }

    /// A token names an unknown key: fetch again, if the last fetch is long enough ago. Returns
    /// whether that may soon provide the key: within the minimum time.
    pub fn want(&mut self, now_ms: u64) -> bool {
        if self.under_way || self.fetched_ms.is_none() {
            self.wanted = !self.under_way;
            return true;
        }
        self.wanted = true;
        self.due_ms().is_some_and(|due| due <= now_ms)
    }

    /// Whether there are keys, even old ones.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.fetched_ms.is_some()
    }

    /// The keys to use now.
    #[must_use]
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }
}

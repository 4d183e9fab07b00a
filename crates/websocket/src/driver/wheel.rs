//! A timing wheel: the next deadline of each connection, in a few bytes each.

use std::num::NonZeroU32;
use std::sync::Weak;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Driver;

/// Times are rounded up to a multiple of this. Keepalive does not need more precision than an
/// eighth of a second.
const TICK_MS: u64 = 128;

/// With 128 ms per slot, half a minute: one revolution for a keepalive interval.
const SLOTS: u64 = 256;

/// A connection's entry. Never zero, so that an optional key takes four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(NonZeroU32);

impl Key {
    fn new(index: usize) -> Self {
        let number = u32::try_from(index)
            .ok()
            .and_then(|index| index.checked_add(1));
        let number = number.and_then(NonZeroU32::new);
        Self(number.expect("memory ends before 2^32 connections"))
    }

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug)]
pub(crate) struct Wheel {
    origin: Option<Instant>,
    /// The first tick not yet processed.
    next: u64,
    entries: Slab<Entry>,
    /// Keys of entries by tick modulo [`SLOTS`].
    slots: Vec<Vec<Key>>,
    /// The number of keys in the slots.
    keys: usize,
}

#[derive(Debug)]
struct Entry {
    driver: Weak<Driver>,
    tick: u32,
    /// The slot of its valid key. Keys in other slots are stale: earlier ones of this connection,
    /// or those of connections that used the entry before.
    placed: Option<u16>,
}

impl Default for Wheel {
    fn default() -> Self {
        Self {
            origin: None,
            next: 0,
            entries: Slab::new(),
            slots: Vec::new(),
            keys: 0,
        }
    }
}

const fn slot_of(tick: u64) -> u16 {
    (tick % SLOTS) as u16
}

impl Wheel {
    /// Sets the time at which a connection is to be called, replacing any earlier time for this
    /// key.
    pub(crate) fn set(
        &mut self,
        key: Option<Key>,
        driver: &Weak<Driver>,
        at: Instant,
        now: Instant,
    ) -> Key {
        let origin = *self.origin.get_or_insert(now);
        let millis = at.saturating_duration_since(origin).as_millis();
        let tick = u64::try_from(millis)
            .unwrap_or(u64::MAX)
            .div_ceil(TICK_MS)
            .max(self.next);
        let known = key.filter(|key| self.entries.contains(key.index()));
        let key = known.unwrap_or_else(|| {
            Key::new(self.entries.insert(Entry {
                driver: driver.clone(),
                tick: 0,
                placed: None,
            }))
        });
        if let Some(entry) = self.entries.get_mut(key.index()) {
            entry.tick = u32::try_from(tick).unwrap_or(u32::MAX);
        }
        self.place(key, tick);
        key
    }

    /// Removes a connection.
    pub(crate) fn forget(&mut self, key: Key) {
        self.entries.try_remove(key.index());
    }

    /// Removes and returns the connections whose time has passed.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Weak<Driver>> {
        let mut due = Vec::new();
        let Some(origin) = self.origin else {
            return due;
        };
        let millis = now.saturating_duration_since(origin).as_millis();
        let current = u64::try_from(millis).unwrap_or(u64::MAX) / TICK_MS;
        // After a jump of the clock, each slot needs to be checked once, not each tick.
        let mut looked = 0;
        while self.next <= current && looked < SLOTS {
            let tick = self.next;
            self.next += 1;
            looked += 1;
            self.take_slot(tick, current, &mut due);
        }
        self.next = self.next.max(current + 1);
        due
    }

    fn take_slot(&mut self, tick: u64, current: u64, due: &mut Vec<Weak<Driver>>) {
        let Some(slot) = self.slots.get_mut(usize::from(slot_of(tick))) else {
            return;
        };
        for key in std::mem::take(slot) {
            self.keys -= 1;
            let entry = self.entries.get_mut(key.index());
            let Some(entry) = entry.filter(|entry| entry.placed == Some(slot_of(tick))) else {
                continue;
            };
            entry.placed = None;
            let due_at = u64::from(entry.tick);
            if due_at <= current {
                due.push(entry.driver.clone());
            } else {
                self.place(key, due_at);
            }
        }
    }

    /// When the next non-empty slot is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let origin = self.origin.filter(|_| self.keys > 0)?;
        let tick = (self.next..self.next + SLOTS).find(|tick| {
            let slot = self.slots.get(usize::from(slot_of(*tick)));
            slot.is_some_and(|slot| !slot.is_empty())
        })?;
        origin.checked_add(Duration::from_millis(tick * TICK_MS))
    }

    fn place(&mut self, key: Key, tick: u64) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, Vec::new);
        }
        let tick = tick.clamp(self.next, self.next + SLOTS - 1);
        let Some(entry) = self.entries.get_mut(key.index()) else {
            return;
        };
        let place = slot_of(tick);
        if entry.placed.replace(place) == Some(place) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(usize::from(place)) {
            slot.push(key);
            self.keys += 1;
        }
    }
}

#[cfg(test)]
mod tests;

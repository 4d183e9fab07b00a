//! A timing wheel: when which connection wants to be looked at, at a few bytes each.

use std::num::NonZeroU32;
use std::sync::Weak;
use std::time::{Duration, Instant};

use slab::Slab;

use super::Driver;

/// Times are rounded up to this. A keepalive does not care about an eighth of a second.
const TICK_MS: u64 = 128;

/// With 128 ms a slot, half a minute: a keepalive goes round once.
const SLOTS: u64 = 256;

/// A connection's place. Never zero, so that a connection that may have none holds four bytes.
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
    /// The first tick that has not been taken.
    next: u64,
    entries: Slab<Entry>,
    /// Keys of entries by tick modulo [`SLOTS`].
    slots: Vec<Vec<Key>>,
    /// How many keys are in the slots.
    keys: usize,
}

#[derive(Debug)]
struct Entry {
    driver: Weak<Driver>,
    tick: u32,
    /// The slot its one valid key lies in. Keys elsewhere are stale: its own from before, or those
    /// of the connections that had the place before it.
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
    /// Notes when a connection wants to be looked at; what was noted before for this key is void.
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

    /// Forgets a connection.
    pub(crate) fn forget(&mut self, key: Key) {
        self.entries.try_remove(key.index());
    }

    /// Takes the connections whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Weak<Driver>> {
        let mut due = Vec::new();
        let Some(origin) = self.origin else {
            return due;
        };
        let millis = now.saturating_duration_since(origin).as_millis();
        let current = u64::try_from(millis).unwrap_or(u64::MAX) / TICK_MS;
        // A clock that leapt ahead needs each slot looked at once, not each tick.
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

    /// When the next slot with anything in it is due.
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

//! Frees memory after a peak.

use std::{collections::HashMap, hash::Hash};

use crate::slab::{Slab, Slot};

use super::state::Subscription;

/// Frees most of a table that was large once: it keeps room for twice its entries.
pub(super) fn shrink<K: Eq + Hash, V>(table: &mut HashMap<K, V>) {
    if table.len() < table.capacity() / 8 {
        table.shrink_to(table.len() * 2);
    }
}

/// Adds a subscription to a list of those that wait for the broker. One that ends stays listed until
/// more are listed than can be there: clients that subscribe and unsubscribe while the broker does not
/// answer would make the list grow otherwise.
pub(super) fn list(slot: Slot, waiting: &mut Vec<Slot>, all: &Slab<Subscription>, most: u32) {
    waiting.push(slot);
    if waiting.len() > 2 * most as usize + 16 {
        waiting.retain(|slot| all.get(*slot).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_freed_when_less_than_an_eighth_of_it_is_used() {
        let mut table = HashMap::with_capacity(1_500);
        let peak = table.capacity();
        table.extend((1..peak / 8).map(|n| (n, ())));
        let mut full = table.clone();
        full.insert(0, ());
        full.reserve(peak - full.len());
        shrink(&mut full);
        assert!(full.capacity() >= peak);
        let mut one_less = table.clone();
        one_less.reserve(peak - one_less.len());
        shrink(&mut one_less);
        assert!(one_less.capacity() < peak);
        for n in 101..peak {
            table.remove(&n);
        }
        shrink(&mut table);
        let left = table.capacity();
        assert!(
            (2 * table.len()..peak / 2).contains(&left),
            "{left} of {peak}"
        );
    }
}

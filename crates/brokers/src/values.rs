//! A channel's state: the newest publication of each value of the tag `key`.

use std::collections::{BTreeMap, HashMap};

use offhook_engine::State;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<Value> {
    key: Box<str>,
    weight: u64,
    time_ms: u64,
    value: Value,
}

/// The values of a state, in the order of publication. Each broker chooses what it stores as a
/// value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Values<Value> {
    /// By offset.
    entries: BTreeMap<u64, Entry<Value>>,
    offsets: HashMap<Box<str>, u64>,
    /// The weight of all entries.
    bytes: u64,
}

impl<Value> Default for Values<Value> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            offsets: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<Value> Values<Value> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets the value of a key.
    pub(crate) fn set(
        &mut self,
        offset: u64,
        key: &str,
        (weight, time_ms): (u64, u64),
        value: Value,
    ) {
        self.remove(key);
        self.offsets.insert(key.into(), offset);
        self.bytes += weight;
        let key = key.into();
        let entry = Entry {
            key,
            weight,
            time_ms,
            value,
        };
        self.entries.insert(offset, entry);
    }

    /// Removes the value of a key; returns whether it had one.
    pub(crate) fn remove(&mut self, key: &str) -> bool {
        let offset = self.offsets.remove(key);
        let entry = offset.and_then(|offset| self.entries.remove(&offset));
        self.bytes -= entry.as_ref().map_or(0, |entry| entry.weight);
        entry.is_some()
    }

    /// Removes the oldest values until every limit of the rule holds; returns their keys.
    pub(crate) fn trim(&mut self, rule: &State, now_ms: u64) -> Vec<Box<str>> {
        let age = rule.age.map_or(u64::MAX, |age| age.as_millis() as u64);
        let oldest_kept = now_ms.saturating_sub(age);
        let mut gone = Vec::new();
        while let Some(oldest) = self.entries.first_entry() {
            let too_old = oldest.get().time_ms < oldest_kept;
            let too_many = self.offsets.len() as u64 > rule.count || self.bytes > rule.bytes;
            if !(too_old || too_many) {
                break;
            }
            let Entry { key, weight, .. } = oldest.remove();
            self.offsets.remove(&key);
            self.bytes -= weight;
            gone.push(key);
        }
        gone
    }

    /// Approximate bytes of all values, with a fixed number for each in addition to its weight.
    pub(crate) fn weight(&self, each: usize) -> usize {
        let bytes = usize::try_from(self.bytes).unwrap_or(usize::MAX);
        bytes.saturating_add(self.entries.len() * each)
    }

    /// Removes the oldest value; returns whether there was one.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let Some((_, oldest)) = self.entries.pop_first() else {
            return false;
        };
        self.offsets.remove(&oldest.key);
        self.bytes -= oldest.weight;
        true
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Value> {
        self.entries.values().map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests;

//! The last bytes of one direction of a connection: the context a borrowed codec needs to continue
//! where the one before it stopped.

/// A ring buffer of at most `limit` bytes that allocates only as it fills.
#[derive(Debug)]
pub(super) struct Window {
    /// The bytes; `limit` of them once the ring is full.
    bytes: Vec<u8>,
    /// The index of the oldest byte, which is overwritten next. Zero until the ring is full.
    oldest: usize,
    limit: usize,
}

impl Window {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            oldest: 0,
            limit,
        }
    }

    /// The content, oldest first, in two slices.
    pub(super) fn runs(&self) -> [&[u8]; 2] {
        let (newer, older) = self.bytes.split_at_checked(self.oldest).unwrap_or_default();
        [older, newer]
    }

    pub(super) fn push(&mut self, data: &[u8]) {
        if let Some(cut) = data.len().checked_sub(self.limit) {
            self.oldest = 0;
            self.bytes.clear();
            self.append(data.get(cut..).unwrap_or_default());
            return;
        }
        let free = self.limit.saturating_sub(self.bytes.len());
        let (fits, rest) = data.split_at_checked(free).unwrap_or((data, &[]));
        self.append(fits);
        self.overwrite(rest);
    }

    /// Clears the window and frees its memory.
    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.oldest = 0;
    }

    /// How many bytes it has allocated.
    #[cfg(test)]
    pub(super) fn owned(&self) -> usize {
        self.bytes.capacity()
    }

    fn append(&mut self, data: &[u8]) {
        let needed = self.bytes.len().saturating_add(data.len());
        if needed > self.bytes.capacity() {
            // Doubles, but never beyond the limit: `Vec`'s own growth would cost extra memory on
            // every connection.
            let capacity = needed.next_power_of_two().min(self.limit);
            self.bytes
                .reserve_exact(capacity.saturating_sub(self.bytes.len()));
        }
        self.bytes.extend_from_slice(data);
    }

    fn overwrite(&mut self, data: &[u8]) {
        let until_end = self.limit.saturating_sub(self.oldest);
        let (first, second) = data.split_at_checked(until_end).unwrap_or((data, &[]));
        copy_to(&mut self.bytes, self.oldest, first);
        copy_to(&mut self.bytes, 0, second);
        let next = self.oldest.saturating_add(data.len());
        self.oldest = next.checked_sub(self.limit).unwrap_or(next);
    }
}

fn copy_to(bytes: &mut [u8], at: usize, data: &[u8]) {
    let target = bytes.get_mut(at..at.saturating_add(data.len()));
    if let Some(target) = target {
        target.copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests;

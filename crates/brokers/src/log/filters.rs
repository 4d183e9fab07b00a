//! Reads all channels that match a filter, in the order of publication.
//!
//! Nothing is indexed by that order: sequence numbers rise within each channel, so a search by
//! halves finds where to begin in it, and the channels are merged one publication at a time.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelGap, ChannelName, Filter, GapReason, Position, Publication,
    ReadLimit, ReadStart, RequestId, Trimmed,
};

use super::{
    open_error::failure_of, record::decode, retained::Retained, shared::Shared, store::Store,
};
use crate::mailbox::Mailbox;

/// Names that are read at once.
const NAMES: usize = 256;

pub(super) struct FilterJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    pub(super) filter: Filter,
    pub(super) after: Position,
    pub(super) limit: ReadLimit,
}

/// A channel with publications to read.
struct Source {
    channel: ChannelName,
    retained: Retained,
    next: u64,
}

struct Merge<'a> {
    shared: &'a Shared,
    store: &'a Store,
    /// Publications after this number up to that one.
    after: u64,
    head: u64,
    sources: Vec<Source>,
    /// The number of the next publication of each source.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    gaps: Vec<ChannelGap>,
}

pub(super) fn read(
    shared: &Shared,
    store: &Store,
    job: &FilterJob,
) -> Result<BrokerEvent, BrokerFailure> {
    let (head, in_memory) = {
        let bus = shared.hub.bus();
        (bus.place(), bus.missed(&job.filter, job.after))
    };
    let (resolution, offset) = shared.epochs.resolve(job.after, head.offset);
    let mut merge = Merge {
        shared,
        store,
        after: offset,
        head: head.offset,
        sources: Vec::new(),
        next: BinaryHeap::new(),
        gaps: in_memory,
    };
    merge.find_sources(&job.filter)?;
    let publications = merge.page(job.limit)?;
    let agreed = Position {
        epoch: job.after.epoch,
        offset,
    };
    Ok(BrokerEvent::FilterHistory {
        id: job.id,
        head,
        start: ReadStart {
            resolution,
            ..ReadStart::at(agreed)
        },
        gaps: merge.gaps,
        publications,
    })
}

impl Merge<'_> {
    /// Finds the channels that match and have something newer.
    fn find_sources(&mut self, filter: &Filter) -> Result<(), BrokerFailure> {
        let failed = |error| failure_of(&error);
        let prefix = literal_prefix(filter);
        let mut names = self.store.channels_from(prefix, NAMES).map_err(failed)?;
        while let Some(last) = names.last().cloned() {
            for name in names {
                if !name.starts_with(prefix) {
                    return Ok(());
                }
                if let Ok(channel) = ChannelName::new(&name)
                    && filter.matches(&channel)
                {
                    self.add(channel)?;
                }
            }
            names = self.store.channels_after(&last, NAMES).map_err(failed)?;
        }
        Ok(())
    }

    fn add(&mut self, channel: ChannelName) -> Result<(), BrokerFailure> {
        let failed = |error| failure_of(&error);
        let Some(rules) = self.shared.hub.rules().rules(&channel) else {
            return Ok(());
        };
        let bytes = self.store.channel(&channel).map_err(failed)?;
        let epochs = &self.shared.epochs;
        let retained = bytes.and_then(|bytes| Retained::decode(&bytes, epochs.origin().epoch));
        let mut retained = retained.ok_or(BrokerFailure::StorageCorrupt)?;
        let last = self.store.last_offset(retained.id).map_err(failed)?;
        retained.head = retained.head.max(last.unwrap_or(0));
        let state = retained.state(epochs, &rules.history);
        let first = self.first_after(&retained, state.first)?;
        if first == state.first && self.missing_before(&retained, first)? {
            self.gaps.push(ChannelGap {
                channel: channel.clone(),
                from: retained.at(epochs, 0),
                to: retained.at(epochs, first.saturating_sub(1)),
                reason: state.trimmed.into(),
            });
        }
        self.sources.push(Source {
            channel,
            retained,
            next: first,
        });
        self.offer(self.sources.len() - 1)
    }

    /// The first offset whose sequence number is higher, from this one on.
    fn first_after(&self, retained: &Retained, first: u64) -> Result<u64, BrokerFailure> {
        let (mut low, mut high) = (first, retained.head + 1);
        // Most channels have nothing new.
        if low < high && !self.is_newer(retained, high - 1)? {
            return Ok(high);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_newer(retained, middle)? {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }

    /// What can't be read counts as newer: it is told as a gap when it is met.
    fn is_newer(&self, retained: &Retained, offset: u64) -> Result<bool, BrokerFailure> {
        let sequence = self.store.sequence_at(retained.id, offset);
        let sequence = sequence.map_err(|error| failure_of(&error))?;
        Ok(sequence.is_none_or(|sequence| sequence > self.after))
    }

    /// Whether something newer was before the oldest that is retained.
    fn missing_before(&self, retained: &Retained, first: u64) -> Result<bool, BrokerFailure> {
        if first <= 1 {
            return Ok(false);
        }
        let sequence = self.store.sequence_at(retained.id, first - 1);
        let sequence = sequence.map_err(|error| failure_of(&error))?;
        Ok(sequence.unwrap_or(retained.trimmed_sequence) > self.after)
    }

    /// Puts the next publication of a source among those that are merged.
    fn offer(&mut self, index: usize) -> Result<(), BrokerFailure> {
        let Some(source) = self.sources.get_mut(index) else {
            return Ok(());
        };
        while source.next <= source.retained.head {
            let sequence = self.store.sequence_at(source.retained.id, source.next);
            match sequence.map_err(|error| failure_of(&error))? {
                // Those that are newer than the head are told as they come.
                Some(sequence) if sequence > self.head => return Ok(()),
                Some(sequence) => {
                    self.next.push(Reverse((sequence, index)));
                    return Ok(());
                }
                None => {
                    let at = |offset| source.retained.at(&self.shared.epochs, offset);
                    self.gaps.push(ChannelGap {
                        channel: source.channel.clone(),
                        from: at(source.next - 1),
                        to: at(source.next),
                        reason: GapReason::from(Trimmed::Damaged),
                    });
                    source.next += 1;
                }
            }
        }
        Ok(())
    }

    fn page(&mut self, limit: ReadLimit) -> Result<Vec<Arc<Publication>>, BrokerFailure> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < limit.count as usize
            && let Some(Reverse((_, index))) = self.next.pop()
        {
            let Some(source) = self.sources.get_mut(index) else {
                break;
            };
            let offset = source.next;
            source.next += 1;
            let epochs = &self.shared.epochs;
            let at = |offset| source.retained.at(epochs, offset);
            let place = (at(offset - 1), at(offset));
            let mut publication = None;
            let read = self.store.read(source.retained.id, offset, |_, value| {
                publication = decode(&source.channel, place, value);
                false
            });
            read.map_err(|error| failure_of(&error))?;
            if let Some(publication) = publication {
                bytes += publication.weight();
                if bytes > limit.bytes && !page.is_empty() {
                    break;
                }
                page.push(Arc::new(publication));
            }
            self.offer(index)?;
        }
        Ok(page)
    }
}

/// What every name that matches begins with.
fn literal_prefix(filter: &Filter) -> &str {
    let text = filter.as_str();
    let wild = text.find(['+', '#']).unwrap_or(text.len());
    let prefix = text.get(..wild).unwrap_or_default();
    // "a/#" also matches "a".
    if text.ends_with("/#") && wild + 1 == text.len() {
        prefix.strip_suffix('/').unwrap_or(prefix)
    } else {
        prefix
    }
}

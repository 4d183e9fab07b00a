//! Reads all channels that match a filter, in the order of publication.
//!
//! Nothing on disk is indexed by that order. Sequence numbers rise within each channel, so a binary
//! search finds the first publication to read in each, and the channels are merged one publication
//! at a time.
//!
//! Channels with new publications are found by examining all that match, a few at a time, so that
//! other reads continue meanwhile. For a reader that is not far behind, only channels with recent
//! publications are examined. A reader that reads page after page continues its merge, which is
//! kept between pages.

mod searching;
mod starting;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelGap, ChannelName, Filter, GapReason, Position, Publication,
    ReadLimit, RequestId, Resolution, Trimmed,
};

use super::{
    open_error::failure_of, record::decode, retained::Retained, shared::Shared, store::Store,
};
use crate::{lineage::Lineage, mailbox::Mailbox};

/// The number of channels examined before other reads get their turn; takes about a millisecond.
const SLICE: usize = 64;

/// Merges kept between pages, and the number of channels in all of them together: a few megabytes.
const KEPT: usize = 32;
const KEPT_SOURCES: usize = 65_536;

pub(super) struct FilterJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) id: RequestId,
    pub(super) filter: Filter,
    pub(super) after: Position,
    pub(super) limit: ReadLimit,
    /// The reader's position.
    pub(super) merge: Option<Box<Merge>>,
}

/// The result of one slice of a job.
pub(super) enum Progress {
    /// The job continues after others had their turn.
    More,
    Done(BrokerEvent),
}

/// A channel with publications to read.
struct Source {
    channel: ChannelName,
    number: u32,
    lineage: Arc<Lineage>,
    next: u64,
    head: u64,
    /// Whether it is among the merged channels.
    offered: bool,
}

/// Channels that are not examined yet.
enum Names {
    /// A list of channels.
    These(VecDeque<ChannelName>),
    /// All channels on disk after this name, or from it on.
    OnDisk { from: String, inclusive: bool },
}

/// The merged channels of one reader.
pub(super) struct Merge {
    filter: Filter,
    /// The request, and how its position was resolved.
    asked: Position,
    resolution: Resolution,
    /// Publications after this number, up to this position.
    after: u64,
    head: Position,
    /// How often the store had been reopened when the merge began.
    reopened: u64,
    names: VecDeque<Names>,
    sources: Vec<Source>,
    index: HashMap<ChannelName, usize>,
    /// The sequence number of the next publication of each source.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    /// Publications that cannot be read any more, with the number of the newest of them. Each is
    /// reported with the page that passes it, hence once.
    gaps: Vec<(u64, ChannelGap)>,
    #[cfg(test)]
    before_search: Option<super::tests::ReadGate>,
}

/// Merges of readers that may request another page.
pub(super) struct Merges {
    kept: VecDeque<Box<Merge>>,
    #[cfg(test)]
    before_search: Option<super::tests::ReadGate>,
}

impl Merges {
    pub(super) fn new() -> Self {
        Self {
            kept: VecDeque::new(),
            #[cfg(test)]
            before_search: super::tests::search_gate(),
        }
    }

    /// The merge of a reader of this filter at this position.
    fn take(&mut self, filter: &Filter, after: Position) -> Option<Box<Merge>> {
        let mut all = self.kept.iter();
        let at = all.position(|merge| merge.asked == after && merge.filter == *filter)?;
        self.kept.remove(at)
    }

    fn keep(&mut self, merge: Box<Merge>) {
        if merge.sources.len() > KEPT_SOURCES {
            return;
        }
        self.kept.push_back(merge);
        let sources = |all: &VecDeque<Box<Merge>>| -> usize {
            all.iter().map(|merge| merge.sources.len()).sum()
        };
        while self.kept.len() > KEPT || sources(&self.kept) > KEPT_SOURCES {
            self.kept.pop_front();
        }
    }
}

/// Performs a slice of a job.
pub(super) fn step(
    shared: &Shared,
    store: &Store,
    merges: &mut Merges,
    job: &mut FilterJob,
) -> Result<Progress, BrokerFailure> {
    let mut merge = match job.merge.take() {
        Some(merge) => merge,
        None => begin(shared, merges, job),
    };
    if merge.look(shared, store)? {
        job.merge = Some(merge);
        return Ok(Progress::More);
    }
    let (gaps, publications) = merge.page(shared, store, job.limit)?;
    let start = merge.start(job.after);
    let last = publications.last().map(|last| last.sequence);
    let event = BrokerEvent::FilterHistory {
        id: job.id,
        head: merge.head,
        start,
        gaps,
        publications,
        complete: merge.next.is_empty(),
    };
    if let Some(last) = last
        && !merge.next.is_empty()
    {
        // The position at which the reader continues.
        merge.after = last;
        merge.asked = Position {
            epoch: merge.head.epoch,
            offset: last,
        };
        merge.resolution = Resolution::Continuous;
        merges.keep(merge);
    }
    Ok(Progress::Done(event))
}

/// Continues a merge, or begins one.
fn begin(shared: &Shared, merges: &mut Merges, job: &FilterJob) -> Box<Merge> {
    let filter = &job.filter;
    let reopened = shared.reopened.load(Ordering::SeqCst);
    let kept = merges.take(filter, job.after);
    let bus = shared.hub.bus();
    let head = bus.place();
    if let Some(mut merge) = kept.filter(|merge| merge.reopened == reopened)
        && let Some(new) = bus.recent.since(merge.head.offset, filter)
    {
        drop(bus);
        merge.head = head;
        merge.names = VecDeque::from([Names::These(new.into())]);
        return merge;
    }
    let (resolution, after) = starting::resolve(shared, filter, job.after, head.offset);
    let names = match bus.recent.since(after, filter) {
        Some(recent) => VecDeque::from([Names::These(recent.into())]),
        None => {
            let in_memory = bus.in_memory();
            drop(bus);
            let on_disk = Names::OnDisk {
                from: literal_prefix(filter).to_owned(),
                inclusive: true,
            };
            VecDeque::from([Names::These(in_memory.into()), on_disk])
        }
    };
    Box::new(Merge {
        filter: filter.clone(),
        asked: job.after,
        resolution,
        after,
        head,
        reopened,
        names,
        sources: Vec::new(),
        index: HashMap::new(),
        next: BinaryHeap::new(),
        gaps: Vec::new(),
        #[cfg(test)]
        before_search: merges.before_search.clone(),
    })
}

impl Merge {
    /// Examines some of the channels; returns whether there are more.
    fn look(&mut self, shared: &Shared, store: &Store) -> Result<bool, BrokerFailure> {
        let mut left = SLICE;
        while let Some(names) = self.names.pop_front() {
            match names {
                Names::These(mut these) => {
                    while left > 0
                        && let Some(channel) = these.pop_front()
                    {
                        left -= 1;
                        if self.filter.matches(&channel) {
                            self.add(shared, store, channel)?;
                        }
                    }
                    if !these.is_empty() {
                        self.names.push_front(Names::These(these));
                        return Ok(true);
                    }
                }
                Names::OnDisk { from, inclusive } => {
                    let found = if inclusive {
                        store.channels_from(&from, left)
                    } else {
                        store.channels_after(&from, left)
                    };
                    let found = found.map_err(|error| failure_of(&error))?;
                    let prefix = literal_prefix(&self.filter).to_owned();
                    let last = found
                        .last()
                        .cloned()
                        .filter(|last| last.starts_with(&prefix));
                    for name in found.iter().filter(|name| name.starts_with(&prefix)) {
                        left = left.saturating_sub(1);
                        if let Ok(channel) = ChannelName::new(name)
                            && self.filter.matches(&channel)
                        {
                            self.add(shared, store, channel)?;
                        }
                    }
                    if let Some(from) = last {
                        let inclusive = false;
                        self.names.push_front(Names::OnDisk { from, inclusive });
                        return Ok(true);
                    }
                }
            }
            if left == 0 && !self.names.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a channel, or examines an added one again.
    fn add(
        &mut self,
        shared: &Shared,
        store: &Store,
        channel: ChannelName,
    ) -> Result<(), BrokerFailure> {
        let Some(rules) = shared.hub.rules_of(&channel) else {
            return Ok(());
        };
        if !super::shared::is_on_disk(&rules) {
            let after = self.after_in_memory();
            let missed = shared.hub.bus().missed(&channel, after);
            self.gaps.retain(|(_, gap)| gap.channel != channel);
            self.gaps.extend(missed);
            return Ok(());
        }
        let Some(retained) = retained(shared, store, &channel)? else {
            return Ok(());
        };
        if let Some(index) = self.index.get(&channel).copied() {
            if let Some(source) = self.sources.get_mut(index) {
                source.head = retained.head;
                source.lineage = retained.lineage;
            }
            return self.offer(shared, store, index);
        }
        // The channel may have been in memory before the rules were replaced.
        let after = self.after_in_memory();
        self.gaps.extend(shared.hub.bus().missed(&channel, after));
        let epochs = &shared.epochs;
        let examine = || self::retained(shared, store, &channel);
        let start_of = |retained: &Retained| retained.state(epochs, &rules.history).first;
        let (retained, first) = self.first_newer(store, retained, start_of, examine)?;
        let state = retained.state(epochs, &rules.history);
        if first == state.first
            && let Some(sequence) = self.missing_before(store, &retained, first)?
        {
            let gap = ChannelGap {
                channel: channel.clone(),
                from: retained.at(epochs, 0),
                to: retained.at(epochs, first.saturating_sub(1)),
                reason: state.trimmed.into(),
            };
            self.gaps.push((sequence, gap));
        }
        if first > retained.head {
            return Ok(());
        }
        let index = self.sources.len();
        self.index.insert(channel.clone(), index);
        self.sources.push(Source {
            channel,
            number: retained.id,
            lineage: retained.lineage,
            next: first,
            head: retained.head,
            offered: false,
        });
        self.offer(shared, store, index)
    }

    /// Adds the next publication of a source to the merge.
    fn offer(&mut self, shared: &Shared, store: &Store, index: usize) -> Result<(), BrokerFailure> {
        let Some(source) = self.sources.get_mut(index).filter(|source| !source.offered) else {
            return Ok(());
        };
        while source.next <= source.head {
            let sequence = store.sequence_at(source.number, source.next);
            if let Some(sequence) = sequence.map_err(|error| failure_of(&error))? {
                // Publications newer than the head are delivered live.
                if sequence <= self.head.offset {
                    source.offered = true;
                    self.next.push(Reverse((sequence, index)));
                }
                return Ok(());
            }
            // It was trimmed since this channel was examined, or it is damaged.
            let now = retained(shared, store, &source.channel)?;
            let trimmed = now.filter(|now| now.first() > source.next);
            let (next, reason) = match &trimmed {
                Some(now) => (now.first(), now.trimmed()),
                None => (source.next + 1, Trimmed::Damaged),
            };
            let at = |offset| source.lineage.at(&shared.epochs, offset);
            let gap = ChannelGap {
                channel: source.channel.clone(),
                from: at(source.next - 1),
                to: at(next - 1),
                reason: GapReason::from(reason),
            };
            // Reported with the page that is built now.
            self.gaps.push((0, gap));
            source.next = next;
        }
        Ok(())
    }

    /// The next publications, and the gaps before them.
    fn page(
        &mut self,
        shared: &Shared,
        store: &Store,
        limit: ReadLimit,
    ) -> Result<(Vec<ChannelGap>, Vec<Arc<Publication>>), BrokerFailure> {
        let (mut page, mut bytes) = (Vec::<Arc<Publication>>::new(), 0);
        while page.len() < limit.count as usize
            && let Some(Reverse((_, index))) = self.next.peek().copied()
        {
            let Some(source) = self.sources.get_mut(index) else {
                break;
            };
            let at = |offset| source.lineage.at(&shared.epochs, offset);
            let place = (at(source.next - 1), at(source.next));
            let record = store.record(source.number, source.next);
            let record = record.map_err(|error| failure_of(&error))?;
            // A missing publication is reported by `offer`.
            if let Some(record) = record {
                if let Some(publication) = decode(&source.channel, place, &record) {
                    bytes += publication.weight();
                    if bytes > limit.bytes && !page.is_empty() {
                        break;
                    }
                    page.push(Arc::new(publication));
                } else {
                    let gap = ChannelGap {
                        channel: source.channel.clone(),
                        from: place.0,
                        to: place.1,
                        reason: GapReason::from(Trimmed::Damaged),
                    };
                    self.gaps.push((0, gap));
                }
                source.next += 1;
            }
            self.next.pop();
            source.offered = false;
            self.offer(shared, store, index)?;
        }
        let is_all = self.next.is_empty();
        let reached = page.last().map_or(self.after, |last| last.sequence);
        let told = self
            .gaps
            .extract_if(.., |(sequence, _)| is_all || *sequence <= reached);
        let gaps = told.map(|(_, gap)| gap).collect();
        Ok((gaps, page))
    }
}

/// The retained range of a channel at this moment.
pub(super) fn retained(
    shared: &Shared,
    store: &Store,
    channel: &ChannelName,
) -> Result<Option<Retained>, BrokerFailure> {
    let failed = |error| failure_of(&error);
    let Some(bytes) = store.channel(channel).map_err(failed)? else {
        return Ok(None);
    };
    let retained = Retained::decode(&bytes, shared.epochs.origin().epoch);
    let mut retained = retained.ok_or(BrokerFailure::StorageCorrupt)?;
    let last = store.last_offset(retained.id).map_err(failed)?;
    retained.head = retained.head.max(last.unwrap_or(0));
    Ok(Some(retained))
}

/// The common prefix of all names that match.
pub(super) fn literal_prefix(filter: &Filter) -> &str {
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

#[cfg(test)]
mod tests;

//! The thread that reads history and channels that were not in use, so that neither delays an
//! fsync.

mod writer_loads;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use offhook_engine::{
    BrokerEvent, BrokerFailure, ChannelName, Epoch, History, Publication, ReadStart, RuleBook,
    StreamState, Trimmed,
};

use super::{
    backward,
    condition::Condition,
    damage,
    filters::{self, FilterJob, Merges, Progress},
    kept_states::KeptStates,
    loading::{NOWHERE, load},
    queue::Job,
    read_queue::{Load, ReadJob, StateJob, Task},
    record::{decode, offset_of},
    retained::Retained,
    shared::{Loaded, Shared},
    shared_store::SharedStore,
    states::{self, Reading, ValuesJob},
    store::Store,
};
use crate::hub::{Ages, View};

/// How many channels one tick searches for old publications.
const SWEEP: usize = 64;

pub(super) struct Reader {
    shared: Arc<Shared>,
    store: SharedStore,
    sweeps: RefCell<Sweeps>,
    /// Readers by filter between two pages.
    merges: RefCell<Merges>,
    /// States between two pages.
    states: RefCell<KeptStates>,
    condition: Arc<Condition>,
    /// Called before each page of history is read.
    #[cfg(test)]
    before_read: Option<super::tests::ReadGate>,
    /// Called before each channel is loaded.
    #[cfg(test)]
    before_load: Option<super::tests::LoadGate>,
}

/// How far the sweeps have come.
#[derive(Default)]
struct Sweeps {
    /// The last channel that was searched; empty at the beginning of a round.
    after: String,
    /// The rules by which this round is searching.
    rules: Option<Arc<RuleBook>>,
    /// The rules by which a whole round has loaded and trimmed every channel. Since then, only age
    /// makes a channel that is not in use too long.
    applied: Option<Arc<RuleBook>>,
}

impl Sweeps {
    /// Whether every channel was trimmed by these rules before.
    fn is_applied(&self, rules: &Arc<RuleBook>) -> bool {
        let applied = self.applied.as_ref();
        applied.is_some_and(|applied| Arc::ptr_eq(applied, rules))
    }

    /// Begins the next part of a round by these rules. A change during a round restarts it.
    fn begin(&mut self, rules: &Arc<RuleBook>) {
        let same = self.rules.as_ref();
        if !same.is_some_and(|same| Arc::ptr_eq(same, rules)) {
            (self.after, self.rules) = (String::new(), Some(Arc::clone(rules)));
        }
    }

    /// The part has ended with this channel; none if the round is complete.
    fn end(&mut self, last: Option<String>) {
        if last.is_none() {
            self.applied.clone_from(&self.rules);
        }
        self.after = last.unwrap_or_default();
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, store: SharedStore, condition: Arc<Condition>) -> Self {
        Self {
            shared,
            store,
            sweeps: RefCell::default(),
            merges: RefCell::new(Merges::new()),
            states: RefCell::default(),
            #[cfg(test)]
            before_read: super::tests::read_gate(),
            #[cfg(test)]
            before_load: super::tests::load_gate(),
            condition,
        }
    }

    /// Runs until the writer is gone.
    pub(super) fn run(self) {
        while let Some(task) = self.shared.reads.take() {
            match task {
                Task::Load(loads) => self.load_all(loads),
                Task::Read(job) => self.answer(&job),
                Task::Filter(job) => self.answer_filter(job),
                Task::State(job) => self.answer_state(job),
                Task::Values(job) => self.answer_values(job),
                Task::StateLoad(load) => self.load_state(load),
            }
        }
    }

    fn answer(&self, job: &ReadJob) {
        #[cfg(test)]
        if let Some(gate) = &self.before_read {
            gate();
        }
        let id = job.id;
        let event = match self.read(job) {
            Ok((stream, start, publications)) => BrokerEvent::History {
                id,
                stream,
                start,
                publications,
            },
            Err(failure) => BrokerEvent::Failed { id, failure },
        };
        job.mailbox.put(event);
    }

    /// Does a slice of a read of a state: it goes on behind all others.
    fn answer_state(&self, mut job: StateJob) {
        let found = catch_unwind(AssertUnwindSafe(|| self.values(&mut job)));
        let found = found.unwrap_or(Err(BrokerFailure::StorageCorrupt));
        let id = job.id;
        let event = match found {
            Ok(Some(values)) => {
                // Publications made since the job was queued are in the values, and therefore in
                // the head.
                let newest = values.last().map(|newest| newest.position);
                let newest = newest.filter(|newest| newest.offset > job.stream.head.offset);
                let stream = StreamState {
                    head: newest.unwrap_or(job.stream.head),
                    ..job.stream
                };
                BrokerEvent::State { id, stream, values }
            }
            Ok(None) => return self.shared.reads.go_on_with_state(job),
            Err(failure) => BrokerEvent::Failed { id, failure },
        };
        job.mailbox.put(event);
    }

    /// Reads some of a state. Returns its values once all of them are read.
    fn values(&self, job: &mut StateJob) -> Result<Option<Vec<Arc<Publication>>>, BrokerFailure> {
        if job.stream.head.offset == 0 {
            // The channel has no number yet.
            return Ok(Some(Vec::new()));
        }
        let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
        let rules = self.shared.hub.rules_of(&job.channel);
        let age = rules.and_then(|rules| rules.state.age);
        let reopened = self.shared.reopened();
        let mut kept = self.states.borrow_mut();
        // Another job may have read it in the meantime.
        if let Some(values) = kept.get(job, reopened) {
            return Ok(Some(states::not_older(&self.shared, values, age)));
        }
        #[cfg(test)]
        if let Some(gate) = &self.before_read {
            gate();
        }
        let mut reading = job.reading.take().unwrap_or_else(|| Reading::new(&store));
        let Some(values) = reading.step(&store, (job.number, &job.channel))? else {
            job.reading = Some(reading);
            return Ok(None);
        };
        let values = states::not_older(&self.shared, values.into_iter(), age);
        kept.keep(job, reopened, &values);
        Ok(Some(values))
    }

    /// Does a slice of a read of states: it goes on behind all others.
    fn answer_values(&self, mut job: ValuesJob) {
        let found = catch_unwind(AssertUnwindSafe(|| {
            let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
            job.step(&self.shared, &store)
        }));
        let id = job.id;
        let event = match found.unwrap_or(Err(BrokerFailure::StorageCorrupt)) {
            Ok(Some(event)) => event,
            Ok(None) => return self.shared.reads.go_on_with_values(job),
            Err(failure) => BrokerEvent::Failed { id, failure },
        };
        job.mailbox.put(event);
    }

    /// Performs a slice of a read by filter, which then continues after all other jobs.
    fn answer_filter(&self, mut job: FilterJob) {
        let merges = &mut *self.merges.borrow_mut();
        let found = catch_unwind(AssertUnwindSafe(|| {
            let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
            filters::step(&self.shared, &store, merges, &mut job)
        }));
        let id = job.id;
        let event = match found.unwrap_or(Err(BrokerFailure::StorageCorrupt)) {
            Ok(Progress::More) => return self.shared.reads.go_on(job),
            Ok(Progress::Done(event)) => event,
            Err(failure) => BrokerEvent::Failed { id, failure },
        };
        job.mailbox.put(event);
    }

    /// Loads channels. When thousands are opened, hardly any of them is on disk, so that each takes
    /// microseconds: the bus learns of many at once, because a lock for each would cost more than
    /// looking them up. One that is on disk takes longer, and a sweep too: the ones before do not
    /// wait for it.
    fn load_all(&self, loads: Vec<Load>) {
        let mut unknown = Vec::new();
        for load in loads {
            if !unknown.is_empty() && self.takes_long(&load) {
                self.shared.loaded(unknown.drain(..));
            }
            match load {
                Load::ForWriter(channel) => self.load_for_writer(channel),
                Load::ForBus(channel) => {
                    let reopened = self.shared.reopened();
                    let found = self.find_guarded(&channel);
                    let view = found.and_then(|found| self.view(&channel, found));
                    let loaded = Loaded {
                        channel,
                        view,
                        reopened,
                    };
                    unknown.push(loaded);
                }
                // A store that panics on a damaged block ends one sweep, not the thread.
                Load::Sweep => {
                    self.states.borrow_mut().tick();
                    catch_unwind(AssertUnwindSafe(|| self.sweep())).unwrap_or_default();
                }
            }
        }
        self.shared.loaded(unknown.into_iter());
    }

    /// Whether a load takes more than looking up that a channel is not on disk.
    fn takes_long(&self, load: &Load) -> bool {
        let Load::ForBus(channel) = load else {
            return true;
        };
        let Some(store) = self.store.get() else {
            return false;
        };
        // A block that is damaged is searched for what can be read after it.
        let entry = catch_unwind(AssertUnwindSafe(|| store.channel(channel)));
        !matches!(entry, Ok(Ok(None)))
    }

    /// What the bus is to know of a channel.
    fn view(&self, channel: &ChannelName, found: Option<Retained>) -> Result<View, BrokerFailure> {
        let rules = self.shared.hub.rules_of(channel);
        let rules = rules.ok_or(BrokerFailure::UnknownChannel)?;
        let retained = found.unwrap_or_else(|| Retained::new(0));
        Ok(self.shared.view(&retained, &rules.history))
    }

    /// Searches a few channels, and tells the writer which ones have more than the rules allow.
    fn sweep(&self) {
        let Some(store) = self.store.get() else {
            return;
        };
        let mut sweeps = self.sweeps.borrow_mut();
        let book = self.shared.hub.rules();
        sweeps.begin(&book);
        let Ok(names) = store.channels_after(&sweeps.after, SWEEP) else {
            return;
        };
        let is_applied = sweeps.is_applied(&book);
        let ages = self.shared.hub.ages();
        sweeps.end(names.last().cloned());
        drop(sweeps);
        for name in names {
            let Ok(channel) = ChannelName::new(&name) else {
                continue;
            };
            let Some(rules) = book.rules(&channel) else {
                continue;
            };
            let history = &rules.history;
            let is_kept =
                || history.age.is_none() || has_nothing_old(&store, &channel, history, &ages);
            if is_applied && is_kept() {
                continue;
            }
            let Ok(Some(retained)) = self.find_guarded(&channel) else {
                continue;
            };
            if retained.clone().trim(history, ages.now_ms()).is_some() {
                let retained = Box::new(retained);
                self.shared
                    .jobs
                    .put_always(Job::Swept { channel, retained });
            }
        }
    }

    /// Loads a channel; if the store panics on a damaged block, only this channel is unreadable.
    fn find_guarded(&self, channel: &ChannelName) -> Result<Option<Retained>, BrokerFailure> {
        #[cfg(test)]
        if let Some(gate) = &self.before_load {
            gate(channel);
        }
        let found = catch_unwind(AssertUnwindSafe(|| self.find(channel)));
        found.unwrap_or_else(|_| {
            let what = "its entry cannot be read".to_owned();
            self.condition.damaged(channel, what);
            Err(BrokerFailure::StorageCorrupt)
        })
    }

    fn find(&self, channel: &ChannelName) -> Result<Option<Retained>, BrokerFailure> {
        let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
        let rules = self.shared.hub.rules_of(channel);
        let rules = rules.ok_or(BrokerFailure::UnknownChannel)?;
        load(
            &store,
            channel,
            &rules,
            (&self.shared.epochs, &self.shared.hub.ages()),
            &self.condition,
        )
    }

    fn read(&self, job: &ReadJob) -> Result<Read, BrokerFailure> {
        let store = self.store.get().ok_or(BrokerFailure::StorageFailed)?;
        if job.backward {
            return backward::read(&store, job, &self.condition);
        }
        let mut stream = job.stream;
        let head = stream.head.offset;
        let mut page = read_page(&store, job, job.start.after.offset + 1);
        if let Some(damage) = page.damage.take() {
            let Damage { offset, failure } = damage;
            if failure != BrokerFailure::StorageCorrupt {
                return Err(failure);
            }
            // Publications trimmed since the job was created are not damaged.
            let now = self.shared.retained_now(&job.channel);
            if let Some(now) = now.filter(|now| now.first > offset) {
                if page.publications.is_empty() {
                    page = read_page(&store, job, now.first);
                    page.first_found = Some(now.first);
                    stream.trimmed = now.trimmed;
                }
                return Ok(self.paged(job, stream, page));
            }
            self.condition
                .damaged(&job.channel, format!("damaged at offset {offset}"));
            if page.publications.is_empty() {
                // Readable publications follow the damage; those before it were part of an earlier
                // page.
                let next = damage::next_readable(&store, &job.channel, job.number, offset, head);
                let next = next.unwrap_or(head + 1);
                page = read_page(&store, job, next);
                page.first_found = Some(next);
                stream.trimmed = Trimmed::Damaged;
            }
        }
        Ok(self.paged(job, stream, page))
    }

    /// A page with the state of its stream.
    fn paged(&self, job: &ReadJob, mut stream: StreamState, page: Page) -> Read {
        // Publications trimmed since the job was created are missing, and were reported.
        let first = stream.first.max(page.first_found.unwrap_or(0));
        stream.first = first;
        let after = job.start.after.offset.max(first.saturating_sub(1));
        let start = ReadStart {
            after: job.lineage.at(&job.epochs, after),
            ..job.start
        };
        (stream, start, page.publications)
    }
}

/// Whether a channel's entry and its oldest publication show that none is too old. Most channels have
/// none, and to load one means to read everything since its entry was saved: hundreds of
/// publications. What was saved under other rules may be too much nevertheless.
fn has_nothing_old(store: &Store, channel: &ChannelName, history: &History, ages: &Ages) -> bool {
    let oldest = catch_unwind(AssertUnwindSafe(|| {
        let mut saved = Retained::decode(&store.channel(channel).ok()??, Epoch(0))?;
        if saved.trim(history, ages.now_ms()).is_some() {
            return None;
        }
        let record = store.record(saved.id, saved.first()).ok()??;
        let oldest = decode(channel, (NOWHERE, NOWHERE), &record)?;
        Some(ages.of(oldest.time_ms, oldest.sequence))
    }));
    let oldest = oldest.ok().flatten();
    oldest.is_some_and(|dated_ms| dated_ms >= ages.oldest_kept(history.age))
}

/// A part that cannot be read.
struct Damage {
    offset: u64,
    failure: BrokerFailure,
}

pub(super) type Read = (StreamState, ReadStart, Vec<Arc<Publication>>);

#[derive(Default)]
struct Page {
    publications: Vec<Arc<Publication>>,
    /// The first offset on disk, if it is later than requested.
    first_found: Option<u64>,
    /// Where the page ends early.
    damage: Option<Damage>,
}

fn read_page(store: &Store, job: &ReadJob, from: u64) -> Page {
    let stream = job.stream;
    let head = stream.head.offset;
    let mut page = Page::default();
    if from > head || job.limit.count == 0 {
        return page;
    }
    let (mut next, mut bytes, mut hole) = (from, 0, false);
    let each = |key: &[u8], value: &[u8]| {
        let offset = offset_of(key).unwrap_or(0);
        if offset > head {
            return false;
        }
        if page.publications.is_empty() && offset > next && from == stream.first {
            page.first_found = Some(offset);
            next = offset;
        }
        let at = |offset| job.lineage.at(&job.epochs, offset);
        let place = (at(offset.saturating_sub(1)), at(offset));
        let publication = decode(&job.channel, place, value).filter(|_| offset == next);
        let Some(publication) = publication else {
            hole = true;
            return false;
        };
        next += 1;
        bytes += publication.weight();
        if bytes > job.limit.bytes && !page.publications.is_empty() {
            return false;
        }
        page.publications.push(Arc::new(publication));
        page.publications.len() < job.limit.count as usize
    };
    let read = damage::read(store, job.number, from, each);
    let failure = read.err().or(hole.then_some(BrokerFailure::StorageCorrupt));
    page.damage = failure.map(|failure| Damage {
        offset: next,
        failure,
    });
    if page.publications.is_empty() && page.damage.is_none() {
        page.first_found = Some(head + 1);
    }
    page
}

#[cfg(test)]
mod tests;

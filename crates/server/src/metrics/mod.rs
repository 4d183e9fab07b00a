//! Figures about the running server, as served at `/metrics`. docs/metrics.md lists them.
//!
//! Each worker has its own counters, in memory that no other thread writes; a request for the
//! metrics adds them up. Handling a message therefore writes no shared memory. The number of time
//! series is fixed. No label contains a channel, a user or an address, since clients choose those.

mod page;
mod process;
mod text;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use offhook_brokers::{CountedDurations, Durations};

pub(crate) use page::{Page, page};

/// A counter that one thread increases and others read. With a single writer, no atomic addition is
/// needed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters by a word that the program defines, such as a kind of refusal. Too slow to be updated
/// for each message.
#[derive(Debug, Default)]
pub(crate) struct ByWord(Mutex<BTreeMap<&'static str, u64>>);

impl ByWord {
    pub(crate) fn count(&self, word: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(word).or_default() += 1;
    }

    fn add_to(&self, all: &mut BTreeMap<&'static str, u64>) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (word, count) in &*counts {
            *all.entry(word).or_default() += count;
        }
    }
}

/// Open connections by dialect and transport. Updated when a connection comes or goes.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<BTreeMap<[&'static str; 2], u64>>);

impl Clients {
    pub(crate) fn came(&self, dialect: &'static str, transport: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry([dialect, transport]).or_default() += 1;
    }

    pub(crate) fn went(&self, dialect: &'static str, transport: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&[dialect, transport]) {
            *count = count.saturating_sub(1);
        }
    }

    fn add_to(&self, all: &mut BTreeMap<[&'static str; 2], u64>) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (labels, count) in &*counts {
            *all.entry(*labels).or_default() += count;
        }
    }
}

/// Close codes that have their own counter: those of RFC 6455 and of this server. Clients can
/// choose any code, so all others share one counter.
const CLOSE_CODES: [u16; 20] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 1015, 4001,
    4002, 4003, 4004, 4005,
];

/// Closed WebSockets by close code.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    known: [Counter; CLOSE_CODES.len()],
    others: Counter,
}

impl Closed {
    pub(crate) fn count(&self, code: u16) {
        let known = CLOSE_CODES.iter().position(|known| *known == code);
        let counter = known.and_then(|index| self.known.get(index));
        counter.unwrap_or(&self.others).add(1);
    }
}

/// The part of the server that answered an HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Api,
    Events,
    WebSocket,
    Health,
    Metrics,
    Page,
    WebTransport,
}

impl Answered {
    const ALL: [Self; 7] = [
        Self::Api,
        Self::Events,
        Self::WebSocket,
        Self::Health,
        Self::Metrics,
        Self::Page,
        Self::WebTransport,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Events => "events",
            Self::WebSocket => "websocket",
            Self::Health => "health",
            Self::Metrics => "metrics",
            Self::Page => "page",
            Self::WebTransport => "webtransport",
        }
    }
}

/// Answers to HTTP requests by the part that answered, and by the first digit of the status.
#[derive(Debug, Default)]
pub(crate) struct Answers([[Counter; 5]; Answered::ALL.len()]);

impl Answers {
    pub(crate) fn count(&self, answered: Answered, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        let row = Answered::ALL.iter().position(|one| *one == answered);
        let row = row.and_then(|row| self.0.get(row));
        if let Some(counter) = row.and_then(|row| row.get(class)) {
            counter.add(1);
        }
    }
}

/// The counters of one worker. Only its own thread writes them.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    /// Connections whose clients have identified themselves, counted since the start.
    pub(crate) opened: Counter,
    /// Those of them that have ended.
    pub(crate) ended: Counter,
    /// Those that are open, by dialect and transport.
    pub(crate) clients: Clients,
    /// Closed WebSockets by close code, including those whose clients never identified themselves.
    pub(crate) closed: Closed,
    pub(crate) refused: ByWord,
    pub(crate) answers: Answers,

    /// WebTransport sessions whose control stream was opened.
    pub(crate) webtransport_sessions: Counter,
    /// Streams that subscriptions have had for themselves.
    pub(crate) webtransport_streams: Counter,
    /// Datagrams that were sent.
    pub(crate) datagrams_sent: Counter,
    /// Messages for datagrams that a newer one replaced before they were sent.
    pub(crate) datagrams_replaced: Counter,
    /// Messages for datagrams that went to the control stream, because they were too long.
    pub(crate) datagrams_too_long: Counter,
    /// Datagrams of clients, which are ignored.
    pub(crate) datagrams_received: Counter,
    /// Clients that were asked to prove their address.
    pub(crate) quic_retries: Counter,

    pub(crate) received_messages: Counter,
    pub(crate) received_bytes: Counter,
    /// Publications, joins and leaves put into outboxes.
    pub(crate) deliveries: Counter,
    /// Their bytes, before framing and compression.
    pub(crate) delivered_bytes: Counter,

    /// Publications that were acknowledged to this worker's clients and API requests.
    pub(crate) published: Counter,
    /// Those of `published` that an earlier attempt with the same key had published already.
    pub(crate) duplicates: Counter,
    pub(crate) gaps: ByWord,
    pub(crate) catching_up: Counter,

    pub(crate) subscriptions: Counter,
    pub(crate) followed_channels: Counter,

    /// From accepting a publication to putting it into the outbox of the last recipient.
    pub(crate) publish_to_write: Durations,
    pub(crate) ping_round_trip: Durations,
    pub(crate) loop_delay: Durations,
}

/// The counters of all workers.
#[derive(Debug)]
pub(crate) struct Metrics {
    workers: Box<[Arc<WorkerMetrics>]>,
    /// Reloads of the configuration: applied and refused ones.
    pub(crate) reloads: ByWord,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
            reloads: ByWord::default(),
        }
    }

    /// The counters of one worker, for its own thread.
    pub(crate) fn of(&self, worker: u16) -> Arc<WorkerMetrics> {
        let known = self.workers.get(usize::from(worker));
        known.map_or_else(Arc::default, Arc::clone)
    }

    /// The sum of one counter of all workers.
    pub(crate) fn sum(&self, of: impl Fn(&WorkerMetrics) -> &Counter) -> u64 {
        self.workers.iter().map(|worker| of(worker).get()).sum()
    }

    fn words(&self, of: impl Fn(&WorkerMetrics) -> &ByWord) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            of(worker).add_to(&mut all);
        }
        all
    }

    fn clients(&self) -> BTreeMap<[&'static str; 2], u64> {
        let mut all = BTreeMap::new();
        for worker in &self.workers {
            worker.clients.add_to(&mut all);
        }
        all
    }

    fn durations(&self, of: impl Fn(&WorkerMetrics) -> &Durations) -> CountedDurations {
        let mut all = CountedDurations::default();
        for worker in &self.workers {
            all.add(&of(worker).counted());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_code_that_a_client_invents_makes_no_new_series() {
        let closed = Closed::default();
        for code in [1000, 1000, 4711, 3000] {
            closed.count(code);
        }
        assert_eq!(closed.known[0].get(), 2);
        assert_eq!(closed.others.get(), 2);
    }

    #[test]
    fn an_answer_is_counted_by_its_kind_and_the_class_of_its_status() {
        let answers = Answers::default();
        answers.count(Answered::Api, 200);
        answers.count(Answered::Api, 404);
        answers.count(Answered::Page, 101);
        let counts: Vec<u64> = answers.0.iter().flatten().map(Counter::get).collect();
        assert_eq!(counts.iter().sum::<u64>(), 3);
        assert_eq!((counts[1], counts[3], counts[25]), (1, 1, 1));
    }
}

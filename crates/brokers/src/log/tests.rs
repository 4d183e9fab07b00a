//! What waits for an fsync, with a gate before it, since no file system is slow on demand.

pub(super) mod damaged;
mod numbers;
mod older;
mod order;
mod reading;
mod sessions;
mod states;
mod together;
mod trimming;
pub(super) mod written;

use std::{
    cell::RefCell,
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use offhook_engine::*;

use super::{Log, LogOptions, store::Size};
use crate::{Broker, Mailbox, WorkerId};

/// Called before each fsync, with the group's size.
pub(super) type Gate = Arc<dyn Fn(Size) + Send + Sync>;

/// Called before each page of history is read; or, for reads by filter, before each search in a channel.
pub(super) type ReadGate = Arc<dyn Fn() + Send + Sync>;

/// Called before each channel is loaded.
pub(super) type LoadGate = Arc<dyn Fn(&ChannelName) + Send + Sync>;

thread_local! {
    static GATE: RefCell<Option<Gate>> = const { RefCell::new(None) };
    static LOAD_GATE: RefCell<Option<LoadGate>> = const { RefCell::new(None) };
    static READ_GATE: RefCell<Option<ReadGate>> = const { RefCell::new(None) };
    static SEARCH_GATE: RefCell<Option<ReadGate>> = const { RefCell::new(None) };
}

/// The read gate of the log that this thread opens.
pub(super) fn read_gate() -> Option<ReadGate> {
    READ_GATE.take()
}

/// The gate of searches of the log that this thread opens.
pub(super) fn search_gate() -> Option<ReadGate> {
    SEARCH_GATE.take()
}

/// The load gate of the log that this thread opens.
pub(super) fn load_gate() -> Option<LoadGate> {
    LOAD_GATE.take()
}

/// The gate of the log that this thread opens.
pub(super) fn gate() -> Option<Gate> {
    GATE.take()
}

/// Longer than anything in a test takes: what has not arrived by then never will.
const NEVER: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Fsyncs {
    state: Mutex<(bool, u64)>,
    changed: Condvar,
}

impl Fsyncs {
    /// Called by the writer before an fsync: it reports its arrival, and waits while the gate is
    /// closed.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            state = self.changed.wait(state).unwrap();
        }
    }

    fn hold(&self) {
        *self.state.lock().unwrap() = (true, 0);
    }

    fn let_go(&self) {
        self.state.lock().unwrap().0 = false;
        self.changed.notify_all();
    }

    /// Waits until the writer is held at an fsync.
    fn wait_for_one(&self) {
        let mut state = self.state.lock().unwrap();
        while state.1 == 0 {
            let (next, late) = self.changed.wait_timeout(state, NEVER).unwrap();
            assert!(!late.timed_out(), "no fsync was tried");
            state = next;
        }
    }
}

struct TestWorker {
    log: Arc<Log>,
    worker_id: WorkerId,
    mailbox: Arc<Mailbox>,
    woken: Receiver<()>,
    arrived: VecDeque<BrokerEvent>,
    next_id: u64,
}

fn now() -> Now {
    Now {
        instant: Instant::now(),
        unix_ms: 1_700_000_000_000,
    }
}

fn open(path: &std::path::Path, fsyncs: &Arc<Fsyncs>) -> Arc<Log> {
    let held = Arc::clone(fsyncs);
    GATE.set(Some(Arc::new(move |_| held.pass())));
    let none = ChannelRules {
        history: History::NONE,
        ..ChannelRules::default()
    };
    let rules = RuleBook::new()
        .with("flow/*", none)
        .with("*", ChannelRules::default());
    Arc::new(Log::open(LogOptions::new(path), Arc::new(rules), now()).unwrap())
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn no_answer(event: &BrokerEvent) -> ! {
    panic!("{event:?}")
}

impl TestWorker {
    fn new(log: &Arc<Log>) -> Self {
        let (wake, woken) = sync_channel(1);
        let wake = move || wake.try_send(()).unwrap_or_default();
        let mailbox = Arc::new(Mailbox::new(1 << 20, wake));
        Self {
            log: Arc::clone(log),
            worker_id: log.attach(Arc::clone(&mailbox)),
            mailbox,
            woken,
            arrived: VecDeque::new(),
            next_id: 1,
        }
    }

    fn id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    fn submit(&self, request: BrokerRequest) {
        let left = self.log.submit(self.worker_id, request);
        assert_eq!(left, None, "the log has room");
    }

    fn next(&mut self) -> BrokerEvent {
        while self.arrived.is_empty() {
            self.arrived.extend(self.mailbox.take());
            if self.arrived.is_empty() {
                self.woken
                    .recv_timeout(NEVER)
                    .expect("it waits for the fsync");
            }
        }
        self.arrived.pop_front().unwrap()
    }

    fn publish(&mut self, name: &str) -> RequestId {
        self.publish_data(name, "x".into(), None)
    }

    fn publish_data(&mut self, name: &str, data: bytes::Bytes, key: Option<&str>) -> RequestId {
        let id = self.id();
        let draft = Draft {
            channel: channel(name),
            data,
            format: Format::Text,
            tags: Tags::default(),
            publisher: None,
            key: key.map(|key| Key::new(key).unwrap()),
            time_ms: 1,
        };
        self.submit(BrokerRequest::Publish { id, draft });
        id
    }

    /// The answer to the next request that was not answered.
    fn published(&mut self) -> Result<(Position, bool), BrokerFailure> {
        let mut next = self.next();
        while next == BrokerEvent::Lagged {
            next = self.next();
        }
        if let BrokerEvent::Failed { failure, .. } = next {
            return Err(failure);
        }
        let BrokerEvent::Published {
            position,
            duplicate,
            ..
        } = next
        else {
            no_answer(&next)
        };
        Ok((position, duplicate))
    }

    fn follow(&mut self, name: &str) -> Position {
        let id = self.id();
        let channel = channel(name);
        self.submit(BrokerRequest::Follow { id, channel });
        let next = self.next();
        let BrokerEvent::Followed { id: of, stream } = next else {
            panic!("{next:?}");
        };
        assert_eq!(of, id);
        stream.head
    }

    fn history(&mut self, name: &str) -> usize {
        let id = self.id();
        self.submit(BrokerRequest::History {
            id,
            channel: channel(name),
            from: ReadFrom::Start,
            limit: ReadLimit {
                count: 10,
                bytes: 1 << 20,
            },
        });
        let next = self.next();
        let BrokerEvent::History {
            id: of,
            publications,
            ..
        } = next
        else {
            panic!("{next:?}");
        };
        assert_eq!(of, id);
        publications.len()
    }
}

#[test]
fn a_slow_fsync_delays_only_durable_acknowledgements() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    {
        let mut worker = TestWorker::new(&open(directory.path(), &fsyncs));
        worker.publish("cold");
        worker.next();
    }
    let log = open(directory.path(), &fsyncs);
    let mut publisher = TestWorker::new(&log);
    let mut worker = TestWorker::new(&log);
    let first = publisher.publish("a");
    assert!(matches!(publisher.next(), BrokerEvent::Published { id, .. } if id == first));
    fsyncs.hold();
    let second = publisher.publish("a");
    fsyncs.wait_for_one();

    // A channel in use, one that is only on disk, a new one, one without history.
    assert_eq!(
        worker.follow("a").offset,
        1,
        "what is not durable is not told"
    );
    assert_eq!(worker.follow("cold").offset, 1);
    assert_eq!(worker.follow("new").offset, 0);
    assert_eq!(worker.follow("flow/a").offset, 0);
    assert_eq!((worker.history("a"), worker.history("cold")), (1, 1));
    let session = SessionId::from_bytes([7; 16]);
    let member = Arc::new(Member {
        session,
        user: "ann".into(),
        info: Default::default(),
    });
    worker.submit(BrokerRequest::Join {
        channel: channel("a"),
        member,
        generation: 1,
    });
    assert!(matches!(worker.next(), BrokerEvent::Presence(_)));
    let id = worker.id();
    let (channel_a, limit) = (channel("a"), 5);
    worker.submit(BrokerRequest::Members {
        id,
        channel: channel_a,
        limit,
    });
    assert!(matches!(
        worker.next(),
        BrokerEvent::Members { total: 1, .. }
    ));
    let ephemeral = worker.publish("flow/a");
    assert!(matches!(worker.next(), BrokerEvent::Published { id, .. } if id == ephemeral));
    assert!(matches!(worker.next(), BrokerEvent::Publication(_)));
    log.tick(now());
    assert!(publisher.mailbox.take().is_empty(), "not durable yet");

    fsyncs.let_go();
    assert!(matches!(publisher.next(), BrokerEvent::Published { id, .. } if id == second));
    let BrokerEvent::Publication(publication) = worker.next() else {
        panic!("the follower gets what came after its head")
    };
    assert_eq!(publication.position.offset, 2);
    assert_eq!(publication.previous.offset, 1);
}

#[test]
fn publishing_while_a_channel_is_loaded_for_a_follower_causes_no_hole_and_no_duplicate() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    {
        let mut worker = TestWorker::new(&open(directory.path(), &fsyncs));
        for n in 0..50 {
            worker.publish(&format!("channel {n}"));
            worker.next();
        }
    }
    let log = open(directory.path(), &fsyncs);
    let mut publisher = TestWorker::new(&log);
    let mut worker = TestWorker::new(&log);
    // A follower by filter receives everything, whatever is loaded when.
    let mut by_filter = TestWorker::new(&log);
    let id = by_filter.id();
    let filter = Filter::new("#").unwrap();
    by_filter.submit(BrokerRequest::FollowFilter { id, filter });
    assert!(matches!(by_filter.next(), BrokerEvent::Followed { .. }));
    let mut heads = std::collections::HashMap::new();
    for n in 0..50 {
        let name = format!("channel {n}");
        // Three publications around a follow request: the race decides which of them the follower
        // receives.
        publisher.publish(&name);
        let id = worker.id();
        let channel = channel(&name);
        worker.submit(BrokerRequest::Follow { id, channel });
        heads.insert(id, name.clone());
        publisher.publish(&name);
        publisher.publish(&name);
    }
    let mut last = std::collections::HashMap::new();
    while last.len() < 50 || last.values().any(|offset| *offset < 4) {
        let next = worker.next();
        if let BrokerEvent::Followed { id, stream } = next {
            last.insert(heads[&id].clone(), stream.head.offset);
            continue;
        }
        let BrokerEvent::Publication(publication) = next else {
            panic!("{next:?}");
        };
        let name = publication.channel.as_str();
        let before = last.get_mut(name).expect("followed comes first");
        assert_eq!(publication.position.offset, *before + 1, "{name}");
        assert_eq!(publication.previous.offset, *before);
        *before += 1;
    }
    let mut last = std::collections::HashMap::new();
    for _ in 0..150 {
        let BrokerEvent::Publication(publication) = by_filter.next() else {
            panic!()
        };
        let name = publication.channel.as_str().to_owned();
        let before = last.insert(name, publication.position.offset);
        assert_eq!(publication.position.offset, before.unwrap_or(1) + 1);
    }
}

#[test]
fn publications_without_history_during_an_fsync_have_their_own_numbers_in_delivery_order() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    let log = open(directory.path(), &fsyncs);
    let mut publisher = TestWorker::new(&log);
    publisher.publish("a");
    publisher.next();
    let mut reader = TestWorker::new(&log);
    let id = reader.id();
    let filter = Filter::new("#").unwrap();
    reader.submit(BrokerRequest::FollowFilter { id, filter });
    let BrokerEvent::Followed { stream, .. } = reader.next() else {
        panic!("a head is the answer")
    };
    let head = stream.head;
    fsyncs.hold();
    publisher.publish("a");
    fsyncs.wait_for_one();
    for _ in 0..3 {
        publisher.publish("flow/a");
    }
    fsyncs.let_go();
    publisher.publish("flow/a");
    let mut told = Vec::new();
    while told.len() < 5 {
        if let BrokerEvent::Publication(publication) = reader.next() {
            told.push((publication.sequence, publication.channel.clone()));
        }
    }
    let numbers: Vec<_> = told.iter().map(|(sequence, _)| *sequence).collect();
    assert!(head.offset < numbers[0], "{head:?} {told:?}");
    assert!(numbers.is_sorted_by(|one, next| one < next), "{told:?}");
    let first: Vec<_> = told[..3].iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(first, ["flow/a"; 3], "they do not wait for the fsync");
}

/// A publication for a channel with history.
fn plain(name: &str) -> Draft {
    Draft {
        channel: channel(name),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1,
    }
}

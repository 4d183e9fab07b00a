//! Reads that wait for the reader while the writer trims, and reads by filter alongside others.

use std::sync::{
    Arc, Mutex,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use offhook_engine::*;

use super::{Fsyncs, LOAD_GATE, NEVER, READ_GATE, SEARCH_GATE, TestWorker, channel, now};
use crate::{
    Broker, Health,
    log::{Log, LogOptions},
};

/// A log that retains so many publications of each channel, and whose reads are held back.
fn open(path: &std::path::Path, count: u64, held: &Arc<Fsyncs>) -> Arc<Log> {
    let held = Arc::clone(held);
    READ_GATE.set(Some(Arc::new(move || held.pass())));
    let history = History {
        count,
        bytes: u64::MAX,
        age: None,
    };
    let rules = ChannelRules {
        history,
        ..ChannelRules::default()
    };
    let rules = Arc::new(RuleBook::everything(rules));
    Arc::new(Log::open(LogOptions::new(path), rules, now()).unwrap())
}

impl TestWorker {
    fn ask_history(&mut self, name: &str, from: ReadFrom) -> RequestId {
        let id = self.id();
        let limit = ReadLimit {
            count: 100,
            bytes: 1 << 20,
        };
        self.submit(BrokerRequest::History {
            id,
            channel: channel(name),
            from,
            limit,
        });
        id
    }

    fn ask_filter(&mut self, after: Position, count: u32) -> RequestId {
        let id = self.id();
        self.submit(BrokerRequest::FilterHistory {
            id,
            filter: Filter::new("#").unwrap(),
            after,
            limit: ReadLimit {
                count,
                bytes: 1 << 20,
            },
        });
        id
    }
}

/// Before, this was reported as damage, and `/healthz` failed for an hour.
#[test]
fn publications_trimmed_while_a_read_waits_are_a_gap_by_size_not_damage() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let log = open(directory.path(), 20, &held);
    let (mut worker, mut reader) = (TestWorker::new(&log), TestWorker::new(&log));
    let mut positions = Vec::new();
    for _ in 0..30 {
        worker.publish("a");
        positions.push(worker.published().unwrap().0);
    }
    held.hold();
    let asked = reader.ask_history("a", ReadFrom::After(positions[15]));
    held.wait_for_one();
    for _ in 0..10 {
        worker.publish("a");
        worker.published().unwrap();
    }
    held.let_go();
    let BrokerEvent::History {
        id,
        stream,
        start,
        publications,
    } = reader.next()
    else {
        panic!()
    };
    assert_eq!(id, asked);
    // Up to the head at the time of the request; 17 to 20 were trimmed in between.
    let offsets: Vec<_> = publications.iter().map(|p| p.position.offset).collect();
    assert_eq!(offsets, (21..=30).collect::<Vec<_>>());
    assert_eq!(start.agreed, positions[15]);
    assert_eq!(start.after, positions[19]);
    assert_eq!(stream.trimmed, Trimmed::BySize);
    assert_eq!(log.health(), Health::Good);
}

#[test]
fn a_read_by_filter_over_many_channels_does_not_block_other_reads() {
    const CHANNELS: u64 = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let start = {
        let mut worker = TestWorker::new(&open(directory.path(), 20, &held));
        for n in 0..CHANNELS {
            worker.publish(&format!("channel {n}"));
        }
        for _ in 0..CHANNELS {
            worker.published().unwrap();
        }
        worker.follow("channel 0")
    };
    // After a restart, it has to examine all of them.
    let log = open(directory.path(), 20, &held);
    let (mut worker, mut reader) = (TestWorker::new(&log), TestWorker::new(&log));
    worker.ask_history("channel 1", ReadFrom::Start);
    assert!(matches!(worker.next(), BrokerEvent::History { .. }));
    // A history read occupies the reader until both other reads are queued.
    held.hold();
    worker.ask_history("channel 1", ReadFrom::Start);
    held.wait_for_one();
    let place = Position { offset: 0, ..start };
    reader.ask_filter(place, 10_000);
    held.let_go();
    assert!(matches!(worker.next(), BrokerEvent::History { .. }));
    let mut between = 0;
    let publications = loop {
        worker.ask_history("channel 2", ReadFrom::Start);
        assert!(matches!(worker.next(), BrokerEvent::History { .. }));
        between += 1;
        if let Some(event) = reader.mailbox.take().pop() {
            let BrokerEvent::FilterHistory { publications, .. } = event else {
                panic!("{event:?}")
            };
            break publications;
        }
    };
    assert_eq!(publications.len() as u64, CHANNELS);
    assert!(between > 1, "{between} reads were answered meanwhile");
}

#[test]
fn a_paged_read_by_filter_reports_the_gap_of_each_trimmed_channel_once() {
    const CHANNELS: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    for restarts in [false, true] {
        let log = open(directory.path(), 5, &held);
        let mut worker = TestWorker::new(&log);
        let place = Position {
            offset: 0,
            ..worker.follow("nothing")
        };
        // Each loses some, at different places in the order.
        let mut published = 0;
        for n in 0..CHANNELS {
            for _ in 0..10 {
                worker.publish(&format!("{restarts} {n}"));
                published += 1;
            }
        }
        for _ in 0..published {
            worker.published().unwrap();
        }
        drop((worker, log));
        let log = open(directory.path(), 5, &held);
        let mut worker = TestWorker::new(&log);
        let (mut after, mut gaps, mut found) = (place, Vec::new(), 0);
        loop {
            worker.ask_filter(after, 7);
            let BrokerEvent::FilterHistory {
                head,
                gaps: told,
                publications,
                ..
            } = worker.next()
            else {
                panic!()
            };
            gaps.extend(told.into_iter().map(|gap| gap.channel));
            found += publications.len() as u64;
            let Some(last) = publications.last() else {
                break;
            };
            assert!(last.sequence > after.offset, "it goes on");
            after = Position {
                offset: last.sequence,
                ..head
            };
        }
        let expected = CHANNELS * (1 + u64::from(restarts));
        assert_eq!(found, expected * 5);
        gaps.sort();
        assert_eq!(gaps.len() as u64, expected, "each once: {gaps:?}");
        gaps.dedup();
        assert_eq!(gaps.len() as u64, expected);
    }
}

/// A search that met trimmed publications went to the oldest retained one, and what the reader had
/// already was returned again.
#[test]
fn a_read_by_filter_returns_nothing_twice_if_publications_are_trimmed_while_it_searches() {
    let directory = tempfile::tempdir().unwrap();
    let held = Arc::new(Fsyncs::default());
    let gate = Arc::clone(&held);
    SEARCH_GATE.set(Some(Arc::new(move || gate.pass())));
    let log = open(directory.path(), 40, &Arc::new(Fsyncs::default()));
    let (mut worker, mut reader) = (TestWorker::new(&log), TestWorker::new(&log));
    let publish = |worker: &mut TestWorker, count: usize| {
        for _ in 0..count {
            worker.publish("a");
            worker.published().unwrap();
        }
    };
    let begin = reader.follow("nothing");
    publish(&mut worker, 40);
    let all = Position { offset: 0, ..begin };
    reader.ask_filter(all, 35);
    let BrokerEvent::FilterHistory { publications, .. } = reader.next() else {
        panic!()
    };
    let offset = publications.last().unwrap().sequence;
    // Another position than that of the first page, whose search would be continued.
    let after = Position {
        offset: offset - 1,
        ..begin
    };
    held.hold();
    reader.ask_filter(after, 100);
    held.wait_for_one();
    publish(&mut worker, 30);
    held.let_go();
    let BrokerEvent::FilterHistory {
        publications, gaps, ..
    } = reader.next()
    else {
        panic!()
    };
    let offsets: Vec<_> = publications.iter().map(|p| p.position.offset).collect();
    assert_eq!((offsets, gaps), ((35..=40).collect::<Vec<_>>(), vec![]));
}

/// Makes the next log wait before each load: it says which channel, and awaits a permission.
fn hold_loads() -> (Receiver<String>, SyncSender<()>) {
    let (say, said) = sync_channel(100);
    let (permit, permitted) = sync_channel(100);
    let permitted = Mutex::new(permitted);
    LOAD_GATE.set(Some(Arc::new(move |channel: &ChannelName| {
        // Once the test is over, nobody listens.
        let _over = say.send(channel.as_str().to_owned());
        let _over = permitted.lock().unwrap().recv_timeout(NEVER);
    })));
    (said, permit)
}

#[test]
fn a_channel_that_is_not_on_disk_does_not_wait_for_those_behind_it_that_are() {
    let directory = tempfile::tempdir().unwrap();
    let free = Arc::new(Fsyncs::default());
    {
        let mut worker = TestWorker::new(&open(directory.path(), 100, &free));
        worker.publish("cold");
        worker.published().unwrap();
    }
    for is_published in [false, true] {
        let (said, permit) = hold_loads();
        let log = open(directory.path(), 100, &free);
        let (mut worker, mut other) = (TestWorker::new(&log), TestWorker::new(&log));
        let follow = |worker: &mut TestWorker, name: &str| {
            let id = worker.id();
            let channel = channel(name);
            worker.submit(BrokerRequest::Follow { id, channel });
        };
        let next = || said.recv_timeout(NEVER).unwrap();
        other.publish("warm");
        assert_eq!(next(), "warm");
        permit.send(()).unwrap();
        other.published().unwrap();
        // While the reader is busy with this one, the others become one batch.
        follow(&mut worker, "first");
        assert_eq!(next(), "first");
        follow(&mut worker, "new");
        if is_published {
            // The writer asks the reader for the channel.
            other.publish("cold");
        } else {
            follow(&mut other, "cold");
        }
        // The writer has asked for it as soon as it answers what came after.
        other.publish("warm");
        assert!(matches!(other.next(), BrokerEvent::Published { .. }));
        permit.send(()).unwrap();
        assert_eq!(next(), "new");
        permit.send(()).unwrap();
        assert_eq!(next(), "cold");
        for _ in ["first", "new"] {
            assert!(matches!(worker.next(), BrokerEvent::Followed { .. }));
        }
        permit.send(()).unwrap();
        let answer = other.next();
        let is_right = match is_published {
            true => matches!(answer, BrokerEvent::Published { .. }),
            false => matches!(answer, BrokerEvent::Followed { .. }),
        };
        assert!(is_right, "{answer:?}");
        drop(permit);
    }
}

#[test]
fn pages_of_a_state_are_read_from_the_disk_once_until_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let reads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&reads);
    READ_GATE.set(Some(Arc::new(move || *counted.lock().unwrap() += 1)));
    let rules = ChannelRules {
        state: State {
            count: 100,
            bytes: 1 << 20,
            age: None,
        },
        ..ChannelRules::default()
    };
    let rules = Arc::new(RuleBook::everything(rules));
    let log = Arc::new(Log::open(LogOptions::new(directory.path()), rules, now()).unwrap());
    let mut worker = TestWorker::new(&log);
    let set = |worker: &mut TestWorker, key: &str| {
        let mut draft = super::plain("a");
        draft.tags = Tags::new([(CONFLATION_TAG, key)]).unwrap();
        let id = worker.id();
        worker.submit(BrokerRequest::Publish { id, draft });
        worker.published().unwrap();
    };
    let state = |worker: &mut TestWorker| {
        let (id, channel) = (worker.id(), channel("a"));
        worker.submit(BrokerRequest::State { id, channel });
        let next = worker.next();
        let BrokerEvent::State { stream, values, .. } = next else {
            super::no_answer(&next)
        };
        (stream.head.offset, values.len())
    };
    set(&mut worker, "one");
    for _page in 0..3 {
        assert_eq!(state(&mut worker), (1, 1));
    }
    assert_eq!(*reads.lock().unwrap(), 1);
    set(&mut worker, "two");
    for _page in 0..3 {
        assert_eq!(state(&mut worker), (2, 2));
    }
    assert_eq!(*reads.lock().unwrap(), 2);
    // Nobody reads it for some time.
    for _ in 0..20 {
        log.tick(now());
        set(&mut worker, "two");
    }
    state(&mut worker);
    assert_eq!(*reads.lock().unwrap(), 3);
}

#[test]
fn reads_of_states_keep_no_other_reads_waiting() {
    let (held, free) = (Arc::new(Fsyncs::default()), Arc::new(Fsyncs::default()));
    let directory = tempfile::tempdir().unwrap();
    {
        let mut worker = TestWorker::new(&open(directory.path(), 100, &free));
        for name in ["a", "b"] {
            worker.publish(name);
            worker.published().unwrap();
        }
    }
    let log = open(directory.path(), 100, &held);
    let mut worker = TestWorker::new(&log);
    assert_eq!(worker.follow("a").offset, 1);
    held.hold();
    // The reader is busy with the first, and the others wait.
    worker.ask_history("a", ReadFrom::Start);
    held.wait_for_one();
    let states: Vec<_> = (0..9).map(|_| worker.id()).collect();
    for id in &states {
        let (id, channel) = (*id, channel("a"));
        worker.submit(BrokerRequest::State { id, channel });
    }
    let start = Position {
        epoch: Epoch(0),
        offset: 0,
    };
    let by_filter = worker.ask_filter(start, 10);
    held.let_go();
    let mut before = 0;
    loop {
        let next = worker.next();
        if matches!(next, BrokerEvent::FilterHistory { id, .. } if id == by_filter) {
            break;
        }
        before += usize::from(matches!(next, BrokerEvent::State { .. }));
    }
    assert!(before < states.len() - 1, "it waited for {before} states");
}

#[test]
fn a_worker_that_unfollows_behind_a_full_queue_does_not_follow_when_the_channel_is_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let (said, permit) = hold_loads();
    let log = open(directory.path(), 100, &Arc::new(Fsyncs::default()));
    let mut worker = TestWorker::new(&log);
    let follow = |worker: &mut TestWorker| {
        let (id, channel) = (worker.id(), channel("a"));
        worker.submit(BrokerRequest::Follow { id, channel });
    };
    follow(&mut worker);
    assert_eq!(said.recv_timeout(NEVER).unwrap(), "a");
    let mut asked = 1;
    // Until one is refused.
    while worker.mailbox.take().is_empty() {
        follow(&mut worker);
        asked += 1;
    }
    for _ in 0..3 {
        let channel = channel("a");
        worker.submit(BrokerRequest::Unfollow { channel });
    }
    permit.send(()).unwrap();
    for _ in 1..asked {
        assert!(matches!(worker.next(), BrokerEvent::Followed { .. }));
    }
    assert!(log.occupied("", None, 10).is_empty(), "nobody follows it");
    drop(permit);
}

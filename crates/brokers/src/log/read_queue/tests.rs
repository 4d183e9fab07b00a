use offhook_engine::{Filter, Position, Trimmed};

use super::*;

fn channel(n: usize) -> ChannelName {
    ChannelName::new(&n.to_string()).unwrap()
}

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(1, || {}))
}

fn stream() -> StreamState {
    StreamState {
        head: Position::new(1, 0),
        first: 1,
        trimmed: Trimmed::default(),
    }
}

const LIMIT: ReadLimit = ReadLimit { count: 1, bytes: 1 };

fn read(id: u64) -> ReadJob {
    ReadJob {
        mailbox: mailbox(),
        id: RequestId(id),
        channel: channel(1),
        number: 1,
        epochs: Arc::new(Epochs::new(offhook_engine::Epoch(1))),
        lineage: Lineage::empty(),
        stream: stream(),
        start: ReadStart::at(Position::new(1, 0)),
        backward: false,
        limit: LIMIT,
    }
}

fn state(id: u64) -> StateJob {
    StateJob {
        mailbox: mailbox(),
        id: RequestId(id),
        channel: channel(1),
        number: 1,
        stream: stream(),
        reading: None,
    }
}

fn filter(id: u64) -> FilterJob {
    FilterJob {
        mailbox: mailbox(),
        id: RequestId(id),
        filter: Filter::new("#").unwrap(),
        after: Position::new(1, 0),
        limit: LIMIT,
        merge: None,
    }
}

fn values(id: u64) -> ValuesJob {
    let filter = Filter::new("#").unwrap();
    ValuesJob::new(mailbox(), RequestId(id), filter, None, LIMIT)
}

/// What is taken until the queue, which was closed, is empty.
fn taken(queue: &ReadQueue) -> Vec<String> {
    queue.close();
    let tasks = std::iter::from_fn(|| queue.take());
    let names = tasks.map(|task| match task {
        Task::Load(loads) => format!("{} loads", loads.len()),
        Task::Read(job) => format!("read {}", job.id.0),
        Task::State(job) => format!("state {}", job.id.0),
        Task::Filter(job) => format!("filter {}", job.id.0),
        Task::Values(job) => format!("values {}", job.id.0),
        Task::StateLoad(load) => format!("state of {}", load.channel),
    });
    names.collect()
}

#[test]
fn loads_come_first_and_the_kinds_of_reads_take_turns() {
    let queue = ReadQueue::default();
    queue.go_on_with_values(values(1));
    queue.go_on(filter(2));
    assert!(queue.values(values(3)) && queue.filter(filter(4)));
    assert!(queue.state(state(5)) && queue.read(read(6)));
    for n in 0..AT_ONCE + 1 {
        assert!(queue.load(Load::ForBus(channel(n))));
    }
    let expected = [
        "64 loads", "1 loads", "read 6", "state 5", "filter 2", "values 1", "filter 4", "values 3",
    ];
    assert_eq!(taken(&queue), expected);
}

#[test]
fn each_kind_of_work_has_a_limit_of_its_own_and_the_writer_none() {
    let queue = ReadQueue::default();
    for n in 0..READS as u64 {
        assert!(queue.read(read(n)) && queue.state(state(n)));
        assert!(queue.filter(filter(n)) && queue.values(values(n)));
    }
    assert!(!queue.read(read(0)) && !queue.state(state(0)));
    assert!(!queue.filter(filter(0)) && !queue.values(values(0)));
    for n in 0..LOADS {
        assert!(queue.load_later(Load::ForBus(channel(n))));
    }
    assert!(!queue.load(Load::ForBus(channel(0))));
    assert!(queue.load(Load::ForWriter(channel(0))) && queue.load(Load::Sweep));
    let all = queue.lock();
    let lengths = [
        all.loads.len(),
        all.reads.len(),
        all.states.len(),
        all.filters.len(),
        all.values.len(),
    ];
    assert_eq!(lengths, [LOADS + 2, READS, READS, READS, READS]);
}

#[test]
fn the_reader_is_woken_once_for_loads_of_which_it_was_not_told() {
    let queue = ReadQueue::default();
    queue.load_later(Load::Sweep);
    assert!(queue.unannounced.load(Ordering::Acquire));
    queue.wake();
    assert!(!queue.unannounced.load(Ordering::Acquire));
}

#![expect(clippy::wildcard_enum_match_arm, reason = "a test matches one variant")]

mod sweeping;

use std::sync::{
    Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use offhook_engine::*;

use super::*;
use crate::{
    Health, Mailbox, WorkerId,
    lineage::Epochs,
    log::{
        LogOptions,
        tests::written::{self, channel, draft, fill, fill_by, open, write},
    },
};

const LIMIT: ReadLimit = ReadLimit {
    count: 100,
    bytes: 1 << 20,
};

/// Channels keep so many publications, or those that are not older.
fn keeping(count: u64, age_ms: Option<u64>) -> History {
    History {
        count,
        bytes: u64::MAX,
        age: age_ms.map(std::time::Duration::from_millis),
    }
}

fn rules(history: History) -> RuleBook {
    let state = State {
        count: 100,
        bytes: u64::MAX,
        age: None,
    };
    RuleBook::everything(ChannelRules {
        history,
        state,
        ..ChannelRules::default()
    })
}

/// A reader whose thread is the test's, and a worker.
struct Alone {
    reader: Reader,
    mailbox: Arc<Mailbox>,
    worker: WorkerId,
    wakes: Arc<AtomicUsize>,
    loaded: Arc<Mutex<Vec<String>>>,
    directory: tempfile::TempDir,
}

fn alone(history: History, stage: impl FnOnce(&Arc<Store>)) -> Alone {
    let directory = tempfile::tempdir().unwrap();
    stage(&open(directory.path()));
    let options = LogOptions::new(directory.path());
    let store = SharedStore::new(options.clone(), Store::open(&options).unwrap());
    let shared = Arc::new(written::shared(rules(history), 1 << 30));
    let wakes = Arc::new(AtomicUsize::new(0));
    let woken = Arc::clone(&wakes);
    let wake = move || {
        woken.fetch_add(1, Ordering::SeqCst);
    };
    let mailbox = Arc::new(Mailbox::new(1 << 20, wake));
    let worker = shared.hub.attach(Arc::clone(&mailbox));
    let mut reader = Reader::new(shared, store, Arc::default());
    let loaded = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&loaded);
    reader.before_load = Some(Arc::new(move |name: &ChannelName| {
        seen.lock().unwrap().push(name.as_str().to_owned());
    }));
    Alone {
        reader,
        mailbox,
        worker,
        wakes,
        loaded,
        directory,
    }
}

impl Alone {
    /// A read of the channel `a` with number 0, which retains these offsets.
    fn job(&self, first: u64, head: u64, after: u64, limit: ReadLimit) -> ReadJob {
        let epochs = Arc::new(Epochs::new(Epoch(1)));
        let at = |offset| Position::new(1, offset);
        ReadJob {
            mailbox: Arc::clone(&self.mailbox),
            id: RequestId(1),
            channel: channel("a"),
            number: 0,
            epochs,
            lineage: crate::lineage::Lineage::empty(),
            stream: StreamState {
                head: at(head),
                first,
                trimmed: Trimmed::BySize,
            },
            start: ReadStart::at(at(after)),
            backward: false,
            limit,
        }
    }

    fn store(&self) -> Arc<Store> {
        self.reader.store.get().unwrap()
    }

    fn page(&self, job: &ReadJob, from: u64) -> (Vec<u64>, Option<u64>, Option<u64>) {
        let page = read_page(&self.store(), job, from);
        let damage = page.damage.map(|damage| {
            assert_eq!(damage.failure, BrokerFailure::StorageCorrupt);
            damage.offset
        });
        (offsets(&page.publications), page.first_found, damage)
    }

    fn one_event(&self) -> BrokerEvent {
        let mut events = self.mailbox.take();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    fn loads(&self) -> Vec<String> {
        std::mem::take(&mut *self.loaded.lock().unwrap())
    }

    /// The jobs that the writer got, each as its channel and whether it was swept.
    fn jobs(&self) -> Vec<(String, bool)> {
        self.reader.shared.jobs.put_always(Job::Stop);
        let jobs = self.reader.shared.jobs.take().into_iter();
        let jobs = jobs.filter_map(|job| match job {
            Job::Swept { channel, .. } => Some((channel.as_str().to_owned(), true)),
            Job::Loaded { channel, .. } => Some((channel.as_str().to_owned(), false)),
            Job::Stop => None,
            other => panic!("{other:?}"),
        });
        jobs.collect()
    }
}

fn offsets(publications: &[Arc<Publication>]) -> Vec<u64> {
    publications.iter().map(|p| p.position.offset).collect()
}

fn name(n: usize) -> String {
    format!("channel {n:03}")
}

#[test]
fn a_page_ends_with_the_head_or_at_its_limits_and_has_at_least_one_publication() {
    let alone = alone(keeping(100, None), |store| drop(fill(store, "a", 0, 6)));
    let weight = draft("a", "x", 1).weight();
    let page =
        |from, count, bytes| alone.page(&alone.job(1, 5, 0, ReadLimit { count, bytes }), from);
    let all = (vec![1, 2, 3, 4, 5], None, None);
    assert_eq!(page(1, 100, usize::MAX), all);
    assert_eq!(page(1, 100, 5 * weight), all);
    assert_eq!(page(1, 5, usize::MAX), all);
    assert_eq!(page(1, 4, usize::MAX).0, [1, 2, 3, 4]);
    assert_eq!(page(1, 100, 5 * weight - 1).0, [1, 2, 3, 4]);
    assert_eq!(page(2, 1, usize::MAX).0, [2]);
    assert_eq!(page(2, 100, 0).0, [2]);
    assert_eq!(page(5, 100, usize::MAX), (vec![5], None, None));
    assert_eq!(page(6, 100, usize::MAX), (vec![], None, None));
    assert_eq!(page(1, 0, usize::MAX), (vec![], None, None));
}

#[test]
fn a_page_whose_beginning_was_trimmed_starts_with_what_is_left() {
    let alone = alone(keeping(100, None), |store| {
        fill(store, "a", 0, 6);
        write(store, 2, |group| group.remove(0, 1..=3));
    });
    let job = |first, after| alone.job(first, 6, after, LIMIT);
    assert_eq!(alone.page(&job(2, 1), 2), (vec![4, 5, 6], Some(4), None));
    assert_eq!(alone.page(&job(4, 3), 4), (vec![4, 5, 6], None, None));
    // Not at the beginning, something is missing.
    assert_eq!(alone.page(&job(1, 1), 2), (vec![], None, Some(2)));
    write(&alone.store(), 3, |group| group.remove(0, 4..=6));
    assert_eq!(alone.page(&job(2, 1), 2), (vec![], Some(7), None));
    assert_eq!(alone.page(&job(1, 4), 5), (vec![], Some(7), None));
}

#[test]
fn a_page_ends_before_a_hole_and_the_next_one_begins_behind_it() {
    let alone = alone(keeping(100, None), |store| {
        fill(store, "a", 0, 9);
        write(store, 2, |group| {
            group.remove(0, 3..=4);
            group.remove(0, 8..=9);
        });
    });
    let job = |after| alone.job(1, 9, after, LIMIT);
    assert_eq!(alone.page(&job(0), 1), (vec![1, 2], None, Some(3)));
    let read = |after| {
        let (stream, start, publications) = alone.reader.read(&job(after)).unwrap();
        let place = (stream.first, start.after.offset, stream.trimmed);
        (place, offsets(&publications))
    };
    assert_eq!(read(0), ((1, 0, Trimmed::BySize), vec![1, 2]));
    let Health::Corrupt(text) = alone.reader.condition.health() else {
        panic!("it was not reported")
    };
    assert!(text.contains("channel a: damaged at offset 3"), "{text}");
    assert_eq!(read(2), ((5, 4, Trimmed::Damaged), vec![5, 6, 7]));
    assert_eq!(read(3), ((5, 4, Trimmed::Damaged), vec![5, 6, 7]));
    assert_eq!(read(4), ((1, 4, Trimmed::BySize), vec![5, 6, 7]));
    // Up to the head, nothing can be read.
    assert_eq!(read(7), ((10, 9, Trimmed::BySize), vec![]));
    assert_eq!(read(9), ((1, 9, Trimmed::BySize), vec![]));
}

#[test]
fn a_damaged_publication_at_the_beginning_of_a_channel_in_use_is_passed() {
    let alone = alone(keeping(100, None), |store| {
        fill(store, "a", 0, 3);
        let [log, ..] = store.keyspaces();
        let key = crate::log::record::log_key(0, 1);
        log.insert(key, b"damaged".as_slice()).unwrap();
    });
    let job = alone.job(1, 3, 0, LIMIT);
    let view = View {
        number: 0,
        stream: job.stream,
        lineage: Arc::clone(&job.lineage),
        used_ms: 0,
    };
    let shared = &alone.reader.shared;
    shared.open(&mut shared.hub.bus(), &channel("a"), view);
    let (stream, start, publications) = alone.reader.read(&job).unwrap();
    assert_eq!((start.after.offset, stream.trimmed), (1, Trimmed::Damaged));
    assert_eq!(offsets(&publications), [2, 3]);
}

#[test]
fn the_answer_to_a_read_is_what_was_found_or_why_not() {
    let alone = alone(keeping(100, None), |store| drop(fill(store, "a", 0, 2)));
    alone.reader.answer(&alone.job(1, 2, 0, LIMIT));
    let BrokerEvent::History {
        publications,
        start,
        ..
    } = alone.one_event()
    else {
        panic!("no history")
    };
    assert_eq!(
        (offsets(&publications), start.after.offset),
        (vec![1, 2], 0)
    );
    alone.reader.store.close();
    let failed = BrokerEvent::Failed {
        id: RequestId(1),
        failure: BrokerFailure::StorageFailed,
    };
    alone.reader.answer(&alone.job(1, 2, 0, LIMIT));
    assert_eq!(alone.one_event(), failed);
    let stream = alone.job(1, 2, 0, LIMIT).stream;
    let state = |head| StateJob {
        mailbox: Arc::clone(&alone.mailbox),
        id: RequestId(1),
        channel: channel("a"),
        number: 0,
        stream: StreamState {
            head: Position::new(1, head),
            ..stream
        },
        reading: None,
    };
    alone.reader.answer_state(state(2));
    assert_eq!(alone.one_event(), failed);
    // A channel without publications has no state.
    alone.reader.answer_state(state(0));
    assert!(matches!(alone.one_event(), BrokerEvent::State { values, .. } if values.is_empty()));
    let filter = Filter::new("#").unwrap();
    let mailbox = || Arc::clone(&alone.mailbox);
    let values = ValuesJob::new(mailbox(), RequestId(1), filter.clone(), None, LIMIT);
    alone.reader.answer_values(values);
    assert_eq!(alone.one_event(), failed);
    alone.reader.answer_filter(FilterJob {
        mailbox: mailbox(),
        id: RequestId(1),
        filter,
        after: Position::new(5, 0),
        limit: LIMIT,
        merge: None,
    });
    assert_eq!(alone.one_event(), failed);
    let found = alone.reader.find(&channel("a"));
    assert_eq!(found, Err(BrokerFailure::StorageFailed));
    assert!(!alone.reader.takes_long(&Load::ForBus(channel("a"))));
    alone.reader.sweep();
    assert_eq!(alone.jobs(), []);
    assert!(alone.directory.path().exists());
}

#[test]
fn a_state_with_publications_after_the_known_head_says_so() {
    let alone = alone(keeping(100, None), |store| {
        let mut draft = draft("a", "x", 1);
        draft.tags = Tags::new([(CONFLATION_TAG, "one")]).unwrap();
        write(store, 1, |group| {
            group.publish(0, (4, 4), &draft, true);
            group.set_value(0, "one", Place::after(Position::new(1, 3), 4));
        });
    });
    let mut stream = alone.job(1, 1, 0, LIMIT).stream;
    for (known, told) in [(1, 4), (4, 4), (9, 9)] {
        stream.head.offset = known;
        alone.reader.answer_state(StateJob {
            mailbox: Arc::clone(&alone.mailbox),
            id: RequestId(1),
            channel: channel("a"),
            number: 0,
            stream,
            reading: None,
        });
        let BrokerEvent::State { stream, values, .. } = alone.one_event() else {
            panic!("no state")
        };
        assert_eq!((stream.head.offset, offsets(&values)), (told, vec![4]));
    }
}

#[test]
fn channels_that_are_not_on_disk_are_told_together_and_others_do_not_wait_for_the_next() {
    let alone = alone(keeping(100, None), |store| drop(fill(store, "a", 0, 2)));
    let follow = |id, name: &str| {
        let request = BrokerRequest::Follow {
            id: RequestId(id),
            channel: channel(name),
        };
        let shared = &alone.reader.shared;
        let left = shared.submit_all(alone.worker, &mut std::iter::once(request));
        assert_eq!(left, []);
    };
    for (id, name) in (1..).zip(["b", "c", "d"]) {
        follow(id, name);
    }
    let load = |name| Load::ForBus(channel(name));
    assert!(alone.reader.takes_long(&load("a")) && !alone.reader.takes_long(&load("b")));
    assert!(alone.reader.takes_long(&Load::Sweep));
    // It takes its events as soon as it is woken.
    let own: Arc<OnceLock<Arc<Mailbox>>> = Arc::default();
    let (of, takes) = (Arc::clone(&own), Arc::new(Mutex::new(Vec::new())));
    let taken = Arc::clone(&takes);
    let eager = Arc::new(Mailbox::new(1 << 20, move || {
        let mailbox = of.get().expect("it was set");
        taken.lock().unwrap().push(mailbox.take().len());
    }));
    own.set(Arc::clone(&eager)).expect("set once");
    let eager = alone.reader.shared.hub.attach(eager);
    for name in ["b", "c", "d"] {
        let request = BrokerRequest::Follow {
            id: RequestId(1),
            channel: channel(name),
        };
        let left = alone
            .reader
            .shared
            .submit_all(eager, &mut std::iter::once(request));
        assert_eq!(left, []);
    }
    alone.reader.load_all(["b", "c", "d"].map(load).into());
    assert_eq!(*takes.lock().unwrap(), [3]);
    assert_eq!(alone.mailbox.take().len(), 3);
    assert_eq!(alone.wakes.load(Ordering::SeqCst), 1);
    // One that is on disk takes longer: what comes before it is told first.
    follow(4, "e");
    follow(5, "a");
    alone
        .reader
        .load_all(vec![load("e"), load("a"), Load::ForWriter(channel("a"))]);
    let told = alone.mailbox.take().into_iter().map(|event| match event {
        BrokerEvent::Followed { id, stream } => (id.0, stream.head.offset),
        other => panic!("{other:?}"),
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(4, 0), (5, 2)]);
    assert_eq!(alone.loads(), ["b", "c", "d", "e", "a", "a"]);
    assert_eq!(alone.jobs(), [("a".to_owned(), false)]);
}

#[test]
fn a_channel_with_a_damaged_entry_is_corrupt_and_the_others_are_loaded() {
    let alone = alone(keeping(100, None), |store| {
        fill(store, "a", 0, 2);
        let [.., channels, _] = store.keyspaces();
        channels.insert("bad", b"short".as_slice()).unwrap();
    });
    let found = |name| alone.reader.find_guarded(&channel(name));
    assert_eq!(found("bad"), Err(BrokerFailure::StorageCorrupt));
    assert_eq!(found("a").unwrap().unwrap().head, 2);
    assert_eq!(found("none"), Ok(None));
    let Health::Corrupt(text) = alone.reader.condition.health() else {
        panic!("it was not reported")
    };
    assert!(
        text.contains("channel bad: its entry cannot be read"),
        "{text}"
    );
}

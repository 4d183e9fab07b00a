use std::time::{Duration, Instant};

use offhook_engine::{Format, History, RuleBook, Tags};

use super::{upkeep::UNFOLLOWED_VIEWS, *};
use crate::{hub::View, lineage::Lineage};

const BEGAN: Epoch = Epoch(5);
const MINUTE: u64 = 60_000;

fn at(ms: u64) -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    Now {
        instant: *START.get_or_init(Instant::now) + Duration::from_millis(ms),
        unix_ms: 1_000_000 + ms,
    }
}

fn bus(budget: usize) -> Bus {
    Bus::new(BEGAN, 10, budget, at(0))
}

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

/// The rules of channels that keep so many publications.
fn keeps(count: u64) -> ChannelRules {
    ChannelRules {
        history: History {
            count,
            bytes: u64::MAX,
            age: None,
        },
        key_window: Duration::ZERO,
        ..ChannelRules::default()
    }
}

fn draft(name: &str) -> Draft {
    Draft {
        channel: channel(name),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1_000_000,
    }
}

/// Publishes in a channel that keeps so many publications; returns the sequence number.
#[expect(
    clippy::panic_in_result_fn,
    reason = "only the broker's failures are results"
)]
fn publish(bus: &mut Bus, name: &str, kept: u64) -> Result<u64, BrokerFailure> {
    let published = bus.publish(draft(name), &keeps(kept));
    published.map(|published| match published {
        Published::New(publication) => publication.sequence,
        Published::Before(_) => panic!("it has no key"),
    })
}

fn view(head: u64) -> Durable {
    Durable::Open(View {
        number: 1,
        stream: StreamState {
            head: Position::new(1, head),
            first: 1,
            trimmed: offhook_engine::Trimmed::default(),
        },
        lineage: Lineage::empty(),
        used_ms: at(0).unix_ms,
    })
}

#[test]
fn followed_names_and_cached_streams_count_against_the_budget() {
    let mut bus = bus(3 * FOLLOWED + 2 * VIEW);
    for name in ["a", "b", "c"] {
        bus.follow(WorkerId(1), channel(name));
        bus.follow(WorkerId(2), channel(name));
    }
    assert_eq!((bus.held(), bus.open_channels()), (3 * FOLLOWED, 0));
    bus.durable.insert(channel("a"), view(1));
    assert!(bus.has_room());
    bus.durable.insert(channel("b"), view(1));
    assert_eq!(
        (bus.held(), bus.open_channels()),
        (3 * FOLLOWED + 2 * VIEW, 2)
    );
    assert!(!bus.has_room() && bus.over() == 0);
    assert!(matches!(
        bus.begin(&channel("d")),
        Err(BrokerFailure::TooManyChannels)
    ));
    bus.budget *= 2;
    bus.begin(&channel("d")).unwrap();
    let stream = bus.streams[&channel("d")].weight();
    assert_eq!(
        (bus.held(), bus.open_channels()),
        (3 * FOLLOWED + 2 * VIEW + stream, 3)
    );
    bus.budget = 100;
    assert_eq!(bus.over(), bus.held() - 100);
}

#[test]
fn a_batch_leaves_sequence_numbers_free_and_more_after_they_did_not_suffice() {
    let mut bus = bus(usize::MAX);
    assert_eq!(bus.begin_batch(), (10, ROOM));
    bus.reach(100, 2);
    assert_eq!(publish(&mut bus, "a", 0), Ok(101));
    assert_eq!(publish(&mut bus, "a", 0), Ok(102));
    for _ in 0..2 {
        assert_eq!(publish(&mut bus, "a", 0), Err(BrokerFailure::Busy));
    }
    assert_eq!(bus.begin_batch(), (102, 16 * ROOM));
    // A slice behind what was delivered meanwhile.
    bus.reach(50, 1);
    assert_eq!(publish(&mut bus, "a", 0), Ok(103));
    bus.end_batch(99);
    assert_eq!(publish(&mut bus, "a", 0), Ok(104));
    assert_eq!(bus.place(), Position::new(BEGAN.0, 104));
    bus.end_batch(200);
    assert_eq!(publish(&mut bus, "a", 0), Ok(201));
}

#[test]
fn a_worker_follows_a_limited_number_of_filters_and_the_same_one_again() {
    let mut bus = bus(usize::MAX);
    for n in 0..MAX_FILTERS {
        bus.follow_filter(WorkerId(1), &filter(&format!("{n}")))
            .unwrap();
    }
    let more = bus.follow_filter(WorkerId(1), &filter("more"));
    assert_eq!(more, Err(BrokerFailure::Busy));
    bus.follow_filter(WorkerId(1), &filter("7")).unwrap();
    bus.follow_filter(WorkerId(2), &filter("more")).unwrap();
    bus.unfollow_filter(WorkerId(1), &filter("7"));
    bus.follow_filter(WorkerId(1), &filter("more")).unwrap();
}

#[test]
fn a_channel_is_followed_by_name_or_by_filter() {
    let mut bus = bus(usize::MAX);
    bus.follow(WorkerId(1), channel("a/x"));
    bus.follow_filter(WorkerId(1), &filter("b/+")).unwrap();
    let followed =
        |bus: &Bus| ["a/x", "a/y", "b/x", "c"].map(|name| bus.is_followed(&channel(name)));
    assert_eq!(followed(&bus), [true, false, true, false]);
    bus.unfollow(WorkerId(1), &channel("a/x"));
    bus.unfollow(WorkerId(1), &channel("a/y"));
    bus.unfollow_filter(WorkerId(2), &filter("b/+"));
    assert_eq!(followed(&bus), [false, false, true, false]);
    bus.unfollow_filter(WorkerId(1), &filter("b/+"));
    assert_eq!(followed(&bus), [false; 4]);
    assert!(bus.filters.is_empty());
}

#[test]
fn a_worker_that_ended_follows_nothing_and_others_go_on() {
    let mut bus = bus(usize::MAX);
    let boxes: [_; 3] = std::array::from_fn(|_| Arc::new(Mailbox::new(1 << 20, || {})));
    let workers: Vec<_> = boxes
        .iter()
        .map(|mailbox| bus.attach(Arc::clone(mailbox)))
        .collect();
    for worker in &workers {
        bus.follow(*worker, channel("a"));
        bus.follow_filter(*worker, &filter("+")).unwrap();
    }
    bus.follow(workers[0], channel("b"));
    bus.detach(workers[0]);
    while bus.unfollow_some_filters(workers[0]) {}
    assert_eq!(bus.unfollow_some(workers[0], None), Some(channel("b")));
    assert_eq!(bus.followers(&channel("a")), &workers[1..]);
    assert!(bus.followers(&channel("b")).is_empty());
    assert_eq!(bus.followed("", None, 9), [channel("a")]);
    let Published::New(publication) = bus.publish(draft("a"), &keeps(0)).unwrap() else {
        panic!()
    };
    bus.tell_by_filter(&publication);
    bus.tell_publication(&publication);
    let counts = boxes.each_ref().map(|mailbox| mailbox.take().len());
    assert_eq!(counts, [0, 2, 2], "once each, whatever it follows");
    bus.unfollow_filter(workers[1], &filter("+"));
    bus.tell_by_filter(&publication);
    let counts = boxes.each_ref().map(|mailbox| mailbox.take().len());
    assert_eq!(counts, [0, 0, 1]);
    bus.unfollow(workers[1], &channel("a"));
    bus.unfollow(workers[2], &channel("a"));
    assert!(bus.followers.is_empty() && bus.followed.is_empty());
}

#[test]
fn workers_told_many_things_are_woken_together() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (mut bus, woken) = (bus(usize::MAX), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&woken);
    let wake = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let worker = bus.attach(Arc::new(Mailbox::new(1 << 20, wake)));
    bus.tell(worker, BrokerEvent::Lagged);
    bus.tell_all(&BrokerEvent::Lagged);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert_eq!(bus.mailbox(worker).unwrap().take().len(), 2);
    bus.tell_many();
    bus.tell(worker, BrokerEvent::Lagged);
    bus.tell(worker, BrokerEvent::Lagged);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert_eq!(bus.told().len(), 1);
    assert!(bus.told().is_empty());
    let _ = bus.mailbox(worker).unwrap().take();
    bus.tell(worker, BrokerEvent::Lagged);
    assert_eq!(woken.load(Ordering::Relaxed), 2);
}

#[test]
fn what_a_reader_by_filter_missed_is_known_from_streams_and_from_those_that_are_gone() {
    let mut bus = bus(usize::MAX);
    for name in ["a", "a", "a", "b"] {
        publish(&mut bus, name, 1).unwrap();
    }
    // The publications of "a" have the numbers 11 to 13, of which the last is kept.
    let missed = |bus: &Bus, name: &str, epoch: u64, after: u64| {
        let gap = bus.missed(&channel(name), Position::new(epoch, after));
        gap.map(|(sequence, gap)| (sequence, gap.from.offset, gap.to.offset))
    };
    assert_eq!(missed(&bus, "a", BEGAN.0, 11), Some((12, 0, 2)));
    assert_eq!(missed(&bus, "a", BEGAN.0, 12), None);
    // A position of another broker says nothing of what was missed.
    assert_eq!(missed(&bus, "a", 4, 99), Some((12, 0, 2)));
    assert_eq!(missed(&bus, "b", 4, 0), None);
    bus.forget_streams(|name| name.as_str() == "a");
    assert_eq!(missed(&bus, "a", BEGAN.0, 12), Some((13, 0, 3)));
    assert_eq!(missed(&bus, "a", BEGAN.0, 13), None);
    let gaps = |bus: &Bus, text: &str, after: u64| {
        let filter = filter(text);
        let gaps = bus.forgotten_gaps(&filter, after);
        gaps.map(|(sequence, _)| sequence).collect::<Vec<_>>()
    };
    assert_eq!(gaps(&bus, "+", 12), [13]);
    assert_eq!(gaps(&bus, "+", 13), [0; 0]);
    assert_eq!(gaps(&bus, "b", 12), [0; 0]);
    // Its successor has dropped something later, which stands for this as well.
    for _ in 0..2 {
        publish(&mut bus, "a", 1).unwrap();
    }
    assert_eq!(gaps(&bus, "+", 12), [0; 0]);
    assert_eq!(gaps(&bus, "+", 15), [0; 0]);
    let mut names = bus.in_memory();
    names.sort();
    names.dedup();
    assert_eq!(names, [channel("a"), channel("b")]);
}

#[test]
fn a_stream_that_is_forgotten_begins_again_with_another_epoch() {
    let mut bus = bus(usize::MAX);
    publish(&mut bus, "a", 1).unwrap();
    let before = bus.stream(&channel("a")).unwrap().state().head.epoch;
    assert_ne!(before, BEGAN, "a stream on disk may have that epoch");
    bus.forget_streams(|_| true);
    assert_eq!((bus.held(), bus.open_channels()), (0, 0));
    publish(&mut bus, "a", 1).unwrap();
    let after = bus.stream(&channel("a")).unwrap().state().head.epoch;
    assert!(after.0 > before.0);
}

#[test]
fn a_consumer_of_a_stream_that_does_not_exist_can_only_be_at_its_beginning() {
    let mut bus = bus(usize::MAX);
    let mut ack = |position: Option<u64>| {
        let key = Key::new("billing").unwrap();
        let position = position.map(|offset| Position::new(BEGAN.0, offset));
        bus.ack(&channel("a"), ("ann", key), position)
    };
    assert_eq!(ack(None), Ok(None));
    assert_eq!(ack(Some(0)), Ok(None));
    assert_eq!(ack(Some(1)), Err(BrokerFailure::UnknownPosition));
    assert_eq!(bus.open_channels(), 0);
}

/// Examines all streams once.
fn tend(bus: &mut Bus, rules: &ChannelRules, ms: u64) {
    bus.set_now(at(ms));
    let count = bus.upkeep.len();
    bus.tend(&RuleBook::everything(rules.clone()), count);
}

#[test]
fn an_idle_stream_is_forgotten_after_ten_minutes_unless_somebody_follows_it() {
    let mut bus = bus(usize::MAX);
    let rules = keeps(0);
    publish(&mut bus, "idle", 0).unwrap();
    publish(&mut bus, "followed", 0).unwrap();
    bus.follow(WorkerId(1), channel("followed"));
    // Nothing was ever published in it.
    bus.begin(&channel("empty")).unwrap();
    tend(&mut bus, &rules, 0);
    assert_eq!(bus.open_channels(), 2);
    tend(&mut bus, &rules, 10 * MINUTE);
    assert_eq!(bus.open_channels(), 2);
    let epoch = bus.epoch;
    tend(&mut bus, &rules, 10 * MINUTE + 1);
    assert_eq!(bus.open_channels(), 1);
    assert!(bus.streams.contains_key(&channel("followed")));
    assert!(bus.epoch.0 > epoch.0);
    let gone: Vec<_> = bus.forgotten.names().collect();
    assert_eq!(gone, [&channel("idle")]);
    // Being used is what counts.
    publish(&mut bus, "idle", 0).unwrap();
    tend(&mut bus, &rules, 20 * MINUTE);
    bus.stream(&channel("idle")).unwrap();
    tend(&mut bus, &rules, 30 * MINUTE);
    assert_eq!(bus.open_channels(), 2);
}

#[test]
fn a_stream_that_keeps_something_is_not_forgotten() {
    let mut bus = bus(usize::MAX);
    publish(&mut bus, "a", 1).unwrap();
    tend(&mut bus, &keeps(1), 60 * MINUTE);
    assert_eq!(bus.open_channels(), 1);
    let nowhere = RuleBook::new();
    bus.tend(&nowhere, 1);
    assert_eq!(bus.open_channels(), 0, "it has no rule any more");
}

#[test]
fn the_cached_state_of_a_stream_on_disk_is_dropped_when_nobody_needs_it() {
    let mut bus = bus(usize::MAX);
    for name in ["idle", "followed", "empty"] {
        bus.durable
            .insert(channel(name), view(u64::from(name != "empty")));
        bus.tend_later(&channel(name));
    }
    bus.tend_later(&channel("unknown"));
    assert_eq!(bus.upkeep.len(), 3);
    bus.follow(WorkerId(1), channel("followed"));
    for name in ["idle", "followed", "empty", "unknown"] {
        bus.forget_empty(&channel(name));
    }
    assert!(!bus.durable.contains_key(&channel("empty")));
    bus.durable.insert(channel("empty"), view(0));
    bus.follow(WorkerId(1), channel("empty"));
    bus.forget_empty(&channel("empty"));
    assert_eq!(bus.durable.len(), 3);
    let rules = keeps(1);
    tend(&mut bus, &rules, 10 * MINUTE);
    assert_eq!(bus.durable.len(), 3);
    tend(&mut bus, &rules, 10 * MINUTE + 1);
    assert_eq!(bus.durable.len(), 2);
    assert!(!bus.durable.contains_key(&channel("idle")));
    // Memory is short.
    bus.unfollow(WorkerId(1), &channel("followed"));
    bus.set_now(at(11 * MINUTE));
    bus.tend_later(&channel("followed"));
    bus.budget = 1;
    tend(&mut bus, &rules, 11 * MINUTE);
    assert!(
        bus.durable.contains_key(&channel("followed")),
        "it was just used"
    );
    tend(&mut bus, &rules, 11 * MINUTE + 1);
    assert_eq!(bus.durable.len(), 1);
}

#[test]
fn many_cached_streams_are_dropped_as_soon_as_they_are_not_used() {
    let mut bus = bus(usize::MAX);
    for n in 0..=UNFOLLOWED_VIEWS {
        let name = channel(&n.to_string());
        bus.durable.insert(name.clone(), view(1));
        bus.upkeep.push_back(name);
    }
    tend(&mut bus, &keeps(1), 1);
    assert_eq!(bus.durable.len(), UNFOLLOWED_VIEWS);
}

#[test]
fn what_waits_to_be_loaded_is_not_forgotten_with_the_rest() {
    let mut bus = bus(usize::MAX);
    publish(&mut bus, "memory", 1).unwrap();
    bus.durable.insert(channel("open"), view(1));
    bus.tend_later(&channel("open"));
    let loading = Durable::Loading(VecDeque::new());
    bus.durable.insert(channel("loading"), loading);
    bus.forget_durable();
    let left: Vec<_> = bus.durable.keys().collect();
    assert_eq!(left, [&channel("loading")]);
    assert_eq!(bus.upkeep, [channel("memory")]);
}

#[test]
fn a_tick_examines_an_eighth_of_the_streams() {
    let mut bus = bus(usize::MAX);
    assert_eq!(bus.due(), 0);
    for n in 0..17 {
        bus.begin(&channel(&n.to_string())).unwrap();
    }
    assert_eq!(bus.due(), 3);
}

#[test]
fn tables_are_freed_after_a_peak() {
    let mut bus = bus(usize::MAX);
    for n in 0..20_000 {
        bus.begin(&channel(&n.to_string())).unwrap();
    }
    let peak = (bus.streams.capacity(), bus.upkeep.capacity());
    tend(&mut bus, &keeps(0), 0);
    assert_eq!(bus.open_channels(), 0, "they were empty");
    assert!(bus.streams.capacity() <= 4 * SLICE && peak.0 > 4 * SLICE);
    assert!(bus.upkeep.capacity() <= 4 * SLICE && peak.1 > 4 * SLICE);
    let mut few: HashMap<ChannelName, ()> = HashMap::with_capacity(4 * SLICE - 300);
    let before = few.capacity();
    shrink(&mut few);
    assert_eq!(few.capacity(), before, "it is small");
}

#[test]
fn a_tick_takes_memory_from_streams_only_above_fifteen_sixteenths_of_the_budget() {
    let full = || {
        let mut bus = bus(usize::MAX);
        for _ in 0..40 {
            publish(&mut bus, "a", 1_000).unwrap();
        }
        bus
    };
    let held = full().held();
    // Up to one publication more is freed than is needed.
    for (budget, freed) in [(held * 16 / 15 + 32, 0), (held, held / 16), (100, held / 4)] {
        let mut bus = full();
        bus.budget = budget;
        tend(&mut bus, &keeps(1_000), 1);
        let less = held - bus.held();
        assert!(
            (freed..freed + 200).contains(&less),
            "{less} of {held}, {freed}"
        );
        assert_eq!(less == 0, freed == 0);
    }
}

#[test]
fn above_the_budget_a_stream_gives_up_its_oldest_publications_for_new_ones() {
    let mut bus = bus(3_000);
    for _ in 0..40 {
        publish(&mut bus, "a", 1_000).unwrap();
        assert!(bus.held() <= 3_000);
    }
    assert!(bus.held() > 2_500);
}

#[test]
fn what_a_detached_worker_follows_is_removed_in_slices() {
    let mut bus = bus(usize::MAX);
    let mailboxes = [(); 2].map(|()| Arc::new(Mailbox::new(1 << 20, || {})));
    let [gone, other] = mailboxes.map(|mailbox| bus.attach(mailbox));
    let count = 2 * SLICE + 1;
    for n in 0..count {
        bus.follow(gone, channel(&format!("a/{n}")));
        bus.follow_filter(gone, &filter(&format!("{n}/#"))).unwrap();
    }
    bus.follow(other, channel("a/0"));
    bus.follow_filter(other, &filter("0/#")).unwrap();
    bus.detach(gone);
    assert_eq!(bus.followers.len(), count, "that takes no time");
    let mut slices = 1;
    while bus.unfollow_some_filters(gone) {
        slices += 1;
    }
    let (mut reached, mut left) = (None, count);
    loop {
        reached = bus.unfollow_some(gone, reached.as_ref());
        assert!(left - bus.followers.len() <= SLICE);
        left = bus.followers.len();
        if reached.is_none() {
            break;
        }
        slices += 1;
    }
    assert_eq!((left, bus.followed.len(), slices), (1, 1, 6));
    assert!(bus.is_followed(&channel("0/x")) && !bus.is_followed(&channel("1/x")));
    assert!(!bus.filters_of.contains_key(&gone));
}

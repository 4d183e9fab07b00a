//! Rules are exchanged while a broker runs.

use std::{sync::Arc, time::Duration};

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::desk::{Desk, at, memory, open_log};

const UNBOUNDED: History = History {
    count: 1_000_000,
    bytes: u64::MAX,
    age: None,
};

fn everything(history: History) -> RuleBook {
    RuleBook::everything(ChannelRules {
        history,
        ..ChannelRules::default()
    })
}

fn every_broker(rules: &RuleBook, body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(rules.clone()));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), rules.clone()));
}

fn exchange(broker: &Arc<dyn Broker>, desk: &mut Desk, rules: RuleBook) {
    broker.set_rules(Arc::new(rules));
    desk.writer_barrier();
}

#[test]
fn a_smaller_history_holds_from_the_next_publication_on_and_a_larger_one_too() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut desk = Desk::new(broker);
        for n in 0..50 {
            desk.publish("a", &n.to_string());
        }
        assert_eq!(desk.all("a").len(), 50);
        let count = 10;
        exchange(
            broker,
            &mut desk,
            everything(History { count, ..UNBOUNDED }),
        );
        desk.publish("a", "50");
        assert_eq!(desk.all("a").len(), 10);
        exchange(broker, &mut desk, everything(UNBOUNDED));
        desk.publish("a", "51");
        assert_eq!(desk.all("a").len(), 11);
        assert_eq!(desk.publish("a", "52").offset, 53, "positions go on");
    });
}

#[test]
fn a_new_age_takes_away_what_is_older() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut desk = Desk::new(broker);
        desk.publish("a", "old");
        let age = Some(Duration::from_secs(60));
        exchange(broker, &mut desk, everything(History { age, ..UNBOUNDED }));
        for second in 61..80 {
            broker.tick(at(second * 1_000));
            desk.writer_barrier();
        }
        // The reader sweeps channels that are not in use.
        for _ in 0..100_000 {
            if desk.history("a", ReadFrom::Start, 1).0.first == 2 {
                return;
            }
            broker.tick(at(80_000));
            desk.writer_barrier();
        }
        panic!("it is still there");
    });
}

#[test]
fn a_channel_that_no_rule_fits_any_longer_is_unknown_and_workers_look_again() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut desk = Desk::new(broker);
        desk.publish("a", "x");
        desk.follow("a");
        let rules = RuleBook::new().with("barrier", ChannelRules::default());
        let rules = rules.with("writer barrier", ChannelRules::default());
        exchange(broker, &mut desk, rules);
        assert_eq!(desk.next(), BrokerEvent::Lagged);
        let BrokerEvent::Failed { failure, .. } = desk.ask_history("a", ReadFrom::Start, 1) else {
            panic!()
        };
        assert_eq!(failure, BrokerFailure::UnknownChannel);
        exchange(broker, &mut desk, everything(UNBOUNDED));
        desk.publish("a", "y");
    });
}

#[test]
fn a_channel_that_moves_between_memory_and_disk_never_gives_a_position_twice() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), everything(History::NONE));
    let mut desk = Desk::new(&broker);
    let in_memory: Vec<_> = (0..3).map(|_| desk.publish("a", "memory")).collect();
    exchange(&broker, &mut desk, everything(UNBOUNDED));
    let on_disk: Vec<_> = (0..3).map(|_| desk.publish("a", "disk")).collect();
    for position in &in_memory {
        assert!(!on_disk.contains(position), "{position}");
        let (_, start, page) = desk.read("a", ReadFrom::After(*position), 10);
        assert_ne!(start.resolution, Resolution::Continuous);
        assert_eq!(page.len(), 3, "everything that is there follows");
    }
    exchange(&broker, &mut desk, everything(History::NONE));
    let again = desk.publish("a", "memory again");
    assert!(!in_memory.contains(&again) && !on_disk.contains(&again));
    exchange(&broker, &mut desk, everything(UNBOUNDED));
    assert_eq!(desk.texts("a"), ["disk"; 3], "the log has what it had");
    assert_eq!(desk.publish("a", "disk").offset, 4);
}

//! Rules are exchanged while a broker runs.

use std::{sync::Arc, time::Duration};

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, memory, open_log};

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

fn exchange(broker: &Arc<dyn Broker>, worker: &mut TestWorker, rules: RuleBook) {
    broker.set_rules(Arc::new(rules));
    worker.writer_barrier();
}

#[test]
fn a_changed_size_of_history_applies_from_the_next_publication() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 0..50 {
            worker.publish("a", &n.to_string());
        }
        assert_eq!(worker.all("a").len(), 50);
        let count = 10;
        exchange(
            broker,
            &mut worker,
            everything(History { count, ..UNBOUNDED }),
        );
        worker.publish("a", "50");
        assert_eq!(worker.all("a").len(), 10);
        exchange(broker, &mut worker, everything(UNBOUNDED));
        worker.publish("a", "51");
        assert_eq!(worker.all("a").len(), 11);
        assert_eq!(worker.publish("a", "52").offset, 53, "positions go on");
    });
}

#[test]
fn a_shorter_age_removes_older_publications() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "old");
        let age = Some(Duration::from_secs(60));
        exchange(
            broker,
            &mut worker,
            everything(History { age, ..UNBOUNDED }),
        );
        for second in 61..80 {
            broker.tick(at(second * 1_000));
            worker.writer_barrier();
        }
        // The reader sweeps channels that are not in use.
        for _ in 0..100_000 {
            if worker.history("a", ReadFrom::Start, 1).0.first == 2 {
                return;
            }
            broker.tick(at(80_000));
            worker.writer_barrier();
        }
        panic!("it is still there");
    });
}

#[test]
fn a_channel_without_a_rule_after_a_change_is_unknown_and_workers_check_again() {
    every_broker(&everything(UNBOUNDED), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "x");
        worker.follow("a");
        let rules = RuleBook::new().with("barrier", ChannelRules::default());
        let rules = rules.with("writer barrier", ChannelRules::default());
        exchange(broker, &mut worker, rules);
        assert_eq!(worker.next(), BrokerEvent::Lagged);
        let BrokerEvent::Failed { failure, .. } = worker.ask_history("a", ReadFrom::Start, 1)
        else {
            panic!()
        };
        assert_eq!(failure, BrokerFailure::UnknownChannel);
        exchange(broker, &mut worker, everything(UNBOUNDED));
        worker.publish("a", "y");
    });
}

#[test]
fn a_channel_that_moves_between_memory_and_disk_never_reuses_a_position() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), everything(History::NONE));
    let mut worker = TestWorker::new(&broker);
    let in_memory: Vec<_> = (0..3).map(|_| worker.publish("a", "memory")).collect();
    exchange(&broker, &mut worker, everything(UNBOUNDED));
    let on_disk: Vec<_> = (0..3).map(|_| worker.publish("a", "disk")).collect();
    for position in &in_memory {
        assert!(!on_disk.contains(position), "{position}");
        let (_, start, page) = worker.read("a", ReadFrom::After(*position), 10);
        assert_ne!(start.resolution, Resolution::Continuous);
        assert_eq!(page.len(), 3, "everything that is there follows");
    }
    exchange(&broker, &mut worker, everything(History::NONE));
    let again = worker.publish("a", "memory again");
    assert!(!in_memory.contains(&again) && !on_disk.contains(&again));
    exchange(&broker, &mut worker, everything(UNBOUNDED));
    assert_eq!(worker.texts("a"), ["disk"; 3], "the log has what it had");
    assert_eq!(worker.publish("a", "disk").offset, 4);
}

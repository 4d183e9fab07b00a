//! Positions of consumers, and who has received what: the same for every broker.

use std::sync::Arc;

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, channel, every_broker, kept, open_log};

/// The longest a consumer without acknowledgements keeps its place when others need it.
const MONTH_MS: u64 = 30 * 24 * 3600 * 1000;

/// Acknowledges as this user's consumer, or queries its position.
fn ack(worker: &mut TestWorker, user: &str, consumer: &str, offset: Option<u64>) -> BrokerEvent {
    let id = worker.id();
    let epoch = worker.follow("a").head.epoch;
    worker.submit(BrokerRequest::Ack {
        id,
        channel: channel("a"),
        scope: user.into(),
        consumer: Key::new(consumer).unwrap(),
        position: offset.map(|offset| Position { epoch, offset }),
    });
    worker.answer(id)
}

fn acked(worker: &mut TestWorker, user: &str, consumer: &str, offset: Option<u64>) -> Option<u64> {
    match ack(worker, user, consumer, offset) {
        BrokerEvent::Acked { position, .. } => position.map(|position| position.offset),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_position_of_a_consumer_never_moves_back() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        assert_eq!(acked(&mut worker, "ann", "c", None), None);
        worker.publish("a", "x");
        worker.publish("a", "y");
        assert_eq!(acked(&mut worker, "ann", "c", None), None);
        assert_eq!(acked(&mut worker, "ann", "c", Some(2)), Some(2));
        assert_eq!(acked(&mut worker, "ann", "c", Some(1)), Some(2), "late");
        assert_eq!(acked(&mut worker, "ann", "c", None), Some(2));
    });
}

#[test]
fn a_consumer_belongs_to_one_user_and_one_channel() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "x");
        acked(&mut worker, "ann", "c", Some(1));
        assert_eq!(acked(&mut worker, "bob", "c", None), None);
        assert_eq!(acked(&mut worker, "ann", "d", None), None);
    });
}

#[test]
fn consumers_of_a_user_are_limited_and_an_unused_one_is_replaced() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "x");
        for n in 0..64 {
            acked(&mut worker, "ann", &format!("c{n}"), Some(1));
        }
        let failure = BrokerFailure::TooManyConsumers;
        let refused = ack(&mut worker, "ann", "one more", Some(1));
        assert!(matches!(refused, BrokerEvent::Failed { failure: f, .. } if f == failure));
        assert_eq!(acked(&mut worker, "bob", "c", Some(1)), Some(1));
        broker.tick(at(MONTH_MS + 1000));
        acked(&mut worker, "ann", "c0", Some(1));
        assert_eq!(acked(&mut worker, "ann", "one more", Some(1)), Some(1));
        assert_eq!(acked(&mut worker, "ann", "c0", None), Some(1), "still used");
    });
}

#[test]
fn acknowledgements_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
        let before = acked(&mut worker, "ann", "c", None);
        assert_eq!(before, (round > 0).then_some(round));
        worker.publish("a", "x");
        acked(&mut worker, "ann", "c", Some(round + 1));
    }
}

/// Queries who has received the first publication, or, if there is none, a position without one.
fn ask(worker: &mut TestWorker) -> RequestId {
    let first = worker.all("a").first().map(|first| first.position);
    let position = first.unwrap_or(Position::new(1, 1));
    let id = worker.id();
    let channel = channel("a");
    worker.submit(BrokerRequest::Receipts {
        id,
        channel,
        position,
    });
    id
}

/// Waits for the question, and answers that `received` of ten have it.
fn tell(worker: &mut TestWorker, received: u64) {
    let ask = loop {
        if let BrokerEvent::AskReceipts { ask, .. } = worker.next() {
            break ask;
        }
    };
    let receipts = Some(Receipts {
        received,
        subscribers: 10,
        sessions: Vec::new(),
    });
    worker.submit(BrokerRequest::Found { ask, receipts });
}

fn counted(worker: &mut TestWorker, id: RequestId) -> (u64, u64) {
    match worker.answer(id) {
        BrokerEvent::Receipts { receipts, .. } => (receipts.received, receipts.subscribers),
        other => panic!("{other:?}"),
    }
}

/// One worker that asks, and two that follow the channel.
fn three(broker: &Arc<dyn Broker>) -> [TestWorker; 3] {
    let [mut asker, mut one, mut other] = [(); 3].map(|()| TestWorker::new(broker));
    asker.publish("a", "x");
    one.follow("a");
    other.follow("a");
    [asker, one, other]
}

#[test]
fn the_receipts_of_all_followers_are_added_up() {
    every_broker(&kept(100), |broker| {
        let [mut asker, mut one, mut other] = three(broker);
        let id = ask(&mut asker);
        tell(&mut one, 3);
        tell(&mut other, 4);
        assert_eq!(counted(&mut asker, id), (7, 20));
    });
}

#[test]
fn a_channel_without_followers_has_no_receipts() {
    every_broker(&kept(100), |broker| {
        let mut asker = TestWorker::new(broker);
        let id = ask(&mut asker);
        assert_eq!(counted(&mut asker, id), (0, 0));
    });
}

#[test]
fn a_worker_with_too_many_questions_makes_the_answer_busy() {
    every_broker(&kept(100), |broker| {
        let [mut asker, mut one, _other] = three(broker);
        broker.detach(_other.worker_id);
        let id = ask(&mut asker);
        let BrokerEvent::AskReceipts { ask, .. } = one.next() else {
            panic!()
        };
        let receipts = None;
        one.submit(BrokerRequest::Found { ask, receipts });
        let failure = BrokerFailure::Busy;
        assert_eq!(asker.answer(id), BrokerEvent::Failed { id, failure });
    });
}

#[test]
fn a_worker_that_ends_or_does_not_answer_is_not_awaited_forever() {
    every_broker(&kept(100), |broker| {
        let [mut asker, mut one, other] = three(broker);
        let id = ask(&mut asker);
        tell(&mut one, 3);
        broker.detach(other.worker_id);
        assert_eq!(counted(&mut asker, id), (3, 10));

        let [mut asker, mut one, _silent] = three(broker);
        let id = ask(&mut asker);
        tell(&mut one, 3);
        one.barrier();
        broker.tick(at(3_000));
        // The first pair follows too: one of them is gone, the other does not answer at present.
        assert_eq!(counted(&mut asker, id), (3, 10));
    });
}

#[test]
fn an_unrequested_answer_is_ignored() {
    every_broker(&kept(100), |broker| {
        let [mut asker, mut one, mut other] = three(broker);
        let id = ask(&mut asker);
        let receipts = Some(Receipts {
            received: 99,
            subscribers: 99,
            sessions: Vec::new(),
        });
        for number in [0, 1, 77] {
            let ask = AskId(number);
            let receipts = receipts.clone();
            asker.submit(BrokerRequest::Found { ask, receipts });
        }
        tell(&mut one, 1);
        tell(&mut other, 1);
        assert_eq!(counted(&mut asker, id), (2, 20));
    });
}

/// Before, consumers of anonymous sessions were kept forever, a hundred per second.
#[test]
fn consumers_of_sessions_without_a_user_end_a_week_after_their_last_acknowledgement() {
    const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let ack = |worker: &mut TestWorker, name: &str, scope: &str, position| {
            let id = worker.id();
            worker.submit(BrokerRequest::Ack {
                id,
                channel: channel(name),
                scope: scope.into(),
                consumer: Key::new("billing").unwrap(),
                position,
            });
            match worker.answer(id) {
                BrokerEvent::Acked { position, .. } => position,
                other => panic!("{other:?}"),
            }
        };
        let names = ["a", "flow/a"];
        let heads = names.map(|name| worker.publish(name, "x"));
        for (name, head) in names.iter().zip(heads) {
            for scope in ["\0session", "ann"] {
                ack(&mut worker, name, scope, Some(head));
            }
        }
        broker.tick(at(WEEK_MS - 1_000));
        worker.writer_barrier();
        for (name, head) in names.iter().zip(heads) {
            assert_eq!(ack(&mut worker, name, "\0session", None), Some(head));
        }
        for second in 0..20 {
            broker.tick(at(2 * WEEK_MS + second * 1_000));
            worker.writer_barrier();
        }
        for (name, head) in names.iter().zip(heads) {
            assert_eq!(ack(&mut worker, name, "\0session", None), None);
            assert_eq!(
                ack(&mut worker, name, "ann", None),
                Some(head),
                "a user's stays"
            );
        }
    });
}

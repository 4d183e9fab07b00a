//! Members: claims, graces and leases, over every broker.

use std::{sync::Arc, time::Duration};

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, channel, kept, memory, open_log};

fn every_broker(body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(kept(10)));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), kept(10)));
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

impl TestWorker {
    fn join(&self, n: u8, since_ms: u64) {
        let info = "{}".into();
        let member = Arc::new(Member {
            session: session(n),
            user: "ann".into(),
            info,
        });
        self.submit(BrokerRequest::Renew {
            lease: Duration::from_secs(30),
        });
        self.submit(BrokerRequest::Join {
            channel: channel("a"),
            member,
            generation: since_ms,
        });
    }

    fn leave(&self, n: u8, since_ms: u64, grace_ms: u64) {
        let (channel, session) = (channel("a"), session(n));
        let grace = Duration::from_millis(grace_ms);
        self.submit(BrokerRequest::Leave {
            channel,
            session,
            generation: since_ms,
            grace,
        });
    }

    fn members(&mut self) -> usize {
        let id = self.id();
        self.submit(BrokerRequest::Members {
            id,
            channel: channel("a"),
            limit: 100,
        });
        match self.answer(id) {
            BrokerEvent::Members { members, total, .. } => {
                assert_eq!(members.len() as u64, total);
                members.len()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Joins (true) and leaves (false) delivered since the last call.
    fn told(&mut self) -> Vec<bool> {
        let mut told = Vec::new();
        for event in self.rest() {
            if let BrokerEvent::Presence(change) = event {
                told.push(change.joined);
            }
        }
        told
    }
}

/// Ticks once a second, as a server does.
fn pass(broker: &Arc<dyn Broker>, from_ms: u64, to_ms: u64) {
    let mut ms = from_ms;
    while ms < to_ms {
        ms = (ms + 1000).min(to_ms);
        broker.tick(at(ms));
    }
}

fn watcher(broker: &Arc<dyn Broker>) -> TestWorker {
    let mut worker = TestWorker::new(broker);
    worker.follow("a");
    worker
}

#[test]
fn a_join_is_reported_once_and_a_leave_immediately() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        worker.join(1, 10);
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
        worker.leave(1, 10, 0);
        worker.leave(1, 10, 0);
        assert_eq!((worker.told(), worker.members()), (vec![false], 0));
    });
}

#[test]
fn a_member_that_returns_within_the_grace_time_does_not_leave() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        worker.leave(1, 10, 5_000);
        pass(broker, 0, 4_999);
        worker.join(1, 20);
        pass(broker, 4_999, 20_000);
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
    });
}

#[test]
fn a_member_that_does_not_return_leaves_once_after_the_grace_time() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        worker.barrier();
        // It leaves almost a second after the latest tick.
        broker.tick(at(1_000));
        worker.leave(1, 10, 5_000);
        worker.leave(1, 10, 5_000);
        worker.barrier();
        pass(broker, 1_999, 6_998);
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
        pass(broker, 6_998, 9_000);
        assert_eq!((worker.told(), worker.members()), (vec![false], 0));
    });
}

#[test]
fn a_leave_from_an_older_connection_does_not_remove_a_newer_one() {
    every_broker(|broker| {
        let (mut new, mut old) = (watcher(broker), watcher(broker));
        old.join(1, 10);
        new.join(1, 20);
        new.barrier();
        old.leave(1, 10, 0);
        old.join(1, 10);
        // The late join did not take the member over: it still belongs to the newer connection.
        old.leave(1, 10, 0);
        old.barrier();
        assert_eq!((new.told(), new.members()), (vec![true], 1));
        new.leave(1, 20, 0);
        assert_eq!((new.told(), new.members()), (vec![false], 0));
    });
}

#[test]
fn the_members_of_a_dead_worker_leave_when_its_lease_expires() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        let dies = TestWorker::new(broker);
        dies.join(1, 10);
        dies.join(2, 10);
        worker.join(3, 10);
        worker.barrier();
        pass(broker, 0, 29_999);
        worker.submit(BrokerRequest::Renew {
            lease: Duration::from_secs(30),
        });
        assert_eq!(worker.members(), 3);
        pass(broker, 29_999, 30_000);
        assert_eq!(
            (worker.told(), worker.members()),
            (vec![true, true, true, false, false], 1)
        );
    });
}

#[test]
fn the_members_of_a_stopping_worker_leave_with_the_next_tick() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        let goes = TestWorker::new(broker);
        goes.join(1, 10);
        broker.detach(goes.worker_id);
        broker.tick(at(1));
        assert_eq!((worker.told(), worker.members()), (vec![true, false], 0));
    });
}

#[test]
fn a_long_list_of_members_is_truncated_with_its_total() {
    every_broker(|broker| {
        let mut worker = TestWorker::new(broker);
        for n in 0..10 {
            worker.join(n, 10);
        }
        let id = worker.id();
        worker.submit(BrokerRequest::Members {
            id,
            channel: channel("a"),
            limit: 3,
        });
        let BrokerEvent::Members { members, total, .. } = worker.answer(id) else {
            panic!()
        };
        assert_eq!((members.len(), total), (3, 10));
    });
}

#[test]
fn no_member_leaves_because_the_process_was_frozen() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        worker.barrier();
        pass(broker, 0, 1_000);
        // Frozen for 36 seconds; then the clock ticks before any worker runs.
        pass(broker, 37_000, 39_000);
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
    });
}

#[test]
fn a_short_lease_renewed_in_time_loses_no_member() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        let lease = Duration::from_secs(1);
        worker.join(1, 10);
        for second in 1..20 {
            worker.submit(BrokerRequest::Renew { lease });
            worker.barrier();
            broker.tick(at(second * 1000));
        }
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
    });
}

#[test]
fn a_worker_whose_lease_expired_is_told_and_its_members_join_again() {
    every_broker(|broker| {
        let mut watcher = watcher(broker);
        let mut late = TestWorker::new(broker);
        late.join(1, 10);
        late.barrier();
        pass(broker, 0, 40_000);
        assert_eq!(watcher.told(), [true, false]);
        let lease = Duration::from_secs(30);
        late.submit(BrokerRequest::Renew { lease });
        assert_eq!(late.rest(), [BrokerEvent::LeaseEnded]);
        late.join(1, 10);
        late.barrier();
        assert_eq!((watcher.told(), watcher.members()), (vec![true], 1));
        assert_eq!(late.rest(), [], "told once");
    });
}

#[test]
fn a_step_of_the_wall_clock_changes_no_presence() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        worker.barrier();
        for step_ms in [3_600_000, -7_200_000_i64] {
            let mut now = at(1_000);
            now.unix_ms = now.unix_ms.saturating_add_signed(step_ms);
            broker.tick(now);
        }
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
    });
}

#[test]
fn a_change_of_a_members_info_is_reported_once_with_the_next_tick() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        worker.join(1, 10);
        assert_eq!(worker.told(), [true]);
        for n in 0..50 {
            let member = Arc::new(Member {
                session: session(1),
                user: "ann".into(),
                info: format!("{n}").into(),
            });
            worker.submit(BrokerRequest::Join {
                channel: channel("a"),
                member,
                generation: 10,
            });
        }
        assert!(worker.told().is_empty(), "nobody is told fifty times");
        broker.tick(at(1_000));
        let mut told = worker.rest();
        let Some(BrokerEvent::Presence(change)) = told.pop() else {
            panic!("{told:?}")
        };
        assert_eq!((change.joined, &*change.member.info), (true, &b"49"[..]));
        assert!(told.is_empty(), "{told:?}");
        broker.tick(at(2_000));
        assert!(worker.rest().is_empty(), "once");
        worker.join(1, 10);
        broker.tick(at(3_000));
        assert_eq!(worker.told(), [true], "it says what it said at first");
    });
}

#[test]
fn a_late_join_does_not_replace_a_newer_claim() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        let other = TestWorker::new(broker);
        worker.join(1, 20);
        // A worker that was slow still has the connection before.
        other.join(1, 10);
        broker.detach(other.worker_id);
        pass(broker, 0, 10_000);
        assert_eq!((worker.told(), worker.members()), (vec![true], 1));
        // Nor does a leave of the older connection.
        worker.leave(1, 10, 0);
        assert_eq!(worker.members(), 1);
        worker.leave(1, 20, 0);
        assert_eq!((worker.told(), worker.members()), (vec![false], 0));
    });
}

#[test]
fn changes_say_how_many_members_of_the_user_there_are() {
    every_broker(|broker| {
        let mut worker = watcher(broker);
        let counted = |worker: &mut TestWorker| {
            let changes = worker.rest().into_iter().filter_map(|event| match event {
                BrokerEvent::Presence(change) => Some((change.joined, change.user_sessions)),
                _ => None,
            });
            changes.collect::<Vec<_>>()
        };
        worker.join(1, 1);
        worker.join(2, 1);
        assert_eq!(counted(&mut worker), [(true, 1), (true, 2)]);
        // The same session again is no new member.
        worker.join(2, 2);
        assert_eq!(counted(&mut worker), []);
        let occupied = broker.occupied("a", None, 1).pop().unwrap();
        assert_eq!((occupied.members, occupied.users), (2, 1));
        worker.leave(1, 3, 0);
        worker.leave(2, 3, 0);
        assert_eq!(counted(&mut worker), [(false, 1), (false, 0)]);
        for n in [3, 4] {
            let member = Arc::new(Member {
                session: session(n),
                user: "".into(),
                info: "".into(),
            });
            worker.submit(BrokerRequest::Join {
                channel: channel("a"),
                member,
                generation: 4,
            });
        }
        // Members without a name are not one user.
        assert_eq!(counted(&mut worker), [(true, 1), (true, 1)]);
        let occupied = broker.occupied("a", None, 1).pop().unwrap();
        assert_eq!((occupied.members, occupied.users), (2, 2));
        worker.leave(3, 5, 0);
        assert_eq!(counted(&mut worker), [(false, 0)]);
    });
}

//! Members: claims, graces and leases, over every broker.

use std::{sync::Arc, time::Duration};

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::desk::{Desk, at, channel, kept, memory, open_log};

fn every_broker(body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(kept(10)));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), kept(10)));
}

fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

impl Desk {
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

    /// Joins (true) and leaves (false) told since the last look.
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

fn watcher(broker: &Arc<dyn Broker>) -> Desk {
    let mut desk = Desk::new(broker);
    desk.follow("a");
    desk
}

#[test]
fn a_join_is_told_once_and_a_goodbye_at_once() {
    every_broker(|broker| {
        let mut desk = watcher(broker);
        desk.join(1, 10);
        desk.join(1, 10);
        assert_eq!((desk.told(), desk.members()), (vec![true], 1));
        desk.leave(1, 10, 0);
        desk.leave(1, 10, 0);
        assert_eq!((desk.told(), desk.members()), (vec![false], 0));
    });
}

#[test]
fn a_member_that_comes_back_within_the_grace_time_never_left() {
    every_broker(|broker| {
        let mut desk = watcher(broker);
        desk.join(1, 10);
        desk.leave(1, 10, 5_000);
        broker.tick(at(4_999));
        desk.join(1, 20);
        broker.tick(at(20_000));
        assert_eq!((desk.told(), desk.members()), (vec![true], 1));
    });
}

#[test]
fn a_member_that_does_not_come_back_leaves_exactly_once() {
    every_broker(|broker| {
        let mut desk = watcher(broker);
        desk.join(1, 10);
        desk.leave(1, 10, 5_000);
        desk.leave(1, 10, 5_000);
        broker.tick(at(4_999));
        assert_eq!(desk.members(), 1);
        broker.tick(at(5_000));
        broker.tick(at(6_000));
        assert_eq!((desk.told(), desk.members()), (vec![true, false], 0));
    });
}

#[test]
fn a_goodbye_of_an_older_connection_does_not_count_against_a_newer_one() {
    every_broker(|broker| {
        let (mut new, old) = (watcher(broker), watcher(broker));
        old.join(1, 10);
        new.join(1, 20);
        new.barrier();
        old.leave(1, 10, 0);
        old.join(1, 10);
        assert_eq!((new.told(), new.members()), (vec![true], 1));
    });
}

#[test]
fn the_members_of_a_worker_that_dies_leave_when_its_lease_ends() {
    every_broker(|broker| {
        let mut desk = watcher(broker);
        let dies = Desk::new(broker);
        dies.join(1, 10);
        dies.join(2, 10);
        desk.join(3, 10);
        desk.barrier();
        broker.tick(at(29_999));
        desk.submit(BrokerRequest::Renew {
            lease: Duration::from_secs(30),
        });
        assert_eq!(desk.members(), 3);
        broker.tick(at(30_000));
        assert_eq!(
            (desk.told(), desk.members()),
            (vec![true, true, true, false, false], 1)
        );
    });
}

#[test]
fn the_members_of_a_worker_that_says_goodbye_leave_with_the_next_tick() {
    every_broker(|broker| {
        let mut desk = watcher(broker);
        let goes = Desk::new(broker);
        goes.join(1, 10);
        broker.detach(goes.worker);
        broker.tick(at(1));
        assert_eq!((desk.told(), desk.members()), (vec![true, false], 0));
    });
}

#[test]
fn a_long_list_is_cut_and_its_total_told() {
    every_broker(|broker| {
        let mut desk = Desk::new(broker);
        for n in 0..10 {
            desk.join(n, 10);
        }
        let id = desk.id();
        desk.submit(BrokerRequest::Members {
            id,
            channel: channel("a"),
            limit: 3,
        });
        let BrokerEvent::Members { members, total, .. } = desk.answer(id) else {
            panic!()
        };
        assert_eq!((members.len(), total), (3, 10));
    });
}

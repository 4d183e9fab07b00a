//! Groups that share publications, at every broker.

use std::time::Duration;

use bytes::Bytes;
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, every_broker, kept, open_log};

const HOUR: Duration = Duration::from_secs(3600);

fn group() -> ShareName {
    ShareName {
        target: ChannelName::new("jobs").unwrap().into(),
        group: Key::new("workers").unwrap(),
    }
}

fn place(offset: u64) -> Position {
    Position::new(1, offset)
}

impl TestWorker {
    fn share(&self, request: ShareRequest) {
        let name = group();
        self.submit(BrokerRequest::Share { name, request });
    }

    /// Takes part, and returns the place after which there may be something to claim.
    fn take_part(&mut self, after: u64, keep: Duration) -> Position {
        let (id, after) = (self.id(), place(after));
        self.share(ShareRequest::Join { id, after, keep });
        match self.answer(id) {
            BrokerEvent::Claimed { next, claims, .. } if claims.is_empty() => next,
            other => panic!("{other:?}"),
        }
    }

    fn claim(&mut self, after: u64, offsets: &[u64]) -> Vec<(u64, u16)> {
        let (id, after) = (self.id(), place(after));
        let places = offsets.iter().map(|offset| place(*offset)).collect();
        self.share(ShareRequest::Claim { id, after, places });
        let BrokerEvent::Claimed { claims, .. } = self.answer(id) else {
            panic!("not claimed");
        };
        let short = |claim: &Claim| (claim.place.offset, claim.deliveries);
        claims.iter().map(short).collect()
    }

    fn end_part(&self, keep: Duration) {
        self.share(ShareRequest::Leave { keep });
    }
}

#[test]
fn a_publication_is_claimed_by_one_worker_and_returns_when_that_worker_is_gone() {
    every_broker(&kept(10), |broker| {
        let (mut one, mut other) = (TestWorker::new(broker), TestWorker::new(broker));
        assert_eq!(one.take_part(4, Duration::ZERO), place(4));
        assert_eq!(other.take_part(9, Duration::ZERO), place(4));
        assert_eq!(one.claim(4, &[5, 6, 7]), [(5, 1), (6, 1), (7, 1)]);
        assert_eq!(other.claim(4, &[5, 6, 7]), []);
        let places = vec![place(5)];
        one.share(ShareRequest::Done { places });
        let (places, delivered) = (vec![place(7)], true);
        one.share(ShareRequest::Return { places, delivered });
        let returned = |after| {
            let (name, after) = (group(), place(after));
            BrokerEvent::Returned { name, after }
        };
        assert_eq!(other.rest(), [returned(6)]);
        broker.detach(one.worker_id);
        assert_eq!(other.rest(), [returned(5)]);
        assert_eq!(other.claim(5, &[6, 7]), [(6, 2), (7, 2)]);
    });
}

#[test]
fn a_group_that_is_kept_survives_a_restart_also_while_it_has_members() {
    let directory = tempfile::tempdir().unwrap();
    {
        let broker = open_log(directory.path(), kept(10));
        let mut worker = TestWorker::new(&broker);
        worker.take_part(0, HOUR);
        assert_eq!(worker.claim(0, &[1, 2, 3]).len(), 3);
        let places = vec![place(1), place(3)];
        worker.share(ShareRequest::Done { places });
        worker.barrier();
        // Its state is saved with the ticks.
        broker.tick(at(1_000));
    }
    {
        let broker = open_log(directory.path(), kept(10));
        let mut worker = TestWorker::new(&broker);
        assert_eq!(worker.take_part(0, Duration::ZERO), place(1));
        assert_eq!(worker.claim(1, &[2, 3, 4]), [(2, 2), (4, 1)]);
        let places = vec![place(2), place(4)];
        worker.share(ShareRequest::Done { places });
        worker.end_part(HOUR);
        worker.barrier();
    }
    let broker = open_log(directory.path(), kept(10));
    let mut worker = TestWorker::new(&broker);
    assert_eq!(worker.take_part(0, Duration::ZERO), place(4));
}

#[test]
fn a_group_that_is_not_kept_or_whose_time_is_over_begins_anew() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.take_part(3, Duration::ZERO);
        worker.claim(3, &[4]);
        worker.end_part(Duration::ZERO);
        assert_eq!(worker.take_part(7, HOUR), place(7));
        worker.end_part(Duration::from_secs(10));
        broker.tick(at(11_000));
        assert_eq!(worker.take_part(9, HOUR), place(9));
    });
}

#[test]
fn large_groups_that_are_left_behind_push_out_no_session() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        let session = |n: u8| SessionId::from_bytes([n; 16]);
        let large = Bytes::from(vec![b'x'; 1 << 20]);
        for n in 0..63 {
            worker.submit(BrokerRequest::SaveSession {
                id: None,
                session: session(n),
                bytes: large.clone(),
                expiry: Duration::from_secs(60),
            });
        }
        for group in ["one", "other"] {
            let name = ShareName {
                target: ChannelName::new("jobs").unwrap().into(),
                group: Key::new(group).unwrap(),
            };
            let (after, keep) = (place(0), HOUR);
            // As many as a group can have in progress: its state has more than 1 MiB.
            let places = (1..=65_536).map(place).collect();
            let (first, second) = (worker.id(), worker.id());
            for request in [
                ShareRequest::Join {
                    id: first,
                    after,
                    keep,
                },
                ShareRequest::Claim {
                    id: second,
                    after,
                    places,
                },
                ShareRequest::Leave { keep },
            ] {
                let name = name.clone();
                worker.submit(BrokerRequest::Share { name, request });
            }
        }
        worker.barrier();
        for n in 0..63 {
            let (id, session) = (worker.id(), session(n));
            worker.submit(BrokerRequest::LoadSession { id, session });
            let BrokerEvent::Session { bytes, .. } = worker.answer(id) else {
                panic!("not loaded");
            };
            assert!(bytes.is_some(), "session {n}");
        }
    });
}

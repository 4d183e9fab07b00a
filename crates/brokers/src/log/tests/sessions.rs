//! States of sessions while a disk stalls, and workers that go while a channel is loaded for them.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test matches one variant")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use offhook_engine::*;

use super::{Fsyncs, LOAD_GATE, TestWorker, channel, now, open};
use crate::Broker;

/// A state that counts itself as long as it is in memory.
struct Counted(Arc<AtomicUsize>, Vec<u8>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn session(n: u32) -> SessionId {
    SessionId::from_bytes(u128::from(n).to_be_bytes())
}

impl TestWorker {
    fn save(&self, n: u32, alive: &Arc<AtomicUsize>) {
        alive.fetch_add(1, Ordering::SeqCst);
        let state = Counted(Arc::clone(alive), vec![b'x'; 256 << 10]);
        self.submit(BrokerRequest::SaveSession {
            id: None,
            session: session(n),
            bytes: Bytes::from_owner(state),
            expiry: Duration::from_secs(60 + u64::from(n)),
        });
    }

    fn load(&mut self, n: u32) -> Option<Bytes> {
        let id = self.id();
        let session = session(n);
        self.submit(BrokerRequest::LoadSession { id, session });
        match self.next() {
            BrokerEvent::Session { id: of, bytes } if of == id => bytes,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn while_a_disk_stalls_only_the_newest_state_of_each_session_is_held() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    let log = open(directory.path(), &fsyncs);
    let mut worker = TestWorker::new(&log);
    fsyncs.hold();
    worker.publish("a");
    fsyncs.wait_for_one();

    let alive = Arc::new(AtomicUsize::new(0));
    let held = |alive: &Arc<AtomicUsize>| alive.load(Ordering::SeqCst);
    // One session whose state changes often.
    for _ in 0..100 {
        worker.save(0, &alive);
    }
    assert_eq!(held(&alive), 1);
    // Sessions that come and go.
    for n in 1..400 {
        worker.save(n, &alive);
        let session = session(n);
        worker.submit(BrokerRequest::DropSession { session });
    }
    assert_eq!(held(&alive), 1);
    // Sessions that stay: no more than the sessions' own budget of 64 MiB, which the memory of the
    // process counts.
    for n in 1..400 {
        worker.save(n, &alive);
    }
    let most = (64 << 20) / (256 << 10);
    assert!(
        (most - 2..=most).contains(&held(&alive)),
        "{}",
        held(&alive)
    );
    let counted = log.held().memory_bytes;
    assert!(counted >= held(&alive) * (256 << 10), "{counted}");
    log.tick(now());

    fsyncs.let_go();
    let id = worker.id();
    worker.submit(BrokerRequest::SaveSession {
        id: Some(id),
        session: session(1000),
        bytes: "last".into(),
        expiry: Duration::from_secs(60),
    });
    loop {
        match worker.next() {
            BrokerEvent::SessionSaved { id: of } if of == id => break,
            BrokerEvent::Published { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    drop((worker, log));
    assert_eq!(held(&alive), 0);
    let mut worker = TestWorker::new(&open(directory.path(), &fsyncs));
    assert_eq!(worker.load(399).unwrap().len(), 256 << 10);
    assert_eq!(worker.load(1000).unwrap(), "last");
    assert_eq!(worker.load(1), None, "pushed out");
}

#[test]
fn sessions_that_come_and_go_during_a_stall_leave_nothing_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    let log = open(directory.path(), &fsyncs);
    let mut worker = TestWorker::new(&log);
    fsyncs.hold();
    worker.publish("a");
    fsyncs.wait_for_one();
    let before = log.held().memory_bytes;
    for n in 0..20_000 {
        let session = session(n);
        worker.submit(BrokerRequest::SaveSession {
            id: None,
            session,
            bytes: "state".into(),
            expiry: Duration::from_secs(60),
        });
        worker.submit(BrokerRequest::DropSession { session });
    }
    assert_eq!(log.held().memory_bytes, before);
    assert_eq!(log.shared.jobs.len(), 0, "nothing waits for the writer");
    fsyncs.let_go();
}

#[test]
fn a_worker_that_goes_while_a_channel_is_loaded_for_it_follows_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    let loads = Arc::new(Fsyncs::default());
    let held = Arc::clone(&loads);
    LOAD_GATE.set(Some(Arc::new(move |_: &ChannelName| held.pass())));
    let log = open(directory.path(), &fsyncs);
    let (mut gone, mut other) = (TestWorker::new(&log), TestWorker::new(&log));
    loads.hold();
    let id = gone.id();
    let name = channel("a");
    gone.submit(BrokerRequest::Follow { id, channel: name });
    loads.wait_for_one();
    log.detach(gone.worker_id);
    loads.let_go();
    // Another answer of the reader, after that one.
    other.follow("b");
    let occupied = log.occupied("", None, 10);
    let names: Vec<_> = occupied.iter().map(|of| of.channel.as_str()).collect();
    assert_eq!(names, ["b"]);
}

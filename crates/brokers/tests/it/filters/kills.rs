//! Readers by filter whose server was killed.

use offhook_engine::*;

use crate::test_worker::{TestWorker, at, kept, open_log};

#[test]
fn after_a_kill_a_filter_that_matches_channels_without_history_too_does_not_diverge() {
    let directory = tempfile::tempdir().unwrap();
    let (live, killed) = (directory.path().join("live"), directory.path().join("copy"));
    let mut worker = TestWorker::new(&open_log(&live, kept(100)));
    worker.publish("a/1", "x");
    for _ in 0..3 {
        worker.publish("flow/1", "x");
    }
    let place = worker.follow_filter("#");
    crate::lineage::copy(&live, &killed);
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&killed, kept(100)));
    for text in ["flow/+", "#"] {
        let page = worker.read_filter(text, place, 100);
        assert_eq!(page.start.resolution, Resolution::Restarted, "{text}");
        assert!(page.publications.is_empty(), "{text}");
    }
}

#[test]
fn after_two_kills_and_a_saved_session_a_reader_by_filter_misses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut worker = TestWorker::new(&open_log(&path("live"), kept(100)));
    for n in 0..7 {
        worker.publish(&format!("a/{n}"), "old");
    }
    let place = worker.follow_filter("a/#");
    crate::lineage::copy(&path("live"), &path("killed"));
    drop(worker);
    // This process publishes nothing before it is killed.
    let mut worker = TestWorker::new(&open_log(&path("killed"), kept(100)));
    let id = worker.id();
    worker.submit(BrokerRequest::SaveSession {
        id: Some(id),
        session: SessionId::from_bytes([1; 16]),
        bytes: "state".into(),
        expiry: std::time::Duration::from_secs(60),
    });
    worker.answer(id);
    crate::lineage::copy(&path("killed"), &path("killed again"));
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&path("killed again"), kept(100)));
    for n in 0..3 {
        worker.publish(&format!("a/{n}"), "new");
    }
    let page = worker.read_filter("a/#", place, 100);
    assert_eq!(page.publications.len(), 3);
    assert!(page.gaps.is_empty(), "{:?}", page.gaps);
    let all = worker.read_filter("a/#", Position { offset: 0, ..place }, 100);
    assert_eq!(all.publications.len(), 10);
}

#[test]
fn many_publications_without_history_before_a_kill_are_not_taken_for_lost_ones() {
    let directory = tempfile::tempdir().unwrap();
    let (live, killed) = (directory.path().join("live"), directory.path().join("copy"));
    let broker = open_log(&live, kept(100));
    let mut worker = TestWorker::new(&broker);
    worker.publish("a/1", "x");
    for round in 1..=3 {
        for _ in 0..33_000 {
            worker.publish("flow/1", "x");
        }
        broker.tick(at(round * 1_000));
    }
    worker.writer_barrier();
    let place = worker.follow_filter("#");
    crate::lineage::copy(&live, &killed);
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&killed, kept(100)));
    let page = worker.read_filter("#", place, 100);
    assert_eq!(page.start.resolution, Resolution::Restarted);
}

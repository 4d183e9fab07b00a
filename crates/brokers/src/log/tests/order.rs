//! A full queue keeps the order of publications.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use super::{
    super::{Log, LogOptions},
    Fsyncs, GATE, LOAD_GATE, NEVER, TestWorker, now, plain,
};
use crate::Broker;

fn with_queue_of(count: usize, path: &std::path::Path) -> Arc<Log> {
    let mut options = LogOptions::new(path);
    options.queue_count = count;
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    Arc::new(Log::open(options, rules, now()).unwrap())
}

fn publish(id: u64) -> BrokerRequest {
    BrokerRequest::Publish {
        id: RequestId(id),
        draft: plain("a"),
    }
}

#[test]
fn what_follows_a_publication_without_room_is_not_accepted_even_if_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let fsyncs = Arc::new(Fsyncs::default());
    let held = Arc::clone(&fsyncs);
    GATE.set(Some(Arc::new(move |_| held.pass())));
    let log = with_queue_of(1, directory.path());
    let mut worker = TestWorker::new(&log);
    worker.publish("a");
    worker.published().unwrap();
    fsyncs.hold();
    worker.publish("a");
    fsyncs.wait_for_one();
    let worker_id = worker.worker_id;
    // The writer is at its fsync. There is room for 11, and none for 12.
    let mut step = 0;
    let mut requests = std::iter::from_fn(|| {
        step += 1;
        match step {
            1 | 2 => Some(publish(10 + step)),
            // Not for the writer: what was requested before it is queued now.
            3 => Some(BrokerRequest::UnfollowFilter {
                filter: Filter::new("b/#").unwrap(),
            }),
            4 => {
                fsyncs.let_go();
                worker.published().unwrap();
                worker.published().unwrap();
                // The queue is empty again.
                Some(publish(13))
            }
            _ => None,
        }
    });
    let left = log.submit_all(worker_id, &mut requests);
    assert_eq!(left, [publish(12), publish(13)]);
    assert_eq!(log.submit(worker_id, publish(14)), None);
    worker.published().unwrap();
}

#[test]
fn publications_that_wait_for_their_channel_take_up_room_in_the_queue() {
    let directory = tempfile::tempdir().unwrap();
    let (go, may_go) = std::sync::mpsc::sync_channel::<()>(1);
    let may_go = std::sync::Mutex::new(may_go);
    LOAD_GATE.set(Some(Arc::new(move |name: &ChannelName| {
        if name.as_str() == "a" {
            may_go.lock().unwrap().recv_timeout(NEVER).unwrap();
        }
    })));
    let log = with_queue_of(3, directory.path());
    let mut worker = TestWorker::new(&log);
    for id in 11..14 {
        assert_eq!(log.submit(worker.worker_id, publish(id)), None);
    }
    // The writer answers this after it has taken everything before.
    let id = worker.id();
    worker.submit(BrokerRequest::SaveSession {
        id: Some(id),
        session: SessionId::from_bytes([1; 16]),
        bytes: "x".into(),
        expiry: Duration::from_secs(9),
    });
    assert_eq!(worker.next(), BrokerEvent::SessionSaved { id });
    let left = log.submit(worker.worker_id, publish(14));
    assert_eq!(left, Some(publish(14)));
    go.send(()).unwrap();
    for _ in 11..14 {
        worker.published().unwrap();
    }
    assert_eq!(log.submit(worker.worker_id, publish(15)), None);
    worker.published().unwrap();
}

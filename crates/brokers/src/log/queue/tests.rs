use std::time::{Duration, Instant};

use offhook_engine::{Draft, Format, Key, Tags};

use super::*;
use crate::log::write::{Ack, What};

const WORKER: WorkerId = WorkerId(1);

fn at(ms: u64) -> Now {
    Now {
        instant: Instant::now() + Duration::from_millis(ms),
        unix_ms: ms,
    }
}

fn channel() -> ChannelName {
    ChannelName::new("a").unwrap()
}

fn publish(id: u64) -> Write {
    let draft = Draft {
        channel: channel(),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1,
    };
    Write {
        id: RequestId(id),
        at: Instant::now(),
        what: What::Publish(Box::new(draft)),
    }
}

fn ack(id: u64) -> Write {
    let ack = Ack {
        channel: channel(),
        scope: "".into(),
        consumer: Key::new("one").unwrap(),
        position: None,
    };
    Write {
        id: RequestId(id),
        at: Instant::now(),
        what: What::Ack(Box::new(ack)),
    }
}

fn weight() -> usize {
    publish(0).bytes()
}

/// The ids that the queue refuses.
fn put(queue: &JobQueue, writes: impl IntoIterator<Item = Write>) -> Vec<u64> {
    let refused = queue.put(WORKER, writes.into_iter());
    refused.into_iter().map(|write| write.id.0).collect()
}

#[test]
fn a_queue_has_a_limit_in_number_and_says_what_did_not_fit() {
    let queue = JobQueue::new(3, usize::MAX);
    assert_eq!(put(&queue, (1..=5).map(publish)), [4, 5]);
    assert_eq!(put(&queue, [ack(6)]), [6]);
    assert_eq!(queue.take().len(), 3);
    assert_eq!(put(&queue, (7..=9).map(ack)), [0; 0]);
}

#[test]
fn a_queue_has_a_limit_in_bytes_which_the_last_request_may_exceed() {
    for (bytes, fit) in [(weight() * 2, 2), (weight() * 2 + 1, 3)] {
        let queue = JobQueue::new(usize::MAX, bytes);
        assert_eq!(put(&queue, (1..=5).map(publish)).len(), 5 - fit);
        assert_eq!(queue.lock().bytes, fit * weight());
        assert_eq!(queue.take().len(), fit);
        assert_eq!(queue.lock().bytes, 0);
    }
}

#[test]
fn what_frees_space_always_fits_and_of_many_ticks_in_a_row_the_last_is_kept() {
    let queue = JobQueue::new(0, 0);
    for ms in 1..=3 {
        queue.put_always(Job::Tick(at(ms)));
    }
    queue.put_always(Job::NewRules);
    queue.put_always(Job::Tick(at(4)));
    queue.put_always(Job::Stop);
    let write = publish(1);
    queue.put_always(Job::Write {
        worker: WORKER,
        write,
    });
    assert_eq!(queue.lock().bytes, weight());
    let taken = queue.take();
    let times: Vec<_> = taken.iter().map(Job::time).collect();
    assert_eq!(times, [Some(3), None, Some(4), None, None]);
    let may_publish: Vec<_> = taken.iter().map(Job::may_publish).collect();
    assert_eq!(may_publish, [false, false, false, false, true]);
    let loaded = Job::Loaded {
        channel: channel(),
        found: Ok(None),
        reopened: 0,
    };
    assert!(loaded.may_publish());
}

#[test]
fn a_batch_has_a_limit_and_leaves_the_rest_for_the_next_one() {
    let queue = JobQueue::new(usize::MAX, usize::MAX);
    let count = BATCH as u64 + 10;
    assert_eq!(put(&queue, (1..=count).map(publish)), [0; 0]);
    assert_eq!(queue.take().len(), BATCH);
    assert_eq!(queue.lock().bytes, 10 * weight());
    assert_eq!(queue.take().len(), 10);
}

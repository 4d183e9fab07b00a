//! Requests that are submitted together, and answers that come together.

use std::sync::{
    Arc, Mutex, OnceLock,
    mpsc::{Receiver, sync_channel},
};

use offhook_engine::*;

use super::{Fsyncs, GATE, LOAD_GATE, NEVER, TestWorker, channel, now, open, plain};
use crate::{
    Broker, Mailbox, WorkerId,
    log::{Log, LogOptions, store::Size},
};

/// A worker that takes its mail the moment it is woken, as a thread that preempts the broker's does.
/// Returns how many events it takes each time.
fn eager_worker(log: &Log) -> (WorkerId, Receiver<usize>) {
    let (told, takes) = sync_channel(1000);
    let own: Arc<OnceLock<Arc<Mailbox>>> = Arc::default();
    let mailbox_of = Arc::clone(&own);
    let mailbox = Arc::new(Mailbox::new(1 << 20, move || {
        let mailbox = mailbox_of.get().expect("it was set");
        told.send(mailbox.take().len()).unwrap_or_default();
    }));
    assert!(own.set(Arc::clone(&mailbox)).is_ok(), "set once");
    (log.attach(mailbox), takes)
}

#[test]
fn requests_submitted_together_are_made_durable_by_one_fsync_and_wake_the_worker_once() {
    let directory = tempfile::tempdir().unwrap();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&groups);
    GATE.set(Some(Arc::new(move |size: Size| {
        seen.lock().unwrap().push(size.published);
    })));
    let rules = Arc::new(RuleBook::everything(ChannelRules::default()));
    let log = Arc::new(Log::open(LogOptions::new(directory.path()), rules, now()).unwrap());
    // The channel is loaded with the first publication.
    let mut first = TestWorker::new(&log);
    first.publish("a");
    first.next();
    groups.lock().unwrap().clear();
    let (worker, takes) = eager_worker(&log);
    let publish = |id| BrokerRequest::Publish {
        id: RequestId(id),
        draft: plain("a"),
    };
    log.submit_all(worker, &mut (1..=100).map(publish));
    assert_eq!(
        takes.recv_timeout(NEVER),
        Ok(100),
        "all answers with one wake"
    );
    assert_eq!(*groups.lock().unwrap(), [100], "one fsync");
}

#[test]
fn a_crowd_that_opens_channels_wakes_its_worker_for_many_of_them_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (arrived, arrival) = sync_channel(1);
    let (go, may_go) = sync_channel::<()>(1);
    let may_go = Mutex::new(may_go);
    LOAD_GATE.set(Some(Arc::new(move |channel: &ChannelName| {
        if channel.as_str() == "channel 0" {
            arrived.send(()).unwrap();
            may_go.lock().unwrap().recv().unwrap();
        }
    })));
    let log = open(directory.path(), &Arc::new(Fsyncs::default()));
    let (worker, takes) = eager_worker(&log);
    let follow = |n: u64| BrokerRequest::Follow {
        id: RequestId(n),
        channel: channel(&format!("channel {n}")),
    };
    // The reader is busy with one channel, so that it does not begin with a part of the others.
    log.submit(worker, follow(0));
    arrival.recv_timeout(NEVER).expect("it is loaded");
    log.submit_all(worker, &mut (1..=640).map(follow));
    go.send(()).unwrap();
    let told: Vec<usize> = (0..11)
        .map(|_| takes.recv_timeout(NEVER).expect("it is told"))
        .collect();
    assert_eq!(told, [1, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64]);
}

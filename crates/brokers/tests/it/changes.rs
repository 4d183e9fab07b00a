//! What an observer hears of channels, and the list of those that somebody subscribes to.

use std::{sync::Arc, time::Duration};

use offhook_brokers::{Broker, Changes, ChannelChange};
use offhook_engine::*;

use crate::test_worker::{TestWorker, at, channel, every_broker, kept};

fn observed(broker: &Arc<dyn Broker>, limit: usize) -> Arc<Changes> {
    let wanted = |channel: &ChannelName| channel.as_str() != "unwanted";
    let changes = Arc::new(Changes::new(limit, wanted, || {}));
    broker.observe(Arc::clone(&changes));
    changes
}

fn heard(changes: &Changes) -> Vec<String> {
    let (all, dropped) = changes.take();
    assert_eq!(dropped, 0);
    let shown = all.iter().map(|change| match change {
        ChannelChange::Occupied(channel) => format!("{channel} occupied"),
        ChannelChange::Vacated(channel) => format!("{channel} vacated"),
        ChannelChange::Member { change, members } => {
            let what = if change.joined { "joined" } else { "left" };
            let (user, channel) = (&change.member.user, &change.channel);
            format!("{user} {what} {channel}, {members} now")
        }
    });
    shown.collect()
}

#[test]
fn a_channel_is_occupied_by_its_first_worker_and_vacated_by_its_last_one() {
    every_broker(&kept(10), |broker| {
        let changes = observed(broker, 100);
        let (mut one, mut two) = (TestWorker::new(broker), TestWorker::new(broker));
        one.follow("a");
        two.follow("a");
        one.follow("unwanted");
        // Asking for the head again makes no second follower.
        one.follow("a");
        let unfollow = |name: &str| BrokerRequest::Unfollow {
            channel: channel(name),
        };
        one.submit(unfollow("a"));
        assert_eq!(heard(&changes), ["a occupied"]);
        two.submit(unfollow("a"));
        assert_eq!(heard(&changes), ["a vacated"]);
        two.follow("b");
        broker.detach(two.worker_id);
        assert_eq!(heard(&changes), ["b occupied", "b vacated"]);
    });
}

#[test]
fn joins_and_leaves_are_reported_in_order() {
    every_broker(&kept(10), |broker| {
        let changes = observed(broker, 100);
        let mut worker = TestWorker::new(broker);
        worker.follow("a");
        let session = SessionId::from_bytes([1; 16]);
        worker.submit(BrokerRequest::Join {
            channel: channel("a"),
            member: Arc::new(Member {
                session,
                user: "ann".into(),
                info: "".into(),
            }),
            generation: 1,
        });
        worker.submit(BrokerRequest::Leave {
            channel: channel("a"),
            session,
            generation: 1,
            grace: Duration::ZERO,
        });
        assert_eq!(
            heard(&changes),
            ["a occupied", "ann joined a, 1 now", "ann left a, 0 now"]
        );
    });
}

#[test]
fn unread_changes_are_limited_and_dropped_ones_are_counted() {
    every_broker(&kept(10), |broker| {
        let changes = observed(broker, 2);
        let mut worker = TestWorker::new(broker);
        for name in ["a", "b", "c"] {
            worker.follow(name);
        }
        let (left, dropped) = changes.take();
        let left: Vec<_> = left
            .iter()
            .map(|change| change.channel().as_str())
            .collect();
        assert_eq!((left, dropped), (vec!["b", "c"], 1));
        assert_eq!(changes.take().1, 0);
    });
}

#[test]
fn occupied_channels_are_listed_by_prefix_in_pages() {
    every_broker(&kept(10), |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["room/2", "room/1", "room/10", "rooms", "hall"] {
            worker.follow(name);
        }
        let page = |prefix: &str, after: Option<&str>, limit| {
            let page = broker.occupied(prefix, after, limit).into_iter();
            page.map(|found| found.channel.as_str().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(page("room/", None, 2), ["room/1", "room/10"]);
        assert_eq!(page("room/", Some("room/10"), 2), ["room/2"]);
        assert_eq!(page("room/", Some("room/2"), 2), Vec::<String>::new());
        assert_eq!(page("room/", Some("a"), 1), ["room/1"]);
        assert_eq!(page("", None, 10).len(), 5);
        worker.submit(BrokerRequest::Unfollow {
            channel: channel("hall"),
        });
        assert_eq!(page("h", None, 10), Vec::<String>::new());
        broker.tick(at(1_000));
    });
}

#[test]
fn every_observer_hears_of_the_channels_that_it_wants() {
    every_broker(&kept(10), |broker| {
        let all = observed(broker, 100);
        let other = Arc::new(Changes::new(100, |name| name.as_str() == "b", || {}));
        broker.observe(Arc::clone(&other));
        let mut worker = TestWorker::new(broker);
        worker.follow("a");
        worker.follow("b");
        assert_eq!(heard(&all), ["a occupied", "b occupied"]);
        assert_eq!(heard(&other), ["b occupied"]);
    });
}

//! Following and reading by filter: every publication once, in the broker's own order.

mod kills;

use std::sync::Arc;

use offhook_engine::*;

use crate::test_worker::{TestWorker, every_broker, kept, open_log};

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

impl TestWorker {
    fn follow_filter(&mut self, text: &str) -> Position {
        let id = self.id();
        let filter = filter(text);
        self.submit(BrokerRequest::FollowFilter { id, filter });
        match self.answer(id) {
            BrokerEvent::Followed { stream, .. } => stream.head,
            other => panic!("{other:?}"),
        }
    }

    fn read_filter(&mut self, text: &str, after: Position, count: u32) -> FilterPage {
        let id = self.id();
        self.submit(BrokerRequest::FilterHistory {
            id,
            filter: filter(text),
            after,
            limit: ReadLimit {
                count,
                bytes: usize::MAX,
            },
        });
        match self.answer(id) {
            BrokerEvent::FilterHistory {
                head,
                start,
                gaps,
                publications,
                ..
            } => FilterPage {
                head,
                start,
                gaps,
                publications,
            },
            other => panic!("{other:?}"),
        }
    }

    fn told_publications(&mut self) -> Vec<Arc<Publication>> {
        let mut told = Vec::new();
        for event in self.rest() {
            match event {
                BrokerEvent::Publication(publication) => told.push(publication),
                other => panic!("{other:?}"),
            }
        }
        told
    }
}

struct FilterPage {
    head: Position,
    start: ReadStart,
    gaps: Vec<ChannelGap>,
    publications: Vec<Arc<Publication>>,
}

fn texts(publications: &[Arc<Publication>]) -> Vec<String> {
    let text = |p: &Arc<Publication>| format!("{} {}", p.channel, p.position.offset);
    publications.iter().map(text).collect()
}

#[test]
fn a_worker_gets_a_publication_once_even_if_several_of_its_filters_and_channels_match() {
    every_broker(&kept(100), |broker| {
        let mut publisher = TestWorker::new(broker);
        let mut worker = TestWorker::new(broker);
        worker.follow_filter("a/+");
        worker.follow_filter("a/#");
        worker.follow_filter("flow/#");
        worker.follow("a/1");
        for name in ["a/1", "a/2", "b/1", "a/2/x", "flow/1", "a"] {
            publisher.publish(name, "x");
        }
        let told = worker.told_publications();
        assert_eq!(
            texts(&told),
            ["a/1 1", "a/2 1", "a/2/x 1", "flow/1 1", "a 1"]
        );
        let numbers: Vec<_> = told.iter().map(|p| p.sequence).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
    });
}

#[test]
fn an_unfollowed_filter_delivers_nothing_and_others_continue() {
    every_broker(&kept(100), |broker| {
        let mut publisher = TestWorker::new(broker);
        let (mut one, mut other) = (TestWorker::new(broker), TestWorker::new(broker));
        for worker in [&mut one, &mut other] {
            worker.follow_filter("a/+");
            worker.follow_filter("a/+");
        }
        one.submit(BrokerRequest::UnfollowFilter {
            filter: filter("a/+"),
        });
        publisher.publish("a/1", "x");
        assert_eq!(
            (
                one.told_publications().len(),
                other.told_publications().len()
            ),
            (0, 1)
        );
        broker.detach(other.worker_id);
        publisher.publish("a/1", "x");
        assert!(other.mailbox.take().is_empty());
    });
}

#[test]
fn a_filter_reads_what_it_missed_in_all_channels_in_order_including_new_ones() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 0..9 {
            worker.publish(["a/1", "a/2", "b"][n % 3], "before");
        }
        let place = worker.follow_filter("a/+");
        worker.submit(BrokerRequest::UnfollowFilter {
            filter: filter("a/+"),
        });
        for name in ["a/2", "b", "a/1", "a/new", "a/2"] {
            worker.publish(name, "missed");
        }
        let mut found = Vec::new();
        let mut after = place;
        let head = loop {
            let page = worker.read_filter("a/+", after, 3);
            assert_eq!(page.start, ReadStart::at(after));
            assert!(page.gaps.is_empty(), "{:?}", page.gaps);
            let Some(last) = page.publications.last() else {
                break page.head;
            };
            after.offset = last.sequence;
            found.extend(page.publications);
        };
        assert_eq!(texts(&found), ["a/2 4", "a/1 4", "a/new 1", "a/2 5"]);
        assert!(found.iter().all(|p| p.data == "missed"));
        assert_eq!(head.offset, after.offset);
        let everything = worker.read_filter("#", Position { offset: 0, ..place }, 100);
        assert_eq!(everything.publications.len(), 14);
        assert_eq!(worker.read_filter("+", place, 100).publications.len(), 1);
    });
}

#[test]
fn publications_trimmed_after_the_position_are_a_gap_in_their_channel() {
    every_broker(&kept(5), |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["a/quiet", "a/busy", "flow/a"] {
            worker.publish(name, "before");
        }
        let place = worker.follow_filter("#");
        worker.submit(BrokerRequest::UnfollowFilter {
            filter: filter("#"),
        });
        for _ in 0..20 {
            worker.publish("a/busy", "x");
        }
        worker.publish("a/quiet", "x");
        worker.publish("flow/a", "lost");
        let page = worker.read_filter("#", place, 100);
        assert_eq!(page.publications.len(), 6);
        let mut gaps = Vec::new();
        for gap in &page.gaps {
            gaps.push((gap.channel.as_str(), gap.to.offset, gap.reason));
        }
        gaps.sort_unstable_by_key(|gap| gap.0);
        let size = GapReason::EvictedBySize;
        assert_eq!(gaps, [("a/busy", 16, size), ("flow/a", 2, size)]);
    });
}

#[test]
fn a_page_of_a_filter_is_limited_in_bytes_and_has_at_least_one_publication() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let place = worker.follow_filter("a/+");
        for n in 0..6 {
            worker.publish(&format!("a/{n}"), "0123456789");
        }
        let weight = crate::test_worker::draft("a", "0123456789", None).weight();
        for (bytes, expected) in [(1, 1), (weight * 3 - 1, 2), (weight * 3, 3)] {
            let id = worker.id();
            worker.submit(BrokerRequest::FilterHistory {
                id,
                filter: filter("a/+"),
                after: place,
                limit: ReadLimit { count: 9, bytes },
            });
            let BrokerEvent::FilterHistory { publications, .. } = worker.answer(id) else {
                panic!()
            };
            assert_eq!(publications.len(), expected);
        }
    });
}

#[test]
fn a_position_that_was_never_assigned_is_reported_as_such() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let place = worker.follow_filter("a/+");
        worker.publish("a/1", "x");
        let unknown = Position::new(place.epoch.0 + 5, 1);
        let page = worker.read_filter("a/+", unknown, 9);
        assert_eq!(page.start.resolution, Resolution::UnknownEpoch);
        assert_eq!(page.publications.len(), 1);
        let ahead = Position {
            offset: place.offset + (1 << 40),
            ..place
        };
        let page = worker.read_filter("a/+", ahead, 9);
        assert_eq!(page.start.resolution, Resolution::AheadOfHead);
        assert!(page.publications.is_empty());
    });
}

#[test]
fn a_filter_position_is_valid_after_a_clean_restart_even_if_the_newest_publication_was_ephemeral() {
    let directory = tempfile::tempdir().unwrap();
    let mut place = None;
    for life in 0..3 {
        let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
        if let Some(place) = place {
            let page = worker.read_filter("+", place, 100);
            assert_eq!(page.start, ReadStart::at(place), "life {life}");
            assert_eq!((page.publications.len(), page.gaps.len()), (0, 0));
            worker.publish("a", "x");
            for filter in ["+", "#"] {
                let page = worker.read_filter(filter, place, 100);
                assert_eq!(page.publications.len(), 1);
            }
        }
        worker.publish("a", "x");
        worker.publish("flow/b", "x");
        place = Some(worker.follow_filter("#"));
    }
}

/// The new process does not know such channels, so it cannot say what was lost in each.
#[test]
fn a_restart_is_reported_to_readers_whose_filter_may_match_channels_without_history() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
    worker.publish("a/1", "x");
    let place = worker.follow_filter("#");
    worker.submit(BrokerRequest::UnfollowFilter {
        filter: filter("#"),
    });
    worker.publish("flow/1", "lost");
    worker.publish("a/1", "missed");
    drop(worker);
    let mut worker = TestWorker::new(&open_log(directory.path(), kept(100)));
    for (text, is_told, missed) in [
        ("#", true, 1),
        ("+/1", true, 1),
        ("flow/#", true, 0),
        ("a/#", false, 1),
    ] {
        let page = worker.read_filter(text, place, 100);
        let expected = match is_told {
            true => Resolution::Restarted,
            false => Resolution::Continuous,
        };
        assert_eq!(page.start.resolution, expected, "{text}");
        assert_eq!(page.publications.len(), missed, "{text}");
        // It continues from the same place in the new epoch, and no further gap is reported.
        let after = page.start.after;
        assert_eq!(after.offset, place.offset);
        assert_eq!(after.epoch == page.head.epoch, is_told, "{text}");
        if is_told {
            let page = worker.read_filter(text, after, 100);
            assert_eq!(page.start, ReadStart::at(after));
        }
    }
}

/// The rules of the new process do not say which channels the earlier process had only in memory.
#[test]
fn a_restart_with_other_rules_is_reported_according_to_the_earlier_rules() {
    let directory = tempfile::tempdir().unwrap();
    let open = |rules| TestWorker::new(&open_log(directory.path(), rules));
    let everything = RuleBook::everything(ChannelRules::default());
    let mut worker = open(kept(100));
    worker.publish("flow/1", "x");
    worker.publish("a/1", "x");
    let place = worker.follow_filter("#");
    drop(worker);
    // All channels have history now, so a reader that was connected since then has missed nothing.
    let mut worker = open(everything.clone());
    for (text, expected) in [
        ("#", Resolution::Restarted),
        ("flow/+", Resolution::Restarted),
        ("a/+", Resolution::Continuous),
    ] {
        let page = worker.read_filter(text, place, 10);
        assert_eq!(page.start.resolution, expected, "{text}");
    }
    let later = worker.follow_filter("#");
    drop(worker);
    let mut worker = open(kept(100));
    let page = worker.read_filter("#", later, 10);
    assert_eq!(page.start, ReadStart::at(later));
}

#[test]
fn publications_missed_in_memory_are_reported_after_their_channel_was_moved_to_disk() {
    let directory = tempfile::tempdir().unwrap();
    let broker = open_log(directory.path(), kept(100));
    let mut worker = TestWorker::new(&broker);
    let place = worker.follow_filter("nothing");
    worker.publish("flow/1", "missed");
    broker.set_rules(Arc::new(RuleBook::everything(ChannelRules::default())));
    worker.writer_barrier();
    worker.publish("flow/1", "on disk");
    let page = worker.read_filter("flow/+", place, 10);
    let gaps: Vec<_> = page.gaps.iter().map(|gap| gap.channel.as_str()).collect();
    assert_eq!((gaps, page.publications.len()), (vec!["flow/1"], 1));
}

/// A copy of a running log is in the same state as the log of a process that was killed.
#[test]
fn after_restoring_an_older_copy_a_reader_by_filter_is_told_where_the_streams_diverged() {
    let directory = tempfile::tempdir().unwrap();
    let (live, backup) = (directory.path().join("live"), directory.path().join("copy"));
    let mut worker = TestWorker::new(&open_log(&live, kept(100)));
    for n in 0..6 {
        worker.publish(&format!("a/{}", n % 2), "one");
    }
    let at_copy = worker.follow_filter("a/+");
    crate::lineage::copy(&live, &backup);
    worker.publish("a/0", "lost");
    let at_end = worker.follow_filter("a/+");
    drop(worker);
    let mut worker = TestWorker::new(&open_log(&backup, kept(100)));
    worker.publish("a/1", "other");
    let page = worker.read_filter("a/+", at_end, 100);
    assert_eq!(page.start.resolution, Resolution::Diverged);
    assert_eq!(page.start.agreed, at_copy);
    assert_eq!(page.publications.len(), 1);
    assert_eq!(page.publications[0].data, "other");
}

#[test]
fn following_a_filter_while_publishing_causes_no_hole_and_no_duplicate() {
    every_broker(&kept(1000), |broker| {
        let mut publisher = TestWorker::new(broker);
        let mut worker = TestWorker::new(broker);
        let mut id = None;
        for n in 0..300 {
            let name = ["a/1", "a/2", "flow/1"][n % 3];
            publisher.send(crate::test_worker::draft(name, &n.to_string(), None));
            if n == 150 {
                let new = worker.id();
                let filter = filter("a/#");
                worker.submit(BrokerRequest::FollowFilter { id: new, filter });
                id = Some(new);
            }
        }
        let BrokerEvent::Followed { stream, .. } = worker.answer(id.unwrap()) else {
            panic!()
        };
        publisher.publish("a/end", "end");
        let mut seen = Vec::new();
        loop {
            if let BrokerEvent::Publication(publication) = worker.next() {
                seen.push(publication);
            }
            if seen.last().is_some_and(|last| last.data == "end") {
                break;
            }
        }
        assert!(seen.iter().all(|p| p.sequence > stream.head.offset));
        let start = Position {
            offset: 0,
            ..stream.head
        };
        let all = worker.read_filter("a/#", start, 1000).publications;
        let after: Vec<_> = all
            .into_iter()
            .filter(|p| p.sequence > stream.head.offset)
            .collect();
        assert_eq!(texts(&seen), texts(&after));
    });
}

/// A channel without history is forgotten ten minutes after it was last used, and with it what a
/// reader missed.
#[test]
fn publications_missed_in_a_discarded_channel_are_a_gap() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "x");
        let place = worker.follow_filter("#");
        let filter = filter("#");
        worker.submit(BrokerRequest::UnfollowFilter { filter });
        worker.publish("flow/a", "missed");
        for second in 0..30 {
            broker.tick(crate::test_worker::at(700_000 + second * 1_000));
            worker.writer_barrier();
        }
        assert_eq!(worker.follow("flow/a").head.offset, 0, "it was forgotten");
        let page = worker.read_filter("#", place, 10);
        let gaps: Vec<_> = page.gaps.iter().map(|gap| gap.channel.as_str()).collect();
        assert_eq!((gaps, page.publications.len()), (vec!["flow/a"], 0));
        let newest = worker.follow_filter("#");
        assert!(worker.read_filter("#", newest, 10).gaps.is_empty());
    });
}

/// Five publications in each of twenty channels; the content is the offset.
fn publish_round(publisher: &mut TestWorker, round: u64) {
    let mut sent = Vec::new();
    for n in 0..100 {
        let (channel, offset) = (n % 20, round * 5 + n / 20 + 1);
        let draft = crate::test_worker::draft(&format!("x/{channel}"), &offset.to_string(), None);
        sent.push(publisher.send(draft));
    }
    for id in sent {
        let answer = publisher.answer(id);
        assert!(matches!(answer, BrokerEvent::Published { .. }));
    }
}

/// The next publication's data was handed out under the position of one that was trimmed.
#[test]
fn a_read_by_filter_during_trimming_never_returns_another_publication_instead() {
    every_broker(&kept(40), |broker| {
        let publishing = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut publisher = TestWorker::new(broker);
                for round in 0..200 {
                    publish_round(&mut publisher, round);
                }
                publishing.store(false, std::sync::atomic::Ordering::SeqCst);
            });
            let mut worker = TestWorker::new(broker);
            let origin = worker.follow_filter("nothing");
            while publishing.load(std::sync::atomic::Ordering::SeqCst) {
                let mut after = Position {
                    offset: 0,
                    ..origin
                };
                loop {
                    let page = worker.read_filter("x/#", after, 512);
                    for publication in &page.publications {
                        let (position, data) = (publication.position, &publication.data);
                        assert_eq!(*data, position.offset.to_string(), "{position}");
                        assert!(publication.sequence > after.offset, "in their order");
                        after.offset = publication.sequence;
                    }
                    for gap in &page.gaps {
                        assert_eq!(gap.reason, GapReason::EvictedBySize, "{gap:?}");
                    }
                    if page.publications.is_empty() {
                        break;
                    }
                }
            }
        });
        assert!(broker.health().is_good(), "{:?}", broker.health());
    });
}

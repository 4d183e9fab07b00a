//! The test body of the contract, run over every broker.

use offhook_engine::*;

use crate::test_worker::{TestWorker, at, channel, draft, every_broker, kept};

#[test]
fn each_channel_assigns_offsets_from_one_without_holes() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let a: Vec<_> = (0..3).map(|_| worker.publish("a", "x").offset).collect();
        let b: Vec<_> = (0..2).map(|_| worker.publish("b", "x").offset).collect();
        let ephemeral: Vec<_> = (0..2)
            .map(|_| worker.publish("flow/c", "x").offset)
            .collect();
        assert_eq!((a, b, ephemeral), (vec![1, 2, 3], vec![1, 2], vec![1, 2]));
    });
}

#[test]
fn a_publication_is_read_back_unchanged() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let mut sent = draft("a", "data", Some("key"));
        sent.format = Format::Binary;
        let id = worker.send(sent.clone());
        let BrokerEvent::Published { position, .. } = worker.answer(id) else {
            panic!()
        };
        let read = &worker.all("a")[0];
        let place = Place {
            position,
            previous: Position {
                offset: 0,
                ..position
            },
            sequence: read.sequence,
        };
        assert_eq!(**read, sent.at(place));
        let mut bare = draft("b", "", None);
        (bare.publisher, bare.tags) = (None, Tags::default());
        let id = worker.send(bare.clone());
        let BrokerEvent::Published { position, .. } = worker.answer(id) else {
            panic!()
        };
        let read = &worker.all("b")[0];
        let place = Place {
            position,
            previous: Position {
                offset: 0,
                ..position
            },
            sequence: read.sequence,
        };
        assert_eq!(**read, bare.at(place));
    });
}

#[test]
fn the_same_key_is_published_once_even_within_one_batch() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["a", "flow/a"] {
            let ids: Vec<_> = (0..5)
                .map(|_| worker.send(draft(name, "x", Some("key"))))
                .collect();
            let answers: Vec<_> = ids.into_iter().map(|id| worker.answer(id)).collect();
            let mut first = 0;
            for answer in answers {
                let BrokerEvent::Published {
                    position,
                    duplicate,
                    ..
                } = answer
                else {
                    panic!()
                };
                assert_eq!(position.offset, 1);
                first += u32::from(!duplicate);
            }
            assert_eq!(first, 1);
            assert_eq!(worker.publish_keyed(name, "x", Some("other")).0.offset, 2);
        }
    });
}

#[test]
fn a_key_belongs_to_one_user_and_one_channel() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        assert_eq!(worker.publish_keyed("a", "x", Some("key")).0.offset, 1);
        assert!(!worker.publish_keyed("b", "x", Some("key")).1);
        let mut other = draft("a", "x", Some("key"));
        other.publisher = None;
        let id = worker.send(other);
        let BrokerEvent::Published {
            duplicate,
            position,
            ..
        } = worker.answer(id)
        else {
            panic!()
        };
        assert_eq!((duplicate, position.offset), (false, 2));
    });
}

#[test]
fn a_key_is_remembered_for_exactly_its_window() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.publish_keyed("a", "x", Some("key"));
        broker.tick(at(3_600_000));
        assert!(worker.publish_keyed("a", "x", Some("key")).1);
        broker.tick(at(3_600_001));
        assert!(!worker.publish_keyed("a", "x", Some("key")).1);
    });
}

#[test]
fn followers_get_everything_after_their_head_in_order() {
    every_broker(&kept(100), |broker| {
        let mut publisher = TestWorker::new(broker);
        for name in ["a", "flow/a"] {
            let mut follower = TestWorker::new(broker);
            publisher.publish(name, "before");
            assert_eq!(follower.follow(name).head.offset, 1);
            for n in 2..=50 {
                publisher.send(draft(name, &n.to_string(), None));
            }
            for n in 2..=50 {
                let BrokerEvent::Publication(publication) = follower.next() else {
                    panic!()
                };
                assert_eq!(publication.position.offset, n);
                assert_eq!(publication.data, n.to_string());
            }
            follower.submit(BrokerRequest::Unfollow {
                channel: channel(name),
            });
            follower.barrier();
            publisher.publish(name, "after");
            assert_eq!(follower.rest(), []);
        }
    });
}

#[test]
fn following_twice_is_answered_twice_but_delivers_once() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        assert_eq!(worker.follow("a").head.offset, 0);
        assert_eq!(worker.follow("a").head.offset, 0);
        worker.publish("a", "x");
        let news = worker.rest();
        assert_eq!(news.len(), 1, "{news:?}");
    });
}

#[test]
fn a_follow_during_a_burst_of_publishes_causes_no_hole_and_no_duplicate() {
    every_broker(&kept(1000), |broker| {
        let mut publisher = TestWorker::new(broker);
        let mut follower = TestWorker::new(broker);
        for n in 1..=200 {
            publisher.send(draft("a", &n.to_string(), None));
            if n == 100 {
                let id = follower.id();
                follower.submit(BrokerRequest::Follow {
                    id,
                    channel: channel("a"),
                });
            }
        }
        let BrokerEvent::Followed { stream, .. } = follower.next() else {
            panic!()
        };
        for offset in stream.head.offset + 1..=200 {
            let BrokerEvent::Publication(publication) = follower.next() else {
                panic!()
            };
            assert_eq!(
                publication.position,
                Position {
                    epoch: stream.head.epoch,
                    offset
                }
            );
        }
    });
}

#[test]
fn a_publication_is_readable_before_it_is_delivered() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        worker.follow("a");
        for n in 1..=20 {
            worker.publish("a", "x");
            let BrokerEvent::Publication(told) = worker.next() else {
                panic!()
            };
            let (stream, read) = worker.history("a", ReadFrom::After(told.previous), 1);
            assert_eq!((stream.head.offset, &read[0]), (n, &told));
        }
    });
}

#[test]
fn history_can_be_read_in_pages_from_any_position() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 1..=10 {
            worker.publish("a", &n.to_string());
        }
        let epoch = worker.follow("a").head.epoch;
        let after = |offset| ReadFrom::After(Position { epoch, offset });
        let mut offsets = |from, count| {
            let (stream, page) = worker.history("a", from, count);
            assert_eq!((stream.first, stream.head.offset), (1, 10));
            page.iter().map(|p| p.position.offset).collect::<Vec<_>>()
        };
        assert_eq!(offsets(ReadFrom::Start, 3), [1, 2, 3]);
        assert_eq!(offsets(after(8), 3), [9, 10]);
        assert_eq!(offsets(after(10), 3), []);
        assert_eq!(offsets(after(u64::MAX), 3), []);
        assert_eq!(offsets(ReadFrom::Last(2), 3), [9, 10]);
        assert_eq!(offsets(ReadFrom::Last(0), 3), []);
        assert_eq!(offsets(ReadFrom::Last(u64::MAX), 20).len(), 10);
    });
}

#[test]
fn history_can_be_read_backward_in_pages_from_any_position() {
    every_broker(&kept(8), |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 1..=10 {
            worker.publish("a", &n.to_string());
        }
        // The log trims a few later than it has to.
        let head = worker.follow("a").head;
        let before = |offset| ReadFrom::Before(Position { offset, ..head });
        let (stream, _, all) = worker.read("a", before(11), 20);
        let first = stream.first;
        assert_eq!(all.last().map(|p| p.position), Some(head));
        assert_eq!(all.first().map(|p| p.position.offset), Some(first));
        let mut read = |offset, count| {
            let (_, start, page) = worker.read("a", before(offset), count);
            let offsets: Vec<_> = page.iter().map(|p| p.position.offset).collect();
            (start.agreed.offset, start.after.offset, offsets)
        };
        assert_eq!(read(10, 3), (9, 6, vec![7, 8, 9]));
        assert_eq!(read(7, 2), (6, 4, vec![5, 6]));
        assert_eq!(read(10, 0), (9, 9, vec![]));
        assert_eq!(read(first + 1, 5), (first, first - 1, vec![first]));
        assert_eq!(read(first, 5), (first - 1, first - 1, vec![]));
        assert_eq!(read(0, 5), (0, 0, vec![]));
        let (_, start, page) = worker.read("new", before(5), 5);
        assert_eq!((page, start.agreed.offset), (vec![], 0));
    });
}

#[test]
fn a_backward_page_is_limited_in_bytes_and_ends_before_the_given_position() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let weight = draft("a", "0123456789", None).weight();
        for _ in 0..5 {
            worker.publish("a", "0123456789");
        }
        let head = worker.follow("a").head;
        for (bytes, expected) in [
            (1, vec![4]),
            (weight * 2, vec![3, 4]),
            (weight * 3 - 1, vec![3, 4]),
        ] {
            let id = worker.id();
            let position = Position { offset: 5, ..head };
            worker.submit(BrokerRequest::History {
                id,
                channel: channel("a"),
                from: ReadFrom::Before(position),
                limit: ReadLimit { count: 10, bytes },
            });
            let BrokerEvent::History { publications, .. } = worker.answer(id) else {
                panic!()
            };
            let offsets: Vec<_> = publications.iter().map(|p| p.position.offset).collect();
            assert_eq!(offsets, expected);
        }
    });
}

#[test]
fn reading_before_an_invalid_position_returns_the_newest_and_says_why() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for n in 1..=3 {
            worker.publish("a", &n.to_string());
        }
        let head = worker.follow("a").head;
        let ahead = ReadFrom::Before(Position { offset: 9, ..head });
        let (_, start, page) = worker.read("a", ahead, 2);
        assert_eq!((start.resolution, page.len()), (Resolution::AheadOfHead, 2));
        let other = ReadFrom::Before(Position::new(1, 2));
        let (_, start, page) = worker.read("a", other, 2);
        assert_eq!(
            (start.resolution, page.len()),
            (Resolution::UnknownEpoch, 2)
        );
        assert_eq!(start.agreed, head);
    });
}

#[test]
fn a_page_is_limited_in_bytes_and_has_at_least_one_publication() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let weight = draft("a", "0123456789", None).weight();
        for _ in 0..5 {
            worker.publish("a", "0123456789");
        }
        for (bytes, expected) in [(1, 1), (weight * 2, 2), (weight * 3 - 1, 2)] {
            let id = worker.id();
            let limit = ReadLimit { count: 10, bytes };
            let from = ReadFrom::Start;
            worker.submit(BrokerRequest::History {
                id,
                channel: channel("a"),
                from,
                limit,
            });
            let BrokerEvent::History { publications, .. } = worker.answer(id) else {
                panic!()
            };
            assert_eq!(publications.len(), expected);
        }
    });
}

#[test]
fn a_channel_without_publications_has_an_empty_stream() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let stream = worker.follow("new");
        assert_eq!((stream.head.offset, stream.first), (0, 1));
        assert_eq!(
            worker.history("new", ReadFrom::Last(5), 5),
            (stream, vec![])
        );
        assert_eq!(worker.publish("new", "x").epoch, stream.head.epoch);
    });
}

#[test]
fn a_channel_without_a_rule_is_unknown() {
    let rules = RuleBook::new().with("known", ChannelRules::default());
    every_broker(&rules, |broker| {
        let mut worker = TestWorker::new(broker);
        let failure = BrokerFailure::UnknownChannel;
        let id = worker.send(draft("a", "x", None));
        assert_eq!(worker.answer(id), BrokerEvent::Failed { id, failure });
        let id = worker.id();
        worker.submit(BrokerRequest::Follow {
            id,
            channel: channel("a"),
        });
        assert_eq!(worker.answer(id), BrokerEvent::Failed { id, failure });
    });
}

#[test]
fn a_worker_that_does_not_read_its_updates_is_told_where_some_were_omitted() {
    every_broker(&kept(1000), |broker| {
        let mut publisher = TestWorker::new(broker);
        let mut slow = TestWorker::with_mailbox(broker, 2_000);
        slow.follow("a");
        for _ in 0..100 {
            publisher.publish("a", "x");
        }
        let news = slow.rest();
        assert!(news.len() < 20, "the mailbox is bounded");
        let mut next = 1;
        let mut lagged = false;
        for event in news {
            match event {
                BrokerEvent::Lagged => lagged = true,
                BrokerEvent::Publication(publication) => {
                    let offset = publication.position.offset;
                    assert!(lagged || offset == next, "a hole without a word");
                    next = offset + 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(lagged);
        assert_eq!(slow.follow("a").head.offset, 100);
    });
}

#[test]
fn a_worker_that_ended_gets_nothing_and_blocks_nothing() {
    every_broker(&kept(100), |broker| {
        let mut gone = TestWorker::new(broker);
        gone.follow("a");
        broker.detach(gone.worker_id);
        let mut worker = TestWorker::new(broker);
        worker.publish("a", "x");
        assert!(gone.mailbox.take().is_empty());
    });
}

#[test]
fn an_unused_ephemeral_stream_is_discarded_and_a_followed_one_is_not() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        let used = worker.follow("flow/used").head.epoch;
        let idle = worker.publish("flow/idle", "x").epoch;
        broker.tick(at(600_000));
        assert_eq!(
            worker.publish("flow/idle", "x"),
            Position {
                epoch: idle,
                offset: 2
            }
        );
        broker.tick(at(1_200_001));
        assert_ne!(worker.publish("flow/idle", "x").epoch, idle);
        assert_eq!(worker.publish("flow/used", "x").epoch, used);
    });
}

#[test]
fn requests_submitted_together_are_handled_in_order() {
    every_broker(&kept(100), |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["a", "flow/a"] {
            let ids: Vec<RequestId> = (0..6).map(|_| worker.id()).collect();
            let publish = |id: usize, data: &str| BrokerRequest::Publish {
                id: ids[id],
                draft: draft(name, data, None),
            };
            let ack = |id: usize| BrokerRequest::Ack {
                id: ids[id],
                channel: channel(name),
                scope: "ann".into(),
                consumer: Key::new("billing").unwrap(),
                position: None,
            };
            let follow = BrokerRequest::Follow {
                id: ids[4],
                channel: channel(name),
            };
            let all = [
                publish(0, "one"),
                ack(1),
                publish(2, "two"),
                publish(3, "three"),
                follow,
                publish(5, "four"),
            ];
            worker
                .broker
                .submit_all(worker.worker_id, &mut all.into_iter());
            let offset = |event| match event {
                BrokerEvent::Published { position, .. } => position.offset,
                other => panic!("not published: {other:?}"),
            };
            let offsets = [0, 2, 3, 5].map(|id| offset(worker.answer(ids[id])));
            assert_eq!(offsets, [1, 2, 3, 4], "{name}");
        }
        assert_eq!(worker.texts("a"), ["one", "two", "three", "four"]);
    });
}

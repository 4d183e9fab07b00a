//! Whose turn it is, and what was not acknowledged.

use super::*;

#[test]
fn the_members_of_one_worker_take_turns() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    for n in 1..=6 {
        publish(&mut world, [n]);
    }
    assert_eq!(in_hand(&world, 0), [1, 4]);
    assert_eq!(in_hand(&world, 1), [2, 5]);
    assert_eq!(in_hand(&world, 2), [3, 6]);
}

#[test]
fn members_on_several_workers_get_each_publication_once() {
    let mut world = world(2, 4);
    for client in 0..4 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    publish(&mut world, 1..=20);
    let mut all: Vec<u64> = (0..4).flat_map(|client| in_hand(&world, client)).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=20).collect::<Vec<_>>());
}

#[test]
fn what_a_lost_member_had_not_acknowledged_is_delivered_to_another_and_counted() {
    for workers in [1, 2] {
        let mut world = world(workers, 2);
        join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
        publish(&mut world, 1..=4);
        done(&mut world, 0, 2, false);
        join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
        assert_eq!(in_hand(&world, 1), [0; 0]);
        world.cut(0);
        world.settle();
        assert_eq!(world.clients[1].deliveries(), [(1, 2), (3, 2), (4, 2)]);
        done(&mut world, 1, 4, true);
        publish(&mut world, [5]);
        assert_eq!(in_hand(&world, 1), [5]);
    }
}

#[test]
fn what_a_member_had_not_acknowledged_is_delivered_to_another_when_it_unsubscribes() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=2);
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    let subscription = ID;
    world.command(0, Command::Unsubscribe { subscription });
    world.settle();
    assert_eq!(in_hand(&world, 1), [1, 2]);
}

#[test]
fn a_returned_publication_is_delivered_again() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 2, NO_KEEP));
    publish(&mut world, 1..=3);
    assert_eq!(in_hand(&world, 0), [1, 2]);
    give_back(&mut world, 0, 1);
    // There is nobody else, and it comes before what was never delivered.
    assert_eq!(in_hand(&world, 0), [2, 1]);
    assert_eq!(world.clients[0].deliveries(), [(1, 1), (2, 1), (1, 2)]);
    join(&mut world, 1, member(Since::Now, 2, NO_KEEP));
    assert_eq!(in_hand(&world, 1), [3]);
    // In the order of its own deliveries.
    done(&mut world, 0, 1, true);
    assert_eq!(in_hand(&world, 0), [0; 0]);
    publish(&mut world, [4]);
    let all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    assert!(all.contains(&4), "{all:?}");
}

#[test]
fn a_member_with_a_full_window_is_passed_over() {
    for workers in [1, 2] {
        let mut world = world(workers, 2);
        join(&mut world, 0, member(Since::Now, 1, NO_KEEP));
        join(&mut world, 1, member(Since::Now, 100, NO_KEEP));
        publish(&mut world, 1..=10);
        let first = in_hand(&world, 0);
        assert!(first.len() <= 1);
        assert_eq!(in_hand(&world, 1).len() + first.len(), 10);
    }
}

#[test]
fn a_publication_that_arrives_while_a_claim_is_unanswered_does_not_replace_the_claim() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    publish(&mut world, [1]);
    publish(&mut world, [2]);
    assert_eq!(in_hand(&world, 1), [2]);
    // The worker handles the return and the next publication before its requests are submitted.
    world.cut(1);
    world.publish(2, "kept/a", "3");
    let requests = world.broker.requests[0].len();
    world.broker_works(0, requests);
    world.deliver(0, usize::MAX);
    world.settle();
    assert_eq!(world.clients[0].deliveries(), [(1, 1), (2, 2), (3, 1)]);
}

#[test]
fn a_member_whose_turn_is_over_does_not_continue_when_more_is_published() {
    let mut world = world(1, 3);
    for client in 0..3 {
        join(&mut world, client, member(Since::Now, 10, NO_KEEP));
    }
    for n in 1..=3 {
        publish(&mut world, [n]);
    }
    // The first member waits for publications, and gets the one that was returned meanwhile.
    world.cut(1);
    world.settle();
    assert_eq!(in_hand(&world, 0), [1, 2]);
    for n in 4..=7 {
        world.publish(3, "kept/a", &n.to_string());
        let is_read = |request: &BrokerRequest| matches!(request, BrokerRequest::History { .. });
        assert!(!world.requests().iter().any(is_read), "{n}");
    }
    assert_eq!(in_hand(&world, 0), [1, 2, 5, 7]);
    assert_eq!(in_hand(&world, 2), [3, 4, 6]);
    for client in [0, 2] {
        let read = &world.clients[client].read;
        let is_gap = |wire: &Wire| matches!(wire, Wire::Notice(Notice::Gap { .. }));
        assert!(!read.iter().any(is_gap), "{read:?}");
    }
}

#[test]
fn all_members_full_is_no_loss_and_they_continue_after_an_acknowledgement() {
    let mut world = world(2, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 1, NO_KEEP));
    }
    publish(&mut world, 1..=6);
    let mut processed = Vec::new();
    for _ in 0..3 {
        for client in 0..2 {
            let here = in_hand(&world, client);
            assert_eq!(here.len(), 1);
            processed.push(here[0]);
            done(&mut world, client, here[0], false);
        }
    }
    processed.sort_unstable();
    assert_eq!(processed, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_member_that_does_not_read_is_passed_over() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 100, NO_KEEP));
    }
    for n in 1..=20 {
        world.publish(2, "kept/a", &n.to_string());
        world.settle_broker();
        world.read(1, usize::MAX);
    }
    let read = in_hand(&world, 1).len();
    assert!(read > 12, "{read} of 20 while the other does not read");
    world.settle();
    assert_eq!(in_hand(&world, 0).len() + in_hand(&world, 1).len(), 20);
}

#[test]
fn a_filter_is_shared_like_a_channel() {
    let mut world = world(2, 3);
    let filter = Filter::new("kept/+").unwrap();
    for client in 0..3 {
        let wish = Subscribe::new(filter.clone(), Since::Now)
            .numbered(1)
            .acknowledged(10)
            .shared(share(NO_KEEP));
        join(&mut world, client, wish);
    }
    for n in 0..12 {
        let name = ["kept/a", "flow/c", "kept/b"][n % 3];
        world.publish(3, name, &n.to_string());
        world.settle();
    }
    world.cut(1);
    world.settle();
    let mut all = [in_hand(&world, 0), in_hand(&world, 2)].concat();
    all.sort_unstable();
    assert_eq!(all, [1, 3, 4, 6, 7, 9, 10, 12]);
}

#[test]
fn returning_again_and_again_takes_no_memory() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 5, NO_KEEP));
    publish(&mut world, [1]);
    let mut sizes = Vec::new();
    for n in 1..=300 {
        give_back(&mut world, 0, 1);
        assert_eq!(in_hand(&world, 0), [1]);
        world.clients[0].read.clear();
        if n % 100 == 0 {
            sizes.push(format!("{:?}", world.workers[0]).len());
        }
    }
    assert!(sizes[2] < sizes[0] + 200, "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(500),
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_publication_is_processed_once_whatever_happens_to_the_members(
        ops in prop::collection::vec(op(), 1..160)
    ) {
        let mut world = World::new(WORKERS, MEMBERS + 1);
        world.connect(MEMBERS, 0, false);
        let mut processed = Processed::default();
        for op in ops {
            perform(&mut world, &mut processed, op);
            nobody_has_the_same(&world);
        }
        work_off(&mut world, &mut processed);
        let head = world.broker.stream(&channel("kept/a")).head().offset;
        let mut offsets = processed.offsets;
        let count = offsets.len();
        offsets.sort_unstable();
        offsets.dedup();
        assert_eq!(offsets, (1..=head).collect::<Vec<_>>(), "not all was processed");
        if !processed.may_repeat {
            assert_eq!(count, offsets.len(), "something was processed twice");
        }
    }
}

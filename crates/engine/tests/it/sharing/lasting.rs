//! Groups without members, over restarts, and with lost publications.

use super::*;

#[test]
fn a_group_that_is_kept_misses_nothing_while_it_has_no_member() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, HOUR));
    publish(&mut world, 1..=3);
    done(&mut world, 0, 2, false);
    world.cut(0);
    world.settle();
    publish(&mut world, [4]);
    join(&mut world, 1, member(Since::Now, 10, HOUR));
    assert_eq!(world.clients[1].deliveries(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_group_that_is_not_kept_begins_anew() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=3);
    world.cut(0);
    world.settle();
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, [4]);
    assert_eq!(in_hand(&world, 1), [4]);
}

#[test]
fn a_group_of_durable_sessions_is_kept_as_long_as_they_are() {
    let mut world = world(2, 2);
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.workers[worker].set_durable(connection, Some(HOUR));
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    world.cut(0);
    world.settle();
    publish(&mut world, [1]);
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    assert_eq!(in_hand(&world, 1), [1]);
}

#[test]
fn a_restored_member_takes_part_again() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.settle();
    publish(&mut world, 1..=2);
    assert_eq!(in_hand(&world, 1), [1, 2]);
    world.connect(0, 1, true);
    world.settle();
    for n in 3..=6 {
        publish(&mut world, [n]);
    }
    assert_eq!(in_hand(&world, 0).len(), 2);
    assert_eq!(in_hand(&world, 1).len(), 4);
}

#[test]
fn a_saved_group_survives_the_process() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, HOUR));
    publish(&mut world, 1..=3);
    done(&mut world, 0, 2, false);
    world.broker.save_shares();
    world.restart();
    for client in 0..3 {
        world.connect(client, client % 2, false);
    }
    world.clients[0].read.clear();
    world.settle();
    publish(&mut world, [4]);
    assert_eq!(world.clients[0].deliveries(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn a_returned_publication_that_is_no_longer_retained_is_announced_and_does_not_stop_the_group() {
    let mut world = world(1, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 1, NO_KEEP));
    // More than the worker has in memory.
    publish(&mut world, 1..=8);
    let before = in_hand(&world, 1);
    world.broker.trim(&channel("kept/a"), 0);
    world.cut(0);
    world.settle();
    done(&mut world, 1, before[0], false);
    publish(&mut world, [9]);
    assert_eq!(in_hand(&world, 1), [9]);
    assert_eq!(world.clients[1].gaps(), [GapReason::EvictedBySize]);
    world.connect(0, 0, false);
    world.settle();
    publish(&mut world, [10]);
    assert_eq!(in_hand(&world, 0), [10]);
}

#[test]
fn a_restored_log_is_shared_from_where_it_continues() {
    let mut world = world(2, 2);
    join(&mut world, 0, member(Since::Now, 10, NO_KEEP));
    join(&mut world, 1, member(Since::Now, 10, NO_KEEP));
    publish(&mut world, 1..=4);
    // A copy with 1 and 2 is restored.
    world.broker.restart(&channel("kept/a"), 2);
    publish(&mut world, 3..=6);
    let texts = |client: usize| world.clients[client].texts("kept/a");
    let mut all = [texts(0), texts(1)].concat();
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "3", "3", "4", "4", "5", "6"]);
}

#[test]
fn a_token_has_the_position_of_the_group_whoever_reads_for_it() {
    let mut world = world(1, 2);
    for client in 0..2 {
        join(&mut world, client, member(Since::Now, 10, HOUR));
    }
    publish(&mut world, 1..=4);
    for client in 0..2 {
        let (_, connection) = world.clients[client].connection.unwrap();
        let snapshot = world.workers[0].snapshot(connection, world.now).unwrap();
        let position = snapshot.subscriptions[0].position;
        assert_eq!(position, Position::new(1, 4), "member {client}");
    }
}

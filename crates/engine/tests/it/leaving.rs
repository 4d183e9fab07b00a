//! A connection that ends with many subscriptions delays no other.

use std::{sync::Arc, time::Duration};

use offhook_engine::*;

use crate::world::{World, channel, rules, tight_limits};

const MANY: usize = 10_000;

/// A session with ten thousand subscriptions, on an engine that ends 256 at a time.
fn with_many() -> World {
    let limits = Limits {
        subscriptions: MANY,
        leave_at_once: 256,
        requests: 2 * MANY,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    for n in 0..MANY {
        world.subscribe(0, &format!("kept/{n}"), Since::Now);
    }
    world.settle_broker();
    world
}

fn requests(world: &mut World) -> Vec<BrokerRequest> {
    std::mem::take(&mut world.broker.requests[0]).into()
}

#[test]
fn ten_thousand_subscriptions_all_end_in_several_parts() {
    let mut world = with_many();
    requests(&mut world);
    world.cut(0);
    assert!(requests(&mut world).is_empty(), "nothing has ended yet");
    let (mut turns, mut left, mut unfollowed) = (0, 0, 0);
    loop {
        let more = world.leave_on(0);
        let part = requests(&mut world);
        let count = |what: fn(&BrokerRequest) -> bool| part.iter().filter(|r| what(r)).count();
        let (leaves, unfollows) = (
            count(|r| matches!(r, BrokerRequest::Leave { .. })),
            count(|r| matches!(r, BrokerRequest::Unfollow { .. })),
        );
        assert!(leaves <= 256 && unfollows <= 256, "{leaves} {unfollows}");
        (turns, left, unfollowed) = (turns + 1, left + leaves, unfollowed + unfollows);
        if !more {
            break;
        }
    }
    assert_eq!((left, unfollowed), (MANY, MANY));
    assert_eq!(turns, MANY.div_ceil(256));
    let engine = &world.workers[0];
    assert_eq!(
        (
            engine.subscriptions(),
            engine.channels(),
            engine.connections()
        ),
        (0, 0, 1)
    );
}

#[test]
fn a_leaving_connection_receives_nothing_more_and_does_not_leave_twice() {
    let mut world = with_many();
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.cut(0);
    world.workers[worker].handle_connection_closed(connection);
    // The task that delivers to it is told that the connection is gone.
    for name in ["kept/0", "kept/9999"] {
        world.publish(1, name, "after it went");
    }
    world.settle_broker();
    assert_eq!(world.workers[worker].snapshot(connection, world.now), None);
    assert_eq!(world.workers[worker].mark(connection), None);
    while world.leave_on(worker) {}
    let leave = |request: &BrokerRequest| matches!(request, BrokerRequest::Leave { grace, .. } if !grace.is_zero());
    assert_eq!(
        requests(&mut world).iter().filter(|r| leave(r)).count(),
        MANY
    );
}

#[test]
fn a_session_resumed_while_its_old_connection_leaves_joins_after_the_leave() {
    let mut world = with_many();
    world.cut(0);
    requests(&mut world);
    world.connect(0, 0, false);
    let asked = requests(&mut world);
    let session = world.clients[0].session;
    let leaves = asked
        .iter()
        .filter(|r| matches!(r, BrokerRequest::Leave { session: who, .. } if *who == session));
    assert_eq!(leaves.count(), MANY);
    assert!(!world.workers[0].is_leaving());
}

#[test]
fn remaining_subscriptions_are_ended_without_a_delay() {
    let mut world = with_many();
    world.cut(0);
    let due = world.workers[0].poll_timeout().unwrap();
    assert!(due <= world.now.instant);
    let before = world.workers[0].subscriptions();
    world.workers[0].handle_timeout(world.now);
    assert_eq!(before - world.workers[0].subscriptions(), 256);
}

#[test]
fn few_subscriptions_end_immediately() {
    let limits = Limits {
        leave_at_once: 3,
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    for n in 0..3 {
        world.subscribe(0, &format!("kept/{n}"), Since::Now);
    }
    world.settle();
    world.cut(0);
    assert_eq!(world.workers[0].subscriptions(), 0);
    assert!(!world.workers[0].is_leaving());
}

#[test]
fn a_change_of_rules_while_a_connection_leaves_lets_no_member_join_again() {
    let quiet = RuleBook::everything(ChannelRules {
        presence: false,
        ..ChannelRules::default()
    });
    let limits = Limits {
        leave_at_once: 1,
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, quiet);
    world.connect(0, 0, false);
    for n in 0..3 {
        let to = Subscribe::new(channel(&format!("kept/{n}")), Since::Now);
        world.command(0, Command::Subscribe(to));
    }
    world.settle();
    world.cut(0);
    requests(&mut world);
    world.workers[0].set_rules(Arc::new(rules()), world.now);
    world.pump(0);
    while world.leave_on(0) {}
    world.wait(Duration::from_secs(1));
    let join = |request: &BrokerRequest| matches!(request, BrokerRequest::Join { .. });
    assert!(!requests(&mut world).iter().any(join));
}

#[test]
fn only_a_connection_with_more_subscriptions_than_end_at_once_ends_in_parts() {
    let limits = Limits {
        leave_at_once: 2,
        ..tight_limits()
    };
    let mut world = World::with(1, 1, &limits, rules());
    world.connect(0, 0, false);
    let (_, connection) = world.clients[0].connection.unwrap();
    let mut ends_in_parts = Vec::new();
    for id in 0..4 {
        ends_in_parts.push(world.workers[0].ends_in_parts(connection));
        let wish = Subscribe::new(channel("kept/a"), Since::Now).numbered(id);
        world.command(0, Command::Subscribe(wish));
    }
    assert_eq!(ends_in_parts, [false, false, false, true]);
    world.cut(0);
    while world.leave_on(0) {}
    assert!(!world.workers[0].ends_in_parts(connection));
}

#[test]
fn connections_that_end_at_the_same_time_all_leave_and_no_part_is_empty() {
    let limits = Limits {
        leave_at_once: 2,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    for client in 0..2 {
        world.connect(client, 0, false);
        for id in 0..4 {
            let wish = Subscribe::new(channel("kept/a"), Since::Now).numbered(id);
            world.command(client, Command::Subscribe(wish));
        }
    }
    world.settle_broker();
    world.cut(0);
    world.cut(1);
    let parts: Vec<_> = (0..4)
        .map(|_| (world.leave_on(0), world.workers[0].subscriptions()))
        .collect();
    assert_eq!(parts, [(true, 6), (true, 4), (true, 2), (false, 0)]);
    assert_eq!(world.workers[0].connections(), 0);
}

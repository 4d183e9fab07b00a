//! Who may take part in a group, and what happens if that changes.

use super::*;

#[test]
fn publications_that_nobody_may_read_do_not_stop_a_group() {
    let mut world = world_with_secrets(1, Access::Nobody);
    for client in 0..2 {
        join(&mut world, client, member_of_all(10));
        assert_eq!(refusal(&world, client), None);
    }
    for name in ["kept/a", "kept/secret", "kept/a"] {
        world.publish(2, name, "x");
        world.settle();
    }
    let all = [in_hand(&world, 0), in_hand(&world, 1)].concat();
    assert_eq!(all, [1, 3]);
}

#[test]
fn a_client_that_may_not_read_all_channels_of_a_filter_takes_nothing_from_its_group() {
    for workers in [1, 2] {
        let mut world = world_with_secrets(workers, Access::Granted);
        join(&mut world, 1, member_of_all(10));
        join(&mut world, 0, member_of_all(20));
        for _ in 0..10 {
            world.publish(2, "kept/secret", "x");
            world.settle();
        }
        assert_eq!(in_hand(&world, 0), (1..=10).collect::<Vec<_>>());
        assert_eq!(refusal(&world, 1), Some(ErrorCode::Forbidden));
        assert_eq!(refusal(&world, 0), None);
    }
}

#[test]
fn a_full_member_and_one_that_may_not_read_do_not_pass_a_publication_to_and_fro() {
    for workers in [1, 2] {
        let mut world = world_with_secrets(workers, Access::Granted);
        join(&mut world, 0, member_of_all(1));
        join(&mut world, 1, member_of_all(10));
        world.publish(2, "kept/secret", "1");
        world.publish(2, "kept/secret", "2");
        // Does not end if they wake each other.
        world.settle();
        assert_eq!(in_hand(&world, 0), [1]);
        done(&mut world, 0, 1, false);
        assert_eq!(in_hand(&world, 0), [2]);
    }
}

#[test]
fn a_member_that_may_no_longer_read_everything_leaves_its_group() {
    for by_rules in [true, false] {
        let secrets = match by_rules {
            true => Access::Everyone,
            false => Access::Granted,
        };
        let mut world = world_with_secrets(2, secrets);
        let ann = world.clients[0].identity();
        let session = world.clients[1].session;
        let (whom, now) = (Whom::Session(session), world.now);
        let why = "a test";
        world.workers[1].replace_identity(&whom, &ann, why, now);
        for client in 0..2 {
            join(&mut world, client, member_of_all(20));
        }
        let stranger = Arc::new(Identity::stranger());
        world.workers[1].replace_identity(&whom, &stranger, why, now);
        world.settle();
        assert_eq!(was_ended(&world, 1), !by_rules);
        let book = RuleBook::new().with("kept/*", subscribe_access(Access::Granted));
        let book = Arc::new(book);
        for worker in 0..2 {
            world.workers[worker].set_rules(Arc::clone(&book), now);
        }
        for _ in 0..10 {
            world.publish(2, "kept/secret", "x");
            world.settle();
        }
        assert!(was_ended(&world, 1));
        assert_eq!(in_hand(&world, 0), (1..=10).collect::<Vec<_>>());
    }
}

#[test]
fn a_shared_subscription_needs_a_window_a_number_its_own_publications_and_history() {
    let mut world = world(1, 1);
    let wish = || member(Since::Now, 5, NO_KEEP);
    let wishes = [
        Subscribe {
            flow: Flow::Pushed,
            ..wish()
        },
        Subscribe { id: None, ..wish() },
        wish().without_echo(),
    ];
    for wish in wishes {
        join(&mut world, 0, wish);
        assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    }
    let target = channel("flow/c").into();
    join(&mut world, 0, Subscribe { target, ..wish() });
    assert_eq!(refusal(&world, 0), Some(ErrorCode::NoHistory));
}

#[test]
fn only_what_was_delivered_can_be_acknowledged_or_returned() {
    let mut world = world(1, 1);
    join(&mut world, 0, member(Since::Now, 5, NO_KEEP));
    publish(&mut world, [1]);
    done(&mut world, 0, 1, false);
    done(&mut world, 0, 1, false);
    assert_eq!(refusal(&world, 0), None, "twice is no error");
    done(&mut world, 0, 2, true);
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    give_back(&mut world, 0, 2);
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
    let wish = Subscribe::new(channel("kept/a"), Since::Now)
        .numbered(2)
        .acknowledged(5);
    join(&mut world, 0, wish);
    let subscription = SubscriptionKey::Id(SubscriptionId(2));
    let position = Position::new(1, 1);
    world.command(
        0,
        Command::Return {
            subscription,
            position,
        },
    );
    world.settle();
    assert_eq!(refusal(&world, 0), Some(ErrorCode::BadRequest));
}

#[test]
fn a_broker_that_does_not_serve_a_group_ends_its_subscriptions() {
    let mut world = World::with(1, 2, &tight_limits(), rules());
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.subscribe(1, "kept/a", Since::Now);
    world.settle();
    world.command(0, Command::Subscribe(member(Since::Now, 5, NO_KEEP)));
    world.broker.failure = Some(BrokerFailure::TooManyGroups);
    world.settle();
    let ended = world.clients[0].notices().into_iter().any(|notice| {
        matches!(notice, Notice::Unsubscribed { refusal, .. } if refusal.code == ErrorCode::Busy)
    });
    assert!(ended);
}

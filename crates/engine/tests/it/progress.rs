//! How far subscriptions have come, which tells why something was not delivered.

use offhook_engine::*;

use crate::world::{World, channel, tight_limits};

fn progress(world: &World, client: usize) -> Vec<Progress> {
    let (worker, connection) = world.clients[client].connection.unwrap();
    world.workers[worker].progress_in(connection, &channel("kept/a"))
}

fn offset(of: &Progress) -> Option<u64> {
    of.handed_out.map(|position| position.offset)
}

#[test]
fn the_progress_of_a_live_subscription_is_the_newest_publication() {
    let mut world = World::new(1, 2);
    world.connect(0, 0, false);
    world.connect(1, 0, false);
    world.publish(0, "kept/a", "before");
    world.settle();
    world.subscribe(1, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "after");
    world.settle();
    let all = progress(&world, 1);
    let [one] = all.as_slice() else {
        panic!("{all:?}")
    };
    assert_eq!((one.activity, one.began_after), (Activity::Live, 1));
    assert_eq!((offset(one), one.received), (Some(2), 0));
    assert_eq!(progress(&world, 0), []);
}

#[test]
fn the_pong_that_was_asked_for_proves_what_was_received() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    let (worker, connection) = world.clients[0].connection.unwrap();
    world.workers[worker].ask_receipt(connection);
    world.settle();
    assert_eq!(progress(&world, 0)[0].received, 1);
}

#[test]
fn a_connection_that_the_engine_closes_keeps_its_progress_until_it_is_removed() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    world.publish(0, "kept/a", "1");
    world.settle();
    let (worker, connection) = world.clients[0].connection.unwrap();
    let now = world.now;
    let engine = &mut world.workers[worker];
    let session = engine.session(connection).unwrap();
    let whom = Whom::Session(session);
    assert_eq!(engine.disconnect(&whom, CloseReason::Disconnected, now), 1);
    let last = engine.progress(connection, 64);
    assert_eq!(last.len(), 1);
    assert_eq!(offset(&last[0]), Some(1));
    assert_eq!(engine.progress_in(connection, &channel("kept/a")), last);
    assert_eq!(engine.progress_in(connection, &channel("kept/b")), []);
    engine.handle_connection_lost(connection);
    assert_eq!(engine.progress(connection, 64), []);
}

#[test]
fn the_progress_of_a_filter_says_whether_it_may_deliver_the_channel() {
    let secret = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("kept/secret", secret)
        .with("kept/*", ChannelRules::default());
    let mut world = World::with(1, 1, &tight_limits(), book);
    world.connect(0, 0, false);
    let filter = Filter::new("kept/+").unwrap();
    world.command(0, Command::Subscribe(Subscribe::new(filter, Since::Now)));
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    let (_, connection) = world.clients[0].connection.unwrap();
    let engine = &world.workers[0];
    assert_eq!(engine.subscriptions_on(connection), 2);
    let may_read = |name| {
        let all = engine.progress_in(connection, &channel(name));
        all.iter().map(|one| one.may_read).collect::<Vec<_>>()
    };
    assert_eq!(may_read("kept/a"), [true, true]);
    assert_eq!(may_read("kept/b"), [true]);
    assert_eq!(may_read("kept/secret"), [false]);
}

#[test]
fn the_progress_of_a_subscription_that_waits_for_its_client_has_a_position() {
    let mut world = World::new(1, 1);
    world.connect(0, 0, false);
    let wish = Subscribe::new(channel("kept/a"), Since::Now).acknowledged(1);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    for text in ["1", "2"] {
        world.publish(0, "kept/a", text);
    }
    world.settle();
    let all = progress(&world, 0);
    assert_eq!(all[0].activity, Activity::AwaitsAcknowledgement);
    assert_eq!(offset(&all[0]), Some(1));
}

//! Replaced rules: applied to the subscriptions in parts, without a moment in which a permission that was
//! withdrawn still allows anything.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

const MANY: usize = 1_000;

/// All channels with these rules.
fn all(change: impl Fn(&mut ChannelRules)) -> Arc<RuleBook> {
    let mut rules = ChannelRules::default();
    change(&mut rules);
    Arc::new(RuleBook::everything(rules))
}

fn nobody_reads() -> Arc<RuleBook> {
    all(|rules| rules.subscribe = Access::Nobody)
}

fn silent() -> Arc<RuleBook> {
    all(|rules| rules.presence = false)
}

fn limits(rules_at_once: usize) -> Limits {
    Limits {
        subscriptions: MANY,
        rules_at_once,
        requests: 2 * MANY,
        ..tight_limits()
    }
}

fn connected(clients: usize, rules_at_once: usize, book: &RuleBook) -> World {
    let mut world = World::with(1, clients, &limits(rules_at_once), book.clone());
    for client in 0..clients {
        world.connect(client, 0, false);
    }
    world
}

fn subscribe(world: &mut World, client: usize, name: &str) {
    let wish = Subscribe::new(channel(name), Since::Now);
    world.command(client, Command::Subscribe(wish));
}

fn set_rules(world: &mut World, book: &Arc<RuleBook>) {
    world.workers[0].set_rules(Arc::clone(book), world.now);
    world.pump(0);
}

/// Applies the rules to another part. Returns whether there are more.
fn apply_on(world: &mut World) -> bool {
    let more = world.workers[0].apply_on(world.now);
    assert_eq!(more, world.workers[0].is_applying());
    world.pump(0);
    more
}

/// How many publications wait for a client to read them.
fn waiting(world: &World, client: usize) -> usize {
    let outbox = world.clients[client].outbox.iter();
    let is_publication = |wire: &&Wire| matches!(wire, Wire::Publication(..));
    outbox.filter(is_publication).count()
}

fn unsubscribed(world: &World, client: usize) -> usize {
    let notices = world.clients[client].notices().into_iter();
    let ended = |notice: &&Notice| matches!(notice, Notice::Unsubscribed { .. });
    notices.filter(ended).count()
}

#[test]
fn many_subscriptions_are_ended_in_parts_and_new_commands_are_refused_at_once() {
    let mut world = connected(2, 256, &rules());
    for n in 0..MANY {
        world.subscribe(0, &format!("kept/{n}"), Since::Now);
    }
    world.settle_broker();
    set_rules(&mut world, &nobody_reads());
    let engine = &world.workers[0];
    assert!(engine.is_applying());
    assert!(engine.poll_timeout().unwrap() <= world.now.instant);
    assert!(
        engine.subscriptions() >= MANY - 256,
        "only a part has ended"
    );
    // A channel whose turn has not come, by name and as a read.
    let last = format!("kept/{}", MANY - 1);
    subscribe(&mut world, 1, &last);
    world.command(
        1,
        Command::History {
            channel: channel(&last),
            since: Since::Start,
            limit: 1,
        },
    );
    world.read(1, usize::MAX);
    let refused = world.clients[1].replies().into_iter().filter(
        |reply| matches!(reply, Reply::Refused(refusal) if refusal.code == ErrorCode::Forbidden),
    );
    assert_eq!(refused.count(), 2);
    let mut parts = 1;
    loop {
        let before = world.workers[0].subscriptions();
        let more = apply_on(&mut world);
        assert!(before - world.workers[0].subscriptions() <= 256);
        parts += 1;
        if !more {
            break;
        }
    }
    assert!(parts >= MANY / 256, "{parts}");
    assert_eq!(world.workers[0].subscriptions(), 0);
    world.settle();
    assert_eq!(unsubscribed(&world, 0), MANY);
}

#[test]
fn nothing_is_delivered_by_a_permission_that_was_withdrawn() {
    let mut world = connected(5, 1, &rules());
    for client in 0..4 {
        world.subscribe(client, "kept/a", Since::Now);
        world.settle();
    }
    // One that is behind, and would read on.
    for _ in 0..10 {
        world.publish(4, "kept/a", "before");
        world.broker_works(0, 10);
        world.deliver(0, usize::MAX);
    }
    for client in 0..3 {
        world.read(client, usize::MAX);
    }
    let had = waiting(&world, 3);
    set_rules(&mut world, &nobody_reads());
    assert_eq!(world.workers[0].subscriptions(), 3);
    world.publish(4, "kept/a", "after");
    world.broker_works(0, 10);
    world.deliver(0, usize::MAX);
    for client in 0..3 {
        assert_eq!(waiting(&world, client), 0, "{client}");
    }
    world.read(3, usize::MAX);
    assert!(had > 0 && waiting(&world, 3) == 0, "it does not read on");
    while apply_on(&mut world) {}
    world.settle();
    for client in 0..4 {
        assert_eq!(unsubscribed(&world, client), 1, "{client}");
        let texts = world.clients[client].texts("kept/a");
        assert!(texts.iter().all(|text| *text == "before"));
    }
}

#[test]
fn a_broadcast_that_was_begun_ends_with_the_permission() {
    let mut world = connected(4, 1, &rules());
    for client in 0..3 {
        world.subscribe(client, "kept/a", Since::Now);
        world.settle();
    }
    world.publish(3, "kept/a", "x");
    world.broker_works(0, 10);
    let mut recipients = 0;
    let mut count = |engine: &mut Engine, most: usize| {
        let delivery = engine.poll_delivery_within(most);
        if let Some(Delivery::Broadcast { recipients: of, .. }) = &delivery {
            recipients += of.iter().count();
        }
        (delivery.is_some(), recipients)
    };
    while let Some(event) = world.broker.next_event(0) {
        world.workers[0].handle_broker(event, world.now);
    }
    let engine = &mut world.workers[0];
    while count(engine, 1).1 == 0 {}
    engine.set_rules(nobody_reads(), world.now);
    while count(engine, 1).0 {}
    assert_eq!(recipients, 1);
}

#[test]
fn a_filter_receives_what_it_may_read_now_only_after_it_was_told_that_something_is_missing() {
    let granted = |access| {
        let hidden = ChannelRules {
            subscribe: access,
            ..ChannelRules::default()
        };
        let book = RuleBook::new().with("secret/*", hidden);
        book.with("*", ChannelRules::default())
    };
    let mut world = connected(2, 1, &granted(Access::Nobody));
    for n in 0..3 {
        subscribe(&mut world, 1, &format!("kept/{n}"));
    }
    let everything = Filter::new("#").unwrap();
    let wish = Subscribe::new(everything, Since::Now);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    world.publish(1, "secret/a", "hidden");
    world.settle();
    set_rules(&mut world, &Arc::new(granted(Access::Everyone)));
    assert!(world.workers[0].is_applying());
    world.publish(1, "secret/a", "not yet announced");
    world.publish(1, "kept/a", "seen");
    world.settle_broker();
    assert_eq!(waiting(&world, 0), 1);
    while apply_on(&mut world) {}
    world.settle();
    world.publish(1, "secret/a", "seen");
    world.settle();
    let read = world.clients[0].read.iter().filter_map(|wire| match wire {
        Wire::Publication(_, publication, _) => Some(&*publication.data),
        Wire::Notice(Notice::Gap { reason, .. }) => Some(reason.name().as_bytes()),
        _ => None,
    });
    let read: Vec<_> = read.collect();
    assert_eq!(read, [&b"seen"[..], b"permissions", b"seen"]);
}

#[test]
fn presence_that_begins_and_ends_in_parts_has_all_members_and_then_none() {
    let mut world = connected(6, 1, &silent());
    for client in 0..5 {
        subscribe(&mut world, client, "a");
    }
    world.settle();
    assert!(world.broker.members.is_empty());
    set_rules(&mut world, &all(|_| {}));
    assert!(world.workers[0].is_applying());
    // One that comes in the meantime, and one that goes.
    subscribe(&mut world, 5, "a");
    world.cut(4);
    world.settle_broker();
    while apply_on(&mut world) {}
    world.settle();
    assert_eq!(world.broker.members.len(), 5);
    set_rules(&mut world, &silent());
    // It subscribes again.
    world.connect(4, 0, false);
    world.settle_broker();
    while apply_on(&mut world) {}
    world.settle();
    assert!(world.broker.members.is_empty());
}

#[test]
fn the_outside_is_asked_once_about_each_subscription() {
    let mut world = connected(5, 1, &rules());
    for client in 0..4 {
        world.subscribe(client, "kept/a", Since::Now);
        world.settle();
    }
    for n in 0..20 {
        world.publish(4, "kept/a", &n.to_string());
    }
    world.settle_broker();
    set_rules(&mut world, &all(|rules| rules.subscribe = Access::Asked));
    let ask = |world: &mut World| std::iter::from_fn(|| world.workers[0].poll_ask()).count();
    let mut asked = ask(&mut world);
    assert_eq!(asked, 1);
    // One whose turn has not come reads on. All continue until there is an answer.
    world.read(3, usize::MAX);
    world.settle_broker();
    asked += ask(&mut world);
    while apply_on(&mut world) {
        asked += ask(&mut world);
    }
    asked += ask(&mut world);
    assert_eq!(asked, 4);
    world.settle();
    for client in 0..4 {
        let texts = world.clients[client].texts("kept/a");
        assert_eq!(texts.len(), 20, "{client}");
    }
}

#[test]
fn rules_that_are_replaced_twice_in_a_row_are_applied_as_the_last_ones() {
    let mut world = connected(5, 1, &rules());
    for client in 0..4 {
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    set_rules(&mut world, &nobody_reads());
    set_rules(&mut world, &Arc::new(rules()));
    while apply_on(&mut world) {}
    world.settle();
    for client in 0..4 {
        assert_eq!(unsubscribed(&world, client), 1, "it was not allowed");
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    assert_eq!(world.workers[0].subscriptions(), 4);
}

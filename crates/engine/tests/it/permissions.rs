//! What filters deliver of channels that their subscribers may not always read.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, client::Wire, rules, tight_limits};

/// `secret/*` needs a grant, and the other channels are those of all tests.
fn guarded() -> RuleBook {
    let granted = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::new().with("secret/*", granted);
    rules().patterns().fold(book, |book, (pattern, rules)| {
        book.with(pattern, rules.clone())
    })
}

/// The same, but nobody may read `secret/*`.
fn closed() -> RuleBook {
    let nobody = ChannelRules {
        subscribe: Access::Nobody,
        ..ChannelRules::default()
    };
    let book = RuleBook::new().with("secret/*", nobody);
    rules().patterns().fold(book, |book, (pattern, rules)| {
        book.with(pattern, rules.clone())
    })
}

fn reader() -> Arc<Identity> {
    Arc::new(Identity::user("ann").with("secret/*", Verbs::SUBSCRIBE))
}

fn everything() -> Filter {
    Filter::new("#").unwrap()
}

/// Ann, who may read `secret/*` and has received `1` by a filter, and somebody who publishes.
fn world() -> World {
    let mut world = World::with(1, 2, &tight_limits(), guarded());
    world.clients[0].identity = reader();
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(everything(), Since::Now);
    world.command(0, Command::Subscribe(wish));
    world.settle();
    world.publish(1, "secret/a", "1");
    world.settle();
    world
}

fn become_of(world: &mut World, identity: &Arc<Identity>) {
    let whom = Whom::Session(world.clients[0].session);
    world.workers[0].replace_identity(&whom, identity, "refreshed", world.now);
    world.pump(0);
}

/// What the client received of its filter, in order.
fn received(world: &World) -> Vec<String> {
    let read = world.clients[0].read.iter();
    let told = read.filter_map(|wire| match wire {
        Wire::Publication(_, publication, _) => {
            Some(String::from_utf8(publication.data.to_vec()).unwrap())
        }
        Wire::Notice(Notice::Gap { reason, .. }) => Some(reason.name().to_owned()),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_filter_that_may_read_a_channel_again_is_told_that_something_is_missing() {
    let mut world = world();
    let lesser = Arc::new(Identity::user("ann"));
    become_of(&mut world, &lesser);
    world.publish(1, "secret/a", "hidden");
    world.publish(1, "kept/a", "2");
    world.settle();
    become_of(&mut world, &reader());
    world.publish(1, "secret/a", "3");
    world.settle();
    world.publish(1, "secret/a", "4");
    world.settle();
    assert_eq!(received(&world), ["1", "2", "permissions", "3", "4"]);
}

#[test]
fn a_grant_that_is_renewed_or_lost_causes_no_gap() {
    let mut world = world();
    become_of(&mut world, &reader());
    let more = Identity::clone(&reader()).with("private/*", Verbs::SUBSCRIBE);
    // It could read all that the filter matches before.
    become_of(&mut world, &Arc::new(more));
    become_of(&mut world, &Arc::new(Identity::user("ann")));
    world.publish(1, "kept/a", "2");
    world.settle();
    assert_eq!(received(&world), ["1", "2"]);
}

#[test]
fn a_filter_is_told_that_something_is_missing_when_rules_allow_a_channel_again() {
    let mut world = world();
    world.workers[0].set_rules(Arc::new(closed()), world.now);
    world.pump(0);
    world.publish(1, "secret/a", "hidden");
    world.settle();
    world.workers[0].set_rules(Arc::new(guarded()), world.now);
    world.pump(0);
    world.publish(1, "secret/a", "2");
    world.settle();
    // The same rules again change nothing.
    world.workers[0].set_rules(Arc::new(guarded()), world.now);
    world.pump(0);
    world.publish(1, "secret/a", "3");
    world.settle();
    assert_eq!(received(&world), ["1", "permissions", "2", "3"]);
}

/// Resumes the session with this identity, by its last token.
fn resume(world: &mut World, identity: &Arc<Identity>) {
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.clients[0].identity = Arc::clone(identity);
    world.connect(0, 0, true);
    world.settle();
}

#[test]
fn a_session_that_resumes_with_more_grants_is_told_what_its_filter_did_not_deliver() {
    let mut world = world();
    let lesser = Arc::new(Identity::user("ann"));
    resume(&mut world, &lesser);
    world.publish(1, "secret/a", "hidden");
    world.settle();
    resume(&mut world, &reader());
    world.publish(1, "secret/a", "2");
    world.settle();
    // The client's own position precedes what was hidden, which is delivered now.
    assert_eq!(received(&world), ["1", "permissions", "hidden", "2"]);
    // Once: it has nothing to regain the next time.
    resume(&mut world, &reader());
    world.publish(1, "secret/a", "3");
    world.settle();
    let all = ["1", "permissions", "hidden", "2", "3"];
    assert_eq!(received(&world), all);
}

#[test]
fn a_session_that_was_away_while_rules_allowed_a_channel_again_is_told_what_its_filter_lacks() {
    let mut world = world();
    world.workers[0].set_rules(Arc::new(closed()), world.now);
    world.pump(0);
    world.publish(1, "secret/a", "hidden");
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.workers[0].set_rules(Arc::new(guarded()), world.now);
    world.connect(0, 0, true);
    world.settle();
    world.publish(1, "secret/a", "2");
    world.settle();
    assert_eq!(received(&world), ["1", "permissions", "hidden", "2"]);
}

#[test]
fn an_acknowledged_filter_keeps_its_window_when_it_may_read_more() {
    let mut world = World::with(1, 2, &tight_limits(), guarded());
    world.clients[0].identity = Arc::new(Identity::user("ann"));
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    let wish = Subscribe::new(everything(), Since::Now).numbered(7);
    world.command(0, Command::Subscribe(wish.acknowledged(10)));
    world.settle();
    world.publish(1, "kept/a", "1");
    world.publish(1, "secret/a", "hidden");
    world.settle();
    become_of(&mut world, &reader());
    world.publish(1, "secret/a", "2");
    world.settle();
    assert_eq!(received(&world), ["1", "permissions", "2"]);
    let (worker, connection) = world.clients[0].connection.unwrap();
    let snapshot = world.workers[worker]
        .snapshot(connection, world.now)
        .unwrap();
    let out = snapshot.subscriptions[0].unacknowledged.clone().unwrap();
    assert_eq!(out.publications.len(), 2, "neither was acknowledged");
}

//! Members: there at once, steady over a reconnect, gone once.

use std::time::Duration;

use offhook_engine::*;

use crate::world::{World, channel, client::Wire, rules, tight_limits};

fn asked(world: &World, worker: usize) -> Vec<BrokerRequest> {
    let about_members = |request: &&BrokerRequest| {
        matches!(
            request,
            BrokerRequest::Join { .. } | BrokerRequest::Leave { .. } | BrokerRequest::Renew { .. }
        )
    };
    world.broker.requests[worker]
        .iter()
        .filter(about_members)
        .cloned()
        .collect()
}

fn subscribed() -> World {
    let mut world = World::new(2, 2);
    world.connect(0, 0, false);
    world.subscribe(0, "kept/a", Since::Now);
    world.broker_works(0, 1);
    world.deliver(0, 1);
    world
}

#[test]
fn a_subscriber_joins_under_a_lease() {
    let world = subscribed();
    let requests = asked(&world, 0);
    assert!(
        matches!(requests[0], BrokerRequest::Renew { .. }),
        "the lease comes first"
    );
    assert!(matches!(&requests[1], BrokerRequest::Join { member, .. }
        if member.session == world.clients[0].session));
}

#[test]
fn a_lost_connection_leaves_after_the_grace_time_and_a_closed_one_at_once() {
    for (lost, expected) in [
        (true, tight_limits().presence_grace),
        (false, Duration::ZERO),
    ] {
        let mut world = subscribed();
        let (_, connection) = world.clients[0].connection.unwrap();
        if lost {
            world.workers[0].handle_connection_lost(connection);
        } else {
            world.workers[0].handle_connection_closed(connection);
        }
        world.pump(0);
        let Some(BrokerRequest::Leave { grace, .. }) = asked(&world, 0).pop() else {
            panic!()
        };
        assert_eq!(grace, expected);
    }
}

#[test]
fn a_reconnect_on_another_worker_is_a_later_claim_whatever_order_the_broker_sees() {
    let mut world = subscribed();
    world.settle();
    // The new connection comes before the old worker notices that the old one died.
    let (_, old) = world.clients[0].connection.take().unwrap();
    world.clients[0].lost();
    world.connect(0, 1, false);
    world.settle();
    world.workers[0].handle_connection_lost(old);
    world.pump(0);
    world.settle();
    let member = (channel("kept/a"), world.clients[0].session);
    assert!(
        !world.broker.members[&member].1,
        "the late goodbye does not count"
    );
}

#[test]
fn the_lease_is_renewed_while_someone_is_there_and_no_longer() {
    let mut world = subscribed();
    world.settle();
    world.wait(tight_limits().presence_lease / 3);
    assert!(matches!(
        asked(&world, 0)[..],
        [BrokerRequest::Renew { .. }]
    ));
    world.cut(0);
    world.settle();
    world.wait(tight_limits().presence_lease);
    assert!(asked(&world, 0).is_empty());
    assert_eq!(world.workers[0].poll_timeout(), None);
}

#[test]
fn joins_and_leaves_reach_those_who_asked_and_nobody_else() {
    let mut world = World::new(1, 2);
    for (client, presence) in [(0, true), (1, false)] {
        world.connect(client, 0, false);
        let channel = channel("kept/a");
        world.command(
            client,
            Command::Subscribe(Subscribe {
                presence,
                ..Subscribe::new(channel, Since::Now)
            }),
        );
    }
    world.settle();
    let member = std::sync::Arc::new(Member {
        session: SessionId::from_bytes([9; 16]),
        user: "ann".into(),
        info: "{}".into(),
    });
    let change = PresenceChange {
        channel: channel("kept/a"),
        member,
        joined: true,
    };
    world.workers[0].handle_broker(BrokerEvent::Presence(change.into()), world.now);
    world.pump(0);
    assert!(matches!(&world.clients[0].outbox[0], Wire::Presence(change) if change.joined));
    assert_eq!(world.clients[1].outbox.len(), 0);
}

#[test]
fn a_channel_without_presence_refuses_the_question() {
    let quiet = ChannelRules {
        presence: false,
        ..ChannelRules::default()
    };
    let book = rules().with("quiet", quiet);
    let mut world = World::with(1, 1, &tight_limits(), book);
    world.connect(0, 0, false);
    world.command(
        0,
        Command::Presence {
            channel: channel("quiet"),
        },
    );
    world.subscribe(0, "quiet", Since::Now);
    world.settle();
    let Reply::Refused(refusal) = world.clients[0].replies()[0] else {
        panic!()
    };
    assert_eq!(refusal.code, ErrorCode::NoPresence);
    assert!(world.broker.members.is_empty());
}

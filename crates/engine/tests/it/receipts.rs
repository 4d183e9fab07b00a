//! Who has offset N.

use offhook_engine::*;

use crate::world::{World, channel};

fn who_has(world: &World, offset: u64) -> usize {
    world.workers[0]
        .who_has(&channel("kept/a"), Position::new(1, offset))
        .count()
}

fn two_published() -> (World, LineId) {
    let mut world = World::new(1, 2);
    for client in 0..2 {
        world.connect(client, 0, false);
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    world.publish(0, "kept/a", "1");
    world.publish(0, "kept/a", "2");
    world.settle();
    let (_, line) = world.clients[1].line.unwrap();
    (world, line)
}

#[test]
fn a_pong_with_the_mark_proves_what_was_handed_out_before_the_mark() {
    let (mut world, line) = two_published();
    assert_eq!(who_has(&world, 1), 0, "nothing is proven yet");
    let mark = world.workers[0].mark(line).unwrap();
    world.publish(0, "kept/a", "3");
    world.settle();
    world.workers[0].handle_receipt(line, mark);
    assert_eq!((who_has(&world, 2), who_has(&world, 3)), (1, 0));
    let position = Position::new(1, 2);
    let receipt = world.workers[0]
        .who_has(&channel("kept/a"), position)
        .next()
        .unwrap();
    assert_eq!(receipt.session, world.clients[1].session);
    assert_eq!(receipt.received, position);
}

#[test]
fn an_invented_or_an_old_mark_proves_nothing() {
    let (mut world, line) = two_published();
    let old = world.workers[0].mark(line).unwrap();
    let new = world.workers[0].mark(line).unwrap();
    for mark in [old, new.wrapping_add(1), u32::MAX] {
        world.workers[0].handle_receipt(line, mark);
        assert_eq!(who_has(&world, 1), 0);
    }
}

#[test]
fn receipts_of_another_life_of_the_stream_do_not_count() {
    let (mut world, line) = two_published();
    let mark = world.workers[0].mark(line).unwrap();
    world.workers[0].handle_receipt(line, mark);
    world.broker.new_epoch(&channel("kept/a"));
    world.settle();
    assert_eq!(who_has(&world, 1), 0);
    let anew = Position::new(2, 1);
    assert_eq!(
        world.workers[0].who_has(&channel("kept/a"), anew).count(),
        0
    );
}

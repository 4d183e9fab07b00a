use super::*;

fn connection(index: u32) -> ConnectionId {
    ConnectionId {
        index,
        generation: 1,
    }
}

#[test]
fn the_table_of_a_users_connections_is_freed_and_ends_with_the_last_but_one() {
    let (mut users, ann) = (Users::default(), Arc::<str>::from("ann"));
    for index in 0..1_500 {
        users.add(&ann, connection(index));
    }
    let table = |users: &Users| match &users.0[&ann] {
        Theirs::One(_) => 0,
        Theirs::Several(all) => all.capacity(),
    };
    let peak = table(&users);
    for index in 0..1_000 {
        users.remove(Arc::clone(&ann), connection(index));
    }
    assert!(table(&users) >= 500);
    for index in 1_000..1_490 {
        users.remove(Arc::clone(&ann), connection(index));
    }
    let left = table(&users);
    assert!(left >= 10 && left <= peak / 4, "{left} of {peak}");
    for index in 1_490..1_499 {
        assert_eq!(users.of("ann").len(), 1_500 - index as usize);
        users.remove(Arc::clone(&ann), connection(index));
    }
    assert_eq!(
        (table(&users), users.of("ann")),
        (0, vec![connection(1_499)])
    );
    users.remove(Arc::clone(&ann), connection(1_499));
    assert!(users.0.is_empty());
}

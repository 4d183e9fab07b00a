//! Requests that wait until their channel is loaded.

use super::*;

#[test]
fn requests_wait_until_their_channel_is_loaded_and_are_then_answered_in_order() {
    let alone = alone();
    for id in 1..=3 {
        alone.submit(follow(id, "a"));
    }
    assert!(alone.mailbox.take().is_empty());
    assert_eq!(alone.next(), r#"[ForBus("a")]"#, "it is loaded once");
    assert_eq!(alone.next(), "nothing");
    alone.loaded("a", Ok(view(7)), 0);
    assert_eq!(alone.followed(), [1, 2, 3]);
    assert!(alone.is_followed("a"));
    // From now on, answers are immediate.
    alone.submit(follow(4, "a"));
    let [BrokerEvent::Followed { id, stream }] = &*alone.mailbox.take() else {
        panic!("one answer")
    };
    assert_eq!((id.0, *stream), (4, view(7).stream));
    assert_eq!(alone.next(), "nothing");
    alone.submit(unfollow("a"));
    assert!(!alone.is_followed("a"));
}

#[test]
fn a_limited_number_of_requests_wait_for_a_channel() {
    let alone = alone();
    let most = WAITING as u64;
    for id in 1..=most + 2 {
        alone.submit(follow(id, "a"));
    }
    let busy = |id| (id, BrokerFailure::Busy);
    assert_eq!(alone.failures(), [busy(most + 1), busy(most + 2)]);
    alone.loaded("a", Ok(view(1)), 0);
    assert_eq!(alone.followed(), (1..=most).collect::<Vec<_>>());
}

#[test]
fn a_limited_number_of_channels_wait_to_be_loaded() {
    let alone = alone();
    let mut most = 0;
    while alone.shared.reads.load_later(Load::ForBus(channel("a0"))) {
        most += 1;
    }
    assert_eq!(most, 65_536);
    alone.submit(follow(1, "a"));
    assert_eq!(alone.failures(), [(1, BrokerFailure::Busy)]);
    assert!(alone.shared.hub.bus().durable.is_empty());
}

#[test]
fn a_channel_that_cannot_be_loaded_fails_what_waits_for_it_and_is_tried_again() {
    let alone = alone();
    let failure = BrokerFailure::StorageCorrupt;
    for round in [0, 10] {
        alone.submit(follow(round + 1, "a"));
        alone.submit(unfollow("a"));
        alone.submit(history(round + 2, "a", ReadFrom::Start));
        assert_eq!(alone.next(), r#"[ForBus("a")]"#);
        alone.loaded("a", Err(failure), 0);
        assert_eq!(
            alone.failures(),
            [(round + 1, failure), (round + 2, failure)]
        );
        assert!(alone.shared.hub.bus().durable.is_empty());
    }
    alone.loaded("a", Err(failure), 0);
    assert_eq!(alone.failures(), []);
}

#[test]
fn what_the_writer_knows_by_now_is_newer_than_what_was_loaded() {
    let alone = alone();
    alone
        .shared
        .open(&mut alone.shared.hub.bus(), &channel("a"), view(9));
    for loaded in [Ok(view(7)), Err(BrokerFailure::StorageCorrupt)] {
        alone.loaded("a", loaded, 0);
        let now = alone.shared.retained_now(&channel("a"));
        assert_eq!(now, Some(view(9).stream));
    }
    assert_eq!(alone.failures(), []);
}

#[test]
fn a_channel_loaded_before_the_store_was_opened_again_is_loaded_again() {
    let alone = alone();
    alone.submit(follow(1, "a"));
    assert_eq!(alone.next(), r#"[ForBus("a")]"#);
    alone.shared.reopened.store(1, Ordering::SeqCst);
    alone.loaded("a", Ok(view(7)), 0);
    assert!(alone.mailbox.take().is_empty());
    assert_eq!(alone.next(), r#"[ForBus("a")]"#);
    alone.loaded("a", Ok(view(8)), 1);
    assert_eq!(alone.followed(), [1]);
    assert_eq!(alone.next(), "nothing");
    // If that is not possible, what was loaded has to do.
    alone.submit(follow(2, "ab"));
    while alone.shared.reads.load_later(Load::ForBus(channel("a0"))) {}
    alone.loaded("ab", Ok(view(7)), 0);
    assert_eq!(alone.followed(), [2]);
}

#[test]
fn a_worker_that_stops_following_while_the_channel_is_loaded_does_not_follow_it() {
    let alone = alone();
    let mailbox = Arc::new(Mailbox::new(1 << 20, || {}));
    let other = alone.shared.hub.attach(Arc::clone(&mailbox));
    alone.submit(follow(1, "a"));
    alone
        .shared
        .submit_all(other, &mut std::iter::once(follow(1, "a")));
    alone.submit(unfollow("a"));
    alone.submit(unfollow("b"));
    alone.loaded("a", Ok(view(1)), 0);
    assert_eq!(alone.followed(), [1]);
    assert_eq!(alone.shared.hub.bus().followers(&channel("a")), [other]);
}

#[test]
fn of_each_worker_one_request_to_unfollow_waits_beyond_the_limit() {
    let alone = alone();
    let other = alone.shared.hub.attach(Arc::new(Mailbox::new(1, || {})));
    let waiting = || match &alone.shared.hub.bus().durable[&channel("a")] {
        Durable::Loading(waiting) => waiting.len(),
        Durable::Open(_) => panic!("it is open"),
    };
    alone
        .shared
        .submit_all(other, &mut std::iter::once(follow(1, "a")));
    // Below the limit, each one waits.
    alone.submit(unfollow("a"));
    alone.submit(unfollow("a"));
    assert_eq!(waiting(), 3);
    for id in 4..=WAITING as u64 {
        alone.submit(follow(id, "a"));
    }
    assert_eq!(waiting(), WAITING);
    for _ in 0..3 {
        alone.submit(unfollow("a"));
    }
    assert_eq!(waiting(), WAITING + 1);
    for _ in 0..2 {
        alone
            .shared
            .submit_all(other, &mut std::iter::once(unfollow("a")));
    }
    assert_eq!(waiting(), WAITING + 2);
    alone.submit(unfollow("a"));
    assert_eq!(waiting(), WAITING + 2, "its last one ends so already");
    alone.loaded("a", Ok(view(1)), 0);
    assert!(!alone.is_followed("a"));
}

#[test]
fn without_room_a_channel_that_is_not_loaded_is_refused() {
    let alone = with_memory(0);
    alone.submit(follow(1, "a"));
    assert_eq!(alone.failures(), [(1, BrokerFailure::TooManyChannels)]);
    assert_eq!(alone.next(), "nothing");
    assert!(alone.shared.hub.bus().durable.is_empty());
}

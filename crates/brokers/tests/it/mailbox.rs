//! The mailbox without a broker.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use offhook_brokers::Mailbox;
use offhook_engine::*;

use crate::test_worker::draft;

fn news(offset: u64) -> BrokerEvent {
    BrokerEvent::Publication(Arc::new(
        draft("a", "x", None).at(Place::after(Position::new(1, offset - 1), offset)),
    ))
}

fn answer(id: u64) -> BrokerEvent {
    BrokerEvent::Failed {
        id: RequestId(id),
        failure: BrokerFailure::Busy,
    }
}

#[test]
fn a_mailbox_wakes_once_for_many_events_and_again_after_they_were_taken() {
    let wakes = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&wakes);
    let mailbox = Mailbox::new(10_000, move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    for offset in 1..=3 {
        mailbox.put(news(offset));
    }
    assert_eq!(wakes.load(Ordering::Relaxed), 1);
    assert_eq!(mailbox.take(), [news(1), news(2), news(3)]);
    mailbox.put(news(4));
    assert_eq!(wakes.load(Ordering::Relaxed), 2);
}

#[test]
fn updates_that_do_not_fit_are_replaced_by_a_lag_and_answers_always_fit() {
    let mailbox = Mailbox::new(1, || {});
    mailbox.put(news(1));
    mailbox.put(news(2));
    mailbox.put(news(3));
    mailbox.put(answer(1));
    mailbox.put(news(4));
    let lagged = BrokerEvent::Lagged;
    assert_eq!(mailbox.take(), [news(1), lagged.clone(), answer(1), lagged]);
    mailbox.put(news(5));
    assert_eq!(mailbox.take(), [news(5)]);
}

/// How many of these events fit, before a lag takes the place of the others.
fn fitting(bytes: usize, event: &BrokerEvent) -> usize {
    let mailbox = Mailbox::new(bytes, || {});
    for _ in 0..20 {
        mailbox.put(event.clone());
    }
    let mut events = mailbox.take();
    assert_eq!(events.pop(), Some(BrokerEvent::Lagged));
    assert!(events.iter().all(|one| one == event));
    events.len()
}

#[test]
fn joins_leaves_and_returns_are_limited_although_they_carry_little() {
    let presence = |info: &str| {
        BrokerEvent::Presence(Arc::new(PresenceChange {
            channel: ChannelName::new("a").unwrap(),
            member: Arc::new(Member {
                session: SessionId::from_bytes([1; 16]),
                user: "ann".into(),
                info: info.to_owned().into(),
            }),
            joined: true,
            user_sessions: 1,
        }))
    };
    assert_eq!(fitting(1_000, &presence("")), 8);
    assert_eq!(fitting(1_000, &presence(&"1".repeat(372))), 2);
    let name = ShareName {
        target: ChannelName::new("a").unwrap().into(),
        group: Key::new("workers").unwrap(),
    };
    let after = Position::new(1, 1);
    assert_eq!(fitting(1_000, &BrokerEvent::Returned { name, after }), 8);
    let BrokerEvent::Publication(one) = news(1) else {
        panic!()
    };
    assert_eq!(fitting(one.weight() * 3, &news(1)), 3);
    assert_eq!(fitting(one.weight() * 3 + 1, &news(1)), 4);
}

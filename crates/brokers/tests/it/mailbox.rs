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

use super::*;

fn start() -> Instant {
    Instant::now()
}

fn receipts(received: u64, subscribers: u64) -> Option<Receipts> {
    Some(Receipts {
        received,
        subscribers,
        sessions: Vec::new(),
    })
}

/// Two workers are asked for a third.
fn asked(now: Instant) -> (Questions, AskId) {
    let mut questions = Questions::default();
    let of = [WorkerId(1), WorkerId(2)];
    let ask = questions.ask(WorkerId(3), RequestId(7), &of, now);
    (questions, ask.unwrap())
}

fn combined(received: u64, subscribers: u64) -> Answer {
    let id = RequestId(7);
    let receipts = receipts(received, subscribers).unwrap();
    (WorkerId(3), BrokerEvent::Receipts { id, receipts })
}

#[test]
fn the_answers_of_all_workers_are_added_and_each_counts_once() {
    let (mut questions, ask) = asked(start());
    assert_eq!(questions.found(WorkerId(1), ask, receipts(2, 3)), None);
    assert_eq!(questions.found(WorkerId(1), ask, receipts(2, 3)), None);
    assert_eq!(questions.found(WorkerId(9), ask, receipts(2, 3)), None);
    let answer = questions.found(WorkerId(2), ask, receipts(5, 7));
    assert_eq!(answer, Some(combined(7, 10)));
    assert_eq!(questions.found(WorkerId(2), ask, receipts(5, 7)), None);
    assert!(questions.open.is_empty());
    assert_eq!(questions.ask(WorkerId(3), RequestId(8), &[], start()), None);
}

#[test]
fn each_question_is_answered_by_itself() {
    let (mut questions, first) = asked(start());
    let second = questions.ask(WorkerId(3), RequestId(8), &[WorkerId(1)], start());
    let answer = questions.found(WorkerId(1), second.unwrap(), None);
    let (id, failure) = (RequestId(8), BrokerFailure::Busy);
    assert_eq!(
        answer,
        Some((WorkerId(3), BrokerEvent::Failed { id, failure }))
    );
    questions.found(WorkerId(1), first, receipts(1, 1));
    let answer = questions.found(WorkerId(2), first, receipts(0, 1));
    assert_eq!(answer, Some(combined(1, 2)));
}

#[test]
fn a_worker_that_ended_or_is_slow_is_not_waited_for() {
    let (mut questions, ask) = asked(start());
    assert_eq!(questions.detached(WorkerId(1)), []);
    assert_eq!(
        questions.found(WorkerId(2), ask, receipts(1, 2)),
        Some(combined(1, 2))
    );
    let (mut questions, ask) = asked(start());
    questions.found(WorkerId(1), ask, receipts(4, 5));
    assert_eq!(questions.detached(WorkerId(2)), [combined(4, 5)]);
    let now = start();
    let (mut questions, ask) = asked(now);
    questions.found(WorkerId(1), ask, receipts(4, 5));
    assert_eq!(
        questions.tick(now + PATIENCE - Duration::from_millis(1)),
        []
    );
    assert_eq!(questions.tick(now + PATIENCE), [combined(4, 5)]);
    assert_eq!(questions.tick(now + PATIENCE), []);
}

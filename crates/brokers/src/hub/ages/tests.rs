use super::*;

const MONTH: u64 = 30 * 24 * 3600 * 1000;
const START: u64 = 1_700_000_000_000;

#[test]
fn without_a_step_the_time_is_that_of_the_wall_clock() {
    let mut ages = Ages::at(START);
    // Ticks are late, and clocks are slewed.
    ages.pass(START + 1_000, 1_000, 5);
    ages.pass(START + 61_500, 60_000, 6);
    assert_eq!(ages.now_ms(), START + 61_500);
    assert_eq!(ages.of(START + 7, 3), START + 7);
    assert_eq!(ages.steps, []);
}

#[test]
fn what_was_published_before_a_step_ages_as_if_there_had_been_none() {
    for by in [MONTH, MONTH.wrapping_neg()] {
        let stepped = |ms: u64| (START + ms).wrapping_add(by);
        let mut ages = Ages::at(START);
        ages.pass(START + 1_000, 1_000, 10);
        ages.pass(stepped(2_000), 1_000, 20);
        ages.pass(stepped(3_000), 1_000, 30);
        assert_eq!(ages.now_ms(), START + 3_000);
        assert_eq!(ages.of(START + 500, 5), START + 500);
        assert_eq!(ages.of(stepped(2_500), 25), START + 2_500);
        // It got its time after the step, and its number before that was noticed; and the other way round.
        assert!(ages.of(stepped(1_900), 20) <= START + 2_000);
        assert!(ages.of(START + 1_900, 21) >= START + 2_000);
        // Back again.
        ages.pass(START + 4_000, 1_000, 40);
        assert_eq!(ages.now_ms(), START + 4_000);
        assert_eq!(ages.of(START + 4_100, 41), START + 4_100);
        assert_eq!(ages.of(stepped(2_500), 25), START + 2_500);
    }
}

#[test]
fn another_process_goes_on_with_the_same_ages() {
    let mut ages = Ages::at(START);
    ages.pass(START + MONTH, 1_000, 20);
    let saved = Ages::decode(&ages.encode()).unwrap();
    assert_eq!(saved, ages);
    // An hour later, by a clock that is believed.
    let mut later = saved.clone();
    later.begin(START + MONTH + 3_600_000, 20);
    assert_eq!(later.now_ms(), START + 1_000 + 3_600_000);
    assert_eq!((later.of(START, 1), later.steps.len()), (START, 1));
    // The clock is corrected in between: that takes at least no time.
    let mut corrected = saved;
    corrected.begin(START + 5_000, 20);
    assert_eq!(corrected.now_ms(), START + 1_000);
    assert_eq!(corrected.of(START + 5_100, 21), START + 1_100);
    assert!(Ages::decode(b"short").is_none());
}

#[test]
fn steps_are_remembered_up_to_a_limit() {
    let mut ages = Ages::at(START);
    for n in 1..=STEPS as u64 + 10 {
        ages.pass(START + n * MONTH, 1_000, n * 10);
    }
    assert_eq!(ages.steps.len(), STEPS);
    assert_eq!(ages.now_ms(), START + (STEPS as u64 + 10) * 1_000);
    let saved = Ages::at(START);
    assert!(ages.has_stepped_since(&saved) && ages.is_worth_saving(&saved));
    assert!(!Ages::at(START + 60_000).is_worth_saving(&saved));
    assert!(Ages::at(START + 60_001).is_worth_saving(&saved));
}

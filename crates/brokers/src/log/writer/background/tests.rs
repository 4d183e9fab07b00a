use super::*;

#[test]
fn after_each_failure_the_store_works_without_its_own_threads_for_longer() {
    let mut background = Background::default();
    background.wrote(5);
    assert!(!background.is_suspended(10), "nothing has failed");
    assert_eq!((background.until, background.written), (None, 5));
    let mut pause = PAUSE;
    for tick in [10, 1_000, 5_000] {
        background.failed();
        background.wrote(7);
        assert!(background.is_suspended(tick));
        assert_eq!(
            (background.until, background.written),
            (Some(tick + pause), 0)
        );
        pause *= 2;
        // Opened again for another reason.
        assert!(background.is_suspended(tick + 1));
        assert_eq!(background.until, Some(tick + pause / 2));
    }
    for _ in 0..10 {
        background.failed();
        background.is_suspended(0);
    }
    assert_eq!(background.until, Some(LONGEST_PAUSE));
    background.wrote(3);
    background.wrote(4);
    assert_eq!(background.written, 7);
}

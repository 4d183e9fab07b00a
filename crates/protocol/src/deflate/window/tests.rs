use super::*;
use proptest::prelude::*;

#[test]
fn a_new_window_owns_no_memory() {
    assert_eq!(Window::new(1 << 15).owned(), 0);
}

#[test]
fn memory_never_exceeds_the_limit_and_can_be_freed() {
    let mut window = Window::new(1000);
    for _ in 0..100 {
        window.push(&[7; 37]);
        assert!(window.owned() <= 1000);
    }
    window.clear();
    assert_eq!(window.owned(), 0);
}

#[test]
fn a_little_data_uses_a_little_memory() {
    let mut window = Window::new(1 << 15);
    window.push(&[7; 100]);
    assert!(window.owned() <= 128);
}

proptest! {
    #[test]
    fn a_window_holds_exactly_the_last_bytes(
        limit in 1usize..40,
        pieces in prop::collection::vec(prop::collection::vec(0u8..=255, 0..60), 0..20),
    ) {
        let mut window = Window::new(limit);
        let mut everything = Vec::new();
        for piece in pieces {
            window.push(&piece);
            everything.extend(piece);
            let kept = everything.len().min(limit);
            prop_assert_eq!(window.runs().concat(), &everything[everything.len() - kept..]);
        }
    }
}

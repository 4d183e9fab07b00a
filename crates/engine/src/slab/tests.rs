use super::{PAGE, Slab};

#[test]
fn a_slot_is_reused_and_an_old_key_does_not_find_the_new_value() {
    let mut slab = Slab::new();
    let _stays = slab.insert("stays");
    let old = slab.insert("old");
    assert_eq!(slab.remove(old), Some("old"));
    let new = slab.insert("new");
    assert_eq!(old.index, new.index);
    assert_eq!((slab.get(old), slab.get(new)), (None, Some(&"new")));
    assert_eq!(slab.remove(old), None);
    assert_eq!(slab.len(), 2);
}

#[test]
fn empty_pages_are_freed_and_their_slots_reused() {
    let mut slab = Slab::new();
    let slots: Vec<_> = (0..4 * PAGE).map(|n| slab.insert(n)).collect();
    for slot in &slots[PAGE..3 * PAGE] {
        slab.remove(*slot);
    }
    assert_eq!(slab.pages.iter().flatten().count(), 2);
    let again: Vec<_> = (0..2 * PAGE).map(|n| slab.insert(n)).collect();
    assert_eq!(slab.pages.len(), 4);
    assert!(again.iter().all(|slot| !slots.contains(slot)));
    assert_eq!(slab.iter().count(), 4 * PAGE);
    for (slot, _) in slab.iter().map(|(slot, n)| (slot, *n)).collect::<Vec<_>>() {
        assert!(slab.remove(slot).is_some());
    }
    assert_eq!((slab.len(), slab.pages.capacity()), (0, 0));
}

#[test]
fn the_free_place_of_a_full_page_is_used_before_a_new_page() {
    let mut slab = Slab::new();
    let slots: Vec<_> = (0..PAGE).map(|n| slab.insert(n)).collect();
    slab.remove(slots[7]);
    assert_eq!(slab.insert(1).index, slots[7].index);
    assert_eq!(slab.pages.len(), 1);
    // It is full again.
    slab.insert(2);
    assert_eq!(slab.pages.len(), 2);
}

use super::*;
use crate::{
    channel_name::ChannelName,
    publication::{Draft, Format, Place, Tags},
};

const ANY: usize = usize::MAX;

/// A publication with a value of the tag `key`, and data of a hundred bytes.
fn publication(offset: u64, key: &str) -> Arc<Publication> {
    let draft = Draft {
        channel: ChannelName::new("a").unwrap(),
        data: vec![b'x'; 100].into(),
        format: Format::Text,
        tags: Tags::new([(CONFLATION_TAG, key)]).unwrap(),
        publisher: None,
        key: None,
        time_ms: 1,
    };
    Arc::new(draft.at(Place::after(Position::new(1, offset - 1), offset)))
}

fn push(recent: &mut Recent, offset: u64, key: &str, bounds: (usize, usize)) {
    let new = publication(offset, key);
    recent.push(&new, new.position, new.previous, bounds);
}

/// The offsets of all that is kept.
fn kept(recent: &Recent) -> Vec<u64> {
    let each = recent.entries.iter();
    each.map(|entry| entry.place.offset).collect()
}

#[test]
fn both_bounds_are_kept_to_the_last_publication_and_byte() {
    let weight = publication(1, "k").weight();
    for bounds in [(3, ANY), (ANY, 3 * weight), (3, 3 * weight)] {
        let mut recent = Recent::default();
        for offset in 1..=3 {
            push(&mut recent, offset, "k", bounds);
        }
        assert_eq!(kept(&recent), [1, 2, 3], "{bounds:?}");
        assert!(!recent.has_dropped_after(0));
        for offset in 4..=9 {
            push(&mut recent, offset, "k", bounds);
            assert_eq!(
                kept(&recent),
                [offset - 2, offset - 1, offset],
                "{bounds:?}"
            );
        }
        assert!(recent.has_dropped_after(5) && !recent.has_dropped_after(6));
    }
    let mut recent = Recent::default();
    for offset in 1..=4 {
        push(&mut recent, offset, "k", (ANY, 3 * weight - 1));
    }
    assert_eq!(kept(&recent), [3, 4]);
}

#[test]
fn a_value_that_replaces_an_older_one_takes_its_bytes() {
    let weight = publication(1, "k").weight();
    let bounds = (ANY, 3 * weight);
    let mut recent = Recent::default();
    push(&mut recent, 1, "a", bounds);
    for offset in 2..=20 {
        let key = if offset % 2 == 0 { "b" } else { "c" };
        recent.conflate(&publication(offset, key));
        push(&mut recent, offset, key, bounds);
    }
    assert_eq!(kept(&recent), [1, 19, 20]);
    assert!(!recent.has_dropped_after(0));
    for (offset, key) in [(21, "d"), (22, "e"), (23, "f")] {
        push(&mut recent, offset, key, bounds);
    }
    assert_eq!(kept(&recent), [21, 22, 23]);
}

#[test]
fn between_two_publications_the_later_one_follows_only_in_the_order_of_a_filter() {
    let mut recent = Recent::default();
    let new = publication(5, "k");
    recent.push(&new, Position::new(1, 5), Position::new(1, 2), (ANY, ANY));
    let next = |epoch, offset, loosely| {
        let next = recent.next(Position::new(epoch, offset), loosely);
        next.is_some()
    };
    assert!(next(1, 2, false) && next(1, 2, true));
    assert!(!next(1, 3, false) && next(1, 3, true));
    assert!(!next(1, 1, false) && !next(1, 1, true));
    assert!(!next(2, 3, false) && !next(2, 3, true));
    assert!(!next(1, 5, false) && !next(1, 5, true));
}

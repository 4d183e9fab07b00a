use super::*;

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

/// A merge of so many channels, whose reader is at this place.
fn merge(place: u64, sources: usize) -> Box<Merge> {
    let source = |n: usize| Source {
        channel: ChannelName::new("a").unwrap(),
        number: n as u32,
        lineage: Lineage::empty(),
        next: 1,
        head: 1,
        offered: false,
    };
    Box::new(Merge {
        filter: filter("#"),
        asked: Position::new(1, place),
        resolution: Resolution::Continuous,
        after: place,
        head: Position::new(1, 99),
        reopened: 0,
        names: VecDeque::new(),
        sources: (0..sources).map(source).collect(),
        index: HashMap::new(),
        next: BinaryHeap::new(),
        gaps: Vec::new(),
        before_search: None,
    })
}

/// The places of the readers whose merges are kept.
fn kept(merges: &Merges) -> Vec<u64> {
    merges.kept.iter().map(|merge| merge.after).collect()
}

#[test]
fn a_merge_is_kept_for_the_reader_of_its_filter_at_its_place() {
    let mut merges = Merges::new();
    merges.keep(merge(1, 1));
    merges.keep(merge(2, 1));
    assert!(merges.take(&filter("+"), Position::new(1, 2)).is_none());
    assert!(merges.take(&filter("#"), Position::new(1, 3)).is_none());
    assert!(merges.take(&filter("#"), Position::new(2, 2)).is_none());
    let taken = merges.take(&filter("#"), Position::new(1, 2)).unwrap();
    assert_eq!(taken.after, 2);
    assert_eq!(kept(&merges), [1]);
}

#[test]
fn kept_merges_are_limited_in_number_and_in_channels() {
    let mut merges = Merges::new();
    for place in 0..KEPT as u64 {
        merges.keep(merge(place, 1));
    }
    assert_eq!(merges.kept.len(), KEPT);
    merges.keep(merge(100, 1));
    assert_eq!((merges.kept.len(), kept(&merges)[0]), (KEPT, 1));
    merges.keep(merge(200, KEPT_SOURCES + 1));
    assert_eq!(merges.kept.len(), KEPT, "too many for any");
    merges.keep(merge(300, KEPT_SOURCES - 1));
    assert_eq!(kept(&merges), [100, 300]);
    merges.keep(merge(400, KEPT_SOURCES));
    assert_eq!(kept(&merges), [400]);
}

#[test]
fn names_that_match_have_a_prefix_in_common() {
    for (text, prefix) in [
        ("a/b", "a/b"),
        ("a/+", "a/"),
        ("a/+/b", "a/"),
        ("a/#", "a"),
        ("a/b/#", "a/b"),
        ("a/+/#", "a/"),
        ("+/#", ""),
        ("#", ""),
    ] {
        assert_eq!(literal_prefix(&filter(text)), prefix, "{text}");
    }
}

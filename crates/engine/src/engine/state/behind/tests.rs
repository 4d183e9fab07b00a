use super::*;

fn gap(channel: &str, epoch: u64, from: u64, to: u64) -> ChannelGap {
    ChannelGap {
        channel: ChannelName::new(channel).unwrap(),
        from: Position::new(epoch, from),
        to: Position::new(epoch, to),
        reason: GapReason::EvictedBySize,
    }
}

#[test]
fn of_a_gap_in_a_filters_channel_only_what_was_not_told_is_told() {
    let mut behind = Behind::at(Position::new(1, 0), Why::Paced);
    let mut told = |gap: &ChannelGap| behind.untold(gap).map(|from| (from.epoch.0, from.offset));
    assert_eq!(told(&gap("a", 1, 5, 10)), Some((1, 5)));
    assert_eq!(told(&gap("b", 1, 5, 10)), Some((1, 5)));
    assert_eq!(told(&gap("a", 1, 5, 10)), None);
    assert_eq!(told(&gap("a", 1, 6, 9)), None);
    // It has grown.
    assert_eq!(told(&gap("a", 1, 5, 12)), Some((1, 10)));
    assert_eq!(told(&gap("a", 1, 5, 12)), None);
    // Directly after it.
    assert_eq!(told(&gap("a", 1, 12, 13)), Some((1, 12)));
    // Not connected with it.
    assert_eq!(told(&gap("a", 1, 20, 22)), Some((1, 20)));
    assert_eq!(told(&gap("a", 1, 3, 22)), Some((1, 3)));
    assert_eq!(told(&gap("a", 2, 5, 10)), Some((2, 5)));
    assert_eq!(told(&gap("b", 1, 5, 10)), None);
}

#[test]
fn the_gaps_of_a_limited_number_of_channels_are_remembered() {
    let mut behind = Behind::at(Position::new(1, 0), Why::Paced);
    let mut told = |n: usize| behind.untold(&gap(&n.to_string(), 1, 5, 10)).is_some();
    for n in 0..TOLD {
        assert!(told(n));
    }
    assert!(!told(0));
    assert!(told(TOLD), "one more");
    assert!(told(0), "the oldest was forgotten");
    assert!(!told(TOLD));
}

#[test]
fn a_page_is_for_a_subscription_that_waits_for_it_there() {
    let mut behind = Behind::at(Position::new(1, 5), Why::Confirmed);
    assert!(!behind.reads_after(Position::new(1, 5)));
    behind.waits = Waits::Read;
    assert!(behind.reads_after(Position::new(1, 5)));
    assert!(!behind.reads_after(Position::new(1, 4)));
    assert!(!behind.reads_after(Position::new(2, 5)));
}

use std::time::Duration;

use super::*;

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn key(key: &str) -> Key {
    Key::new(key).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one instant these tests count from"
)]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn a_refused_publish_is_awaited_for_a_while_and_only_in_its_channel() {
    let (mut ordered, start) = (Ordered::default(), start());
    let after = |seconds| start + Duration::from_secs(seconds);
    let (a, b) = (channel("a"), channel("b"));
    ordered.refused(&a, &key("1"), after(5));
    assert!(!ordered.is_empty());
    assert!(!ordered.is_next(&a, Some(&key("2")), after(4)));
    assert!(!ordered.is_next(&a, None, after(4)));
    assert!(ordered.is_next(&a, Some(&key("1")), after(4)));
    assert!(ordered.is_next(&b, Some(&key("2")), after(4)));
    // It is refused again, which gives it more time; a later one gives it none.
    ordered.refused(&a, &key("1"), after(9));
    ordered.refused(&a, &key("2"), after(99));
    assert!(!ordered.is_next(&a, Some(&key("2")), after(8)));
    assert!(ordered.is_next(&a, Some(&key("2")), after(9)));
    assert!(ordered.is_empty());
}

#[test]
fn only_the_refused_publish_itself_lets_later_ones_go_on() {
    let (mut ordered, start) = (Ordered::default(), start());
    let until = start + Duration::from_secs(5);
    let (a, b) = (channel("a"), channel("b"));
    ordered.refused(&a, &key("1"), until);
    for (channel, key) in [(&a, Some(key("2"))), (&a, None), (&b, Some(key("1")))] {
        ordered.taken(channel, key.as_ref());
        assert!(!ordered.is_next(&a, Some(&key_two()), start));
    }
    ordered.taken(&a, Some(&key("1")));
    assert!(ordered.is_next(&a, Some(&key_two()), start));
    assert!(ordered.is_empty());
}

fn key_two() -> Key {
    key("2")
}

#[test]
fn refused_publishes_are_awaited_in_a_limited_number_of_channels() {
    let (mut ordered, start) = (Ordered::default(), start());
    let until = start + Duration::from_secs(5);
    for n in 0..=CHANNELS {
        ordered.refused(&channel(&n.to_string()), &key("1"), until);
    }
    let mut is_next = |n: usize| ordered.is_next(&channel(&n.to_string()), None, start);
    assert!(!is_next(0) && !is_next(CHANNELS - 1));
    assert!(is_next(CHANNELS));
}

#[test]
fn a_publish_waits_behind_another_of_its_channel_only() {
    let mut ordered = Ordered::default();
    assert!(!ordered.is_waiting(&channel("a")));
    ordered.wait(WaitingPublish {
        command: CommandId(1),
        draft: Draft {
            channel: channel("a"),
            data: Bytes::new(),
            format: Format::Text,
            tags: Tags::default(),
            publisher: None,
            key: None,
            time_ms: 1,
        },
        verdict: Verdict::AskedFor(VerdictId(1)),
    });
    assert!(ordered.is_waiting(&channel("a")));
    assert!(!ordered.is_waiting(&channel("b")));
    assert!(!ordered.is_empty());
}

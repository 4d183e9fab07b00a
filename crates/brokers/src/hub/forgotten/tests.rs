use offhook_engine::{ChannelRules, Draft, Epoch, Format, Tags};

use super::*;
use crate::hub::Ages;

fn name(n: usize) -> ChannelName {
    ChannelName::new(&n.to_string()).unwrap()
}

/// A stream whose newest publication has this sequence number.
fn stream(sequence: u64) -> Stream {
    let mut stream = Stream::new(Epoch(5));
    let draft = Draft {
        channel: name(0),
        data: "x".into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1,
    };
    stream.publish(
        draft,
        sequence,
        &ChannelRules::default(),
        ((1, 1), &Ages::at(1)),
    );
    stream
}

#[test]
fn the_newest_discarded_streams_are_remembered_each_once() {
    let mut forgotten = Forgotten::default();
    for n in 0..REMEMBERED {
        forgotten.push(name(n), &stream(1 + n as u64));
    }
    // Again, with something newer.
    forgotten.push(name(3), &stream(99_999));
    assert_eq!(forgotten.order.len(), REMEMBERED);
    let missed = |forgotten: &Forgotten, n: usize, after: u64| {
        let missed = forgotten.missed(&name(n), after);
        missed.map(|(sequence, gap)| (sequence, gap.from.offset, gap.to.offset))
    };
    assert_eq!(missed(&forgotten, 0, 0), Some((1, 0, 1)));
    assert_eq!(missed(&forgotten, 0, 1), None);
    assert_eq!(missed(&forgotten, 3, 4), Some((99_999, 0, 1)));
    forgotten.push(name(REMEMBERED), &stream(50_000));
    assert_eq!(
        (forgotten.order.len(), forgotten.streams.len()),
        (REMEMBERED, REMEMBERED)
    );
    assert_eq!(missed(&forgotten, 0, 0), None);
    assert_eq!(missed(&forgotten, 1, 0), Some((2, 0, 1)));
    assert_eq!(forgotten.names().count(), REMEMBERED);
}

use std::time::Instant;

use offhook_engine::{Draft, Format, RequestId, Tags};

use super::*;
use crate::log::write::What;

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

fn write(id: u64, data: &str) -> Write {
    let draft = Draft {
        channel: channel("a"),
        data: data.to_owned().into(),
        format: Format::Text,
        tags: Tags::default(),
        publisher: None,
        key: None,
        time_ms: 1,
    };
    Write {
        id: RequestId(id),
        at: Instant::now(),
        what: What::Publish(Box::new(draft)),
    }
}

#[test]
fn requests_are_counted_while_they_wait_and_continue_in_order() {
    let mut parked = Parked::default();
    assert!(parked.is_empty());
    let one = write(0, "").bytes();
    for (id, name, data) in [(1, "a", "123"), (2, "b", ""), (3, "a", "45")] {
        parked.put(channel(name), WorkerId(1), write(id, data));
    }
    assert_eq!((parked.count, parked.bytes), (3, 3 * one + 5));
    assert!(!parked.is_empty());
    let ids =
        |all: VecDeque<(WorkerId, Write)>| all.iter().map(|(_, w)| w.id.0).collect::<Vec<_>>();
    assert_eq!(ids(parked.take(&channel("a"))), [1, 3]);
    assert_eq!((parked.count, parked.bytes), (1, one));
    assert_eq!(ids(parked.take(&channel("a"))), [0; 0]);
    assert_eq!(ids(parked.take(&channel("b"))), [2]);
    assert!(parked.is_empty());
    assert_eq!((parked.bytes, parked.waiting.len()), (0, 0));
}

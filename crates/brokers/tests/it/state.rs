//! A channel's state: the newest publication of each value of the tag `key`.

use std::{sync::Arc, time::Duration};

use offhook_brokers::Broker;
use offhook_engine::*;

use crate::test_worker::{START_MS, TestWorker, at, channel, draft, memory, open_log};

const LARGE: State = State {
    count: 1000,
    bytes: 1 << 20,
    age: None,
};

/// `both/*` keeps a stream and a state, `state/*` only a state, everything else only a stream.
fn rules(state: &State) -> RuleBook {
    let with = |history| ChannelRules {
        history,
        state: state.clone(),
        ..ChannelRules::default()
    };
    RuleBook::new()
        .with("both/*", with(History::default()))
        .with("state/*", with(History::NONE))
        .with("*", ChannelRules::default())
}

fn every_broker(state: &State, body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(rules(state)));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), rules(state)));
}

impl TestWorker {
    fn set(&mut self, name: &str, key: &str, data: &str) -> Position {
        self.set_at(name, key, data, START_MS)
    }

    fn set_at(&mut self, name: &str, key: &str, data: &str, time_ms: u64) -> Position {
        let mut draft = draft(name, data, None);
        draft.tags = Tags::new([(CONFLATION_TAG, key)]).unwrap();
        draft.time_ms = time_ms;
        let id = self.send(draft);
        match self.answer(id) {
            BrokerEvent::Published { position, .. } => position,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, name: &str) -> (StreamState, Vec<Arc<Publication>>) {
        let id = self.id();
        let channel = channel(name);
        self.submit(BrokerRequest::State { id, channel });
        match self.answer(id) {
            BrokerEvent::State { stream, values, .. } => (stream, values),
            other => panic!("{other:?}"),
        }
    }

    /// Keys and data, in the order in which they are delivered.
    fn table(&mut self, name: &str) -> Vec<String> {
        let (_, values) = self.state(name);
        let text = |p: &Arc<Publication>| {
            let key = p.tags.get(CONFLATION_TAG).unwrap();
            format!("{key}={}", String::from_utf8_lossy(&p.data))
        };
        values.iter().map(text).collect()
    }
}

#[test]
fn the_newest_value_of_each_key_is_kept_with_and_without_a_stream() {
    every_broker(&LARGE, |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["both/a", "state/a"] {
            assert_eq!(worker.table(name), [""; 0]);
            for (key, data) in [("x", "1"), ("y", "2"), ("x", "3"), ("z", "4")] {
                worker.set(name, key, data);
            }
            worker.publish(name, "without a key");
            assert_eq!(worker.table(name), ["y=2", "x=3", "z=4"]);
            let (stream, values) = worker.state(name);
            assert!(
                values
                    .iter()
                    .all(|p| p.position.offset <= stream.head.offset)
            );
            assert!(values.iter().all(|p| p.follows_in_epoch()));
        }
        assert_eq!(worker.all("both/a").len(), 5);
        assert_eq!(worker.all("state/a").len(), 0);
        worker.set("stream/a", "x", "1");
        assert_eq!(worker.table("stream/a"), [""; 0], "no rule, no state");
    });
}

#[test]
fn an_empty_value_removes_its_key() {
    every_broker(&LARGE, |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["both/a", "state/a"] {
            for key in ["x", "y", "z"] {
                worker.set(name, key, "1");
            }
            worker.set(name, "x", "");
            worker.set(name, "never", "");
            let mut null = draft(name, " null ", None);
            null.tags = Tags::new([(CONFLATION_TAG, "z")]).unwrap();
            null.format = Format::Json;
            let id = worker.send(null);
            worker.answer(id);
            worker.set(name, "text", "null");
            assert_eq!(worker.table(name), ["y=1", "text=null"]);
        }
    });
}

#[test]
fn a_state_is_limited_by_count_and_bytes_and_drops_the_oldest_values() {
    let weight = {
        let mut draft = draft("a", "12", None);
        draft.tags = Tags::new([(CONFLATION_TAG, "k1")]).unwrap();
        draft.weight() as u64
    };
    let by_count = State { count: 3, ..LARGE };
    let by_bytes = State {
        bytes: weight * 3 + 1,
        ..LARGE
    };
    for bound in [by_count, by_bytes] {
        every_broker(&bound, |broker| {
            let mut worker = TestWorker::new(broker);
            for name in ["both/a", "state/a"] {
                for n in 1..=6 {
                    worker.set(name, &format!("k{n}"), "12");
                }
                assert_eq!(worker.table(name), ["k4=12", "k5=12", "k6=12"]);
                // A key that is set again takes no space of another.
                worker.set(name, "k4", "34");
                assert_eq!(worker.table(name), ["k5=12", "k6=12", "k4=34"]);
            }
        });
    }
}

#[test]
fn values_expire_by_age() {
    let age = Some(Duration::from_secs(60));
    every_broker(&State { age, ..LARGE }, |broker| {
        let mut worker = TestWorker::new(broker);
        for name in ["both/a", "state/a"] {
            worker.set_at(name, "old", "1", START_MS);
            worker.set_at(name, "new", "2", START_MS + 50_000);
        }
        // A tick examines only a part of the channels.
        for _ in 0..8 {
            broker.tick(at(61_000));
        }
        for name in ["both/a", "state/a"] {
            assert_eq!(worker.table(name), ["new=2"]);
        }
    });
}

#[test]
fn a_state_survives_a_restart_without_a_stream_and_its_offsets_continue() {
    let directory = tempfile::tempdir().unwrap();
    let mut heads = [0, 0];
    for life in 0..3_u64 {
        let mut worker = TestWorker::new(&open_log(directory.path(), rules(&LARGE)));
        for (name, head) in ["both/a", "state/a"].into_iter().zip(&mut heads) {
            if life > 0 {
                let before = life - 1;
                let expected = [format!("x={before}"), format!("k{before}=1")];
                assert_eq!(worker.table(name), expected);
                worker.set(name, &format!("k{before}"), "");
                *head += 1;
            }
            worker.set(name, "x", &life.to_string());
            let position = worker.set(name, &format!("k{life}"), "1");
            *head += 2;
            assert_eq!(position.offset, *head);
            assert_eq!(worker.follow(name).head, position);
        }
    }
}

#[test]
fn reading_the_state_and_following_from_its_head_misses_no_value() {
    every_broker(&LARGE, |broker| {
        let mut publisher = TestWorker::new(broker);
        let mut worker = TestWorker::new(broker);
        for name in ["both/a", "state/a"] {
            worker.follow(name);
            let mut table = std::collections::BTreeMap::new();
            for n in 0..200 {
                let mut draft = draft(name, &n.to_string(), None);
                let key = format!("k{}", n % 7);
                draft.tags = Tags::new([(CONFLATION_TAG, &*key)]).unwrap();
                publisher.send(draft);
            }
            // Anywhere among them.
            let (stream, values) = worker.state(name);
            for value in values {
                let key = value.tags.get(CONFLATION_TAG).unwrap().to_owned();
                table.insert(key, value.position.offset);
            }
            let mut last = 0;
            while last < 200 {
                let BrokerEvent::Publication(publication) = worker.next() else {
                    panic!()
                };
                last = publication.position.offset;
                if last > stream.head.offset {
                    let key = publication.tags.get(CONFLATION_TAG).unwrap().to_owned();
                    table.insert(key, last);
                }
            }
            let newest: Vec<_> = table.values().copied().collect();
            let (_, now) = worker.state(name);
            let mut expected: Vec<_> = now.iter().map(|p| (p.tags.get("key"), p)).collect();
            expected.sort_unstable_by_key(|(key, _)| *key);
            let expected: Vec<_> = expected.iter().map(|(_, p)| p.position.offset).collect();
            assert_eq!(newest, expected);
        }
    });
}

#[test]
fn the_states_of_channels_matching_a_filter_are_read_one_whole_channel_at_a_time() {
    every_broker(&LARGE, |broker| {
        let mut worker = TestWorker::new(broker);
        worker.set("both/a", "x", "1");
        worker.set("both/a", "y", "2");
        worker.set("both/b", "x", "3");
        worker.set("both/b/c", "x", "not matched");
        worker.set("other/d", "x", "no state is kept");
        worker.set("state/e", "x", "4");
        let mut read = |filter: &str, after: Option<&str>, count| {
            let id = worker.id();
            worker.submit(BrokerRequest::Values {
                id,
                filter: Filter::new(filter).unwrap(),
                after: after.map(channel),
                limit: ReadLimit {
                    count,
                    bytes: 1 << 20,
                },
            });
            let BrokerEvent::Values { values, next, .. } = worker.answer(id) else {
                panic!("no values");
            };
            let texts = values.iter().map(|value| text(&value.data)).collect();
            (texts, next.map(|next| next.as_str().to_owned()))
        };
        let all = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.to_string())
                .collect::<Vec<_>>()
        };
        let next = |name: &str| Some(name.to_owned());
        assert_eq!(read("+/+", None, 100), (all(&["1", "2", "3", "4"]), None));
        assert_eq!(read("both/+", None, 1), (all(&["1", "2"]), next("both/a")));
        assert_eq!(read("both/+", Some("both/a"), 100), (all(&["3"]), None));
        assert_eq!(read("state/#", None, 100), (all(&["4"]), None));
        assert_eq!(read("both/a", None, 100), (all(&["1", "2"]), None));
        assert_eq!(read("nothing/+", None, 100), (all(&[]), None));
    });
}

fn text(data: &[u8]) -> String {
    String::from_utf8(data.to_vec()).unwrap()
}

//! Random histories of a client: connections are cut at any time, the server refuses, trims, and
//! loses sealed sessions and data, and readers start, end and may be slow.
//!
//! In every history, each reader receives each publication once and in order, or a gap; each
//! publication is published once, in the order of its channel, and answered once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use offhook_dialects::native::client::Position;
use proptest::prelude::*;

use super::model_server::{ModelServer, Mood};
use super::*;
use crate::event::Publication;

const CHANNELS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Copy, Debug)]
enum Op {
    Subscribe {
        channel: usize,
        since: u8,
    },
    Unsubscribe {
        channel: usize,
    },
    Take {
        channel: usize,
        count: usize,
    },
    Publish {
        channel: usize,
    },
    OthersPublish {
        channel: usize,
        count: usize,
    },
    /// The client sends, and part of it arrives and is processed.
    Send {
        count: usize,
    },
    ServerWorks {
        channel: usize,
        count: usize,
    },
    Deliver {
        count: usize,
    },
    Cut,
    Trim {
        channel: usize,
        keep: u64,
    },
    NewEpoch {
        channel: usize,
    },
    Token,
    ForgetSeals,
    Advise {
        after_ms: u64,
    },
    Mood {
        mood: u8,
    },
    Wait {
        ms: u64,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let channel = 0..CHANNELS.len();
    prop_oneof![
        3 => (channel.clone(), 0..4_u8)
            .prop_map(|(channel, since)| Op::Subscribe { channel, since }),
        1 => channel.clone().prop_map(|channel| Op::Unsubscribe { channel }),
        6 => (channel.clone(), 1..30_usize)
            .prop_map(|(channel, count)| Op::Take { channel, count }),
        4 => channel.clone().prop_map(|channel| Op::Publish { channel }),
        4 => (channel.clone(), 1..20_usize)
            .prop_map(|(channel, count)| Op::OthersPublish { channel, count }),
        10 => (1..10_usize).prop_map(|count| Op::Send { count }),
        8 => (channel.clone(), 1..20_usize)
            .prop_map(|(channel, count)| Op::ServerWorks { channel, count }),
        10 => (1..30_usize).prop_map(|count| Op::Deliver { count }),
        3 => Just(Op::Cut),
        1 => (channel.clone(), 0..10_u64).prop_map(|(channel, keep)| Op::Trim { channel, keep }),
        1 => channel.prop_map(|channel| Op::NewEpoch { channel }),
        2 => Just(Op::Token),
        1 => Just(Op::ForgetSeals),
        1 => (0..3_000_u64).prop_map(|after_ms| Op::Advise { after_ms }),
        2 => (0..6_u8).prop_map(|mood| Op::Mood { mood }),
        3 => (0..3_000_u64).prop_map(|ms| Op::Wait { ms }),
    ]
}

/// A subscription of the test, and its reader's progress.
#[derive(Debug)]
struct Reader {
    key: SubscriptionKey,
    position: Option<Position>,
    live: bool,
    /// Nothing before this may be delivered, in this epoch.
    earliest: Option<Position>,
}

impl Reader {
    fn read(&mut self, event: &Event) {
        match event {
            Event::Publication(Publication { position, .. }) => {
                if let Some(before) = self.position {
                    assert_eq!(
                        position.epoch, before.epoch,
                        "an epoch changed without a gap"
                    );
                    assert_eq!(position.offset, before.offset + 1, "lost, or twice");
                }
                if let Some(earliest) = self.earliest.filter(|e| e.epoch == position.epoch) {
                    assert!(
                        position.offset > earliest.offset,
                        "older than what was asked for"
                    );
                }
                self.position = Some(*position);
            }
            Event::Value(_) | Event::Own { .. } => panic!("not asked for"),
            Event::Gap(gap) => {
                if let Some(before) = self.position {
                    assert_eq!(gap.from, before, "a gap begins elsewhere");
                }
                self.position = Some(gap.to);
            }
            Event::Live { position } => {
                let here = *self.position.get_or_insert(*position);
                assert_eq!(here, *position, "live before everything came");
                assert!(!std::mem::replace(&mut self.live, true), "live twice");
            }
            Event::CatchingUp => {
                assert!(
                    std::mem::replace(&mut self.live, false),
                    "catching up twice"
                );
            }
            Event::Members(_) | Event::Joined(_) | Event::Left(_) => panic!("not asked for"),
        }
    }
}

struct World {
    harness: Harness,
    server: ModelServer,
    readers: BTreeMap<usize, Reader>,
    /// The client's publications, by channel in order, with the tickets that must be answered.
    published: HashMap<usize, Vec<(String, Ticket)>>,
    last_key: usize,
    /// The epochs in which publications were lost.
    lost_epochs: bool,
}

impl World {
    fn new() -> Self {
        let mut backoff = Backoff::default();
        backoff.cap = Duration::from_secs(4);
        let settings = Settings {
            backoff,
            queue: usize::MAX,
            ..settings()
        };
        Self {
            harness: Harness::with(settings),
            server: ModelServer::new(&CHANNELS),
            readers: BTreeMap::new(),
            published: HashMap::new(),
            last_key: 0,
            lost_epochs: false,
        }
    }

    fn perform(&mut self, op: Op) {
        match op {
            Op::Subscribe { channel, since } => self.subscribe(channel, since),
            Op::Unsubscribe { channel } => {
                if let Some(reader) = self.readers.remove(&channel) {
                    self.harness.core.unsubscribe(reader.key);
                }
            }
            Op::Take { channel, count } => self.take(channel, count),
            Op::Publish { channel } => {
                let key = self.next_key();
                let ticket = self.harness.publish(CHANNELS[channel], &key);
                self.published
                    .entry(channel)
                    .or_default()
                    .push((key, ticket));
            }
            Op::OthersPublish { channel, count } => {
                for _ in 0..count {
                    let key = self.next_key();
                    self.server.publish(CHANNELS[channel], &key);
                }
            }
            Op::Send { count } => self.send(count),
            Op::ServerWorks { channel, count } => {
                for _ in 0..count {
                    self.server.work(CHANNELS[channel]);
                }
            }
            Op::Deliver { count } => self.deliver(count),
            Op::Cut => self.cut(),
            Op::Trim { channel, keep } => self.server.trim(CHANNELS[channel], keep),
            Op::NewEpoch { channel } => {
                self.lost_epochs = true;
                self.server.begin_epoch(CHANNELS[channel]);
            }
            Op::Token => self.server.issue_token(),
            Op::ForgetSeals => self.server.forget_seals(),
            Op::Advise { after_ms } => self.server.advise(after_ms),
            Op::Mood { mood } => {
                self.server.mood = match mood {
                    0 => Mood::Busy,
                    1 => Mood::Draining,
                    _ => Mood::Fine,
                };
            }
            Op::Wait { ms } => {
                self.harness.wait(Duration::from_millis(ms));
                self.drop_abandoned_connection();
            }
        }
    }

    fn next_key(&mut self) -> String {
        self.last_key += 1;
        self.last_key.to_string()
    }

    fn subscribe(&mut self, channel: usize, since: u8) {
        if self.readers.contains_key(&channel) {
            return;
        }
        let since = [Since::Now, Since::Start, Since::Last(2), Since::Last(8)][since as usize];
        let stream = &self.server.streams[CHANNELS[channel]];
        let now = stream.at(stream.head());
        let reader = Reader {
            key: self.harness.subscribe(CHANNELS[channel], since),
            position: None,
            live: false,
            earliest: (since == Since::Now).then_some(now),
        };
        self.readers.insert(channel, reader);
    }

    fn take(&mut self, channel: usize, count: usize) {
        let Some(reader) = self.readers.get_mut(&channel) else {
            return;
        };
        for _ in 0..count {
            match self.harness.core.take(reader.key, self.harness.now).0 {
                Taken::Event(event) => reader.read(&event),
                Taken::Nothing => break,
                Taken::Ended(why) => panic!("ended: {why:?}"),
            }
        }
    }

    /// The driver drops a connection that the core no longer uses.
    fn drop_abandoned_connection(&mut self) {
        if self.harness.core.step() != Step::Talk {
            self.server.cut();
        }
    }

    fn send(&mut self, count: usize) {
        if self.harness.core.step() != Step::Talk {
            self.server.cut();
            self.harness.open();
        }
        while let Some(message) = self.harness.core.poll_transmit() {
            self.server.to_server.push_back(text(message));
        }
        for _ in 0..count {
            self.server.read();
        }
    }

    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            if self.harness.core.step() != Step::Talk || !self.harness.core.may_read() {
                break;
            }
            let Some(text) = self.server.to_client.pop_front() else {
                break;
            };
            self.harness.core.handle_message(&text, self.harness.now);
            self.harness.settle();
            let rules = |event: &ConnectionEvent| {
                !matches!(
                    event,
                    ConnectionEvent::Lost {
                        cause: Error::Server(_),
                        ..
                    }
                )
            };
            assert!(
                self.harness.connections.iter().all(rules),
                "{:?}",
                self.harness.connections
            );
            self.inboxes_are_bounded();
        }
        self.drop_abandoned_connection();
    }

    fn inboxes_are_bounded(&mut self) {
        for reader in self.readers.values() {
            let entry = self
                .harness
                .core
                .subscriptions
                .get(reader.key)
                .expect("subscribed");
            // One event may exceed the limit, plus `live`.
            assert!(
                entry.inbox.bytes() <= INBOX + 2 * 200,
                "{}",
                entry.inbox.bytes()
            );
        }
    }

    fn cut(&mut self) {
        self.server.cut();
        self.harness.is_lost();
    }

    /// The server works, all readers read, and nothing is cut any more.
    fn come_to_rest(&mut self) {
        self.server.mood = Mood::Fine;
        for _ in 0..40 {
            self.send(usize::from(u8::MAX));
            for name in CHANNELS {
                while self.server.work(name) {}
            }
            while !self.server.to_client.is_empty() {
                self.deliver(1);
                for channel in 0..CHANNELS.len() {
                    self.take(channel, usize::MAX);
                }
                if !self.harness.core.may_read() {
                    self.harness.wait(Duration::from_secs(1));
                }
            }
            self.harness.wait(Duration::from_millis(1_000));
            self.drop_abandoned_connection();
        }
    }

    fn everybody_has_everything(&self) {
        for (channel, reader) in &self.readers {
            let stream = &self.server.streams[CHANNELS[*channel]];
            assert_eq!(
                reader.position,
                Some(stream.at(stream.head())),
                "{}",
                CHANNELS[*channel]
            );
            assert!(reader.live, "{} is not live", CHANNELS[*channel]);
        }
    }

    fn everything_was_published_once_in_order(&self) {
        assert_eq!(self.harness.core.unanswered(), 0);
        for (channel, published) in &self.published {
            for (_, ticket) in published {
                let answers = self.harness.answers.iter().filter(|(of, _)| of == ticket);
                let answers: Vec<_> = answers.map(|(_, answer)| answer).collect();
                assert!(
                    matches!(answers[..], [Ok(Answer::Published(_))]),
                    "{answers:?}"
                );
            }
            if self.lost_epochs {
                continue;
            }
            let stream = &self.server.streams[CHANNELS[*channel]];
            let is_ours = |key: &&String| published.iter().any(|(ours, _)| ours == *key);
            let arrived: Vec<_> = stream.all.iter().filter(is_ours).collect();
            let expected: Vec<_> = published.iter().map(|(key, _)| key).collect();
            assert_eq!(arrived, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        max_shrink_iters: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_subscriber_gets_everything_once_and_everything_is_published_once(
        ops in prop::collection::vec(op(), 1..150)
    ) {
        let mut world = World::new();
        for op in ops {
            world.perform(op);
        }
        world.come_to_rest();
        world.everybody_has_everything();
        world.everything_was_published_once_in_order();
        prop_assert_eq!(world.harness.core.repeats(), 0);
    }
}

//! A worker without an engine: submits requests to a broker and waits for its events.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

use offhook_brokers::{Broker, Log, LogOptions, Mailbox, Memory, WorkerId};
use offhook_engine::*;

/// Longer than anything in a test takes: what has not arrived within it never will.
const NEVER: Duration = Duration::from_secs(60);

pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) struct TestWorker {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) worker_id: WorkerId,
    woken: Receiver<()>,
    arrived: VecDeque<BrokerEvent>,
    next_id: u64,
}

/// The moment `ms` milliseconds after the start of all tests.
pub(crate) fn at(ms: u64) -> Now {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let instant = *START.get_or_init(Instant::now) + Duration::from_millis(ms);
    Now {
        instant,
        unix_ms: START_MS + ms,
    }
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

pub(crate) fn kept(count: u64) -> RuleBook {
    let history = History {
        count,
        bytes: u64::MAX,
        age: None,
    };
    RuleBook::new()
        .with(
            "flow/*",
            ChannelRules {
                history: History::NONE,
                ..ChannelRules::default()
            },
        )
        .with(
            "*",
            ChannelRules {
                history,
                ..ChannelRules::default()
            },
        )
}

pub(crate) fn open_log(path: &Path, rules: RuleBook) -> Arc<dyn Broker> {
    Arc::new(Log::open(LogOptions::new(path), Arc::new(rules), at(0)).unwrap())
}

pub(crate) fn memory(rules: RuleBook) -> Arc<dyn Broker> {
    Arc::new(Memory::new(Arc::new(rules), at(0)))
}

/// Runs a body over every broker.
pub(crate) fn every_broker(rules: &RuleBook, body: impl Fn(&Arc<dyn Broker>)) {
    body(&memory(rules.clone()));
    let directory = tempfile::tempdir().unwrap();
    body(&open_log(directory.path(), rules.clone()));
}

pub(crate) fn draft(name: &str, data: &str, key: Option<&str>) -> Draft {
    Draft {
        channel: channel(name),
        data: data.to_owned().into(),
        format: Format::Text,
        tags: Tags::new([("colour", "red")]).unwrap(),
        publisher: Some(Publisher {
            session: SessionId::from_bytes([7; 16]),
            user: "ann".into(),
        }),
        key: key.map(|key| Key::new(key).unwrap()),
        time_ms: START_MS,
    }
}

impl TestWorker {
    pub(crate) fn new(broker: &Arc<dyn Broker>) -> Self {
        Self::with_mailbox(broker, 1 << 20)
    }

    pub(crate) fn with_mailbox(broker: &Arc<dyn Broker>, bytes: usize) -> Self {
        let (wake, woken) = sync_channel(1);
        let mailbox = Arc::new(Mailbox::new(bytes, move || {
            wake.try_send(()).unwrap_or_default()
        }));
        let worker_id = broker.attach(Arc::clone(&mailbox));
        let (broker, arrived) = (Arc::clone(broker), VecDeque::new());
        Self {
            broker,
            mailbox,
            worker_id,
            woken,
            arrived,
            next_id: 1,
        }
    }

    /// A request that is not accepted must not be given to this.
    pub(crate) fn submit(&self, request: BrokerRequest) {
        let left = self.broker.submit(self.worker_id, request);
        assert_eq!(left, None, "the broker has room");
    }

    pub(crate) fn id(&mut self) -> RequestId {
        self.next_id += 1;
        RequestId(self.next_id)
    }

    /// The next event, waiting for it if necessary.
    pub(crate) fn next(&mut self) -> BrokerEvent {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return event;
            }
            self.arrived.extend(self.mailbox.take());
            if self.arrived.is_empty() {
                self.woken
                    .recv_timeout(NEVER)
                    .expect("the broker says something");
            }
        }
    }

    /// The answer to a request; updates that arrive before it are kept for later.
    pub(crate) fn answer(&mut self, id: RequestId) -> BrokerEvent {
        let mut news = VecDeque::new();
        let answer = loop {
            let event = self.next();
            if answers(&event) == Some(id) {
                break event;
            }
            news.push_back(event);
        };
        news.append(&mut self.arrived);
        self.arrived = news;
        answer
    }

    pub(crate) fn send(&mut self, draft: Draft) -> RequestId {
        let id = self.id();
        self.submit(BrokerRequest::Publish { id, draft });
        id
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) fn publish(&mut self, name: &str, data: &str) -> Position {
        self.publish_keyed(name, data, None).0
    }

    pub(crate) fn publish_keyed(
        &mut self,
        name: &str,
        data: &str,
        key: Option<&str>,
    ) -> (Position, bool) {
        let id = self.send(draft(name, data, key));
        match self.answer(id) {
            BrokerEvent::Published {
                position,
                duplicate,
                ..
            } => (position, duplicate),
            other => panic!("not published: {other:?}"),
        }
    }

    pub(crate) fn follow(&mut self, name: &str) -> StreamState {
        let id = self.id();
        self.submit(BrokerRequest::Follow {
            id,
            channel: channel(name),
        });
        match self.answer(id) {
            BrokerEvent::Followed { stream, .. } => stream,
            other => panic!("not followed: {other:?}"),
        }
    }

    pub(crate) fn ask_history(&mut self, name: &str, from: ReadFrom, count: u32) -> BrokerEvent {
        let id = self.id();
        let limit = ReadLimit {
            count,
            bytes: usize::MAX,
        };
        self.submit(BrokerRequest::History {
            id,
            channel: channel(name),
            from,
            limit,
        });
        self.answer(id)
    }

    pub(crate) fn history(
        &mut self,
        name: &str,
        from: ReadFrom,
        count: u32,
    ) -> (StreamState, Vec<Arc<Publication>>) {
        let (stream, _, publications) = self.read(name, from, count);
        (stream, publications)
    }

    /// History, and how the position at which the read began was resolved.
    pub(crate) fn read(
        &mut self,
        name: &str,
        from: ReadFrom,
        count: u32,
    ) -> (StreamState, ReadStart, Vec<Arc<Publication>>) {
        match self.ask_history(name, from, count) {
            BrokerEvent::History {
                stream,
                start,
                publications,
                ..
            } => (stream, start, publications),
            other => panic!("no history: {other:?}"),
        }
    }

    /// Everything retained of a channel, checked to have no gaps.
    pub(crate) fn all(&mut self, name: &str) -> Vec<Arc<Publication>> {
        let mut all: Vec<Arc<Publication>> = Vec::new();
        loop {
            let last = all.last().map(|last| last.position);
            let from = last.map_or(ReadFrom::Start, ReadFrom::After);
            let (stream, start, page) = self.read(name, from, 10_000);
            let mut before = start.after;
            assert!(last.is_none_or(|last| last == before));
            for publication in &page {
                assert_eq!(publication.previous, before);
                before = publication.position;
            }
            all.extend(page);
            if before == stream.head {
                return all;
            }
        }
    }

    pub(crate) fn texts(&mut self, name: &str) -> Vec<String> {
        let all = self.all(name);
        all.iter()
            .map(|p| String::from_utf8(p.data.to_vec()).unwrap())
            .collect()
    }

    /// Waits until the broker has done everything asked before.
    pub(crate) fn barrier(&mut self) {
        let id = self.id();
        self.submit(BrokerRequest::Members {
            id,
            channel: channel("barrier"),
            limit: 0,
        });
        self.answer(id);
    }

    /// Waits until the broker's writer has handled all earlier requests.
    pub(crate) fn writer_barrier(&mut self) {
        // The first may share a batch with earlier requests, the second does not.
        for _ in 0..2 {
            let id = self.id();
            self.submit(BrokerRequest::Ack {
                id,
                channel: channel("writer barrier"),
                scope: "".into(),
                consumer: Key::new("nobody").unwrap(),
                position: None,
            });
            self.answer(id);
        }
    }

    /// Everything that has arrived and was not taken.
    pub(crate) fn rest(&mut self) -> Vec<BrokerEvent> {
        self.barrier();
        self.arrived.extend(self.mailbox.take());
        self.arrived.drain(..).collect()
    }
}

fn answers(event: &BrokerEvent) -> Option<RequestId> {
    match event {
        BrokerEvent::Published { id, .. }
        | BrokerEvent::FilterHistory { id, .. }
        | BrokerEvent::State { id, .. }
        | BrokerEvent::Values { id, .. }
        | BrokerEvent::SessionSaved { id }
        | BrokerEvent::Session { id, .. }
        | BrokerEvent::Followed { id, .. }
        | BrokerEvent::History { id, .. }
        | BrokerEvent::Members { id, .. }
        | BrokerEvent::Acked { id, .. }
        | BrokerEvent::Receipts { id, .. }
        | BrokerEvent::Claimed { id, .. }
        | BrokerEvent::Failed { id, .. } => Some(*id),
        BrokerEvent::Publication(_)
        | BrokerEvent::Presence(_)
        | BrokerEvent::AskReceipts { .. }
        | BrokerEvent::Returned { .. }
        | BrokerEvent::Lagged
        | BrokerEvent::LeaseEnded => None,
    }
}

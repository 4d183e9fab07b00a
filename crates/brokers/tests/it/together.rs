//! Engines on a broker, driven as by a server, without sockets: two workers, fast and slow
//! subscribers, publishers, and connections that are cut; and the broker is closed and opened again
//! under them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use offhook_brokers::{Broker, Mailbox, WorkerId};
use offhook_engine::*;

use crate::test_worker::{at, channel, kept, memory, open_log};

/// Bytes an outbox takes before it is full, and how much of it catching up may fill.
const OUTBOX: usize = 4_000;
const GRANT: usize = OUTBOX / 2;

/// One worker: an engine, its mailbox, and its connections' outboxes.
struct Worker {
    engine: Engine,
    broker: Arc<dyn Broker>,
    mailbox: Arc<Mailbox>,
    id: WorkerId,
    outboxes: HashMap<ConnectionId, VecDeque<Wire>>,
}

enum Wire {
    Publication(Arc<Publication>),
    Notice(Notice),
}

impl Wire {
    fn weight(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.weight(),
            Self::Notice(_) => 0,
        }
    }
}

impl Worker {
    fn new(broker: &Arc<dyn Broker>, rules: &RuleBook) -> Self {
        let limits = Limits {
            outbox_bytes: GRANT,
            publishes_per_second: 1_000_000,
            publish_burst: 1_000_000,
            commands_per_second: 1_000_000,
            command_burst: 1_000_000,
            requests_per_connection: u16::MAX,
            ..Limits::default()
        };
        let engine = Engine::new(limits, Arc::new(rules.clone()), at(0));
        // So small that it overflows now and then.
        let mailbox = Arc::new(Mailbox::new(5_000, || {}));
        let id = broker.attach(Arc::clone(&mailbox));
        let (broker, outboxes) = (Arc::clone(broker), HashMap::new());
        Self {
            engine,
            broker,
            mailbox,
            id,
            outboxes,
        }
    }

    fn open(&mut self, n: u8) -> ConnectionId {
        let session = SessionId::from_bytes([n; 16]);
        let stranger = Arc::new(Identity::stranger());
        let connection = self
            .engine
            .handle_connection_opened(Arrival::new(session, stranger), at(0))
            .unwrap();
        self.outboxes.insert(connection, VecDeque::new());
        connection
    }

    fn cut(&mut self, connection: ConnectionId) {
        self.engine.handle_connection_lost(connection);
        self.outboxes.remove(&connection);
    }

    /// One turn of the event loop.
    fn turn(&mut self) {
        for event in self.mailbox.take() {
            self.engine.handle_broker(event, at(0));
            self.poll();
        }
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(delivery) = self.engine.poll_delivery() {
            let mut full = Vec::new();
            match delivery {
                Delivery::Broadcast {
                    publication,
                    recipients,
                    ..
                } => {
                    for connection in recipients.connections() {
                        let outbox = self.outboxes.get_mut(connection).unwrap();
                        outbox.push_back(Wire::Publication(Arc::clone(&publication)));
                        if outbox.iter().map(Wire::weight).sum::<usize>() > OUTBOX {
                            full.push(*connection);
                        }
                    }
                }
                Delivery::Publication {
                    connection,
                    publication,
                    ..
                } => {
                    self.outboxes
                        .get_mut(&connection)
                        .unwrap()
                        .push_back(Wire::Publication(publication));
                }
                Delivery::Connection { connection, notice } => {
                    self.outboxes
                        .get_mut(&connection)
                        .unwrap()
                        .push_back(Wire::Notice(notice));
                }
                Delivery::Presence { .. } | Delivery::Mark { .. } => {}
            }
            for connection in full {
                self.engine.handle_full(connection);
            }
        }
        while let Some(request) = self.engine.poll_broker_request() {
            self.broker.submit(self.id, request);
        }
    }

    /// The client of a connection reads `messages` messages.
    fn read(&mut self, connection: ConnectionId, messages: usize) -> Vec<Wire> {
        let outbox = self.outboxes.get_mut(&connection).unwrap();
        let read = outbox.drain(..messages.min(outbox.len())).collect();
        let left = outbox.iter().map(Wire::weight).sum::<usize>();
        if left < GRANT && self.engine.wants_writable(connection) {
            self.engine.handle_writable(connection, GRANT - left);
            self.poll();
        }
        read
    }
}

/// A subscriber that checks that offsets are consecutive.
struct Subscriber {
    worker: usize,
    connection: ConnectionId,
    position: Position,
    /// Messages read per turn.
    appetite: usize,
    live: bool,
}

impl Subscriber {
    fn subscribe(&mut self, workers: &mut [Worker]) {
        let since = Since::Position(self.position);
        let subscribe = Command::Subscribe(Subscribe::new(channel("a"), since));
        workers[self.worker]
            .engine
            .handle_command(self.connection, CommandId(1), subscribe, at(0));
        self.live = false;
    }

    fn read(&mut self, workers: &mut [Worker]) {
        for message in workers[self.worker].read(self.connection, self.appetite) {
            match message {
                Wire::Publication(publication) => {
                    let here = publication.position;
                    assert_eq!(
                        here.offset,
                        self.position.offset + 1,
                        "lost, twice, or unordered"
                    );
                    assert_eq!(publication.data, here.offset.to_string());
                    self.position = here;
                }
                Wire::Notice(Notice::Reply {
                    reply: Reply::Subscribed { live, .. },
                    ..
                }) => {
                    self.live = live;
                }
                Wire::Notice(Notice::Live { .. }) => self.live = true,
                Wire::Notice(Notice::CatchingUp { .. }) => self.live = false,
                Wire::Notice(other) => panic!("{other:?}"),
            }
        }
    }
}

fn publish(workers: &mut [Worker], connection: ConnectionId, number: u64) {
    let publish = Command::Publish {
        channel: channel("a"),
        data: number.to_string().into(),
        format: Format::Text,
        tags: Tags::default(),
        key: Some(Key::new(&number.to_string()).unwrap()),
    };
    workers[0]
        .engine
        .handle_command(connection, CommandId(number), publish, at(0));
}

const SUBSCRIBERS: u8 = 12;
const PUBLICATIONS: u64 = 3_000;

/// Publishes everything, while subscribers read at their own pace and every 100th publication costs
/// one of them its connection.
fn live_through(broker: &Arc<dyn Broker>, rules: &RuleBook, epoch: Epoch) {
    let mut workers = [Worker::new(broker, rules), Worker::new(broker, rules)];
    let publisher = workers[0].open(255);
    let mut subscribers = Vec::new();
    for n in 0..SUBSCRIBERS {
        let worker = usize::from(n % 2);
        let connection = workers[worker].open(n);
        let position = Position { epoch, offset: 0 };
        let appetite = [1, 3, 50][usize::from(n % 3)];
        let mut new = Subscriber {
            worker,
            connection,
            position,
            appetite,
            live: false,
        };
        new.subscribe(&mut workers);
        subscribers.push(new);
    }
    let (mut sent, mut acknowledged) = (0, 0);
    let everybody_done = |subscribers: &[Subscriber]| {
        subscribers
            .iter()
            .all(|s| s.position.offset == PUBLICATIONS && s.live)
    };
    while acknowledged < PUBLICATIONS || !everybody_done(&subscribers) {
        for _ in 0..10 {
            if sent < PUBLICATIONS {
                sent += 1;
                publish(&mut workers, publisher, sent);
            }
            if sent % 100 == 50 && sent < PUBLICATIONS {
                let unlucky = usize::try_from(sent / 100).unwrap() % subscribers.len();
                let s = &mut subscribers[unlucky];
                workers[s.worker].cut(s.connection);
                s.worker = 1 - s.worker;
                s.connection = workers[s.worker].open(unlucky as u8);
                s.subscribe(&mut workers);
            }
        }
        for worker in &mut workers {
            worker.turn();
        }
        for message in workers[0].read(publisher, usize::MAX) {
            let Wire::Notice(Notice::Reply { reply, .. }) = message else {
                continue;
            };
            let Reply::Published { .. } = reply else {
                panic!("{reply:?}")
            };
            acknowledged += 1;
        }
        for subscriber in &mut subscribers {
            subscriber.read(&mut workers);
        }
        std::thread::yield_now();
    }
}

#[test]
fn fast_and_slow_subscribers_get_everything_despite_cut_connections_and_full_mailboxes() {
    let rules = kept(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    for broker in [
        memory(rules.clone()),
        open_log(directory.path(), rules.clone()),
    ] {
        let epoch = crate::test_worker::TestWorker::new(&broker)
            .follow("a")
            .head
            .epoch;
        live_through(&broker, &rules, epoch);
    }
}

#[test]
fn a_session_continues_after_the_server_was_restarted() {
    let rules = kept(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let mut position = None;
    for life in 0..3_u64 {
        let broker = open_log(directory.path(), rules.clone());
        let mut workers = [Worker::new(&broker, &rules)];
        let connection = workers[0].open(1);
        let epoch = crate::test_worker::TestWorker::new(&broker)
            .follow("a")
            .head
            .epoch;
        let start = Position { epoch, offset: 0 };
        let mut subscriber = Subscriber {
            worker: 0,
            connection,
            position: position.unwrap_or(start),
            appetite: 7,
            live: false,
        };
        subscriber.subscribe(&mut workers);
        let publisher = workers[0].open(255);
        for number in life * 100 + 1..=life * 100 + 100 {
            publish(&mut workers, publisher, number);
        }
        // Each life ends before everything of it was read.
        while subscriber.position.offset < life * 100 + 60 {
            workers[0].turn();
            subscriber.read(&mut workers);
            std::thread::yield_now();
        }
        position = Some(subscriber.position);
    }
    assert!(position.is_some_and(|position| position.offset >= 260));
}

//! Workers, a broker that answers on command, and clients that check what they receive.

pub(crate) mod bare;
pub(crate) mod broker;
pub(crate) mod client;
mod heard;
mod oracle;
pub(crate) mod seen;
pub(crate) mod stream;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use offhook_engine::*;

use self::{
    broker::ModelBroker,
    client::{Client, Handed, Wire},
};

/// Bytes an outbox takes before it is full; a publication weighs a little over 128.
pub(crate) const OUTBOX: usize = 600;
/// Bytes of it that catching up may fill: the rest is for live publications.
const GRANT: usize = OUTBOX / 2;

pub(crate) struct World {
    pub(crate) now: Now,
    limits: Limits,
    rules: Arc<RuleBook>,
    pub(crate) workers: Vec<Engine>,
    pub(crate) broker: ModelBroker,
    pub(crate) clients: Vec<Client>,
    /// By worker: what the application has not answered yet.
    pub(crate) asks: Vec<Vec<Ask>>,
    /// Connections that an engine has named as waiting for room.
    wanting: HashSet<(usize, ConnectionId)>,
    /// By session and channel: the first publish for which the broker had no room on this connection,
    /// and until when others must wait for it.
    owed: BTreeMap<(SessionId, ChannelName), (Key, Instant)>,
}

/// Small limits, so that every limit is reached all the time.
pub(crate) fn tight_limits() -> Limits {
    Limits {
        outbox_bytes: GRANT,
        leave_at_once: 2,
        page_count: 3,
        reads: 2,
        recent_count: 4,
        commands_per_second: 1_000_000,
        command_burst: 1_000_000,
        publishes_per_second: 1_000_000,
        publish_burst: 1_000_000,
        answer_within: Duration::from_secs(3600),
        ..Limits::default()
    }
}

/// `kept/*` has history, `flow/*` drops, `price/*` conflates, `strict/*` disconnects, `asked/*` has
/// history and asks the application, `state/*` has state and no history.
pub(crate) fn rules() -> RuleBook {
    let none = |slow| ChannelRules {
        history: History::NONE,
        slow,
        ..ChannelRules::default()
    };
    let state = ChannelRules {
        state: State {
            count: 100,
            bytes: 1 << 20,
            age: None,
        },
        ..none(SlowPolicy::State)
    };
    let asked = ChannelRules {
        publish: Access::Asked,
        subscribe: Access::Asked,
        ..ChannelRules::default()
    };
    RuleBook::new()
        .with("kept/*", ChannelRules::default())
        .with("asked/*", asked)
        .with("state/*", state)
        .with("flow/*", none(SlowPolicy::DropOldest))
        .with("price/*", none(SlowPolicy::LatestByKey))
        .with("strict/*", none(SlowPolicy::Disconnect))
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

impl World {
    pub(crate) fn new(workers: usize, clients: usize) -> Self {
        Self::with(workers, clients, &tight_limits(), rules())
    }

    pub(crate) fn with(workers: usize, clients: usize, limits: &Limits, book: RuleBook) -> Self {
        let now = Now {
            instant: Instant::now_for_tests(),
            unix_ms: 1_000_000,
        };
        let rules = Arc::new(book);
        let engine = || Engine::new(limits.clone(), Arc::clone(&rules), now);
        Self {
            now,
            limits: limits.clone(),
            workers: (0..workers).map(|_| engine()).collect(),
            broker: ModelBroker::new(workers, Arc::clone(&rules)),
            rules: Arc::clone(&rules),
            clients: (0..clients).map(Client::new).collect(),
            asks: vec![Vec::new(); workers],
            wanting: HashSet::new(),
            owed: BTreeMap::new(),
        }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
        for worker in 0..self.workers.len() {
            self.workers[worker].handle_timeout(self.now);
            self.pump(worker);
        }
    }

    /// The server's process ends, and another one begins: all connections are lost, and everything
    /// in memory.
    pub(crate) fn restart(&mut self) {
        for client in &mut self.clients {
            if client.connection.is_some() {
                client.lost();
            }
        }
        self.broker.new_life();
        for worker in 0..self.workers.len() {
            let rules = Arc::clone(&self.rules);
            self.workers[worker] = Engine::new(self.limits.clone(), rules, self.now);
            self.asks[worker].clear();
        }
        self.wanting.clear();
        self.owed.clear();
    }

    /// Opens a connection for a client and subscribes again from its positions.
    pub(crate) fn connect(&mut self, client: usize, worker: usize, by_snapshot: bool) {
        self.now.unix_ms += 1;
        let (engine, c) = (&mut self.workers[worker], &mut self.clients[client]);
        assert!(c.connection.is_none());
        c.generation += 1;
        let positions = c.positions();
        let mut restored = Vec::new();
        let connection = match c.snapshot.clone().filter(|_| by_snapshot) {
            Some(snapshot) => {
                c.resumed(&snapshot);
                restored.clone_from(&snapshot.subscriptions);
                let arrival = Arrival::new(snapshot.session, c.identity());
                let arrival = arrival.generation(c.generation);
                engine.handle_connection_resumed(arrival, snapshot, &positions, self.now)
            }
            None => {
                let arrival = Arrival::new(c.session, c.identity()).generation(c.generation);
                engine.handle_connection_opened(arrival, self.now)
            }
        };
        c.connection = Some((worker, connection.unwrap()));
        for wish in c.to_subscribe_again(&restored) {
            self.command(client, Command::Subscribe(wish));
        }
        self.pump(worker);
    }

    /// The connection is lost; what was in its outbox never arrives.
    pub(crate) fn cut(&mut self, client: usize) {
        let Some((worker, connection)) = self.clients[client].connection else {
            return;
        };
        self.workers[worker].handle_connection_lost(connection);
        let session = self.clients[client].session;
        self.owed.retain(|(of, _), _| *of != session);
        self.clients[client].lost();
        self.pump(worker);
    }

    /// Sends the client a resume token.
    pub(crate) fn issue_token(&mut self, client: usize) {
        let Some((worker, connection)) = self.clients[client].connection else {
            return;
        };
        // A connection that is being closed gets none.
        let Some(snapshot) = self.workers[worker].snapshot(connection, self.now) else {
            return;
        };
        // Through its bytes, as it would travel.
        let snapshot = SessionSnapshot::from_bytes(&snapshot.to_bytes().unwrap()).unwrap();
        self.clients[client].outbox.push_back(Wire::Token(snapshot));
    }

    pub(crate) fn command(&mut self, client: usize, command: Command) -> Option<CommandId> {
        let c = &mut self.clients[client];
        let (worker, connection) = c.connection?;
        let id = c.sent(&command);
        self.workers[worker].handle_command(connection, id, command, self.now);
        self.pump(worker);
        Some(id)
    }

    pub(crate) fn subscribe(&mut self, client: usize, name: &str, since: Since) {
        let subscribe = Command::Subscribe(Subscribe::new(channel(name), since).with_presence());
        self.command(client, subscribe);
    }

    pub(crate) fn publish(&mut self, client: usize, name: &str, data: &str) {
        self.publish_with(client, name, data, None, "");
    }

    pub(crate) fn publish_with(
        &mut self,
        client: usize,
        name: &str,
        data: &str,
        key: Option<&str>,
        tag: &str,
    ) {
        let publish = Command::Publish {
            channel: channel(name),
            data: data.to_owned().into(),
            format: Format::Text,
            tags: Tags::new([(CONFLATION_TAG, tag)]).unwrap(),
            key: key.map(|key| Key::new(key).unwrap()),
        };
        self.command(client, publish);
    }

    /// Lets the broker handle and answer `steps` requests of a worker; the answers wait at the
    /// broker.
    pub(crate) fn broker_works(&mut self, worker: usize, steps: usize) {
        for _ in 0..steps {
            self.broker.work(worker);
        }
    }

    /// Delivers `events` of the broker's events to a worker.
    pub(crate) fn deliver(&mut self, worker: usize, events: usize) {
        for _ in 0..events {
            let Some(event) = self.broker.next_event(worker) else {
                break;
            };
            self.workers[worker].handle_broker(event, self.now);
            self.take_deliveries(worker);
        }
        self.pump(worker);
    }

    /// A client reads `messages` messages, and its outbox is refilled.
    pub(crate) fn read(&mut self, client: usize, messages: usize) {
        for _ in 0..messages {
            let Some(message) = self.clients[client].outbox.pop_front() else {
                break;
            };
            if let (Wire::Mark(mark), Some((worker, connection))) =
                (&message, self.clients[client].connection)
            {
                self.workers[worker].handle_receipt(connection, *mark);
            }
            self.check_receipts(&message);
            self.clients[client].read(message, &self.broker);
        }
        if self.clients[client].closed {
            self.cut(client);
        }
        let c = &self.clients[client];
        let Some((worker, connection)) = c.connection else {
            return;
        };
        let bytes = c.outbox_bytes();
        // Only a connection that the engine has named is asked about, as in a server.
        if bytes < GRANT && self.wanting.remove(&(worker, connection)) {
            self.workers[worker].handle_writable(connection, GRANT - bytes);
            self.pump(worker);
        }
    }

    /// Every client named as having a publication has read that far.
    fn check_receipts(&self, message: &Wire) {
        let Wire::Notice(Notice::Reply {
            reply:
                Reply::Receipts {
                    channel,
                    position,
                    receipts,
                },
            ..
        }) = message
        else {
            return;
        };
        for session in &receipts.sessions {
            let named = self.clients.iter().find(|c| c.session == *session);
            let key = SubscriptionKey::from(channel.clone());
            let seen = named.and_then(|c| c.subscriptions.get(&key)?.position);
            // A client that has left since, or is in a new epoch, cannot be asked any longer.
            if let Some(seen) = seen.filter(|seen| seen.epoch == position.epoch) {
                assert!(
                    seen.offset >= position.offset,
                    "{session} has not read {position}"
                );
            }
        }
    }

    /// Polls everything a worker has, as a server does after every `handle_*`.
    pub(crate) fn pump(&mut self, worker: usize) {
        self.take_deliveries(worker);
        while let Some(connection) = self.workers[worker].poll_wants_writable() {
            self.wanting.insert((worker, connection));
        }
        let mut not_accepted = Vec::new();
        while let Some(request) = self.workers[worker].poll_broker_request() {
            if let BrokerRequest::Publish { draft, .. } = &request {
                self.keeps_order(draft);
                if self.broker.full {
                    not_accepted.push(request);
                    continue;
                }
            }
            self.broker.requests[worker].push_back(request);
        }
        if !not_accepted.is_empty() {
            self.broker.not_accepted += not_accepted.len();
            self.workers[worker].handle_not_accepted(not_accepted, self.now);
            self.take_deliveries(worker);
        }
    }

    /// A publish with another key does not overtake one for which there was no room.
    fn keeps_order(&mut self, draft: &Draft) {
        let session = draft.publisher.as_ref().map(|by| by.session);
        let Some(session) = session else {
            return;
        };
        if draft.channel.as_str().starts_with("asked/") {
            // An awaited publish that the application forbids comes no further.
            return;
        }
        let (place, now) = ((session, draft.channel.clone()), self.now.instant);
        self.owed.retain(|_, (_, until)| *until > now);
        if !self.broker.full {
            if let Some((awaited, _)) = self.owed.remove(&place) {
                assert_eq!(draft.key, Some(awaited), "in {}", draft.channel);
            }
            return;
        }
        let Some(key) = &draft.key else {
            return;
        };
        let until = now + Duration::from_secs(5);
        match self.owed.get_mut(&place) {
            Some((awaited, again)) if *awaited == *key => *again = until,
            Some(_) => {}
            None => drop(self.owed.insert(place, (key.clone(), until))),
        }
    }

    /// Takes what a worker delivers. It may handle several events of the broker before its requests
    /// are submitted.
    fn take_deliveries(&mut self, worker: usize) {
        loop {
            let mut full = Vec::new();
            let Some(delivery) = self.workers[worker].poll_delivery() else {
                break;
            };
            let live = matches!(delivery, Delivery::Broadcast { .. });
            let mut sent: Vec<(ConnectionId, Wire)> = Vec::new();
            match delivery {
                Delivery::Broadcast {
                    publication,
                    filter,
                    recipients,
                    place,
                    ..
                } => {
                    let handed = Handed {
                        place,
                        deliveries: 0,
                        state: false,
                    };
                    let target = || Target::from(publication.channel.clone());
                    let target = filter.cloned().unwrap_or_else(target);
                    for (connection, id) in recipients.iter() {
                        let target = target.clone();
                        let key = SubscriptionName { target, id }.key();
                        let publication = Arc::clone(&publication);
                        sent.push((connection, Wire::Publication(key, publication, handed)));
                    }
                }
                Delivery::Publication {
                    connection,
                    subscription,
                    publication,
                    place,
                    deliveries,
                    state,
                    ..
                } => {
                    let handed = Handed {
                        place,
                        deliveries,
                        state,
                    };
                    let wire = Wire::Publication(subscription.key(), publication, handed);
                    sent.push((connection, wire));
                }
                Delivery::Presence {
                    change, recipients, ..
                } => {
                    for connection in recipients.connections() {
                        sent.push((*connection, Wire::Presence(Arc::clone(&change))));
                    }
                }
                Delivery::Connection { connection, notice } => {
                    sent.push((connection, Wire::Notice(notice)));
                }
                Delivery::Mark { connection, mark } => sent.push((connection, Wire::Mark(mark))),
            }
            for (connection, wire) in sent {
                let to = self
                    .clients
                    .iter_mut()
                    .find(|c| c.connection == Some((worker, connection)));
                let to = to.expect("nothing is delivered to a connection that is gone");
                to.outbox.push_back(wire);
                if live && to.outbox_bytes() > OUTBOX {
                    full.push(connection);
                }
            }
            for connection in full {
                self.workers[worker].handle_full(connection);
            }
        }
    }

    /// The application answers the oldest or the newest question of a worker, if there is one.
    pub(crate) fn decide(&mut self, worker: usize, oldest: bool, allowed: bool) {
        while let Some(ask) = self.workers[worker].poll_ask() {
            self.asks[worker].push(ask);
        }
        if self.asks[worker].is_empty() {
            return;
        }
        let at = if oldest {
            0
        } else {
            self.asks[worker].len() - 1
        };
        let ask = self.asks[worker].remove(at);
        let no = || Verdict::Refused(Refusal::new(ErrorCode::Forbidden, "no"));
        let verdict = if allowed { Verdict::Allowed } else { no() };
        self.workers[worker].handle_verdict(ask.id, verdict, self.now);
        self.pump(worker);
    }

    /// Lets the broker answer and clients read, without any time passing.
    pub(crate) fn settle_at_once(&mut self) {
        for _ in 0..20 {
            for worker in 0..self.workers.len() {
                let all = self.broker.requests[worker].len();
                self.broker_works(worker, all);
                self.deliver(worker, usize::MAX);
            }
            for client in 0..self.clients.len() {
                self.read(client, usize::MAX);
            }
        }
    }

    /// Ends some more subscriptions of closed connections. Returns whether there are more.
    pub(crate) fn leave_on(&mut self, worker: usize) -> bool {
        let more = self.workers[worker].leave_on();
        self.pump(worker);
        more
    }

    /// Lets the broker answer, while clients read nothing.
    pub(crate) fn settle_broker(&mut self) {
        while !self.broker.is_idle() {
            for worker in 0..self.workers.len() {
                let all = self.broker.requests[worker].len();
                self.broker_works(worker, all);
                self.deliver(worker, usize::MAX);
            }
        }
    }

    /// Works until nothing is pending, with no time passing. Returns all requests to the broker.
    pub(crate) fn requests(&mut self) -> Vec<BrokerRequest> {
        let mut all = Vec::new();
        while !self.broker.is_idle() {
            for worker in 0..self.workers.len() {
                all.extend(self.broker.requests[worker].iter().cloned());
                let count = self.broker.requests[worker].len();
                self.broker_works(worker, count);
                self.deliver(worker, usize::MAX);
            }
            for client in 0..self.clients.len() {
                self.read(client, usize::MAX);
            }
        }
        all
    }

    /// Runs until nothing is pending: the broker answers, clients read, time passes.
    pub(crate) fn settle(&mut self) {
        // Failed requests are retried after a pause: everything is settled only when pauses cause
        // nothing new.
        let (mut pauses, mut rounds) = (0, 0);
        while pauses < 6 {
            rounds += 1;
            assert!(rounds < 10_000, "the world never comes to rest");
            for worker in 0..self.workers.len() {
                let all = self.broker.requests[worker].len();
                self.broker_works(worker, all);
                self.deliver(worker, usize::MAX);
            }
            for worker in 0..self.workers.len() {
                self.leave_on(worker);
            }
            for client in 0..self.clients.len() {
                self.read(client, usize::MAX);
            }
            let left = self.workers.iter().all(|worker| !worker.is_leaving());
            if left && self.broker.is_idle() && self.clients.iter().all(|c| c.outbox.is_empty()) {
                pauses += 1;
                self.wait(Duration::from_secs(1));
            }
        }
    }
}

/// An arbitrary start instant: the engine only uses differences.
trait NowForTests {
    fn now_for_tests() -> Self;
}

impl NowForTests for Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one instant that all tests count from"
    )]
    fn now_for_tests() -> Self {
        Self::now()
    }
}

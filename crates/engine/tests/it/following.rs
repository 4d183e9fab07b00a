//! How a worker follows streams: what it reads and asks of the broker, and no more than that.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::{World, bare, channel, rules, tight_limits};

fn filter(text: &str) -> Filter {
    Filter::new(text).unwrap()
}

/// The number of reads of history, and of requests for the head of a stream.
fn count<'a>(requests: impl IntoIterator<Item = &'a BrokerRequest>) -> (usize, usize) {
    let (mut reads, mut heads) = (0, 0);
    for request in requests {
        match request {
            BrokerRequest::History { .. } | BrokerRequest::FilterHistory { .. } => reads += 1,
            BrokerRequest::Follow { .. } | BrokerRequest::FollowFilter { .. } => heads += 1,
            _ => {}
        }
    }
    (reads, heads)
}

/// Clients on alternating workers.
fn world(workers: usize, clients: usize) -> World {
    let mut world = World::new(workers, clients);
    for client in 0..clients {
        world.connect(client, client % workers, false);
    }
    world
}

fn subscribe(world: &mut World, client: usize, wish: Subscribe) {
    world.command(client, Command::Subscribe(wish));
    world.settle();
}

fn publish(world: &mut World, client: usize, names: &[&str]) {
    for name in names {
        world.publish(client, name, name);
    }
}

#[test]
fn a_filter_that_missed_publications_reads_each_page_once() {
    let mut world = world(1, 2);
    subscribe(&mut world, 0, Subscribe::new(filter("kept/+"), Since::Now));
    world.cut(0);
    // Pages have three here, and the order goes on in other channels.
    publish(
        &mut world,
        1,
        &["kept/a", "kept/b", "kept/a", "kept/b", "flow/c", "flow/c"],
    );
    world.settle();
    world.connect(0, 0, false);
    assert_eq!(count(&world.requests()), (2, 1));
    assert_eq!(world.clients[0].publications().len(), 4);
}

#[test]
fn a_filter_does_not_read_on_while_its_client_does_not_read() {
    let mut world = world(1, 2);
    subscribe(&mut world, 0, Subscribe::new(filter("kept/+"), Since::Now));
    world.cut(0);
    publish(&mut world, 1, &["kept/a"; 12]);
    world.settle();
    world.connect(0, 0, false);
    let mut reads = 0;
    while !world.broker.is_idle() {
        reads += count(&world.broker.requests[0]).0;
        let all = world.broker.requests[0].len();
        world.broker_works(0, all);
        world.deliver(0, usize::MAX);
    }
    // The first page fills the outbox.
    assert_eq!(reads, 1);
    world.settle();
    assert_eq!(world.clients[0].publications().len(), 12);
}

#[test]
fn a_filter_that_is_up_to_date_reads_nothing_when_other_channels_publish_in_between() {
    let mut world = world(1, 2);
    let wish = Subscribe::new(filter("kept/+"), Since::Now).numbered(1);
    subscribe(&mut world, 0, wish.acknowledged(10));
    publish(
        &mut world,
        1,
        &["kept/a", "flow/c", "kept/b", "flow/c", "flow/c", "kept/a"],
    );
    assert_eq!(count(&world.requests()), (0, 0));
    assert_eq!(world.clients[0].publications().len(), 3);
}

#[test]
fn a_filter_ahead_of_its_new_worker_waits_and_gets_no_duplicate() {
    for others in [0, 2] {
        let mut world = world(2, 2);
        for client in 0..2 {
            subscribe(
                &mut world,
                client,
                Subscribe::new(filter("kept/+"), Since::Now),
            );
        }
        publish(&mut world, 0, &["kept/a"]);
        world.broker_works(0, 1);
        world.deliver(0, usize::MAX);
        world.read(0, 9);
        assert_eq!(world.clients[0].texts("kept/a").len(), 1);
        // Not matched, but part of the same order.
        publish(&mut world, 0, &["flow/c", "flow/c"][..others]);
        world.broker_works(0, others);
        // The other worker has not received it when the client connects to it.
        world.cut(0);
        world.connect(0, 1, false);
        let (mut reads, mut heads) = (0, 0);
        for _ in 0..3 {
            let now = count(&world.broker.requests[1]);
            (reads, heads) = (reads + now.0, heads + now.1);
            let all = world.broker.requests[1].len();
            world.broker_works(1, all);
            while let Some(read) = world.broker.next_read(1) {
                world.workers[1].handle_broker(read, world.now);
            }
            world.pump(1);
        }
        assert_eq!((reads, heads), (1, 1), "{others}");
        assert_eq!(count(&world.requests()), (0, 0), "{others}");
        world.settle();
        publish(&mut world, 1, &["kept/a"]);
        world.settle();
        assert_eq!(world.clients[0].texts("kept/a").len(), 2);
        assert_eq!(world.clients[1].texts("kept/a").len(), 2);
    }
}

#[test]
fn a_client_that_knows_a_new_epoch_before_its_worker_causes_one_read_and_one_request_for_the_head()
{
    let mut world = world(2, 2);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    publish(&mut world, 0, &["kept/a"]);
    world.settle();
    world.broker.new_epoch(&channel("kept/a"));
    world.subscribe(1, "kept/a", Since::Now);
    world.broker_works(1, 9);
    world.deliver(1, usize::MAX);
    world.read(1, 9);
    world.cut(1);
    // The other worker gets the events of the broker later.
    world.connect(1, 0, false);
    let (mut reads, mut heads) = (0, 0);
    for _ in 0..5 {
        let all = &mut world.broker.requests[0];
        let now = count(&*all);
        (reads, heads) = (reads + now.0, heads + now.1);
        // The head is not told yet.
        all.retain(|request| !matches!(request, BrokerRequest::Follow { .. }));
        let all = all.len();
        world.broker_works(0, all);
        while let Some(read) = world.broker.next_read(0) {
            world.workers[0].handle_broker(read, world.now);
        }
        world.pump(0);
    }
    assert_eq!((reads, heads), (1, 1));
}

#[test]
fn live_subscribers_read_what_they_missed_when_a_read_of_another_shows_a_new_epoch() {
    let mut world = world(2, 3);
    world.subscribe(0, "kept/a", Since::Now);
    world.settle();
    publish(&mut world, 0, &["kept/a"]);
    world.settle();
    world.broker.restart(&channel("kept/a"), 0);
    publish(&mut world, 1, &["kept/a"]);
    world.broker_works(1, 9);
    // Its worker never receives these events.
    while world.broker.next_event(0).is_some() {}
    world.settle();
    assert_eq!(world.clients[0].texts("kept/a").len(), 1);
    let since = Since::Position(Position::new(2, 2));
    let wish = Subscribe::new(channel("kept/a"), since);
    subscribe(&mut world, 2, wish);
    assert_eq!(world.clients[0].texts("kept/a").len(), 2);
    assert!(world.clients[0].gaps().is_empty());
}

#[test]
fn a_position_ahead_of_a_stream_without_history_is_unknown() {
    let mut world = world(1, 2);
    publish(&mut world, 0, &["flow/c"]);
    world.settle();
    let since = Since::Position(Position::new(1, 99));
    subscribe(&mut world, 1, Subscribe::new(channel("flow/c"), since));
    assert_eq!(world.clients[1].gaps(), [GapReason::UnknownPosition]);
}

#[test]
fn an_old_publication_that_comes_again_changes_nothing() {
    let mut world = world(1, 2);
    for client in 0..2 {
        world.subscribe(client, "kept/a", Since::Now);
    }
    world.settle();
    publish(&mut world, 0, &["kept/a"; 3]);
    world.settle();
    let again = Arc::clone(&world.broker.streams[&channel("kept/a")].all[&(1, 1)]);
    world.workers[0].handle_broker(BrokerEvent::Publication(again), world.now);
    world.pump(0);
    assert!(world.clients[0].outbox.is_empty());
    assert!(world.broker.requests[0].is_empty());
}

#[test]
fn a_lag_in_which_nothing_was_lost_is_not_told_to_anyone() {
    let mut world = world(1, 2);
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    subscribe(&mut world, 0, wish.acknowledged(10));
    publish(&mut world, 1, &["kept/a"]);
    world.settle();
    world.workers[0].handle_broker(BrokerEvent::Lagged, world.now);
    world.pump(0);
    assert_eq!(count(&world.requests()), (0, 1));
    publish(&mut world, 1, &["kept/a"]);
    assert_eq!(count(&world.requests()), (0, 0));
    let told = world.clients[0].notices().into_iter().any(|notice| {
        matches!(
            notice,
            Notice::CatchingUp { .. } | Notice::Live { .. } | Notice::Gap { .. }
        )
    });
    assert!(!told);
    assert_eq!(world.clients[0].publications().len(), 2);
}

#[test]
fn a_channel_whose_state_is_kept_drops_for_the_slow_unless_its_rule_says_state() {
    let rules = ChannelRules {
        history: History::NONE,
        slow: SlowPolicy::DropOldest,
        state: State {
            count: 100,
            bytes: 1 << 20,
            age: None,
        },
        ..ChannelRules::default()
    };
    let book = RuleBook::new().with("flow/*", rules);
    let mut world = World::with(1, 2, &tight_limits(), book);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    world.subscribe(1, "flow/c", Since::Now);
    world.settle();
    for n in 0..30 {
        world.publish_with(0, "flow/c", "x", None, &n.to_string());
        world.settle_broker();
    }
    world.settle();
    assert_eq!(world.clients[1].gaps(), [GapReason::Dropped]);
}

#[test]
fn a_subscription_with_a_window_tells_its_own_publications_from_those_of_others() {
    let mut world = world(1, 2);
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    subscribe(&mut world, 0, wish.acknowledged(4).without_echo());
    for client in [0, 1, 0, 1, 1, 0] {
        publish(&mut world, client, &["kept/a"]);
        world.settle();
    }
    let own = world.clients[0].notices().into_iter();
    let own = own.filter(|notice| matches!(notice, Notice::Own { .. }));
    assert_eq!(own.count(), 3);
    assert_eq!(world.clients[0].deliveries(), [(2, 1), (4, 1), (5, 1)]);
}

#[test]
fn what_was_not_acknowledged_before_a_restart_without_loss_is_delivered_again() {
    let mut world = world(1, 2);
    let wish = Subscribe::new(channel("kept/a"), Since::Now);
    subscribe(&mut world, 0, wish.acknowledged(3));
    publish(&mut world, 1, &["kept/a"; 2]);
    world.settle();
    world.issue_token(0);
    world.settle();
    world.cut(0);
    world.clients[0].read.clear();
    world.broker.restart(&channel("kept/a"), 0);
    publish(&mut world, 1, &["kept/a"]);
    world.settle();
    world.connect(0, 0, true);
    world.settle();
    assert_eq!(world.clients[0].deliveries(), [(1, 2), (2, 2), (3, 1)]);
}

#[test]
fn publications_reach_a_subscription_that_the_server_made_in_a_channel_that_nobody_may_read() {
    let secret = ChannelRules {
        subscribe: Access::Nobody,
        ..ChannelRules::default()
    };
    let book = RuleBook::new().with("secret/*", secret);
    let mut world = World::with(1, 2, &tight_limits(), book);
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    for (client, echo) in [(0, true), (1, false)] {
        let wish = Subscribe {
            echo,
            ..Subscribe::new(channel("secret/a"), Since::Now)
        };
        world.clients[client].expects(&wish);
        let whom = Whom::Session(world.clients[client].session);
        world.workers[0].subscribe_for(&whom, &wish, world.now);
        world.pump(0);
    }
    world.settle();
    for client in 0..2 {
        publish(&mut world, client, &["secret/a"]);
        world.settle();
    }
    assert_eq!(world.clients[0].deliveries().len(), 2);
    assert_eq!(
        world.clients[1].deliveries().len(),
        1,
        "the other is its own"
    );
}

#[test]
fn of_two_subscribers_to_a_filter_the_one_with_a_grant_gets_what_needs_one() {
    let granted = ChannelRules {
        subscribe: Access::Granted,
        ..ChannelRules::default()
    };
    let book = RuleBook::new()
        .with("kept/secret", granted)
        .with("kept/*", ChannelRules::default());
    let mut world = World::with(1, 4, &tight_limits(), book);
    let ann = Identity::user("ann").with("kept/*", Verbs::SUBSCRIBE);
    world.clients[1].identity = ann.into();
    for client in 0..4 {
        world.connect(client, 0, false);
    }
    for client in 0..3 {
        subscribe(
            &mut world,
            client,
            Subscribe::new(filter("kept/+"), Since::Now),
        );
    }
    publish(&mut world, 3, &["kept/secret", "kept/a"]);
    world.settle();
    let came = |client: usize| world.clients[client].publications().len();
    assert_eq!([came(0), came(1), came(2)], [1, 2, 1]);
}

/// An engine whose first client follows a target, of which the head is the fourth publication.
struct Alone {
    engine: Engine,
    first: ConnectionId,
}

impl Alone {
    fn following(target: impl Into<Target>) -> Self {
        let book = RuleBook::everything(ChannelRules::default());
        let mut engine = Engine::new(Limits::default(), Arc::new(book), bare::now());
        let first = Self::open(&mut engine, 1, Subscribe::new(target, Since::Now));
        let mut alone = Self { engine, first };
        let id = alone.head_asked().expect("the stream is followed");
        alone.head(id, Position::new(1, 4));
        alone
    }

    fn open(engine: &mut Engine, n: u8, wish: Subscribe) -> ConnectionId {
        let arrival = Arrival::new(bare::session(n), bare::identity());
        let connection = engine.handle_connection_opened(arrival, bare::now());
        let connection = connection.unwrap();
        engine.handle_command(
            connection,
            CommandId(1),
            Command::Subscribe(wish),
            bare::now(),
        );
        bare::told(engine);
        connection
    }

    fn requests(&mut self) -> Vec<BrokerRequest> {
        std::iter::from_fn(|| self.engine.poll_broker_request()).collect()
    }

    /// The request for a head, which is the only one.
    fn head_asked(&mut self) -> Option<RequestId> {
        match self.requests()[..] {
            [BrokerRequest::Follow { id, .. } | BrokerRequest::FollowFilter { id, .. }] => Some(id),
            _ => None,
        }
    }

    fn head(&mut self, id: RequestId, head: Position) {
        let stream = StreamState {
            head,
            first: 1,
            trimmed: Trimmed::BySize,
        };
        let followed = BrokerEvent::Followed { id, stream };
        self.engine.handle_broker(followed, bare::now());
        bare::told(&mut self.engine);
    }

    fn publication(&mut self, position: Position, previous: Position) {
        let draft = Draft {
            channel: channel("a/x"),
            data: "x".into(),
            format: Format::Text,
            tags: Tags::default(),
            publisher: None,
            key: None,
            time_ms: 1_000_000,
        };
        let publication = Arc::new(draft.at(Place {
            position,
            previous,
            sequence: position.offset,
        }));
        let event = BrokerEvent::Publication(publication);
        self.engine.handle_broker(event, bare::now());
        bare::told(&mut self.engine);
    }

    /// A second client of the same filter is at 6, where a read finds nothing. Returns the request for
    /// the head that follows.
    fn a_second_client_is_ahead(&mut self) -> RequestId {
        let since = Since::Position(Position::new(1, 6));
        Self::open(&mut self.engine, 2, Subscribe::new(filter("a/#"), since));
        let [BrokerRequest::FilterHistory { id, after, .. }] = self.requests()[..] else {
            panic!()
        };
        let read = BrokerEvent::FilterHistory {
            id,
            head: after,
            start: ReadStart::at(after),
            gaps: Vec::new(),
            publications: Vec::new(),
            complete: true,
        };
        self.engine.handle_broker(read, bare::now());
        bare::told(&mut self.engine);
        self.head_asked().expect("it asks for the head")
    }

    /// Where the first client would resume.
    fn place(&self) -> Position {
        let snapshot = self.engine.snapshot(self.first, bare::now()).unwrap();
        snapshot.subscriptions[0].position
    }
}

#[test]
fn a_new_epoch_is_noticed_although_its_offsets_are_smaller() {
    let mut alone = Alone::following(channel("a/x"));
    alone.publication(Position::new(2, 1), Position::new(2, 0));
    assert_eq!(count(&alone.requests()), (1, 0));
}

#[test]
fn a_head_of_a_filter_that_is_older_than_what_was_delivered_is_ignored() {
    let mut alone = Alone::following(filter("a/#"));
    let id = alone.a_second_client_is_ahead();
    alone.publication(Position::new(1, 9), Position::new(1, 4));
    assert_eq!(alone.place(), Position::new(1, 9));
    alone.head(id, Position::new(1, 6));
    assert_eq!(alone.place(), Position::new(1, 9));
    assert_eq!(count(&alone.requests()), (0, 0), "nobody reads");
}

#[test]
fn a_newer_head_of_a_filter_makes_live_subscribers_read_only_if_something_was_dropped() {
    let reads = |alone: &mut Alone| -> Vec<u64> {
        let after = |request| match request {
            BrokerRequest::FilterHistory { after, .. } => Some(after.offset),
            _ => None,
        };
        alone.requests().into_iter().filter_map(after).collect()
    };
    let mut alone = Alone::following(filter("a/#"));
    alone.engine.handle_broker(BrokerEvent::Lagged, bare::now());
    bare::told(&mut alone.engine);
    let id = alone.head_asked().expect("it asks for the head");
    alone.head(id, Position::new(1, 8));
    assert_eq!(reads(&mut alone), [4]);
    let mut alone = Alone::following(filter("a/#"));
    let id = alone.a_second_client_is_ahead();
    alone.head(id, Position::new(1, 8));
    assert_eq!(reads(&mut alone), [6], "only the one that was ahead");
    assert_eq!(alone.place(), Position::new(1, 8));
}

/// Seen from outside, memory that is not freed differs in nothing else.
#[test]
fn an_idle_connection_and_its_channel_hold_nothing_of_what_is_over() {
    let mut world = world(1, 2);
    publish(&mut world, 1, &["kept/a"; 10]);
    world.settle();
    let since = Since::Position(Position::new(1, 2));
    let wish = Subscribe::new(channel("kept/a"), since).with_presence();
    subscribe(&mut world, 0, wish);
    let (_, connection) = world.clients[0].connection.unwrap();
    let hour = std::time::Duration::from_secs(3600);
    for expiry in [Some(hour), None] {
        world.workers[0].set_durable(connection, expiry);
    }
    // It is slow for a while.
    for _ in 0..20 {
        publish(&mut world, 1, &["kept/a"]);
        world.settle_broker();
    }
    assert!(format!("{:?}", world.workers[0]).contains("CatchingUp"));
    world.settle();
    assert!(world.clients[0].to("kept/a").live);
    assert_eq!(world.clients[0].publications().len(), 28);
    // Another one leaves before it gets what it asked for.
    let wish = Subscribe::new(channel("kept/a"), since);
    world.command(1, Command::Subscribe(wish));
    world.pump(0);
    let subscription = channel("kept/a").into();
    world.command(1, Command::Unsubscribe { subscription });
    world.settle();
    let engine = format!("{:?}", world.workers[0]);
    for held in ["CatchingUp", "Extra"] {
        assert!(!engine.contains(held), "{held} in {engine}");
    }
}

#[test]
fn a_bounded_window_reads_only_as_much_as_it_has_room_for() {
    let limits = Limits {
        page_count: 100,
        outbox_bytes: 1 << 20,
        ..tight_limits()
    };
    let mut world = World::with(1, 2, &limits, rules());
    for client in 0..2 {
        world.connect(client, 0, false);
    }
    publish(&mut world, 1, &["kept/a"; 20]);
    world.settle();
    let wish = Subscribe::new(channel("kept/a"), Since::Start).acknowledged(5);
    world.command(0, Command::Subscribe(wish));
    let limits: Vec<_> = world
        .requests()
        .into_iter()
        .filter_map(|request| match request {
            BrokerRequest::History { limit, .. } => Some(limit.count),
            _ => None,
        })
        .collect();
    assert_eq!(limits.first(), Some(&5));
}

//! Permissions that a dialect has verified itself: permitted commands, and a session's identity in a
//! channel.

use std::sync::Arc;

use offhook_engine::*;

use crate::world::bare;

const CHANNEL: &str = "private-a";

fn name() -> ChannelName {
    ChannelName::new(CHANNEL).unwrap()
}

struct Alone {
    engine: Engine,
    connection: ConnectionId,
}

impl Alone {
    fn new(rules: ChannelRules) -> Self {
        let book = Arc::new(RuleBook::everything(rules));
        let mut engine = Engine::new(Limits::default(), book, bare::now());
        let arrival = Arrival::new(bare::session(1), bare::identity());
        let connection = engine
            .handle_connection_opened(arrival, bare::now())
            .unwrap();
        Self { engine, connection }
    }

    fn permitted(&mut self, command: Command) -> Vec<BrokerRequest> {
        self.engine
            .handle_permitted(self.connection, CommandId(1), command, bare::now());
        self.requests()
    }

    fn requests(&mut self) -> Vec<BrokerRequest> {
        // Decisions are made when deliveries are taken.
        while self.engine.poll_delivery().is_some() {}
        std::iter::from_fn(|| self.engine.poll_broker_request()).collect()
    }

    fn refusals(&mut self) -> Vec<ErrorCode> {
        let mut codes = Vec::new();
        while let Some(delivery) = self.engine.poll_delivery() {
            if let Delivery::Connection {
                notice:
                    Notice::Reply {
                        reply: Reply::Refused(refusal),
                        ..
                    },
                ..
            } = delivery
            {
                codes.push(refusal.code);
            }
        }
        codes
    }

    /// Follows the channel and begins the subscription.
    fn begin(&mut self, requests: Vec<BrokerRequest>) -> Vec<BrokerRequest> {
        let followed = requests.into_iter().find_map(|request| match request {
            BrokerRequest::Follow { id, .. } => Some(id),
            _ => None,
        });
        let event = BrokerEvent::Followed {
            id: followed.unwrap(),
            stream: StreamState {
                head: Position::new(1, 0),
                first: 1,
                trimmed: Trimmed::default(),
            },
        };
        self.engine.handle_broker(event, bare::now());
        self.requests()
    }
}

fn with(access: Access) -> ChannelRules {
    ChannelRules {
        publish: access,
        subscribe: access,
        ..ChannelRules::default()
    }
}

fn publish() -> Command {
    Command::Publish {
        channel: name(),
        data: "1".into(),
        format: Format::Json,
        tags: Tags::default(),
        key: None,
    }
}

#[test]
fn a_permitted_command_needs_no_other_permission_unless_nobody_has_it() {
    for access in [
        Access::Everyone,
        Access::Users,
        Access::Granted,
        Access::Asked,
    ] {
        let mut alone = Alone::new(with(access));
        let wish = Command::Subscribe(Subscribe::new(name(), Since::Now));
        let asked = alone.permitted(wish);
        assert!(
            matches!(asked[..], [BrokerRequest::Follow { .. }]),
            "{access:?}: {asked:?}"
        );
        if access == Access::Asked {
            // What a client publishes is not known to whoever has signed for it.
            assert!(alone.permitted(publish()).is_empty());
            let ask = alone.engine.poll_ask().unwrap();
            assert!(matches!(ask.wish, Wish::Publish { .. }));
            continue;
        }
        let asked = alone.permitted(publish());
        assert!(
            matches!(asked[..], [BrokerRequest::Publish { .. }]),
            "{access:?}: {asked:?}"
        );
        assert!(alone.engine.poll_ask().is_none());
    }
    let mut alone = Alone::new(with(Access::Nobody));
    for command in [
        Command::Subscribe(Subscribe::new(name(), Since::Now)),
        publish(),
    ] {
        alone
            .engine
            .handle_permitted(alone.connection, CommandId(1), command, bare::now());
        assert_eq!(alone.refusals(), [ErrorCode::Forbidden]);
    }
}

#[test]
fn a_permitted_subscription_survives_a_change_of_the_identity() {
    let mut alone = Alone::new(with(Access::Granted));
    let asked = alone.permitted(Command::Subscribe(Subscribe::new(name(), Since::Now)));
    alone.begin(asked);
    let whom = Whom::Session(bare::session(1));
    let identity = Arc::new(Identity::user("ann"));
    alone
        .engine
        .replace_identity(&whom, &identity, "it changed", bare::now());
    let told = bare::told(&mut alone.engine);
    assert!(
        told.iter().all(|told| !told.starts_with("Unsubscribed")),
        "{told:?}"
    );
}

#[test]
fn a_session_is_a_member_and_publishes_under_its_face_in_that_channel_only() {
    let mut alone = Alone::new(with(Access::Everyone));
    let face = Face {
        user: "ann".into(),
        info: "{\"n\":1}".into(),
    };
    let wish = Subscribe::new(name(), Since::Now)
        .with_presence()
        .faced(face);
    let asked = alone.permitted(Command::Subscribe(wish));
    let asked = alone.begin(asked);
    let member = asked.iter().find_map(|request| match request {
        BrokerRequest::Join { member, .. } => Some(member),
        _ => None,
    });
    let member = member.unwrap();
    assert_eq!(
        (&*member.user, &member.info[..]),
        ("ann", &b"{\"n\":1}"[..])
    );
    let publisher = |alone: &mut Alone, channel: &str| {
        let command = Command::Publish {
            channel: ChannelName::new(channel).unwrap(),
            data: "1".into(),
            format: Format::Json,
            tags: Tags::default(),
            key: None,
        };
        let asked = alone.permitted(command);
        let Some(BrokerRequest::Publish { draft, .. }) = asked.into_iter().next() else {
            panic!("nothing is published")
        };
        draft.publisher.unwrap().user
    };
    assert_eq!(&*publisher(&mut alone, CHANNEL), "ann");
    assert_eq!(&*publisher(&mut alone, "other"), "");
    // The face ends with the subscription.
    let end = Command::Unsubscribe {
        subscription: name().into(),
    };
    alone.permitted(end);
    assert_eq!(&*publisher(&mut alone, CHANNEL), "");
}

#[test]
fn a_caller_publishes_on_behalf_of_a_session() {
    let mut alone = Alone::new(with(Access::Nobody));
    let publisher = Publisher {
        session: bare::session(1),
        user: "".into(),
    };
    alone
        .engine
        .handle_caller_for(CallerId(7), publisher.clone(), publish(), bare::now());
    let asked = alone.requests();
    let [BrokerRequest::Publish { draft, .. }] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert_eq!(draft.publisher.as_ref(), Some(&publisher));
}

#[test]
fn a_subscription_can_be_ended_at_any_rate() {
    let limits = Limits {
        commands_per_second: 1,
        command_burst: 8,
        ..Limits::default()
    };
    let book = Arc::new(RuleBook::everything(with(Access::Everyone)));
    let mut engine = Engine::new(limits, book, bare::now());
    let arrival = Arrival::new(bare::session(1), bare::identity());
    let connection = engine
        .handle_connection_opened(arrival, bare::now())
        .unwrap();
    let name = |n: u64| ChannelName::new(&format!("a{n}")).unwrap();
    for n in 0..8 {
        let wish = Command::Subscribe(Subscribe::new(name(n), Since::Now));
        engine.handle_command(connection, CommandId(n), wish, bare::now());
    }
    for n in 0..8 {
        let subscription = name(n).into();
        let end = Command::Unsubscribe { subscription };
        engine.handle_command(connection, CommandId(10 + n), end, bare::now());
    }
    let mut ended = 0;
    while let Some(delivery) = engine.poll_delivery() {
        if let Delivery::Connection {
            notice:
                Notice::Reply {
                    id: Some(id),
                    reply,
                },
            ..
        } = delivery
            && id.0 >= 10
        {
            assert!(matches!(reply, Reply::Unsubscribed { .. }), "{reply:?}");
            ended += 1;
        }
    }
    assert_eq!(ended, 8);
}

#[test]
fn a_guarded_channel_needs_a_grant_unless_its_own_rule_opens_it() {
    let open = with(Access::Everyone);
    let book = RuleBook::new()
        .with("private-lobby", open.clone())
        .with("private-news*", with(Access::Nobody))
        .with("*", with(Access::Users))
        .with_guarded("private-");
    let access = |name: &str| {
        let name = ChannelName::new(name).unwrap();
        let rules = book.rules(&name).unwrap();
        (rules.publish, rules.subscribe)
    };
    assert_eq!(
        access("private-lobby"),
        (Access::Everyone, Access::Everyone)
    );
    assert_eq!(access("private-news7"), (Access::Nobody, Access::Nobody));
    assert_eq!(access("private-a"), (Access::Granted, Access::Granted));
    assert_eq!(access("a"), (Access::Users, Access::Users));
}

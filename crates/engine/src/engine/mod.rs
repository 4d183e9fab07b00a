//! The engine: see [`Engine`].

mod acknowledging;
mod admitting;
mod applying;
mod asks;
mod calling;
mod catch_up;
mod channel_state;
mod commands;
mod connections;
mod durable;
mod events;
mod fan_out;
mod following;
mod identities;
mod leaving;
mod members;
mod permissions;
mod presence;
mod progress;
mod publishing;
mod questions;
mod reading;
mod receipts;
mod recent;
mod replies;
mod requests;
mod server_side;
mod sharing;
mod shrinking;
mod state;
mod subscriptions;
mod values;

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::Arc,
    time::Instant,
};

use crate::{
    ask::{CallerId, CallerReply},
    broker::{BrokerRequest, PresenceChange},
    channel_name::ChannelName,
    command::{CommandId, Now},
    delivery::{ConnectionId, Delivery, Notice, Reply},
    error::{ErrorCode, Refusal},
    filter::FilterTrie,
    limits::Limits,
    publication::{Key, Publication},
    rules::{ChannelRules, RuleBook},
    session::{Identity, SessionId},
    slab::{Slab, Slot},
    subscription::SubscriptionName,
};

use applying::Applying;
use asks::Asks;
use fan_out::Underway;
use identities::{RecentGrants, Users};
use leaving::Leaving;
use requests::Requests;
use state::{Again, Connection, Feed, Group, Item, Subscription};

/// The engine of one worker: sessions, channels, recovery, presence and backpressure.
///
/// It does no I/O and has no clock: call it from an event loop.
///
/// - `handle_*` tells it what happened: [`handle_connection_opened`](Self::handle_connection_opened),
///   [`handle_connection_resumed`](Self::handle_connection_resumed),
///   [`handle_command`](Self::handle_command), [`handle_refused`](Self::handle_refused),
///   [`handle_caller`](Self::handle_caller), [`handle_connect`](Self::handle_connect),
///   [`handle_verdict`](Self::handle_verdict), [`handle_broker`](Self::handle_broker),
///   [`handle_full`](Self::handle_full), [`handle_writable`](Self::handle_writable),
///   [`handle_receipt`](Self::handle_receipt), [`handle_connection_lost`](Self::handle_connection_lost),
///   [`handle_connection_closed`](Self::handle_connection_closed), [`handle_timeout`](Self::handle_timeout),
///   [`leave_on`](Self::leave_on), [`apply_on`](Self::apply_on), [`handle_drain`](Self::handle_drain), [`admit_command`](Self::admit_command).
/// - Actions of the server on sessions: [`subscribe_for`](Self::subscribe_for), [`tell`](Self::tell),
///   [`unsubscribe_for`](Self::unsubscribe_for), [`disconnect`](Self::disconnect),
///   [`replace_identity`](Self::replace_identity), [`set_durable`](Self::set_durable),
///   [`set_rules`](Self::set_rules), [`set_limits`](Self::set_limits),
///   [`set_members_full`](Self::set_members_full), [`ask_receipt`](Self::ask_receipt).
/// - After any of them, `poll_*` until `None`: [`poll_delivery`](Self::poll_delivery) first,
///   since deliveries make requests, then [`poll_broker_request`](Self::poll_broker_request),
///   [`poll_ask`](Self::poll_ask), [`poll_caller_reply`](Self::poll_caller_reply),
///   then [`poll_timeout`](Self::poll_timeout).
/// - Getters: [`snapshot`](Self::snapshot), [`identity`](Self::identity), [`connections`](Self::connections),
///   [`channels`](Self::channels), [`wants_writable`](Self::wants_writable),
///   [`unanswered`](Self::unanswered), [`ends_in_parts`](Self::ends_in_parts), [`progress`](Self::progress).
///
/// The outbox of a connection belongs to the caller, which alone knows its size. Live publications
/// are broadcast without checking for room. If a connection's outbox then exceeds its limit, the
/// caller reports it with `handle_full`, and its subscriptions read from history, as many bytes at
/// a time as `handle_writable` grants. An outbox therefore holds at most its limit and one more
/// publication, plus the replies to commands that the caller chose to read.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    rules: Arc<RuleBook>,
    /// The number of the rules, wrapping: how often they were replaced.
    book: u32,
    applying: Option<Box<Applying>>,
    /// The rules before, if others could read by them.
    earlier_rules: Option<permissions::Earlier>,
    /// The rules of filters: the channels that they match have their own.
    filter_rules: Arc<ChannelRules>,
    connections: Slab<Box<Connection>>,
    sessions: HashMap<SessionId, ConnectionId>,
    users: Users,
    /// The identity of every anonymous client without grants or information.
    stranger: Arc<Identity>,
    recent_grants: RecentGrants,
    subscriptions: Slab<Subscription>,
    /// The number of subscriptions that exclude their session's own publications.
    without_echo: usize,
    feeds: Slab<Feed>,
    names: HashMap<ChannelName, Slot>,
    filters: FilterTrie<Slot>,
    /// Members of each group that shares publications.
    groups: Slab<Group>,
    /// The groups by feed and name.
    group_names: HashMap<(Slot, Key), Slot>,
    items: VecDeque<Item>,
    /// The broadcast whose recipients are taken in parts.
    underway: Option<Underway>,
    /// The join or leave whose recipients are taken in parts.
    telling: Option<presence::Telling>,
    broker_requests: VecDeque<BrokerRequest>,
    /// Connections that have used up what they may be handed out.
    used_up: Vec<ConnectionId>,
    requests: Requests,
    asks: Asks,
    caller_replies: VecDeque<(CallerId, CallerReply)>,
    /// History reads in flight; at most `Limits::reads`.
    reads: usize,
    /// Subscriptions that wait for a free read.
    reads_waiting: VecDeque<Slot>,
    /// Connections that have gone and whose subscriptions end a part at a time.
    leaving: VecDeque<Leaving>,
    /// What failed at the broker and is tried again, by when.
    again: VecDeque<(Instant, Again)>,
    /// The number of subscriptions that make their session a member, as reported to the broker.
    memberships: usize,
    renew_at: Option<Instant>,
    /// Durable sessions whose saved state is outdated.
    stale_sessions: Vec<ConnectionId>,
    /// When to save them.
    save_at: Option<Instant>,
    /// When to save those again that have not changed.
    refresh_at: Option<Instant>,
    started: Instant,
    now: Instant,
    now_unix_ms: u64,
    draining: bool,
    /// Members take so much memory that no more are accepted.
    members_full: bool,
}

/// Queues whose capacity exceeds this are freed when empty.
const QUEUE_KEPT: usize = 4096;

impl Engine {
    /// An engine without connections.
    #[must_use]
    pub fn new(limits: Limits, rules: Arc<RuleBook>, now: Now) -> Self {
        Self {
            limits,
            rules,
            book: 0,
            applying: None,
            earlier_rules: None,
            filter_rules: Arc::new(ChannelRules::of_filters()),
            connections: Slab::new(),
            sessions: HashMap::new(),
            users: Users::default(),
            stranger: Arc::new(Identity::stranger()),
            recent_grants: RecentGrants::default(),
            subscriptions: Slab::new(),
            without_echo: 0,
            feeds: Slab::new(),
            names: HashMap::new(),
            filters: FilterTrie::new(),
            groups: Slab::new(),
            group_names: HashMap::new(),
            items: VecDeque::new(),
            underway: None,
            telling: None,
            broker_requests: VecDeque::new(),
            used_up: Vec::new(),
            requests: Requests::new(),
            asks: Asks::new(),
            caller_replies: VecDeque::new(),
            reads: 0,
            reads_waiting: VecDeque::new(),
            leaving: VecDeque::new(),
            again: VecDeque::new(),
            memberships: 0,
            renew_at: None,
            stale_sessions: Vec::new(),
            save_at: None,
            refresh_at: None,
            started: now.instant,
            now: now.instant,
            now_unix_ms: now.unix_ms,
            draining: false,
            members_full: false,
        }
    }

    /// The number of connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The number of channels and filters with a subscription on this worker.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.feeds.len()
    }

    /// The number of subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Takes the next delivery. Call until `None` after each `handle_*`.
    pub fn poll_delivery(&mut self) -> Option<Delivery<'_>> {
        self.poll_delivery_within(usize::MAX)
    }

    /// As [`poll_delivery`](Self::poll_delivery), with at most this many recipients of a broadcast,
    /// a join or a leave; the next calls return the others. Use it to do other work in between; no
    /// recipient is skipped or served twice because of that.
    pub fn poll_delivery_within(&mut self, recipients: usize) -> Option<Delivery<'_>> {
        let step = self.next_step(recipients)?;
        Some(match step {
            Step::Broadcast {
                feed,
                audience,
                recipients,
                publication,
            } => {
                let feed = self.feeds.get(feed)?;
                let audience = feed.live.get(audience)?;
                let filter = feed.is_filter().then_some(&feed.target);
                Delivery::Broadcast {
                    place: feed.place_of(&publication),
                    publication,
                    filter,
                    class: audience.kind.class,
                    recipients: audience.recipients(recipients.start, recipients.end),
                }
            }
            Step::Presence {
                feed,
                audience,
                recipients,
                change,
            } => {
                let audience = self.feeds.get(feed)?.watchers.as_ref()?.get(audience)?;
                Delivery::Presence {
                    change,
                    class: audience.kind.class,
                    recipients: audience.recipients(recipients.start, recipients.end),
                }
            }
            Step::Publication {
                connection,
                class,
                subscription,
                publication,
                place,
                deliveries,
                state,
            } => Delivery::Publication {
                connection,
                class,
                subscription,
                publication,
                place,
                deliveries,
                state,
            },
            Step::Notice { connection, notice } => Delivery::Connection { connection, notice },
            Step::Mark { connection, mark } => Delivery::Mark { connection, mark },
        })
    }

    fn next_step(&mut self, recipients: usize) -> Option<Step> {
        loop {
            if let Some(step) = self
                .next_recipients(recipients)
                .or_else(|| self.next_watchers(recipients))
            {
                return Some(step);
            }
            let Some(item) = self.items.pop_front() else {
                if self.items.capacity() > QUEUE_KEPT {
                    self.items = VecDeque::new();
                }
                return None;
            };
            if let Some(step) = self.step(item) {
                return Some(step);
            }
        }
    }

    /// Takes the next request to the broker. Call until `None` after `poll_delivery`.
    pub fn poll_broker_request(&mut self) -> Option<BrokerRequest> {
        let next = self.broker_requests.pop_front();
        if next.is_none() && self.broker_requests.capacity() > QUEUE_KEPT {
            self.broker_requests = VecDeque::new();
        }
        next
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let again = self.again.front().map(|(at, _)| *at);
        let (answers, verdicts) = (self.requests.deadline(), self.asks.deadline());
        let in_parts = (self.is_leaving() || self.is_applying()).then_some(self.now);
        let all = [
            self.renew_at,
            again,
            answers,
            verdicts,
            self.save_at,
            self.refresh_at,
            in_parts,
        ];
        all.into_iter().flatten().min()
    }

    /// Handles everything that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.set_now(now);
        self.renew_lease();
        self.leave_on();
        self.apply_on(now);
        self.save_due_sessions();
        while let Some((_, again)) = self.again.pop_front_if(|(at, _)| *at <= now.instant) {
            match again {
                Again::Read { subscription } => self.read_is_free(subscription),
                Again::Follow { feed } => self.follow_again(feed),
                Again::Members { subscription } => self.tell_members(subscription),
                Again::State { subscription } => self.ask_state_of(subscription),
            }
        }
        while let Some((id, pending)) = self.requests.overdue(self.now) {
            let detail = "the broker did not answer in time; try again with the same key";
            let refusal = Refusal::new(ErrorCode::TimedOut, detail);
            self.request_failed(id, &pending, &refusal);
        }
        self.decide_overdue();
    }

    fn step(&mut self, item: Item) -> Option<Step> {
        match item {
            Item::Publication(publication) => {
                self.publication(publication);
                None
            }
            Item::Through {
                filter,
                publication,
            } => {
                self.fan_out(filter, publication);
                None
            }
            Item::Presence(change) => {
                self.presence_changed(&change);
                None
            }
            Item::Begin { subscription } => self.begin(subscription),
            Item::Advance { subscription } => self.advance(subscription),
            Item::Notice { connection, notice } => {
                self.connections
                    .get(connection.into())
                    .filter(|c| !c.gone)?;
                Some(Step::Notice {
                    connection,
                    notice: *notice,
                })
            }
            Item::Mark { connection } => {
                let mark = self.mark(connection)?;
                Some(Step::Mark { connection, mark })
            }
            Item::Lagged => {
                self.lagged();
                None
            }
            Item::Head { feed, stream } => {
                self.head_told(feed, stream);
                None
            }
        }
    }

    fn set_now(&mut self, now: Now) {
        (self.now, self.now_unix_ms) = (now.instant, now.unix_ms);
    }

    fn notice(&mut self, connection: ConnectionId, notice: Notice) {
        self.items.push_back(Item::Notice {
            connection,
            notice: Box::new(notice),
        });
    }

    fn reply(&mut self, connection: ConnectionId, id: Option<CommandId>, reply: Reply) {
        self.notice(connection, Notice::Reply { id, reply });
    }

    fn refuse(&mut self, connection: ConnectionId, id: CommandId, refusal: Refusal) {
        self.reply(connection, Some(id), Reply::Refused(refusal));
    }

    fn try_again(&mut self, again: Again) {
        self.again
            .push_back((self.now + self.limits.read_again_after, again));
    }

    /// Milliseconds since the start, wrapping: the unit of token buckets.
    fn now_ms(&self) -> u32 {
        self.now.saturating_duration_since(self.started).as_millis() as u32
    }
}

/// The result of one queued item: a delivery.
#[derive(Debug)]
enum Step {
    Broadcast {
        feed: Slot,
        audience: usize,
        recipients: Range<usize>,
        publication: Arc<Publication>,
    },
    Presence {
        feed: Slot,
        audience: usize,
        recipients: Range<usize>,
        change: Arc<PresenceChange>,
    },
    Publication {
        connection: ConnectionId,
        class: crate::Class,
        subscription: SubscriptionName,
        publication: Arc<Publication>,
        place: crate::Position,
        deliveries: u16,
        state: bool,
    },
    Notice {
        connection: ConnectionId,
        notice: Notice,
    },
    Mark {
        connection: ConnectionId,
        mark: u32,
    },
}

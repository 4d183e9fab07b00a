//! The engine: see [`Engine`].

mod catch_up;
mod commands;
mod connections;
mod fan_out;
mod presence;
mod receipts;
mod recent;
mod replies;
mod requests;
mod state;
mod subscriptions;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    broker::{BrokerEvent, BrokerRequest},
    channel_name::ChannelName,
    command::{CommandId, Now},
    delivery::{ConnectionId, Delivery, Notice, Reply},
    error::Refusal,
    limits::Limits,
    rules::RuleBook,
    session::SessionId,
    slab::{Slab, Slot},
};

use requests::Requests;
use state::{Again, Channel, Connection, Item, Items, Stage};

/// The engine of one worker: sessions, channels, recovery, presence and backpressure.
///
/// It does no I/O and knows no time: call it from an event loop.
///
/// - `handle_*` tells it what happened: [`handle_connection_opened`](Self::handle_connection_opened),
///   [`handle_command`](Self::handle_command), [`handle_refused`](Self::handle_refused),
///   [`handle_broker`](Self::handle_broker),
///   [`handle_full`](Self::handle_full), [`handle_writable`](Self::handle_writable),
///   [`handle_receipt`](Self::handle_receipt), [`handle_connection_lost`](Self::handle_connection_lost),
///   [`handle_connection_closed`](Self::handle_connection_closed), [`handle_timeout`](Self::handle_timeout),
///   [`handle_drain`](Self::handle_drain).
/// - After any of them, `poll_*` until `None`: [`poll_delivery`](Self::poll_delivery) first,
///   since deliveries make requests, then [`poll_broker_request`](Self::poll_broker_request),
///   then [`poll_timeout`](Self::poll_timeout).
/// - Getters: [`snapshot`](Self::snapshot), [`connections`](Self::connections),
///   [`channels`](Self::channels), [`wants_writable`](Self::wants_writable),
///   [`unanswered`](Self::unanswered).
///
/// The outbox of a connection belongs to the caller, who alone knows its bytes. Live deliveries don't
/// ask: they are broadcast, and whoever's outbox is then above its bound is reported by
/// `handle_full` and reads on from the history, as many bytes at a time as `handle_writable`
/// grants. So an outbox holds at most its bound and one publication more, plus the replies to
/// commands that the caller chose to read.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    rules: Arc<RuleBook>,
    connections: Slab<Connection>,
    sessions: HashMap<SessionId, ConnectionId>,
    channels: Slab<Channel>,
    names: HashMap<ChannelName, Slot>,
    items: Items,
    broker_requests: VecDeque<BrokerRequest>,
    requests: Requests,
    /// History reads under way; at most `Limits::reads`.
    reads: usize,
    /// Subscriptions that wait for a read to be possible.
    reads_waiting: VecDeque<(ConnectionId, Slot)>,
    /// What failed at the broker and is tried again, by when.
    again: VecDeque<(Instant, Again)>,
    /// Sessions that this engine has told the broker to be members.
    memberships: usize,
    renew_at: Option<Instant>,
    started: Instant,
    now: Instant,
    draining: bool,
}

impl Engine {
    /// An engine without connections.
    #[must_use]
    pub fn new(limits: Limits, rules: Arc<RuleBook>, now: Now) -> Self {
        Self {
            limits,
            rules,
            connections: Slab::new(),
            sessions: HashMap::new(),
            channels: Slab::new(),
            names: HashMap::new(),
            items: VecDeque::new(),
            broker_requests: VecDeque::new(),
            requests: Requests::new(),
            reads: 0,
            reads_waiting: VecDeque::new(),
            again: VecDeque::new(),
            memberships: 0,
            renew_at: None,
            started: now.instant,
            now: now.instant,
            draining: false,
        }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many channels have a subscriber here.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Takes the next delivery. Call until `None` after each `handle_*`.
    pub fn poll_delivery(&mut self) -> Option<Delivery<'_>> {
        while let Some(item) = self.items.pop_front() {
            let Some(step) = self.step(item) else {
                continue;
            };
            return Some(match step {
                Step::Broadcast {
                    channel,
                    publication,
                } => {
                    let connections = self.channels.get(channel).map_or(&[][..], |c| &c.live);
                    Delivery::Broadcast {
                        publication,
                        connections,
                    }
                }
                Step::Presence { channel, change } => {
                    let connections = self.channels.get(channel).map_or(&[][..], |c| &c.watchers);
                    Delivery::Presence {
                        change,
                        connections,
                    }
                }
                Step::Publication {
                    connection,
                    publication,
                } => Delivery::Publication {
                    connection,
                    publication,
                },
                Step::Notice { connection, notice } => Delivery::Connection { connection, notice },
                Step::Mark { connection, mark } => Delivery::Mark { connection, mark },
            });
        }
        None
    }

    /// Takes the next request to the broker. Call until `None` after `poll_delivery`.
    pub fn poll_broker_request(&mut self) -> Option<BrokerRequest> {
        self.broker_requests.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called, if nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let again = self.again.front().map(|(at, _)| *at);
        [self.renew_at, again, self.requests.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now.instant;
        self.renew_lease();
        while let Some((_, again)) = self.again.pop_front_if(|(at, _)| *at <= now.instant) {
            match again {
                Again::Read {
                    connection,
                    channel,
                } => self.read_is_free(connection, channel),
                Again::Follow { channel } => self.follow_again(channel),
            }
        }
        while let Some((id, pending)) = self.requests.overdue(self.now) {
            let detail = "the broker did not answer in time; try again with the same key";
            let refusal = Refusal::new(crate::error::ErrorCode::TimedOut, detail);
            self.request_failed(id, &pending, &refusal);
        }
    }

    /// Takes what the broker tells.
    pub fn handle_broker(&mut self, event: BrokerEvent, now: Now) {
        self.now = now.instant;
        match event {
            BrokerEvent::Publication(publication) => {
                self.items.push_back(Item::Publication(publication));
            }
            BrokerEvent::Presence(change) => self.items.push_back(Item::Presence(change)),
            BrokerEvent::Published {
                id,
                position,
                duplicate,
            } => {
                self.published(id, position, duplicate);
            }
            BrokerEvent::Followed { id, stream } => self.followed(id, stream),
            BrokerEvent::History {
                id,
                stream,
                start,
                publications,
            } => {
                self.history_read(id, stream, start, publications);
            }
            BrokerEvent::Members { id, members, total } => self.members_read(id, members, total),
            BrokerEvent::Acked { id, position } => self.acked(id, position),
            BrokerEvent::Receipts { id, receipts } => self.receipts_known(id, receipts),
            BrokerEvent::AskReceipts {
                ask,
                channel,
                position,
            } => {
                let receipts = self.find_receipts(&channel, position);
                self.broker_requests
                    .push_back(BrokerRequest::Found { ask, receipts });
            }
            BrokerEvent::Failed { id, failure } => {
                let Some(pending) = self.requests.take(id) else {
                    return;
                };
                self.request_failed(id, &pending, &failure.into());
            }
            BrokerEvent::Lagged => self.lagged(),
        }
    }

    fn step(&mut self, item: Item) -> Option<Step> {
        match item {
            Item::Publication(publication) => self.fan_out(publication),
            Item::Presence(change) => self.presence_changed(change),
            Item::Begin {
                connection,
                channel,
            } => self.begin(connection, channel),
            Item::Advance {
                connection,
                channel,
            } => self.advance(connection, channel),
            Item::Notice { connection, notice } => {
                self.connections.get(connection.into())?;
                Some(Step::Notice {
                    connection,
                    notice: *notice,
                })
            }
            Item::Mark { connection } => {
                let mark = self.mark(connection)?;
                Some(Step::Mark { connection, mark })
            }
            Item::Head { channel, stream } => {
                self.head_told(channel, stream);
                None
            }
        }
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

    /// Milliseconds since the start, wrapping: what token buckets count in.
    fn now_ms(&self) -> u32 {
        self.now.saturating_duration_since(self.started).as_millis() as u32
    }
}

/// One item that turned out to be a delivery.
#[derive(Debug)]
enum Step {
    Broadcast {
        channel: Slot,
        publication: Arc<crate::publication::Publication>,
    },
    Presence {
        channel: Slot,
        change: Arc<crate::broker::PresenceChange>,
    },
    Publication {
        connection: ConnectionId,
        publication: Arc<crate::publication::Publication>,
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

impl From<ConnectionId> for Slot {
    fn from(connection: ConnectionId) -> Self {
        Self {
            index: connection.index,
            generation: connection.generation,
        }
    }
}

impl From<Slot> for ConnectionId {
    fn from(slot: Slot) -> Self {
        Self {
            index: slot.index,
            generation: slot.generation,
        }
    }
}

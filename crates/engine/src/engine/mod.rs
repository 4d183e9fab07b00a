//! The engine: see [`Engine`].

mod catch_up;
mod commands;
mod fan_out;
mod lines;
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
    delivery::{Delivery, LineId, Notice, Reply},
    error::Refusal,
    limits::Limits,
    rules::RuleBook,
    session::SessionId,
    slab::{Slab, Slot},
};

use requests::Requests;
use state::{Again, Channel, Item, Items, Line, Stage};

/// The engine of one worker: sessions, channels, recovery, presence and backpressure.
///
/// It does no I/O and knows no time: call it from an event loop.
///
/// - `handle_*` tells it what happened: [`handle_line_opened`](Self::handle_line_opened),
///   [`handle_command`](Self::handle_command), [`handle_refused`](Self::handle_refused),
///   [`handle_broker`](Self::handle_broker),
///   [`handle_full`](Self::handle_full), [`handle_writable`](Self::handle_writable),
///   [`handle_receipt`](Self::handle_receipt), [`handle_line_lost`](Self::handle_line_lost),
///   [`handle_line_closed`](Self::handle_line_closed), [`handle_timeout`](Self::handle_timeout),
///   [`handle_drain`](Self::handle_drain).
/// - After any of them, `poll_*` until `None`: [`poll_delivery`](Self::poll_delivery) first,
///   since deliveries make requests, then [`poll_broker_request`](Self::poll_broker_request),
///   then [`poll_timeout`](Self::poll_timeout).
/// - Getters: [`snapshot`](Self::snapshot), [`lines`](Self::lines),
///   [`channels`](Self::channels), [`wants_writable`](Self::wants_writable),
///   [`unanswered`](Self::unanswered).
///
/// The outbox of a line belongs to the caller, who alone knows its bytes. Live deliveries don't
/// ask: they are broadcast, and whoever's outbox is then above its bound is reported by
/// `handle_full` and reads on from the history, as many bytes at a time as `handle_writable`
/// grants. So an outbox holds at most its bound and one publication more, plus the replies to
/// commands that the caller chose to read.
#[derive(Debug)]
pub struct Engine {
    limits: Limits,
    rules: Arc<RuleBook>,
    lines: Slab<Line>,
    sessions: HashMap<SessionId, LineId>,
    channels: Slab<Channel>,
    names: HashMap<ChannelName, Slot>,
    items: Items,
    broker_requests: VecDeque<BrokerRequest>,
    requests: Requests,
    /// History reads under way; at most `Limits::reads`.
    reads: usize,
    /// Subscriptions that wait for a read to be possible.
    reads_waiting: VecDeque<(LineId, Slot)>,
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
    /// An engine without lines.
    #[must_use]
    pub fn new(limits: Limits, rules: Arc<RuleBook>, now: Now) -> Self {
        Self {
            limits,
            rules,
            lines: Slab::new(),
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

    /// How many lines there are.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.len()
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
                    let lines = self.channels.get(channel).map_or(&[][..], |c| &c.live);
                    Delivery::Broadcast { publication, lines }
                }
                Step::Presence { channel, change } => {
                    let lines = self.channels.get(channel).map_or(&[][..], |c| &c.watchers);
                    Delivery::Presence { change, lines }
                }
                Step::Publication { line, publication } => {
                    Delivery::Publication { line, publication }
                }
                Step::Notice { line, notice } => Delivery::Line { line, notice },
                Step::Mark { line, mark } => Delivery::Mark { line, mark },
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
                Again::Read { line, channel } => self.read_is_free(line, channel),
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
                publications,
            } => {
                self.history_read(id, stream, publications);
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
            Item::Begin { line, channel } => self.begin(line, channel),
            Item::Advance { line, channel } => self.advance(line, channel),
            Item::Notice { line, notice } => {
                self.lines.get(line.into())?;
                Some(Step::Notice {
                    line,
                    notice: *notice,
                })
            }
            Item::Mark { line } => {
                let mark = self.mark(line)?;
                Some(Step::Mark { line, mark })
            }
            Item::Head { channel, stream } => {
                self.head_told(channel, stream);
                None
            }
        }
    }

    fn notice(&mut self, line: LineId, notice: Notice) {
        self.items.push_back(Item::Notice {
            line,
            notice: Box::new(notice),
        });
    }

    fn reply(&mut self, line: LineId, id: Option<CommandId>, reply: Reply) {
        self.notice(line, Notice::Reply { id, reply });
    }

    fn refuse(&mut self, line: LineId, id: CommandId, refusal: Refusal) {
        self.reply(line, Some(id), Reply::Refused(refusal));
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
        line: LineId,
        publication: Arc<crate::publication::Publication>,
    },
    Notice {
        line: LineId,
        notice: Notice,
    },
    Mark {
        line: LineId,
        mark: u32,
    },
}

impl From<LineId> for Slot {
    fn from(line: LineId) -> Self {
        Self {
            index: line.index,
            generation: line.generation,
        }
    }
}

impl From<Slot> for LineId {
    fn from(slot: Slot) -> Self {
        Self {
            index: slot.index,
            generation: slot.generation,
        }
    }
}

//! What the engine remembers of connections, subscriptions and channels.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{
    broker::{ReadStart, RequestId, Resolution, StreamState},
    channel_name::ChannelName,
    command::{CommandId, Since},
    delivery::{ConnectionId, GapReason},
    position::Position,
    publication::Publication,
    rate::TokenBucket,
    rules::ChannelRules,
    session::{Identity, SessionId},
    slab::Slot,
};

use super::recent::Recent;

/// One connection and the session on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: SessionId,
    pub(super) identity: Arc<Identity>,
    /// Wall-clock milliseconds when it was opened: its claim to be a member.
    pub(super) since_ms: u64,
    pub(super) subscriptions: Vec<Subscription>,
    /// Bytes that may be handed out one by one before the next `handle_writable`.
    pub(super) credit: usize,
    pub(super) commands: TokenBucket,
    pub(super) publishes: TokenBucket,
    /// Refusals for speed since the last success.
    pub(super) refused: u32,
    pub(super) mark: u32,
    /// A mark is on its way that was not brought back.
    pub(super) awaits_receipt: bool,
    /// Requests to the broker that are not answered; at most `Limits::requests_per_connection`.
    pub(super) in_flight: u16,
    /// The outbox is above its bound.
    pub(super) full: bool,
    /// A `Close` was queued: nothing more goes in or out.
    pub(super) closing: bool,
}

impl Connection {
    pub(super) fn subscription(&mut self, channel: Slot) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|s| s.channel == channel)
    }
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) channel: Slot,
    pub(super) stage: Stage,
    /// Offset up to which the client's own pongs prove receipt; `received <= marked`.
    pub(super) received: u64,
    /// Offset handed out when the last mark was made; `marked <=` the handed-out offset.
    pub(super) marked: u64,
    /// Joins and leaves are wanted.
    pub(super) presence: bool,
    /// The broker was told that the session is a member.
    pub(super) joined: bool,
}

/// ```text
///            Followed               everything handed out
/// Opening ──────────────▶ Behind ──────────────────────────▶ Live
///    │       Since::Now      ▲                                │
///    └───────────────────────┼───────────────────────────────▶│
///                            └────────────────────────────────┘
///                               outbox full, hole, new epoch
/// ```
#[derive(Debug)]
pub(super) enum Stage {
    /// The channel's stream is not known yet.
    Opening(Box<Opening>),
    /// Everything up to the channel's tail was handed out; `slot` is the place in the live list.
    Live { slot: u32 },
    /// Reads on from `cursor` at its own pace.
    Behind(Box<Behind>),
}

#[derive(Debug)]
pub(super) struct Opening {
    pub(super) id: Option<CommandId>,
    pub(super) since: Since,
}

#[derive(Debug)]
pub(super) struct Behind {
    /// The position of the last publication handed out.
    pub(super) cursor: Position,
    /// What was read after the cursor.
    pub(super) page: Option<Arc<[Arc<Publication>]>>,
    /// A gap that is announced once it is known where delivery goes on.
    pub(super) gap: Option<Gap>,
    /// It was live and too slow, against: it began with a position.
    pub(super) slow: bool,
    /// The client knows that it is behind.
    pub(super) told: bool,
    /// What is missing at the beginning is no gap: "the last 50" of 20 are 20.
    pub(super) lenient: bool,
    /// A read has shown that the cursor is within the stream.
    pub(super) verified: bool,
    /// A read has shown that nothing follows the cursor yet.
    pub(super) at_head: bool,
    /// A read is under way or waits for its turn.
    pub(super) reading: bool,
    /// An `Advance` is queued.
    pub(super) queued: bool,
    /// It is in `CatchingUp::ahead`.
    pub(super) ahead: bool,
}

/// A gap on its way to the client: it ends where delivery goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    pub(super) from: Position,
    pub(super) reason: GapReason,
    pub(super) agreed: Option<Position>,
}

impl Behind {
    pub(super) fn resumed(position: Position, lenient: bool) -> Self {
        Self {
            cursor: position,
            page: None,
            gap: None,
            slow: false,
            told: true,
            lenient,
            verified: false,
            at_head: false,
            reading: false,
            queued: false,
            ahead: false,
        }
    }

    pub(super) fn slow(position: Position) -> Self {
        let base = Self::resumed(position, false);
        Self {
            slow: true,
            told: false,
            verified: true,
            ..base
        }
    }

    /// Goes on after `to`; the first reason stays the reason until the gap is announced.
    pub(super) fn skip(&mut self, reason: GapReason, to: Position) {
        self.gap.get_or_insert(Gap {
            from: self.cursor,
            reason,
            agreed: None,
        });
        self.move_to(to);
    }

    /// Goes on where a read says that it begins, with a gap if something is missing before.
    pub(super) fn start_at(&mut self, start: ReadStart, trimmed: GapReason) {
        let missing = start.after != start.agreed && !self.lenient;
        match start.resolution.gap() {
            Some(reason) => {
                self.skip(reason, start.after);
                if let Some(gap) = &mut self.gap
                    && start.resolution == Resolution::Diverged
                {
                    gap.agreed = Some(start.agreed);
                }
            }
            None if missing => self.skip(trimmed, start.after),
            // The same place, as the stream calls it now.
            None => self.move_to(start.after),
        }
    }

    pub(super) fn move_to(&mut self, to: Position) {
        self.cursor = to;
        self.at_head = false;
        self.page = None;
    }

    /// The publication after the cursor, if the page has it.
    pub(super) fn next_in_page(&self) -> Option<Arc<Publication>> {
        let page = self.page.as_ref()?;
        let index = page.partition_point(|p| p.position.offset <= self.cursor.offset);
        page.get(index).cloned()
    }
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) rules: Arc<ChannelRules>,
    /// How far the stream was handed out to whoever is live; none until the broker answered the
    /// first `Follow`.
    pub(super) tail: Option<Position>,
    pub(super) live: Vec<ConnectionId>,
    /// Those who want joins and leaves and have room for them.
    pub(super) watchers: Vec<ConnectionId>,
    pub(super) subscribers: u32,
    /// Subscriptions in `Stage::Behind`.
    pub(super) behind: u32,
    /// When receipts may be looked through again.
    pub(super) receipts_from: Option<Instant>,
    /// Only there while some subscription is not live.
    pub(super) catching_up: Option<Box<CatchingUp>>,
}

#[derive(Debug, Default)]
pub(super) struct CatchingUp {
    /// Connections that began to subscribe before there was a tail; some may have gone since.
    pub(super) opening: Vec<ConnectionId>,
    /// Connections whose cursor is ahead of what this worker has heard.
    pub(super) ahead: Vec<ConnectionId>,
    pub(super) reads: Vec<Read>,
    pub(super) recent: Recent,
}

/// A history read under way, and everyone who waits for just that.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) id: RequestId,
    pub(super) after: Position,
    pub(super) waiters: Vec<ConnectionId>,
}

impl Channel {
    pub(super) fn new(name: ChannelName, rules: Arc<ChannelRules>) -> Self {
        let (live, watchers) = (Vec::new(), Vec::new());
        let (subscribers, behind) = (0, 0);
        Self {
            name,
            rules,
            tail: None,
            live,
            watchers,
            subscribers,
            behind,
            receipts_from: None,
            catching_up: None,
        }
    }

    pub(super) fn catching_up(&mut self) -> &mut CatchingUp {
        self.catching_up.get_or_insert_default()
    }

    /// Gives memory back when everyone is live.
    pub(super) fn settle(&mut self) {
        let Some(c) = &mut self.catching_up else {
            return;
        };
        if self.behind == 0 {
            c.recent = Recent::default();
            if c.opening.is_empty() && c.ahead.is_empty() && c.reads.is_empty() {
                self.catching_up = None;
            }
        }
    }

    /// Wakes those who were ahead of the stream.
    pub(super) fn take_ahead(&mut self) -> Vec<ConnectionId> {
        self.catching_up
            .as_mut()
            .map_or_else(Vec::new, |c| std::mem::take(&mut c.ahead))
    }
}

/// Requests that were sent to the broker, by their number.
#[derive(Debug)]
pub(super) enum Pending {
    Publish {
        connection: ConnectionId,
        command: CommandId,
    },
    History {
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
        since: Since,
    },
    Members {
        connection: ConnectionId,
        command: Option<CommandId>,
        channel: ChannelName,
    },
    Ack {
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
    },
    Receipts {
        connection: ConnectionId,
        command: CommandId,
        channel: ChannelName,
        position: Position,
        named: bool,
    },
    Follow {
        channel: Slot,
    },
    Read {
        channel: Slot,
    },
}

/// What `poll_delivery` does next, in order.
#[derive(Debug)]
pub(super) enum Item {
    Publication(Arc<Publication>),
    Presence(Arc<crate::broker::PresenceChange>),
    Notice {
        connection: ConnectionId,
        notice: Box<crate::delivery::Notice>,
    },
    /// A subscription whose channel's stream is known begins.
    Begin {
        connection: ConnectionId,
        channel: Slot,
    },
    /// A subscription that is behind may have a step to go.
    Advance {
        connection: ConnectionId,
        channel: Slot,
    },
    /// Somebody wants to know what this connection has received.
    Mark {
        connection: ConnectionId,
    },
    /// The broker told the stream's head again.
    Head {
        channel: Slot,
        stream: StreamState,
    },
}

/// What is tried again after it failed at the broker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Again {
    Read {
        connection: ConnectionId,
        channel: Slot,
    },
    Follow {
        channel: Slot,
    },
}

pub(super) type Items = VecDeque<Item>;

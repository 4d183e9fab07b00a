//! A client that checks everything: every publication must be the next one, or a gap must have
//! given the reason.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use offhook_engine::*;

use super::{
    broker::ModelBroker,
    oracle::{check_gap, check_state},
    seen::Seen,
};

/// How a publication was delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) place: Position,
    pub(crate) deliveries: u16,
    /// It is a value of the channel's state.
    pub(crate) state: bool,
}

/// Output of a connection to a client.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Publication(SubscriptionKey, Arc<Publication>, Handed),
    Presence(Arc<PresenceChange>),
    Notice(Notice),
    /// A resume token, in order with everything else: a client that has it has everything before
    /// it.
    Token(SessionSnapshot),
    /// A ping with a mark; its pong proves that everything before it was read.
    Mark(u32),
}

impl Wire {
    fn bytes(&self) -> usize {
        match self {
            Self::Publication(_, publication, _) => publication.weight(),
            Self::Presence(_) | Self::Notice(_) | Self::Token(_) | Self::Mark(_) => 16,
        }
    }
}

pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) identity: Arc<Identity>,
    pub(crate) connection: Option<(usize, ConnectionId)>,
    /// The number of connections so far, as counted by a directory of all workers.
    pub(crate) generation: u64,
    pub(crate) outbox: VecDeque<Wire>,
    pub(crate) subscriptions: BTreeMap<SubscriptionKey, Seen>,
    pub(crate) snapshot: Option<SessionSnapshot>,
    /// Commands without an answer, with the channel they subscribe to or unsubscribe from.
    pub(crate) unanswered: BTreeMap<u64, Command>,
    /// Unsubscribes in progress: what arrives until they are answered belongs to the old
    /// subscription.
    leaving: BTreeMap<SubscriptionKey, u32>,
    /// Everything read, in order.
    pub(crate) read: Vec<Wire>,
    next_command: u64,
    /// The server sent a `Close`.
    pub(crate) closed: bool,
    /// A subscription may have ended, or never started, without the client knowing it when it sent
    /// its commands.
    pub(crate) may_have_ended: bool,
}

impl Client {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            session: SessionId::from_bytes([index as u8 + 1; 16]),
            identity: Arc::new(Identity::stranger()),
            connection: None,
            generation: 0,
            outbox: VecDeque::new(),
            subscriptions: BTreeMap::new(),
            snapshot: None,
            unanswered: BTreeMap::new(),
            leaving: BTreeMap::new(),
            read: Vec::new(),
            next_command: 1,
            closed: false,
            may_have_ended: false,
        }
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    pub(crate) fn outbox_bytes(&self) -> usize {
        self.outbox.iter().map(Wire::bytes).sum()
    }

    pub(crate) fn sent(&mut self, command: &Command) -> CommandId {
        let id = self.next_command;
        self.next_command += 1;
        self.unanswered.insert(id, command.clone());
        match command {
            Command::Subscribe(wish) => {
                let position = match wish.since {
                    Since::Position(position) => Some(position),
                    Since::Now | Since::Start | Since::State | Since::Last(_) => None,
                };
                let by = Some(id);
                let new = Seen::new(wish.clone(), position, by);
                self.subscriptions
                    .entry(wish.name().key())
                    .or_insert(new)
                    .by = by;
            }
            Command::Done {
                subscription,
                position,
                cumulative,
            } => {
                let seen = self
                    .subscriptions
                    .get_mut(subscription)
                    .expect("it is there");
                if seen.wish.share.is_some() {
                    seen.finish(*position, *cumulative);
                    return CommandId(id);
                }
                let first = if *cumulative { 0 } else { position.offset };
                let range = seen.undone.range(first..=position.offset);
                let done: Vec<Position> = range.map(|(_, (position, _))| *position).collect();
                for position in done {
                    seen.undone.remove(&position.offset);
                    seen.on_this_connection.remove(&position.offset);
                    seen.done.insert((position.epoch.0, position.offset));
                }
            }
            Command::Return {
                subscription,
                position,
            } => {
                let seen = self.subscriptions.get_mut(subscription);
                seen.expect("it is there").finish(*position, false);
            }
            Command::Unsubscribe { subscription } => {
                if self.subscriptions.remove(subscription).is_none() {
                    self.may_have_ended = true;
                }
                *self.leaving.entry(subscription.clone()).or_default() += 1;
            }
            _ => {}
        }
        CommandId(id)
    }

    /// The server is about to subscribe this session on its own.
    pub(crate) fn expects(&mut self, wish: &Subscribe) {
        let new = Seen::new(wish.clone(), None, None);
        self.subscriptions.insert(wish.name().key(), new);
    }

    /// The connection was lost: only what was read counts.
    pub(crate) fn lost(&mut self) {
        self.connection = None;
        self.closed = false;
        self.outbox.clear();
        self.unanswered.clear();
        self.leaving.clear();
        for seen in self.subscriptions.values_mut() {
            (seen.confirmed, seen.live) = (false, false);
            seen.told_members = false;
            seen.in_hand.clear();
            if seen.wish.flow != Flow::Pushed {
                // What was not acknowledged is delivered again, if it is still retained.
                seen.position = seen.low();
                seen.undone.clear();
            }
            if seen.position.is_none() {
                // It is subscribed to anew.
                seen.began = None;
            }
            seen.on_this_connection.clear();
            seen.values.clear();
            seen.last = 0;
        }
    }

    pub(crate) fn positions(&self) -> Vec<(SubscriptionKey, Position)> {
        let known = self.subscriptions.iter();
        known
            .filter_map(|(key, seen)| Some((key.clone(), seen.position?)))
            .collect()
    }

    /// The subscriptions that the server restores: it follows the snapshot, not the client's
    /// memory.
    pub(crate) fn resumed(&mut self, snapshot: &SessionSnapshot) {
        for old in &snapshot.subscriptions {
            let wish = Subscribe {
                target: old.target.clone(),
                id: old.id,
                since: Since::Position(old.position),
                presence: old.presence,
                members: true,
                echo: old.echo,
                flow: old.flow,
                share: old.share.clone(),
                face: None,
            };
            let new = Seen::new(wish, Some(old.position), None);
            let seen = self.subscriptions.entry(old.name().key()).or_insert(new);
            seen.position.get_or_insert(old.position);
        }
    }

    /// The subscriptions that the server did not restore.
    pub(crate) fn to_subscribe_again(&self, restored: &[SubscriptionSnapshot]) -> Vec<Subscribe> {
        let is_restored =
            |key: &SubscriptionKey| restored.iter().any(|old| old.name().key() == *key);
        let lost = self
            .subscriptions
            .iter()
            .filter(|(key, _)| !is_restored(key));
        // A member of a group does not know where the group is.
        let low = |seen: &Seen| seen.low().filter(|_| seen.wish.share.is_none());
        lost.map(|(_, seen)| Subscribe {
            since: low(seen).map_or(seen.wish.since, Since::Position),
            ..seen.wish.clone()
        })
        .collect()
    }

    pub(crate) fn read(&mut self, message: Wire, broker: &ModelBroker) {
        match &message {
            Wire::Publication(key, publication, handed) => {
                self.read_publication(key, publication, *handed, broker);
            }
            Wire::Presence(_) | Wire::Mark(_) => {}
            Wire::Notice(notice) => self.read_notice(notice, broker),
            Wire::Token(snapshot) => self.snapshot = Some(snapshot.clone()),
        }
        self.read.push(message);
    }

    fn read_publication(
        &mut self,
        key: &SubscriptionKey,
        publication: &Publication,
        handed: Handed,
        broker: &ModelBroker,
    ) {
        let session = self.session;
        let Some(seen) = self.seen(key) else {
            return;
        };
        let here = publication.position;
        let own = publication.publisher.as_ref();
        let own = own.is_some_and(|by| by.session == session);
        // A state is complete only with its own values.
        assert!(
            seen.wish.echo || !own || handed.state,
            "its own are excluded"
        );
        let published = &broker.streams[&publication.channel].all[&(here.epoch.0, here.offset)];
        assert_eq!(**published, *publication);
        if handed.state {
            assert_eq!((handed.place, handed.deliveries), (here, 0));
            let newest = seen.values.last().map_or(0, |newest| newest.offset);
            assert!(newest < here.offset, "values come in their order");
            seen.values.push(here);
            return;
        }
        assert!(seen.values.is_empty(), "the state ends with a gap");
        if seen.wish.share.is_some() {
            return seen.read_shared(handed);
        }
        match (&seen.wish.target, seen.wish.flow) {
            (Target::Filter(_), Flow::Pushed) => seen.read_by_filter(publication, handed.place),
            (Target::Filter(_), Flow::Acknowledged { window }) => {
                seen.read_by_filter_in_window(publication, handed, window);
            }
            (Target::Channel(_), Flow::Acknowledged { window }) => {
                seen.read_in_window(publication, handed.deliveries, window);
            }
            (Target::Channel(_), Flow::Pushed) => {
                assert_eq!((handed.place, handed.deliveries), (here, 0));
                let before = *seen.position.get_or_insert(publication.previous);
                assert_eq!(publication.previous, before, "lost, twice or out of order");
                seen.position = Some(here);
            }
        }
    }

    fn read_notice(&mut self, notice: &Notice, broker: &ModelBroker) {
        match notice {
            Notice::Reply { id, reply } => self.read_reply(*id, reply, broker),
            Notice::Gap { .. } => self.read_gap(notice, broker),
            Notice::CatchingUp {
                subscription,
                position,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                let is_filter = seen.wish.target.channel().is_none();
                assert!(is_filter || seen.position == Some(*position));
                assert!(seen.wish.share.is_none(), "its group catches up");
                assert!(
                    std::mem::replace(&mut seen.live, false),
                    "catching up twice"
                );
            }
            Notice::Live {
                subscription,
                position,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                assert!(!seen.live, "live twice");
                let reached = *seen.position.get_or_insert(*position);
                if seen.wish.target.channel().is_some() {
                    assert_eq!(
                        reached.offset, position.offset,
                        "live before everything came"
                    );
                }
                seen.position = Some(*position);
                seen.live = true;
            }
            Notice::Unsubscribed { subscription, .. } => {
                self.may_have_ended = true;
                self.subscriptions.remove(&subscription.key());
            }
            Notice::Own {
                subscription,
                position,
                previous,
                at,
                ..
            } => {
                let session = self.session;
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                assert!(!seen.wish.echo);
                if let Some(channel) = seen.wish.target.channel() {
                    let here = (position.epoch.0, position.offset);
                    let by = broker.streams[channel].all[&here].publisher.as_ref();
                    assert!(by.is_some_and(|by| by.session == session), "not its own");
                }
                if let Some(at) = at {
                    seen.position = Some(*at);
                    return;
                }
                let before = *seen.position.get_or_insert(*previous);
                assert_eq!(*previous, before, "lost, twice or out of order");
                seen.position = Some(*position);
            }
            Notice::ChannelGap {
                subscription,
                channel,
                from,
                to,
                ..
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                let came = seen.came.entry(channel.clone()).or_default();
                came.missing.push((from.offset, to.offset));
            }
            Notice::Told { .. } | Notice::Restored => {}
            Notice::Reconnect { .. } => {}
            Notice::Close { .. } => self.closed = true,
        }
    }

    fn read_gap(&mut self, notice: &Notice, broker: &ModelBroker) {
        match notice {
            Notice::Gap {
                subscription,
                from,
                to,
                reason,
                agreed,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                if seen.wish.share.is_some() {
                    return;
                }
                if *reason == GapReason::Permissions {
                    // The client does not know the places of what it was not allowed to read.
                    let before = *seen.position.get_or_insert(*from);
                    assert!(before.offset <= from.offset, "a gap begins before it");
                } else if seen.wish.flow == Flow::Pushed {
                    let before = *seen.position.get_or_insert(*from);
                    assert_eq!(before, *from, "a gap begins elsewhere");
                }
                assert_eq!(agreed.is_some(), *reason == GapReason::Diverged);
                seen.last = 0;
                if seen.wish.flow != Flow::Pushed {
                    // What lies beyond belongs to another stream.
                    seen.undone.retain(|offset, _| *offset <= to.offset);
                    seen.on_this_connection
                        .retain(|offset| *offset <= to.offset);
                }
                let Some(channel) = subscription.target.channel() else {
                    if *reason == GapReason::Permissions {
                        seen.position = Some(*to);
                        return;
                    }
                    assert_eq!(*reason, GapReason::Restarted, "the order never diverges");
                    assert!(from.epoch.0 < to.epoch.0 && from.offset <= to.offset);
                    let began = broker.lives[to.epoch.0 as usize - 1];
                    seen.restarts.push((from.offset, began));
                    seen.position = Some(*to);
                    return;
                };
                check_gap(channel, *from, *to, *reason, broker);
                let values = std::mem::take(&mut seen.values);
                if *reason == GapReason::State {
                    check_state(channel, *to, &values, broker);
                } else {
                    assert!(values.is_empty(), "the state ends with a gap of its own");
                }
                seen.position = Some(*to);
            }
            other => panic!("{other:?} is no gap"),
        }
    }

    fn read_reply(&mut self, id: Option<CommandId>, reply: &Reply, broker: &ModelBroker) {
        let command = id.map(|id| self.unanswered.remove(&id.0).expect("answered once"));
        match reply {
            Reply::Subscribed {
                subscription,
                position,
                live,
                ..
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                assert!(!seen.confirmed, "subscribed twice");
                (seen.confirmed, seen.live) = (true, *live);
                if seen.began.is_none() {
                    // What earlier processes lost is no part of the oldest that is retained.
                    let began = broker.lives[broker.lives.len() - 1];
                    seen.restarts.push((0, began));
                }
                seen.began.get_or_insert(match seen.wish.since {
                    Since::Start => Position::new(1, 0),
                    Since::Now | Since::State | Since::Last(_) | Since::Position(_) => *position,
                });
                if *live {
                    let paced = seen.wish.flow != Flow::Pushed;
                    let gapless = seen
                        .position
                        .is_none_or(|before| paced || before == *position);
                    assert!(gapless, "live at once although something is missing");
                    seen.position = Some(*position);
                }
            }
            Reply::Members {
                channel,
                subscription,
                ..
            } => {
                let target = Target::from(channel.clone());
                let id = *subscription;
                let key = SubscriptionName { target, id }.key();
                if let Some(seen) = self.subscriptions.get_mut(&key) {
                    seen.told_members = true;
                }
            }
            Reply::Unsubscribed { subscription } => self.left(&subscription.key()),
            Reply::Refused(refusal) => match self.legitimate(id, command, refusal, broker) {
                Some(Command::Subscribe(wish)) => {
                    self.may_have_ended = true;
                    let (by, refused) = (id.map(|id| id.0), wish.name().key());
                    self.subscriptions
                        .retain(|key, seen| *key != refused || seen.by != by);
                }
                Some(Command::Unsubscribe { subscription }) => self.left(&subscription),
                _ => {}
            },
            Reply::Published { .. }
            | Reply::History { .. }
            | Reply::State { .. }
            | Reply::Acked { .. }
            | Reply::Receipts { .. }
            | Reply::Done { .. }
            | Reply::InfoUpdated
            | Reply::Called { .. }
            | Reply::Values { .. }
            | Reply::Remembered
            | Reply::Pong => {}
        }
    }

    fn left(&mut self, key: &SubscriptionKey) {
        let under_way = self.leaving.get_mut(key).expect("an unsubscribe was sent");
        *under_way -= 1;
        if *under_way == 0 {
            self.leaving.remove(key);
        }
    }

    /// The subscription a message is about; `None` while an unsubscribe is in progress.
    fn seen(&mut self, key: &SubscriptionKey) -> Option<&mut Seen> {
        if self.leaving.contains_key(key) {
            return None;
        }
        Some(
            self.subscriptions
                .get_mut(key)
                .expect("only what was subscribed comes"),
        )
    }
}

//! A client who believes nothing: every publication must be the next one, or a gap must have
//! said why it is not.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use offhook_engine::*;

use super::broker::ModelBroker;

/// What a connection carries to a client.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Publication(SubscriptionKey, Arc<Publication>),
    Presence(Arc<PresenceChange>),
    Notice(Notice),
    /// A resume token, in order with everything else: who has it has all before it.
    Token(SessionSnapshot),
    /// A ping with a mark; its pong proves that everything before it was read.
    Mark(u32),
}

impl Wire {
    fn bytes(&self) -> usize {
        match self {
            Self::Publication(_, publication) => publication.weight(),
            Self::Presence(_) | Self::Notice(_) | Self::Token(_) | Self::Mark(_) => 16,
        }
    }
}

/// One subscription as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// None until `Subscribed` told the first position.
    pub(crate) position: Option<Position>,
    pub(crate) wish: Subscribe,
    pub(crate) confirmed: bool,
    pub(crate) live: bool,
    /// The command that made it; none for a resumed one.
    by: Option<u64>,
}

pub(crate) struct Client {
    pub(crate) session: SessionId,
    pub(crate) connection: Option<(usize, ConnectionId)>,
    /// Connections so far, as a directory of all workers counts them.
    pub(crate) generation: u64,
    pub(crate) outbox: VecDeque<Wire>,
    pub(crate) subscriptions: BTreeMap<SubscriptionKey, Seen>,
    pub(crate) snapshot: Option<SessionSnapshot>,
    /// Commands without an answer, with the channel they subscribe or unsubscribe.
    pub(crate) unanswered: BTreeMap<u64, Command>,
    /// Unsubscribes under way: what comes until they are answered is of the past.
    leaving: BTreeMap<SubscriptionKey, u32>,
    /// Everything read, in order.
    pub(crate) read: Vec<Wire>,
    next_command: u64,
    /// The server said goodbye.
    pub(crate) closed: bool,
}

impl Client {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            session: SessionId::from_bytes([index as u8 + 1; 16]),
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
        }
    }

    pub(crate) fn identity(&self) -> Arc<Identity> {
        Arc::new(Identity::stranger())
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
                    Since::Now | Since::Start | Since::Last(_) => None,
                };
                let by = Some(id);
                let new = Seen {
                    position,
                    wish: wish.clone(),
                    confirmed: false,
                    live: false,
                    by,
                };
                self.subscriptions
                    .entry(wish.name().key())
                    .or_insert(new)
                    .by = by;
            }
            Command::Unsubscribe { subscription } => {
                self.subscriptions.remove(subscription);
                *self.leaving.entry(subscription.clone()).or_default() += 1;
            }
            _ => {}
        }
        CommandId(id)
    }

    /// The connection died: only what was read counts.
    pub(crate) fn lost(&mut self) {
        self.connection = None;
        self.closed = false;
        self.outbox.clear();
        self.unanswered.clear();
        self.leaving.clear();
        for seen in self.subscriptions.values_mut() {
            (seen.confirmed, seen.live) = (false, false);
        }
    }

    pub(crate) fn positions(&self) -> Vec<(SubscriptionKey, Position)> {
        let known = self.subscriptions.iter();
        known
            .filter_map(|(key, seen)| Some((key.clone(), seen.position?)))
            .collect()
    }

    /// What the server restores by itself: it follows the snapshot, not the client's memory.
    pub(crate) fn resumed(&mut self, snapshot: &SessionSnapshot) {
        for old in &snapshot.subscriptions {
            let position = Some(old.position);
            let new = Seen {
                position,
                wish: Subscribe {
                    target: old.target.clone(),
                    id: old.id,
                    since: Since::Position(old.position),
                    presence: old.presence,
                    echo: old.echo,
                    flow: old.flow,
                },
                confirmed: false,
                live: false,
                by: None,
            };
            let seen = self.subscriptions.entry(old.name().key()).or_insert(new);
            seen.position.get_or_insert(old.position);
        }
    }

    /// What the server did not restore by itself.
    pub(crate) fn to_subscribe_again(&self, restored: &[SubscriptionSnapshot]) -> Vec<Subscribe> {
        let is_restored =
            |key: &SubscriptionKey| restored.iter().any(|old| old.name().key() == *key);
        let lost = self
            .subscriptions
            .iter()
            .filter(|(key, _)| !is_restored(key));
        lost.map(|(_, seen)| Subscribe {
            since: seen.position.map_or(seen.wish.since, Since::Position),
            ..seen.wish.clone()
        })
        .collect()
    }

    pub(crate) fn read(&mut self, message: Wire, broker: &ModelBroker) {
        match &message {
            Wire::Publication(key, publication) => {
                self.read_publication(key, publication, broker);
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
        broker: &ModelBroker,
    ) {
        let Some(seen) = self.seen(key) else {
            return;
        };
        let here = publication.position;
        let before = *seen.position.get_or_insert(publication.previous);
        assert_eq!(publication.previous, before, "lost, twice or out of order");
        let published = &broker.streams[&publication.channel].all[&(here.epoch.0, here.offset)];
        assert_eq!(**published, *publication);
        seen.position = Some(here);
    }

    fn read_notice(&mut self, notice: &Notice, broker: &ModelBroker) {
        match notice {
            Notice::Reply { id, reply } => self.read_reply(*id, reply),
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
                assert_eq!(
                    *seen.position.get_or_insert(*from),
                    *from,
                    "a gap begins elsewhere"
                );
                assert_eq!(agreed.is_some(), *reason == GapReason::Diverged);
                check_gap(
                    subscription.target.channel().unwrap(),
                    *from,
                    *to,
                    *reason,
                    broker,
                );
                seen.position = Some(*to);
            }
            Notice::CatchingUp {
                subscription,
                position,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                assert_eq!(seen.position, Some(*position));
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
                assert_eq!(reached, *position, "live before everything came");
                seen.live = true;
            }
            Notice::Unsubscribed { subscription, .. } => {
                self.subscriptions.remove(&subscription.key());
            }
            Notice::Own {
                subscription,
                position,
                previous,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                let before = *seen.position.get_or_insert(*previous);
                assert_eq!(*previous, before, "lost, twice or out of order");
                seen.position = Some(*position);
            }
            Notice::ChannelGap { .. } | Notice::Told { .. } | Notice::Restored => {}
            Notice::Reconnect { .. } => {}
            Notice::Close { .. } => self.closed = true,
        }
    }

    fn read_reply(&mut self, id: Option<CommandId>, reply: &Reply) {
        let command = id.map(|id| self.unanswered.remove(&id.0).expect("answered once"));
        match reply {
            Reply::Subscribed {
                subscription,
                position,
                live,
            } => {
                let Some(seen) = self.seen(&subscription.key()) else {
                    return;
                };
                assert!(!seen.confirmed, "subscribed twice");
                (seen.confirmed, seen.live) = (true, *live);
                if *live {
                    let gapless = seen.position.is_none_or(|before| before == *position);
                    assert!(gapless, "live at once although something is missing");
                    seen.position = Some(*position);
                }
            }
            Reply::Unsubscribed { subscription } => self.left(&subscription.key()),
            Reply::Refused(refusal) => match command {
                Some(Command::Subscribe(wish)) if refusal.code != ErrorCode::AlreadySubscribed => {
                    let (by, refused) = (id.map(|id| id.0), wish.name().key());
                    self.subscriptions
                        .retain(|key, seen| *key != refused || seen.by != by);
                }
                Some(Command::Unsubscribe { subscription }) => self.left(&subscription),
                _ => {}
            },
            Reply::Published { .. }
            | Reply::History { .. }
            | Reply::Members { .. }
            | Reply::Acked { .. }
            | Reply::Receipts { .. }
            | Reply::Done { .. }
            | Reply::InfoUpdated
            | Reply::Called { .. }
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

    /// The subscription a message is about; none while an unsubscribe is under way.
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

    /// The subscription to a channel without a number.
    pub(crate) fn to(&self, name: &str) -> &Seen {
        &self.subscriptions[&SubscriptionKey::from(ChannelName::new(name).unwrap())]
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for wire in &self.read {
            if let Wire::Publication(_, p) = wire
                && p.channel.as_str() == name
            {
                texts.push(String::from_utf8(p.data.to_vec()).unwrap());
            }
        }
        texts
    }

    pub(crate) fn notices(&self) -> Vec<&Notice> {
        let mut notices = Vec::new();
        for wire in &self.read {
            if let Wire::Notice(notice) = wire {
                notices.push(notice);
            }
        }
        notices
    }

    pub(crate) fn gaps(&self) -> Vec<GapReason> {
        let mut gaps = Vec::new();
        for notice in self.notices() {
            if let Notice::Gap { reason, .. } = notice {
                gaps.push(*reason);
            }
        }
        gaps
    }

    pub(crate) fn replies(&self) -> Vec<&Reply> {
        let mut replies = Vec::new();
        for notice in self.notices() {
            if let Notice::Reply { reply, .. } = notice {
                replies.push(reply);
            }
        }
        replies
    }
}

/// A gap is only honest when the publications really can't be had.
fn check_gap(
    channel: &ChannelName,
    from: Position,
    to: Position,
    reason: GapReason,
    broker: &ModelBroker,
) {
    let stream = &broker.streams[channel];
    let history = channel.as_str().starts_with("kept/");
    match reason {
        GapReason::EpochChanged => assert_ne!(from.epoch, to.epoch),
        GapReason::Diverged => {
            assert_ne!(
                stream.at(from.offset),
                from,
                "diverged although it is there"
            );
        }
        GapReason::EvictedBySize if history => {
            let trimmed = to.epoch.0 != stream.epoch || stream.first > from.offset + 1;
            assert!(trimmed, "a gap although everything is retained");
        }
        GapReason::EvictedBySize => assert!(to.offset > from.offset),
        GapReason::Dropped => assert!(!history && to.offset > from.offset),
        GapReason::Conflated => {
            assert!(channel.as_str().starts_with("price/") && to.offset > from.offset);
        }
        GapReason::EvictedByAge | GapReason::UnknownPosition => {}
    }
}

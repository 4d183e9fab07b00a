//! The reference broker: the contract, implemented as simply as possible.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use offhook_engine::*;

use super::{GRANT, stream::Stream};

pub(crate) struct ModelBroker {
    rules: Arc<RuleBook>,
    pub(crate) streams: BTreeMap<ChannelName, Stream>,
    /// Every publication so far, in order.
    pub(crate) log: Vec<(ChannelName, Position)>,
    /// For each epoch of that order, how many publications there were when it began.
    pub(crate) lives: Vec<u64>,
    filters: Vec<BTreeSet<Filter>>,
    /// The places of groups that share publications.
    pub(crate) shares: Shares<usize>,
    /// Durable sessions.
    pub(crate) sessions: BTreeMap<SessionId, (bytes::Bytes, std::time::Duration)>,
    /// By worker: requests that the broker has not handled yet.
    pub(crate) requests: Vec<VecDeque<BrokerRequest>>,
    /// By worker: events that were not delivered to the worker yet, in order.
    events: Vec<VecDeque<BrokerEvent>>,
    /// By worker: answers to history reads, which another thread delivers at any later time.
    reads: Vec<VecDeque<BrokerEvent>>,
    followers: Vec<BTreeSet<ChannelName>>,
    /// The claim of each member, and whether it has left and its return is awaited.
    pub(crate) members: BTreeMap<(ChannelName, SessionId), (u64, bool)>,
    cursors: HashMap<(ChannelName, String, Key), Option<Position>>,
    /// Questions to all workers, and the answers received so far.
    asked: Vec<(usize, RequestId, Receipts)>,
    answered: BTreeMap<AskId, usize>,
    /// The next answers fail with this.
    pub(crate) failure: Option<BrokerFailure>,
    /// How many answers have failed.
    pub(crate) failures: usize,
    /// Whether there is no room for publications.
    pub(crate) full: bool,
    /// How many publications were not accepted.
    pub(crate) not_accepted: usize,
    /// Clients check that every refusal had a reason.
    pub(crate) strict: bool,
}

impl ModelBroker {
    pub(crate) fn new(workers: usize, rules: Arc<RuleBook>) -> Self {
        Self {
            rules,
            streams: BTreeMap::new(),
            log: Vec::new(),
            lives: vec![0],
            filters: vec![BTreeSet::new(); workers],
            shares: Shares::default(),
            sessions: BTreeMap::new(),
            requests: vec![VecDeque::new(); workers],
            events: vec![VecDeque::new(); workers],
            reads: vec![VecDeque::new(); workers],
            followers: vec![BTreeSet::new(); workers],
            members: BTreeMap::new(),
            cursors: HashMap::new(),
            asked: Vec::new(),
            answered: BTreeMap::new(),
            failure: None,
            failures: 0,
            full: false,
            not_accepted: 0,
            strict: false,
        }
    }

    pub(crate) fn stream(&mut self, channel: &ChannelName) -> &mut Stream {
        let fresh = || Stream {
            epoch: 1,
            origin: 1,
            first: 1,
            ..Stream::default()
        };
        self.streams.entry(channel.clone()).or_insert_with(fresh)
    }

    pub(crate) fn is_idle(&self) -> bool {
        let quiet = |queues: &[VecDeque<BrokerEvent>]| queues.iter().all(VecDeque::is_empty);
        self.requests.iter().all(VecDeque::is_empty) && quiet(&self.events) && quiet(&self.reads)
    }

    /// Handles one request of a worker.
    pub(crate) fn work(&mut self, worker: usize) {
        let Some(request) = self.requests[worker].pop_front() else {
            return;
        };
        match request {
            BrokerRequest::Publish { id, draft } => self.publish(worker, id, draft),
            BrokerRequest::Follow { .. }
            | BrokerRequest::Unfollow { .. }
            | BrokerRequest::FollowFilter { .. }
            | BrokerRequest::UnfollowFilter { .. }
            | BrokerRequest::FilterHistory { .. } => self.follow(worker, request),
            BrokerRequest::SaveSession { .. }
            | BrokerRequest::DropSession { .. }
            | BrokerRequest::LoadSession { .. }
            | BrokerRequest::Join { .. }
            | BrokerRequest::Leave { .. } => self.register(worker, request),
            BrokerRequest::History {
                id,
                channel,
                from,
                limit,
            } => {
                let stream = self.stream(&channel);
                let (start, publications) = stream.read(from, limit);
                let read = BrokerEvent::History {
                    id,
                    stream: stream.state(),
                    start,
                    publications,
                };
                if !self.fails(worker, id) {
                    self.reads[worker].push_back(read);
                }
            }
            BrokerRequest::State { id, channel } => {
                let stream = self.stream(&channel);
                let (state, values) = (stream.state(), stream.state_values());
                if !self.fails(worker, id) {
                    let stream = state;
                    self.reads[worker].push_back(BrokerEvent::State { id, stream, values });
                }
            }
            BrokerRequest::Values { .. } => self.values(worker, request),
            BrokerRequest::Members { id, channel, .. } => self.list(worker, id, &channel),
            BrokerRequest::Ack {
                id,
                channel,
                scope,
                consumer,
                position,
            } => {
                let name = (channel, scope.to_string(), consumer);
                self.ack(worker, id, name, position);
            }
            BrokerRequest::Receipts {
                id,
                channel,
                position,
            } => {
                let (resolution, _) = self.stream(&channel).resolve(position);
                if resolution != Resolution::Continuous {
                    let failure = BrokerFailure::UnknownPosition;
                    return self.events[worker].push_back(BrokerEvent::Failed { id, failure });
                }
                self.ask_all(worker, id, &channel, position);
            }
            BrokerRequest::Found { ask, receipts } => self.found(ask, receipts),
            BrokerRequest::Share { name, request } => self.share(worker, &name, request),
            BrokerRequest::Renew { .. } => {}
        }
    }

    fn share(&mut self, worker: usize, name: &ShareName, request: ShareRequest) {
        if request.id().is_some_and(|id| self.fails(worker, id)) {
            return;
        }
        let woken = match request {
            ShareRequest::Join { id, after, keep } => {
                let saved = self.sessions.get(&name.saved_as());
                let saved = saved.map(|(bytes, _)| bytes.clone());
                let start = (after, keep);
                let next = self.shares.join(name, worker, start, saved.as_deref());
                let claimed = BrokerEvent::Claimed {
                    id,
                    claims: Vec::new(),
                    next: next.unwrap(),
                    full: false,
                };
                return self.events[worker].push_back(claimed);
            }
            ShareRequest::Claim { id, after, places } => {
                let Claimed { claims, next, full } =
                    self.shares.claim(name, worker, after, &places);
                let claimed = BrokerEvent::Claimed {
                    id,
                    claims,
                    next,
                    full,
                };
                return self.events[worker].push_back(claimed);
            }
            ShareRequest::Done { places } => self.shares.done(name, worker, &places),
            ShareRequest::Return { places, delivered } => {
                self.shares.give_back(name, worker, &places, delivered)
            }
            ShareRequest::Leave { keep } => {
                let (woken, saved) = self.shares.leave(name, worker, keep, 0);
                match saved {
                    Some(SavedShare { id, state: None }) => drop(self.sessions.remove(&id)),
                    Some(SavedShare {
                        id,
                        state: Some(state),
                    }) => drop(self.sessions.insert(id, state)),
                    None => {}
                }
                woken
            }
        };
        for (worker, after) in woken {
            let name = name.clone();
            self.events[worker].push_back(BrokerEvent::Returned { name, after });
        }
    }

    /// The groups that changed are saved, as a broker does about once a second.
    pub(crate) fn save_shares(&mut self) {
        for SavedShare { id, state } in self.shares.unsaved(0) {
            self.sessions
                .insert(id, state.expect("it is not deleted here"));
        }
    }

    fn values(&mut self, worker: usize, request: BrokerRequest) {
        let BrokerRequest::Values {
            id,
            filter,
            after,
            limit,
        } = request
        else {
            panic!("{request:?} is not about values")
        };
        let matching = self.streams.iter().filter(|(name, _)| {
            filter.matches(name) && after.as_ref().is_none_or(|after| *name > after)
        });
        let (mut values, mut last, mut next) = (Vec::new(), None, None);
        for (name, stream) in matching {
            if values.len() >= limit.count as usize {
                next = last;
                break;
            }
            let rules = self.rules.rules(name);
            if rules.is_some_and(|rules| rules.state.is_kept()) {
                values.extend(stream.state_values());
            }
            last = Some(name.clone());
        }
        if !self.fails(worker, id) {
            self.reads[worker].push_back(BrokerEvent::Values { id, values, next });
        }
    }

    fn follow(&mut self, worker: usize, request: BrokerRequest) {
        match request {
            BrokerRequest::Follow { id, channel } => {
                let stream = self.stream(&channel).state();
                if self.fails(worker, id) {
                    return;
                }
                self.followers[worker].insert(channel);
                self.events[worker].push_back(BrokerEvent::Followed { id, stream });
            }
            BrokerRequest::Unfollow { channel } => {
                self.followers[worker].remove(&channel);
            }
            BrokerRequest::FollowFilter { id, filter } => {
                if self.fails(worker, id) {
                    return;
                }
                self.filters[worker].insert(filter);
                let stream = StreamState {
                    head: self.newest(),
                    first: 0,
                    trimmed: Trimmed::BySize,
                };
                self.events[worker].push_back(BrokerEvent::Followed { id, stream });
            }
            BrokerRequest::UnfollowFilter { filter } => {
                self.filters[worker].remove(&filter);
            }
            BrokerRequest::FilterHistory {
                id,
                filter,
                after,
                limit,
            } => {
                let read = self.read_filter(id, &filter, after, limit);
                if !self.fails(worker, id) {
                    self.reads[worker].push_back(read);
                }
            }
            other => panic!("{other:?} is not about following"),
        }
    }

    fn register(&mut self, worker: usize, request: BrokerRequest) {
        match request {
            BrokerRequest::SaveSession {
                id,
                session,
                bytes,
                expiry,
            } => {
                if let Some(id) = id {
                    if self.fails(worker, id) {
                        return;
                    }
                    self.events[worker].push_back(BrokerEvent::SessionSaved { id });
                }
                self.sessions.insert(session, (bytes, expiry));
            }
            BrokerRequest::DropSession { session } => {
                self.sessions.remove(&session);
            }
            BrokerRequest::LoadSession { id, session } => {
                let bytes = self.sessions.get(&session).map(|(bytes, _)| bytes.clone());
                self.events[worker].push_back(BrokerEvent::Session { id, bytes });
            }
            BrokerRequest::Join {
                channel,
                member,
                generation,
            } => {
                let claim = self.members.entry((channel, member.session)).or_default();
                if generation >= claim.0 {
                    *claim = (generation, false);
                }
            }
            BrokerRequest::Leave {
                channel,
                session,
                generation,
                grace,
            } => {
                let key = (channel, session);
                if self
                    .members
                    .get(&key)
                    .is_some_and(|claim| claim.0 <= generation)
                {
                    if grace.is_zero() {
                        self.members.remove(&key);
                    } else {
                        self.members.insert(key, (generation, true));
                    }
                }
            }
            other => panic!("{other:?} is not for the registry"),
        }
    }

    /// The list of one member uses most of a connection's grant, and that of two all of it.
    fn list(&mut self, worker: usize, id: RequestId, channel: &ChannelName) {
        let here = self.members.keys().filter(|(name, _)| name == channel);
        let members = here.map(|(_, session)| {
            let (user, info) = ("".into(), vec![b'1'; GRANT * 2 / 3].into());
            let session = *session;
            Arc::new(Member {
                session,
                user,
                info,
            })
        });
        let members: Vec<_> = members.collect();
        let total = members.len() as u64;
        self.events[worker].push_back(BrokerEvent::Members { id, members, total });
    }

    fn ack(
        &mut self,
        worker: usize,
        id: RequestId,
        name: (ChannelName, String, Key),
        position: Option<Position>,
    ) {
        if self.fails(worker, id) {
            return;
        }
        let cursor = self.cursors.entry(name).or_default();
        *cursor = position.or(*cursor);
        let position = *cursor;
        self.events[worker].push_back(BrokerEvent::Acked { id, position });
    }

    fn ask_all(&mut self, worker: usize, id: RequestId, channel: &ChannelName, position: Position) {
        let ask = AskId(self.asked.len() as u64);
        self.asked.push((worker, id, Receipts::default()));
        for events in &mut self.events {
            events.push_back(BrokerEvent::AskReceipts {
                ask,
                channel: channel.clone(),
                position,
            });
        }
    }

    /// The last worker's answer completes the question.
    fn found(&mut self, ask: AskId, receipts: Option<Receipts>) {
        let workers = self.events.len();
        let (worker, id, sum) = &mut self.asked[ask.0 as usize];
        let Some(more) = receipts else {
            let (id, failure) = (*id, BrokerFailure::Busy);
            return self.events[*worker].push_back(BrokerEvent::Failed { id, failure });
        };
        sum.received += more.received;
        sum.subscribers += more.subscribers;
        sum.sessions.extend(more.sessions);
        let answered = self.answered.entry(ask).or_default();
        *answered += 1;
        if *answered == workers {
            let (id, receipts) = (*id, sum.clone());
            self.events[*worker].push_back(BrokerEvent::Receipts { id, receipts });
        }
    }

    fn fails(&mut self, worker: usize, id: RequestId) -> bool {
        let failed = self
            .failure
            .map(|failure| BrokerEvent::Failed { id, failure });
        self.failures += usize::from(failed.is_some());
        self.events[worker].extend(failed.clone());
        failed.is_some()
    }

    fn publish(&mut self, worker: usize, id: RequestId, draft: Draft) {
        if self.fails(worker, id) {
            return;
        }
        let history = self.rules.rules(&draft.channel).unwrap().history.is_kept();
        let channel = draft.channel.clone();
        let stream = self.stream(&channel);
        let scope = draft.key_scope().into_owned();
        let key = draft
            .key
            .as_ref()
            .map(|key| (scope, key.as_str().to_owned()));
        if let Some(&position) = key.as_ref().and_then(|key| stream.keys.get(key)) {
            let published = BrokerEvent::Published {
                id,
                position,
                duplicate: true,
            };
            self.events[worker].push_back(published);
            return;
        }
        let previous = stream.head();
        let position = Position::new(stream.epoch, previous.offset + 1);
        self.log.push((channel.clone(), position));
        let sequence = self.log.len() as u64;
        let stream = self.stream(&channel);
        let publication = Arc::new(draft.at(Place {
            position,
            previous,
            sequence,
        }));
        stream.line.push(position);
        stream
            .all
            .insert((stream.epoch, position.offset), Arc::clone(&publication));
        if !history {
            stream.first = position.offset + 1;
        }
        stream.keys.extend(key.map(|key| (key, position)));
        let published = BrokerEvent::Published {
            id,
            position,
            duplicate: false,
        };
        self.events[worker].push_back(published);
        for worker in 0..self.events.len() {
            let filtered = self.filters[worker]
                .iter()
                .any(|filter| filter.matches(&channel));
            if filtered || self.followers[worker].contains(&channel) {
                let event = BrokerEvent::Publication(Arc::clone(&publication));
                self.events[worker].push_back(event);
            }
        }
    }

    /// The newest place in the order of all channels. Each life of the broker has one epoch of that
    /// order.
    pub(crate) fn newest(&self) -> Position {
        Position::new(self.lives.len() as u64, self.log.len() as u64)
    }

    /// Whether a channel's stream is on disk, which survives the end of the process.
    pub(crate) fn is_on_disk(&self, channel: &ChannelName) -> bool {
        let rules = self.rules.rules(channel).unwrap();
        rules.history.is_kept() || rules.state.is_kept()
    }

    /// The process ends and another one begins: streams on disk go on, all others are gone.
    pub(crate) fn new_life(&mut self) {
        self.lives.push(self.log.len() as u64);
        let names: Vec<_> = self.streams.keys().cloned().collect();
        for name in names {
            if self.is_on_disk(&name) {
                self.restart(&name, 0);
            } else {
                self.new_epoch(&name);
            }
        }
        for worker in 0..self.events.len() {
            self.requests[worker].clear();
            self.events[worker].clear();
            self.reads[worker].clear();
            self.followers[worker].clear();
            self.filters[worker].clear();
        }
        self.shares = Shares::default();
        self.members.clear();
    }

    /// Whether a publication can still be read.
    pub(crate) fn is_retained(&self, channel: &ChannelName, position: Position) -> bool {
        let stream = &self.streams[channel];
        stream.at(position.offset) == position && position.offset >= stream.first
    }

    fn read_filter(
        &self,
        id: RequestId,
        filter: &Filter,
        after: Position,
        limit: ReadLimit,
    ) -> BrokerEvent {
        let mut publications = Vec::new();
        let mut gaps: Vec<ChannelGap> = Vec::new();
        let mut complete = true;
        let head = self.newest();
        let began = self.lives[self.lives.len() - 1];
        let log = self.log.iter().zip(1..).skip(after.offset as usize);
        for ((channel, position), sequence) in log {
            if !filter.matches(channel) {
                continue;
            }
            // An earlier process had it, of which nothing is known any more.
            if sequence <= began && !self.is_on_disk(channel) {
                continue;
            }
            if publications.len() == limit.count as usize {
                complete = false;
                break;
            }
            let publication = &self.streams[channel].all[&(position.epoch.0, position.offset)];
            if self.is_retained(channel, *position) {
                publications.push(Arc::clone(publication));
                continue;
            }
            let of_it =
                |gap: &&mut ChannelGap| gap.channel == *channel && gap.to.epoch == position.epoch;
            match gaps.iter_mut().find(of_it) {
                Some(gap) => gap.to = *position,
                None => gaps.push(ChannelGap {
                    channel: channel.clone(),
                    from: publication.previous,
                    to: *position,
                    reason: GapReason::EvictedBySize,
                }),
            }
        }
        let may_be_lost = |rules: &ChannelRules| !rules.history.is_kept() && !rules.state.is_kept();
        let is_earlier = after.epoch != head.epoch;
        let start = if is_earlier && self.rules.may_match(filter, may_be_lost) {
            ReadStart {
                resolution: Resolution::Restarted,
                agreed: after,
                after: Position {
                    epoch: head.epoch,
                    ..after
                },
            }
        } else {
            ReadStart::at(after)
        };
        BrokerEvent::FilterHistory {
            id,
            head,
            start,
            gaps,
            publications,
            complete,
        }
    }

    /// Reads may overtake everything and be overtaken. Here they are delivered first only if
    /// nothing else waits, or if requested.
    pub(crate) fn next_event(&mut self, worker: usize) -> Option<BrokerEvent> {
        self.events[worker]
            .pop_front()
            .or_else(|| self.reads[worker].pop_front())
    }

    pub(crate) fn next_read(&mut self, worker: usize) -> Option<BrokerEvent> {
        self.reads[worker].pop_back()
    }

    /// The worker's mailbox overflows: publications in it are lost, and the worker receives a lag
    /// in their place.
    pub(crate) fn lag(&mut self, worker: usize) {
        for event in &mut self.events[worker] {
            if matches!(
                event,
                BrokerEvent::Publication(_) | BrokerEvent::Returned { .. }
            ) {
                *event = BrokerEvent::Lagged;
            }
        }
    }

    /// Retention: keeps only the newest `keep` publications.
    pub(crate) fn trim(&mut self, channel: &ChannelName, keep: u64) {
        let stream = self.stream(channel);
        let head = stream.head().offset;
        stream.first = stream.first.max((head + 1).saturating_sub(keep));
    }

    /// Everything is lost, including the list of epochs; workers are notified with a lag.
    pub(crate) fn new_epoch(&mut self, channel: &ChannelName) {
        self.restart(channel, u64::MAX);
        let stream = self.stream(channel);
        stream.ended.clear();
        stream.origin = stream.epoch;
    }

    /// A new epoch begins, and the newest `lost` publications are lost, as after a restore from an
    /// older copy; with 0, as after a restart.
    pub(crate) fn restart(&mut self, channel: &ChannelName, lost: u64) {
        let stream = self.stream(channel);
        let kept = stream.head().offset.saturating_sub(lost);
        stream.line.truncate(kept as usize);
        for end in stream.ended.values_mut() {
            *end = kept.min(*end);
        }
        stream.ended.insert(stream.epoch, kept);
        stream.epoch += 1;
        stream.first = stream.first.min(kept + 1);
        stream.keys.retain(|_, position| position.offset <= kept);
        for events in &mut self.events {
            events.push_back(BrokerEvent::Lagged);
        }
    }
}

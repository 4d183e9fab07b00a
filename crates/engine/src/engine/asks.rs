//! Questions to outside parties, and what waits for the answers.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    ask::{Ask, AskRule, CallerId, CallerReply, NoAnswer, Verdict, VerdictId, Wish},
    command::Now,
    delivery::{ConnectionId, Reply},
    error::{ErrorCode, Refusal},
    publication::{Draft, Format},
    session::Identity,
    slab::{Slab, Slot},
};

use super::{
    Engine, Item,
    state::{Asked, Asker, State, ordered},
};

/// Questions not answered yet.
#[derive(Debug)]
pub(super) struct Asks {
    pending: Slab<Question>,
    due: BTreeSet<(Instant, VerdictId)>,
    /// Questions that the caller has not taken; some may be answered or forgotten.
    queue: VecDeque<Ask>,
}

#[derive(Debug)]
struct Question {
    asked: Asked,
    no_answer: NoAnswer,
    until: Instant,
}

impl Asks {
    pub(super) fn new() -> Self {
        Self {
            pending: Slab::new(),
            due: BTreeSet::new(),
            queue: VecDeque::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn take(&mut self, id: VerdictId) -> Option<Question> {
        let question = self.pending.remove(id.into())?;
        self.due.remove(&(question.until, id));
        Some(question)
    }

    /// Removes a question whose answer is no longer needed.
    pub(super) fn forget(&mut self, id: VerdictId) {
        self.take(id);
    }

    /// Forgets the calls of a connection that nothing waits for any more.
    pub(super) fn forget_calls(&mut self, connection: ConnectionId) {
        let of_it = |question: &Question| matches!(question.asked, Asked::Call { asker: Asker::Connection(by, _) } if by == connection);
        let calls = self.pending.iter();
        let calls: Vec<VerdictId> = calls
            .filter(|(_, question)| of_it(question))
            .map(|(slot, _)| slot.into())
            .collect();
        for call in calls {
            self.take(call);
        }
    }

    /// The subscriptions about which a question is under way.
    pub(super) fn subscriptions(&self) -> HashSet<Slot> {
        let all = self.pending.iter();
        all.filter_map(|(_, question)| match &question.asked {
            Asked::Subscribe { subscription } => Some(*subscription),
            Asked::Connect { .. } | Asked::Publish { .. } | Asked::Call { .. } => None,
        })
        .collect()
    }

    /// The next question that still needs an answer.
    fn next(&mut self) -> Option<Ask> {
        loop {
            let ask = self.queue.pop_front()?;
            if self.pending.get(ask.id.into()).is_some() {
                return Some(ask);
            }
        }
    }
}

impl From<Slot> for VerdictId {
    fn from(slot: Slot) -> Self {
        Self(u64::from(slot.generation) << 32 | u64::from(slot.index))
    }
}

impl From<VerdictId> for Slot {
    fn from(id: VerdictId) -> Self {
        Self {
            index: id.0 as u32,
            generation: (id.0 >> 32) as u32,
        }
    }
}

impl Engine {
    /// Takes the next question to an outside party. Call until `None` after `poll_delivery`. Answer
    /// each with [`handle_verdict`](Self::handle_verdict); other work is not held up meanwhile.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        self.asks.next()
    }

    /// Takes the next reply to a caller without a connection. Call until `None` after
    /// `poll_delivery`.
    pub fn poll_caller_reply(&mut self) -> Option<(CallerId, CallerReply)> {
        self.caller_replies.pop_front()
    }

    /// Asks whether a client may connect, before there is a connection: checks a token or calls a
    /// webhook. `identity` is what is known so far. The caller receives [`CallerReply::Admitted`], or
    /// a refusal. Without an answer in time, [`NoAnswer::Allow`] admits the client with that identity.
    pub fn handle_connect(
        &mut self,
        caller: CallerId,
        identity: Arc<Identity>,
        facts: bytes::Bytes,
        rule: AskRule,
        now: Now,
    ) {
        self.set_now(now);
        if self.asks.len() >= self.limits.requests {
            self.answer(Asker::Caller(caller), Reply::Refused(too_many_questions()));
            return;
        }
        let wish = Wish::Connect { facts };
        let known = Arc::clone(&identity);
        self.ask_as(known, Asked::Connect { caller, identity }, rule, None, wish);
    }

    pub(super) fn ask(
        &mut self,
        asked: Asked,
        rule: AskRule,
        connection: Option<ConnectionId>,
        wish: Wish,
    ) -> VerdictId {
        let known = connection.and_then(|c| self.connections.get(c.into()));
        let identity = known.map(|c| Arc::clone(&c.identity));
        let identity = identity.unwrap_or_else(|| Arc::new(Identity::stranger()));
        self.ask_as(identity, asked, rule, connection, wish)
    }

    fn ask_as(
        &mut self,
        identity: Arc<Identity>,
        asked: Asked,
        rule: AskRule,
        connection: Option<ConnectionId>,
        wish: Wish,
    ) -> VerdictId {
        let until = self.now + rule.within;
        let question = Question {
            asked,
            no_answer: rule.no_answer,
            until,
        };
        let id = VerdictId::from(self.asks.pending.insert(question));
        self.asks.due.insert((until, id));
        self.asks.queue.push_back(Ask {
            id,
            connection,
            identity,
            wish,
            within: rule.within,
        });
        id
    }

    /// Handles the answer to an [`Ask`]. Late and repeated answers are ignored.
    pub fn handle_verdict(&mut self, id: VerdictId, verdict: Verdict, now: Now) {
        self.set_now(now);
        if let Some(question) = self.asks.take(id) {
            self.decided(id, question.asked, verdict);
        }
    }

    /// Decides questions that were not answered in time by their rule.
    pub(super) fn decide_overdue(&mut self) {
        while let Some((until, id)) = self.asks.due.first().copied() {
            if until > self.now {
                return;
            }
            let Some(question) = self.asks.take(id) else {
                debug_assert!(false, "what is due is pending");
                return;
            };
            let verdict = match question.no_answer {
                NoAnswer::Allow => Verdict::Allowed,
                NoAnswer::Refuse => {
                    let detail =
                        "the question whether this is allowed was not answered in time; try again";
                    Verdict::Refused(Refusal::new(ErrorCode::TimedOut, detail))
                }
            };
            self.decided(id, question.asked, verdict);
        }
    }

    fn decided(&mut self, id: VerdictId, asked: Asked, verdict: Verdict) {
        match asked {
            Asked::Connect { caller, identity } => self.connect_decided(caller, identity, verdict),
            Asked::Subscribe { subscription } => self.subscribe_decided(subscription, verdict),
            Asked::Publish { connection } => self.publish_decided(connection, id, verdict),
            Asked::Call { asker } => self.call_decided(asker, verdict),
        }
    }

    fn connect_decided(&mut self, caller: CallerId, known: Arc<Identity>, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Admitted(identity) => CallerReply::Admitted(identity),
            Verdict::Refused(refusal) => CallerReply::Reply(Reply::Refused(refusal)),
            Verdict::Allowed | Verdict::Changed { .. } | Verdict::Answered { .. } => {
                CallerReply::Admitted(known)
            }
        };
        self.caller_replies.push_back((caller, reply));
    }

    fn subscribe_decided(&mut self, slot: Slot, verdict: Verdict) {
        if let Verdict::Refused(refusal) = verdict {
            self.end_unasked(slot, refusal);
            return;
        }
        let Some(s) = self.subscriptions.get_mut(slot) else {
            // The subscription ended in the meantime.
            return;
        };
        s.set_vouched();
        if let State::Opening(opening) = &mut s.state {
            opening.asked = None;
        }
        if self.feeds.known(s.feed).is_some_and(|f| f.tail.is_some()) {
            self.items.push_back(Item::Begin { subscription: slot });
        }
    }

    fn call_decided(&mut self, asker: Asker, verdict: Verdict) {
        let reply = match verdict {
            Verdict::Answered { data, format } | Verdict::Changed { data, format, .. } => {
                Reply::Called { data, format }
            }
            Verdict::Allowed | Verdict::Admitted(_) => Reply::Called {
                data: bytes::Bytes::new(),
                format: Format::Binary,
            },
            Verdict::Refused(refusal) => Reply::Refused(refusal),
        };
        self.answer(asker, reply);
    }

    fn publish_decided(&mut self, connection: ConnectionId, ask: VerdictId, verdict: Verdict) {
        let mut verdict = verdict;
        if let Verdict::Changed { data, .. } = &verdict
            && let Err(refusal) = self.within_size(data)
        {
            verdict = Verdict::Refused(refusal);
        }
        let Some(extra) = self
            .connections
            .get_mut(connection.into())
            .and_then(|c| c.extra.as_mut())
        else {
            return;
        };
        let ordered = &mut extra.ordered;
        match verdict {
            Verdict::Refused(refusal) => ordered.decide(ask, ordered::Verdict::Refused(refusal)),
            Verdict::Changed { data, format, tags } => {
                ordered.change(ask, data, format, tags);
                ordered.decide(ask, ordered::Verdict::Allowed);
            }
            Verdict::Allowed | Verdict::Admitted(_) | Verdict::Answered { .. } => {
                ordered.decide(ask, ordered::Verdict::Allowed);
            }
        }
        self.release_publishes(connection);
    }

    /// Continues publishes that no longer wait for an earlier one.
    fn release_publishes(&mut self, connection: ConnectionId) {
        loop {
            let Some(c) = self.connections.get_mut(connection.into()) else {
                return;
            };
            let Some(next) = c
                .extra
                .as_mut()
                .and_then(|extra| extra.ordered.take_decided())
            else {
                c.settle();
                return;
            };
            let asker = Asker::Connection(connection, next.command);
            match next.verdict {
                ordered::Verdict::Refused(refusal) => self.answer(asker, Reply::Refused(refusal)),
                ordered::Verdict::Allowed | ordered::Verdict::AskedFor(_) => {
                    // The broker may have had no room for an earlier one in the meantime.
                    let (channel, key) = (&next.draft.channel, next.draft.key.as_ref());
                    if let Err(refusal) = self.in_order(connection, channel, key) {
                        self.answer(asker, Reply::Refused(refusal));
                        continue;
                    }
                    self.go_on_after(connection, channel, key);
                    self.send_publish(asker, next.draft);
                }
            }
        }
    }

    /// Queues a publish that waits for a verdict, or behind one that does.
    pub(super) fn publish_later(
        &mut self,
        connection: ConnectionId,
        command: crate::CommandId,
        draft: Draft,
        rule: Option<AskRule>,
    ) {
        let verdict = match rule {
            Some(rule) => {
                let wish = Wish::Publish {
                    draft: draft.clone(),
                };
                let asked = Asked::Publish { connection };
                ordered::Verdict::AskedFor(self.ask(asked, rule, Some(connection), wish))
            }
            None => ordered::Verdict::Allowed,
        };
        if let Some(c) = self.connections.get_mut(connection.into()) {
            c.extra().ordered.wait(ordered::WaitingPublish {
                command,
                draft,
                verdict,
            });
        }
    }
}

pub(super) fn too_many_questions() -> Refusal {
    let detail = "the server is waiting for too many answers from backends; try again";
    Refusal::new(ErrorCode::Busy, detail)
}

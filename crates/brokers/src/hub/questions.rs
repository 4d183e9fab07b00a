//! Questions that only the workers can answer: each worker is asked, and the answers are combined.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use offhook_engine::{AskId, BrokerEvent, BrokerFailure, Receipts, RequestId};

use crate::broker::WorkerId;

/// Slower workers are not waited for: the others' answers are used.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Question {
    worker: WorkerId,
    id: RequestId,
    waits_for: BTreeSet<WorkerId>,
    receipts: Receipts,
    refused: bool,
    until: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Questions {
    open: BTreeMap<AskId, Question>,
    asked: u64,
}

/// An answer and its receiver.
pub(crate) type Answer = (WorkerId, BrokerEvent);

impl Questions {
    /// Starts a question; returns the answer at once if there is no worker to ask.
    pub(crate) fn ask(
        &mut self,
        worker: WorkerId,
        id: RequestId,
        of: &[WorkerId],
        now: Instant,
    ) -> Option<AskId> {
        if of.is_empty() {
            return None;
        }
        self.asked += 1;
        let ask = AskId(self.asked);
        let question = Question {
            worker,
            id,
            waits_for: of.iter().copied().collect(),
            receipts: Receipts::default(),
            refused: false,
            until: now + PATIENCE,
        };
        self.open.insert(ask, question);
        Some(ask)
    }

    /// Handles a worker's answer; returns the combined answer after the last one.
    pub(crate) fn found(
        &mut self,
        worker: WorkerId,
        ask: AskId,
        receipts: Option<Receipts>,
    ) -> Option<Answer> {
        let question = self.open.get_mut(&ask)?;
        if !question.waits_for.remove(&worker) {
            return None;
        }
        match receipts {
            Some(more) => {
                question.receipts.received += more.received;
                question.receipts.subscribers += more.subscribers;
                question.receipts.sessions.extend(more.sessions);
            }
            None => question.refused = true,
        }
        question.waits_for.is_empty().then_some(())?;
        self.open.remove(&ask).map(Question::answer)
    }

    /// A worker is gone: its answers are no longer waited for.
    pub(crate) fn detached(&mut self, worker: WorkerId) -> Vec<Answer> {
        for question in self.open.values_mut() {
            question.waits_for.remove(&worker);
        }
        self.answer_if(|question| question.waits_for.is_empty())
    }

    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Answer> {
        self.answer_if(|question| question.until <= now)
    }

    fn answer_if(&mut self, ready: impl Fn(&Question) -> bool) -> Vec<Answer> {
        let ready = self.open.extract_if(.., |_, question| ready(question));
        ready.map(|(_, question)| question.answer()).collect()
    }
}

impl Question {
    fn answer(self) -> Answer {
        let id = self.id;
        let event = if self.refused {
            let failure = BrokerFailure::Busy;
            BrokerEvent::Failed { id, failure }
        } else {
            let receipts = self.receipts;
            BrokerEvent::Receipts { id, receipts }
        };
        (self.worker, event)
    }
}

#[cfg(test)]
mod tests;

//! After the commit: sends acknowledgements and updates for followers.

use std::{sync::Arc, time::Instant};

use offhook_engine::{BrokerEvent, Draft, Place, StreamState};

use super::{Answer, Outcome, Writer};
use crate::hub::{Bus, Durable};

/// Publications that are delivered under one lock: takes well below a millisecond, after which
/// other threads get the lock.
pub(super) const SLICE: usize = 256;

impl Writer {
    pub(super) fn tell(&self, answers: Vec<Answer>) {
        self.measure_publishing(&answers);
        let mut answers = answers.into_iter().peekable();
        loop {
            let mut bus = self.shared.hub.bus();
            bus.tell_many();
            let mut told = 0;
            // Publications without history between two slices have sequence numbers between those
            // of the slices, so a slice ends where the batch left numbers free.
            while told < SLICE
                && let Some(answer) = answers.next()
            {
                told += usize::from(matches!(answer.outcome, Outcome::Published { .. }));
                self.tell_one(&mut bus, answer);
            }
            let is_last = answers.peek().is_none();
            if is_last {
                bus.end_batch(self.sequence);
            }
            let asleep = bus.told();
            drop(bus);
            for mailbox in asleep {
                mailbox.wake();
            }
            if is_last {
                return;
            }
        }
    }

    /// Records how long publications took to become durable, which they are now.
    fn measure_publishing(&self, answers: &[Answer]) {
        let now = Instant::now();
        let published = answers
            .iter()
            .filter(|answer| matches!(answer.outcome, Outcome::Published { .. }));
        for at in published.filter_map(|answer| answer.at) {
            let took = now.saturating_duration_since(at);
            self.shared.timings.publish.record(took);
        }
    }

    fn tell_one(&self, bus: &mut Bus, answer: Answer) {
        let Answer {
            worker,
            id,
            at: _,
            outcome,
        } = answer;
        let (position, duplicate) = match &outcome {
            Outcome::Published { place, .. } => (place.position, false),
            Outcome::Repeated(position) | Outcome::Before(position) => (*position, true),
            Outcome::Acked(position) => {
                let position = *position;
                return bus.tell(worker, BrokerEvent::Acked { id, position });
            }
            Outcome::Saved => return bus.tell(worker, BrokerEvent::SessionSaved { id }),
            Outcome::Failed(failure) => return bus.tell_failed(worker, id, *failure),
        };
        let published = BrokerEvent::Published {
            id,
            position,
            duplicate,
        };
        bus.tell(worker, published);
        if let Outcome::Published { draft, place } = outcome {
            self.publish(bus, *draft, place);
        }
    }

    /// Moves the head and delivers the publication to followers under one lock, so that a follower
    /// receives everything after the head it was given, and nothing before.
    fn publish(&self, bus: &mut Bus, draft: Draft, place: Place) {
        bus.reach(place.sequence, self.room);
        bus.recent.push(place.sequence, &draft.channel);
        let moved = self.move_head(bus, &draft, place);
        if bus.is_followed(&draft.channel) {
            let publication = Arc::new(draft.at(place));
            if moved {
                bus.tell_publication(&publication);
            } else {
                bus.tell_by_filter(&publication);
            }
        }
    }

    /// Moves the head that the bus knows. `false` if followers of the channel are given a head that
    /// includes the publication.
    fn move_head(&self, bus: &mut Bus, draft: &Draft, place: Place) -> bool {
        let offset = place.position.offset;
        let Some(durable) = bus.durable.get(&draft.channel) else {
            return true;
        };
        let Some(channel) = self.channels.get(&draft.channel) else {
            return true;
        };
        if let Durable::Open(view) = durable
            && view.stream.head.offset >= offset
        {
            // The reader found it on disk.
            return false;
        }
        let mut view = self.shared.view(&channel.retained, &channel.rules.history);
        view.stream = StreamState {
            head: place.position,
            first: view.stream.first.min(offset + 1),
            ..view.stream
        };
        match bus.durable.get_mut(&draft.channel) {
            Some(Durable::Open(open)) => {
                view.used_ms = open.used_ms;
                *open = view;
                true
            }
            _ => {
                self.shared.open(bus, &draft.channel, view);
                false
            }
        }
    }
}

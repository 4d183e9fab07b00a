//! Tells subscribers how many their channels have, and webhooks in the form of Pusher what connections
//! report.

use std::{rc::Rc, sync::Arc};

use offhook_dialects::pusher::Report;
use offhook_engine::{ChannelName, ConnectionId};
use tokio::{sync::oneshot, task::yield_now};

use super::{State, Worker, turn::DELIVERIES};

impl Worker {
    /// Tells the subscribers on this worker the counts of their channels, with other work in between if
    /// there are many.
    pub(super) async fn tell_counts(
        self: Rc<Self>,
        counts: Arc<[(ChannelName, u64)]>,
        done: oneshot::Sender<()>,
    ) {
        for (channel, count) in &*counts {
            let subscribers = {
                let State {
                    engine, outboxes, ..
                } = &*self.state.borrow();
                engine.live_on(channel, |class| outboxes.is_counted(class))
            };
            for some in subscribers.chunks(DELIVERIES) {
                self.tell_count(some, channel, *count);
                yield_now().await;
            }
        }
        let _gone = done.send(());
    }

    fn tell_count(&self, connections: &[ConnectionId], channel: &ChannelName, count: u64) {
        let outboxes = &mut self.state.borrow_mut().outboxes;
        for connection in connections {
            outboxes.count(*connection, channel, count);
        }
    }

    /// Passes on what a connection reports, if somebody wants it.
    pub(super) fn report(&self, report: &Report) {
        if let Some(pusher) = &self.shared.pusher {
            pusher.report(report);
        }
    }
}

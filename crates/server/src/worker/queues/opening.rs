//! Starting and ending the session of a queue.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use offhook_engine::{
    Arrival, ChannelName, Command, CommandId, ConnectionId, Position, Refusal, SessionSnapshot,
    Since, Subscribe, Whom,
};

use super::{
    FromQueue, Hosted, Open, SUBSCRIPTION, ToQueue, USER,
    counts::Counts,
    host::{Host, Hosting, NoTransport, Unencoded},
    sharing::{Sharing, just_before},
};
use crate::worker::{Lease, Speaker, Worker, naming::session_of, now, outlet::Outlet};

impl Worker {
    pub(super) async fn open_queue(self: Rc<Self>, queue: ChannelName) {
        let lease = Lease::new(&self);
        let session = session_of(USER, queue.as_str());
        let kept = self.load_named(session).await;
        let begun = kept.and_then(|kept| self.begin_queue(&queue, kept));
        let hosted = self.queues.hosted.borrow_mut().remove(&queue);
        let Some(Hosted::Opening(joins)) = hosted else {
            return;
        };
        let (hosting, connection) = match begun {
            Ok(begun) => begun,
            Err(why) => {
                for join in joins {
                    self.answer(&join, FromQueue::Refused(join.id, why.clone()));
                }
                return;
            }
        };
        let open = Open {
            hosting: hosting.clone(),
            connection,
            _lease: lease,
        };
        let mut hosted = self.queues.hosted.borrow_mut();
        hosted.insert(queue.clone(), Hosted::Open(open));
        drop(hosted);
        if joins.is_empty() {
            return self.close_queue(&queue);
        }
        for join in joins {
            self.serve_queue(&hosting, connection, ToQueue::Join(join));
        }
    }

    /// Starts the session of a queue, or continues it.
    fn begin_queue(
        self: &Rc<Self>,
        queue: &ChannelName,
        kept: Option<SessionSnapshot>,
    ) -> Result<(Hosting, ConnectionId), Refusal> {
        let note = kept.as_ref().map(|kept| kept.note.clone());
        let counts = Counts::read(&note.unwrap_or_default());
        let processed = processed(kept.as_ref(), &counts);
        let since = match processed {
            Some(place) => Since::Position(place),
            None => Since::Start,
        };
        if processed.is_none() && kept.is_some() {
            tracing::warn!(%queue, "the place of a queue is lost: it starts again with its history");
        }
        let hosting = Hosting {
            queue: queue.clone(),
            sharing: Rc::new(RefCell::new(Sharing::after(processed))),
            counts: Rc::new(counts),
            orders: Arc::clone(&self.shared.orders),
            worker: self.number,
        };
        let (session, now) = (session_of(USER, queue.as_str()), now());
        let mut state = self.state.borrow_mut();
        let class = state.outboxes.class_of(&Unencoded);
        let engine = &mut state.engine;
        let arrival = Arrival::new(session, Arc::clone(&self.anonymous)).of(class);
        let connection = match kept {
            Some(kept) => {
                let identity = Arc::clone(&self.anonymous);
                let kept = SessionSnapshot { identity, ..kept };
                engine.handle_connection_resumed(arrival, kept, &[], now)?
            }
            None => engine.handle_connection_opened(arrival, now)?,
        };
        engine.set_durable(connection, self.longest(Some(Duration::MAX)));
        let window = self.shared.config.limits.window;
        let wish = Subscribe::new(queue.clone(), since)
            .numbered(SUBSCRIPTION.0)
            .acknowledged(window);
        let outlet = Outlet::Other(Rc::new(NoTransport));
        let speaker = Speaker::Other(Box::new(Box::new(Host(hosting.clone()))));
        let now_s = self.seconds();
        state.outboxes.add(connection, outlet, speaker, None, now_s);
        if hosting.counts.are_known() {
            // They do not hold any more after a crash.
            let note = Bytes::new();
            let forget = Command::Remember { note };
            state
                .engine
                .handle_command(connection, CommandId(0), forget, now);
        }
        // A session that is continued has the subscription, unless the server has ended it. Its consumers have the permission.
        state
            .engine
            .subscribe_for(&Whom::Session(session), &wish, now);
        self.carry_out(state);
        Ok((hosting, connection))
    }

    /// Ends the session of a queue without consumers. It is kept, and continues when one comes.
    pub(super) fn close_queue(self: &Rc<Self>, queue: &ChannelName) {
        let hosted = self.queues.hosted.borrow_mut().remove(queue);
        let Some(Hosted::Open(open)) = hosted else {
            return;
        };
        let sharing = open.hosting.sharing.borrow();
        let note = Counts::note(sharing.processed(), sharing.delivered());
        let note = Bytes::from(note);
        drop(sharing);
        let mut state = self.state.borrow_mut();
        let remember = Command::Remember { note };
        state
            .engine
            .handle_command(open.connection, CommandId(0), remember, now());
        state.outboxes.remove(open.connection);
        state.engine.handle_connection_lost(open.connection);
        self.carry_out(state);
    }
}

/// The place up to which a queue was processed when its session was saved.
fn processed(kept: Option<&SessionSnapshot>, counts: &Counts) -> Option<Position> {
    let subscription = kept?.subscriptions.first();
    let Some(subscription) = subscription else {
        return counts.processed();
    };
    // They are handed out again, in order.
    let earlier = subscription.unacknowledged.as_ref();
    let first = earlier.and_then(|earlier| earlier.publications.first());
    Some(match (first, earlier) {
        (Some(first), _) => just_before(first.position),
        (None, Some(earlier)) => earlier.until,
        (None, None) => subscription.position,
    })
}

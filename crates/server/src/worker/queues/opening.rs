//! The session of a queue: how it is opened, continued and kept.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use offhook_engine::{
    Arrival, ChannelName, Command, CommandId, ConnectionId, Refusal, SessionSnapshot, Since,
    Subscribe, Whom,
};

use super::{
    FromQueue, Hosted, Open, SUBSCRIPTION, ToQueue, USER, WINDOW,
    counts::Counts,
    host::{Host, Hosting, NoTransport, Unencoded},
    sharing::Sharing,
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
        // A session whose subscription was ended goes on where it was.
        let since = counts.cursor().map_or(Since::Start, Since::Position);
        let hosting = Hosting {
            queue: queue.clone(),
            sharing: Rc::new(RefCell::new(Sharing::default())),
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
        let window = self.shared.config.limits.window.min(WINDOW);
        let wish = Subscribe::new(queue.clone(), since)
            .numbered(SUBSCRIPTION.0)
            .acknowledged(window);
        let outlet = Outlet::Other(Rc::new(NoTransport));
        let speaker = Speaker::Other(Box::new(Box::new(Host(hosting.clone()))));
        let now_s = self.seconds();
        state.outboxes.add(connection, outlet, speaker, None, now_s);
        if hosting.counts.are_known() {
            // After a crash, they would be wrong.
            let note = Bytes::new();
            let at_once = true;
            let forget = Command::Remember { note, at_once };
            state
                .engine
                .handle_command(connection, CommandId(0), forget, now);
        }
        // A session that is continued has the subscription. Its consumers have the permission.
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
        let note = {
            let sharing = open.hosting.sharing.borrow();
            let cursor = sharing.cursor().or(open.hosting.counts.cursor());
            Bytes::from(Counts::note(cursor, sharing.delivered()))
        };
        let mut state = self.state.borrow_mut();
        let at_once = true;
        let remember = Command::Remember { note, at_once };
        state
            .engine
            .handle_command(open.connection, CommandId(0), remember, now());
        state.outboxes.remove(open.connection);
        state.engine.handle_connection_lost(open.connection);
        self.carry_out(state);
    }
}

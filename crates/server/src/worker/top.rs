//! The slowest connections and the busiest channels of a worker.

use std::{rc::Rc, sync::Arc};

use offhook_engine::{Activity, ChannelName, SessionId};

use super::{State, Worker, now};

/// How many subscriptions of a slow connection are examined. 64: more than most sessions have.
const SUBSCRIPTIONS: usize = 64;

/// The slowest connections and the busiest channels of a worker.
#[derive(Debug, Default)]
pub(crate) struct Top {
    /// Connections with at least 16 KiB unsent, the largest first.
    pub(crate) slowest: Vec<Slow>,
    /// Channels with their publications per second, in no particular order.
    pub(crate) busiest: Vec<(ChannelName, f64)>,
}

/// A connection with unsent output.
#[derive(Debug)]
pub(crate) struct Slow {
    pub(crate) worker: u16,
    /// The connection's number in the log.
    pub(crate) number: Option<u32>,
    pub(crate) session: SessionId,
    pub(crate) user: Arc<str>,
    pub(crate) unsent: usize,
    /// How many of its first subscriptions are behind.
    pub(crate) behind: usize,
}

impl Worker {
    /// Returns the slowest connections, at most `limit`, and the busiest channels.
    pub(super) fn top(self: &Rc<Self>, limit: usize) -> Top {
        let State {
            engine,
            outboxes,
            busiest,
            ..
        } = &mut *self.state.borrow_mut();
        let slowest = outboxes.heaviest(limit).into_iter();
        let slowest = slowest.filter_map(|(unsent, connection)| {
            let progress = engine.progress(connection, SUBSCRIPTIONS);
            let behind = progress.iter().filter(|one| one.activity != Activity::Live);
            Some(Slow {
                worker: self.number,
                number: outboxes.peer(connection).map(|peer| peer.number),
                session: engine.session(connection)?,
                user: Arc::clone(&engine.identity(connection)?.user),
                unsent,
                behind: behind.count(),
            })
        });
        let slowest = slowest.collect();
        let now = now().instant;
        busiest.keep_time(now);
        Top {
            slowest,
            busiest: busiest.rates(now),
        }
    }
}

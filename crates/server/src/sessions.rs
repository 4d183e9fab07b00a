//! Server-side actions on sessions: find them, send them data, subscribe and close them, whichever
//! worker they are on.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use offhook_engine::{Format, Refusal, SessionId, Subscribe, SubscriptionKey, Whom};
use tokio::sync::oneshot;

use crate::{
    directory::Directory,
    worker::{Errand, Goodbye, Order, Orders},
};

/// Server-side actions on sessions. Cloning costs two reference counts.
///
/// Each function acts on one session, or on all sessions of a user, and returns how many sessions
/// there were. Sessions without a connection are not reached.
#[derive(Clone)]
pub struct Sessions {
    directory: Arc<Directory>,
    orders: Arc<Orders>,
}

impl Sessions {
    pub(crate) const fn new(directory: Arc<Directory>, orders: Arc<Orders>) -> Self {
        Self { directory, orders }
    }

    /// Whether a session has a connection in this process.
    #[must_use]
    pub fn is_connected(&self, session: SessionId) -> bool {
        self.directory.find(session).is_some()
    }

    /// Sends them data outside of any channel. The data is not stored.
    pub async fn tell(&self, whom: Whom, data: Bytes, format: Format) -> usize {
        self.all(whom, &Errand::Tell { data, format }).await
    }

    /// Subscribes them, regardless of their own permissions.
    pub async fn subscribe(&self, whom: Whom, wish: Subscribe) -> usize {
        self.all(whom, &Errand::Subscribe(wish)).await
    }

    /// Ends a subscription, and tells them the reason.
    pub async fn unsubscribe(
        &self,
        whom: Whom,
        subscription: SubscriptionKey,
        why: Refusal,
    ) -> usize {
        self.all(whom, &Errand::Unsubscribe { subscription, why })
            .await
    }

    /// Closes their connections.
    pub async fn disconnect(&self, whom: Whom) -> usize {
        self.all(whom, &Errand::Disconnect(None)).await
    }

    /// Closes their connections with a code and a reason of your own. Codes from 4100 to 4999 are
    /// free. Clients reconnect after any code, except for those that docs/protocol.md lists as
    /// final. A reason longer than 123 bytes is truncated.
    pub async fn disconnect_with(&self, whom: Whom, code: u16, reason: &str) -> usize {
        let reason = &reason[..reason.floor_char_boundary(123)];
        let goodbye = Goodbye {
            code,
            reason: reason.into(),
        };
        self.all(whom, &Errand::Disconnect(Some(goodbye))).await
    }

    /// The sessions of a user that have a connection.
    pub async fn of_user(&self, user: &str) -> Vec<SessionId> {
        let asked: Vec<_> = (0..self.orders.workers())
            .map(|worker| {
                let (done, answer) = oneshot::channel();
                let user = user.into();
                self.orders.give(worker, Order::List { user, done });
                answer
            })
            .collect();
        let mut sessions = Vec::new();
        for answer in asked {
            // A worker that has ended has no sessions.
            sessions.extend(answer.await.unwrap_or_default());
        }
        sessions.sort_unstable();
        sessions
    }

    /// Asks the session's worker, or all workers if there may be several sessions.
    async fn all(&self, whom: Whom, errand: &Errand) -> usize {
        let workers = match &whom {
            Whom::Session(session) => match self.directory.find(*session) {
                Some(place) => place.worker..place.worker + 1,
                None => return 0,
            },
            Whom::User(_) => 0..self.orders.workers(),
        };
        let asked: Vec<_> = workers
            .map(|worker| {
                let (done, answer) = oneshot::channel();
                let (whom, errand) = (whom.clone(), errand.clone());
                self.orders.give(worker, Order::Run { whom, errand, done });
                answer
            })
            .collect();
        let mut count = 0;
        for answer in asked {
            // A worker that has ended has no sessions.
            count += answer.await.unwrap_or(0);
        }
        count
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

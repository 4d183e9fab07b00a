//! Subscriptions that the server makes.

use std::fmt;
use std::sync::Arc;

use crate::client::Handle;
use crate::subscription::Subscription;

/// The subscriptions that the server's backend makes for this client's session, from
/// [`Client::made_by_server`](crate::Client::made_by_server).
///
/// While there is none of these, such subscriptions are kept, and their messages are ignored. It
/// keeps its client open.
pub struct MadeByServer {
    handle: Arc<Handle>,
}

impl MadeByServer {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        handle.shared.with(crate::core::Core::accept_made);
        Self { handle }
    }

    /// The next subscription. `None` once the client is closed. With several of these, each subscription is
    /// given to one of them. Cancel-safe.
    pub async fn next(&mut self) -> Option<Subscription> {
        let (key, target) = self.handle.shared.next_made().await?;
        Some(Subscription::new(Arc::clone(&self.handle), key, target))
    }
}

impl Drop for MadeByServer {
    fn drop(&mut self) {
        self.handle.shared.wish(crate::core::Core::ignore_made);
    }
}

impl fmt::Debug for MadeByServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeByServer").finish_non_exhaustive()
    }
}

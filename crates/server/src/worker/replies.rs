//! Replies of the broker and the backend that a connection needs before it starts.

use std::sync::Arc;

use offhook_engine::{
    CallerReply, ErrorCode, Identity, Refusal, Reply, SessionId, SubscriptionSnapshot,
};
use tokio::sync::oneshot::error::RecvError;

/// The subscriptions that the broker stored with a session; empty if it no longer has them.
pub(super) fn subscriptions(
    session: SessionId,
    reply: Result<CallerReply, RecvError>,
) -> Vec<SubscriptionSnapshot> {
    match reply {
        Ok(CallerReply::Session(Some(kept))) if kept.session == session => kept.subscriptions,
        // The client notices missing subscriptions, and subscribes again with its positions.
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// The identity that the backend gave a new client, or its refusal.
pub(super) fn admitted(reply: Result<CallerReply, RecvError>) -> Result<Arc<Identity>, Refusal> {
    match reply {
        Ok(CallerReply::Admitted(identity)) => Ok(identity),
        Ok(CallerReply::Reply(Reply::Refused(refusal))) => Err(refusal),
        Ok(CallerReply::Reply(_) | CallerReply::Session(_)) | Err(_) => Err(Refusal::new(
            ErrorCode::Draining,
            "the server is going away",
        )),
    }
}

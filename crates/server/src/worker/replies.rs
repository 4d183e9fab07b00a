//! Replies that a connection waits for before it starts: of the broker, and of the backend.

use std::sync::Arc;

use offhook_engine::{
    CallerReply, ErrorCode, Identity, Refusal, Reply, SessionId, SubscriptionSnapshot,
};
use tokio::sync::oneshot::error::RecvError;

/// What the broker keeps of a session; nothing where it keeps that no longer.
pub(super) fn subscriptions(
    session: SessionId,
    reply: Result<CallerReply, RecvError>,
) -> Vec<SubscriptionSnapshot> {
    match reply {
        Ok(CallerReply::Session(Some(kept))) if kept.session == session => kept.subscriptions,
        // The client sees what is missing, and subscribes to it again with its positions.
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Whom the backend says that a new client is.
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

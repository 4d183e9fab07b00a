//! Replies of the broker and the backend that a connection needs before it starts, and refusals.

use std::sync::Arc;

use offhook_engine::{
    CallerReply, ErrorCode, Identity, Refusal, Reply, SessionId, SubscriptionSnapshot,
};
use tokio::sync::oneshot::error::RecvError;

use crate::{auth::Authenticator, tokens::bad as bad_token};

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

/// The identity that the backend gave a new client.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) identity: Arc<Identity>,
    /// When the backend was asked, in milliseconds since 1970.
    pub(super) asked_ms: u64,
}

impl Admitted {
    /// The identity, unless its user was revoked while the backend was asked: revoking found no session
    /// to close then.
    pub(super) fn unless_revoked(self, auth: &Authenticator) -> Result<Arc<Identity>, Refusal> {
        if auth.is_revoked(&self.identity.user, Some(self.asked_ms)) {
            let detail = "the user was revoked while the backend was asked about this client";
            return Err(Refusal::new(ErrorCode::Unauthenticated, detail));
        }
        Ok(self.identity)
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

/// The refusal of a client whose token is not its session's newest.
pub(super) fn older() -> Refusal {
    bad_token("is older than that of a newer connection of the session")
}

/// The refusal of a new session that cannot be given a name.
pub(super) fn no_session(_no_randomness: std::io::Error) -> Refusal {
    let detail = "the system cannot provide random bytes for the session's id";
    Refusal::new(ErrorCode::Busy, detail)
}

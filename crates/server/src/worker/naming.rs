//! Sessions named by their clients. They are found by user and name instead of by a token.

use std::{rc::Rc, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use offhook_dialects::{Known, Named, Will};
use offhook_engine::{
    BrokerRequest, CallerReply, CloseReason, ErrorCode, Flow, Identity, Refusal, SessionId,
    SessionSnapshot, Whom,
};
use tokio::sync::oneshot;

use super::{Errand, Order, Worker, wills::Bequest};
use crate::{directory::Place, tokens::random_bytes};

/// A session that was found by the name its client gave.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) session: SessionId,
    pub(super) identity: Arc<Identity>,
    /// When the identity was verified, in milliseconds since 1970.
    pub(super) at_ms: u64,
    name: String,
    /// How long it outlives its connection.
    pub(super) expiry: Option<Duration>,
    /// The stored session; none if it is new.
    pub(super) snapshot: Option<SessionSnapshot>,
    note: Bytes,
    resumed: bool,
    will: Option<Will>,
}

impl Found {
    /// The information for the dialect's welcome.
    pub(super) fn known(&self) -> Known<'_> {
        Known {
            name: &self.name,
            resumed: self.resumed,
            note: &self.note,
            expiry: self.expiry,
        }
    }

    /// The will to publish when the connection is lost.
    fn bequest(&self) -> Option<Bequest> {
        Some(Bequest {
            session: self.session,
            identity: Arc::clone(&self.identity),
            will: self.will.clone()?,
            expiry: self.expiry,
        })
    }
}

impl Worker {
    /// Finds the session that a client names. An older connection of the session, on any worker, is
    /// closed first, so that the broker has the session's latest state.
    pub(super) async fn find_named(
        self: &Rc<Self>,
        identity: Arc<Identity>,
        at_ms: u64,
        named: &Named,
    ) -> Result<Found, Refusal> {
        let name = match &*named.name {
            "" => HEXLOWER.encode(&random_bytes::<16>().map_err(no_name)?),
            name => name.to_owned(),
        };
        let session = session_of(&identity.user, &name);
        while let Some(older) = self.shared.directory.find(session) {
            if !self.take_over(session, older, named.fresh).await {
                break;
            }
        }
        let expiry = self.longest(named.expiry);
        if named.fresh {
            self.end_delayed_will(session);
            self.forget_session(session);
        }
        let snapshot = match named.fresh {
            true => None,
            false => self.load_named(session).await?,
        };
        self.shared.wills.cancel(session);
        if expiry.is_none() && snapshot.is_some() {
            // The session is resumed, but is to end with this connection.
            self.forget_session(session);
        }
        let resumed = snapshot.is_some();
        let note = snapshot.as_ref().map(|kept| kept.note.clone());
        let snapshot = snapshot.map(|kept| SessionSnapshot {
            // Publications of pushed subscriptions are not delivered to a client that was away. The
            // dialect subscribes again instead.
            subscriptions: kept
                .subscriptions
                .into_iter()
                .filter(|subscription| subscription.flow != Flow::Pushed)
                .collect(),
            ..kept
        });
        Ok(Found {
            session,
            identity,
            at_ms,
            name,
            expiry,
            snapshot,
            note: note.unwrap_or_default(),
            resumed,
            will: named.will.clone(),
        })
    }

    /// How long a session named by its client is kept: the requested time, up to
    /// `mqtt.session_expiry`.
    pub(super) fn longest(&self, expiry: Option<Duration>) -> Option<Duration> {
        let longest = self.shared.config.mqtt.session_expiry;
        expiry.map(|expiry| expiry.min(longest))
    }

    /// Closes the older connection of a session, which `ends` or is taken over, and waits until the session
    /// is saved. Returns `false` if the worker in the directory no longer has that connection.
    async fn take_over(self: &Rc<Self>, session: SessionId, older: Place, ends: bool) -> bool {
        if older.worker == self.number {
            if ends {
                self.hasten_will(older.connection);
            }
            self.close_connection(older.connection, CloseReason::Replaced);
            self.shared.directory.left(session, older);
            return true;
        }
        let (done, closed) = oneshot::channel();
        let order = Order::Run {
            whom: Whom::Session(session),
            errand: Errand::Replace { ends },
            done,
        };
        self.shared.orders.give(older.worker, order);
        // A worker that has ended has no connections.
        let closed = closed.await.is_ok_and(|closed| closed > 0);
        self.shared.directory.left(session, older);
        closed
    }

    /// What is published once the connection of this session, which has begun, has ended.
    pub(super) fn bequest_of(&self, found: &Found) -> Option<Bequest> {
        // An older connection may have ended after the session was found.
        self.shared.wills.cancel(found.session);
        found.bequest()
    }

    pub(super) async fn load_named(
        self: &Rc<Self>,
        session: SessionId,
    ) -> Result<Option<SessionSnapshot>, Refusal> {
        let reply = self.call(|engine, caller, now| {
            engine.handle_load_session(caller, session, now);
        });
        match reply.await {
            Ok(CallerReply::Session(kept)) => Ok(kept.map(|kept| *kept)),
            // It was stored by an incompatible version of the server: the session starts anew.
            Ok(CallerReply::Reply(offhook_engine::Reply::Refused(refusal)))
                if refusal.code == ErrorCode::BadToken =>
            {
                Ok(None)
            }
            Ok(CallerReply::Reply(_) | CallerReply::Admitted(_)) | Err(_) => {
                let detail = "the broker could not load the session; try again";
                Err(Refusal::new(ErrorCode::Busy, detail))
            }
        }
    }

    fn forget_session(&self, session: SessionId) {
        let drop = BrokerRequest::DropSession { session };
        self.shared.broker.submit(self.id, drop);
    }
}

/// The id of a user's session with this name. Other members see the id. It is a hash, so that the
/// name can be confirmed by a guess, but not read from it.
pub(super) fn session_of(user: &str, name: &str) -> SessionId {
    // A user's name contains no NUL, so that different pairs give different inputs.
    let hash = digest(
        &SHA256,
        format!("offhook session\0{user}\0{name}").as_bytes(),
    );
    let mut id = [0; 16];
    id.iter_mut()
        .zip(hash.as_ref())
        .for_each(|(to, from)| *to = *from);
    SessionId::from_bytes(id)
}

fn no_name(_error: std::io::Error) -> Refusal {
    let detail = "the system cannot provide random bytes for the session's name";
    Refusal::new(ErrorCode::Busy, detail)
}

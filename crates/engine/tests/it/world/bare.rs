//! An engine alone, with a test in place of the broker.

use std::sync::Arc;

use offhook_engine::{Delivery, Engine, Identity, Now, SessionId};

use super::World;

pub(crate) fn now() -> Now {
    World::new(1, 0).now
}

pub(crate) fn identity() -> Arc<Identity> {
    Arc::new(Identity::stranger())
}

pub(crate) fn session(n: u8) -> SessionId {
    SessionId::from_bytes([n; 16])
}

/// The numbers of delivered messages, and the beginnings of notices.
pub(crate) fn told(engine: &mut Engine) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(delivery) = engine.poll_delivery() {
        told.push(match delivery {
            Delivery::Broadcast { publication, .. } | Delivery::Publication { publication, .. } => {
                format!("message {}", publication.sequence)
            }
            Delivery::Connection { notice, .. } => format!("{notice:?}").chars().take(60).collect(),
            Delivery::Presence { .. } | Delivery::Mark { .. } => "other".into(),
        });
    }
    told
}

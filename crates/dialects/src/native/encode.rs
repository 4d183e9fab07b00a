//! Encodes deliveries as messages for clients.

use std::time::Duration;

use offhook_engine::{
    CloseReason, CommandId, Format, GapReason, Notice, Position, PresenceChange, Publication,
    Refusal, Reply,
};

use super::{decode::Rejection, write, writer::Writer};
use crate::{dialect::Welcome, json::Object};

/// What is said to one connection.
#[derive(Debug)]
pub(super) enum Spoken<'a> {
    Welcome(&'a Welcome<'a>),
    Refused {
        id: Option<CommandId>,
        refusal: &'a Refusal,
    },
    Token(&'a str),
    Refreshed {
        id: CommandId,
        expires_in: Option<Duration>,
    },
    Expiring(Duration),
    Notice(&'a Notice),
}

impl Spoken<'_> {
    pub(super) fn write<W: Writer>(&self) -> W::Message {
        let message: W = match self {
            Self::Welcome(welcome) => write::welcome(welcome),
            Self::Refused { id, refusal } => write::rejection(*id, refusal),
            Self::Token(resume) => W::short("token").text("resume", resume),
            Self::Refreshed { id, expires_in } => write::refreshed(*id, *expires_in),
            Self::Expiring(expires_in) => write::expiring(*expires_in),
            Self::Notice(notice) => write::notice(notice),
        };
        message.finish()
    }

    /// Whether it contains data that is bytes.
    pub(super) fn has_bytes(&self) -> bool {
        let Self::Notice(notice) = self else {
            return false;
        };
        match notice {
            Notice::Told { format, .. } => *format == Format::Binary,
            Notice::Reply { reply, .. } => match reply {
                Reply::Called { format, .. } => *format == Format::Binary,
                Reply::History { publications, .. } => publications.iter().any(is_bytes),
                Reply::State { values, .. } => values.iter().any(is_bytes),
                Reply::Published { .. }
                | Reply::Subscribed { .. }
                | Reply::Unsubscribed { .. }
                | Reply::Done { .. }
                | Reply::InfoUpdated
                | Reply::Members { .. }
                | Reply::Acked { .. }
                | Reply::Receipts { .. }
                | Reply::Values { .. }
                | Reply::Remembered
                | Reply::Pong
                | Reply::Refused(_) => false,
            },
            Notice::Gap { .. }
            | Notice::ChannelGap { .. }
            | Notice::Own { .. }
            | Notice::Restored
            | Notice::CatchingUp { .. }
            | Notice::Live { .. }
            | Notice::Unsubscribed { .. }
            | Notice::Reconnect { .. }
            | Notice::Close { .. } => false,
        }
    }
}

fn is_bytes(publication: &impl AsRef<Publication>) -> bool {
    publication.as_ref().format == Format::Binary
}

/// The answer to `connect`: the connection's identity, and the sealed session to resume with.
#[must_use]
pub fn encode_welcome(welcome: &Welcome<'_>) -> String {
    Spoken::Welcome(welcome).write::<Object>()
}

/// The answer to `refresh`.
#[must_use]
pub fn encode_refreshed(id: CommandId, expires_in: Option<Duration>) -> String {
    Spoken::Refreshed { id, expires_in }.write::<Object>()
}

/// The session's identity expires soon.
#[must_use]
pub fn encode_expiring(expires_in: Duration) -> String {
    Spoken::Expiring(expires_in).write::<Object>()
}

/// A freshly sealed session, which replaces the previous one.
#[must_use]
pub fn encode_token(resume: &str) -> String {
    Spoken::Token(resume).write::<Object>()
}

/// The answer to an invalid message.
#[must_use]
pub fn encode_rejection(rejection: &Rejection) -> String {
    let Rejection { id, refusal } = rejection;
    Spoken::Refused { id: *id, refusal }.write::<Object>()
}

/// Everything else that is sent to one connection.
#[must_use]
pub fn encode_notice(notice: &Notice) -> String {
    Spoken::Notice(notice).write::<Object>()
}

/// A publication. The text is the same for every connection: encode it once.
#[must_use]
pub fn encode_publication(publication: &Publication) -> String {
    write::publication::<Object>(publication).finish()
}

/// A join or a leave. The text is the same for every connection.
#[must_use]
pub fn encode_presence(change: &PresenceChange) -> String {
    write::presence::<Object>(change).finish()
}

/// The message for a client that compares offsets, before a publication that starts an epoch:
/// nothing is missing, and positions continue in the new epoch. `None` for all other publications.
#[must_use]
pub fn encode_new_epoch(publication: &Publication) -> Option<String> {
    if publication.follows_in_epoch() {
        return None;
    }
    let gap = Notice::Gap {
        subscription: publication.channel.clone().into(),
        from: publication.previous,
        to: Position {
            epoch: publication.position.epoch,
            offset: publication.position.offset.saturating_sub(1),
        },
        reason: GapReason::EpochChanged,
        agreed: None,
    };
    Some(encode_notice(&gap))
}

/// The WebSocket close code that follows a `closing`.
#[must_use]
pub fn close_code(reason: CloseReason) -> u16 {
    match reason {
        // RFC 6455 §7.4.1: 1008 is for a violated policy.
        CloseReason::TooSlow | CloseReason::Flood => 1008,
        // RFC 6455 §7.4.2: 4000 to 4999 are for applications. Clients do not reconnect after these.
        CloseReason::Replaced => 4001,
        CloseReason::Disconnected => 4002,
        CloseReason::Expired => 4003,
    }
}

//! The byte format of a [`SessionSnapshot`], which the caller encrypts into a resume token.
//!
//! ```text
//! version:1  time_ms:8  session:16  generation:8
//! user  info  flags:1  ends_ms:8  count:2 × ( pattern  verbs:1  ends_ms:8 )  [ class ]
//! count:2 × ( flags:1  target  [id:4]  epoch:8  offset:8
//!             [window:2  until epoch:8 offset:8  count:2 × (epoch:8 offset:8 deliveries:2)]
//!             [group keep_ms:8] )
//! [ length:4 note ]
//! ```
//! The version is 3, plus 1 if there is a note, plus 2 if the identity has a class.
//!
//! Texts are a `u16` length and their bytes, lists a `u16` count; all numbers are big-endian. The
//! flags say what is present: filter 1, id 2, presence 4, no echo 8, vouched 16, window 32,
//! unacknowledged 64, shared 128.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes};

use crate::{
    channel_name::{ChannelName, Pattern},
    error::{ErrorCode, Refusal},
    filter::Filter,
    grant::{Grant, Verbs},
    position::Position,
    publication::Key,
    session::{
        Earlier, Identity, SessionId, SessionSnapshot, SubscriptionSnapshot, Unacknowledged,
    },
    subscription::{Flow, Share, SubscriptionId, Target},
};

const VERSION: u8 = 3;
const NOTE: u8 = 1;
const CLASS: u8 = 2;

/// Stands for no end.
const NEVER: u64 = u64::MAX;

const FILTER: u8 = 1;
const ID: u8 = 2;
const PRESENCE: u8 = 4;
const NO_ECHO: u8 = 8;
const VOUCHED: u8 = 16;
const WINDOW: u8 = 32;
const UNACKNOWLEDGED: u8 = 64;
const SHARED: u8 = 128;

impl SessionSnapshot {
    /// The snapshot's bytes; none if a part is longer than a token can hold (64 KiB).
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        let note = if self.note.is_empty() { 0 } else { NOTE };
        let class = if self.identity.class.is_none() {
            0
        } else {
            CLASS
        };
        out.put_u8(VERSION + note + class);
        out.put_u64(self.time_ms);
        out.put_slice(&self.session.to_bytes());
        out.put_u64(self.generation);
        put_identity(&mut out, &self.identity)?;
        out.put_u16(u16::try_from(self.subscriptions.len()).ok()?);
        for subscription in &self.subscriptions {
            put_subscription(&mut out, subscription)?;
        }
        if !self.note.is_empty() {
            out.put_u32(u32::try_from(self.note.len()).ok()?);
            out.put_slice(&self.note);
        }
        Some(out)
    }

    /// Parses a snapshot.
    ///
    /// # Errors
    /// [`ErrorCode::BadToken`] if the bytes are not a snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut left = bytes;
        let snapshot = read(&mut left).filter(|_| left.is_empty());
        snapshot.ok_or_else(|| {
            Refusal::new(
                ErrorCode::BadToken,
                "the token contains no session; connect without it and subscribe with positions",
            )
        })
    }
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) -> Option<()> {
    put_text(out, identity.user.as_bytes())?;
    put_text(out, &identity.info)?;
    let fixed = if identity.info_is_fixed {
        INFO_IS_FIXED
    } else {
        0
    };
    let certified = if identity.by_certificate {
        BY_CERTIFICATE
    } else {
        0
    };
    out.put_u8(fixed | certified);
    out.put_u64(identity.ends_ms.unwrap_or(NEVER));
    out.put_u16(u16::try_from(identity.grants.len()).ok()?);
    for grant in &*identity.grants {
        put_text(out, grant.pattern.as_str().as_bytes())?;
        out.put_u8(grant.verbs.bits());
        out.put_u64(grant.ends_ms.unwrap_or(NEVER));
    }
    if let Some(class) = &identity.class {
        put_text(out, class.as_bytes())?;
    }
    Some(())
}

fn put_subscription(out: &mut Vec<u8>, s: &SubscriptionSnapshot) -> Option<()> {
    let is_filter = matches!(s.target, Target::Filter(_));
    let flags = [
        (is_filter, FILTER),
        (s.id.is_some(), ID),
        (s.presence, PRESENCE),
        (!s.echo, NO_ECHO),
        (s.vouched, VOUCHED),
        (s.flow != Flow::Pushed, WINDOW),
        (s.unacknowledged.is_some(), UNACKNOWLEDGED),
        (s.share.is_some(), SHARED),
    ];
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    out.put_u8(set.map(|(_, flag)| flag).sum());
    put_text(out, s.target.as_str().as_bytes())?;
    if let Some(id) = s.id {
        out.put_u32(id.0);
    }
    put_position(out, s.position);
    if let Flow::Acknowledged { window } = s.flow {
        out.put_u16(window);
    }
    if let Some(unacknowledged) = &s.unacknowledged {
        put_position(out, unacknowledged.until);
        out.put_u16(u16::try_from(unacknowledged.publications.len()).ok()?);
        for earlier in &unacknowledged.publications {
            put_position(out, earlier.position);
            out.put_u16(earlier.deliveries);
        }
    }
    if let Some(share) = &s.share {
        put_text(out, share.group.as_str().as_bytes())?;
        out.put_u64(u64::try_from(share.keep.as_millis()).unwrap_or(u64::MAX));
    }
    Some(())
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.put_u64(position.epoch.0);
    out.put_u64(position.offset);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    out.put_u16(u16::try_from(text.len()).ok()?);
    out.put_slice(text);
    Some(())
}

fn read(from: &mut &[u8]) -> Option<SessionSnapshot> {
    let parts = from.try_get_u8().ok()?.checked_sub(VERSION)?;
    if parts > NOTE + CLASS {
        return None;
    }
    let time_ms = from.try_get_u64().ok()?;
    let mut session = [0; 16];
    from.try_copy_to_slice(&mut session).ok()?;
    let generation = from.try_get_u64().ok()?;
    let identity = Arc::new(identity(from, parts & CLASS != 0)?);
    let subscriptions = list(from, subscription)?;
    let note = match parts & NOTE {
        0 => Bytes::new(),
        _ => note(from)?,
    };
    let session = SessionId::from_bytes(session);
    Some(SessionSnapshot {
        session,
        generation,
        identity,
        subscriptions,
        note,
        time_ms,
    })
}

fn note(from: &mut &[u8]) -> Option<Bytes> {
    let len = usize::try_from(from.try_get_u32().ok()?).ok()?;
    let (note, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(Bytes::copy_from_slice(note))
}

/// The client may not change its info.
const INFO_IS_FIXED: u8 = 1;
/// The identity is that of a client's certificate.
const BY_CERTIFICATE: u8 = 2;

fn identity(from: &mut &[u8], has_class: bool) -> Option<Identity> {
    let user = text(from)?.into();
    let info = Bytes::copy_from_slice(slice(from)?);
    let flags = from.try_get_u8().ok()?;
    Some(Identity {
        user,
        info,
        info_is_fixed: flags & INFO_IS_FIXED != 0,
        by_certificate: flags & BY_CERTIFICATE != 0,
        ends_ms: end(from)?,
        grants: list(from, grant)?.into(),
        class: match has_class {
            true => Some(text(from)?.into()),
            false => None,
        },
    })
}

fn grant(from: &mut &[u8]) -> Option<Grant> {
    Some(Grant {
        pattern: Pattern::new(text(from)?),
        verbs: Verbs::from_bits(from.try_get_u8().ok()?),
        ends_ms: end(from)?,
    })
}

fn end(from: &mut &[u8]) -> Option<Option<u64>> {
    let end = from.try_get_u64().ok()?;
    Some(Some(end).filter(|end| *end != NEVER))
}

fn subscription(from: &mut &[u8]) -> Option<SubscriptionSnapshot> {
    let flags = from.try_get_u8().ok()?;
    let is = |flag| flags & flag != 0;
    let name = text(from)?;
    let target = match is(FILTER) {
        true => Filter::new(name).ok()?.into(),
        false => ChannelName::new(name).ok()?.into(),
    };
    let id = match is(ID) {
        true => Some(SubscriptionId(from.try_get_u32().ok()?)),
        false => None,
    };
    let place = position(from)?;
    let flow = match is(WINDOW) {
        true => Flow::Acknowledged {
            window: from.try_get_u16().ok()?,
        },
        false => Flow::Pushed,
    };
    let unacknowledged = match is(UNACKNOWLEDGED) {
        true => Some(Unacknowledged {
            until: position(from)?,
            publications: list(from, earlier)?,
        }),
        false => None,
    };
    let share = match is(SHARED) {
        true => Some(Share {
            group: Key::new(text(from)?).ok()?,
            keep: Duration::from_millis(from.try_get_u64().ok()?),
        }),
        false => None,
    };
    Some(SubscriptionSnapshot {
        target,
        id,
        position: place,
        presence: is(PRESENCE),
        echo: !is(NO_ECHO),
        vouched: is(VOUCHED),
        flow,
        unacknowledged,
        share,
    })
}

fn earlier(from: &mut &[u8]) -> Option<Earlier> {
    Some(Earlier {
        position: position(from)?,
        deliveries: from.try_get_u16().ok()?,
    })
}

fn position(from: &mut &[u8]) -> Option<Position> {
    let (epoch, offset) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
    Some(Position::new(epoch, offset))
}

fn list<T>(from: &mut &[u8], item: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = from.try_get_u16().ok()?;
    // Not sized by the count, which may be false: each item takes bytes that must be present.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(from)?);
    }
    Some(items)
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(slice(from)?).ok()
}

fn slice<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(from.try_get_u16().ok()?);
    let (head, tail) = from.split_at_checked(len)?;
    *from = tail;
    Some(head)
}

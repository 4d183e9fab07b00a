//! A [`SessionSnapshot`] as bytes: what the caller encrypts into a resume token.
//!
//! ```text
//! version:1  time_ms:8  session:16  user  info  [may_publish]  [may_subscribe]
//! count:2 × ( channel  epoch:8  offset:8  presence:1 )
//! ```
//! Texts are a `u16` length and their bytes, lists a `u16` count; all numbers are big-endian.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::{
    channel_name::{ChannelName, Pattern},
    error::{ErrorCode, Refusal},
    position::Position,
    session::{Identity, SessionId, SessionSnapshot, SubscriptionSnapshot},
};

const VERSION: u8 = 1;

impl SessionSnapshot {
    /// The snapshot's bytes; none when some part is longer than a token can hold (64 KiB).
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(256);
        out.put_u8(VERSION);
        out.put_u64(self.time_ms);
        out.put_slice(&self.session.to_bytes());
        put_text(&mut out, self.identity.user.as_bytes())?;
        put_text(&mut out, &self.identity.info)?;
        for patterns in [&self.identity.may_publish, &self.identity.may_subscribe] {
            out.put_u16(u16::try_from(patterns.len()).ok()?);
            for pattern in patterns {
                put_text(&mut out, pattern.as_str().as_bytes())?;
            }
        }
        out.put_u16(u16::try_from(self.subscriptions.len()).ok()?);
        for subscription in &self.subscriptions {
            put_text(&mut out, subscription.channel.as_str().as_bytes())?;
            out.put_u64(subscription.position.epoch.0);
            out.put_u64(subscription.position.offset);
            out.put_u8(u8::from(subscription.presence));
        }
        Some(out)
    }

    /// Reads a snapshot back.
    ///
    /// # Errors
    /// [`ErrorCode::BadToken`] when these are not the bytes of a snapshot.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut left = bytes;
        let snapshot = read(&mut left).filter(|_| left.is_empty());
        snapshot.ok_or_else(|| {
            Refusal::new(
                ErrorCode::BadToken,
                "the token holds no session; connect without it and subscribe with positions",
            )
        })
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    out.put_u16(u16::try_from(text.len()).ok()?);
    out.put_slice(text);
    Some(())
}

fn read(from: &mut &[u8]) -> Option<SessionSnapshot> {
    if from.try_get_u8().ok()? != VERSION {
        return None;
    }
    let time_ms = from.try_get_u64().ok()?;
    let mut session = [0; 16];
    from.try_copy_to_slice(&mut session).ok()?;
    let user: Arc<str> = text(from)?.into();
    let info = Bytes::copy_from_slice(slice(from)?);
    let may_publish = list(from, |from| text(from).map(Pattern::new))?;
    let may_subscribe = list(from, |from| text(from).map(Pattern::new))?;
    let subscriptions = list(from, subscription)?;
    let identity = Arc::new(Identity {
        user,
        info,
        may_publish,
        may_subscribe,
    });
    let session = SessionId::from_bytes(session);
    Some(SessionSnapshot {
        session,
        identity,
        subscriptions,
        time_ms,
    })
}

fn subscription(from: &mut &[u8]) -> Option<SubscriptionSnapshot> {
    let channel = ChannelName::new(text(from)?).ok()?;
    let position = Position::new(from.try_get_u64().ok()?, from.try_get_u64().ok()?);
    let presence = from.try_get_u8().ok()? != 0;
    Some(SubscriptionSnapshot {
        channel,
        position,
        presence,
    })
}

fn list<T>(from: &mut &[u8], item: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = from.try_get_u16().ok()?;
    // Not sized by the count, which may lie: each item takes bytes that must be there.
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

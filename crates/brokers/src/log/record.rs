//! The byte format of publications, keys and channels on disk. The store adds checksums.
//!
//! ```text
//! publication  version:1  format:1  sequence:8  time_ms:8  has:1 (1 publisher, 2 key)
//!              [session:16 user]  [key]  tags:1 × (name value)  data…
//! key          offset:8  time_ms:8
//! cursor       epoch:8  offset:8  time_ms:8
//! ```
//! Texts are a `u16` length and their bytes; numbers are big-endian, so that keys sort.

use std::{ops::RangeInclusive, sync::Arc};

use bytes::{Buf, BufMut, Bytes};
use offhook_engine::{
    ChannelName, Draft, Format, Key, Place, Position, Publication, Publisher, SessionId, Tags,
};

use crate::{cursors::Cursor, hub::Saved};

const VERSION: u8 = 2;
/// Records of version 1 have no sequence number: they count as older than all that have one.
const WITHOUT_SEQUENCE: u8 = 1;
const HAS_PUBLISHER: u8 = 1;
const HAS_KEY: u8 = 2;

/// The key of a publication in the `log` keyspace.
pub(super) fn log_key(channel: u32, offset: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (head, tail) = key.split_at_mut(4);
    head.copy_from_slice(&channel.to_be_bytes());
    tail.copy_from_slice(&offset.to_be_bytes());
    key
}

pub(super) fn offset_of(log_key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(log_key.get(4..)?.try_into().ok()?))
}

/// The key of an idempotency key in the `keys` keyspace.
pub(super) fn idempotency_key(channel: u32, scope: &str, key: &Key) -> Vec<u8> {
    let mut out = of_user(channel, scope);
    out.put_slice(key.as_str().as_bytes());
    out
}

pub(super) fn key_entry(offset: u64, time_ms: u64) -> [u8; 16] {
    let mut out = [0; 16];
    let (head, tail) = out.split_at_mut(8);
    head.copy_from_slice(&offset.to_be_bytes());
    tail.copy_from_slice(&time_ms.to_be_bytes());
    out
}

pub(super) fn read_key_entry(mut bytes: &[u8]) -> Option<(u64, u64)> {
    Some((bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?))
}

/// The key of a consumer's cursor in the `cursors` keyspace.
pub(super) fn cursor_key(channel: u32, scope: &str, consumer: &Key) -> Vec<u8> {
    idempotency_key(channel, scope, consumer)
}

/// The prefix of all entries of one user in one channel.
pub(super) fn of_user(channel: u32, scope: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(6 + scope.len());
    out.put_u32(channel);
    put_text(&mut out, scope);
    out
}

/// The scope in the key of a cursor.
pub(super) fn scope_of(cursor_key: &[u8]) -> &[u8] {
    cursor_key.get(6..).unwrap_or_default()
}

pub(super) fn cursor_entry(cursor: Cursor) -> [u8; 24] {
    let Position { epoch, offset } = cursor.position;
    let mut out = [0; 24];
    for (part, number) in out
        .chunks_exact_mut(8)
        .zip([epoch.0, offset, cursor.time_ms])
    {
        part.copy_from_slice(&number.to_be_bytes());
    }
    out
}

pub(super) fn read_cursor_entry(mut bytes: &[u8]) -> Option<Cursor> {
    let epoch = bytes.try_get_u64().ok()?;
    let offset = bytes.try_get_u64().ok()?;
    let time_ms = bytes.try_get_u64().ok()?;
    let position = Position::new(epoch, offset);
    Some(Cursor { position, time_ms })
}

/// Encodes a publication into a reused buffer.
pub(super) fn encode(draft: &Draft, sequence: u64, out: &mut Vec<u8>) {
    out.clear();
    out.put_u8(VERSION);
    out.put_u8(match draft.format {
        Format::Json => 0,
        Format::Text => 1,
        Format::Binary => 2,
    });
    out.put_u64(sequence);
    out.put_u64(draft.time_ms);
    let publisher = if draft.publisher.is_some() {
        HAS_PUBLISHER
    } else {
        0
    };
    let key = if draft.key.is_some() { HAS_KEY } else { 0 };
    out.put_u8(publisher | key);
    if let Some(publisher) = &draft.publisher {
        out.put_slice(&publisher.session.to_bytes());
        put_text(out, &publisher.user);
    }
    if let Some(key) = &draft.key {
        put_text(out, key.as_str());
    }
    out.put_u8(draft.tags.iter().count() as u8);
    for (name, value) in draft.tags.iter() {
        put_text(out, name);
        put_text(out, value);
    }
    out.put_slice(&draft.data);
}

/// Whether these are the bytes of a publication.
pub(super) fn is_publication(channel: &ChannelName, bytes: &[u8]) -> bool {
    let nowhere = Position::new(0, 0);
    decode(channel, (nowhere, nowhere), bytes).is_some()
}

/// The sequence number in a publication's record.
pub(super) fn sequence_of(record: &[u8]) -> Option<u64> {
    match *record.first()? {
        WITHOUT_SEQUENCE => Some(0),
        VERSION => Some(u64::from_be_bytes(record.get(2..10)?.try_into().ok()?)),
        _ => None,
    }
}

/// Decodes a publication; none if these are not the bytes of one.
pub(super) fn decode(
    channel: &ChannelName,
    (previous, position): (Position, Position),
    mut bytes: &[u8],
) -> Option<Publication> {
    let from = &mut bytes;
    let version = from.try_get_u8().ok()?;
    if !(WITHOUT_SEQUENCE..=VERSION).contains(&version) {
        return None;
    }
    let format = match from.try_get_u8().ok()? {
        0 => Format::Json,
        1 => Format::Text,
        2 => Format::Binary,
        _ => return None,
    };
    let sequence = match version {
        WITHOUT_SEQUENCE => 0,
        _ => from.try_get_u64().ok()?,
    };
    let time_ms = from.try_get_u64().ok()?;
    let has = from.try_get_u8().ok()?;
    let publisher = if has & HAS_PUBLISHER != 0 {
        Some(publisher(from)?)
    } else {
        None
    };
    let key = if has & HAS_KEY != 0 {
        Some(Key::new(text(from)?).ok()?)
    } else {
        None
    };
    let mut tags = Vec::new();
    for _ in 0..from.try_get_u8().ok()? {
        tags.push((text(from)?, text(from)?));
    }
    let tags = Tags::new(tags).ok()?;
    let data = Bytes::copy_from_slice(from);
    let draft = Draft {
        channel: channel.clone(),
        data,
        format,
        tags,
        publisher,
        key,
        time_ms,
    };
    Some(draft.at(Place {
        position,
        previous,
        sequence,
    }))
}

fn publisher(from: &mut &[u8]) -> Option<Publisher> {
    let mut session = [0; 16];
    from.try_copy_to_slice(&mut session).ok()?;
    let user: Arc<str> = text(from)?.into();
    Some(Publisher {
        session: SessionId::from_bytes(session),
        user,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Every text has a limit far below this: names, keys and tags by their types, users by their
    // tokens. A longer user name is truncated, so that the length is always correct.
    let len = text.floor_char_boundary(usize::from(u16::MAX));
    out.put_u16(len as u16);
    out.put_slice(text.get(..len).unwrap_or_default().as_bytes());
}

fn text<'a>(from: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::from(from.try_get_u16().ok()?);
    let (head, tail) = from.split_at_checked(len)?;
    *from = tail;
    std::str::from_utf8(head).ok()
}

/// The prefix of sessions' keys in the `node` keyspace: no name of an entry starts with it.
const SESSION: u8 = 1;

/// The key of a session's state in the `node` keyspace.
pub(super) fn session_key(session: SessionId) -> [u8; 17] {
    let mut key = [SESSION; 17];
    if let Some(id) = key.get_mut(1..) {
        id.copy_from_slice(&session.to_bytes());
    }
    key
}

/// The prefix of the keys of a state's values in the `node` keyspace.
const VALUE: u8 = 2;

/// The range of the keys of values.
pub(super) fn value_keys() -> std::ops::Range<[u8; 1]> {
    [VALUE]..[VALUE + 1]
}

/// The key of a value of a channel's state in the `node` keyspace; without a key, the prefix of all
/// of the channel's values.
pub(super) fn value_key(channel: u32, key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + key.len());
    out.put_u8(VALUE);
    out.put_u32(channel);
    out.put_slice(key.as_bytes());
    out
}

/// A value: its place, and its record.
pub(super) fn value_entry(place: Place, record: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + record.len());
    out.put_u64(place.position.epoch.0);
    out.put_u64(place.position.offset);
    out.put_u64(place.previous.epoch.0);
    out.put_slice(record);
    out
}

pub(super) fn read_value(channel: &ChannelName, mut value: &[u8]) -> Option<Publication> {
    let epoch = value.try_get_u64().ok()?;
    let offset = value.try_get_u64().ok()?;
    let before = value.try_get_u64().ok()?;
    let previous = Position::new(before, offset.checked_sub(1)?);
    decode(channel, (previous, Position::new(epoch, offset)), value)
}

/// The prefix of the entries for offsets to be removed, in the `node` keyspace.
const REMOVAL: u8 = 3;

/// The key in the `node` keyspace for the offsets of a channel to be removed.
pub(super) fn removal_key(channel: u32) -> [u8; 5] {
    let mut key = [REMOVAL; 5];
    if let Some(number) = key.get_mut(1..) {
        number.copy_from_slice(&channel.to_be_bytes());
    }
    key
}

/// The range of the keys of pending removals.
pub(super) fn removal_keys() -> std::ops::Range<[u8; 1]> {
    [REMOVAL]..[REMOVAL + 1]
}

pub(super) fn removal_entry(offsets: &RangeInclusive<u64>) -> [u8; 16] {
    key_entry(*offsets.start(), *offsets.end())
}

pub(super) fn read_removal(key: &[u8], value: &[u8]) -> Option<(u32, RangeInclusive<u64>)> {
    let channel = u32::from_be_bytes(key.get(1..)?.try_into().ok()?);
    let (from, to) = read_key_entry(value)?;
    Some((channel, from..=to))
}

/// The first key of a session, and the first behind all of them.
pub(super) fn session_keys() -> std::ops::Range<[u8; 1]> {
    [SESSION]..[SESSION + 1]
}

/// The keys of sessions whose ids begin with this byte or a later one.
pub(super) fn sessions_from(first: u8) -> std::ops::Range<Vec<u8>> {
    vec![SESSION, first]..vec![SESSION + 1]
}

pub(super) fn session_entry(saved: &Saved) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + saved.bytes.len());
    out.put_u64(saved.ends_ms);
    out.put_slice(&saved.bytes);
    out
}

pub(super) fn read_session(key: &[u8], mut value: &[u8]) -> Option<(SessionId, Saved)> {
    let session = SessionId::from_bytes(key.get(1..)?.try_into().ok()?);
    let ends_ms = value.try_get_u64().ok()?;
    let bytes = Bytes::copy_from_slice(value);
    Some((session, Saved { bytes, ends_ms }))
}

#[cfg(test)]
mod tests;

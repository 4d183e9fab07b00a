//! The stored bytes of a group.

use bytes::{Buf, BufMut, Bytes};
use sha2::{Digest as _, Sha256};

use super::{Group, Open};
use crate::{broker::ShareName, position::Position, session::SessionId, subscription::Target};

/// The version of a saved group's bytes.
const VERSION: u8 = 1;

impl<W: Copy + Ord> Group<W> {
    /// ```text
    /// version:1 filter:1 target:text group:text until_ms:8 newest epoch:8 cursor:16
    /// ( position:16 deliveries:2 )*
    /// ```
    pub(super) fn to_bytes(&self, name: &ShareName) -> Bytes {
        let mut out = header(name);
        out.put_u64(self.until_ms);
        out.put_u64(self.epoch);
        put_position(&mut out, self.cursor);
        for open in self.open.values() {
            put_position(&mut out, open.position);
            out.put_u16(open.deliveries);
        }
        out.into()
    }
}

/// The bytes that identify a group.
fn header(name: &ShareName) -> Vec<u8> {
    let is_filter = matches!(name.target, Target::Filter(_));
    let mut out = vec![VERSION, u8::from(is_filter)];
    for text in [name.target.as_str(), name.group.as_str()] {
        // Both texts are limited to far less.
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.put_u16(len);
        out.put_slice(text.as_bytes().get(..len.into()).unwrap_or_default());
    }
    out
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.put_u64(position.epoch.0);
    out.put_u64(position.offset);
}

impl ShareName {
    /// The session id under which a broker stores the group's state: half of a SHA-256, so that nobody
    /// can choose a name that replaces the state of a session or of another group.
    #[must_use]
    pub fn saved_as(&self) -> SessionId {
        id_of(&header(self))
    }
}

fn id_of(header: &[u8]) -> SessionId {
    let hash = Sha256::digest(header);
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    SessionId::from_bytes(id)
}

/// Whether a stored state belongs to a group rather than a session. The id of a group follows from
/// the bytes of its state.
#[must_use]
pub fn is_saved_share(id: SessionId, state: &[u8]) -> bool {
    let header = header_len(state).and_then(|len| state.get(..len));
    header.is_some_and(|header| id_of(header) == id)
}

fn header_len(state: &[u8]) -> Option<usize> {
    let mut left = state;
    if left.try_get_u8().ok()? != VERSION {
        return None;
    }
    left.try_get_u8().ok()?;
    for _text in 0..2 {
        let len = left.try_get_u16().ok()?;
        left = left.get(usize::from(len)..)?;
    }
    Some(state.len() - left.len())
}

/// Restores a group from its bytes; `None` if they belong to another group. Publications that were
/// claimed when they were saved count as returned.
pub(super) fn restore<W: Copy + Ord>(name: &ShareName, bytes: &[u8]) -> Option<Group<W>> {
    let mut left = bytes.strip_prefix(header(name).as_slice())?;
    let (until_ms, epoch) = (left.try_get_u64().ok()?, left.try_get_u64().ok()?);
    let mut group = Group::new(position(&mut left)?);
    (group.until_ms, group.epoch) = (until_ms, epoch);
    while !left.is_empty() {
        let position = position(&mut left)?;
        let deliveries = left.try_get_u16().ok()?;
        let by = None;
        let open = Open {
            position,
            by,
            deliveries,
        };
        group.open.insert(position.offset, open);
        group.returned.insert(position.offset);
    }
    Some(group)
}

fn position(from: &mut &[u8]) -> Option<Position> {
    let (epoch, offset) = (from.try_get_u64().ok()?, from.try_get_u64().ok()?);
    Some(Position::new(epoch, offset))
}

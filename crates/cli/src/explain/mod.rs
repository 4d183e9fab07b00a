//! Explains the bytes of a WebSocket connection, frame by frame.
//!
//! ```text
//!   bytes ─▶ Conversation ─▶ Direction ──▶ head: HTTP's, once
//!            who may what      │
//!                              └─▶ header ─▶ content: unmasked, inflated, checked ─▶ Piece
//! ```
//!
//! Unlike an endpoint, this does not stop at the first error: each [`Piece`] carries the rules it
//! violates, with their sections, and reading continues as long as lengths can be trusted. [`page`]
//! shows pieces in full, [`mod@line`] on one line each, [`json`] as JSON.

mod content;
mod conversation;
mod dialect;
mod direction;
mod head;
mod header;
pub(crate) mod json;
pub(crate) mod line;
pub(crate) mod page;
mod place;
mod rule;

pub(crate) use content::{Content, Part};
pub(crate) use conversation::{Conversation, Side};
pub(crate) use direction::{Frame, Piece, Rest};
pub(crate) use head::Head;
pub(crate) use header::Header;
pub(crate) use place::Place;
pub(crate) use rule::Broken;

/// How many bytes of one frame or message are examined. Longer ones are skipped.
const LOOKED_AT: usize = 16 << 20;

#[cfg(test)]
mod tests;

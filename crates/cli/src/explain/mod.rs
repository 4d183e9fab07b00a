//! What the bytes of a WebSocket connection mean, frame by frame.
//!
//! ```text
//!   bytes ─▶ Conversation ─▶ Direction ──▶ head: HTTP's, once
//!            who may what      │
//!                              └─▶ header ─▶ content: unmasked, inflated, checked ─▶ Piece
//! ```
//!
//! Nothing here stops at the first fault, as an endpoint has to: each [`Piece`] carries the rules
//! it breaks, with their sections, and reading goes on as long as lengths can be trusted.
//! [`page`] shows pieces in full, [`mod@line`] on one line each, [`json`] to programs.

mod content;
mod conversation;
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

/// What is looked at of one frame or message. What is longer is walked past, unseen.
const LOOKED_AT: usize = 16 << 20;

#[cfg(test)]
mod tests;

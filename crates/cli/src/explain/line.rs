//! Pieces on one line each, for a live connection.

use std::fmt::Write as _;

use super::page::{quoted, summary};
use super::{Content, Frame, Piece, Side};
use crate::screen::{DIM, LINK, WRONG, hex, shown};

/// How many characters of a payload are shown.
const LETTERS: usize = 60;

/// The piece on one line, followed by a line for each rule it violates.
pub(crate) fn text(piece: &Piece) -> String {
    match piece {
        Piece::Head(side, head) => {
            let mut text = String::new();
            for line in &head.lines {
                let _ = writeln!(text, "{} {DIM}{}{DIM:#}", arrow(*side), shown(line));
            }
            for broken in &head.broken {
                let (section, rule) = (broken.section, &broken.rule);
                let _ = writeln!(text, "  {WRONG}✗ {section}: {rule}{WRONG:#}");
            }
            text
        }
        Piece::Frame(frame) => frame_text(frame),
        Piece::Rest(side, rest) => format!("{} {} bytes: {}\n", arrow(*side), rest.bytes, rest.why),
    }
}

fn arrow(side: Side) -> String {
    let arrow = match side {
        Side::Client => "→",
        Side::Server => "←",
    };
    format!("{LINK}{arrow}{LINK:#}")
}

fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(_) => quoted(bytes, LETTERS),
        Err(_) => hex(bytes.get(..LETTERS / 3).unwrap_or(bytes)),
    }
}

fn frame_text(frame: &Frame) -> String {
    let mut text = format!("{} {}", arrow(frame.side), summary(frame));
    if let Some(key) = frame.header.mask {
        let _ = write!(text, "{DIM}, mask {}{DIM:#}", hex(&key));
    }
    let plain = match &frame.content {
        Content::Data {
            is_text: true,
            inflated,
            ..
        } => inflated.as_deref().unwrap_or(&frame.payload),
        Content::Close { reason, .. } => reason,
        Content::Heartbeat => &frame.payload,
        Content::Data { .. } | Content::Unknown => &[],
    };
    if !plain.is_empty() {
        let _ = write!(text, "  {}", readable(plain));
    }
    text.push('\n');
    for packet in &frame.packets {
        let _ = writeln!(text, "  {packet}");
    }
    for broken in &frame.broken {
        let (section, rule) = (broken.section, &broken.rule);
        let _ = writeln!(text, "  {WRONG}✗ {section}: {rule}{WRONG:#}");
    }
    text
}

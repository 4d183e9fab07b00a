//! Pieces in full: every byte of a header with its meaning.

use std::fmt::Write as _;

use super::{Content, Frame, Head, Header, Part, Piece, Place, Rest, Side};
use crate::screen::{BOLD, DIM, LINK, WRONG, hex, shown};

/// How much of a payload to show.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// A line or two.
    Some,
    Everything,
}

impl Amount {
    fn bytes(self) -> usize {
        match self {
            Self::Some => 32,
            Self::Everything => usize::MAX,
        }
    }

    fn letters(self) -> usize {
        match self {
            Self::Some => 400,
            Self::Everything => usize::MAX,
        }
    }
}

/// The piece as a paragraph.
pub(crate) fn text(piece: &Piece, amount: Amount, place: Place) -> String {
    match piece {
        Piece::Head(side, head) => head_text(*side, head, place),
        Piece::Frame(frame) => frame_text(frame, amount, place),
        Piece::Rest(side, rest) => rest_text(*side, rest),
    }
}

fn head_text(side: Side, head: &Head, place: Place) -> String {
    let mut text = title(side, "opening handshake");
    if let Some(time) = place.time {
        let _ = text.pop();
        let _ = writeln!(text, "  {DIM}after {:.6} s{DIM:#}", time.as_secs_f64());
    }
    for (number, line) in head.lines.iter().enumerate() {
        let _ = write!(text, "    {}", shown(line));
        let meanings = head.meanings.iter().filter(|(line, _)| *line == number);
        for (_, meaning) in meanings {
            let _ = write!(text, "  {DIM}{meaning}{DIM:#}");
        }
        text.push('\n');
    }
    for broken in &head.broken {
        let (section, rule) = (broken.section, &broken.rule);
        let _ = writeln!(text, "    {WRONG}✗ {section}: {rule}{WRONG:#}");
    }
    text
}

fn title(side: Side, what: &str) -> String {
    let (from, to) = (side.name(), side.other().name());
    format!("{LINK}{from} → {to}{LINK:#}  {BOLD}{what}{BOLD:#}\n")
}

fn rest_text(side: Side, rest: &Rest) -> String {
    let Rest { at, bytes, why } = rest;
    let what = format!("{bytes} bytes from byte {at} on");
    format!("{}    {why}\n", title(side, &what))
}

fn frame_text(frame: &Frame, amount: Amount, place: Place) -> String {
    let Frame { number, at, .. } = frame;
    let what = format!("frame {number}: {}", summary(frame));
    let mut text = title(frame.side, &what);
    // The position is at the end of the title's line.
    let _ = text.pop();
    let _ = write!(text, "  {DIM}at byte {at}");
    if let Some(time) = place.time {
        let _ = write!(text, ", after {:.6} s", time.as_secs_f64());
    }
    let _ = writeln!(text, "{DIM:#}");
    text.push_str(&header_lines(&frame.header));
    text.push_str(&payload_line(frame, amount));
    text.push_str(&content_lines(frame, amount));
    for packet in &frame.packets {
        let _ = writeln!(text, "    {packet}");
    }
    for broken in &frame.broken {
        let (section, rule) = (broken.section, &broken.rule);
        let _ = writeln!(text, "    {WRONG}✗ {section}: {rule}{WRONG:#}");
    }
    for note in &frame.notes {
        let _ = writeln!(text, "    {DIM}note: {note}{DIM:#}");
    }
    text
}

/// A summary of the frame.
pub(super) fn summary(frame: &Frame) -> String {
    let length = bytes(frame.header.length);
    let name = frame.header.name();
    match &frame.content {
        Content::Data {
            is_text,
            part,
            inflated,
        } => {
            let kind = if *is_text { "text" } else { "binary" };
            let part = match part {
                Part::Whole => "whole message",
                Part::First => "first fragment",
                Part::Middle => "fragment",
                Part::Last => "last fragment",
            };
            match inflated {
                Some(plain) => {
                    let plain = bytes(plain.len() as u64);
                    format!("{kind}, {part}, {length}, {plain} inflated")
                }
                None => format!("{kind}, {part}, {length}"),
            }
        }
        Content::Close {
            code: Some(code), ..
        } => format!("close {code}"),
        Content::Close { code: None, .. } => "close without a code".to_owned(),
        Content::Heartbeat => format!("{name}, {length}"),
        Content::Unknown => format!("{name} (opcode {}), {length}", frame.header.opcode),
    }
}

fn bytes(count: u64) -> String {
    match count {
        1 => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}

fn header_lines(header: &Header) -> String {
    let Header {
        bytes,
        opcode,
        length,
        ..
    } = header;
    let fin = if header.fin { "FIN" } else { "no FIN" };
    let reserved = ["RSV1", "RSV2", "RSV3"].into_iter().zip([4, 2, 1]);
    let reserved: String = reserved
        .filter(|(_, bit)| header.rsv & bit != 0)
        .map(|(name, _)| format!(", {name}"))
        .collect();
    let name = header.name();
    let mut text = row(
        &bytes[..1],
        &format!("{fin}{reserved}, opcode {opcode}: {name}"),
    );
    let masked = if header.mask.is_some() {
        "masked"
    } else {
        "not masked"
    };
    let key = header.mask.map_or(0, |_| 4);
    let (start, key) = bytes.split_at(bytes.len() - key);
    text.push_str(&row(&start[1..], &format!("{masked}, length {length}")));
    if !key.is_empty() {
        text.push_str(&row(key, "masking key"));
    }
    text
}

fn row(bytes: &[u8], meaning: &str) -> String {
    let bytes = hex(bytes);
    format!("    {bytes:<26}  {DIM}{meaning}{DIM:#}\n")
}

fn payload_line(frame: &Frame, amount: Amount) -> String {
    let wire = &frame.masked;
    if wire.is_empty() {
        return String::new();
    }
    let shown = wire.get(..amount.bytes()).unwrap_or(wire);
    let more = if shown.len() < wire.len() { " …" } else { "" };
    let mut text = String::new();
    for (number, line) in shown.chunks(16).enumerate() {
        let is_last = (number + 1) * 16 >= shown.len();
        let more = if is_last { more } else { "" };
        let _ = writeln!(text, "    {}{more}", hex(line));
    }
    text
}

fn content_lines(frame: &Frame, amount: Amount) -> String {
    let (is_text, plain) = match &frame.content {
        Content::Data {
            is_text, inflated, ..
        } => {
            let is_unread = frame.header.is_compressed() && inflated.is_none();
            let plain = inflated.as_deref().unwrap_or(&frame.payload);
            (*is_text && !is_unread, plain)
        }
        Content::Close { reason, .. } => (true, reason.as_slice()),
        Content::Heartbeat | Content::Unknown => (
            std::str::from_utf8(&frame.payload).is_ok(),
            frame.payload.as_slice(),
        ),
    };
    if plain.is_empty() {
        return String::new();
    }
    let line = if is_text {
        quoted(plain, amount.letters())
    } else if plain == &frame.masked[..] {
        return String::new();
    } else {
        let part = plain.get(..amount.bytes()).unwrap_or(plain);
        let more = if part.len() < plain.len() { " …" } else { "" };
        format!("{}{more}", hex(part))
    };
    format!("    {BOLD}{line}{BOLD:#}\n")
}

/// The text in quotes, shortened if it is too long, with control characters escaped.
pub(super) fn quoted(bytes: &[u8], letters: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let part: String = text.chars().take(letters).collect();
    let more = if part.len() < text.len() { " …" } else { "" };
    format!("\"{}\"{more}", shown(&part))
}

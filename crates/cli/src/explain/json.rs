//! Pieces as JSON: one object per line.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Broken, Content, Frame, Head, Part, Piece, Place};
use crate::screen::hex;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum JsonPiece<'a> {
    Head {
        from: &'static str,
        lines: &'a [String],
        broken: Vec<Rule<'a>>,
    },
    Frame(Box<JsonFrame<'a>>),
    Rest {
        from: &'static str,
        at: u64,
        bytes: u64,
        why: &'a str,
    },
}

#[derive(Serialize)]
struct JsonFrame<'a> {
    from: &'static str,
    number: u64,
    at: u64,
    opcode: u8,
    name: &'static str,
    fin: bool,
    rsv: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
    length: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    /// The payload, unmasked and inflated, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    compressed: bool,
    /// The packets of MQTT or Socket.IO that the frame completes.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    packets: &'a [String],
    broken: Vec<Rule<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
}

#[derive(Serialize)]
struct Rule<'a> {
    section: &'a str,
    rule: &'a str,
}

#[derive(Serialize)]
struct Placed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<usize>,
    /// Seconds since the start of the capture.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<f64>,
    #[serde(flatten)]
    piece: JsonPiece<'a>,
}

/// The piece as a line of JSON.
pub(crate) fn text(piece: &Piece, place: Place) -> String {
    let piece = match piece {
        Piece::Head(side, Head { lines, broken, .. }) => JsonPiece::Head {
            from: side.name(),
            lines,
            broken: rules(broken),
        },
        Piece::Frame(frame) => JsonPiece::Frame(Box::new(json_frame(frame))),
        Piece::Rest(side, rest) => JsonPiece::Rest {
            from: side.name(),
            at: rest.at,
            bytes: rest.bytes,
            why: &rest.why,
        },
    };
    let placed = Placed {
        connection: place.connection,
        time: place.time.map(|time| time.as_secs_f64()),
        piece,
    };
    // Strings, numbers and lists of them can always be serialised.
    visible(&serde_json::to_string(&placed).unwrap_or_default()) + "\n"
}

/// JSON may contain DEL and the control characters from U+0080 to U+009F as they are. A terminal would
/// obey them.
fn visible(json: &str) -> String {
    let mut visible = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if c.is_control() {
            let _ = write!(visible, "\\u{:04x}", u32::from(c));
        } else {
            visible.push(c);
        }
    }
    visible
}

fn json_frame(frame: &Frame) -> JsonFrame<'_> {
    let header = &frame.header;
    let (part, code, plain) = match &frame.content {
        Content::Data { part, inflated, .. } => {
            let part = match part {
                Part::Whole => "whole",
                Part::First => "first",
                Part::Middle => "middle",
                Part::Last => "last",
            };
            (
                Some(part),
                None,
                inflated.as_deref().unwrap_or(&frame.payload),
            )
        }
        Content::Close { code, reason } => (None, code.map(|code| code.get()), reason.as_slice()),
        Content::Heartbeat | Content::Unknown => (None, None, frame.payload.as_slice()),
    };
    let text = std::str::from_utf8(plain).ok();
    let is_binary = header.opcode == 2 || text.is_none();
    JsonFrame {
        from: frame.side.name(),
        number: frame.number,
        at: frame.at,
        opcode: header.opcode,
        name: header.name(),
        fin: header.fin,
        rsv: header.rsv,
        mask: header.mask.map(|key| hex(&key).replace(' ', "")),
        length: header.length,
        part,
        code,
        text: text.filter(|_| !is_binary),
        hex: is_binary.then(|| hex(plain).replace(' ', "")),
        compressed: header.is_compressed(),
        packets: &frame.packets,
        broken: rules(&frame.broken),
        notes: &frame.notes,
    }
}

fn rules(broken: &[Broken]) -> Vec<Rule<'_>> {
    broken.iter().map(Rule::from).collect()
}

impl<'a> From<&'a Broken> for Rule<'a> {
    fn from(broken: &'a Broken) -> Self {
        let (section, rule) = (broken.section, broken.rule.as_str());
        Self { section, rule }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
fn is_false(value: &bool) -> bool {
    !value
}

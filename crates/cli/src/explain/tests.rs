//! Explanations of frames, compared with the behaviour of an endpoint.

mod compressed;
mod dialects;
mod endpoint;
mod heads;
mod rules;

use offhook_testkit::Frame as Sentence;

use super::*;

/// The frames of one side, as pieces.
fn said_by(side: Side, frames: impl IntoIterator<Item = Sentence>) -> Vec<Piece> {
    let bytes: Vec<u8> = frames
        .into_iter()
        .flat_map(|frame| frame.encode(side == Side::Client))
        .collect();
    pieces(side, &[&bytes])
}

/// The pieces of bytes that arrive in these segments.
fn pieces(side: Side, segments: &[&[u8]]) -> Vec<Piece> {
    let mut conversation = Conversation::new();
    let taken = segments
        .iter()
        .flat_map(|bytes| conversation.take(side, bytes));
    let mut pieces: Vec<Piece> = taken.collect();
    pieces.extend(conversation.finish());
    pieces
}

fn frame(piece: &Piece) -> &Frame {
    match piece {
        Piece::Frame(frame) => frame,
        Piece::Head(..) | Piece::Rest(..) => panic!("{piece:?}"),
    }
}

/// The sections of the violated rules.
fn sections(piece: &Piece) -> Vec<&'static str> {
    let broken = match piece {
        Piece::Frame(frame) => &frame.broken,
        Piece::Head(_, head) => &head.broken,
        Piece::Rest(..) => return Vec::new(),
    };
    broken.iter().map(|broken| broken.section).collect()
}

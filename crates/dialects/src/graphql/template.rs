//! How a publication is written for one selection of its fields.
//!
//! A subscription's selection is compiled once. For each publication, the parts that are the same
//! are copied, and the data, which is encoded once for all connections, is inserted.

use data_encoding::BASE64;
use offhook_engine::{Format, Position, Publication};

use super::{
    out::{Out, Written},
    plan::Plan,
};
use crate::json::{Object, json};

#[derive(Debug)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Debug)]
enum Piece {
    Fixed(Box<str>),
    Id,
    Channel,
    Epoch,
    Offset,
    Data,
    Base64,
    Time,
    Key,
    Tags,
    User,
    Session,
    AtEpoch,
    AtOffset,
}

/// The data as JSON; base64 in a string, if it is bytes.
pub(super) fn content(publication: &Publication) -> String {
    match publication.format {
        Format::Json => String::from_utf8_lossy(&publication.data).into_owned(),
        Format::Text => json(&String::from_utf8_lossy(&publication.data)),
        Format::Binary => json(&BASE64.encode(&publication.data)),
    }
}

impl Template {
    /// The template of a field that is a publication, or a list of them.
    pub(super) fn compile(plan: &Plan) -> Self {
        let mut writer = Writer::default();
        writer.object(plan, |writer, part| match part.field.name {
            "id" => writer.piece(Piece::Id),
            "channel" => writer.piece(Piece::Channel),
            "epoch" => writer.piece(Piece::Epoch),
            "offset" => writer.piece(Piece::Offset),
            "data" => writer.piece(Piece::Data),
            "base64" => writer.piece(Piece::Base64),
            "time" => writer.piece(Piece::Time),
            "key" => writer.piece(Piece::Key),
            "tags" => writer.piece(Piece::Tags),
            "user" => writer.piece(Piece::User),
            "session" => writer.piece(Piece::Session),
            // `at`
            _ => writer.object(part, |writer, part| match part.field.name {
                "epoch" => writer.piece(Piece::AtEpoch),
                _ => writer.piece(Piece::AtOffset),
            }),
        });
        writer.flush();
        Self(writer.pieces.into())
    }

    /// Writes a publication with this [`content`]. `at`: where the subscription is after it.
    pub(super) fn write(
        &self,
        out: &mut Out,
        publication: &Publication,
        at: Position,
        content: &str,
    ) -> Written {
        let is_binary = publication.format == Format::Binary;
        let position = publication.position;
        for piece in &self.0 {
            match piece {
                Piece::Fixed(text) => out.raw(text),
                Piece::Id => out.text(&format!("{}@{position}", publication.channel)),
                Piece::Channel => out.text(publication.channel.as_str()),
                Piece::Epoch => out.raw(&quoted(position.epoch.0)),
                Piece::Offset => out.raw(&quoted(position.offset)),
                Piece::AtEpoch => out.raw(&quoted(at.epoch.0)),
                Piece::AtOffset => out.raw(&quoted(at.offset)),
                Piece::Data if is_binary => out.raw("null"),
                Piece::Base64 if !is_binary => out.raw("null"),
                Piece::Data | Piece::Base64 => out.raw(content),
                Piece::Time => out.raw(&publication.time_ms.to_string()),
                Piece::Key => out.text_or_null(publication.key.as_ref().map(|key| key.as_str())),
                Piece::Tags if publication.tags.is_empty() => out.raw("null"),
                Piece::Tags => {
                    let tags = publication.tags.iter();
                    let tags = tags.fold(Object::part(), |tags, (name, value)| {
                        tags.foreign(name, value)
                    });
                    out.raw(&tags.end())
                }
                Piece::User => {
                    let by = publication.publisher.as_ref();
                    out.text_or_null(by.map(|by| &*by.user).filter(|user| !user.is_empty()))
                }
                Piece::Session => {
                    let by = publication.publisher.as_ref();
                    out.text_or_null(by.map(|by| by.session.to_string()).as_deref())
                }
            }?;
        }
        Ok(())
    }
}

fn quoted(number: u64) -> String {
    format!("\"{number}\"")
}

#[derive(Default)]
struct Writer {
    pieces: Vec<Piece>,
    /// Text that no piece has yet.
    fixed: String,
}

impl Writer {
    fn piece(&mut self, piece: Piece) {
        self.flush();
        self.pieces.push(piece);
    }

    fn flush(&mut self) {
        if !self.fixed.is_empty() {
            let text = std::mem::take(&mut self.fixed);
            self.pieces.push(Piece::Fixed(text.into()));
        }
    }

    fn object(&mut self, plan: &Plan, mut write: impl FnMut(&mut Self, &Plan)) {
        self.fixed.push('{');
        for (index, part) in plan.parts.iter().enumerate() {
            if index > 0 {
                self.fixed.push(',');
            }
            self.fixed.push_str(&json(&part.key));
            self.fixed.push(':');
            match part.field.name {
                "__typename" => self.fixed.push_str(&json(plan.field.kind.named().name)),
                _ => write(self, part),
            }
        }
        self.fixed.push('}');
    }
}

//! The unidirectional streams of a client: its control stream, those of QPACK, and others.

use std::rc::Rc;

use offhook_http3::{
    Code, Error,
    frame::{self, Frame, Frames},
    settings::Settings,
    stream::{CONTROL, PUSH, QPACK_DECODER, QPACK_ENCODER},
    varint,
    webtransport::UNIDIRECTIONAL,
};
use quinn::RecvStream;

use super::connection::{Connection, number};

/// The largest read in bytes.
const READ: usize = 1024;

/// The longest frame of a control stream. 1 KiB: dozens of settings.
const LONGEST: usize = 1024;

/// How many frames a client may send on its control stream. 1,000: it needs a few.
const MOST_FRAMES: u32 = 1_000;

/// `QPACK_ENCODER_STREAM_ERROR`: the client inserts into a table that has no room.
const ENCODER_STREAM: Code = Code(0x201);

/// The instruction to set the table's capacity to 0, which it is (RFC 9204 §4.3.1).
const NO_CAPACITY: u8 = 0x20;

/// Reads one stream until it ends.
pub(super) async fn read(connection: Rc<Connection>, mut receive: RecvStream) {
    let mut reading = Reading {
        unread: Vec::new(),
        receive: &mut receive,
    };
    let Some(kind) = reading.integer().await else {
        return;
    };
    let result = match kind {
        CONTROL => control(&connection, reading).await,
        QPACK_ENCODER => instructions(&connection, reading, 1).await,
        QPACK_DECODER => instructions(&connection, reading, 2).await,
        PUSH => Err(wrong(Code::STREAM_CREATION_ERROR, "a client cannot push")),
        UNIDIRECTIONAL => {
            let session = reading.integer().await;
            let sessions = connection.sessions.borrow();
            let is_known = session.is_some_and(|id| sessions.contains_key(&id));
            let code = if is_known {
                Code::SESSION_GONE
            } else {
                Code::UNKNOWN_SESSION
            };
            // Clients send on the control stream of their session only.
            let _ended = receive.stop(number(code));
            Ok(())
        }
        // RFC 9114 §6.2: a stream of an unknown type.
        _ => {
            let _ended = receive.stop(number(Code::STREAM_CREATION_ERROR));
            Ok(())
        }
    };
    if let Err(error) = result {
        connection.fail(&error);
    }
}

struct Reading<'a> {
    unread: Vec<u8>,
    receive: &'a mut RecvStream,
}

impl Reading<'_> {
    /// Reads more; none at the end of the stream.
    async fn more(&mut self) -> Option<()> {
        let chunk = self.receive.read_chunk(READ, true).await.ok()??;
        self.unread.extend_from_slice(&chunk.bytes);
        Some(())
    }

    async fn integer(&mut self) -> Option<u64> {
        loop {
            let mut rest = self.unread.as_slice();
            if let Some(value) = varint::read(&mut rest) {
                self.unread = rest.to_vec();
                return Some(value);
            }
            self.more().await?;
        }
    }
}

/// Notes that one of the streams exists of which there is one (RFC 9114 §6.2.1, RFC 9204 §4.2).
fn once(connection: &Connection, index: usize) -> Result<(), Error> {
    let has = connection.has.get(index);
    if has.is_some_and(|has| has.replace(true)) {
        let detail = "a second stream of a type of which there is one";
        return Err(wrong(Code::STREAM_CREATION_ERROR, detail));
    }
    Ok(())
}

async fn control(connection: &Connection, mut reading: Reading<'_>) -> Result<(), Error> {
    once(connection, 0)?;
    let mut frames = Frames::new(LONGEST);
    frames.receive(&std::mem::take(&mut reading.unread));
    let mut count = 0_u32;
    loop {
        while let Some(frame) = frames.next()? {
            match frame {
                Frame::Whole {
                    kind: frame::SETTINGS,
                    payload,
                } if count == 0 => drop(Settings::decode(&payload)?),
                Frame::Whole { .. } | Frame::Data(_) if count == 0 => {
                    let detail = "a control stream does not begin with settings";
                    return Err(wrong(Code::MISSING_SETTINGS, detail));
                }
                Frame::Whole {
                    kind: frame::CANCEL_PUSH | frame::GOAWAY | frame::MAX_PUSH_ID,
                    ..
                } => {}
                Frame::Whole { .. } | Frame::Data(_) => {
                    let detail = "a frame that does not belong on a control stream";
                    return Err(wrong(Code::FRAME_UNEXPECTED, detail));
                }
            }
            count = count.saturating_add(1);
            if count > MOST_FRAMES {
                let detail = "too many frames on the control stream";
                return Err(wrong(Code::EXCESSIVE_LOAD, detail));
            }
        }
        if reading.more().await.is_none() {
            return ended(connection);
        }
        frames.receive(&std::mem::take(&mut reading.unread));
    }
}

/// Reads instructions of QPACK, which say nothing as long as there is no dynamic table.
async fn instructions(
    connection: &Connection,
    mut reading: Reading<'_>,
    index: usize,
) -> Result<(), Error> {
    once(connection, index)?;
    loop {
        let unread = std::mem::take(&mut reading.unread);
        if index == 1 && unread.iter().any(|byte| *byte != NO_CAPACITY) {
            let detail = "an entry for a dynamic table, which has no room";
            return Err(wrong(ENCODER_STREAM, detail));
        }
        if reading.more().await.is_none() {
            return ended(connection);
        }
    }
}

/// RFC 9114 §6.2.1: such a stream must not be closed while the connection is open.
fn ended(connection: &Connection) -> Result<(), Error> {
    if connection.quic.close_reason().is_some() {
        return Ok(());
    }
    let detail = "a stream that a connection needs was closed";
    Err(wrong(Code::CLOSED_CRITICAL_STREAM, detail))
}

const fn wrong(code: Code, detail: &'static str) -> Error {
    Error { code, detail }
}

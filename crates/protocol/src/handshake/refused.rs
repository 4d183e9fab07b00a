//! A final answer that does not open a WebSocket, and its body.

use super::headers::{Headers, name};
use super::rules::names;

/// A server's refusal: its status, header fields and the part of the body that was received, within
/// the limit. Redirects, credentials and retries are up to the library.
#[derive(Debug, Clone)]
pub struct Refused {
    status: u16,
    headers: Headers,
    body: Vec<u8>,
    limit: usize,
    framing: Framing,
}

/// How the end of the body is determined (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunks(Chunk),
    UntilClose,
    Ended,
}

/// The position in a chunked body (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size(u64),
    /// The rest of the line with the size: a chunk extension, or CR LF.
    SizeLine(u64),
    Data(u64),
    /// The CR LF after the data.
    DataEnd,
}

impl Refused {
    pub(crate) fn new(status: u16, headers: Headers, limit: usize) -> Self {
        let framing = framing(status, &headers);
        Self {
            status,
            headers,
            body: Vec::new(),
            limit,
            framing,
        }
    }

    /// The status code; never 101.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header fields, such as `Location`, `Retry-After` and `WWW-Authenticate`.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body received so far, without chunked framing.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the body is final: it ended, reached the limit, or cannot be read. Otherwise it may
    /// continue until the connection closes.
    #[must_use]
    pub fn body_is_complete(&self) -> bool {
        self.framing == Framing::Ended
    }

    /// Processes more bytes from the connection.
    pub fn receive_body(&mut self, mut bytes: &[u8]) {
        while self.framing != Framing::Ended && !bytes.is_empty() {
            bytes = match self.framing {
                Framing::Ended => return,
                Framing::UntilClose => {
                    self.take(bytes, u64::MAX);
                    &[]
                }
                Framing::Length(left) => {
                    let (rest, left) = self.take(bytes, left);
                    self.go_on(if left == 0 {
                        Framing::Ended
                    } else {
                        Framing::Length(left)
                    });
                    rest
                }
                Framing::Chunks(Chunk::Data(left)) => {
                    let (rest, left) = self.take(bytes, left);
                    let next = if left == 0 {
                        Chunk::DataEnd
                    } else {
                        Chunk::Data(left)
                    };
                    self.go_on(Framing::Chunks(next));
                    rest
                }
                Framing::Chunks(between) => self.read_between(between, bytes),
            };
        }
    }

    /// Keeps up to `left` bytes, within the limit. Returns the bytes not taken and how much of
    /// `left` is outstanding.
    fn take<'a>(&mut self, bytes: &'a [u8], left: u64) -> (&'a [u8], u64) {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX);
        let room = self.limit.saturating_sub(self.body.len());
        let (taken, rest) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
        self.body
            .extend_from_slice(taken.get(..room).unwrap_or(taken));
        if taken.len() >= room {
            self.framing = Framing::Ended;
        }
        (
            rest,
            left.saturating_sub(u64::try_from(taken.len()).unwrap_or(u64::MAX)),
        )
    }

    /// Sets the next state, unless the limit ended the body.
    fn go_on(&mut self, next: Framing) {
        if self.framing != Framing::Ended {
            self.framing = next;
        }
    }

    /// Reads one byte between the data of two chunks.
    fn read_between<'a>(&mut self, at: Chunk, bytes: &'a [u8]) -> &'a [u8] {
        let Some((&byte, rest)) = bytes.split_first() else {
            return bytes;
        };
        self.framing = match (at, byte) {
            (Chunk::Size(size), b'\r' | b';' | b' ' | b'\t') => {
                Framing::Chunks(Chunk::SizeLine(size))
            }
            (Chunk::Size(size), digit) => match add_digit(size, digit) {
                Some(size) => Framing::Chunks(Chunk::Size(size)),
                None => Framing::Ended,
            },
            // The trailers after the last chunk are not needed.
            (Chunk::SizeLine(0), b'\n') => Framing::Ended,
            (Chunk::SizeLine(size), b'\n') => Framing::Chunks(Chunk::Data(size)),
            (Chunk::DataEnd, b'\n') => Framing::Chunks(Chunk::Size(0)),
            (Chunk::DataEnd, b'\r') | (Chunk::SizeLine(_) | Chunk::Data(_), _) => {
                Framing::Chunks(at)
            }
            (Chunk::DataEnd, _) => Framing::Ended,
        };
        rest
    }
}

fn add_digit(size: u64, digit: u8) -> Option<u64> {
    let digit = char::from(digit).to_digit(16)?;
    size.checked_mul(16)?.checked_add(u64::from(digit))
}

fn framing(status: u16, headers: &Headers) -> Framing {
    if status == 204 || status == 304 {
        return Framing::Ended;
    }
    if names(headers, name::TRANSFER_ENCODING, b"chunked") {
        return Framing::Chunks(Chunk::Size(0));
    }
    let length = headers
        .get_str(name::CONTENT_LENGTH)
        .and_then(|length| length.parse().ok());
    match length {
        Some(0) => Framing::Ended,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClose,
    }
}

//! Decodes bytes into frames, regardless of how they are split over messages and reads.

use bytes::Bytes;

use super::{Frame, Invalid, Version};

/// The largest head of a frame in bytes: the command and the headers. 16 KiB: sixteen tags of the
/// maximum length, and a token.
const HEAD: usize = 16 * 1024;
/// The largest number of headers of a frame. 64: sixteen tags, and those of the protocol and of
/// client libraries.
const HEADERS: usize = 64;
/// The capacity above which the buffer is released when it is empty. 16 KiB: a buffer for frames of
/// the usual size is kept.
const KEPT: usize = 16 * 1024;

/// Collects received bytes, and cuts frames out of them. Holds at most one frame and what follows it
/// in the same message.
#[derive(Debug)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Bytes before this index have been decoded.
    start: usize,
    /// In a head, the start of the incomplete line. In a body without a length, the bytes before
    /// this index contain no NUL.
    searched: usize,
    /// The frame whose body is being received, and the length of the body if it was given.
    head: Option<(Frame, Option<usize>)>,
    version: Option<Version>,
    limit: usize,
}

impl Decoder {
    /// Creates a decoder for frames whose bodies have at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            searched: 0,
            head: None,
            version: None,
            limit,
        }
    }

    /// Sets the negotiated version, which determines the escapes. Before this, only CONNECT, STOMP
    /// and CONNECTED are expected.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The number of buffered bytes, including the head of an incomplete frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        let head = self.head.as_ref().map_or(0, |(frame, _)| {
            let headers = frame.headers.iter();
            let sizes = headers.map(|(name, value)| name.len().saturating_add(value.len()));
            sizes.fold(1, usize::saturating_add)
        });
        self.bytes
            .len()
            .saturating_sub(self.start)
            .saturating_add(head)
    }

    /// Discards everything.
    pub fn clear(&mut self) {
        self.bytes = Vec::new();
        (self.start, self.searched, self.head) = (0, 0, None);
    }

    /// Returns the next frame, or `None` if it is not complete.
    ///
    /// # Errors
    /// If the bytes are not a frame. Nothing can be decoded after that.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Invalid> {
        if self.head.is_none() && !self.read_head()? {
            return Ok(None);
        }
        self.read_body()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Advances to the next frame, past line breaks, which are heart-beats.
    fn skip_line_ends(&mut self) {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let ends = self.rest().iter().take_while(|byte| is_end(byte)).count();
        self.start = self.start.saturating_add(ends);
        self.searched = self.searched.max(self.start);
        if self.start >= self.bytes.len() {
            self.bytes.clear();
            (self.start, self.searched) = (0, 0);
            if self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
    }

    /// Reads the command and the headers. Returns whether they are complete.
    fn read_head(&mut self) -> Result<bool, Invalid> {
        self.skip_line_ends();
        loop {
            let line = self.bytes.get(self.searched..).unwrap_or_default();
            let end = line.iter().position(|byte| matches!(byte, b'\n' | 0));
            let before = self.searched.saturating_sub(self.start);
            let size = before.saturating_add(end.unwrap_or(line.len()));
            if size > HEAD {
                let detail = format!("the headers of a frame exceed {HEAD} bytes");
                return Err(Invalid::too_large(detail));
            }
            let Some(end) = end else {
                return Ok(false);
            };
            if line.get(end) == Some(&0) {
                let detail = "a NUL precedes the empty line that ends the headers";
                return Err(Invalid::malformed(detail));
            }
            let line_is_empty = matches!(line.get(..end), Some([] | [b'\r']));
            let next = self.searched.saturating_add(end).saturating_add(1);
            if !line_is_empty {
                self.searched = next;
                continue;
            }
            let head = self.bytes.get(self.start..self.searched);
            let head = str::from_utf8(head.unwrap_or_default())
                .map_err(|_| Invalid::malformed("the headers are not UTF-8"))?;
            let frame = self.frame_of(head)?;
            let length = self.length_of(&frame)?;
            self.head = Some((frame, length));
            (self.start, self.searched) = (next, next);
            return Ok(true);
        }
    }

    fn frame_of(&self, head: &str) -> Result<Frame, Invalid> {
        let has_cr = self.version.is_none_or(|version| version == Version::V12);
        let mut lines = head.split_terminator('\n').map(|line| match has_cr {
            true => line.strip_suffix('\r').unwrap_or(line),
            false => line,
        });
        let mut frame = Frame::new(lines.next().unwrap_or_default());
        let version = match &*frame.command {
            // 1.2 "Value Encoding". STOMP is an alias of CONNECT, and clients do not escape its
            // headers either.
            "CONNECT" | "CONNECTED" | "STOMP" => Version::V10,
            _ => self.version.unwrap_or(Version::V10),
        };
        for line in lines {
            if frame.headers.len() >= HEADERS {
                let detail = format!("a frame has more than {HEADERS} headers");
                return Err(Invalid::too_large(detail));
            }
            let Some((name, value)) = line.split_once(':') else {
                let shown: String = line.chars().take(40).collect();
                let detail = format!("the header {shown:?} has no colon");
                return Err(Invalid::malformed(detail));
            };
            let header = (unescaped(name, version)?, unescaped(value, version)?);
            frame.headers.push(header);
        }
        Ok(frame)
    }

    fn length_of(&self, frame: &Frame) -> Result<Option<usize>, Invalid> {
        let Some(given) = frame.header("content-length") else {
            return Ok(None);
        };
        // Clients of 1.0 may write a space after the colon.
        let digits = given.trim();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            let shown: String = given.chars().take(40).collect();
            let detail = format!("content-length: expected a number of bytes, found {shown:?}");
            return Err(Invalid::malformed(detail));
        }
        // A number that does not fit exceeds the limit, too.
        let length = digits.parse().unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(self.too_long());
        }
        Ok(Some(length))
    }

    fn too_long(&self) -> Invalid {
        let detail = format!("the body of a frame exceeds {} bytes", self.limit);
        Invalid::too_large(detail)
    }

    /// Completes the frame whose head was read.
    fn read_body(&mut self) -> Result<Option<Frame>, Invalid> {
        let Some((_, length)) = &self.head else {
            return Ok(None);
        };
        let rest = self.rest();
        let length = if let Some(length) = *length {
            match rest.get(length) {
                None => return Ok(None),
                Some(0) => length,
                Some(_) => {
                    let detail = format!("no NUL follows the {length} bytes of content-length");
                    return Err(Invalid::malformed(detail));
                }
            }
        } else {
            let unread = self.bytes.get(self.searched..).unwrap_or_default();
            let nul = unread.iter().position(|byte| *byte == 0);
            let before = self.searched.saturating_sub(self.start);
            let length = before.saturating_add(nul.unwrap_or(unread.len()));
            if length > self.limit {
                return Err(self.too_long());
            }
            if nul.is_none() {
                self.searched = self.bytes.len();
                return Ok(None);
            }
            length
        };
        let body = Bytes::copy_from_slice(rest.get(..length).unwrap_or_default());
        self.start = self.start.saturating_add(length).saturating_add(1);
        self.searched = self.start;
        // Done here, so that an idle connection holds nothing.
        self.skip_line_ends();
        Ok(self.head.take().map(|(frame, _)| Frame { body, ..frame }))
    }
}

/// The text that an escaped name or value stands for. 1.2 "Value Encoding": an undefined escape is a
/// fatal error.
fn unescaped(text: &str, version: Version) -> Result<Box<str>, Invalid> {
    if version == Version::V10 || !text.contains('\\') {
        return Ok(text.into());
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match (chars.next(), version) {
            (Some('n'), _) => plain.push('\n'),
            (Some('c'), _) => plain.push(':'),
            (Some('\\'), _) => plain.push('\\'),
            (Some('r'), Version::V12) => plain.push('\r'),
            (other, _) => {
                let found: String = other.into_iter().collect();
                let detail = format!(
                    "the escape \\{found} in a header is not defined in STOMP {}",
                    version.number()
                );
                return Err(Invalid::malformed(detail));
            }
        }
    }
    Ok(plain.into())
}

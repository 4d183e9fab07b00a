//! The head of a request or response: collected from bytes in any split, parsed once.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::headers::{Field, Headers, InvalidHeader};

/// The maximum number of fields in a head, whatever [`HeadLimits`] says: the parser's table is on
/// the stack.
const MOST_HEADERS: usize = 128;

/// The maximum size of a peer's head.
///
/// A head that arrives slowly within these limits is not stopped here, because this code has no
/// clock: the driver gives the whole handshake a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes from the start line to the empty line. 16 KiB: room for a browser's cookies (4 KiB
    /// each) and a bearer token, and the usual limit of other servers.
    pub bytes: usize,
    /// Header fields. 64: a browser sends about 15, proxies add a few. At most 128.
    pub headers: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 16 * 1024,
            headers: 64,
        }
    }
}

/// Why a head is not HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedHead {
    /// It starts like a TLS handshake: `wss://` was used where `ws://` is served.
    LooksLikeTls,
    /// A control character other than tab, CR and LF.
    ControlCharacter(u8),
    /// A line ends with LF alone. Some servers tolerate that, which allows request smuggling.
    BareLineFeed,
    /// The request line is not `METHOD target HTTP/x.y`.
    RequestLine,
    /// The request target is neither a path nor an absolute `http` URI, or has a
    /// fragment (RFC 6455 §3).
    Target,
    /// The status line is not `HTTP/1.x code reason`.
    StatusLine,
    /// A field has an invalid name; also a folded line (RFC 9112 §5.2).
    HeaderName,
    /// A field's value contains a forbidden byte.
    HeaderValue,
}

impl fmt::Display for MalformedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LooksLikeTls => f.write_str("this is TLS, but plain HTTP is expected here"),
            Self::ControlCharacter(byte) => write!(f, "control character 0x{byte:02x} in the head"),
            Self::BareLineFeed => f.write_str("lines of the head must end with CR LF, not LF"),
            Self::RequestLine => f.write_str("malformed request line"),
            Self::Target => f.write_str("the request target must be a path without a fragment"),
            Self::StatusLine => f.write_str("malformed status line"),
            Self::HeaderName => f.write_str("malformed header name, or a folded header line"),
            Self::HeaderValue => f.write_str("forbidden byte in a header value"),
        }
    }
}

impl std::error::Error for MalformedHead {}

/// Why a head could not be parsed, before it is known whether it is a request or a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    Malformed(MalformedHead),
    TooLarge { limit: usize },
    TooManyHeaders { limit: usize },
    Version,
}

/// Collects a head. Examines every byte once, in any split.
#[derive(Debug)]
pub(crate) struct HeadReader {
    head: Vec<u8>,
    /// The offset at which the current line starts.
    line_start: usize,
    /// Offset of the last CR.
    carriage_return: Option<usize>,
    empty_line_may_lead: bool,
    limit: usize,
}

impl HeadReader {
    /// RFC 9112 §2.2: a server SHOULD ignore an empty line before the request line; clients have no
    /// such rule.
    pub(crate) fn of_request(limits: HeadLimits) -> Self {
        Self {
            empty_line_may_lead: true,
            ..Self::of_response(limits)
        }
    }

    pub(crate) fn of_response(limits: HeadLimits) -> Self {
        Self {
            head: Vec::new(),
            line_start: 0,
            carriage_return: None,
            empty_line_may_lead: false,
            limit: limits.bytes,
        }
    }

    /// Takes the bytes of the head from `input`. `Some(n)`: the head ended after `n` bytes. `None`:
    /// all bytes were taken, and more are needed.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<Option<usize>, HeadError> {
        if self.head.is_empty() && input.first() == Some(&0x16) {
            return Err(HeadError::Malformed(MalformedHead::LooksLikeTls));
        }
        // Bytes beyond the limit are not examined.
        let room = self.limit.saturating_sub(self.head.len());
        let (within, beyond) = input.split_at_checked(room).unwrap_or((input, &[]));
        let end = self.find_end(within).map_err(HeadError::Malformed)?;
        if end.is_none() && !beyond.is_empty() {
            return Err(HeadError::TooLarge { limit: self.limit });
        }
        self.head
            .extend_from_slice(end.and_then(|end| within.get(..end)).unwrap_or(within));
        Ok(end)
    }

    /// Returns the complete head.
    pub(crate) fn into_head(self) -> Vec<u8> {
        self.head
    }

    fn find_end(&mut self, input: &[u8]) -> Result<Option<usize>, MalformedHead> {
        // Most blocks contain no line end, which is tested for 16 bytes at once.
        let (blocks, rest) = input.as_chunks::<16>();
        let mut before = 0_usize;
        for block in blocks {
            let has_control = block
                .iter()
                .fold(false, |found, byte| found | is_control(*byte));
            if has_control && let Some(end) = self.find_end_within(block, before)? {
                return Ok(Some(end));
            }
            before = before.saturating_add(block.len());
        }
        self.find_end_within(rest, before)
    }

    /// Searches a part of the input that has `before` bytes before it.
    fn find_end_within(
        &mut self,
        part: &[u8],
        before: usize,
    ) -> Result<Option<usize>, MalformedHead> {
        for (&byte, length) in part.iter().zip(before.saturating_add(1)..) {
            if !is_control(byte) {
                continue;
            }
            let after = self.head.len().saturating_add(length);
            match byte {
                b'\r' => self.carriage_return = Some(after),
                b'\n' if self.ends_head(after)? => return Ok(Some(length)),
                b'\n' => self.line_start = after,
                other => return Err(MalformedHead::ControlCharacter(other)),
            }
        }
        Ok(None)
    }

    /// Whether the LF that ends at `after` ends an empty line.
    fn ends_head(&mut self, after: usize) -> Result<bool, MalformedHead> {
        let line_length = after.saturating_sub(self.line_start);
        if self.carriage_return != after.checked_sub(1) {
            return Err(MalformedHead::BareLineFeed);
        }
        let leads = self.line_start == 0 && self.empty_line_may_lead;
        Ok(line_length == 2 && !leads)
    }
}

/// Whether the byte is not allowed in a line of a head, or ends one.
fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// A parsed request head, before the handshake's rules are applied.
pub(crate) struct ParsedRequest {
    pub(crate) is_get: bool,
    pub(crate) is_http_1_1: bool,
    pub(crate) target: Range<usize>,
    pub(crate) headers: Headers,
}

pub(crate) fn parse_request(head: Vec<u8>, limits: HeadLimits) -> Result<ParsedRequest, HeadError> {
    let limit = limits.headers.min(MOST_HEADERS);
    let mut table = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let slots = table.get_mut(..limit).unwrap_or_default();
    let complete = request
        .parse_with_uninit_headers(&head, slots)
        .map_err(|error| request_error(error, &head, limit))?
        .is_complete();
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(HeadError::Malformed(MalformedHead::RequestLine));
    };
    if !complete {
        return Err(HeadError::Malformed(MalformedHead::RequestLine));
    }
    let is_get = method == "GET";
    let target = range_in(&head, target.as_bytes());
    let fields = ranges(&head, request.headers);
    let headers = Headers::from_parsed(head, fields);
    Ok(ParsedRequest {
        is_get,
        is_http_1_1: minor == 1,
        target,
        headers,
    })
}

/// A parsed response head, before the handshake's rules are applied.
pub(crate) struct ParsedResponse {
    pub(crate) status: u16,
    pub(crate) is_http_1_1: bool,
    pub(crate) headers: Headers,
}

pub(crate) fn parse_response(
    head: Vec<u8>,
    limits: HeadLimits,
) -> Result<ParsedResponse, HeadError> {
    let limit = limits.headers.min(MOST_HEADERS);
    let mut table = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let slots = table.get_mut(..limit).unwrap_or_default();
    let complete = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, &head, slots)
        .map_err(|error| error_of(error, limit, MalformedHead::StatusLine))?
        .is_complete();
    let (Some(status), Some(minor), true) = (response.code, response.version, complete) else {
        return Err(HeadError::Malformed(MalformedHead::StatusLine));
    };
    let fields = ranges(&head, response.headers);
    Ok(ParsedResponse {
        status,
        is_http_1_1: minor == 1,
        headers: Headers::from_parsed(head, fields),
    })
}

fn ranges(head: &[u8], headers: &[httparse::Header<'_>]) -> Vec<Field> {
    headers
        .iter()
        .map(|header| Field {
            name: range_in(head, header.name.as_bytes()),
            value: range_in(head, header.value),
        })
        .collect()
}

/// The range of `part`, which is a slice of `whole`.
pub(crate) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().saturating_sub(whole.as_ptr().addr());
    start..start.saturating_add(part.len())
}

/// Copies fields parsed by an HTTP library, within the limits.
pub(crate) fn copy_fields<'a>(
    headers: &mut Headers,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    limits: HeadLimits,
) -> Result<(), HeadError> {
    let mut room = limits.bytes;
    for (name, value) in fields {
        if headers.len() >= limits.headers {
            return Err(HeadError::TooManyHeaders {
                limit: limits.headers,
            });
        }
        room = room
            .checked_sub(name.len().saturating_add(value.len()))
            .ok_or(HeadError::TooLarge {
                limit: limits.bytes,
            })?;
        headers
            .append(name, value)
            .map_err(|invalid| match invalid {
                InvalidHeader::Name(_) | InvalidHeader::Reserved(_) => {
                    HeadError::Malformed(MalformedHead::HeaderName)
                }
                InvalidHeader::Value(_) => HeadError::Malformed(MalformedHead::HeaderValue),
            })?;
    }
    Ok(())
}

fn request_error(error: httparse::Error, head: &[u8], limit: usize) -> HeadError {
    // httparse knows only 1.0 and 1.1, and reports everything else as a wrong version.
    if error == httparse::Error::Version && !names_http_version(head) {
        return HeadError::Malformed(MalformedHead::RequestLine);
    }
    error_of(error, limit, MalformedHead::RequestLine)
}

/// Whether the request line is valid except for the version.
fn names_http_version(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|&byte| byte == b'\r').next();
    let mut words = line.unwrap_or_default().split(|&byte| byte == b' ').skip(2);
    let version = words.next().unwrap_or_default();
    let is_last = words.next().is_none();
    is_last
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

fn error_of(error: httparse::Error, limit: usize, start_line: MalformedHead) -> HeadError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => HeadError::TooManyHeaders { limit },
        Error::Version => HeadError::Version,
        Error::HeaderName => HeadError::Malformed(MalformedHead::HeaderName),
        Error::HeaderValue => HeadError::Malformed(MalformedHead::HeaderValue),
        Error::NewLine | Error::Status | Error::Token => HeadError::Malformed(start_line),
    }
}

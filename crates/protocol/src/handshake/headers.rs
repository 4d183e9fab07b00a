//! Header fields stored in one buffer, received or to be sent.
//!
//! Names and values are ranges of one owned text, so parsing a head costs one copy and building one
//! costs one buffer.

use std::fmt;
use std::ops::Range;

/// Names of header fields that the handshake reads and writes.
pub(crate) mod name {
    pub(crate) const ALLOW: &str = "Allow";
    pub(crate) const AUTHORIZATION: &str = "Authorization";
    pub(crate) const CONNECTION: &str = "Connection";
    pub(crate) const CONTENT_LENGTH: &str = "Content-Length";
    pub(crate) const CONTENT_TYPE: &str = "Content-Type";
    pub(crate) const HOST: &str = "Host";
    pub(crate) const ORIGIN: &str = "Origin";
    pub(crate) const TRANSFER_ENCODING: &str = "Transfer-Encoding";
    pub(crate) const UPGRADE: &str = "Upgrade";
    pub(crate) const ACCEPT: &str = "Sec-WebSocket-Accept";
    pub(crate) const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
    pub(crate) const KEY: &str = "Sec-WebSocket-Key";
    pub(crate) const PROTOCOL: &str = "Sec-WebSocket-Protocol";
    pub(crate) const VERSION: &str = "Sec-WebSocket-Version";
}

/// Fields that the handshake or the framing of the head sets itself. A caller who could add them
/// could split the response or break the handshake.
const RESERVED: [&str; 8] = [
    name::CONNECTION,
    name::CONTENT_LENGTH,
    name::HOST,
    name::TRANSFER_ENCODING,
    name::UPGRADE,
    "Keep-Alive",
    "TE",
    "Trailer",
];

/// Every field of RFC 6455 §11.3 starts with this, and all of them are reserved for the handshake.
const RESERVED_PREFIX: &str = "Sec-WebSocket-";

/// A case-insensitive multi-map of header fields that keeps their order.
///
/// ```
/// use offhook_protocol::handshake::Headers;
///
/// let mut headers = Headers::new();
/// headers.append("Set-Cookie", "a=1")?;
/// headers.append("set-cookie", "b=2")?;
///
/// assert_eq!(headers.get_str("SET-COOKIE"), Some("a=1"));
/// assert_eq!(headers.get_all("Set-Cookie").count(), 2);
/// assert!(headers.append("Set-Cookie", "a=1\r\nX-Injected: yes").is_err());
/// # Ok::<(), offhook_protocol::handshake::InvalidHeader>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    text: Vec<u8>,
    fields: Vec<Field>,
}

/// The ranges of one field in the text.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// Why a header field cannot be sent: a mistake of the caller, never of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidHeader {
    /// The name is empty or contains a byte that is not allowed in a token (RFC 9110 §5.1).
    Name(String),
    /// The value of this field contains CR, LF, NUL or another control character.
    Value(String),
    /// The handshake sets this field itself.
    Reserved(String),
}

impl fmt::Display for InvalidHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "header name {name:?} is not a token"),
            Self::Value(name) => {
                write!(
                    f,
                    "header {name}: the value contains a control character; a field must be a single line"
                )
            }
            Self::Reserved(name) => {
                write!(f, "header {name} is set by the handshake itself; remove it")
            }
        }
    }
}

impl std::error::Error for InvalidHeader {}

impl Headers {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Appends a field, after others of the same name if there are any. Spaces and tabs around the
    /// value are removed.
    ///
    /// # Errors
    ///
    /// [`InvalidHeader`] if the name is not a token or the value not a single line.
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) -> Result<(), InvalidHeader> {
        if !is_token(name.as_bytes()) {
            return Err(InvalidHeader::Name(name.to_owned()));
        }
        let value = trim_space(value.as_ref());
        if !is_field_value(value) {
            return Err(InvalidHeader::Value(name.to_owned()));
        }
        self.push(name, value);
        Ok(())
    }

    /// As [`append`](Self::append), and rejects the fields reserved for the handshake.
    pub(crate) fn append_extra(
        &mut self,
        name: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<(), InvalidHeader> {
        if is_reserved(name) {
            return Err(InvalidHeader::Reserved(name.to_owned()));
        }
        self.append(name, value)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// As [`get`](Self::get), if the value is UTF-8 (nearly all are ASCII).
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// The values of all fields of this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.ranges_of(name).map(|field| self.bytes(&field.value))
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.ranges_of(name).next().is_some()
    }

    /// All fields as name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields
            .iter()
            .map(|field| (self.str(&field.name), self.bytes(&field.value)))
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Fields at the given ranges of `text`, which may contain other text before and after them.
    pub(crate) fn from_parsed(text: Vec<u8>, fields: Vec<Field>) -> Self {
        Self { text, fields }
    }

    /// Adds a field whose name and value are known to be valid.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        let name = self.push_text(name.as_bytes());
        self.push_text(b": ");
        let value = self.push_text(value);
        self.push_text(b"\r\n");
        self.fields.push(Field { name, value });
    }

    /// Adds the fields of another map.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (name, value) in other.iter() {
            self.push(name, value);
        }
    }

    /// Adds text that is not a field, such as a start line.
    pub(crate) fn push_text(&mut self, text: &[u8]) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        start..self.text.len()
    }

    /// Reserves memory for what is about to be pushed.
    pub(crate) fn reserve(&mut self, bytes: usize, fields: usize) {
        self.text.reserve(bytes);
        self.fields.reserve(fields);
    }

    /// Everything pushed, in the order it was pushed.
    pub(crate) fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// RFC 9113 §8.2: field names are lower case in HTTP/2.
    pub(crate) fn lower_case_names(&mut self) {
        for field in &self.fields {
            self.text
                .get_mut(field.name.clone())
                .unwrap_or_default()
                .make_ascii_lowercase();
        }
    }

    pub(crate) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.text.get(range.clone()).unwrap_or_default()
    }

    /// Returns the text of a range; it was checked to be ASCII when it was added.
    pub(crate) fn str(&self, range: &Range<usize>) -> &str {
        std::str::from_utf8(self.bytes(range)).unwrap_or_default()
    }

    /// The only field of this name; `Err` if there are several.
    pub(crate) fn single(&self, name: &'static str) -> Result<Option<&Field>, Repeated> {
        let mut fields = self.ranges_of(name);
        let first = fields.next();
        if fields.next().is_some() {
            Err(Repeated(name))
        } else {
            Ok(first)
        }
    }

    /// The elements of a comma-separated list (RFC 9110 §5.6.1), over all lines of this name. Empty
    /// elements are ignored, as recipients MUST do.
    pub(crate) fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.get_all(name)
            .flat_map(|line| line.split(|&byte| byte == b','))
            .map(trim_space)
            .filter(|element| !element.is_empty())
    }

    fn ranges_of(&self, name: &str) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(move |field| {
            field.name.len() == name.len()
                && self
                    .bytes(&field.name)
                    .eq_ignore_ascii_case(name.as_bytes())
        })
    }
}

/// A field that may occur once occurs several times.
#[derive(Debug)]
pub(crate) struct Repeated(pub(crate) &'static str);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            let secret = [
                "authorization",
                "proxy-authorization",
                "cookie",
                "set-cookie",
            ]
            .iter()
            .any(|secret| name.eq_ignore_ascii_case(secret));
            let shown = if secret {
                "(not shown)".into()
            } else {
                String::from_utf8_lossy(value)
            };
            map.entry(&name, &shown);
        }
        map.finish()
    }
}

/// Optional white space in HTTP is space and tab, nothing else (RFC 9110 §5.6.3).
pub(crate) fn trim_space(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// RFC 9110 §5.6.2; identical to RFC 2616 §2.2, which RFC 6455 cites.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| is_token_byte(byte))
}

/// A byte of a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
        | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*'
        | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

/// RFC 9110 §5.5: visible characters, space, tab and obs-text.
fn is_field_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn is_reserved(name: &str) -> bool {
    let prefix = name.get(..RESERVED_PREFIX.len()).unwrap_or_default();
    prefix.eq_ignore_ascii_case(RESERVED_PREFIX)
        || RESERVED
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
}

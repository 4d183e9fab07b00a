//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 §9.1).
//!
//! Parses the header into a list of extensions with their parameters. It does not interpret names:
//! [`negotiate`](super::negotiate) implements permessage-deflate.

use std::borrow::Cow;
use std::fmt;

use crate::handshake::is_token_byte;

/// The maximum number of extensions in one head. Browsers offer one or two.
pub const MAX_EXTENSIONS: usize = 16;

/// The maximum number of parameters of one extension. permessage-deflate has four.
pub const MAX_PARAMETERS: usize = 16;

/// One extension as the header names it: `name; parameter; parameter=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension<'a> {
    /// The extension's registered name, as written.
    pub name: &'a str,
    /// Its parameters in the order written. Duplicates are kept: each extension decides whether
    /// they are allowed.
    pub parameters: Vec<Parameter<'a>>,
}

/// One parameter of an [`Extension`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The name before the `=`.
    pub name: &'a str,
    /// The value, if there is one, without quotes.
    pub value: Option<Cow<'a, str>>,
}

/// Why a `Sec-WebSocket-Extensions` header violates RFC 6455 §9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtensionsError {
    /// The header is present and names no extension.
    Empty,
    /// A name or value was expected at this byte of the header line.
    TokenExpected {
        /// Offset in the header line.
        at: usize,
    },
    /// Something other than `;`, `,` or the end of the line follows at this byte.
    SeparatorExpected {
        /// Offset in the header line.
        at: usize,
    },
    /// A quoted value is empty or holds a byte that is not allowed in a token.
    QuotedValueNotAToken {
        /// Offset in the header line.
        at: usize,
    },
    /// A quoted value has no closing quote.
    QuoteNotClosed,
    /// There are more than [`MAX_EXTENSIONS`] extensions.
    TooManyExtensions,
    /// An extension has more than [`MAX_PARAMETERS`] parameters.
    TooManyParameters,
}

impl fmt::Display for ExtensionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sec-WebSocket-Extensions: ")?;
        match self {
            Self::Empty => f.write_str("names no extension"),
            Self::TokenExpected { at } => write!(f, "expected a token at byte {at}"),
            Self::SeparatorExpected { at } => {
                write!(f, "expected \";\", \",\" or the end at byte {at}")
            }
            Self::QuotedValueNotAToken { at } => {
                write!(
                    f,
                    "the quoted value must hold a token; byte {at} is not allowed in one"
                )
            }
            Self::QuoteNotClosed => f.write_str("a quoted value is not closed"),
            Self::TooManyExtensions => write!(f, "more than {MAX_EXTENSIONS} extensions"),
            Self::TooManyParameters => {
                write!(f, "more than {MAX_PARAMETERS} parameters of one extension")
            }
        }
    }
}

impl std::error::Error for ExtensionsError {}

/// Parses all `Sec-WebSocket-Extensions` lines of one head, in order.
///
/// RFC 6455 §9.1: a header split over several lines means the same as its parts joined by commas.
/// No line at all means no extension.
///
/// ```
/// use offhook_protocol::deflate::parse_extensions;
///
/// let lines: [&[u8]; 1] = [b"permessage-deflate; client_max_window_bits, x-other"];
/// let extensions = parse_extensions(lines)?;
/// assert_eq!(extensions[0].name, "permessage-deflate");
/// assert_eq!(extensions[0].parameters[0].name, "client_max_window_bits");
/// assert_eq!(extensions[1].name, "x-other");
/// # Ok::<(), offhook_protocol::deflate::ExtensionsError>(())
/// ```
///
/// # Errors
///
/// The header violates the grammar or exceeds the limits.
pub fn parse_extensions<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Extension<'a>>, ExtensionsError> {
    let mut extensions = Vec::new();
    let mut header_is_there = false;
    for line in lines {
        header_is_there = true;
        Reader { line, at: 0 }.read_list(&mut extensions)?;
    }
    if header_is_there && extensions.is_empty() {
        return Err(ExtensionsError::Empty);
    }
    Ok(extensions)
}

struct Reader<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn read_list(mut self, extensions: &mut Vec<Extension<'a>>) -> Result<(), ExtensionsError> {
        loop {
            // RFC 2616 §2.1 (`#rule`): empty elements of a list are allowed
            // and do not count.
            self.skip_space();
            while self.take(b',') {
                self.skip_space();
            }
            if self.peek().is_none() {
                return Ok(());
            }
            if extensions.len() >= MAX_EXTENSIONS {
                return Err(ExtensionsError::TooManyExtensions);
            }
            extensions.push(self.read_extension()?);
            if self.peek().is_some() && !self.take(b',') {
                return Err(ExtensionsError::SeparatorExpected { at: self.at });
            }
        }
    }

    fn read_extension(&mut self) -> Result<Extension<'a>, ExtensionsError> {
        let name = self.read_token()?;
        let mut parameters = Vec::new();
        self.skip_space();
        while self.take(b';') {
            if parameters.len() >= MAX_PARAMETERS {
                return Err(ExtensionsError::TooManyParameters);
            }
            self.skip_space();
            parameters.push(self.read_parameter()?);
            self.skip_space();
        }
        Ok(Extension { name, parameters })
    }

    fn read_parameter(&mut self) -> Result<Parameter<'a>, ExtensionsError> {
        let name = self.read_token()?;
        self.skip_space();
        if !self.take(b'=') {
            return Ok(Parameter { name, value: None });
        }
        self.skip_space();
        let value = if self.take(b'"') {
            self.read_rest_of_quoted()?
        } else {
            Cow::Borrowed(self.read_token()?)
        };
        Ok(Parameter {
            name,
            value: Some(value),
        })
    }

    fn read_token(&mut self) -> Result<&'a str, ExtensionsError> {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let length = rest.iter().take_while(|&&byte| is_token_byte(byte)).count();
        let token = rest
            .get(..length)
            .and_then(|token| std::str::from_utf8(token).ok());
        match token {
            Some(token) if !token.is_empty() => {
                self.at = self.at.saturating_add(length);
                Ok(token)
            }
            _ => Err(ExtensionsError::TokenExpected { at: self.at }),
        }
    }

    /// RFC 6455 §9.1: with the quoted-string form, the value after unescaping
    /// MUST conform to the `token` ABNF.
    fn read_rest_of_quoted(&mut self) -> Result<Cow<'a, str>, ExtensionsError> {
        let mut value = String::new();
        loop {
            let at = self.at;
            match self.bump().ok_or(ExtensionsError::QuoteNotClosed)? {
                b'"' if value.is_empty() => {
                    return Err(ExtensionsError::QuotedValueNotAToken { at });
                }
                b'"' => return Ok(Cow::Owned(value)),
                b'\\' => {
                    let escaped = self.bump().ok_or(ExtensionsError::QuoteNotClosed)?;
                    push_token_byte(&mut value, escaped, at)?;
                }
                byte => push_token_byte(&mut value, byte, at)?,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.line.get(self.at).copied()
    }

    fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at = self.at.saturating_add(1);
        }
        found
    }

    fn skip_space(&mut self) {
        while self.take(b' ') || self.take(b'\t') {}
    }
}

fn push_token_byte(value: &mut String, byte: u8, at: usize) -> Result<(), ExtensionsError> {
    if !is_token_byte(byte) {
        return Err(ExtensionsError::QuotedValueNotAToken { at });
    }
    value.push(char::from(byte));
    Ok(())
}

#[cfg(test)]
mod tests;

//! Tokens (GraphQL §2.1).

use std::{borrow::Cow, str::CharIndices};

use super::{At, Fault, MAX_NAME, MAX_TOKENS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A punctuator of one character.
    Sign(char),
    /// `...`
    Dots,
    Name(&'a str),
    Int(&'a str),
    Float(&'a str),
    Text(Cow<'a, str>),
    End,
}

impl Token<'_> {
    /// How it is named in an error.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Sign(sign) => format!("{sign:?}"),
            Self::Dots => "\"...\"".to_owned(),
            Self::Name(text) | Self::Int(text) | Self::Float(text) => format!("{text:?}"),
            Self::Text(_) => "a string".to_owned(),
            Self::End => "the end of the document".to_owned(),
        }
    }
}

/// A token and the number of its bytes.
type Read<'a> = Result<(Token<'a>, usize), Fault>;

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: At,
    /// How many more tokens it may have.
    left: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            left: MAX_TOKENS,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// GraphQL §2.1.1 to §2.1.5: white space, line ends, commas, comments and the byte order mark.
    fn skip_ignored(&mut self) {
        loop {
            let rest = self.rest();
            let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']);
            self.at = self.text.len().saturating_sub(rest.len());
            if !rest.starts_with('#') {
                return;
            }
            let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
            self.at = self.at.saturating_add(end);
        }
    }

    pub(super) fn next(&mut self) -> Result<(At, Token<'a>), Fault> {
        self.skip_ignored();
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok((at, Token::End));
        };
        let Some(left) = self.left.checked_sub(1) else {
            let detail = format!(
                "the document has more than {MAX_TOKENS} tokens; send data as variables instead of writing it \
                 into the document"
            );
            return Err(Fault::new(at, detail));
        };
        self.left = left;
        let (token, len) = match first {
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => {
                (Token::Sign(first), 1)
            }
            '.' if rest.starts_with("...") => (Token::Dots, 3),
            '"' if rest.starts_with("\"\"\"") => block(rest, at)?,
            '"' => quoted(rest, at)?,
            '-' | '0'..='9' => number(rest, at)?,
            'a'..='z' | 'A'..='Z' | '_' => name(rest, at)?,
            other => {
                let detail = format!("syntax: unexpected character {other:?}");
                return Err(Fault::new(at, detail));
            }
        };
        self.at = at.saturating_add(len);
        Ok((at, token))
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn name(rest: &str, at: At) -> Read<'_> {
    let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
    if len > MAX_NAME {
        let detail = format!("a name has {len} bytes; the limit is {MAX_NAME}");
        return Err(Fault::new(at, detail));
    }
    Ok((Token::Name(rest.get(..len).unwrap_or_default()), len))
}

/// GraphQL §2.9.1 and §2.9.2.
fn number(rest: &str, at: At) -> Read<'_> {
    let invalid = || Fault::new(at, "syntax: invalid number");
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let digits = bytes.iter().skip(from);
        digits.take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut len = usize::from(rest.starts_with('-'));
    let whole = digits(len);
    if whole == 0 || whole > 1 && bytes.get(len) == Some(&b'0') {
        return Err(invalid());
    }
    len = len.saturating_add(whole);
    let mut is_float = false;
    if bytes.get(len) == Some(&b'.') {
        let fraction = digits(len.saturating_add(1));
        if fraction == 0 {
            return Err(invalid());
        }
        len = len.saturating_add(1).saturating_add(fraction);
        is_float = true;
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        len = len.saturating_add(1);
        if matches!(bytes.get(len), Some(b'+' | b'-')) {
            len = len.saturating_add(1);
        }
        let exponent = digits(len);
        if exponent == 0 {
            return Err(invalid());
        }
        len = len.saturating_add(exponent);
        is_float = true;
    }
    let text = rest.get(..len).unwrap_or_default();
    let behind = rest.get(len..).and_then(|behind| behind.chars().next());
    if behind.is_some_and(|c| c == '.' || is_name(c)) {
        return Err(invalid());
    }
    let token = match is_float {
        true => Token::Float(text),
        false => Token::Int(text),
    };
    Ok((token, len))
}

/// A string on one line (GraphQL §2.9.4).
fn quoted(rest: &str, at: At) -> Read<'_> {
    let body = rest.get(1..).unwrap_or_default();
    // Copied only if it has escapes.
    let mut unescaped: Option<String> = None;
    let mut chars = body.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => {
                let text = match unescaped {
                    Some(text) => Cow::Owned(text),
                    None => Cow::Borrowed(body.get(..index).unwrap_or_default()),
                };
                return Ok((Token::Text(text), index.saturating_add(2)));
            }
            '\n' | '\r' => break,
            '\\' => {
                let text = unescaped
                    .get_or_insert_with(|| body.get(..index).unwrap_or_default().to_owned());
                let invalid = || Fault::new(at, "syntax: invalid escape in a string");
                text.push(escaped(&mut chars).ok_or_else(invalid)?);
            }
            c => {
                if let Some(text) = &mut unescaped {
                    text.push(c);
                }
            }
        }
    }
    Err(Fault::new(at, "syntax: the string has no end"))
}

/// The character behind a backslash.
fn escaped(chars: &mut CharIndices<'_>) -> Option<char> {
    Some(match chars.next()?.1 {
        same @ ('"' | '\\' | '/') => same,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode(chars),
        _ => return None,
    })
}

/// `XXXX`, two of them for a surrogate pair, or `{X…}`.
fn unicode(chars: &mut CharIndices<'_>) -> Option<char> {
    if chars.as_str().starts_with('{') {
        chars.next();
        if chars.as_str().starts_with('}') {
            return None;
        }
        let mut value = 0_u32;
        for _digit in 0..9 {
            match chars.next()?.1 {
                '}' => return char::from_u32(value),
                c => {
                    value = value.checked_mul(16)?.checked_add(c.to_digit(16)?)?;
                }
            }
        }
        return None;
    }
    let first = code_unit(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(u32::from(first));
    }
    if chars.next()?.1 != '\\' || chars.next()?.1 != 'u' {
        return None;
    }
    let pair = [first, code_unit(chars)?];
    char::decode_utf16(pair).next()?.ok()
}

/// Four hexadecimal digits.
fn code_unit(chars: &mut CharIndices<'_>) -> Option<u16> {
    let mut value = 0_u16;
    for _digit in 0..4 {
        let digit = u16::try_from(chars.next()?.1.to_digit(16)?).ok()?;
        value = value.checked_mul(16)?.checked_add(digit)?;
    }
    Some(value)
}

/// A string over several lines, between `"""`.
fn block(rest: &str, at: At) -> Read<'_> {
    let body = rest.get(3..).unwrap_or_default();
    let mut raw = String::new();
    let mut from = 0_usize;
    loop {
        let tail = body.get(from..).unwrap_or_default();
        let Some(found) = tail.find("\"\"\"") else {
            return Err(Fault::new(at, "syntax: the string has no end"));
        };
        let piece = tail.get(..found).unwrap_or_default();
        from = from.saturating_add(found).saturating_add(3);
        if let Some(piece) = piece.strip_suffix('\\') {
            raw.push_str(piece);
            raw.push_str("\"\"\"");
            continue;
        }
        raw.push_str(piece);
        let text = without_indent(&raw);
        return Ok((Token::Text(text.into()), from.saturating_add(3)));
    }
}

/// GraphQL §2.9.4, `BlockStringValue`.
fn without_indent(raw: &str) -> String {
    let raw = raw.replace("\r\n", "\n").replace('\r', "\n");
    let indent_of = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t']);
        (!rest.is_empty()).then(|| line.len().saturating_sub(rest.len()))
    };
    let indent = raw.split('\n').skip(1).filter_map(indent_of).min();
    let indent = indent.unwrap_or(0);
    let lines = raw
        .split('\n')
        .enumerate()
        .map(|(number, line)| match number {
            0 => line,
            _ => line.get(indent..).unwrap_or_default(),
        });
    let mut lines: Vec<_> = lines.collect();
    let is_blank = |line: &&str| indent_of(line).is_none();
    while lines.last().is_some_and(is_blank) {
        lines.pop();
    }
    let blank = lines.iter().take_while(|line| is_blank(line)).count();
    lines.get(blank..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<Token<'_>>, Fault> {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::new();
        loop {
            let (_, token) = lexer.next()?;
            if token == Token::End {
                return Ok(tokens);
            }
            tokens.push(token);
        }
    }

    fn text(text: &str) -> Token<'_> {
        Token::Text(text.into())
    }

    #[test]
    fn tokens_are_separated_by_what_is_ignored() {
        let read = tokens("\u{feff}query, # a comment\r\n Q{a...b}");
        let expected = [
            Token::Name("query"),
            Token::Name("Q"),
            Token::Sign('{'),
            Token::Name("a"),
            Token::Dots,
            Token::Name("b"),
            Token::Sign('}'),
        ];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn numbers_are_read_as_the_grammar_says() {
        for (source, expected) in [
            ("0", Token::Int("0")),
            ("-12", Token::Int("-12")),
            ("1.5", Token::Float("1.5")),
            ("-1.0e+10", Token::Float("-1.0e+10")),
            ("2E3", Token::Float("2E3")),
        ] {
            assert_eq!(tokens(source).unwrap(), [expected]);
        }
        for wrong in ["01", "-", "1.", "1.e", "1e", "0x1", "1.2.3", "1a", "+1"] {
            assert!(tokens(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn strings_are_unescaped() {
        for (source, expected) in [
            (r#""""#, ""),
            (r#""grün""#, "grün"),
            (r#""a\n\t\"\\\/\b\f\r""#, "a\n\t\"\\/\u{8}\u{c}\r"),
            (r#""\u00fc\u{1F600}\ud83d\ude00""#, "ü😀😀"),
        ] {
            assert_eq!(tokens(source).unwrap(), [text(expected)], "{source}");
        }
        for wrong in [
            r#"""#,
            r#""\x""#,
            r#""\u12""#,
            r#""\ud83d""#,
            r#""\ud83d\n""#,
            r#""\udc00""#,
            r#""\u{110000}""#,
            r#""\u{}""#,
            r#""\u{12""#,
            "\"a\nb\"",
        ] {
            let read = tokens(wrong);
            assert!(read.is_err(), "{wrong}: {read:?}");
        }
    }

    #[test]
    fn block_strings_lose_their_indentation() {
        let source =
            "\"\"\"\n    Hello,\n      World!\n\n    Yours,\n      \\\"\"\" GraphQL.\n  \"\"\"";
        let expected = "Hello,\n  World!\n\nYours,\n  \"\"\" GraphQL.";
        assert_eq!(tokens(source).unwrap(), [text(expected)]);
        assert_eq!(tokens("\"\"\"\"\"\"").unwrap(), [text("")]);
        assert!(tokens("\"\"\" x \"\"").is_err());
    }
}

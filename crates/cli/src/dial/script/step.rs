//! Scripts: one step per line.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use crate::dial::time;
use crate::{digits, failure::Failure};

/// A step of a script.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Send(String),
    SendHex(Vec<u8>),
    /// The next message must be this one.
    Expect(Expected),
    /// Some later message must be this one; messages before it are skipped.
    Await(Expected),
    ExpectClose(Option<u16>),
    ExpectNothing(Duration),
    Ping,
    /// How long to wait for messages from here on.
    Timeout(Duration),
    Close(u16, String),
}

/// An expected message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expected {
    Text(String),
    /// Text, with `*` for any text.
    Pattern(String),
    /// JSON with at least these members.
    Json(serde_json::Value),
    Bytes(Vec<u8>),
    Anything,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Pattern(pattern) => write!(f, "a text like {pattern:?}"),
            Self::Json(value) => write!(f, "JSON with {value}"),
            Self::Bytes(bytes) => write!(f, "the bytes {}", crate::screen::hex(bytes)),
            Self::Anything => f.write_str("a message"),
        }
    }
}

/// The largest script: 4 MiB.
const LONGEST: u64 = 4 << 20;

/// The steps of a file, each with the number of its line; `-` is stdin.
pub(super) fn read(path: &Path) -> Result<Vec<(usize, Step)>, Failure> {
    let name = path.display();
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(LONGEST + 1)
            .read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::Failed(format!("{name} can't be read: {error}")))?;
    if text.len() as u64 > LONGEST {
        return Err(Failure::usage(format!(
            "{name} is longer than {LONGEST} bytes"
        )));
    }
    parse(&text).map_err(|(line, why)| Failure::usage(format!("{name}:{line}: {why}")))
}

/// Parses a text into steps; or returns the line that is invalid, and why.
pub(super) fn parse(text: &str) -> Result<Vec<(usize, Step)>, (usize, String)> {
    let mut steps = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let start = line.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        steps.push((number, step(start).map_err(|why| (number, why))?));
    }
    Ok(steps)
}

fn step(line: &str) -> Result<Step, String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(kind) = word.strip_prefix("await") {
        return expected(word, kind, rest).map(Step::Await);
    }
    match word {
        "send" => Ok(Step::Send(rest.to_owned())),
        "send-hex" => bytes(rest).map(Step::SendHex),
        "expect-close" if rest.trim().is_empty() => Ok(Step::ExpectClose(None)),
        "expect-close" => code(rest.trim()).map(|code| Step::ExpectClose(Some(code))),
        "expect-nothing" => time(rest.trim()).map(Step::ExpectNothing),
        "ping" => Ok(Step::Ping),
        "timeout" => time(rest.trim()).map(Step::Timeout),
        "close" => {
            let (code, reason) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
            let code = if code.is_empty() {
                Ok(1000)
            } else {
                self::code(code)
            };
            Ok(Step::Close(code?, reason.trim().to_owned()))
        }
        _ => match word.strip_prefix("expect") {
            Some(kind) => expected(word, kind, rest).map(Step::Expect),
            None => Err(unknown(word)),
        },
    }
}

fn expected(word: &str, kind: &str, rest: &str) -> Result<Expected, String> {
    match kind {
        "" => Ok(Expected::Text(rest.to_owned())),
        "-match" => Ok(Expected::Pattern(rest.to_owned())),
        "-json" => serde_json::from_str(rest)
            .map(Expected::Json)
            .map_err(|error| format!("{word} takes JSON: {error}")),
        "-hex" => bytes(rest).map(Expected::Bytes),
        "-any" => Ok(Expected::Anything),
        _ => Err(unknown(word)),
    }
}

fn unknown(word: &str) -> String {
    format!(
        "there is no step {word:?}; expected send, send-hex, expect, expect-match, expect-json, \
         expect-hex, expect-any, expect-close, expect-nothing, await and the like, ping, timeout or \
         close"
    )
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    digits::parse(text).map_err(|word| format!("expected bytes in hexadecimal, found {word:?}"))
}

fn code(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("expected a close code such as 1000, found {text:?}"))
}

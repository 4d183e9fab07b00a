//! Findings of the check.

use serde::Serialize;

use crate::failure::Failure;
use crate::screen::{self, BOLD, DIM, LINK, WRONG, shown};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    /// Information.
    Note,
    /// It works, but perhaps not for everyone or not for long.
    Warning,
    Failed,
}

/// The result of one step.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// The step's name; stable, for programs.
    check: &'static str,
    level: Level,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, text: impl Into<String>) -> Self {
        Self {
            check,
            level,
            // Much of the text comes from servers.
            text: shown(&text.into()).into_owned(),
            advice: None,
        }
    }

    pub(super) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, text)
    }

    pub(super) fn note(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Note, text)
    }

    pub(super) fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, text)
    }

    pub(super) fn failed(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, Level::Failed, text)
    }

    /// What to do about it.
    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    fn text(&self) -> String {
        let Self { check, text, .. } = self;
        let room = columns().saturating_sub(INDENT).max(20);
        let text = wrapped(text, room).join(&format!("\n{:INDENT$}", ""));
        let mut line = match self.level {
            Level::Ok => format!("{LINK}✓{LINK:#} {DIM}{check:<12}{DIM:#} {text}\n"),
            Level::Note => format!("· {DIM}{check:<12}{DIM:#} {text}\n"),
            Level::Warning => {
                format!("{BOLD}!{BOLD:#} {DIM}{check:<12}{DIM:#} {BOLD}{text}{BOLD:#}\n")
            }
            Level::Failed => {
                format!("{WRONG}✗{WRONG:#} {DIM}{check:<12}{DIM:#} {WRONG}{text}{WRONG:#}\n")
            }
        };
        for advice in self.advice.iter().flat_map(|advice| advice.lines()) {
            for part in wrapped(advice, room) {
                line.push_str(&format!("{:INDENT$}{part}\n", ""));
            }
        }
        line
    }
}

/// The column at which the text of a finding starts.
const INDENT: usize = 15;

/// The width of the terminal, limited to what is easy to read.
fn columns() -> usize {
    const MOST: usize = 100;
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout()) {
        return usize::from(size.ws_col).clamp(1, MOST);
    }
    MOST
}

/// Splits a line at spaces into parts of at most this width. An indented line is configuration and
/// is not split.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    if line.starts_with(' ') {
        return vec![line.to_owned()];
    }
    let mut parts: Vec<String> = Vec::new();
    for word in line.split(' ') {
        match parts.last_mut() {
            Some(part) if part.chars().count() + 1 + word.chars().count() <= width => {
                part.push(' ');
                part.push_str(word);
            }
            Some(_) | None => parts.push(word.to_owned()),
        }
    }
    parts
}

/// All findings: printed as they are made, or as JSON at the end.
#[derive(Debug)]
pub(super) struct Findings {
    url: String,
    is_json: bool,
    all: Vec<Finding>,
}

#[derive(Serialize)]
struct Report<'a> {
    url: &'a str,
    ok: bool,
    findings: &'a [Finding],
}

impl Findings {
    pub(super) fn new(url: &str, is_json: bool) -> Self {
        Self {
            url: url.to_owned(),
            is_json,
            all: Vec::new(),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.is_json
    }

    pub(super) fn add(&mut self, finding: Finding) -> Result<(), Failure> {
        if !self.is_json {
            screen::print(&finding.text())?;
        }
        self.all.push(finding);
        Ok(())
    }

    fn count(&self, level: Level) -> usize {
        self.all
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    }

    /// Prints the rest; an error if a step failed.
    pub(super) fn finish(self, is_strict: bool) -> Result<(), Failure> {
        let (failed, warnings) = (self.count(Level::Failed), self.count(Level::Warning));
        let is_ok = failed == 0 && !(is_strict && warnings > 0);
        if self.is_json {
            let report = Report {
                url: &self.url,
                ok: is_ok,
                findings: &self.all,
            };
            // Strings and lists of strings can always be serialised.
            let text = serde_json::to_string_pretty(&report).unwrap_or_default();
            screen::print(&(text + "\n"))?;
        }
        let counts = format!(
            "{}, {}",
            counted(failed, "failure"),
            counted(warnings, "warning")
        );
        if !is_ok {
            return Err(Failure::Failed(counts));
        }
        if !self.is_json {
            screen::print(&format!("\n{BOLD}it works{BOLD:#}: {counts}\n"))?;
        }
        Ok(())
    }
}

pub(super) fn counted(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}

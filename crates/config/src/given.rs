//! Values as given, with their place: a file, a variable or a flag.

use std::{fmt, ops::Range, path::PathBuf, sync::Arc};

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The default: no value was given.
    Default,
    /// A part of a file.
    File {
        /// The file.
        file: Arc<SourceFile>,
        /// The byte range of the text.
        span: Range<usize>,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(String),
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its path, as given.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl SourceFile {
    /// The line and column of a byte, both from 1, columns in characters.
    pub(crate) fn line_and_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The text of a line, from 1.
    pub(crate) fn line(&self, number: usize) -> &str {
        self.text.lines().nth(number - 1).unwrap_or_default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, span } => {
                let (line, column) = file.line_and_column(span.start);
                write!(f, "{}:{line}:{column}", file.path.display())
            }
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) struct Given {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// From a variable or a flag: its type depends on what is expected.
    Word(String),
    Text(String),
    /// The digits as written, without underscores.
    Integer(String),
    Bool(bool),
    List(Vec<Given>),
    Table(Vec<Entry>),
    /// A TOML type that no setting uses.
    Other(&'static str),
}

/// A key of a table, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) given: Given,
}

/// A value that does not fit its setting.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    pub(crate) place: Place,
    pub(crate) message: String,
}

impl Given {
    /// The text, whether written as a string or as a bare word.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Word(text) | Value::Text(text) => Some(text),
            Value::Integer(_)
            | Value::Bool(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => None,
        }
    }

    /// Digits: a number in a file, or a bare word.
    pub(crate) fn number(&self) -> Option<&str> {
        match &self.value {
            Value::Word(text) | Value::Integer(text) => Some(text),
            Value::Text(_)
            | Value::Bool(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => None,
        }
    }

    /// Reports that something else was expected here.
    pub(crate) fn misfit(&self, expected: impl fmt::Display) -> Vec<Misfit> {
        self.complaint(format!("expected {expected}, found {self}"))
    }

    /// Reports a problem with its own message.
    pub(crate) fn complaint(&self, message: impl Into<String>) -> Vec<Misfit> {
        let (place, message) = (self.place.clone(), message.into());
        vec![Misfit { place, message }]
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Word(text) | Value::Text(text) => write!(f, "{text:?}"),
            Value::Integer(digits) => write!(f, "the number {digits}"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
            Value::Other(kind) => f.write_str(kind),
        }
    }
}

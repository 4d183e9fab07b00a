//! How a command fails: what is said, and the code the process exits with.

use std::{error::Error, fmt::Display, io, process::ExitCode};

use crate::screen;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for makes no sense: code 2, as for flags that don't exist.
    Usage(String),
    /// It could not be done: code 1.
    Failed(String),
    /// What it prints is no longer read, by `head` for one: no reason to say anything.
    NobodyReads,
}

impl Failure {
    /// The caller's mistake.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// It could not be done: an error with all its causes.
    pub(crate) fn failed(error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Failed(message)
    }

    /// With what to do about it, on a line of its own.
    pub(crate) fn hint(self, hint: impl Display) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{message}\n{hint}")),
            Self::Failed(message) => Self::Failed(format!("{message}\n{hint}")),
            Self::NobodyReads => Self::NobodyReads,
        }
    }

    /// Says it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
            Self::NobodyReads => return ExitCode::SUCCESS,
        };
        let lines: Vec<_> = message.lines().map(screen::shown).collect();
        screen::error(&lines.join("\n"));
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    /// Of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::failed(&error)
    }
}

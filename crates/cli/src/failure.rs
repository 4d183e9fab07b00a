//! Failures of a command: their message and exit code.

use std::{error::Error, fmt::Display, io, process::ExitCode};

use crate::screen;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line or an input is invalid: exit code 2, as for unknown flags.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
    /// It was already logged: only the exit code is reported.
    Logged(u8),
    /// Stdout was closed, for example by `head`. Nothing is reported.
    NobodyReads,
}

impl Failure {
    /// A mistake of the caller.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Usage(message.to_string())
    }

    /// An error with all its causes.
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

    /// Adds a line that says what to do.
    pub(crate) fn hint(self, hint: impl Display) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{message}\n{hint}")),
            Self::Failed(message) => Self::Failed(format!("{message}\n{hint}")),
            Self::Logged(_) | Self::NobodyReads => self,
        }
    }

    /// Logs it instead of printing it.
    pub(crate) fn logged(self) -> Self {
        match self {
            Self::Usage(message) => {
                tracing::error!("{message}");
                Self::Logged(2)
            }
            Self::Failed(message) => {
                tracing::error!("{message}");
                Self::Logged(1)
            }
            Self::Logged(_) | Self::NobodyReads => self,
        }
    }

    /// Prints it to stderr.
    pub(crate) fn report(self) -> ExitCode {
        let (message, code) = match self {
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
            Self::Logged(code) => return ExitCode::from(code),
            Self::NobodyReads => return ExitCode::SUCCESS,
        };
        let lines: Vec<_> = message.lines().map(screen::shown).collect();
        screen::error(&lines.join("\n"));
        ExitCode::from(code)
    }
}

impl From<io::Error> for Failure {
    /// An error of writing to stdout.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::failed(&error)
    }
}

//! Problems of a configuration: all of them, with their place and what to write instead.

use std::{fmt, ops::Range, path::Path};

use super::given::{Place, SourceFile};

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Place,
    message: String,
}

impl Problem {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { place, message }
    }

    /// A problem with a file as a whole.
    pub(crate) fn of_file(path: &Path, message: impl fmt::Display) -> Self {
        Self::new(Place::Default, format!("{}: {message}", path.display()))
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => f.write_str(&self.message),
            Place::File { file, span } => {
                write!(f, "{}: {}", self.place, self.message)?;
                excerpt(f, file, span)
            }
            Place::Variable(_) | Place::Flag(_) => write!(f, "{}: {}", self.place, self.message),
        }
    }
}

/// The line, with a mark below the text concerned.
fn excerpt(f: &mut fmt::Formatter<'_>, file: &SourceFile, span: &Range<usize>) -> fmt::Result {
    let (number, column) = file.line_and_column(span.start);
    let line = file.line(number);
    if may_hold_a_secret(line) {
        return Ok(());
    }
    let margin = number.to_string().len();
    let before = line.chars().take(column - 1);
    // Tabs are kept, so that the mark is aligned with the text.
    let indent: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
    let rest = line.chars().count().saturating_sub(column - 1);
    let marked = file.text.get(span.clone()).unwrap_or_default();
    let width = marked.lines().next().unwrap_or_default().chars().count();
    let marks = "^".repeat(width.min(rest).max(1));
    write!(
        f,
        "\n  {number} | {line}\n  {:margin$} | {indent}{marks}",
        ""
    )
}

/// Keys are long runs of such letters; an error next to one must not carry it into a log.
fn may_hold_a_secret(line: &str) -> bool {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    let mut runs = line.split(|c| !is_of_key(c));
    runs.any(|run| run.len() >= SHORTEST_SECRET)
}

const SHORTEST_SECRET: usize = 24;

/// All problems, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| match &problem.place {
            Place::File { span, .. } => (0, span.start),
            Place::Default => (1, 0),
            Place::Variable(_) => (2, 0),
            Place::Flag(_) => (3, 0),
        });
        Self(problems)
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

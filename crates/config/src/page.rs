//! The configuration as text: the effective one, an example, the reference.

use std::fmt::Write as _;

use super::Config;
use super::catalogue::{Section, Setting, sections};
use super::given::Place;
use super::load::Loaded;

const WIDTH: usize = 96;

impl Loaded {
    /// The effective configuration in TOML, with the origin of each value.
    #[must_use]
    pub fn effective(&self) -> String {
        let read = match self.file() {
            Some(path) => format!("read from {}", path.display()),
            None => "no configuration file was read".to_owned(),
        };
        let mut page = format!("# The effective configuration; {read}.\n\n");
        for section in sections(&mut self.config.clone()) {
            page.push_str(&self.effective_section(&section));
        }
        page
    }

    fn effective_section(&self, section: &Section) -> String {
        let line = |setting: &Setting| match &setting.value {
            Some(value) => format!("{} = {value}", setting.name()),
            None => format!("# {} = (not shown)", setting.name()),
        };
        let shown = || section.settings.iter().filter(|setting| !setting.is_rules);
        let width = shown().map(|setting| line(setting).chars().count()).max();
        let mut page = header(section);
        for setting in shown() {
            let origin = match self.place(&setting.key) {
                Place::File { file, span } => {
                    let (number, _) = file.line_and_column(span.start);
                    format!("{}:{number}", file.path.display())
                }
                place @ (Place::Default | Place::Variable(_) | Place::Flag(_)) => place.to_string(),
            };
            let (line, width) = (line(setting), width.unwrap_or_default());
            // Writing to a String never fails.
            let _ = writeln!(page, "{line:width$}  # {origin}");
        }
        page
    }
}

/// A complete configuration file: every setting with its description, and its default as a comment.
#[must_use]
pub fn example() -> String {
    let mut page = comment(
        "Configuration of `offhook serve`. Each value is the default: remove the `#` before what \
         you want to change.",
    );
    for section in sections(&mut Config::default()) {
        page.push_str(&header(&section));
        page.push_str(&comment(&section.about));
        let settings = section.settings.iter();
        page.extend(
            settings
                .filter(|setting| !setting.is_rules)
                .map(example_entry),
        );
    }
    page
}

fn example_entry(setting: &Setting) -> String {
    let about = comment(&format!("{} {}", setting.about, setting.reason));
    let default = setting.default.as_deref().unwrap_or_default();
    // A rule is not valid without its pattern.
    let mark = if setting.key.ends_with(".pattern") {
        ""
    } else {
        "#"
    };
    format!("\n{about}{mark}{} = {default}\n", setting.name())
}

/// The reference in Markdown: docs/configuration.md.
#[must_use]
pub fn reference() -> String {
    let mut page = include_str!("reference.md").to_owned();
    for section in sections(&mut Config::default()) {
        let title = match section.path.as_str() {
            "" => "Outside of any table".to_owned(),
            _ => format!("`{}`", header(&section).trim()),
        };
        let _ = write!(page, "\n## {title}\n");
        if !section.about.is_empty() {
            let _ = write!(page, "\n{}\n", section.about);
        }
        for setting in &section.settings {
            page.push_str(&reference_entry(setting));
        }
    }
    page
}

fn reference_entry(setting: &Setting) -> String {
    let Setting {
        about,
        reason,
        expected,
        ..
    } = setting;
    let name = setting.name();
    let default = match &setting.default {
        Some(default) => format!("Default `{default}`: "),
        None => "By default: ".to_owned(),
    };
    let mut entry = format!(
        "\n### `{name}`\n\n{about}\n\n{default}{}\n\n",
        uncapitalised(reason)
    );
    let _ = write!(entry, "Takes {expected}.");
    if !setting.is_of_rule() {
        let (variable, flag) = (setting.variable(), setting.flag());
        let _ = write!(entry, " Also `{variable}`, `--{flag}`.");
    }
    entry.push('\n');
    entry
}

/// The table's header, preceded by an empty line.
fn header(section: &Section) -> String {
    match section.path.as_str() {
        "" => String::new(),
        path if path.ends_with(']') => format!("\n[[{}]]\n", table_name(path)),
        path => format!("\n[{}]\n", table_name(path)),
    }
}

/// `channels[0].history` is the table `channels.history` of the newest entry.
fn table_name(path: &str) -> String {
    let pieces = path.split('[').enumerate();
    let name = |(position, piece): (usize, &str)| match position {
        0 => piece.to_owned(),
        _ => piece
            .split_once(']')
            .map_or("", |(_, rest)| rest)
            .to_owned(),
    };
    pieces.map(name).collect()
}

/// A comment of several lines.
fn comment(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut page = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            page.push_str(&line);
            page.push('\n');
            line = "#".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    page.push_str(&line);
    page.push('\n');
    page
}

fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next();
    // A name like `SO_SNDBUF` keeps its case.
    let is_word = text
        .chars()
        .nth(1)
        .is_none_or(|second| !second.is_uppercase());
    match first {
        Some(first) if is_word => first.to_lowercase().chain(letters).collect(),
        _ => text.to_owned(),
    }
}

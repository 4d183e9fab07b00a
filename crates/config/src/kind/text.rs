//! Texts of several kinds, and booleans.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::Kind;
use crate::given::{Given, Misfit, Place, Value};
use crate::toml_text::quoted;

/// A boolean.
pub(crate) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn placeholder(&self) -> String {
        "true|false".to_owned()
    }

    fn read(&self, given: &Given) -> Result<bool, Vec<Misfit>> {
        match &given.value {
            Value::Bool(value) => Ok(*value),
            Value::Word(word) => match word.as_str() {
                "true" | "yes" | "on" | "1" => Ok(true),
                "false" | "no" | "off" | "0" => Ok(false),
                _ => Err(given.misfit(self.expected())),
            },
            Value::Text(_)
            | Value::Integer(_)
            | Value::List(_)
            | Value::Table(_)
            | Value::Other(_) => Err(given.misfit(self.expected())),
        }
    }

    fn write(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }

    fn is_switch(&self) -> bool {
        true
    }
}

/// The path of a file or directory. In a configuration file it is relative to that file.
pub(crate) struct File;

impl Kind for File {
    type Value = PathBuf;

    fn expected(&self) -> String {
        "a path".to_owned()
    }

    fn placeholder(&self) -> String {
        "PATH".to_owned()
    }

    fn read(&self, given: &Given) -> Result<PathBuf, Vec<Misfit>> {
        let text = given.text().filter(|text| !text.is_empty());
        let path = text.ok_or_else(|| given.misfit(self.expected()))?;
        let Place::File { file, .. } = &given.place else {
            return Ok(path.into());
        };
        let directory = file.path.parent().unwrap_or(Path::new(""));
        // Removes a `./` in the middle.
        Ok(directory.join(path).components().collect())
    }

    fn write(&self, value: &PathBuf) -> Option<String> {
        Some(quoted(&value.display().to_string()))
    }
}

/// One of several words.
pub(crate) struct Choice<T: 'static>(pub(crate) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq + fmt::Debug> Kind for Choice<T> {
    type Value = T;

    fn expected(&self) -> String {
        let words: Vec<String> = self.0.iter().map(|(word, _)| format!("{word:?}")).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => words.concat(),
        }
    }

    fn placeholder(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        words.join("|")
    }

    fn read(&self, given: &Given) -> Result<T, Vec<Misfit>> {
        let mut choices = self.0.iter();
        let chosen = choices.find(|(word, _)| given.text() == Some(word));
        chosen
            .map(|(_, value)| *value)
            .ok_or_else(|| given.misfit(self.expected()))
    }

    fn write(&self, value: &T) -> Option<String> {
        let mut choices = self.0.iter();
        let (word, _) = choices.find(|(_, choice)| choice == value)?;
        Some(quoted(word))
    }
}

/// A pattern over channels' names.
pub(crate) struct NamePattern;

impl Kind for NamePattern {
    type Value = String;

    fn expected(&self) -> String {
        "a pattern over channels' names like \"chat/*\"".to_owned()
    }

    fn placeholder(&self) -> String {
        "PATTERN".to_owned()
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Misfit>> {
        let text = given.text().filter(|text| !text.is_empty());
        let pattern = text.ok_or_else(|| given.misfit(self.expected()))?;
        Ok(pattern.to_owned())
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// The name of an event of Socket.IO, or a pattern over such names.
pub(crate) struct EventPattern;

/// The maximum length of an event's name in bytes, the same as for a method of the backend.
const MAX_EVENT: usize = 200;

impl Kind for EventPattern {
    type Value = String;

    fn expected(&self) -> String {
        "an event's name of at most 200 bytes like \"chat message\", or a pattern like \"game:*\""
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "EVENT".to_owned()
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Misfit>> {
        let is_good = |text: &&str| !text.is_empty() && text.len() <= MAX_EVENT;
        let event = given.text().filter(is_good);
        event
            .map(str::to_owned)
            .ok_or_else(|| given.misfit(self.expected()))
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// What is logged: a level, or levels by module.
pub(crate) struct Levels;

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

impl Kind for Levels {
    type Value = String;

    fn expected(&self) -> String {
        "off, error, warn, info, debug or trace, or levels by module like \
         \"warn,offhook_server=debug\""
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "LEVEL".to_owned()
    }

    fn read(&self, given: &Given) -> Result<String, Vec<Misfit>> {
        let is_level = |word: &str| LEVELS.contains(&word);
        let is_good = |part: &str| match part.split_once('=') {
            Some((module, level)) => !module.trim().is_empty() && is_level(level.trim()),
            None => is_level(part.trim()),
        };
        let text = given.text().filter(|text| text.split(',').all(is_good));
        let text = text.ok_or_else(|| given.misfit(self.expected()))?;
        Ok(text.replace(' ', ""))
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

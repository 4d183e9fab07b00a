//! Kinds of values: how each is parsed, the error if it cannot be, and how it is written.

mod address;
mod amount;
mod network;
mod parsed;
mod text;
mod time;

pub(crate) use address::{Addresses, ListenAddress};
pub use amount::parse_bytes;
pub(crate) use amount::{Bytes, count, some};
pub(crate) use network::{HostName, Origins, Secret, UrlPath};
pub(crate) use parsed::Parsed;
pub(crate) use text::{Choice, EventPattern, File, Levels, NamePattern, Switch};
pub use time::parse_time;
pub(crate) use time::time;

use std::{num::NonZeroUsize, thread};

use super::given::{Given, Misfit, Value};
use super::toml_text::quoted;

/// A kind of value.
pub(crate) trait Kind {
    /// The type in the configuration.
    type Value;

    /// The accepted values, in words: `a whole number`.
    fn expected(&self) -> String;

    /// The accepted values in one word, for short lines: `N`, `TIME`.
    fn placeholder(&self) -> String;

    /// Parses a value, or says why it does not fit.
    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>>;

    /// The value in TOML; none if it must not be shown.
    fn write(&self, value: &Self::Value) -> Option<String>;

    /// The value in TOML as a default, which must not depend on this machine.
    fn write_default(&self, value: &Self::Value) -> Option<String> {
        self.write(value)
    }

    /// Whether a flag without a value enables it.
    fn is_switch(&self) -> bool {
        false
    }

    /// Whether the flag may be given several times.
    fn is_list(&self) -> bool {
        false
    }
}

/// A value, or a word that means none.
pub(crate) struct Or<K>(pub(crate) &'static str, pub(crate) K);

impl<K: Kind> Kind for Or<K> {
    type Value = Option<K::Value>;

    fn expected(&self) -> String {
        format!("{}, or {:?}", self.1.expected(), self.0)
    }

    fn placeholder(&self) -> String {
        format!("{}|{}", self.1.placeholder(), self.0)
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        if given.text() == Some(self.0) {
            return Ok(None);
        }
        self.1.read(given).map(Some)
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        match value {
            Some(value) => self.1.write(value),
            None => Some(quoted(self.0)),
        }
    }
}

/// Any number of values, including none.
pub(crate) struct Many<K>(pub(crate) K);

impl<K: Kind> Kind for Many<K> {
    type Value = Vec<K::Value>;

    fn expected(&self) -> String {
        format!("{}, or a list of them", self.0.expected())
    }

    fn placeholder(&self) -> String {
        self.0.placeholder()
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        let items = match &given.value {
            Value::List(items) => items.as_slice(),
            Value::Word(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Bool(_)
            | Value::Table(_)
            | Value::Other(_) => std::slice::from_ref(given),
        };
        let (mut values, mut misfits) = (Vec::new(), Vec::new());
        for item in items {
            match self.0.read(item) {
                Ok(value) => values.push(value),
                Err(wrong) => misfits.extend(wrong),
            }
        }
        if misfits.is_empty() {
            Ok(values)
        } else {
            Err(misfits)
        }
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        let values: Option<Vec<_>> = value.iter().map(|one| self.0.write(one)).collect();
        Some(format!("[{}]", values?.join(", ")))
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// How many cores to use.
pub(crate) struct Cores;

const ALL_CORES: &str = "auto";

impl Cores {
    pub(crate) fn all() -> NonZeroUsize {
        thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
    }
}

impl Kind for Cores {
    type Value = NonZeroUsize;

    fn expected(&self) -> String {
        format!("a whole number, at least 1, or {ALL_CORES:?} for one per core")
    }

    fn placeholder(&self) -> String {
        format!("N|{ALL_CORES}")
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        if given.text() == Some(ALL_CORES) {
            return Ok(Self::all());
        }
        let number = given.number().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| given.misfit(self.expected()))
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        Some(value.to_string())
    }

    fn write_default(&self, _: &Self::Value) -> Option<String> {
        Some(quoted(ALL_CORES))
    }
}

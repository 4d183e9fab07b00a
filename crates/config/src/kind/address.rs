//! Places to listen at.

use std::path::Path;

use super::Kind;
use crate::given::{Given, Misfit, Place, Value};
use crate::listen::{Listen, Wrong};
use crate::toml_text::quoted;

/// One listener or several.
pub(crate) struct Addresses;

impl Kind for Addresses {
    type Value = Vec<Listen>;

    fn expected(&self) -> String {
        "an address like \"127.0.0.1:8000\", \"[::1]:8000\", \"8000\" (this machine only), \
         \":8000\" (every interface), \"unix:/run/offhook.sock\" or \"systemd:NAME\", with words for this \
         listener after it, or a list of them"
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "ADDR".to_owned()
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        let items = match &given.value {
            Value::List(items) if items.is_empty() => return Err(given.misfit(self.expected())),
            Value::List(items) => items.as_slice(),
            Value::Word(_)
            | Value::Text(_)
            | Value::Integer(_)
            | Value::Bool(_)
            | Value::Table(_)
            | Value::Other(_) => std::slice::from_ref(given),
        };
        let (mut listeners, mut misfits) = (Vec::new(), Vec::new());
        for item in items {
            match listener(item, || self.expected()) {
                Ok(listener) => listeners.push(listener),
                Err(wrong) => misfits.extend(wrong),
            }
        }
        if misfits.is_empty() {
            Ok(listeners)
        } else {
            Err(misfits)
        }
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        let listeners: Vec<_> = value.iter().map(|one| quoted(&one.to_string())).collect();
        Some(format!("[{}]", listeners.join(", ")))
    }

    fn is_list(&self) -> bool {
        true
    }
}

/// One listener, of a list that may be empty.
pub(crate) struct ListenAddress;

impl Kind for ListenAddress {
    type Value = Listen;

    fn expected(&self) -> String {
        "an address like \"127.0.0.1:1883\", \"1883\" (this machine only), \":1883\" (every \
         interface), \"unix:PATH\" or \"systemd:NAME\", with words for this listener after it"
            .to_owned()
    }

    fn placeholder(&self) -> String {
        "ADDR".to_owned()
    }

    fn read(&self, given: &Given) -> Result<Self::Value, Vec<Misfit>> {
        listener(given, || self.expected())
    }

    fn write(&self, value: &Self::Value) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

/// A place, and the words after it.
fn listener(given: &Given, expected: impl Fn() -> String) -> Result<Listen, Vec<Misfit>> {
    let text = given.text().or_else(|| given.number()).unwrap_or_default();
    let listener = Listen::read(text).map_err(|wrong| match wrong {
        Wrong::Place => given.misfit(expected()),
        Wrong::Word(message) => given.complaint(message),
    })?;
    // As all paths: relative to the file that contains it.
    Ok(match &given.place {
        Place::File { file, .. } => listener.within(file.path.parent().unwrap_or(Path::new(""))),
        Place::Default | Place::Variable(_) | Place::Flag(_) => listener,
    })
}

//! Parses TOML into [`Given`]s, and quotes texts for TOML.

use std::{ops::Range, sync::Arc};

use toml::de::{DeTable, DeValue, Error};

use super::given::{Entry, Given, Place, SourceFile, Value};
use super::problem::Problem;

/// Parses a file. All syntax errors are reported at once.
pub(crate) fn read(file: &Arc<SourceFile>) -> Result<Given, Vec<Problem>> {
    let place = |span| Place::File {
        file: Arc::clone(file),
        span,
    };
    let (table, errors) = DeTable::parse_recoverable(&file.text);
    if errors.is_empty() {
        let value = table_of(table.get_ref(), &place);
        let place = place(table.span());
        return Ok(Given { value, place });
    }
    let problem = |error: &Error| {
        let place = place(error.span().unwrap_or_default());
        Problem::new(place, format!("not TOML: {}", error.message()))
    };
    Err(errors.iter().map(problem).collect())
}

/// Parses one value from a variable or a flag.
pub(crate) fn read_value(text: &str, place: &Place) -> Result<Given, String> {
    let value = DeValue::parse(text).map_err(|error| error.message().to_owned())?;
    Ok(given(value.get_ref(), value.span(), &|_| place.clone()))
}

fn given(value: &DeValue<'_>, span: Range<usize>, place: &dyn Fn(Range<usize>) -> Place) -> Given {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => {
            Value::Integer(number.as_str().to_owned())
        }
        DeValue::Integer(_) => Value::Other("a number that is not decimal"),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            let items = items.iter();
            Value::List(
                items
                    .map(|item| given(item.get_ref(), item.span(), place))
                    .collect(),
            )
        }
        DeValue::Table(table) => table_of(table, place),
    };
    let place = place(span);
    Given { value, place }
}

fn table_of(table: &DeTable<'_>, place: &dyn Fn(Range<usize>) -> Place) -> Value {
    let entry = |(key, value): (
        &toml::Spanned<std::borrow::Cow<'_, str>>,
        &toml::Spanned<DeValue<'_>>,
    )| Entry {
        name: key.get_ref().to_string(),
        place: place(key.span()),
        given: given(value.get_ref(), value.span(), place),
    };
    Value::Table(table.iter().map(entry).collect())
}

/// A text quoted for TOML.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

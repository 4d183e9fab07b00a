//! Coerces what clients give, in documents and as variables, to the types of the schema (GraphQL
//! §3 and §6.1.2).

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    schema::{self, Input, Ref, Type, TypeKind},
    syntax::{TypeName, Value},
};
use crate::json::{MAX_NESTING, is_shallow, json};

/// A coerced value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Null,
    Boolean(bool),
    Int(i32),
    /// As JSON.
    Float(String),
    /// Of a string, an id or an enum.
    Text(String),
    /// As JSON.
    Json(String),
    List(Vec<Given>),
    Object(Vec<(&'static str, Given)>),
}

impl Given {
    /// Its approximate size in bytes.
    fn size(&self) -> usize {
        let inside = match self {
            Self::Null | Self::Boolean(_) | Self::Int(_) => 0,
            Self::Float(text) | Self::Text(text) | Self::Json(text) => text.len(),
            Self::List(items) => items.iter().map(Self::size).fold(0, usize::saturating_add),
            Self::Object(fields) => {
                let sizes = fields.iter().map(|(_, field)| field.size());
                sizes.fold(0, usize::saturating_add)
            }
        };
        inside.saturating_add(32)
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            Self::Float(text) | Self::Json(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&json(text)),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (index, (name, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&json(name));
                    out.push(':');
                    field.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

/// The type of a place for a value: in the schema, or in the definition of a variable.
pub(super) trait Kind: std::fmt::Display {
    fn view(&self) -> View<'_, Self>;
}

/// A type, one step deep.
pub(super) enum View<'a, K: ?Sized> {
    Named(&'static Type),
    List(&'a K),
    NonNull(&'a K),
    /// There is no such type, or it is not one of values that clients give.
    Unknown,
}

impl Kind for Ref {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Named(named) => View::Named(named),
            Self::List(of) => View::List(of),
            Self::NonNull(of) => View::NonNull(of),
        }
    }
}

impl Kind for TypeName<'_> {
    fn view(&self) -> View<'_, Self> {
        match self {
            Self::Named(name) => match schema::find(name) {
                Some(named) if named.is_input() => View::Named(named),
                Some(_) | None => View::Unknown,
            },
            Self::List(of) => View::List(of),
            Self::NonNull(of) => View::NonNull(of),
        }
    }
}

impl TypeName<'_> {
    /// Whether there is such a type, and clients can give values of it.
    pub(super) fn is_known(&self) -> bool {
        match self.view() {
            View::Unknown => false,
            View::Named(_) => true,
            View::List(of) | View::NonNull(of) => of.is_known(),
        }
    }
}

/// Whether a variable may be used at a place (GraphQL §5.8.5). `has_default`: the variable has one
/// that is not null; `is_optional`: the place has one.
pub(super) fn fits(
    variable: &TypeName<'_>,
    has_default: bool,
    place: &Ref,
    is_optional: bool,
) -> bool {
    if let (Ref::NonNull(place), TypeName::Named(_) | TypeName::List(_)) = (place, variable) {
        return (has_default || is_optional) && is_compatible(variable, place);
    }
    is_compatible(variable, place)
}

fn is_compatible(variable: &TypeName<'_>, place: &Ref) -> bool {
    match (variable, place) {
        (TypeName::NonNull(variable), Ref::NonNull(place)) => is_compatible(variable, place),
        (TypeName::NonNull(variable), _) => is_compatible(variable, place),
        (TypeName::List(variable), Ref::List(place)) => is_compatible(variable, place),
        (TypeName::Named(variable), Ref::Named(place)) => *variable == place.name,
        (TypeName::List(_) | TypeName::Named(_), _) => false,
    }
}

/// The variables of an operation; none for one that was not given and has no default.
pub(super) type Variables<'d> = HashMap<&'d str, Option<Given>>;

/// What is wrong with a value.
pub(super) type Coerced<T> = Result<T, Cow<'static, str>>;

/// Coerces values.
#[derive(Debug)]
pub(super) struct Coercion<'c, 'd> {
    pub(super) variables: &'c Variables<'d>,
    /// How many more bytes values may have: a variable can be used many times.
    pub(super) room: &'c mut usize,
}

impl Coercion<'_, '_> {
    fn take(&mut self, bytes: usize) -> Coerced<()> {
        let Some(left) = self.room.checked_sub(bytes) else {
            return Err("the values of the document are too large together".into());
        };
        *self.room = left;
        Ok(())
    }

    /// A value in a document; none for a variable that was not given.
    pub(super) fn literal<K: Kind>(
        &mut self,
        kind: &K,
        value: &Value<'_>,
    ) -> Coerced<Option<Given>> {
        if let Value::Variable(name) = value {
            let given = self.variables.get(name).and_then(Option::as_ref);
            return match (given, kind.view()) {
                (None | Some(Given::Null), View::NonNull(_)) => {
                    Err(format!("expected {kind}, and the variable ${name} is null").into())
                }
                (None, _) => Ok(None),
                (Some(given), _) => {
                    self.take(given.size())?;
                    Ok(Some(given.clone()))
                }
            };
        }
        match (kind.view(), value) {
            (View::Unknown, _) => Err(format!("there is no type {kind} of values").into()),
            (View::NonNull(_), Value::Null) => Err(format!("expected {kind}, found null").into()),
            (View::NonNull(of), _) => self.literal(of, value),
            (_, Value::Null) => Ok(Some(Given::Null)),
            (View::List(of), Value::List(items)) => {
                let items = items.iter().map(|item| {
                    let item = self.literal(of, item)?;
                    Ok(item.unwrap_or(Given::Null))
                });
                items
                    .collect::<Coerced<_>>()
                    .map(|items| Some(Given::List(items)))
            }
            (View::List(of), _) => {
                let one = self.literal(of, value)?;
                Ok(one.map(|one| Given::List(vec![one])))
            }
            (View::Named(named), _) => self.named(named, value).map(Some),
        }
    }

    fn named(&mut self, named: &'static Type, value: &Value<'_>) -> Coerced<Given> {
        let given = match (named.name, value) {
            ("JSON", _) => {
                let mut text = String::new();
                self.json(value, &mut text)?;
                if !is_shallow(&text) {
                    return Err(too_deep());
                }
                return Ok(Given::Json(text));
            }
            ("String" | "ID", Value::Text(text)) => Given::Text(text.clone().into_owned()),
            ("ID", Value::Int(text)) => Given::Text((*text).to_owned()),
            ("Int", Value::Int(text)) => match text.parse() {
                Ok(number) => Given::Int(number),
                Err(_) => return Err(format!("{text} is not a whole number of 32 bits").into()),
            },
            ("Float", Value::Int(text) | Value::Float(text)) => Given::Float((*text).to_owned()),
            ("Boolean", Value::Boolean(value)) => Given::Boolean(*value),
            (_, Value::Enum(name)) if named.kind == TypeKind::Enum => {
                Given::Text(enum_value(named, name)?)
            }
            (_, Value::Object(fields)) if named.kind == TypeKind::InputObject => {
                return self.object(named, fields);
            }
            _ => return Err(format!("expected {}", named.name).into()),
        };
        self.take(given.size())?;
        Ok(given)
    }

    fn object(&mut self, named: &'static Type, fields: &[(&str, Value<'_>)]) -> Coerced<Given> {
        for (index, (name, _)) in fields.iter().enumerate() {
            known_field(named, name)?;
            if fields
                .iter()
                .take(index)
                .any(|(earlier, _)| earlier == name)
            {
                return Err(format!("{name} is given twice").into());
            }
        }
        let mut given = Vec::new();
        for input in named.inputs {
            let field = fields.iter().find(|(name, _)| *name == input.name);
            let value = match field {
                Some((_, value)) => self.literal(input.kind, value).map_err(within(input))?,
                None => None,
            };
            given.extend(field_of(input, value)?);
        }
        Ok(Given::Object(given))
    }

    /// Writes a value as JSON.
    fn json(&mut self, value: &Value<'_>, out: &mut String) -> Coerced<()> {
        let before = out.len();
        match value {
            Value::Variable(name) => match self.variables.get(name).and_then(Option::as_ref) {
                Some(given) => {
                    // Escapes make a text at most six times as long.
                    self.take(given.size())?;
                    given.write_json(out);
                }
                None => out.push_str("null"),
            },
            Value::Int(text) | Value::Float(text) => out.push_str(text),
            Value::Text(text) => out.push_str(&json(text)),
            Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
            Value::Null => out.push_str("null"),
            Value::Enum(name) => {
                return Err(format!("{name:?} is not JSON; write text in quotes").into());
            }
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    self.json(item, out)?;
                }
                out.push(']');
            }
            Value::Object(fields) => {
                out.push('{');
                for (index, (name, field)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&json(name));
                    out.push(':');
                    self.json(field, out)?;
                }
                out.push('}');
            }
        }
        match value {
            // What is inside was counted.
            Value::List(_) | Value::Object(_) | Value::Variable(_) => self.take(2),
            Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Enum(_) => self.take(out.len().saturating_sub(before)),
        }
    }
}

fn too_deep() -> Cow<'static, str> {
    format!("the value nests deeper than {MAX_NESTING}").into()
}

fn enum_value(named: &'static Type, name: &str) -> Coerced<String> {
    let known = named.values.iter().any(|value| value.name == name);
    match known {
        true => Ok(name.to_owned()),
        false => Err(format!("{name:?} is not a value of {}", named.name).into()),
    }
}

fn known_field(named: &'static Type, name: &str) -> Coerced<()> {
    if named.inputs.iter().any(|input| input.name == name) {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    let there_are: Vec<_> = named.inputs.iter().map(|input| input.name).collect();
    let there_are = there_are.join(", ");
    Err(format!(
        "{} has no field {shown:?}; there are {there_are}",
        named.name
    )
    .into())
}

fn within(input: &'static Input) -> impl Fn(Cow<'static, str>) -> Cow<'static, str> {
    move |wrong| format!("{}: {wrong}", input.name).into()
}

/// A field of an input object, if it is given.
fn field_of(input: &'static Input, value: Option<Given>) -> Coerced<Option<(&'static str, Given)>> {
    match (value, input.kind) {
        (Some(value), _) => Ok(Some((input.name, value))),
        (None, Ref::NonNull(_)) => Err(format!("{}: is missing", input.name).into()),
        (None, Ref::Named(_) | Ref::List(_)) => Ok(None),
    }
}

/// The value of a variable, as JSON.
pub(super) fn variable<K: Kind>(kind: &K, raw: &RawValue) -> Coerced<Given> {
    let text = raw.get();
    match kind.view() {
        View::Unknown => Err(format!("there is no type {kind} of values").into()),
        View::NonNull(_) if text == "null" => Err(format!("expected {kind}, found null").into()),
        View::NonNull(of) => variable(of, raw),
        View::List(_) | View::Named(_) if text == "null" => Ok(Given::Null),
        View::List(of) if text.starts_with('[') => {
            let items: Vec<&RawValue> = parsed(text, "a list")?;
            let items = items.into_iter().map(|item| variable(of, item));
            items.collect::<Coerced<_>>().map(Given::List)
        }
        View::List(of) => Ok(Given::List(vec![variable(of, raw)?])),
        View::Named(named) => named_variable(named, text),
    }
}

fn named_variable(named: &'static Type, text: &str) -> Coerced<Given> {
    Ok(match named.name {
        "JSON" if is_shallow(text) => Given::Json(text.to_owned()),
        "JSON" => return Err(too_deep()),
        "ID" if text.parse::<i64>().is_ok() => Given::Text(text.to_owned()),
        "String" | "ID" => Given::Text(parsed(text, named.name)?),
        "Boolean" => Given::Boolean(parsed(text, named.name)?),
        "Float" => {
            let _number: f64 = parsed(text, named.name)?;
            Given::Float(text.to_owned())
        }
        "Int" => Given::Int(whole(text)?),
        _ if named.kind == TypeKind::Enum => Given::Text(enum_value(
            named,
            &parsed::<Cow<'_, str>>(text, named.name)?,
        )?),
        _ => {
            let fields: BTreeMap<Cow<'_, str>, &RawValue> = parsed(text, named.name)?;
            for name in fields.keys() {
                known_field(named, name)?;
            }
            let mut given = Vec::new();
            for input in named.inputs {
                let value = fields.get(input.name).map(|raw| variable(input.kind, raw));
                let value = value.transpose().map_err(within(input))?;
                given.extend(field_of(input, value)?);
            }
            Given::Object(given)
        }
    })
}

/// GraphQL §3.5.1: a number such as `1.0` is a whole one.
fn whole(text: &str) -> Coerced<i32> {
    let wrong = || {
        format!(
            "expected Int, a whole number of 32 bits, found {}",
            shown(text)
        )
    };
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let number: f64 = parsed(text, "Int")?;
    if number.fract() != 0.0 {
        return Err(wrong().into());
    }
    format!("{number:.0}").parse().map_err(|_| wrong().into())
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str, expected: &str) -> Coerced<T> {
    serde_json::from_str(text)
        .map_err(|_| format!("expected {expected}, found {}", shown(text)).into())
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

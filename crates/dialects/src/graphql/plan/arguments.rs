//! The arguments of fields and directives, and the variables in them (GraphQL §5.4 and §5.8).

use super::planner::{Planner, cut};
use crate::graphql::{
    input::{Coercion, Given, fits},
    schema::{Input, Ref},
    syntax::{Argument, At, Value},
};

impl<'d> Planner<'_, 'd> {
    /// The values of arguments.
    pub(super) fn inputs(
        &mut self,
        known: &'static [Input],
        arguments: &'d [Argument<'d>],
        at: At,
    ) -> Vec<(&'static str, Given)> {
        for (index, argument) in arguments.iter().enumerate() {
            if self.has_stopped {
                return Vec::new();
            }
            let name = argument.name;
            if !known.iter().any(|input| input.name == name) {
                let there_are: Vec<_> = known.iter().map(|input| input.name).collect();
                let there_are = match &*there_are {
                    [] => "there are none".to_owned(),
                    names => format!("there are {}", names.join(", ")),
                };
                let detail = format!("there is no argument {:?}; {there_are}", cut(name));
                self.fault(argument.at, detail);
            }
            if arguments
                .iter()
                .take(index)
                .any(|earlier| earlier.name == name)
            {
                self.fault(argument.at, format!("the argument {name} is given twice"));
            }
        }
        let mut given = Vec::new();
        for input in known {
            let argument = arguments
                .iter()
                .find(|argument| argument.name == input.name);
            given.extend(self.input(input, argument, at));
        }
        given
    }

    fn input(
        &mut self,
        input: &'static Input,
        argument: Option<&'d Argument<'d>>,
        at: At,
    ) -> Option<(&'static str, Given)> {
        let before = self.faults.len();
        let value = argument.and_then(|argument| {
            let optional = input.default.is_some();
            self.check_variables(Some((input.kind, optional)), &argument.value, argument.at);
            if self.faults.len() > before {
                return None;
            }
            let mut coercion = Coercion {
                variables: self.variables,
                room: &mut self.budget.values,
            };
            match coercion.literal(input.kind, &argument.value) {
                Ok(value) => value,
                // The variables of an operation that is not executed have no values.
                Err(_) if self.lacks_values(&argument.value) => None,
                Err(wrong) => {
                    self.fault(argument.at, format!("{}: {wrong}", input.name));
                    None
                }
            }
        });
        if let Some(value) = value {
            return Some((input.name, value));
        }
        if argument.is_none() && matches!(input.kind, Ref::NonNull(_)) && input.default.is_none() {
            let detail = format!(
                "the argument {} is missing; it is a {}",
                input.name, input.kind
            );
            self.fault(at, detail);
        }
        Some((input.name, default_of(input)?))
    }

    /// Whether a value contains a variable without a value.
    fn lacks_values(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Variable(name) => self.variables.get(name).is_none_or(Option::is_none),
            Value::List(items) => items.iter().any(|item| self.lacks_values(item)),
            Value::Object(fields) => fields.iter().any(|(_, field)| self.lacks_values(field)),
            Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Enum(_) => false,
        }
    }

    /// Checks the variables in a value (GraphQL §5.8). Without a place, such as within JSON, any
    /// type will do.
    fn check_variables(
        &mut self,
        place: Option<(&'static Ref, bool)>,
        value: &'d Value<'d>,
        at: At,
    ) {
        match value {
            Value::Variable(name) => self.check_variable(place, name, at),
            Value::List(items) => {
                let inner = place.and_then(|(place, _)| items_of(place));
                for item in items {
                    self.check_variables(inner.map(|inner| (inner, false)), item, at);
                }
            }
            Value::Object(fields) => {
                let inputs = place.map_or(&[][..], |(place, _)| place.named().inputs);
                for (name, field) in fields {
                    let input = inputs.iter().find(|input| input.name == *name);
                    let place = input.map(|input| (input.kind, input.default.is_some()));
                    self.check_variables(place, field, at);
                }
            }
            Value::Int(_)
            | Value::Float(_)
            | Value::Text(_)
            | Value::Boolean(_)
            | Value::Null
            | Value::Enum(_) => {}
        }
    }

    fn check_variable(&mut self, place: Option<(&'static Ref, bool)>, name: &'d str, at: At) {
        let Some(definition) = self.definitions.get(name).copied() else {
            let detail = format!("variable ${}: it is not defined", cut(name));
            return self.fault(at, detail);
        };
        self.used.insert(name);
        let Some((place, optional)) = place else {
            return;
        };
        let has_default = definition
            .default
            .as_ref()
            .is_some_and(|value| *value != Value::Null);
        if !fits(&definition.kind, has_default, place, optional) {
            let kind = &definition.kind;
            let detail = format!("variable ${name}: it is a {kind}, and a {place} is needed here");
            self.fault(at, detail);
        }
    }
}

/// The type of a list's items.
fn items_of(place: &'static Ref) -> Option<&'static Ref> {
    match place {
        Ref::Named(_) => None,
        Ref::List(of) => Some(of),
        Ref::NonNull(of) => items_of(of),
    }
}

/// Defaults in the schema are numbers, texts without escapes, and truth values.
fn default_of(input: &'static Input) -> Option<Given> {
    let default = input.default?;
    Some(match default {
        "true" => Given::Boolean(true),
        "false" => Given::Boolean(false),
        _ => match default.parse() {
            Ok(number) => Given::Int(number),
            Err(_) => Given::Text(default.trim_matches('"').to_owned()),
        },
    })
}

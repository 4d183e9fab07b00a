//! From a document to what is to be done: validation (GraphQL §5), and the fields of the answer.
//!
//! There are neither interfaces nor unions, so that a fragment either is of the type that it is used
//! on or is wrong, and fields with the same name in the answer can always be compared: one walk
//! validates a document, merges its fields, and applies `@skip` and `@include`.

mod arguments;
mod checks;
mod planner;

use std::collections::HashSet;

use super::{
    Settings,
    failure::Failure,
    input::{self, Coercion, Given, Variables},
    request::Request,
    schema::{self, Field},
    syntax::{self, At, Document, Fault, Kind, Operation, Spot},
};
use planner::Planner;

/// The most bytes of the values in a document together, after variables were inserted. 1 MiB: some
/// publications of the largest size.
const MAX_VALUES: usize = 1024 * 1024;

/// The most selections that are looked at, for each field that the settings allow. 8: a field may come
/// with some uses of fragments, of which most repeat fields that are there already.
const SELECTIONS_PER_FIELD: usize = 8;

/// The most bytes of the names of an answer's fields. 16 KiB: they are kept with each subscription.
const MAX_KEYS: usize = 16 * 1024;

/// The most errors of one answer.
const MAX_FAILURES: usize = 16;

/// The most fields of one operation that need a command. 16: their results are kept until the last
/// is complete, and each may be a page of history.
const MAX_COMMANDS: usize = 16;

/// A field of an answer.
#[derive(Debug)]
pub(super) struct Plan {
    /// Its name in the answer.
    pub(super) key: Box<str>,
    pub(super) field: &'static Field,
    /// The arguments that are given or have a default.
    pub(super) inputs: Box<[(&'static str, Given)]>,
    /// The fields of its value, if it is an object.
    pub(super) parts: Box<[Plan]>,
    /// Where it is in the document, as an offset.
    at: At,
    /// The same as a line and a column; only of a field whose command may fail.
    pub(super) spot: Option<Spot>,
}

impl Plan {
    /// An argument; none if it is null.
    pub(super) fn input(&self, name: &str) -> Option<&Given> {
        let found = self.inputs.iter().find(|(input, _)| *input == name);
        found
            .map(|(_, given)| given)
            .filter(|given| **given != Given::Null)
    }

    /// An argument that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.input(name) {
            Some(Given::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn int(&self, name: &str) -> Option<i32> {
        match self.input(name) {
            Some(Given::Int(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn json(&self, name: &str) -> Option<&str> {
        match self.input(name) {
            Some(Given::Json(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it needs nothing of the channels.
    pub(super) fn is_meta(&self) -> bool {
        self.field.name.starts_with("__")
    }
}

/// An operation that can be executed.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) kind: Kind,
    pub(super) fields: Vec<Plan>,
}

/// Parses and validates a request.
pub(super) fn prepare(
    request: &Request<'_>,
    settings: &Settings,
) -> Result<Prepared, Vec<Failure>> {
    let text = &*request.query;
    let failed = |fault| Failure::of(fault, text);
    let document = syntax::parse(text, settings.aliases).map_err(|fault| vec![failed(fault)])?;
    let mut faults = checks::check(&document);
    if !faults.is_empty() {
        faults.truncate(MAX_FAILURES);
        return Err(faults.into_iter().map(failed).collect());
    }
    let chosen = chosen(&document, request.operation.as_deref()).map_err(|one| vec![one])?;
    let mut budget = Budget {
        fields: settings.fields,
        selections: most_selections(settings),
        keys: MAX_KEYS,
        values: MAX_VALUES,
    };
    let mut reached = HashSet::new();
    let mut prepared = Err(Vec::new());
    for operation in &document.operations {
        let is_chosen = std::ptr::eq(operation, chosen);
        // The variables given are those of the operation that is executed.
        let given = is_chosen.then_some(request);
        let (variables, wrong) = variables(operation, given, &mut budget);
        let mut planner = Planner::new(&document, operation, &variables, settings, &mut budget);
        planner.faults.extend(wrong);
        let fields = planner.plan();
        reached.extend(planner.reached);
        faults.extend(planner.faults);
        if is_chosen {
            let kind = operation.kind;
            prepared = Ok(Prepared { kind, fields });
        }
    }
    if faults.is_empty() {
        faults = checks::unused(&document, &reached);
    }
    if !faults.is_empty() {
        faults.truncate(MAX_FAILURES);
        return Err(faults.into_iter().map(failed).collect());
    }
    let mut prepared = prepared?;
    within_limits(&prepared).map_err(|one| vec![one])?;
    for field in prepared.fields.iter_mut().filter(|field| !field.is_meta()) {
        field.spot = Some(Spot::of(text, field.at));
    }
    Ok(prepared)
}

/// What all operations of a document may use together.
#[derive(Debug)]
struct Budget {
    fields: usize,
    /// Fields, spreads and inline fragments that are looked at.
    selections: usize,
    keys: usize,
    values: usize,
}

fn most_selections(settings: &Settings) -> usize {
    settings.fields.saturating_mul(SELECTIONS_PER_FIELD)
}

fn within_limits(prepared: &Prepared) -> Result<(), Failure> {
    let commands = prepared.fields.iter().filter(|field| !field.is_meta());
    let commands = commands.count();
    if commands > MAX_COMMANDS {
        let detail = format!(
            "the operation asks for {commands} fields of {}; the limit is {MAX_COMMANDS}",
            schema::root(prepared.kind).name
        );
        return Err(Failure::too_large(detail));
    }
    Ok(())
}

/// GraphQL §6.1, `GetOperation`.
fn chosen<'d, 'a>(
    document: &'d Document<'a>,
    name: Option<&str>,
) -> Result<&'d Operation<'a>, Failure> {
    let mut operations = document.operations.iter();
    let Some(name) = name else {
        return match (operations.next(), operations.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Failure::bad("the document has no operation")),
            (Some(_), Some(_)) => Err(Failure::bad(
                "the document has several operations; choose one with operationName",
            )),
        };
    };
    operations
        .find(|operation| operation.name == Some(name))
        .ok_or_else(|| {
            let shown: String = name.chars().take(40).collect();
            Failure::bad(format!("the document has no operation named {shown:?}"))
        })
}

/// The values of an operation's variables. Without a request, the values do not matter, only the
/// definitions.
fn variables<'d>(
    operation: &'d Operation<'d>,
    request: Option<&Request<'_>>,
    budget: &mut Budget,
) -> (Variables<'d>, Vec<Fault>) {
    let mut variables = Variables::new();
    let mut faults = Vec::new();
    let none = Variables::new();
    for definition in &operation.variables {
        let raw = request.and_then(|request| request.variables.get(definition.name));
        let at = definition.at;
        let fault = |wrong| Fault::new(at, format!("variable ${}: {wrong}", definition.name));
        let default = definition.default.as_ref().map(|default| {
            let mut coercion = Coercion {
                variables: &none,
                room: &mut budget.values,
            };
            coercion.literal(&definition.kind, default)
        });
        let value = match (raw, default) {
            (Some(raw), _) => input::variable(&definition.kind, raw).map(Some),
            (None, Some(default)) => default,
            (None, None) if request.is_none() => Ok(None),
            (None, None) => match definition.kind {
                syntax::TypeName::NonNull(_) => Err("is missing".into()),
                syntax::TypeName::Named(_) | syntax::TypeName::List(_) => Ok(None),
            },
        };
        let value = match definition.kind.is_known() {
            true => value,
            false => {
                let kind = &definition.kind;
                Err(format!("there is no type {kind} of values").into())
            }
        };
        let value = value.unwrap_or_else(|wrong| {
            faults.push(fault(wrong));
            None
        });
        if variables.insert(definition.name, value).is_some() {
            let detail = format!("variable ${}: is defined twice", definition.name);
            faults.push(Fault::new(at, detail));
        }
    }
    (variables, faults)
}

//! The walk through an operation.

use std::collections::{HashMap, HashSet};

use super::{Budget, MAX_FAILURES, Plan};
use crate::graphql::{
    Settings,
    input::{Given, Variables},
    schema::{self, Type, TypeKind},
    syntax::{
        Argument, At, Definition, Directive, Document, Fault, Field, Kind, Operation, Selection,
    },
};

/// The deepest nesting of fragments in each other, within one selection.
const MAX_FRAGMENTS: usize = 128;

/// The deepest nesting of fields, whatever the settings say.
const MAX_DEPTH: usize = 64;

pub(super) struct Planner<'p, 'd> {
    document: &'d Document<'d>,
    operation: &'d Operation<'d>,
    pub(super) definitions: HashMap<&'d str, &'d Definition<'d>>,
    pub(super) variables: &'p Variables<'d>,
    settings: &'p Settings,
    pub(super) budget: &'p mut Budget,
    pub(super) used: HashSet<&'d str>,
    /// The fragments that were used.
    pub(super) reached: HashSet<&'d str>,
    pub(super) faults: Vec<Fault>,
    /// A limit was exceeded: nothing more is looked at.
    pub(super) has_stopped: bool,
}

/// Selections that are merged, and whether `@skip` and `@include` let them be.
type Sets<'d> = Vec<(&'d [Selection<'d>], bool)>;

/// The fields with one name in the answer.
struct Entry<'d> {
    uses: Vec<(&'d Field<'d>, bool)>,
    /// When the first of them that is included was met.
    place: Option<usize>,
}

/// The fields of a selection, by their names in the answer.
#[derive(Default)]
struct Collected<'d> {
    entries: Vec<Entry<'d>>,
    by_key: HashMap<&'d str, usize>,
    /// The fragments that were looked at, and whether they were included.
    visited: HashMap<&'d str, bool>,
    met: usize,
}

impl<'p, 'd> Planner<'p, 'd> {
    pub(super) fn new(
        document: &'d Document<'d>,
        operation: &'d Operation<'d>,
        variables: &'p Variables<'d>,
        settings: &'p Settings,
        budget: &'p mut Budget,
    ) -> Self {
        let definitions = operation.variables.iter();
        Self {
            document,
            operation,
            definitions: definitions.map(|one| (one.name, one)).collect(),
            variables,
            settings,
            budget,
            used: HashSet::new(),
            reached: HashSet::new(),
            faults: Vec::new(),
            has_stopped: false,
        }
    }

    /// The fields of the answer.
    pub(super) fn plan(&mut self) -> Vec<Plan> {
        let operation = self.operation;
        let root = schema::root(operation.kind);
        let fields = self.select(root, vec![(&*operation.selections, true)], 1);
        if operation.kind == Kind::Subscription && self.faults.is_empty() {
            self.check_subscription(&fields);
        }
        if self.faults.is_empty() {
            for definition in &operation.variables {
                if !self.used.contains(definition.name) {
                    let detail = format!("variable ${}: it is not used", definition.name);
                    self.fault(definition.at, detail);
                }
            }
        }
        fields
    }

    /// GraphQL §5.2.4.1.
    fn check_subscription(&mut self, fields: &[Plan]) {
        match fields {
            [one] if !one.is_meta() => self.check_repeated(one),
            [_] => self.fault(
                self.operation.at,
                "a subscription needs a field that is not __typename",
            ),
            _ => self.fault(
                self.operation.at,
                "a subscription has exactly one field; send several subscriptions",
            ),
        }
    }

    /// Each publication is written for each subscription whether its client reads or not. With aliases,
    /// its data could be in a message many times.
    fn check_repeated(&mut self, plan: &Plan) {
        for (index, part) in plan.parts.iter().enumerate() {
            let mut earlier = plan.parts.iter().take(index);
            let earlier = earlier.find(|earlier| earlier.field.name == part.field.name);
            if let Some(earlier) = earlier {
                let name = part.field.name;
                let (one, other) = (cut(&earlier.key), cut(&part.key));
                let detail = format!(
                    "a subscription chooses each field once; {name} is chosen as {one:?} and as {other:?}"
                );
                return self.fault(part.at, detail);
            }
            self.check_repeated(part);
        }
    }

    pub(super) fn fault(&mut self, at: At, message: impl Into<std::borrow::Cow<'static, str>>) {
        self.faults.push(Fault::new(at, message));
        self.has_stopped |= self.faults.len() >= MAX_FAILURES;
    }

    /// Ends the walk: what follows may be without end.
    fn stop(&mut self, at: At, detail: String) {
        self.fault(at, detail);
        self.has_stopped = true;
    }

    /// Merges selections on a type.
    fn select(&mut self, on: &'static Type, sets: Sets<'d>, depth: usize) -> Vec<Plan> {
        let mut collected = Collected::default();
        for (selections, included) in sets {
            self.collect(on, selections, included, 0, &mut collected);
        }
        let mut plans = Vec::new();
        for entry in collected.entries {
            if self.has_stopped {
                break;
            }
            let place = entry.place;
            let plan = self.entry(on, &entry, depth);
            plans.extend(place.zip(plan));
        }
        // GraphQL §6.3.2: in the order in which included fields are met.
        plans.sort_by_key(|(place, _)| *place);
        plans.into_iter().map(|(_, plan)| plan).collect()
    }

    fn collect(
        &mut self,
        on: &'static Type,
        selections: &'d [Selection<'d>],
        included: bool,
        nesting: usize,
        into: &mut Collected<'d>,
    ) {
        for selection in selections {
            if self.has_stopped || !self.look_at(selection) {
                return;
            }
            match selection {
                Selection::Field(field) => {
                    let included = self.includes(&field.directives, included);
                    self.count(field);
                    into.add(field, included);
                }
                Selection::Inline {
                    at,
                    on: condition,
                    directives,
                    selections,
                } => {
                    let included = self.includes(directives, included);
                    if condition.is_none_or(|name| self.applies(on, name, *at)) {
                        self.collect_within(on, selections, included, (nesting, *at), into);
                    }
                }
                Selection::Spread {
                    at,
                    name,
                    directives,
                } => {
                    let included = self.includes(directives, included);
                    let Some(fragment) = self.document.fragments.get(name) else {
                        self.fault(*at, format!("there is no fragment {name:?}"));
                        continue;
                    };
                    self.reached.insert(name);
                    let known = into.visited.get(name);
                    if known.is_some_and(|known| *known || !included) {
                        continue;
                    }
                    into.visited.insert(name, included);
                    if self.applies(on, fragment.on, *at) {
                        let selections = &fragment.selections;
                        self.collect_within(on, selections, included, (nesting, *at), into);
                    }
                }
            }
        }
    }

    /// Counts a selection that is looked at. A spread costs time even if its fragment was looked at
    /// before, and a fragment is looked at again in every selection that uses it. Returns whether
    /// the limit allows it.
    fn look_at(&mut self, selection: &Selection<'_>) -> bool {
        if let Some(left) = self.budget.selections.checked_sub(1) {
            self.budget.selections = left;
            return true;
        }
        let at = match selection {
            Selection::Field(field) => field.at,
            Selection::Inline { at, .. } | Selection::Spread { at, .. } => *at,
        };
        let limit = super::most_selections(self.settings);
        let detail = format!(
            "the document has more than {limit} fields and fragments to look at, counting those of a fragment \
             wherever it is used"
        );
        self.stop(at, detail);
        false
    }

    fn collect_within(
        &mut self,
        on: &'static Type,
        selections: &'d [Selection<'d>],
        included: bool,
        (nesting, at): (usize, At),
        into: &mut Collected<'d>,
    ) {
        if nesting >= MAX_FRAGMENTS {
            let detail = format!("fragments nest deeper than {MAX_FRAGMENTS}");
            return self.stop(at, detail);
        }
        self.collect(on, selections, included, nesting.saturating_add(1), into);
    }

    /// Whether a fragment of the type with this name can be used on a type (GraphQL §5.5.2.3). There
    /// are only objects.
    fn applies(&mut self, on: &'static Type, name: &str, at: At) -> bool {
        if on.name == name {
            return true;
        }
        let detail = match schema::find(name) {
            Some(_) => format!("a fragment on {name} can never apply to {}", on.name),
            None => format!("there is no type {:?}", cut(name)),
        };
        self.fault(at, detail);
        false
    }

    fn count(&mut self, field: &Field<'_>) {
        let Some(left) = self.budget.fields.checked_sub(1) else {
            let limit = self.settings.fields;
            let detail = format!(
                "the document asks for more than {limit} fields, counting those of a fragment wherever it is used"
            );
            return self.stop(field.at, detail);
        };
        self.budget.fields = left;
        let Some(left) = self.budget.keys.checked_sub(field.key().len()) else {
            let limit = super::MAX_KEYS;
            let detail = format!("the names of the answer's fields have more than {limit} bytes");
            return self.stop(field.at, detail);
        };
        self.budget.keys = left;
    }

    /// Whether the directives of a field or fragment include it.
    fn includes(&mut self, directives: &'d [Directive<'d>], outer: bool) -> bool {
        let mut included = outer;
        for (index, directive) in directives.iter().enumerate() {
            if self.has_stopped {
                break;
            }
            let known = schema::DIRECTIVES
                .iter()
                .find(|one| one.name == directive.name);
            let Some(known) = known else {
                let detail = format!("there is no directive @{}", cut(directive.name));
                self.fault(directive.at, detail);
                continue;
            };
            if !known.locations.contains(&"FIELD") {
                let detail = format!("@{} cannot be given here", known.name);
                self.fault(directive.at, detail);
                continue;
            }
            let mut earlier = directives.iter().take(index);
            if earlier.any(|earlier| earlier.name == directive.name) {
                let detail = format!("@{} is given twice", known.name);
                self.fault(directive.at, detail);
            }
            let given = self.inputs(known.inputs, &directive.arguments, directive.at);
            if let Some((_, Given::Boolean(condition))) = given.first() {
                included &= *condition == (known.name == "include");
            }
        }
        included
    }

    /// Merges the fields with one name in the answer; none if the field is not there.
    fn entry(&mut self, on: &'static Type, entry: &Entry<'d>, depth: usize) -> Option<Plan> {
        let (first, _) = *entry.uses.first()?;
        let field = self.field(on, first)?;
        for (other, _) in entry.uses.iter().skip(1) {
            if other.name != first.name || !same_arguments(&other.arguments, &first.arguments) {
                let key = cut(first.key());
                let detail = format!(
                    "{key:?} would be two different fields of the answer; give one of them an alias"
                );
                self.fault(other.at, detail);
                return None;
            }
        }
        let inputs = self.inputs(field.inputs, &first.arguments, first.at);
        let sets = entry.uses.iter();
        let sets = sets.map(|(field, included)| (&*field.selections, *included));
        let parts = self.parts(field.kind.named(), first, sets.collect(), depth);
        Some(Plan {
            key: first.key().into(),
            field,
            inputs: inputs.into(),
            parts: parts.into(),
            at: first.at,
            spot: None,
        })
    }

    fn field(&mut self, on: &'static Type, field: &Field<'_>) -> Option<&'static schema::Field> {
        if field.name == schema::TYPE_NAME.name {
            return Some(&schema::TYPE_NAME);
        }
        let meta = schema::META.iter().find(|meta| meta.name == field.name);
        if let Some(meta) = meta.filter(|_| on.name == schema::root(Kind::Query).name) {
            if !self.settings.introspection {
                let detail = "this server does not show its schema (graphql.introspection)";
                self.fault(field.at, detail);
                return None;
            }
            return Some(meta);
        }
        let found = on.field(field.name);
        if found.is_none() {
            let there_are: Vec<_> = on.fields.iter().map(|field| field.name).collect();
            let there_are = there_are.join(", ");
            let name = cut(field.name);
            let detail = format!("{} has no field {name:?}; there are {there_are}", on.name);
            self.fault(field.at, detail);
        }
        found
    }

    /// The fields of a field's value.
    fn parts(
        &mut self,
        of: &'static Type,
        field: &'d Field<'d>,
        sets: Sets<'d>,
        depth: usize,
    ) -> Vec<Plan> {
        let is_object = of.kind == TypeKind::Object;
        let without = sets.iter().any(|(selections, _)| selections.is_empty());
        let (name, at) = (field.name, field.at);
        if is_object && without {
            let detail = format!("{name}: is a {}; choose fields of it in braces", of.name);
            self.fault(at, detail);
            return Vec::new();
        }
        if !is_object {
            if sets.iter().any(|(selections, _)| !selections.is_empty()) {
                let detail = format!("{name}: is a {}, which has no fields", of.name);
                self.fault(at, detail);
            }
            return Vec::new();
        }
        let deepest = self.settings.depth.min(MAX_DEPTH);
        if depth >= deepest {
            self.stop(at, format!("the fields nest deeper than {deepest}"));
            return Vec::new();
        }
        self.select(of, sets, depth.saturating_add(1))
    }
}

impl<'d> Collected<'d> {
    fn add(&mut self, field: &'d Field<'d>, included: bool) {
        self.met = self.met.saturating_add(1);
        let count = self.entries.len();
        let index = *self.by_key.entry(field.key()).or_insert(count);
        if index == count {
            self.entries.push(Entry {
                uses: Vec::new(),
                place: None,
            });
        }
        if let Some(entry) = self.entries.get_mut(index) {
            entry.uses.push((field, included));
            if included && entry.place.is_none() {
                entry.place = Some(self.met);
            }
        }
    }
}

fn same_arguments(some: &[Argument<'_>], others: &[Argument<'_>]) -> bool {
    let same = |one: &Argument<'_>| {
        let other = others.iter().find(|other| other.name == one.name);
        other.is_some_and(|other| other.value == one.value)
    };
    some.len() == others.len() && some.iter().all(same)
}

/// A name from outside in an error.
pub(super) fn cut(name: &str) -> String {
    name.chars().take(40).collect()
}

//! What is checked of a document as a whole: names, types and cycles of fragments, and names of
//! operations (GraphQL §5.2 and §5.5).

use std::collections::{HashMap, HashSet};

use crate::graphql::{
    schema::{self, TypeKind},
    syntax::{Directive, Document, Fault, Selection},
};

/// What is wrong with a document.
pub(super) fn check(document: &Document<'_>) -> Vec<Fault> {
    let mut faults = operations(document);
    faults.extend(fragments(document));
    faults
}

fn operations(document: &Document<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    for operation in &document.operations {
        match operation.name {
            Some(name) if !names.insert(name) => {
                let detail = format!("the document has two operations named {name:?}");
                faults.push(Fault::new(operation.at, detail));
            }
            None if document.operations.len() > 1 => {
                let detail = "an operation without a name must be the only one of its document";
                faults.push(Fault::new(operation.at, detail));
            }
            Some(_) | None => {}
        }
        faults.extend(misplaced(&operation.directives, "an operation"));
        for variable in &operation.variables {
            faults.extend(misplaced(&variable.directives, "a variable"));
        }
    }
    faults
}

/// No directive of the schema can be given at these places.
fn misplaced(directives: &[Directive<'_>], place: &str) -> Option<Fault> {
    let first = directives.first()?;
    let detail = format!("@{} cannot be given to {place}", first.name);
    Some(Fault::new(first.at, detail))
}

fn fragments(document: &Document<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, fragment) in &document.fragments {
        let on = schema::find(fragment.on);
        if on.is_none_or(|on| on.kind != TypeKind::Object) {
            let detail = format!("fragment {name}: there is no object type {:?}", fragment.on);
            faults.push(Fault::new(fragment.at, detail));
        }
        faults.extend(misplaced(
            &fragment.directives,
            "the definition of a fragment",
        ));
    }
    faults.extend(cycle(document));
    // They are in no order until here.
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// A fragment that uses itself (GraphQL §5.5.2.2). Repeatedly sets aside the fragments that use
/// only those that were set aside; what remains is in a cycle, or uses one.
fn cycle(document: &Document<'_>) -> Option<Fault> {
    let mut left: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, fragment) in &document.fragments {
        let mut used = Vec::new();
        spreads(&fragment.selections, &mut used);
        // Unknown ones are reported where they are used.
        used.retain(|name| document.fragments.contains_key(name));
        used.sort_unstable();
        used.dedup();
        left.insert(name, used);
    }
    loop {
        let names: HashSet<&str> = left.keys().copied().collect();
        left.retain(|_, used| used.iter().any(|name| names.contains(name)));
        if left.len() == names.len() {
            break;
        }
    }
    let name = left.keys().min()?;
    let at = document.fragments.get(name)?.at;
    let detail = format!("fragment {name}: it uses itself, or fragments that do");
    Some(Fault::new(at, detail))
}

fn spreads<'d>(selections: &[Selection<'d>], used: &mut Vec<&'d str>) {
    for selection in selections {
        match selection {
            Selection::Field(field) => spreads(&field.selections, used),
            Selection::Inline { selections, .. } => spreads(selections, used),
            Selection::Spread { name, .. } => used.push(name),
        }
    }
}

/// Fragments that no operation uses (GraphQL §5.5.1.4).
pub(super) fn unused(document: &Document<'_>, reached: &HashSet<&str>) -> Vec<Fault> {
    let mut faults: Vec<_> = document
        .fragments
        .iter()
        .filter(|(name, _)| !reached.contains(*name))
        .map(|(name, fragment)| Fault::new(fragment.at, format!("fragment {name}: it is not used")))
        .collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

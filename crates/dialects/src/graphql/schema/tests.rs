//! Tests of the schema.

use std::fmt::Write;

use super::*;

fn written_inputs(inputs: &[Input]) -> Vec<String> {
    let inputs = inputs.iter().map(|input| match input.default {
        Some(default) => format!("{}: {} = {default}", input.name, input.kind),
        None => format!("{}: {}", input.name, input.kind),
    });
    inputs.collect()
}

/// The schema in GraphQL's own language, without descriptions.
fn written() -> String {
    let mut text = String::new();
    let own = |name: &str| {
        !name.starts_with("__") && !["String", "Boolean", "Int", "Float", "ID"].contains(&name)
    };
    for one in TYPES.iter().filter(|one| own(one.name)) {
        let (word, lines): (_, Vec<String>) = match one.kind {
            TypeKind::Scalar => {
                writeln!(text, "scalar {}\n", one.name).unwrap();
                continue;
            }
            TypeKind::Object => ("type", {
                let fields = one.fields.iter().map(|field| {
                    let inputs = written_inputs(field.inputs).join(", ");
                    let inputs = match field.inputs {
                        [] => String::new(),
                        _ => format!("({inputs})"),
                    };
                    format!("{}{inputs}: {}", field.name, field.kind)
                });
                fields.collect()
            }),
            TypeKind::Enum => (
                "enum",
                one.values
                    .iter()
                    .map(|value| value.name.to_owned())
                    .collect(),
            ),
            TypeKind::InputObject => ("input", written_inputs(one.inputs)),
        };
        writeln!(text, "{word} {} {{", one.name).unwrap();
        for line in lines {
            writeln!(text, "  {line}").unwrap();
        }
        text.push_str("}\n\n");
    }
    text.trim_end().to_owned()
}

#[test]
fn the_schema_of_the_documentation_is_that_of_the_server() {
    let page = include_str!("../../../../../docs/dialects/graphql.md");
    let (_, page) = page.split_once("```graphql\n").expect("a schema");
    let (shown, _) = page.split_once("\n```").expect("its end");
    let schema = written();
    assert!(shown == schema, "the documentation should have:\n{schema}");
}

#[test]
fn every_type_that_is_used_is_listed_once() {
    let mut names: Vec<_> = TYPES.iter().map(|one| one.name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    for one in TYPES {
        let fields = one.fields.iter().map(|field| field.kind);
        let inputs = one.fields.iter().flat_map(|field| field.inputs);
        let inputs = inputs.chain(one.inputs).map(|input| input.kind);
        for used in fields.chain(inputs) {
            assert!(names.contains(&used.named().name), "{used}");
        }
    }
}

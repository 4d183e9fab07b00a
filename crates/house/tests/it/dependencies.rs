//! DEPENDENCIES.md and the manifests name the same crates.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::expect_none;
use super::workspace::{files, parse, text};

const SECTIONS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

#[test]
fn every_dependency_has_its_line_in_dependencies_md_and_no_line_is_left_over() {
    expect_none(&differences(&used(), &listed(&text("DEPENDENCIES.md"))));
}

#[test]
fn every_workspace_dependency_is_used_by_a_crate() {
    let used = used();
    let root = parse("Cargo.toml");
    let shared = root["workspace"]["dependencies"]
        .as_table()
        .expect("a table")
        .iter();
    let outside = shared.filter(|(_, entry)| entry.get("path").is_none());
    let unused = outside.filter(|(key, entry)| !used.contains(name(key, entry)));
    let complaint =
        |(key, _)| format!("Cargo.toml: [workspace.dependencies] {key}: no crate uses it");
    expect_none(&unused.map(complaint).collect::<Vec<_>>());
}

#[test]
fn a_crate_without_a_line_a_line_without_a_crate_and_a_line_twice_are_reported() {
    let used = ["bytes".to_owned(), "tokio".to_owned()].into();
    let lines = listed("| `bytes` | why |\n| `bytes` | again |\n| `gone` | why |\nnot `a` line\n");
    let complaints = differences(&used, &lines);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
}

#[test]
fn dependencies_of_every_kind_and_renamed_ones_are_found() {
    let manifest: Table = "[dependencies]\na = \"1\"\n[dev-dependencies]\nb = \"1\"\n\
        [target.'cfg(unix)'.build-dependencies]\nc = { package = \"real\", version = \"1\" }\n\
        [dependencies.inside]\npath = \"../inside\"\n"
        .parse()
        .expect("TOML");
    assert_eq!(outside(&manifest, &Table::new()), ["a", "b", "real"]);
}

fn differences(used: &BTreeSet<String>, listed: &[String]) -> Vec<String> {
    let missing = used.iter().filter(|name| !listed.contains(name));
    let mut complaints: Vec<String> = missing
        .map(|name| format!("DEPENDENCIES.md: a line for `{name}` is missing: why it is here"))
        .collect();
    for (position, name) in listed.iter().enumerate() {
        if !used.contains(name) {
            complaints.push(format!(
                "DEPENDENCIES.md: `{name}`: no manifest names it any more"
            ));
        }
        if listed.iter().position(|other| other == name) != Some(position) {
            complaints.push(format!("DEPENDENCIES.md: `{name}` has two lines"));
        }
    }
    complaints
}

/// The names in the first column of the tables.
fn listed(page: &str) -> Vec<String> {
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

/// The external dependencies in the manifests. Those of bench/ are excluded: they are the peers
/// measured against, and the benchmark's own page covers them.
fn used() -> BTreeSet<String> {
    let root = parse("Cargo.toml");
    let shared = root["workspace"]["dependencies"]
        .as_table()
        .expect("a table");
    let manifests = files().into_iter().filter(|name| is_held(name));
    manifests
        .flat_map(|manifest| outside(&parse(manifest), shared))
        .collect()
}

fn is_held(name: &str) -> bool {
    name.ends_with("Cargo.toml") && !name.starts_with("bench/")
}

fn outside(manifest: &Table, shared: &Table) -> Vec<String> {
    let targets = manifest
        .get("target")
        .and_then(Value::as_table)
        .into_iter()
        .flatten();
    let tables = targets
        .filter_map(|(_, target)| target.as_table())
        .chain([manifest]);
    let sections = tables.flat_map(|table| SECTIONS.iter().filter_map(|key| table.get(*key)));
    let mut names: Vec<String> = sections
        .filter_map(Value::as_table)
        .flatten()
        .map(|(key, entry)| match shared.get(key) {
            Some(inherited) if entry.get("workspace").is_some() => (key, inherited),
            _ => (key, entry),
        })
        .filter(|(_, entry)| entry.get("path").is_none())
        .map(|(key, entry)| name(key, entry).to_owned())
        .collect();
    names.sort();
    names
}

/// The crate's own name, if the manifest renames it.
fn name<'a>(key: &'a str, entry: &'a Value) -> &'a str {
    entry.get("package").and_then(Value::as_str).unwrap_or(key)
}

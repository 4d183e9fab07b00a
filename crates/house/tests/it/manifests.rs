//! What every manifest and every `clippy.toml` must share with the root's.

use toml::{Table, Value};

use super::expect_none;
use super::workspace::{WORKSPACE, files, parse, root, text};

/// Keys that a member takes from `[workspace.package]`.
const INHERITED: &[&str] = &["authors", "edition", "license", "rust-version", "version"];

#[test]
fn every_crate_inherits_the_workspace_lints_edition_licence_and_version() {
    let mut complaints = Vec::new();
    for package in WORKSPACE.members() {
        let path = package
            .manifest
            .strip_prefix(root())
            .expect("a member is below the root");
        complaints.extend(uninherited(&path.display().to_string(), &parse(path)));
    }
    expect_none(&complaints);
}

#[test]
fn the_minimum_rust_version_is_stated_once() {
    let mut complaints = Vec::new();
    for name in files() {
        if name.ends_with(".toml") && name != "Cargo.toml" {
            let manifest = text(&name);
            let complaint = |line| format!("{name}: `{line}`: the root Cargo.toml states it, once");
            complaints.extend(rust_versions(&manifest).map(complaint));
        }
    }
    expect_none(&complaints);
    assert_eq!(rust_versions(&text("Cargo.toml")).count(), 1);
}

#[test]
fn a_crates_own_clippy_toml_repeats_the_roots_lines() {
    let shared = parse("clippy.toml");
    let mut complaints = Vec::new();
    for name in files().iter().filter(|name| name.ends_with("/clippy.toml")) {
        complaints.extend(unrepeated(name, &parse(name), &shared));
    }
    expect_none(&complaints);
}

#[test]
fn a_crate_has_at_most_one_integration_test_binary_and_it_is_called_it() {
    let mut complaints = Vec::new();
    for package in WORKSPACE.members() {
        let others = package.test_binaries.iter().filter(|name| *name != "it");
        complaints.extend(others.map(|name| format!(
            "{}: the test binary `{name}` is linked for itself: make it a module of tests/it/main.rs",
            package.name
        )));
    }
    expect_none(&complaints);
}

#[test]
fn a_manifest_that_states_its_own_licence_or_drops_the_lints_is_reported() {
    let manifest = "[package]\nauthors.workspace = true\nedition.workspace = true\n\
                    license = \"MIT\"\nrust-version.workspace = true\nversion.workspace = true\n";
    let complaints = uninherited("Cargo.toml", &manifest.parse().expect("TOML"));
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].contains("license.workspace = true"));
    assert!(complaints[1].contains("[lints]"));
}

#[test]
fn a_clippy_toml_without_a_shared_line_is_reported() {
    let shared: Table = "excessive-nesting-threshold = 6".parse().expect("TOML");
    assert_eq!(unrepeated("clippy.toml", &Table::new(), &shared).len(), 1);
}

fn uninherited(path: &str, manifest: &Table) -> Vec<String> {
    let is_inherited = |table: Option<&Value>| {
        table
            .and_then(|table| table.get("workspace"))
            .and_then(Value::as_bool)
            == Some(true)
    };
    let package = &manifest["package"];
    let missing = INHERITED
        .iter()
        .filter(|key| !is_inherited(package.get(**key)));
    let mut complaints: Vec<String> = missing
        .map(|key| format!("{path}: [package] needs `{key}.workspace = true`"))
        .collect();
    if !is_inherited(manifest.get("lints")) {
        complaints.push(format!("{path}: needs `[lints]` with `workspace = true`"));
    }
    complaints
}

fn rust_versions(manifest: &str) -> impl Iterator<Item = &str> {
    let is_version = |key: &str| matches!(key.trim(), "rust-version" | "msrv");
    manifest
        .lines()
        .filter(move |line| line.split_once('=').is_some_and(|(key, _)| is_version(key)))
}

/// Lists of disallowed items differ between crates; every other key must be the root's.
fn unrepeated(path: &str, own: &Table, shared: &Table) -> Vec<String> {
    let settings = shared
        .iter()
        .filter(|(key, _)| !key.starts_with("disallowed-"));
    let missing = settings.filter(|(key, value)| own.get(*key) != Some(*value));
    missing
        .map(|(key, value)| format!("{path}: repeat the root's `{key} = {value}`"))
        .collect()
}

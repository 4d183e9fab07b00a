//! Licences, bans and sources, as deny.toml states them.

use std::collections::BTreeSet;

use spdx::{Expression, LicenseReq, ParseMode};
use toml::{Table, Value};

use super::expect_none;
use super::workspace::{Dependency, Package, WORKSPACE, Workspace, parse};

#[test]
fn every_crate_has_a_licence_that_deny_toml_allows() {
    expect_none(&unlicensed(
        &WORKSPACE,
        &strings(&parse("deny.toml")["licenses"], "allow"),
    ));
}

#[test]
fn no_crate_is_built_that_deny_toml_bans() {
    expect_none(&banned(&WORKSPACE, &parse("deny.toml")));
}

#[test]
fn no_dependency_takes_any_version() {
    assert_eq!(
        parse("deny.toml")["bans"]["wildcards"].as_str(),
        Some("deny")
    );
    expect_none(&wildcards(&WORKSPACE));
}

#[test]
fn every_crate_comes_from_a_registry_that_deny_toml_allows() {
    let deny = parse("deny.toml");
    for key in ["unknown-registry", "unknown-git"] {
        assert_eq!(
            deny["sources"][key].as_str(),
            Some("deny"),
            "deny.toml: sources.{key}"
        );
    }
    expect_none(&unknown_sources(
        &WORKSPACE,
        &strings(&deny["sources"], "allow-registry"),
    ));
}

#[test]
fn deny_toml_says_nothing_that_these_tests_do_not_read() {
    let deny = parse("deny.toml");
    let understood = [
        ("licenses", &["version", "allow"][..]),
        (
            "bans",
            &[
                "wildcards",
                // `wildcards` below does not complain of paths either.
                "allow-wildcard-paths",
                "multiple-versions",
                "deny",
            ],
        ),
        (
            "sources",
            &["unknown-registry", "unknown-git", "allow-registry"],
        ),
    ];
    for (section, known) in understood {
        let keys = deny[section].as_table().expect("a table").keys();
        let unread: Vec<_> = keys.filter(|key| !known.contains(&key.as_str())).collect();
        assert!(
            unread.is_empty(),
            "deny.toml: [{section}] {unread:?}: teach licences.rs to read it"
        );
    }
}

#[test]
fn a_licence_outside_the_list_is_reported_and_a_choice_with_one_inside_is_not() {
    let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned()].into();
    let cases = [
        (Some("MIT"), 0),
        (Some("GPL-3.0-only OR MIT"), 0),
        (Some("MIT/Apache-2.0"), 0),
        (Some("MIT AND GPL-3.0-only"), 1),
        (Some("Apache-2.0 WITH LLVM-exception"), 1),
        (Some("as is"), 1),
        (None, 1),
    ];
    for (license, expected) in cases {
        let license = license.map(str::to_owned);
        let package = Package {
            name: "other".to_owned(),
            license,
            ..Package::default()
        };
        let complaints = unlicensed(
            &Workspace {
                packages: vec![package],
            },
            &allowed,
        );
        assert_eq!(complaints.len(), expected, "{complaints:?}");
    }
}

#[test]
fn a_banned_crate_a_wildcard_and_a_git_source_are_reported() {
    let any_version = Dependency {
        name: "tokio".to_owned(),
        requirement: "*".to_owned(),
        is_dev: false,
        is_path: false,
    };
    let package = Package {
        name: "openssl".to_owned(),
        is_member: true,
        source: Some("git+https://example.org/openssl".to_owned()),
        dependencies: vec![any_version],
        ..Package::default()
    };
    let workspace = Workspace {
        packages: vec![package],
    };
    assert_eq!(banned(&workspace, &parse("deny.toml")).len(), 1);
    assert_eq!(wildcards(&workspace).len(), 1);
    assert_eq!(unknown_sources(&workspace, &BTreeSet::new()).len(), 1);
}

fn unlicensed(workspace: &Workspace, allowed: &BTreeSet<String>) -> Vec<String> {
    let complaint = |package: &Package| {
        let name = &package.name;
        let Some(license) = &package.license else {
            return Some(format!("{name} names no licence"));
        };
        let is_allowed = |license: &LicenseReq| allowed.contains(&license.to_string());
        match Expression::parse_mode(license, ParseMode::LAX) {
            Err(error) => Some(format!("{name}: its licence cannot be read: {error}")),
            Ok(expression) if expression.evaluate(is_allowed) => None,
            Ok(_) => Some(format!(
                "{name} is under {license}, which deny.toml does not allow: take another crate, \
                 or add the licence there with the reason"
            )),
        }
    };
    workspace.packages.iter().filter_map(complaint).collect()
}

fn banned(workspace: &Workspace, deny: &Table) -> Vec<String> {
    let bans = deny["bans"]["deny"]
        .as_array()
        .expect("deny.toml: bans.deny is an array");
    let reason = |package: &Package| {
        let ban = bans
            .iter()
            .find(|ban| ban["crate"].as_str() == Some(&package.name))?;
        Some(format!(
            "{} is banned by deny.toml: {}",
            package.name, ban["reason"]
        ))
    };
    workspace.packages.iter().filter_map(reason).collect()
}

fn wildcards(workspace: &Workspace) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in workspace.members() {
        let any = package
            .dependencies
            .iter()
            .filter(|dep| dep.requirement == "*" && !dep.is_path);
        complaints.extend(any.map(|dep| format!("{}: {} = \"*\"", package.name, dep.name)));
    }
    complaints
}

fn unknown_sources(workspace: &Workspace, allowed: &BTreeSet<String>) -> Vec<String> {
    let complaint = |package: &Package| {
        let source = package.source.as_ref()?;
        let registry = source.strip_prefix("registry+");
        let is_known = registry.is_some_and(|registry| allowed.contains(registry));
        (!is_known).then(|| format!("{} comes from {source}", package.name))
    };
    workspace.packages.iter().filter_map(complaint).collect()
}

fn strings(section: &Value, key: &str) -> BTreeSet<String> {
    let list = section[key]
        .as_array()
        .expect("deny.toml: a list of strings");
    list.iter()
        .map(|item| item.as_str().expect("deny.toml: a string").to_owned())
        .collect()
}

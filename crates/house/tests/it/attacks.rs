//! docs/security.md is an index of attacks: every test that it names exists.

use super::expect_none;
use super::workspace::{root, text};

const INDEX: &str = "docs/security.md";

/// The tests that the page names, as crate, modules and function: `auth::attacks::a_token_…`. A name
/// without a function is a module.
fn named(page: &str) -> Vec<&str> {
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.contains("::")).collect()
}

fn complaints(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for name in named(page) {
        let parts: Vec<_> = name.split("::").collect();
        // Something else in code, such as a function of the library.
        let (krate, modules, function) = match parts.as_slice() {
            [krate, module] => (krate, (*module).to_owned(), None),
            [krate, modules @ .., function] => (krate, modules.join("/"), Some(function)),
            [] | [_] => continue,
        };
        if !krate.starts_with(|first: char| first.is_ascii_lowercase()) {
            continue;
        }
        let file = format!("crates/{krate}/tests/it/{modules}.rs");
        let Some(source) = read(&file) else {
            complaints.push(format!("{INDEX}: {name}: there is no {file}"));
            continue;
        };
        let function = function.map(|name| format!("fn {name}("));
        if function.is_some_and(|function| !source.contains(&function)) {
            complaints.push(format!(
                "{INDEX}: {name}: {file} has no such test; correct the name"
            ));
        }
    }
    complaints
}

#[test]
fn every_test_in_the_index_of_attacks_exists() {
    let page = text(INDEX);
    assert!(named(&page).len() > 50, "the page names its tests");
    let found = complaints(&page, |file| root().join(file).exists().then(|| text(file)));
    expect_none(&found);
}

#[test]
fn a_test_that_was_renamed_or_moved_is_reported() {
    let read = |file: &str| {
        let files = ["crates/a/tests/it/b.rs", "crates/a/tests/it/d/e.rs"];
        files
            .contains(&file)
            .then(|| "#[test]\nfn an_attack_fails() {}".to_owned())
    };
    let right = "`a::b::an_attack_fails`, `a::b`, `ApiKeys::find`, `a::d::e::an_attack_fails`";
    assert!(complaints(right, read).is_empty());
    for wrong in [
        "`a::b::an_attack`",
        "`a::c::an_attack_fails`",
        "`a::d::an_attack_fails`",
    ] {
        assert_eq!(complaints(wrong, read).len(), 1, "{wrong}");
    }
}

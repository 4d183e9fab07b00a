//! The maximum length of files, and names that are not allowed.

use std::path::Path;

use super::expect_none;
use super::workspace::{files, text};

const LONGEST: usize = 500;

/// Names that do not describe the content.
const EMPTY_NAMES: &[&str] = &[
    "common",
    "helper",
    "helpers",
    "manager",
    "misc",
    "util",
    "utilities",
    "utils",
];

#[test]
fn every_source_file_is_short_enough_to_hold_one_idea() {
    let sources = files().into_iter().filter(|name| is_source(name));
    let lengths = sources.map(|name| (text(&name).lines().count(), name));
    expect_none(
        &lengths
            .filter_map(|(lines, name)| too_long(&name, lines))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_file_is_named_after_what_it_is() {
    expect_none(
        &files()
            .iter()
            .filter_map(|name| empty_name(name))
            .collect::<Vec<_>>(),
    );
}

/// A row that is wrapped ends the table.
#[test]
fn every_row_of_a_table_is_on_one_line() {
    let pages = files()
        .into_iter()
        .filter(|name| name.ends_with(".md") || name.ends_with(".rs"));
    let wrapped = pages.filter_map(|name| wrapped_row(&name, &text(&name)));
    expect_none(&wrapped.collect::<Vec<_>>());
}

#[test]
fn a_wrapped_row_is_reported_and_a_closure_is_not() {
    let page = "| a | b |\n|---|---|\n| c | d\nand e |\n";
    assert_eq!(
        wrapped_row("page.md", page).as_deref(),
        Some("page.md:3: this row of a table is wrapped, which ends the table")
    );
    let comments = page.lines().map(|line| format!("    /// {line}\n"));
    assert!(wrapped_row("lib.rs", &comments.collect::<String>()).is_some());
    assert!(wrapped_row("lib.rs", "    | Self::A\n    | Self::B => 1,\n").is_none());
    assert!(wrapped_row("page.md", "| c | d |\n").is_none());
}

#[test]
fn a_long_file_and_an_empty_name_are_reported() {
    assert!(is_source("crates/protocol/src/connection/mod.rs"));
    assert!(!is_source("crates/protocol/tests/it/main.rs"));
    assert!(too_long("crates/protocol/src/lib.rs", LONGEST).is_none());
    assert!(too_long("crates/protocol/src/lib.rs", LONGEST + 1).is_some());
    assert!(empty_name("crates/protocol/src/utils.rs").is_some());
    assert!(empty_name("crates/protocol/tests/it/common/mod.rs").is_some());
    assert!(empty_name("crates/protocol/src/commons.rs").is_none());
}

fn is_source(name: &str) -> bool {
    let mut parts = name.split('/');
    parts.next() == Some("crates") && parts.nth(1) == Some("src")
}

fn too_long(name: &str, lines: usize) -> Option<String> {
    let complaint =
        || format!("{name}: {lines} lines, more than {LONGEST}: which two ideas are in it?");
    (lines > LONGEST).then(complaint)
}

fn wrapped_row(name: &str, text: &str) -> Option<String> {
    let is_page = name.ends_with(".md");
    let row = |line: &str| {
        let line = line.trim();
        let comment = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let content = match (is_page, comment) {
            (true, _) => line,
            // Deeper lines are drawings.
            (false, content) => content?.strip_prefix(' ')?,
        };
        (content.starts_with("| ") && !content.ends_with('|')).then_some(())
    };
    let (number, _) = (1..)
        .zip(text.lines())
        .find(|(_, line)| row(line).is_some())?;
    Some(format!(
        "{name}:{number}: this row of a table is wrapped, which ends the table"
    ))
}

fn empty_name(name: &str) -> Option<String> {
    let parts = Path::new(name)
        .iter()
        .filter_map(|part| Path::new(part).file_stem()?.to_str());
    let mut empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    let part = empty.next()?;
    Some(format!(
        "{name}: `{part}` could hold anything: name it after what it does"
    ))
}

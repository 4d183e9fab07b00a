//! Builds the tests of a copy of the workspace that contains all mutants.
//!
//! Mutants whose switches do not compile are identified by the locations in the compiler's errors,
//! and removed until the rest compiles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;
use crate::list::Mutant;
use crate::rewrite::rewrite;

/// The maximum number of builds. 40: more than were ever needed, although the compiler reports the
/// errors of only one phase at a time.
const ROUNDS: usize = 40;

/// A test program and the folder in which it runs.
#[derive(Clone)]
pub struct Program {
    pub path: PathBuf,
    pub folder: PathBuf,
}

pub fn workspace() -> Result<PathBuf> {
    let output = Command::new("git")
        .args(["rev-parse", "--show-toplevel"])
        .output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    let root = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if root.is_empty() {
        Err("this is not a git checkout".into())
    } else {
        Ok(root.into())
    }
}

/// Copies the files of the workspace that git knows or would add, and returns the copy's folder.
/// Unchanged files are not copied again, so that a second run builds little.
pub fn copy(root: &Path) -> Result<PathBuf> {
    let tree = root.join("target/mutants/tree");
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    for name in String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        let from = root.join(name);
        if from.is_file() {
            let contents =
                fs::read(&from).map_err(|error| format!("{}: {error}", from.display()))?;
            write(&tree.join(name), &contents)?;
        }
    }
    Ok(tree)
}

fn write(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == contents) {
        return Ok(());
    }
    let failed = |error| format!("{}: {error}", path.display());
    fs::create_dir_all(path.parent().expect("a file in a folder")).map_err(failed)?;
    fs::write(path, contents).map_err(failed)
}

/// Returns the test programs, and the mutants that are not in them.
pub fn build(
    tree: &Path,
    package: &str,
    also: &[String],
    mutants: &[Mutant],
) -> Result<(Vec<Program>, BTreeSet<usize>)> {
    let folder = folder(tree, package)?;
    let library = folder.join("src/lib.rs");
    let mut sources = BTreeMap::new();
    for mutant in mutants {
        let path = tree.join(&mutant.file);
        let source =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        sources.insert(mutant.file.clone(), source);
    }
    let root =
        fs::read_to_string(&library).map_err(|error| format!("{}: {error}", library.display()))?;
    let count = mutants.len().to_string();
    let switches = include_str!("switches.txt").replace("COUNT", &count);
    let library_name = library
        .strip_prefix(tree)
        .expect("below the tree")
        .to_string_lossy()
        .into_owned();
    sources.entry(library_name.clone()).or_insert(root);

    let mut left = BTreeSet::new();
    for _ in 0..ROUNDS {
        let mut regions = BTreeMap::new();
        for (file, source) in &sources {
            let here: BTreeMap<usize, &Mutant> = mutants
                .iter()
                .enumerate()
                .filter(|(id, mutant)| mutant.file == *file && !left.contains(id))
                .collect();
            let rewritten = rewrite(source, &here).map_err(|error| format!("{file}: {error}"))?;
            let mut text = rewritten.text;
            if *file == library_name {
                text.push_str(&switches);
            }
            left.extend(rewritten.left);
            write(&tree.join(file), text.as_bytes())?;
            regions.insert(file.clone(), rewritten.regions);
        }
        let errors = cargo(tree, package, &["check"])?.1;
        if errors.is_empty() {
            let mut all = Vec::new();
            for package in std::iter::once(package).chain(also.iter().map(String::as_str)) {
                all.extend(programs(tree, package)?);
            }
            return Ok((all, left));
        }
        let before = left.len();
        for error in &errors {
            left.extend(blamed(error, &regions));
        }
        eprintln!(
            "{} switches do not compile, and are removed",
            left.len() - before
        );
        if left.len() == before {
            let said: Vec<_> = errors
                .iter()
                .filter_map(|error| error["rendered"].as_str())
                .take(5)
                .collect();
            return Err(format!(
                "the mutated source does not compile, and no mutant is the cause:\n{}",
                said.join("\n")
            ));
        }
    }
    Err(format!(
        "the mutated source does not compile after {ROUNDS} rounds"
    ))
}

/// The mutants that cause an error: those whose text contains one of the error's locations, or else
/// the nearest mutant before it.
fn blamed(
    error: &Value,
    regions: &BTreeMap<String, Vec<(Range<usize>, usize)>>,
) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut near = None;
    for span in spans(error) {
        let file = span["file_name"].as_str().unwrap_or_default();
        let (from, to) = (byte(&span["byte_start"]), byte(&span["byte_end"]));
        let Some(here) = regions
            .iter()
            .find(|(name, _)| file.ends_with(name.as_str()))
        else {
            continue;
        };
        let touching = here
            .1
            .iter()
            .filter(|(region, _)| region.start < to.max(from + 1) && from < region.end);
        // The smallest region is the cause; the others only contain it.
        let inner = touching.min_by_key(|(region, _)| region.len());
        found.extend(inner.map(|(_, id)| *id));
        let before = here
            .1
            .iter()
            .filter(|(region, _)| region.end <= from)
            .max_by_key(|(region, _)| region.end);
        near = near.or(before.map(|(_, id)| *id));
    }
    if found.is_empty() {
        found.extend(near);
    }
    found
}

fn byte(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|value| value.try_into().ok())
        .unwrap_or(0)
}

/// The locations of an error and of its notes, primary ones first.
fn spans(error: &Value) -> Vec<&Value> {
    let notes = error["children"].as_array().into_iter().flatten();
    let all = std::iter::once(error)
        .chain(notes)
        .filter_map(|message| message["spans"].as_array());
    let mut spans: Vec<_> = all.flatten().collect();
    spans.sort_by_key(|span| span["is_primary"] != true);
    spans
}

fn folder(tree: &Path, package: &str) -> Result<PathBuf> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(tree)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|found| found["name"] == package)
        .find_map(|found| found["manifest_path"].as_str());
    let manifest = manifest.ok_or(format!("the workspace has no package {package}"))?;
    Ok(Path::new(manifest)
        .parent()
        .expect("a manifest in a folder")
        .to_owned())
}

fn programs(tree: &Path, package: &str) -> Result<Vec<Program>> {
    let folder = folder(tree, package)?;
    let (messages, errors) = cargo(
        tree,
        package,
        &["test", "--no-run", "--lib", "--test", "it"],
    )?;
    if let Some(error) = errors.first() {
        return Err(format!(
            "the tests do not compile: {}",
            error["rendered"].as_str().unwrap_or_default()
        ));
    }
    let tests = messages
        .iter()
        .filter(|message| message["profile"]["test"] == true);
    let paths = tests.filter_map(|message| message["executable"].as_str());
    Ok(paths
        .map(|path| Program {
            path: path.into(),
            folder: folder.clone(),
        })
        .collect())
}

/// Returns the messages of a command of Cargo, and the errors among them.
fn cargo(tree: &Path, package: &str, command: &[&str]) -> Result<(Vec<Value>, Vec<Value>)> {
    let output = Command::new("cargo")
        .args(command)
        .args([
            "--package",
            package,
            "--all-features",
            "--message-format",
            "json",
            "--quiet",
        ])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", tree.with_file_name("build"))
        .env("RUSTFLAGS", "--cap-lints warn")
        // These programs are never debugged.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let diagnostics = messages.iter().map(|message| &message["message"]);
    let errors: Vec<Value> = diagnostics
        .filter(|message| message["level"] == "error")
        .cloned()
        .collect();
    if errors.is_empty() && !output.status.success() {
        return Err(format!(
            "cargo {}:\n{}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    Ok((messages, errors))
}

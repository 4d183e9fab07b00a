//! The mutants of a package, as listed by `cargo mutants --list --json`.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::Result;

#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// The path relative to the workspace.
    pub file: String,
    pub genre: String,
    /// The location and the change, which together are unique.
    pub name: String,
    pub replacement: String,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    pub start: Place,
}

/// Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

pub fn mutants(root: &Path, package: &str) -> Result<Vec<Mutant>> {
    let output = Command::new("cargo")
        .args(["mutants", "--list", "--json", "--package", package])
        .current_dir(root)
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "cargo mutants failed (cargo install cargo-mutants --locked):\n{said}"
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the list of cargo mutants: {error}"))
}

//! The workspace, according to `cargo metadata`, the manifests and git.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// The workspace of these tests, read once.
pub(crate) static WORKSPACE: LazyLock<Workspace> = LazyLock::new(Workspace::read);

/// All packages in the dependency graph, with every feature and for every platform.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) license: Option<String>,
    /// `None` for packages in this repository.
    pub(crate) source: Option<String>,
    pub(crate) manifest: PathBuf,
    pub(crate) is_member: bool,
    /// Dependencies as declared in the manifest.
    pub(crate) dependencies: Vec<Dependency>,
    /// Ids of the packages that are built with this one: normal and build dependencies, as
    /// resolved.
    pub(crate) links: Vec<String>,
    /// Names of its integration-test binaries.
    pub(crate) test_binaries: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) requirement: String,
    pub(crate) is_dev: bool,
    pub(crate) is_path: bool,
}

impl Workspace {
    fn read() -> Self {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let arguments = [
            "metadata",
            "--format-version",
            "1",
            "--all-features",
            "--locked",
        ];
        Self::from_metadata(&serde_json::from_str(&output_of(&cargo, &arguments)).expect("JSON"))
    }

    fn from_metadata(metadata: &Value) -> Self {
        let members: BTreeSet<String> = array(&metadata["workspace_members"])
            .iter()
            .map(string)
            .collect();
        let nodes = array(&metadata["resolve"]["nodes"]);
        let packages = array(&metadata["packages"])
            .iter()
            .map(|package| {
                let id = string(&package["id"]);
                let node = nodes.iter().find(|node| node["id"] == package["id"]);
                Package {
                    name: string(&package["name"]),
                    license: package["license"].as_str().map(str::to_owned),
                    source: package["source"].as_str().map(str::to_owned),
                    manifest: PathBuf::from(string(&package["manifest_path"])),
                    is_member: members.contains(&id),
                    dependencies: array(&package["dependencies"])
                        .iter()
                        .map(dependency)
                        .collect(),
                    links: node.map(links).unwrap_or_default(),
                    test_binaries: test_binaries(package),
                    id,
                }
            })
            .collect();
        Self { packages }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| package.is_member)
    }

    /// Everything that is built with `package`, except itself.
    pub(crate) fn built_with(&self, package: &Package) -> Vec<&Package> {
        let mut found: Vec<&Package> = Vec::new();
        let mut ids: Vec<&String> = package.links.iter().collect();
        while let Some(id) = ids.pop() {
            let next = self.packages.iter().find(|candidate| &candidate.id == id);
            let next = next.expect("cargo metadata lists every package it resolved");
            if !found.iter().any(|known| known.id == next.id) {
                ids.extend(&next.links);
                found.push(next);
            }
        }
        found
    }
}

fn dependency(value: &Value) -> Dependency {
    Dependency {
        name: string(&value["name"]),
        requirement: string(&value["req"]),
        is_dev: value["kind"] == "dev",
        is_path: value["path"].is_string(),
    }
}

fn links(node: &Value) -> Vec<String> {
    let is_built = |link: &&Value| {
        array(&link["dep_kinds"])
            .iter()
            .any(|kind| kind["kind"] != "dev")
    };
    array(&node["deps"])
        .iter()
        .filter(is_built)
        .map(|link| string(&link["pkg"]))
        .collect()
}

fn test_binaries(package: &Value) -> Vec<String> {
    let is_test = |target: &&Value| array(&target["kind"]).iter().any(|kind| kind == "test");
    let targets = array(&package["targets"]).iter().filter(is_test);
    targets.map(|target| string(&target["name"])).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has an array here")
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .expect("cargo metadata has a string here")
        .to_owned()
}

/// Determined at run time: a checkout may have moved since these tests were compiled.
pub(crate) fn root() -> PathBuf {
    let house = env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs these tests and sets it");
    let root = Path::new(&house).ancestors().nth(2);
    root.expect("crates/house is two folders below the root")
        .to_owned()
}

/// The text of a file, given its path from the root.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn parse(path: impl AsRef<Path>) -> toml::Table {
    let name = path.as_ref().display().to_string();
    text(path)
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The files that git tracks or would track, as paths from the root with `/`.
pub(crate) fn files() -> Vec<String> {
    // The user running the tests may not own the checkout, so git's owner check is disabled.
    let arguments = [
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let listing = output_of(&OsString::from("git"), &arguments);
    let names = listing.split_terminator('\0').map(str::to_owned);
    names.filter(|name| root().join(name).is_file()).collect()
}

fn output_of(program: &OsString, arguments: &[&str]) -> String {
    let command = format!("`{} {}`", program.display(), arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap_or_else(|error| panic!("{command}: {error}"))
}
